"""Try fastrnn on old and new versions of its dependencies: fit, score and generate, and compare the losses.

    .venv/bin/python .ci/versions.py --lowest    the lowest that pyproject.toml allows, and those of this interpreter
    python3 .ci/versions.py PYTHON...            every line of Numba that each of these interpreters can install
    python3 .ci/versions.py PYTHON... --numba 0.61.0 0.68.1

Prints a table in Markdown. Exits with 1 if a combination failed, or gave other losses than the first one.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBA = ["0.61.0", "0.61.2", "0.62.1", "0.63.1", "0.64.0", "0.65.1", "0.66.0", "0.67.0", "0.68.1"]
PACKAGES = ("numba", "numpy", "nltk", "tqdm", "scikit-learn", "matplotlib")
TOLERANCE = 1e-6  # relative: other versions of LLVM may round otherwise

PLAIN = ", compiled by Numba's public means alone"  # right, but slower the first time

TRIAL = Path(__file__).with_name("trial.py")


def lowest():
    """The lowest versions of `PACKAGES` that pyproject.toml allows, as requirements."""
    claimed = re.findall(r'"([\w-]+)>=([\w.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [f"{name}=={version}" for name, version in dict(claimed).items() if name in PACKAGES]


def attempt(python, requirements):
    """What the trial prints with these requirements in an environment of its own; a string that says why not."""
    with tempfile.TemporaryDirectory() as folder:
        environment, own = Path(folder) / "venv", os.environ | {"NUMBA_CACHE_DIR": str(Path(folder) / "cache")}
        run = {"capture_output": True, "text": True, "cwd": folder, "env": own}
        subprocess.run([python, "-m", "venv", str(environment)], check=True, **run)
        inside = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        wanted = ["--only-binary", ",".join(PACKAGES), str(ROOT), *PACKAGES, *requirements]
        installed = subprocess.run([inside, "-m", "pip", "install", "-q", *wanted], **run)
        if installed.returncode:
            return "cannot be installed: " + last_line(installed.stderr)
        return run_trial(inside, **run)


def run_trial(python, **run):
    """What the trial prints; a string that says why not."""
    trial = subprocess.run([python, TRIAL, *PACKAGES], **{"capture_output": True, "text": True} | run)
    return json.loads(trial.stdout) if trial.returncode == 0 else "fails: " + last_line(trial.stderr)


def last_line(text):
    errors = [line for line in text.splitlines() if line.startswith(("ERROR", "E ")) or "Error" in line]
    return (errors or text.splitlines() or ["without a word"])[-1].strip()


def version_of(python):
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", default=[sys.executable])
    parser.add_argument(
        "--lowest", action="store_true", help="the lowest versions that are allowed, against those of this interpreter"
    )
    parser.add_argument("--numba", nargs="+", metavar="VERSION", default=NUMBA)
    options = parser.parse_args()
    tries = [None, lowest()] if options.lowest else [[f"numba=={version}"] for version in options.numba]
    print("| Python | " + " | ".join(PACKAGES) + " | |", "|---" * (len(PACKAGES) + 2) + "|", sep="\n")
    first, failed = None, False
    for python in options.pythons:
        for requirements in tries:
            found = attempt(python, requirements) if requirements else run_trial(python)
            if isinstance(found, str):
                # that there is no wheel of an old Numba for a new Python, or the other way round, is no failure
                failed |= options.lowest or not found.startswith("cannot be installed")
                wanted = ", ".join(requirements or ["as installed"])
                print(f"| {version_of(python)} | {wanted}{' |' * len(PACKAGES)} {found} |", flush=True)
                continue
            first = first or found["losses"]
            same = all(abs(found["losses"][name] / loss - 1) < TOLERANCE for name, loss in first.items())
            failed |= not same
            versions = " | ".join(found["versions"][name] for name in PACKAGES)
            result = ("same losses" if same else str(found["losses"])) + PLAIN * (not found["extended"])
            print(f"| {version_of(python)} | {versions} | {result} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

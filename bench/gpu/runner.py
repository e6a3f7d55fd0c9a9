"""The command `python -m bench gpu`: runs the steps, each in a process of its own with a time limit.

It imports the standard library alone: what the steps need may only be in the folder of wheels.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

from . import results
from .step import SKIPPED

ROOT = Path(__file__).resolve().parents[2]
# Seconds, together less than eight minutes; what a step leaves of its own is there for those after it.
LIMITS = {
    "machine": 20,
    "compile": 70,
    "correct": 80,
    "sanitizer": 50,
    "launches": 30,
    "training": 115,
    "pytest": 65,
    "decoding": 40,
}
NEEDED = ("machine",)  # where one of them fails the others are not worth trying
LOG, SUMMARY, SECTION = "log.txt", "summary.txt", "section.md"
CUDA_FOLDERS = ("/usr/local/cuda", "/opt/cuda")
TAIL = 2000  # characters of the log in which a step's last words are looked for

# Makes Python read the .pth files of a folder on PYTHONPATH: numba-cuda takes the place of numba.cuda by one.
CUSTOMIZE = "import os, site\nsite.addsitedir(os.path.dirname(os.path.abspath(__file__)))\n"


def parse(arguments):
    parser = argparse.ArgumentParser(
        "python -m bench gpu", description="Learn in eight minutes what there is to learn about the kernels for a GPU."
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--output", type=Path, metavar="FOLDER", help="run the steps; rows are added to those there")
    action.add_argument("--report", type=Path, metavar="FOLDER", help="print the summary of such a folder again")
    parser.add_argument("--only", metavar="STEPS", help=f"of {','.join(LIMITS)}; default: all")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="install these first, without a network")
    parser.add_argument("--publish", action="store_true", help="with --report: write the section into RESULTS.md")
    options = parser.parse_args(arguments)
    options.steps = options.only.split(",") if options.only else list(LIMITS)
    unknown = [step for step in options.steps if step not in LIMITS]
    if unknown:
        parser.error(f"--only: no step {', '.join(unknown)}, expected of: {', '.join(LIMITS)}")
    if options.publish and options.report is None:
        parser.error("--publish goes with --report")
    return options


def main(arguments):
    """Returns the exit code: 0 if no step went wrong."""
    from . import report

    options = parse(arguments)
    if options.report is not None:
        rows = results.read(options.report / results.FILE)
        print(report.summary(rows))
        return report.publish(rows) if options.publish else 0
    end_with_steps()
    options.output.mkdir(parents=True, exist_ok=True)
    with installed(options.wheels) as site:
        commands = {step: [sys.executable, "-m", "bench.gpu.step", step] for step in options.steps}
        fine = run_steps(commands, LIMITS, options.output, environment(site))
    print(report.summary(results.read(options.output / results.FILE)))
    return 0 if fine else 1


def end_with_steps():
    """See to it that a SIGTERM ends the step in work too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def installed(wheels):
    """A folder with the packages of these wheels for as long as the block runs; None if there are none."""
    if wheels is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        files = sorted(map(str, wheels.glob("*.whl")))
        subprocess.run([*pip, "--disable-pip-version-check", "--target", folder, *files], check=True)
        Path(folder, "sitecustomize.py").write_text(CUSTOMIZE, encoding="utf-8")
        yield folder


def environment(site):
    """What the steps' processes see."""
    path = [site, str(ROOT), os.environ.get("PYTHONPATH")]
    found = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONUNBUFFERED": "1"}
    toolkit = next((folder for folder in CUDA_FOLDERS if Path(folder).is_dir()), None)
    return ({"CUDA_HOME": toolkit} if toolkit else {}) | found


def run_steps(commands, limits, output, variables):
    """Run `commands` ({step: command, to which the file of rows is added}); returns whether all of them went well.

    After each step the summary is written anew.
    """
    path, deadline, fine = output / results.FILE, time.monotonic(), True
    for step, command in commands.items():
        results.append(path, {"step": step, "began": time.strftime("%Y-%m-%d %H:%M:%S")})
        deadline, start = deadline + limits[step], time.monotonic()
        print(f"{step} ...", file=sys.stderr, flush=True)
        ended = run_one([*command, str(path)], deadline - start, output / LOG, variables)
        seconds = round(time.monotonic() - start, 1)
        results.append(path, {"step": step, results.ENDED: ended, "seconds": seconds})
        print(f"{step}: {ended}, {seconds} s", file=sys.stderr, flush=True)
        well = ended == "done" or ended.startswith("skipped")
        fine &= well
        write_report(output)
        if step in NEEDED and not well:
            break
    return fine


def write_report(output):
    """The summary and the section of RESULTS.md; a fault there must not cost the steps that are to come."""
    from . import report

    try:
        rows = results.read(output / results.FILE)
        (output / SUMMARY).write_text(report.summary(rows) + "\n", encoding="utf-8")
        (output / SECTION).write_text("\n".join(report.section(rows)) + "\n", encoding="utf-8")
    except Exception:
        traceback.print_exc()


def run_one(command, limit, log, variables):
    """Run a command in a process group of its own; returns how it ended, in words."""
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT, env=variables, start_new_session=True
        )
        try:
            code = process.wait(timeout=max(limit, 0.1))
        except subprocess.TimeoutExpired:
            return f"ended after its {limit:.0f} s"
        finally:  # also on Ctrl-C; and whatever it has started ends with it
            end_group(process)
    if code == 0:
        return "done"
    words = last_words(log)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"skipped: {words}" if code == SKIPPED else f"failed: {words}"


def end_group(process):
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(log):
    """The last line of the log."""
    text = log.read_bytes()[-TAIL:].decode("utf-8", "replace").strip()
    return text.splitlines()[-1] if text else "no output"

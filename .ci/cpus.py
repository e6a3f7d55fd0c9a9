"""The tests marked `every_cpu`, with kernels compiled for CPUs that can do less than this one.

Each CPU has a cache of its own. What a CPU lacks (a fused multiply-add, wide vectors) must not change what kernels
compute. A CPU that this one cannot stand for is left out, and that is said. With arguments: only those.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llvmlite.binding as llvm

GENERIC = "+cmov,+cx8,+fxsr,+mmx,+sse,+sse2"  # any of 64 bits
NEHALEM = GENERIC + ",+sse3,+ssse3,+sse4.1,+sse4.2,+cx16,+popcnt,+sahf"
SANDYBRIDGE = NEHALEM + ",+avx,+pclmul,+xsave"
HASWELL = SANDYBRIDGE + ",+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe"
SKYLAKE = HASWELL + ",+adx,+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl"
FEATURES = {
    "generic": GENERIC, "nehalem": NEHALEM, "sandybridge": SANDYBRIDGE, "haswell": HASWELL, "skylake-avx512": SKYLAKE,
}  # fmt: skip
DEFAULT = ("generic", "haswell", "skylake-avx512")  # without FMA; vectors of 32 bytes; of 64
ROOT = Path(__file__).resolve().parent.parent


def run_tests(cpu):
    """Run the marked tests for a CPU; returns whether all went well."""
    present = set(llvm.get_host_cpu_features().flatten().split(","))
    missing = [feature for feature in FEATURES[cpu].split(",") if feature not in present]
    if missing:
        print(f"{cpu}: left out, this CPU has no {' '.join(feature[1:] for feature in missing)}", flush=True)
        return True
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        # The name alone would leave all features of this CPU.
        chosen = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": FEATURES[cpu], "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "every_cpu"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | chosen)
    print(f"{cpu}: {'failed' if done.returncode else 'right'} ({time.monotonic() - start:.0f} s)", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(FEATURES)
    if unknown:
        sys.exit(f"expected CPUs among {', '.join(FEATURES)}, found {', '.join(sorted(unknown))}")
    sys.exit(not all([run_tests(cpu) for cpu in sys.argv[1:] or DEFAULT]))  # noqa: C419 (all are run)

"""The process of one step: `python -m bench.gpu.step NAME FILE`. Its rows go into the file as they are found."""

import os
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from . import results

TESTS = Path(__file__).resolve().parents[2] / "tests"
SKIPPED = 75  # exit code: the step cannot be done here, its last line on the standard error says why


def functions():
    """{step: the function that yields its rows}"""
    from . import checks, environment, speed

    return {
        "machine": environment.machine,
        "compile": environment.compile_kernels,
        "correct": checks.correct,
        "sanitizer": checks.sanitizer,
        "launches": speed.launches,
        "training": speed.training,
        "pytest": checks.pytest,
        "decoding": speed.decoding,
    }


def main(name, path, rows=None):
    """Run a step; returns the exit code. `rows` stands for its function in tests."""
    from ..measure import Skipped

    start, wrong = time.perf_counter(), 0
    try:
        with nullcontext() if rows else simulated():
            for row in (rows or functions()[name])():
                results.append(path, {"step": name} | row | {"at": round(time.perf_counter() - start, 2)})
                print(row, file=sys.stderr, flush=True)
                wrong += row.get("ok") is False
    except Skipped as reason:
        print(reason, file=sys.stderr)
        return SKIPPED
    if wrong:
        print(f"{wrong} rows are not as they should be", file=sys.stderr)
    return 1 if wrong else 0


@contextmanager
def simulated():
    """A context in which Numba's simulator, if that runs the kernels, is as the tests need it."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("", "0"):
        yield
        return
    sys.path.append(str(TESTS))
    import pytest
    from helpers import simulating

    with pytest.MonkeyPatch.context() as patch, simulating(patch):
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

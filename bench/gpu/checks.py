"""Steps `correct`, `sanitizer` and `pytest`: whether the kernels compute what the CPU's do."""

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from ..measure import Skipped
from .step import TESTS
from .workloads import CORRECT, cells, either, fitting, tiny

# Largest |found - expected| / |expected|, Euclidean norms, of a gradient; and of what a step of Adam adds to a
# parameter, where an element counts by its sign however small its gradient is.
TOLERANCE = {"float32": 1e-4, "tf32": 5e-3}
STEP_TOLERANCE = {"float32": 1e-2, "tf32": 1e-1}
TOOLS = ("memcheck", "racecheck")
SANITIZER_FOLDERS = ("bin", "compute-sanitizer", "extras/compute-sanitizer")
FOUND = 9  # exit code of compute-sanitizer where it finds something
WITHOUT_GPU = ("test_compiles.py",)
MOST_PROCESSES = 8
TESTS_A_ROW = 25
OUTCOMES = "PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS"
# "FILE::TEST PASSED [ 1%]", or with processes "[gw0] [ 1%] PASSED FILE::TEST".
FORMS = rf"^(?P<test>\S+::.+?) (?P<outcome>{OUTCOMES})\b", rf"^\[gw\d+\].*? (?P<outcome>{OUTCOMES}) (?P<test>\S+::.+)"


def plans():
    """All plans of `recurrence`: sequences of a block, and whether W is in its shared memory."""
    from fastrnn.kernels.cuda.block import ROWS

    return [(rows, resident) for resident in (True, False) for rows in ROWS]


def fits(rows, resident, W):
    """Whether a block of the GPU has as much shared memory as this plan needs."""
    from fastrnn.kernels.cuda.layers import recurrence

    needed = max(
        recurrence.shared_bytes(tiles, W, rows, resident)
        for tiles in (recurrence.forward_tiles, recurrence.backward_tiles)
    )
    return needed <= recurrence.largest_shared() - recurrence.WORDS


@contextmanager
def forced(rows, resident):
    """A context in which every recurrence has this plan."""
    from fastrnn.kernels.cuda.layers import recurrence

    plan = recurrence._plan
    recurrence._plan = lambda tiles, W, B: (rows, resident, recurrence.shared_bytes(tiles, W, rows, resident))
    try:
        yield
    finally:
        recurrence._plan = plan


@contextmanager
def _usual():
    yield


# ---- Against the CPU


def correct():
    """Rows: one batch on the GPU and on the CPU, with the plan that is chosen and with every other one."""
    workloads = fitting(CORRECT)
    expected = {}
    for precision in TOLERANCE:
        for cell in cells():
            for workload in workloads:
                key = cell, workload.key
                expected[key] = expected.get(key) or Expected(workload, cell)
                yield _row(expected[key], precision, None)
        if precision == "float32":
            for cell in cells():
                case = expected[cell, workloads[0].key]
                for plan in plans():
                    if fits(*plan, case.network.model.cell.W):
                        yield _row(case, precision, plan)


class Expected:
    """A model's weights, one batch, and what the CPU makes of them.

    Attributes
    ----------
    loss : float
    gradients, steps : dict of str to array
        By the parameters' names: gradients, and what one step of Adam adds.
    """

    def __init__(self, workload, cell):
        self.workload, self.cell = workload, cell
        self.x, self.y = workload.batch()
        model = dataclasses.replace(workload, precision="float32").model(cell, None, device="cpu")
        self.network = model.network_
        self.loss, self.gradients, self.steps = one_batch(self.network.clone_as(type(self.network)), self)

    def on_gpu(self, precision):
        """The same by the GPU's kernels."""
        from fastrnn.networks.devices import network_to_device

        network = network_to_device(self.network, "cuda")
        network.matmul_precision = precision
        return one_batch(network, self)


def one_batch(network, case):
    """Loss a token, gradients, and what one step of Adam adds, of one batch: each by name in its public shape."""
    from fastrnn.data.batches import Batches
    from fastrnn.data.ragged import minibatches
    from fastrnn.kernels.cores import available_cores
    from fastrnn.kernels.threads import ThreadTeam
    from fastrnn.networks.gradients import GradientSum, NoOptimizer
    from fastrnn.training.optimizer import Optimizer

    x, y, workload = case.x, case.y, case.workload
    batches = Batches.whole(x, y, *minibatches(x.lengths, len(x)))
    total, before = GradientSum(network), {name: array.copy() for name, array in network.params.items()}
    optimizer = Optimizer("adam", workload.learning_rate, 0.0, workload.clip, [network])
    with ThreadTeam(available_cores()) as team:
        work = network.workspace(team.n_threads, **batches.sizes(), learn=True, truncate=-1)
        losses, _ = network.train(
            team, batches, work, total.gradient, NoOptimizer(network.dtype), -1, 1 / len(x.values)
        )
        total.add(work, x.values)
        network.train(team, batches, work, network.gradient_like(), optimizer, -1)
    steps = {name: array - before[name] for name, array in network.params.items()}
    return float(losses[0]) / len(x.values), total.as_dict(), steps


def _row(expected, precision, plan):
    """A row of comparisons: relative errors, and whether a second run gives the same bits."""
    with forced(*plan) if plan else _usual():
        (loss, gradients, steps), again = (expected.on_gpu(precision) for _ in range(2))
    errors = {name: _error(gradients[name], array) for name, array in expected.gradients.items()}
    step_errors = {name: _error(steps[name], array) for name, array in expected.steps.items()}
    same = loss == again[0] and all(
        (found[name] == repeated[name]).all()
        for found, repeated in ((gradients, again[1]), (steps, again[2]))
        for name in found
    )
    row = {
        "workload": expected.workload.key,
        "cell": expected.cell,
        "precision": precision,
        "plan": plan,
        "loss": abs(loss / expected.loss - 1),
        "gradient": max(errors.values()),
        "worst": max(errors, key=errors.get),
        "adam": max(step_errors.values()),
        "same_bits": bool(same),
    }
    fine = max(row["loss"], row["gradient"]) < TOLERANCE[precision] and row["adam"] < STEP_TOLERANCE[precision]
    return row | {"ok": bool(fine and same)}


def _error(found, expected):
    import numpy as np

    difference = np.linalg.norm((found - expected).astype(np.float64))
    error = float(difference / max(np.linalg.norm(expected.astype(np.float64)), 1e-30))
    return error if np.isfinite(error) else float("inf")


# ---- compute-sanitizer


def sanitizer():
    """Rows: what compute-sanitizer says of one tiny batch of every cell."""
    program = _sanitizer()
    if program is None:
        raise Skipped("compute-sanitizer is neither on the PATH nor in CUDA_HOME")
    running = {}
    for tool in TOOLS:
        for cell in cells():
            code = f"from bench.gpu.checks import one_tiny_batch; one_tiny_batch({cell!r})"
            command = [program, "--tool", tool, "--error-exitcode", str(FOUND), sys.executable, "-c", code]
            running[tool, cell] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for (tool, cell), process in running.items():
        out = process.communicate()[0]
        print(out, file=sys.stderr)
        words = [line for line in out.splitlines() if "SUMMARY" in line]
        last = (words or out.strip().splitlines() or ["no output"])[-1].strip("= ")
        yield {"tool": tool, "cell": cell, "says": last, "ok": process.returncode == 0}


def _sanitizer():
    folders = [Path(os.environ["CUDA_HOME"], name) for name in SANITIZER_FOLDERS] if "CUDA_HOME" in os.environ else []
    found = shutil.which("compute-sanitizer")
    return found or next((path for folder in folders if (path := shutil.which("compute-sanitizer", path=folder))), None)


def one_tiny_batch(cell):
    """One batch of training, with W in shared memory and in global memory."""
    for rows, resident in (plans()[0], plans()[-1]):
        model, x, y = tiny(cell)
        with forced(rows, resident):
            model.fit(x, y)


# ---- The project's tests


def gpu_tests():
    """The files with tests of kernels for a GPU that run on one."""
    return sorted(path for path in TESTS.glob("kernels/cuda/test_*.py") if path.name not in WITHOUT_GPU)


def pytest():
    """Rows: every test that failed, as soon as it has; how many passed, file by file; and the end."""
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"not installed: {', '.join(missing)}")
    # Warnings are errors in the project's own runs; here those of a machine's other packages are of no interest.
    settings = ["-o", "addopts=-v --import-mode=importlib", "-o", "filterwarnings=default"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *settings]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(MOST_PROCESSES, os.cpu_count() or 1))]
    command += either([], ["-k", "test_sequences_of_a_block"])  # in the simulator the others run anyway
    process = subprocess.Popen(
        [*command, *map(str, gpu_tests())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    counts = {}
    for line in process.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        told = next(filter(None, (re.match(form, line) for form in FORMS)), None)
        if told is None:
            continue
        outcome = told["outcome"].lower()
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome in ("failed", "error"):
            yield {"test": told["test"], "ok": False}
        elif sum(counts.values()) % TESTS_A_ROW == 0:
            yield {"counts": dict(counts)}
    code = process.wait()
    yield {"counts": counts, "finished": True, "ok": code == 0}

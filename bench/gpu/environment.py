"""Steps `machine` and `compile`: what the machine has, and all kernels in the cache before they are needed."""

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from .checks import forced, plans
from .workloads import CELLS, either, tiny

PACKAGES = ("numpy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder", "torch")
LIBRARIES, NEEDED, MISSING = ("nvvm", "nvrtc", "nvJitLink"), ("nvvm", "nvrtc"), "missing"
MOST_WORKERS = 16
NOTED = {"float32": CELLS, "float64": CELLS, "tf32": CELLS[:1]}  # of what kernels are compiled


class Unusable(Exception):
    """There is no usable GPU; says why."""


def machine():
    """Rows: packages, the toolkit's parts, the GPU. Raises if the kernels cannot run."""
    yield {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "CUDA_HOME": os.environ.get("CUDA_HOME"),
        "commit": _commit(),
    }
    yield {"driver": _driver_version()}
    from fastrnn.kernels.cuda import driver

    if driver.SIMULATED:
        yield {"gpu": "Numba's simulator", "simulated": True}
        return
    libraries = {name: _library(name) for name in LIBRARIES}
    yield {"libraries": libraries}
    found = driver.problem()
    if found is not None:
        raise Unusable(found)
    missing = [name for name in NEEDED if libraries[name].startswith(MISSING)]
    if missing:
        raise Unusable(f"the toolkit in CUDA_HOME lacks {', '.join(missing)}")
    device = driver.cuda.get_current_device()
    free, total = driver.cuda.current_context().get_memory_info()
    yield {
        "gpu": device.name.decode() if isinstance(device.name, bytes) else device.name,
        "simulated": False,
        "capability": list(device.compute_capability),
        "multiprocessors": driver.multiprocessors(),
        "shared": driver.largest_shared(),
        "memory": total,
        "free": free,
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit():
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _driver_version():
    """Of NVIDIA's driver: the CUDA that it is of, or why it cannot be asked."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return str(error)
    version = ctypes.c_int()
    code = library.cuDriverGetVersion(ctypes.byref(version))
    release = Path("/proc/driver/nvidia/version")
    words = release.read_text().splitlines()[0] if release.exists() else ""
    return f"CUDA {version.value // 1000}.{version.value % 1000 // 10} {words}" if code == 0 else f"error {code}"


def _library(name):
    """Where a part of the toolkit is, or why it cannot be loaded."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return load_nvidia_dynamic_lib(name).abs_path
    except Exception as error:  # the step goes on to say what that prevents
        return f"{MISSING}: {type(error).__name__}"


# ---- Compilation


def compile_kernels():
    """Rows: how many forms of kernels each of some processes has compiled; then the CPU's, compiled beside."""
    workers = either(max(1, min(MOST_WORKERS, os.cpu_count() or 1)), 1)
    programs = {f"GPU {i}": f"from bench.gpu.environment import work; work({i}, {workers})" for i in range(workers)}
    for cell in either(CELLS, ()):  # the reference of `correct`
        programs[f"CPU {cell}"] = f"from fastrnn import warmup; print(len(warmup([{cell!r}])))"
    start, running = time.perf_counter(), {}
    for name, program in programs.items():
        running[name] = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for name, process in running.items():
        words = process.communicate()[0].split()
        seconds = round(time.perf_counter() - start, 1)
        yield {
            "process": name,
            "compiled": int(words[-1]) if words else 0,
            "seconds": seconds,
            "ok": process.returncode == 0,
        }


def work(index, count):
    """Compile every `count`-th kernel, from number `index` on, and print how many that were."""
    found = {}
    with noted(found):
        for precision, cells in NOTED.items():
            for cell in cells:
                _launch_everything(cell, precision)
    kernels = list(dict.fromkeys(kernel for kernel, _ in found.values()))
    mine = set(kernels[index::count])  # all forms of a kernel: the index of its cache is one file
    for kernel, arguments in found.values():
        if kernel in mine:
            kernel.compile(arguments)
    print(sum(kernel in mine for kernel, _ in found.values()))


@contextmanager
def noted(found):
    """A context in which no kernel is launched, but put down in `found`: {what tells it apart: (it, arguments)}.

    Training believes then that all went well, with losses of 0.
    """
    import numpy as np

    from fastrnn.kernels.cuda.driver import Kernel
    from fastrnn.kernels.cuda.passes import TrainingRun

    call, finish = Kernel.__call__, TrainingRun.finish

    def note(kernel, blocks, threads, *arguments, shared=0):
        found.setdefault((kernel, kernel.key(arguments)), (kernel, arguments))

    def finished(run):
        count = run.losses.size
        run._optimizer.updates += count
        return np.zeros(count), np.full(count, np.nan)

    Kernel.__call__, TrainingRun.finish = note, finished
    try:
        yield
    finally:
        Kernel.__call__, TrainingRun.finish = call, finish


def _launch_everything(cell, precision):
    """Ask for all kernels that a cell needs: in training, scoring and drawing, for every number of rows of a block."""
    from fastrnn import Seq2Seq

    own = {"dtype": "float64"} if precision == "float64" else {"matmul_precision": precision}
    model, x, y = tiny(cell, **own)
    for plan in plans():
        with forced(*plan):
            model.fit(x, y)
            model.gradients(x, y)
    for options in ({"optimizer": "sgd", "clip_norm": None}, {"optimizer": "rmsprop"}, {"chunk_len": 2}, DEEP):
        tiny(cell, **own | options)[0].fit(x, y)
    Seq2Seq(cell, 6, max_epochs=1, random_state=0, device="cuda", n_threads=1, **own).fit(x, y)
    for ask in (lambda: model.loss(x, y), lambda: model.predict_proba(x), lambda: model.generate(2, max_length=2)):
        with suppress(ValueError):  # nothing is computed, and what memory happens to hold may not be finite
            ask()


DEEP = {"num_layers": 2, "embedding_dim": 4, "dropout": 0.2}

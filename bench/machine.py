"""The machine: what a figure depends on, and the peak memory of a process."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "numba", "llvmlite", "torch")
SETTINGS = ("OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
BUSY = 0.2  # cores that other programs may use


def facts(options, torch_present):
    """{what: value} of everything a figure depends on; `busy` says whether other programs ran at the start."""
    from llvmlite import binding

    from fastrnn.kernels.cores import available_cores

    load = cores_in_use()
    packages = [name for name in PACKAGES if name != "torch" or torch_present]
    return {
        "date": f"{datetime.date.today()}",
        "CPU": f"{_cpu_name()} ({binding.get_host_cpu_name()}), {available_cores()} cores available",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
        "settings": ", ".join(f"{name}={os.environ.get(name, '(unset)')}" for name in SETTINGS),
        "threads": options.threads,
        "repeats": options.repeats,
        "quick": options.quick,
        "load": None if load is None else round(load, 2),
        "busy": load is not None and load > BUSY,
    }


def has_bfloat16():
    """Whether products in bfloat16 are worth measuring: the CPU has an instruction for them."""
    from fastrnn.kernels.linalg.bfloat16 import problem

    return problem() is None


def cores_in_use(seconds=1.0):
    """Cores that programs use while this one sleeps; None where the system does not say."""
    try:
        before, start = _busy_seconds(), time.perf_counter()
        time.sleep(seconds)
        return (_busy_seconds() - before) / (time.perf_counter() - start)
    except (OSError, ValueError):
        return None


def _busy_seconds():
    """Processor time used by all programs so far."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def resident_memory():
    """(now, largest so far): resident memory of this process in MB; now is None where only the peak is known."""
    try:  # Linux's ru_maxrss would include the process that started this one
        status = Path("/proc/self/status").read_text()
        return tuple(int(status.split(f"{name}:")[1].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return None, peak / 2**20 if sys.platform == "darwin" else peak / 1024


def run_child(arguments, environment=None):
    """Run `python ARGUMENTS` from the repository's root; returns what it printed, and raises if it failed."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | (environment or {})
    ).stdout

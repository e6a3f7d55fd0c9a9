"""What a GPU can do and what is done on it: rates, memory, launches, the time of every kernel.

With device "cpu" all of it runs on PyTorch's CPU device, to be tried out; the figures mean nothing then.
"""

import gc
import importlib.metadata
import statistics
import sys
import threading
import time
from contextlib import contextmanager

from .ceiling import best_rate
from .measure import Skipped
from .peers import torch
from .peers_gpu import set_tf32

HOLD = 400_000  # cycles of the GPU, 0.2 ms: longer than the host takes for a launch and two events
BIG = 1 << 28  # elements of the large array: 1 GB, far more than a cache holds
MB = 2**20


def place(options):
    """PyTorch's device beside which ours is measured; Skipped where there is none."""
    from fastrnn.devices import resolve
    from fastrnn.errors import DeviceError

    try:
        resolve("cuda")
    except DeviceError as error:
        raise Skipped(str(error)) from None
    if torch is None:
        raise Skipped("PyTorch is not installed, which measures the GPU's own rates too")
    from fastrnn.cuda.driver import SIMULATED

    if SIMULATED:
        if not options.quick:
            raise Skipped("Numba's simulator is no GPU: it can only be tried out, with --quick")
        sys.setswitchinterval(1e-5)  # the simulator's threads wait for each other by looking again and again
        return "cpu"
    if not torch.cuda.is_available():
        raise Skipped(f"PyTorch {torch.__version__} sees no GPU: install it for CUDA")
    return "cuda"


def facts(device):
    """The GPU and what runs on it, in one line."""
    if device == "cpu":
        return "**Numba's simulator and PyTorch on a CPU: the figures mean nothing.**"
    found = torch.cuda.get_device_properties(0)
    words = [
        found.name, f"{found.total_memory / 2**30:.0f} GiB", f"{found.multi_processor_count} multiprocessors",
        f"compute capability {found.major}.{found.minor}", f"numba-cuda {importlib.metadata.version('numba-cuda')}",
        f"PyTorch for CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}",
    ]  # fmt: skip
    return ", ".join(words)


def wait(device):
    """Until everything on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


# ---- Rates


def product_rate(device, tf32):
    """Flop/s of a large torch.matmul."""
    size = 8192 if device == "cuda" else 64
    a, b, out = (torch.ones(size, size, device=device) for _ in "abc")
    set_tf32(tf32)
    return best_rate(lambda times: _repeat(lambda: torch.mm(a, b, out=out), times, device)) * 2 * size**3


def update_rate(device, elements):
    """Bytes a second, read and written, of visiting a float32 array again and again."""
    a = torch.ones(elements, device=device)
    return best_rate(lambda times: _repeat(lambda: a.mul_(0.9999), times, device)) * 8 * elements


def copy_rate(device, elements=BIG):
    """Bytes a second, read and written, of copying a large float32 array."""
    a = torch.ones(elements if device == "cuda" else 1000, device=device)
    b = torch.empty_like(a)
    return best_rate(lambda times: _repeat(lambda: b.copy_(a), times, device)) * 8 * a.numel()


def _repeat(work, times, device):
    for _ in range(times):
        work()
    wait(device)


# ---- Memory


def peak_memory(device, make):
    """Device memory in MB at the peak of the work that `make()` returns, made and done twice in a fresh state.

    Returns
    -------
    dict of str to float
        "driver": by how much the driver's free memory fell at most, looked at every millisecond; "allocated" and
        "reserved": the most that PyTorch's allocator gave out and held.
    """
    if device != "cuda":
        return {"driver": 0.0, "allocated": 0.0, "reserved": 0.0}
    _release()
    torch.cuda.reset_peak_memory_stats()
    before, at_most = torch.cuda.mem_get_info()[0], []
    done = threading.Event()

    def watch():
        while not done.wait(0.001):
            at_most.append(torch.cuda.mem_get_info()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work = make()
        for _ in range(2):  # the second epoch begins while the first one's memory may not yet be given back
            work()
    finally:
        done.set()
        watcher.join()
    found = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    found["driver"] = before - min(at_most, default=before)
    del work
    _release()
    return {name: count / MB for name, count in found.items()}


def _release():
    """Give all memory back that nobody uses."""
    from fastrnn.cuda.driver import cuda

    gc.collect()
    torch.cuda.synchronize()
    cuda.current_context().memory_manager.deallocations.clear()
    torch.cuda.empty_cache()


# ---- Kernels


def launches(work):
    """(launches, median microseconds of the host for one) while `work` runs."""
    seconds = []

    def timed(launch, kernel, arguments, options):
        start = time.perf_counter()
        launch(kernel, *arguments, **options)
        seconds.append(time.perf_counter() - start)

    with _watched(timed):
        work()
    return len(seconds), statistics.median(seconds) * 1e6


def kernel_times(work, device):
    """{kernel: (launches, milliseconds on the device)} while `work` runs; each waits for a while, so that no launch
    is timed with it."""
    marks = {}

    def marked(launch, kernel, arguments, options):
        _hold(device)
        start = _mark(device)
        launch(kernel, *arguments, **options)
        name = f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.py_func.__name__}"
        marks.setdefault(name, []).append((start, _mark(device)))

    with _watched(marked):
        work()
    wait(device)
    return {name: (len(pairs), sum(_between(*pair) for pair in pairs)) for name, pairs in marks.items()}


@contextmanager
def _watched(around):
    """Every launch of a kernel goes through `around(launch, kernel, arguments, options)`."""
    from fastrnn.cuda.driver import Kernel

    launch = Kernel.__call__

    def call(kernel, blocks, *arguments, **options):
        if min(blocks if isinstance(blocks, tuple) else (blocks,)) > 0:  # otherwise nothing is launched
            around(launch, kernel, (blocks, *arguments), options)

    Kernel.__call__ = call
    try:
        yield
    finally:
        Kernel.__call__ = launch


def _hold(device):
    """Keep the GPU busy, without touching memory, until the host has put behind it what is to be timed."""
    if device == "cuda":
        torch.cuda._sleep(HOLD)


def _mark(device):
    """A moment in the stream of PyTorch and of our kernels, which is the same."""
    if device != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(start, end):
    """Milliseconds."""
    return start.elapsed_time(end) if hasattr(start, "elapsed_time") else (end - start) * 1000

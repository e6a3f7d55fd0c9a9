"""The driver: the one file that imports numba.cuda, and what the kernels need of it.

With NUMBA_ENABLE_CUDASIM=1 in the environment Numba's simulator runs the kernels, each thread of a block as a thread
of Python: good for checks of tiny cases, and the reason why numbers of threads and tiles are smaller then.
"""

import importlib.util
import warnings
from contextlib import nullcontext

import numpy as np
from llvmlite import ir  # noqa: F401
from numba import config, cuda, types  # noqa: F401

from ...errors import DeviceError
from ..compiler import jit
from ..compiler.cache import KernelFiles
from ..compiler.cache_folder import FOLDER, source_hash

SIMULATED = bool(config.ENABLE_CUDASIM)
if not SIMULATED:
    from numba.cuda.extending import intrinsic
else:
    intrinsic = None


class _Simulated:
    """`numba.cuda` in the simulator: what kernels ask of it is answered for the thread that asks.

    The simulator itself replaces the name `cuda` among a function's globals for as long as the function runs. Of the
    threads that run a function of another file than the kernel's, the first to leave then puts it back for all.
    """

    def __init__(self, module):
        from numba.cuda.simulator import kernel

        self._module, self._running = module, kernel._get_kernel_context

    def __getattr__(self, name):
        return getattr(self._running() or self._module, name)


if SIMULATED:
    cuda = _Simulated(cuda)
# Threads of a block that goes over elements.
THREADS = 4 if SIMULATED else 256
# Bytes of shared memory that a block has without asking, and the most that it may ask for on the device at hand.
DEFAULT_SHARED = 48 * 1024
MIN_CAPABILITY = (7, 0)  # compute capability: Volta
MIN_CAPABILITY_TF32 = (8, 0)  # Ampere
INSTALL = 'pip install "numba-cuda[cu12]" or "numba-cuda[cu13]", whichever CUDA the driver is of'
# What kernels are made of besides `cpu`; in the names of their files, so that these are never stale.
SOURCES = f"cuda-{source_hash(cuda=True)}"
# Grids that a kernel keeps ready; a new one costs as much as a launch.
MAX_LAUNCHERS = 4096


class Kernel:
    """A kernel: compiled for the types of its arguments when it is first launched, and kept on disk."""

    def __init__(self, function):
        self.py_func = function
        self._dispatcher = cuda.jit(function) if SIMULATED or FOLDER is None else _cached(function)
        self._launchers, self._allowed = {}, set()

    def __call__(self, blocks, threads, *arguments, shared=0):
        """Launch it.

        Parameters
        ----------
        blocks : int or tuple of int
            The grid; nothing is done if there is none.
        threads : int
            Of a block.
        *arguments
            Arrays on the device, and NumPy or Python numbers: a Python float is float64 in the kernel.
        shared : int
            Bytes of dynamic shared memory.
        """
        blocks = blocks if isinstance(blocks, tuple) else (blocks,)
        if min(blocks) < 1:
            return
        if shared > DEFAULT_SHARED and not SIMULATED:
            self._allow_shared(arguments)
        launcher = self._launchers.get((blocks, threads, shared))
        if launcher is None or SIMULATED:  # there all launchers are one object
            if len(self._launchers) == MAX_LAUNCHERS:
                self._launchers.clear()
            with warnings.catch_warnings():  # of grids that are small because the data are
                warnings.simplefilter("ignore")
                launcher = self._launchers[blocks, threads, shared] = self._dispatcher[blocks, threads, 0, shared]
        launcher(*arguments)

    @staticmethod
    def key(arguments):
        """What tells apart arguments for which different machine code is compiled; cheaper than their Numba types."""
        return tuple(
            (a.dtype, a.ndim) if hasattr(a, "dtype") else (type(a), isinstance(a, int) and a.bit_length() > 63)
            for a in arguments
        )

    def compile(self, arguments):
        """Compile it for the types of these arguments, or load it from disk, and return that; simulated, do nothing."""
        if not SIMULATED:
            return self._dispatcher.compile(tuple(map(self._dispatcher.typeof_pyval, arguments)))

    def _allow_shared(self, arguments):
        """Let the kernel for these arguments have all shared memory that there is; the driver wants to be asked.

        Not what a launch needs: the driver knows the last number only, so a smaller one would fail a larger launch.
        """
        key = self.key(arguments)
        if key not in self._allowed:
            set_shared_limit(self.compile(arguments).library.get_cufunc())
            self._allowed.add(key)


def set_shared_limit(function):
    """Let a compiled kernel, as Numba has loaded it, have all dynamic shared memory that there is."""
    from cuda.bindings import driver

    dynamic = largest_shared() - function.attrs.shared
    wanted = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    handle = driver.CUkernel(int(function.handle))
    (error,) = driver.cuKernelSetAttribute(wanted, dynamic, handle, driver.CUdevice(function.device.id))
    if error != driver.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"the GPU refuses {dynamic} bytes of shared memory: {error.name}")


def _cached(function):
    """`cuda.jit` with the cache of numba-cuda, but in our folder, and in files as those of the CPU's kernels."""
    from numba.cuda.serialize import dumps, loads

    user_folder = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(FOLDER)
        kernel = cuda.jit(function, cache=True)
    except RuntimeError:  # the folder can be read only
        return cuda.jit(function)
    finally:
        config.CACHE_DIR = user_folder
    cache, name = kernel._cache, f"{SOURCES}-{function.__module__}.{function.__qualname__}"
    cache._cache_file = KernelFiles(name, FOLDER, dumps, loads)
    cache._impl.locator.ensure_cache_path = lambda: None  # it would end the run if the folder has gone
    return kernel


def compilations():
    """A context with the names of the kernels compiled meanwhile, as `cpu.jit.compilations`; simulated, none are."""
    if SIMULATED:
        return nullcontext([])
    from numba.cuda.core import event

    return jit.compilations(event=event)


def kernel(function):
    """Decorator of a kernel."""
    return Kernel(function)


def device_function(function):
    """Decorator of a function that kernels call."""
    return cuda.jit(function, device=True)


def inlined_function(function):
    """Decorator of a function that kernels call and that hands back memory: its code becomes part of theirs."""
    return cuda.jit(function, device=True, inline="always")


def largest_shared():
    """The most bytes of shared memory that a block may have."""
    return DEFAULT_SHARED if SIMULATED else cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def multiprocessors():
    """How many blocks run side by side at least."""
    return 2 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def problem():
    """What stands in the way of a GPU, and what to do about it: a str, or None if nothing does."""
    if SIMULATED:
        return None
    if importlib.util.find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed: {INSTALL}"
    if not cuda.is_available():
        error = cuda.cuda_error()
        if error is None:  # the driver is fine
            return f"the compiler's library libNVVM was not found: {INSTALL}, or let CUDA_HOME name a CUDA toolkit"
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        return f"no usable NVIDIA GPU or driver was found ({reason}): install NVIDIA's driver, or {INSTALL}"
    try:
        return _too_old(MIN_CAPABILITY)
    except Exception as error:  # it makes a context, which a GPU that is full or another's refuses
        return f"the GPU cannot be used ({error})"


def tf32_problem():
    """Why the products of a usable GPU cannot be in tf32: a str, or None if they can."""
    return None if SIMULATED else _too_old(MIN_CAPABILITY_TF32)


def _too_old(oldest):
    capability = tuple(cuda.get_current_device().compute_capability)
    found, expected = (".".join(map(str, version)) for version in (capability, oldest))
    return f"the GPU has compute capability {found}, expected at least {expected}" if capability < oldest else None


def empty(shape, dtype):
    """Memory on the device, not initialised."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    try:
        return cuda.device_array(shape, dtype)
    except Exception as error:
        if "MEMORY" not in str(error).upper():
            raise
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raise DeviceError(
            f"the GPU has no {size / 1e6:,.0f} MB left: lower batch_size, chunk_len, hidden_dim or the vocabulary"
        ) from None


def to_device(array):
    """A copy of a NumPy array on the device."""
    target = empty(array.shape, array.dtype)
    if array.size:
        target.copy_to_device(np.ascontiguousarray(array))
    return target


def zeros(shape, dtype):
    """Zeroed memory on the device."""
    return to_device(np.zeros(shape, dtype))


def to_host(array):
    """A copy of a device array as a NumPy array; waits until the kernels before it are done."""
    return array.copy_to_host() if array.size else np.empty(array.shape, array.dtype)


def copy_of(array):
    """A copy of a device array on the device."""
    target = empty(array.shape, array.dtype)
    if array.size:
        target.copy_to_device(array)
    return target


class Upload:
    """Memory on the device that is filled array by array, without waiting for the kernels before.

    A copy of ordinary memory would wait for them; the arrays are copied from page-locked memory, in the kernels' own
    stream. It must be kept until they have been, as they have once an array has come back to the host.

    Parameters
    ----------
    size : int
        Elements of all arrays, at most.
    dtype : dtype
    """

    def __init__(self, size, dtype):
        self._host, self._device, self._end = cuda.pinned_array(size, dtype), empty(size, dtype), 0

    def put(self, array):
        """A copy of an array (n,), n > 0, on the device, behind those before."""
        first, self._end = self._end, self._end + len(array)
        source, target = self._host[first : self._end], self._device[first : self._end]
        source[:] = array
        target.copy_to_device(source, stream=0 if SIMULATED else cuda.default_stream())
        return target


def synchronize():
    """Wait until all that was launched is done."""
    cuda.synchronize()

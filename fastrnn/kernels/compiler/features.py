"""What the CPU that Numba compiles for can do."""

import functools

import llvmlite.binding as llvm
import numba


@functools.cache  # every use of a network asks
def _host_features():
    try:
        from numba.core.codegen import get_host_cpu_features
    except ImportError:  # another Numba
        return llvm.get_host_cpu_features().flatten()
    return get_host_cpu_features()  # without what NUMBA_ENABLE_AVX=0 forbids


def cpu_features():
    """Features of the CPU that Numba compiles for, as LLVM writes them."""
    chosen = numba.config.CPU_FEATURES
    return chosen if chosen is not None else _host_features()


def has_features(*wanted, features=None):
    """Whether the CPU that Numba compiles for, or one with `features`, has all these features, as LLVM writes them."""
    features = cpu_features() if features is None else features
    return set(wanted) <= set(features.split(","))

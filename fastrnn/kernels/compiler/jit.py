"""How kernels are compiled: one set of flags, one cache."""

from contextlib import contextmanager

import numba
import numba.extending
from numba.core import event

from . import cache, trial
from .flags import FASTMATH, extended_flags, njit_flags

ENABLED = not numba.config.DISABLE_JIT
# Our extensions of Numba's compiler, or None: then all is compiled by Numba's public means.
EXTENSIONS = trial.extensions()


def jit(function=None, *, fastmath=FASTMATH, cold=False, indirect=None):
    """Compile a kernel on its first call: no GIL, NumPy's division, sums in any order, cached on disk.

    A `cold` one is optimised for size (nothing is inlined into it): less to compile for all who never call it. One
    that is `indirect` is not inlined into its callers (indirect_calls.py); the argument is Numba's type of its result.
    """
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, cold=cold, indirect=indirect)
    function.cold = cold
    if not ENABLED:
        return function
    if EXTENSIONS is None:
        kernel = numba.njit(**_flags(fastmath))(function)
    elif indirect is None:
        kernel = EXTENSIONS.Kernel(function, _flags(fastmath))
    else:
        kernel = EXTENSIONS.indirect_kernel(function, indirect, _flags(fastmath))
    cache.enable(kernel, "plain." if EXTENSIONS is None else "")
    return kernel


def overload(function, *, fastmath=FASTMATH):
    """Say what kernels call for a Python function: decorates what maps the arguments' types to another function."""
    options = _flags(fastmath) if EXTENSIONS is None else EXTENSIONS.IR_ONLY | _flags(fastmath)
    return numba.extending.overload(function, jit_options=options)


def _flags(fastmath):
    return njit_flags(fastmath) if EXTENSIONS is None else extended_flags(fastmath)


@contextmanager
def compilations(tell=None, event=event):
    """A list that gets the names of the kernels compiled (not loaded) meanwhile; `tell()` is called at the first.

    `event` is Numba's module of that name, or numba-cuda's.
    """
    names = []

    class Listener(event.Listener):
        def on_start(self, event):
            if tell is not None and not names:
                tell()
            names.append(event.data["dispatcher"].py_func.__qualname__)

        def on_end(self, event):
            pass

    with event.install_listener("numba:compile", Listener()):
        yield names

"""A team of threads that runs one kernel together, and the barrier at which its members meet.

Kernels are written for a team: every member gets its number, does its share and meets the others at a
barrier. That costs a fraction of a microsecond where Numba's parallel loops cost ten or more, compiles in
half the time, leaves other libraries' thread settings alone and may be used from several threads at once.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import jit

# Waiting members are counted at [0]; [WORD] is the round. Apart, so that they lie in different cache lines.
WORD = 16
SPINS = 4000


def available_cores():
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Team:
    """`size` threads that run a kernel together; a context manager.

    All members are worker threads, never the caller's: a Ctrl-C, which Python raises in the main thread
    only, can then not take one member away while the others wait for it.
    """

    def __init__(self, size):
        self.size = 1 if numba.config.DISABLE_JIT else size
        self.barrier = np.zeros(2 * WORD, np.int64)
        self._pool = ThreadPoolExecutor(self.size, "fastrnn") if self.size > 1 else None
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, kernel, *args):
        """Call ``kernel(member, size, barrier, *args)`` in every member; return when all are done."""
        if self._pool is None:
            kernel(0, 1, self.barrier, *args)
            return
        with self._lock:
            conductor = self._pool.submit(self._conduct, kernel, args)
            interrupt = None
            while not conductor.done():
                try:
                    wait([conductor])
                except KeyboardInterrupt as error:  # let the members finish: they write to the caller's arrays
                    interrupt = error
            conductor.result()
            if interrupt is not None:
                raise interrupt

    def _conduct(self, kernel, args):
        kernel.compile(tuple(map(numba.typeof, (0, self.size, self.barrier, *args))))  # once, not in every member
        others = [self._pool.submit(kernel, member, self.size, self.barrier, *args) for member in range(1, self.size)]
        kernel(0, self.size, self.barrier, *args)
        for other in others:
            other.result()


@intrinsic
def _add(typingctx, array, index, value):
    """array[index] += value, atomically; returns the value before."""

    def codegen(context, builder, signature, args):
        array, index, value = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.atomic_rmw("add", builder.gep(data, [index]), value, "acq_rel")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def _read(typingctx, array, index):
    """array[index], read anew from memory."""

    def codegen(context, builder, signature, args):
        array, index = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.load_atomic(builder.gep(data, [index]), "acquire", 8, typ=ir.IntType(64))

    return types.int64(array, types.intp), codegen


_give_way = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


@jit
def meet(barrier, size):
    """Wait until all `size` members of the team have come here."""
    if size > 1:
        current = _read(barrier, WORD)
        if _add(barrier, 0, 1) == size - 1:
            _add(barrier, 0, -size)
            _add(barrier, WORD, 1)
        else:
            spins = 0
            while _read(barrier, WORD) == current:
                spins += 1
                if spins > SPINS:  # somebody else has the core that the missing member needs
                    _give_way()


@jit
def share(member, size, total, grain):
    """First and last-plus-one of `total` items that belong to `member`, in multiples of `grain`."""
    blocks = (total + grain - 1) // grain
    return min(total, blocks * member // size * grain), min(total, blocks * (member + 1) // size * grain)

"""A team of threads that runs one kernel together: how it starts, how its threads divide the work and wait.

Every thread of a team runs the whole kernel and is given its index. That costs a fraction of a microsecond where
Numba's parallel loops cost ten or more, compiles in half the time, leaves other libraries' thread settings alone and
may be used from several threads at once.

Work is divided in one of two ways. With `partition` and `barrier_wait`, every thread has its fixed share and waits for
all others. Passes over batches are made of phases instead, each of a fixed number of parts:

    part = next_part(thread, n_threads, barrier, parts, -1)
    while part >= 0:
        ...                                     # part `parts`, the epilogue, comes to one thread, when all are done
        part = next_part(thread, n_threads, barrier, parts, part)
    end_phase(thread, n_threads, barrier)       # all parts are done

A part belongs to whoever asks for it, and nobody waits for a thread, only for parts. So a thread whose core is busy
with another program holds up the others for one part at most: when it comes back, it runs through the phases that were
done without it, gets no part of them, and joins in again. What follows from that:

- Results must depend on the part, never on the thread: only scratch memory is indexed by thread.
- Between phases a thread may compute what it needs, but changes nothing that others read. A thread that is behind may
  read there what belongs to a later phase: it will get no part to use that in.
"""

import _thread
import functools
import logging
import sys
import threading
from concurrent.futures import Future, wait

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler.jit import jit

# Layout of `barrier`, every counter in its own cache line: threads waiting, and the generation of the barrier; parts
# claimed in this phase, plus the phase's number times PHASE_UNIT; parts done; then the phase of each thread.
STRIDE = 16
WAITING, GENERATION, CLAIMED, DONE, THREAD_PHASE = range(0, 5 * STRIDE, STRIDE)
PHASE_UNIT = 1 << 32
# Waiting: so many looks, which take some tens of microseconds, then so many more that offer the core to others, then
# short sleeps. A core whose thread sleeps is free for one that is missing; one that is only offered is busy to Linux,
# and since 6.18 whoever offers it loses a whole slice of time.
SPINS, YIELDS, SLEEP = 20_000, 20, 50  # SLEEP in microseconds
START_SECONDS = 20  # for a thread to start

logger = logging.getLogger("fastrnn")


class ThreadTeam:
    """`size` threads that run a kernel together; a context manager.

    All threads are worker threads, never the caller's: a Ctrl-C, which Python raises in the main thread only, can then
    not take one thread away while the others wait for it. A team of one runs in the caller's thread. Where the system
    refuses to start so many threads, `size` is the number it has started, or 1, and a line is logged once.
    """

    def __init__(self, n_threads):
        self._workers, self._lock = [], threading.Lock()
        n_threads = 1 if numba.config.DISABLE_JIT else n_threads
        if n_threads > 1:
            self._workers = _start_workers(n_threads)
            if len(self._workers) < n_threads:
                _log_fewer(n_threads, max(1, len(self._workers)))
            if len(self._workers) == 1:
                self._stop()
        self.n_threads = max(1, len(self._workers))
        self.barrier = np.zeros(THREAD_PHASE + self.n_threads * STRIDE, np.int64)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stop()

    def _stop(self):
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def run(self, kernel, *args):
        """Call ``kernel(thread, n_threads, barrier, *args)`` in every thread; return when all are done."""
        if not self._workers:
            kernel(0, 1, self.barrier, *args)
            return
        with self._lock:
            compiled = self._workers[0].submit(kernel.compile, tuple(map(numba.typeof, (0, 1, self.barrier, *args))))
            interrupt = _wait_for([compiled])  # once, and not in every thread
            compiled.result()
            if interrupt is None:
                self.barrier[:] = 0
                jobs = [
                    worker.submit(kernel, thread, self.n_threads, self.barrier, *args)
                    for thread, worker in enumerate(self._workers)
                ]
                interrupt = _wait_for(jobs)  # to the end: they write to the caller's arrays
                for job in jobs:
                    job.result()
            if interrupt is not None:
                raise interrupt


def _wait_for(jobs):
    """Wait until all are done; returns the KeyboardInterrupt that came meanwhile, or None."""
    interrupt = None
    while not all(job.done() for job in jobs):
        try:
            wait(jobs)
        except KeyboardInterrupt as error:
            interrupt = error
    return interrupt


class _Worker:
    """A thread that does the jobs it is given, one after the other.

    With locks and `_thread` only: `threading.Thread.start` waits for ever where the new thread runs out of memory.
    """

    def __init__(self):
        self._running, self._wake, self._ended = (_thread.allocate_lock() for _ in range(3))
        self._job, self.runs = None, False
        for lock in (self._running, self._wake, self._ended):
            lock.acquire()
        try:
            _thread.start_new_thread(self._main, ())
        except (RuntimeError, MemoryError):
            return
        self.runs = self._running.acquire(timeout=START_SECONDS)
        if not self.runs:
            self._wake.release()  # should it start after all, it ends at once

    def _main(self):
        try:
            self._running.release()
            while True:
                self._wake.acquire()
                if self._job is None:
                    return
                (job, function, args), self._job = self._job, None
                try:
                    result = function(*args)
                except BaseException as error:
                    job.set_exception(error)
                else:
                    job.set_result(result)
                del job, function, args
        finally:
            self._ended.release()

    def submit(self, function, *args):
        """Do it; returns a future of its result. The job before must be done."""
        job = Future()
        self._job = job, function, args
        self._wake.release()
        return job

    def stop(self):
        """End the thread, once its job is done."""
        self._wake.release()
        self._ended.acquire()


def _start_workers(n_threads):
    """Up to `n_threads` workers; fewer where the system refuses more."""
    workers = []
    while len(workers) < n_threads:
        worker = _Worker()
        if not worker.runs:
            break
        workers.append(worker)
    return workers


@functools.cache  # once
def _log_fewer(wanted, started):
    logger.warning(
        "n_threads=%d: the system started %s, so %d %s used (a limit on processes or memory?)",
        wanted, "no more than one" if started == 1 else f"only {started}", started, "is" if started == 1 else "are",
    )  # fmt: skip


@intrinsic
def _atomic_add(typingctx, array, index, value):
    """array[index] += value, atomically; returns the value before."""

    def codegen(context, builder, signature, args):
        array, index, value = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.atomic_rmw("add", builder.gep(data, [index]), value, "acq_rel")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def _compare_exchange(typingctx, array, index, expected, value):
    """array[index] = value, atomically, if it is `expected`; returns whether it was."""

    def codegen(context, builder, signature, args):
        array, index, expected, value = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        result = builder.cmpxchg(builder.gep(data, [index]), expected, value, "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@intrinsic
def _atomic_load(typingctx, array, index):
    """array[index], read anew from memory."""

    def codegen(context, builder, signature, args):
        array, index = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.load_atomic(builder.gep(data, [index]), "acquire", 8, typ=ir.IntType(64))

    return types.int64(array, types.intp), codegen


if sys.platform == "win32":
    _yield_core = types.ExternalFunction("SwitchToThread", types.int32())
    _sleep = types.ExternalFunction("Sleep", types.void(types.uint32))
    SLEEP = 1  # milliseconds there
else:
    _yield_core = types.ExternalFunction("sched_yield", types.int32())
    _sleep = types.ExternalFunction("usleep", types.int32(types.uint32))


@jit
def _back_off(polls):
    """Back off between two polls of what a thread waits for, after so many polls."""
    if polls > SPINS + YIELDS:
        _sleep(np.uint32(SLEEP))
    elif polls > SPINS:
        _yield_core()


@jit
def barrier_wait(barrier, n_threads):
    """Wait until all `n_threads` threads of the team have arrived."""
    if n_threads > 1:
        current = _atomic_load(barrier, GENERATION)
        if _atomic_add(barrier, WAITING, 1) == n_threads - 1:
            _atomic_add(barrier, WAITING, -n_threads)
            _atomic_add(barrier, GENERATION, 1)
        else:
            polls = 0
            while _atomic_load(barrier, GENERATION) == current:
                polls += 1
                _back_off(polls)


@jit
def next_part(thread, n_threads, barrier, parts, part):
    """The next part of this phase for `thread`, who has done `part` (-1 at first); -1 if there is none.

    Parts are 0 ... parts - 1, at least one, and `parts` itself, the epilogue: it comes when all others are done, to the
    thread that did the last of them.
    """
    if n_threads == 1:
        return part + 1 if part < parts else -1
    phase = barrier[THREAD_PHASE + thread * STRIDE]
    if part == parts:
        _atomic_add(barrier, DONE, -parts)
        _atomic_add(barrier, CLAIMED, PHASE_UNIT - parts)
        return -1
    if part >= 0 and _atomic_add(barrier, DONE, 1) == parts - 1:
        return parts
    while True:
        claimed = _atomic_load(barrier, CLAIMED)
        if claimed // PHASE_UNIT != phase or claimed % PHASE_UNIT >= parts:
            return -1
        if _compare_exchange(barrier, CLAIMED, claimed, claimed + 1):
            return claimed % PHASE_UNIT


@jit
def end_phase(thread, n_threads, barrier):
    """Wait until all parts of the current phase, and its epilogue, are done; advance `thread` to the next phase."""
    if n_threads > 1:
        phase, polls = barrier[THREAD_PHASE + thread * STRIDE], 0
        while _atomic_load(barrier, CLAIMED) // PHASE_UNIT == phase:
            polls += 1
            _back_off(polls)
        barrier[THREAD_PHASE + thread * STRIDE] = phase + 1


@jit
def partition(part, n_parts, total, grain):
    """First and last-plus-one of the `total` items of part `part` of `n_parts`, in multiples of `grain`."""
    blocks = (total + grain - 1) // grain
    return min(total, blocks * part // n_parts * grain), min(total, blocks * (part + 1) // n_parts * grain)

"""Gradients of U by words, the gradient's norm, optimisers: the rules of `cpu.optimizers`, a batch in three launches.

The gradient is clipped where it is read: every block of the update adds up the parts of the squared norm by itself, in
the same order, so none waits for another launch, and the factor multiplies g. The constants of a rule do not depend on
it and are the host's.
"""

import math

import numpy as np

from ..cpu.optimizers import ADAM, MOMENTUM, NONE, RMSPROP, SGD, constants
from .driver import SIMULATED, THREADS, cuda, device_function, kernel
from .workspace import PARTIALS

# Threads of a block that sums rows: LANES rows at once, of COLUMNS columns, as many as a cache line of float32 holds.
COLUMNS = 2 if SIMULATED else 32
LANES = THREADS // COLUMNS
# Blocks of an update: all run side by side on a large GPU.
BLOCKS = 2 if SIMULATED else 1024
# Elements for which another thread pays.
MIN_ELEMENTS_PER_THREAD = 4


def rows_gradient(batch, rows, out, tied=False):
    """Gradient of U in the rows of the words that occur.

    Parameters
    ----------
    batch : workspace.Batch
    rows : (N, D)
        What came back to each token: deltas.da of layer 0, or deltas.d_embeddings.
    out : (at least `batch.occurring`, D), or (C, D)
        Overwritten, row i with the sum for the i-th word that occurs; with `tied` it is the gradient of V, to whose
        rows of these words the sums are added.
    tied : bool
        U is V.
    """
    layout, tiles = batch.layout, -(-rows.shape[1] // COLUMNS)
    _sum_rows(
        (batch.occurring, tiles), THREADS, rows, layout.by_word, batch.row0, layout.words, batch.word0,
        layout.word_starts, batch.mark0, tied, out,
    )  # fmt: skip


@kernel
def _sum_rows(rows, by_word, row0, words, word0, word_starts, mark0, tied, out):
    """Block (i, tile): the sum over the rows of the i-th word, lane by lane, then over the lanes."""
    lane_sums = cuda.shared.array(THREADS, rows.dtype)
    thread, i = cuda.threadIdx.x, cuda.blockIdx.x
    lane, column = thread // COLUMNS, cuda.blockIdx.y * COLUMNS + thread % COLUMNS
    first, last = row0 + word_starts[mark0 + i], row0 + word_starts[mark0 + i + 1]
    total = rows.dtype.type(0)
    if column < rows.shape[1]:
        for at in range(first + lane, last, LANES):
            total += rows[by_word[at], column]
    lane_sums[thread] = total
    cuda.syncthreads()
    if lane == 0 and column < rows.shape[1]:
        for other in range(1, LANES):
            total += lane_sums[other * COLUMNS + thread]
        if tied:
            out[words[word0 + i], column] += total
        else:
            out[i, column] = total


def squares(gradient, dU, occurring, partial, first=0):
    """Parts of a gradient's squared norm, in float64; returns where the next ones go: their number, if first is 0.

    Parameters
    ----------
    gradient : (n,)
        Of the dense parameters.
    dU : (at least `occurring`, D), or no rows where U is V
    occurring : int
        Words that occur.
    partial : float64 array
        Overwritten from `first` on. Two networks that are trained together leave their parts one behind the other.
    """
    rows = min(occurring, dU.shape[0])
    blocks = min(_blocks(gradient.size + rows * dU.shape[1]), PARTIALS // 2)
    _square(blocks, THREADS, gradient, dU, rows, partial, first)
    return first + blocks


def _blocks(elements):
    return max(1, min(BLOCKS, -(-elements // (THREADS * MIN_ELEMENTS_PER_THREAD))))


@kernel
def _square(gradient, dU, rows, partial, first):
    sums = cuda.shared.array(THREADS, np.float64)
    thread, block, blocks = cuda.threadIdx.x, cuda.blockIdx.x, cuda.gridDim.x
    total = 0.0
    for i in range(block * THREADS + thread, gradient.size, blocks * THREADS):
        g = float(gradient[i])
        total += g * g
    for row in range(block, rows, blocks):
        for j in range(thread, dU.shape[1], THREADS):
            g = float(dU[row, j])
            total += g * g
    sums[thread] = total
    total = _sum_of(sums, thread)
    if thread == 0:
        partial[first + block] = total


@device_function
def _sum_of(sums, thread):
    """The sum of what the threads of a block have left in `sums`, which is overwritten; all get it."""
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    return sums[0]


def apply_update(
    rule, hyper, step, model, gradient, moments, U, moments_U, batch, work, parts, norms, index, counts=True
):  # fmt: skip
    """The step of an optimiser on the dense parameters and the rows of U that occur, in one launch.

    Nothing is done if status says that something was not finite; if the gradient's norm is not, status says so.

    Parameters
    ----------
    rule : int
        Of kernels/cpu/optimizers.py; NONE does nothing at all.
    hyper : cpu.optimizers.Hyperparameters
    step : int
        Number of the update, from 1.
    model, gradient : Model
        `dense` of each is used; the parameters are overwritten.
    moments, moments_U : pairs of flat arrays
        First and second moments of the dense parameters and of U, empty where the rule has none; overwritten.
    U : (C, D)
        Overwritten in the rows of the words that occur, unless it is V, where work.dU has no rows.
    batch : workspace.Batch
    work : workspace.Work
        dU is its gradient, by the batch's words; partial holds the squared norm's parts; status is [0] counted up and
        [1] set if the norm is not finite.
    parts : int
        How many there are, see `squares`; 0: no clipping, and nothing is looked at.
    norms : float64 array
        norms[index] is overwritten, if there are parts and the norm is finite.
    counts : bool
        This is the last step of the batch, which counts it as done.
    """
    if rule == NONE:
        return
    rows = min(batch.occurring, work.dU.shape[0])
    size, dtype = model.dense.size, model.dense.dtype.type
    b1, a1, b2, a2, rate, epsilon, rate_U = (dtype(x) for x in _constants(rule, hyper, step))
    _step(
        _blocks(size + rows * U.shape[1]), THREADS, rule, model.dense, gradient.dense, *moments,
        U, work.dU, moments_U[0 if rule == MOMENTUM else 1], batch.layout.words, batch.word0, rows,
        b1, a1, b2, a2, rate, epsilon, rate_U, work.partial, parts, float(hyper.clip_norm), norms, index, work.status,
        counts,
    )  # fmt: skip


def _constants(rule, hyper, step):
    """b1, a1, b2, a2, rate, eps of `cpu.optimizers.constants` for a gradient that is clipped already, and U's rate."""
    table, as_python = np.zeros((2, 8)), getattr(constants, "py_func", constants)  # a call is not worth compiling it
    as_python(rule, hyper, 1.0, step, table)
    return *table[0, :6], table[1, 4]


@kernel
def _step(
    rule, dense, gradient, m, v, U, dU, moment_U, words, word0, rows, b1, a1, b2, a2, rate, epsilon, rate_U,
    partial, parts, largest, norms, index, status, counts,
):  # fmt: skip
    sums = cuda.shared.array(THREADS, np.float64)
    thread, block, blocks = cuda.threadIdx.x, cuda.blockIdx.x, cuda.gridDim.x
    clip, norm = dense.dtype.type(1), 0.0
    if parts > 0:
        total = 0.0
        for i in range(thread, parts, THREADS):
            total += partial[i]
        sums[thread] = total
        norm = math.sqrt(_sum_of(sums, thread))
    # Only now: the first block may set it while others begin, and all threads of a block must reach the barriers of its
    # sum.
    if status[1] != 0:
        return
    if parts > 0:
        if not math.isfinite(norm):  # for all blocks: they add up the same numbers
            if block == 0 and thread == 0:
                status[1] = 1
            return
        if norm > largest:
            clip = dense.dtype.type(largest / norm)
        if block == 0 and thread == 0:
            norms[index] = norm
    for i in range(block * THREADS + thread, dense.size, blocks * THREADS):
        dense[i] = _stepped(rule, dense[i], clip * gradient[i], m, v, i, b1, a1, b2, a2, rate, epsilon)
    if rule == ADAM:
        rule = RMSPROP  # on U: a row that is seldom visited has no first moment
    for row in range(block, rows, blocks):
        word = words[word0 + row]
        for j in range(thread, dU.shape[1], THREADS):
            at = word * dU.shape[1] + j
            U[word, j] = _stepped(
                rule, U[word, j], clip * dU[row, j], moment_U, moment_U, at, b1, a1, b2, a2, rate_U, epsilon
            )
    if counts and block == 0 and thread == 0:
        status[0] += 1


@device_function
def _stepped(rule, p, g, m, v, at, b1, a1, b2, a2, rate, epsilon):
    """A parameter after the step along g; its moments are m[at] and v[at], overwritten."""
    if rule == SGD:
        return p - rate * g
    if rule == MOMENTUM or rule == ADAM:
        m[at] = b1 * m[at] + a1 * g
        if rule == MOMENTUM:
            return p - rate * m[at]
    v[at] = b2 * v[at] + a2 * g * g
    if rule == ADAM:
        g = m[at]
    return p - rate * g / (math.sqrt(v[at]) + epsilon)

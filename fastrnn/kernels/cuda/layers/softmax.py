"""The output layer: logits, softmax, cross-entropy and their gradients, without ever holding them for all tokens.

Tokens are taken in blocks as large as keep their logits in the GPU's cache.

    z = V h + c;              loss = -ln o[y],  o = exp(z - m) / sum exp(z - m),  m = max z
    dz = scale (o - onehot(y));     dV += dz h^T;           dc += dz;          dh = V^T dz
"""

import math

import numpy as np

from ..driver import SIMULATED, cuda, device_function, kernel
from ..linalg.gemm import ROW_SUMS, product, ravel, token_sum

# Threads of a block that has one row of logits; fewer where the rows are short.
ROW_THREADS, MIN_ROW_THREADS = (4, 2) if SIMULATED else (256, 32)
TOTAL_THREADS = 4 if SIMULATED else 1024  # of the one block that adds up the cross-entropies


def output_layer(model, count, top, targets, row0, softmax, gradient, dh, scale, learn):
    """Cross-entropy of a batch's `count` packed tokens and, with `learn`, its gradients.

    Parameters
    ----------
    model, gradient : cpu.workspace.Model on the device
        V (C, H) and c (C,) or (0,) are read; those of `gradient` are overwritten with those of scale * sum(nll).
    top : (count or more, H or more), or flat with columns of H
        What enters the layer, h in the first columns of each row.
    targets : int32
        The words to predict, from `row0` on.
    softmax : workspace.Softmax
        Overwritten; nll (count,), nats, is the result.
    dh : (count or more, H), or flat
        Overwritten with the gradient of scale * sum(nll).
    scale : NumPy scalar of the model's dtype
    learn : bool
        Without it only nll is computed, and `gradient` and `dh` may be None.
    """
    C, H = model.V.shape
    block, top_row = len(softmax.z), top.shape[top.ndim - 1]
    top, V, z, part, tf32 = ravel(top), ravel(model.V), ravel(softmax.z), ravel(softmax.part), softmax.tf32
    if learn:
        dV, dh, dc = ravel(gradient.V), ravel(dh), gradient.c if gradient.c.size else None
    for first in range(0, max(count, 1), block):
        n = min(block, count - first)
        _logits(V, model.c, C, H, top, top_row, first, n, z, tf32)
        _losses(n, _row_threads(C), z, C, targets, row0 + first, softmax.nll, first, scale, learn)
        if learn:
            token_sum(
                z, 0, C, top, first * top_row, top_row, n, dV, 0, H, C, H, part, add=first > 0, sums=dc, of=ROW_SUMS,
                tf32=tf32,
            )  # fmt: skip
            product(z, 0, C, 1, V, 0, H, 1, dh, first * H, H, n, H, C, scratch=part, tf32=tf32)


def probabilities(model, count, top, origin, row0, softmax, best, proba=None):
    """Most probable word of every packed token, the first of equals, and, if asked for, all probabilities.

    Arguments as of `output_layer`; `best` (int32) and `proba` (.., C) are overwritten at the positions that `origin`
    (int32) names from `row0` on: those of a batch's tokens in the corpus.
    """
    C, H = model.V.shape
    block, top_row = len(softmax.z), top.shape[top.ndim - 1]
    top, V, z = ravel(top), ravel(model.V), ravel(softmax.z)
    everything = z if proba is None else ravel(proba)
    for first in range(0, count, block):
        n = min(block, count - first)
        _logits(V, model.c, C, H, top, top_row, first, n, z, softmax.tf32)
        _choices(n, _row_threads(C), z, C, origin, row0 + first, best, everything, proba is not None)


def total_loss(softmax, count, losses, batch, status):
    """losses[batch] (float64) = the sum of nll, status[1] = 1 if it is not finite; nothing if that is 1 already."""
    _total(1, TOTAL_THREADS, softmax.nll, count, losses, batch, status)


def _logits(V, c, C, H, top, top_row, first, n, z, tf32):
    """z[:n] = the logits of n rows of `top` from row `first` on; all flat."""
    bias = c if c.size else None
    product(top, first * top_row, top_row, 1, V, 0, 1, H, z, 0, C, n, C, H, bias=bias, tf32=tf32)


def _row_threads(C):
    threads = MIN_ROW_THREADS
    while threads < ROW_THREADS and threads * 4 < C:
        threads *= 2
    return threads


@kernel
def _losses(z, C, targets, row0, nll, first, scale, learn):
    """Cross-entropy of a block's row of logits, into nll; and, with `learn`, the row becomes its gradient."""
    highs = cuda.shared.array(ROW_THREADS, z.dtype)
    totals = cuda.shared.array(ROW_THREADS, z.dtype)
    row, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    begin = row * C
    end = begin + C
    target = begin + targets[row0 + row]
    wanted = z[target]
    highs[thread] = _highest(z, begin + thread, end, threads)
    highest = _block_max(highs, thread, threads)
    totals[thread] = _exponentials(z, begin + thread, end, threads, highest)
    total = _block_sum(totals, thread, threads)
    if thread == 0:
        nll[first + row] = math.log(total) - (wanted - highest)
    if learn:
        factor = scale / total
        for i in range(begin + thread, end, threads):
            d = math.exp(z[i] - highest) * factor
            z[i] = d - scale if i == target else d


@kernel
def _choices(z, C, origin, row0, best, proba, every):
    """Most probable word of a block's row of logits, and with `every` the probabilities of all."""
    highs = cuda.shared.array(ROW_THREADS, z.dtype)
    totals = cuda.shared.array(ROW_THREADS, z.dtype)
    words = cuda.shared.array(ROW_THREADS, np.int32)
    row, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    begin = row * C
    end, position = begin + C, origin[row0 + row]
    highs[thread] = _highest(z, begin + thread, end, threads)
    highest = _block_max(highs, thread, threads)
    words[thread] = C
    for i in range(begin + thread, end, threads):
        if z[i] == highest:
            words[thread] = i - begin
            break
    word = _block_min(words, thread, threads)
    if thread == 0:
        best[position] = word if word < C else 0
    if every:
        totals[thread] = _exponentials(z, begin + thread, end, threads, highest)
        factor = z.dtype.type(1) / _block_sum(totals, thread, threads)
        shift = position * C - begin
        for i in range(begin + thread, end, threads):
            proba[shift + i] = math.exp(z[i] - highest) * factor


@kernel
def _total(nll, count, losses, batch, status):
    """Sum of nll in float64, by one block."""
    totals = cuda.shared.array(TOTAL_THREADS, np.float64)
    thread = cuda.threadIdx.x
    if status[1] != 0:
        return
    total = 0.0
    for i in range(thread, count, TOTAL_THREADS):
        total += nll[i]
    totals[thread] = total
    total = _block_sum(totals, thread, TOTAL_THREADS)
    if thread == 0:
        losses[batch] = total
        if not math.isfinite(total):
            status[1] = 1


@device_function
def _highest(z, begin, end, step):
    """The largest of every `step`-th element, -inf if none is above."""
    highest = z.dtype.type(-np.inf)
    for i in range(begin, end, step):
        highest = max(highest, z[i])
    return highest


@device_function
def _exponentials(z, begin, end, step, highest):
    """The sum of exp(z - highest) over every `step`-th element."""
    total = z.dtype.type(0)
    for i in range(begin, end, step):
        total += z.dtype.type(math.exp(z[i] - highest))
    return total


@device_function
def _block_max(values, thread, threads):
    """The largest of the threads' values, in shared memory, which must not be used again; to every thread."""
    half = threads >> 1
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            values[thread] = max(values[thread], values[thread + half])
        half >>= 1
    cuda.syncthreads()
    return values[0]


@device_function
def _block_min(values, thread, threads):
    """The smallest, likewise."""
    half = threads >> 1
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            values[thread] = min(values[thread], values[thread + half])
        half >>= 1
    cuda.syncthreads()
    return values[0]


@device_function
def _block_sum(values, thread, threads):
    """The sum, likewise, always in the same order."""
    half = threads >> 1
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            values[thread] += values[thread + half]
        half >>= 1
    cuda.syncthreads()
    return values[0]

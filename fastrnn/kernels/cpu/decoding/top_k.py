"""The best words of many rows of logits, and the sums of their exponentials, tile by tile, in cache.

A tile, PANEL_WIDTH words of a row, is visited once, right after its product. A bound tells, a vector at a time, whether
it holds anything new for a row: a word better than the least that is kept, or one so much larger than the row's
reference that the exponentials would leave their range. Seldom it does. The exponentials, less the reference, are then
added lane by lane.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiler.jit import jit, overload
from ...linalg.elementwise import exp
from ...linalg.gemm import PANEL_WIDTH
from ...linalg.simd import Vectors, lanes_of

LANES = 16  # of sums, as many as a vector has at most
EXP_HEADROOM = 30  # how far beyond the reference a logit may be: e**30 is far from overflow, even in a sum


class Candidates(NamedTuple):
    """The best words of R rows, of each of M threads' words; memory that is overwritten."""

    value: np.ndarray  # (M, R, W): logits, the largest first, of equals the earlier word
    word: np.ndarray  # int64[M, R, W]
    count: np.ndarray  # int64[M, R]: of them
    bound: np.ndarray  # (M, R): what a logit must exceed to be looked at
    reference: np.ndarray  # (M, R): what is subtracted in the exponentials
    sums: np.ndarray  # (M, R, LANES): of the exponentials of all words, allowed or not; added up in `log_sum_exp`
    taken: np.ndarray  # int64[M, R]: how many of a row's candidates have been taken
    log_sum: np.ndarray  # float64[R]: ln of the sum of exp(logit) over the words of all threads


def allocate(n_threads, rows, width, dtype):
    """Memory for the candidates of `rows` rows."""
    M, R = n_threads, rows
    return Candidates(
        np.empty((M, R, width), dtype), np.empty((M, R, width), np.int64), np.zeros((M, R), np.int64),
        np.empty((M, R), dtype), np.empty((M, R), dtype), np.empty((M, R, LANES), dtype),
        np.zeros((M, R), np.int64), np.zeros(R),
    )  # fmt: skip


@jit
def clear(thread, row, candidates):
    """No words yet."""
    nothing = candidates.bound.dtype.type(-np.inf)
    candidates.count[thread, row] = 0
    candidates.bound[thread, row] = candidates.reference[thread, row] = nothing
    candidates.sums[thread, row, :] = 0


@jit
def update_top_k(tile, bias, word, allowed, k, thread, row, candidates):
    """Take the logits of words word...word + PANEL_WIDTH - 1 into account.

    Parameters
    ----------
    tile : (PANEL_WIDTH,)
        The logits less their bias, which is added to them.
    bias, allowed : arrays, bool for the latter, of all words, up to a multiple of PANEL_WIDTH
        The bias is -inf for words that are none. Those not allowed are no candidates.
    k : int
        Candidates to keep, at least 1.
    """
    if add_bias(tile, bias, word, candidates.bound[thread, row]):
        _update_candidates(tile, word, allowed, k, thread, row, candidates)
    add_exponentials(tile, candidates.reference[thread, row], candidates.sums[thread, row])


@jit
def _update_candidates(tile, word, allowed, k, thread, row, candidates):
    """Update candidates, reference and bound from a tile that exceeds the bound."""
    value, best, sums = candidates.value[thread, row], candidates.word[thread, row], candidates.sums[thread, row]
    count, bound, reference = candidates.count[thread, row], candidates.bound[thread, row], candidates.reference
    nothing, above = tile.dtype.type(-np.inf), tile.dtype.type(EXP_HEADROOM)
    least, high = value[k - 1] if count == k else nothing, nothing
    for i in range(PANEL_WIDTH):
        x = tile[i]
        if x > bound:
            high = max(high, x)
            if x > least and allowed[word + i]:
                count = _insert(x, word + i, value, best, count, k)
                least = value[k - 1] if count == k else nothing
    candidates.count[thread, row] = count
    if high > reference[thread, row] + above:
        factor = exp(reference[thread, row] - high)
        for i in range(LANES):
            sums[i] *= factor
        reference[thread, row] = high
    candidates.bound[thread, row] = min(least, reference[thread, row] + above)


@jit
def _insert(x, new_word, value, word, count, k):
    """Put x among the `count` values, the largest first, of equals the older; the least may fall out."""
    at = count if count < k else k - 1
    while at > 0 and value[at - 1] < x:
        value[at], word[at] = value[at - 1], word[at - 1]
        at -= 1
    value[at], word[at] = x, new_word
    return min(count + 1, k)


@jit
def log_sum_exp(row, candidates):
    """The log_sum of a row, once all words were visited; none of its candidates is taken."""
    reference, sums = candidates.reference, candidates.sums
    high, total = reference[0, row], 0.0
    for thread in range(1, len(reference)):
        high = max(high, reference[thread, row])
    for thread in range(len(reference)):
        candidates.taken[thread, row], part = 0, 0.0
        for i in range(LANES):
            part += sums[thread, row, i]
        total += part * math.exp(float(reference[thread, row]) - float(high))
    candidates.log_sum[row] = float(high) + math.log(total)


# ---- Vector code, and the same in NumPy for NUMBA_DISABLE_JIT=1


def add_bias(tile, bias, word, bound):
    """Add the bias of words word... to a tile (PANEL_WIDTH,), in place; returns whether any sum exceeds the bound."""
    tile += bias[word : word + PANEL_WIDTH]
    return bool((tile > bound).any())


def add_exponentials(tile, reference, sums):
    """Add exp(tile - reference), of at most e**88, to the sums (LANES,), in place; which to which does not matter."""
    with np.errstate(invalid="ignore"):  # nothing but NaN so far
        sums[0] += np.exp(np.maximum(tile - reference, -745.0)).sum()


@intrinsic
def _add_bias(typingctx, tile, bias, word, bound):
    def codegen(context, builder, signature, args):
        tile, bias = (context.make_array(kind)(context, builder, value).data for kind, value in
                       zip(signature.args[:2], args[:2], strict=True))  # fmt: skip
        vectors, count = _vectors(context, builder, signature.args[0].dtype)
        bias, bound, mask = builder.gep(bias, [args[2]]), vectors.splat(args[3]), None
        for v in range(count):
            x = builder.fadd(vectors.load(tile, v * vectors.lanes), vectors.load(bias, v * vectors.lanes))
            vectors.store(x, tile, v * vectors.lanes)
            larger = builder.fcmp_ordered(">", x, bound)
            mask = larger if mask is None else builder.or_(mask, larger)
        bits = builder.bitcast(mask, ir.IntType(vectors.lanes))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(tile, bias, types.intp, tile.dtype), codegen


@intrinsic
def _add_exponentials32(typingctx, tile, reference, sums):
    def codegen(context, builder, signature, args):
        tile, sums = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2))
        vectors, count = _vectors(context, builder, types.float32)
        reference, total = vectors.splat(args[1]), vectors.load(sums)
        for v in range(count):
            x = vectors.load(tile, v * vectors.lanes)
            total = builder.fadd(total, vectors.exp(builder.fsub(x, reference)))
        vectors.store(total, sums)
        return context.get_dummy_value()

    return types.void(tile, reference, sums), codegen


def _vectors(context, builder, dtype):
    """What emits operations on vectors, and how many of them a tile has."""
    lanes = lanes_of(dtype.bitwidth)
    return Vectors(builder, context.get_data_type(dtype), dtype.bitwidth // 8, lanes), PANEL_WIDTH // lanes


def _add_exponentials64(tile, reference, sums):
    for i in range(PANEL_WIDTH):
        sums[0] += exp(tile[i] - reference)


@overload(add_bias)
def _add_bias_of_dtype(tile, bias, word, bound):
    return lambda tile, bias, word, bound: _add_bias(tile, bias, word, bound)


@overload(add_exponentials)
def _add_exponentials_of_dtype(tile, reference, sums):
    if tile.dtype == types.float32:
        return lambda tile, reference, sums: _add_exponentials32(tile, reference, sums)
    return _add_exponentials64

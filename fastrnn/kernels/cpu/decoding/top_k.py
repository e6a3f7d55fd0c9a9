"""The best words of many rows of logits, and the sums of their exponentials, from pieces that lie in cache.

A piece, PANEL words, is visited once, right after its product. A bound tells, a vector at a time, whether it holds
anything new for a row: a word better than the least that is kept, or one so much larger than the row's reference that
the exponentials would leave their range. Seldom it does. The exponentials, less the reference, are then added lane by
lane.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiler.jit import jit, overload
from ...linalg.elementwise import exp
from ...linalg.gemm import PANEL
from ...linalg.simd import Vectors, lanes_of

LANES = 16  # of sums, as many as a vector has at most
ABOVE = 30  # how far beyond the reference a logit may be: e**30 is far from overflow, even in a sum


class Candidates(NamedTuple):
    """The best words of R rows, of each of M members' words; memory that is overwritten."""

    value: np.ndarray  # (M, R, W): logits, the largest first, of equals the earlier word
    word: np.ndarray  # int64[M, R, W]
    count: np.ndarray  # int64[M, R]: of them
    bound: np.ndarray  # (M, R): what a logit must exceed to be looked at
    reference: np.ndarray  # (M, R): what is subtracted in the exponentials
    sums: np.ndarray  # (M, R, LANES): of the exponentials of all words, allowed or not; added up in `finish`
    taken: np.ndarray  # int64[M, R]: how many of a row's candidates have been taken
    log_sum: np.ndarray  # float64[R]: ln of the sum of exp(logit) over the words of all members


def allocate(members, rows, width, dtype):
    """Memory for the candidates of `rows` rows."""
    M, R = members, rows
    return Candidates(
        np.empty((M, R, width), dtype), np.empty((M, R, width), np.int64), np.zeros((M, R), np.int64),
        np.empty((M, R), dtype), np.empty((M, R), dtype), np.empty((M, R, LANES), dtype),
        np.zeros((M, R), np.int64), np.zeros(R),
    )  # fmt: skip


@jit
def clear(member, row, candidates):
    """No words yet."""
    nothing = candidates.bound.dtype.type(-np.inf)
    candidates.count[member, row] = 0
    candidates.bound[member, row] = candidates.reference[member, row] = nothing
    candidates.sums[member, row, :] = 0


@jit
def visit(piece, bias, word, allowed, room, member, row, candidates):
    """Take the logits of words word...word + PANEL - 1 into account.

    Parameters
    ----------
    piece : (PANEL,)
        The logits less their bias, which is added to them.
    bias, allowed : arrays, bool for the latter, of all words, up to a multiple of PANEL
        The bias is -inf for words that are none. Those not allowed are no candidates.
    room : int
        Candidates to keep, at least 1.
    """
    if add_bias(piece, bias, word, candidates.bound[member, row]):
        _take(piece, word, allowed, room, member, row, candidates)
    add_exponentials(piece, candidates.reference[member, row], candidates.sums[member, row])


@jit
def _take(piece, word, allowed, room, member, row, candidates):
    """Candidates of a piece that holds something new, and a reference and a bound after it."""
    value, best, sums = candidates.value[member, row], candidates.word[member, row], candidates.sums[member, row]
    count, bound, reference = candidates.count[member, row], candidates.bound[member, row], candidates.reference
    nothing, above = piece.dtype.type(-np.inf), piece.dtype.type(ABOVE)
    least, high = value[room - 1] if count == room else nothing, nothing
    for i in range(PANEL):
        x = piece[i]
        if x > bound:
            high = max(high, x)
            if x > least and allowed[word + i]:
                count = _insert(x, word + i, value, best, count, room)
                least = value[room - 1] if count == room else nothing
    candidates.count[member, row] = count
    if high > reference[member, row] + above:
        factor = exp(reference[member, row] - high)
        for i in range(LANES):
            sums[i] *= factor
        reference[member, row] = high
    candidates.bound[member, row] = min(least, reference[member, row] + above)


@jit
def _insert(x, new_word, value, word, count, room):
    """Put x among the `count` values, the largest first, of equals the older; the least may fall out."""
    at = count if count < room else room - 1
    while at > 0 and value[at - 1] < x:
        value[at], word[at] = value[at - 1], word[at - 1]
        at -= 1
    value[at], word[at] = x, new_word
    return min(count + 1, room)


@jit
def finish(row, candidates):
    """The log_sum of a row, once all words were visited; none of its candidates is taken."""
    reference, sums = candidates.reference, candidates.sums
    high, total = reference[0, row], 0.0
    for member in range(1, len(reference)):
        high = max(high, reference[member, row])
    for member in range(len(reference)):
        candidates.taken[member, row], part = 0, 0.0
        for i in range(LANES):
            part += sums[member, row, i]
        total += part * math.exp(float(reference[member, row]) - float(high))
    candidates.log_sum[row] = float(high) + math.log(total)


# ---- Vector code, and the same in NumPy for NUMBA_DISABLE_JIT=1


def add_bias(piece, bias, word, bound):
    """Add the bias of words word... to a piece (PANEL,), in place; returns whether any sum exceeds the bound."""
    piece += bias[word : word + PANEL]
    return bool((piece > bound).any())


def add_exponentials(piece, reference, sums):
    """Add exp(piece - reference), of at most e**88, to the sums (LANES,), in place; which to which does not matter."""
    with np.errstate(invalid="ignore"):  # nothing but NaN so far
        sums[0] += np.exp(np.maximum(piece - reference, -745.0)).sum()


@intrinsic
def _add_bias(typingctx, piece, bias, word, bound):
    def codegen(context, builder, signature, args):
        piece, bias = (context.make_array(kind)(context, builder, value).data for kind, value in
                       zip(signature.args[:2], args[:2], strict=True))  # fmt: skip
        vectors, count = _vectors(context, builder, signature.args[0].dtype)
        bias, bound, mask = builder.gep(bias, [args[2]]), vectors.splat(args[3]), None
        for v in range(count):
            x = builder.fadd(vectors.load(piece, v * vectors.lanes), vectors.load(bias, v * vectors.lanes))
            vectors.store(x, piece, v * vectors.lanes)
            larger = builder.fcmp_ordered(">", x, bound)
            mask = larger if mask is None else builder.or_(mask, larger)
        bits = builder.bitcast(mask, ir.IntType(vectors.lanes))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(piece, bias, types.intp, piece.dtype), codegen


@intrinsic
def _add_exponentials32(typingctx, piece, reference, sums):
    def codegen(context, builder, signature, args):
        piece, sums = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2))
        vectors, count = _vectors(context, builder, types.float32)
        reference, total = vectors.splat(args[1]), vectors.load(sums)
        for v in range(count):
            x = vectors.load(piece, v * vectors.lanes)
            total = builder.fadd(total, vectors.exp(builder.fsub(x, reference)))
        vectors.store(total, sums)
        return context.get_dummy_value()

    return types.void(piece, reference, sums), codegen


def _vectors(context, builder, dtype):
    """What emits operations on vectors, and how many of them a piece has."""
    lanes = lanes_of(dtype.bitwidth)
    return Vectors(builder, context.get_data_type(dtype), dtype.bitwidth // 8, lanes), PANEL // lanes


def _add_exponentials64(piece, reference, sums):
    for i in range(PANEL):
        sums[0] += exp(piece[i] - reference)


@overload(add_bias)
def _add_bias_of_dtype(piece, bias, word, bound):
    return lambda piece, bias, word, bound: _add_bias(piece, bias, word, bound)


@overload(add_exponentials)
def _add_exponentials_of_dtype(piece, reference, sums):
    if piece.dtype == types.float32:
        return lambda piece, reference, sums: _add_exponentials32(piece, reference, sums)
    return _add_exponentials64

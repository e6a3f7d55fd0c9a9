"""The output layer with factors in bfloat16: the passes over words of softmax.py, for a `BFloat16Softmax`.

    logits    of V and h    [words, tokens] = V [words, pairs of units] h^T [pairs of units, tokens]
    V^T e     of e and V    [tokens, units] = e^T [tokens, pairs of words] V [pairs of words, units]
    dV        of e and f h  [words, units]  = e [words, pairs of tokens] f h [pairs of tokens, units]

Of a sub-block of words the logits are formed in float32, and rounded when they are exponentials: in token pairs, which
are kept for dV, and in word pairs, which V^T e takes at once. Sums, and all else, are in float32.

Where the rounding would count, nothing is rounded: the target's logit is the exact one, in its exponential too, so that
no cross-entropy is negative; and its e in the products is 0. The omitted term, -(1 - o[y]) times h or V[y], is added
in float32: in bfloat16 it would round to zero once o[y] is near 1.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...compiler.jit import jit, overload
from ...compiler.views import ravel
from ...linalg.bfloat16 import (
    HALF,
    LOWER,
    UPPER,
    interleave_rows,
    interleave_scaled_rows,
    pack_adjacent,
    pack_bfloat16,
    unpack_bfloat16,
)
from ...linalg.elementwise import exp
from ...linalg.gemm import product
from ...linalg.simd import I32, Vectors, constant, lanes_of
from .softmax_blocks import (
    LOWEST,
    TOKENS,
    WORDS,
    exceeds,
    first_reference,
    highest,
    mask_targets,
    row_length,
    word_parts,
)


class BFloat16Softmax(NamedTuple):
    """As `softmax.Softmax`, with factors in bfloat16, two in a uint32: of tokens 2 k, 2 k + 1, or units, or words."""

    nll: np.ndarray
    e: np.ndarray  # uint32[(C + 1) * TOKENS // 2]: exponentials, of two tokens
    hT: np.ndarray  # uint32[M, (H + 1) // 2 * TOKENS]: states, transposed, of two units
    reference: np.ndarray
    total: np.ndarray
    log_sum: np.ndarray
    finite: np.ndarray
    target_logit: np.ndarray
    target_error: np.ndarray
    factor: np.ndarray
    scaled: np.ndarray  # uint32[M, TOKENS // 2, H]: of two tokens
    dh_part: np.ndarray
    V: np.ndarray  # uint32[C, (H + 1) // 2]: of two units
    V_words: np.ndarray  # uint32[(C + 1) // 2, H]: of two words
    z: np.ndarray  # (M, WORDS * TOKENS): logits of a sub-block
    e_words: np.ndarray  # uint32[M, WORDS // 2 * TOKENS]: its exponentials, of two words
    before: np.ndarray  # (M, TOKENS): sums before it
    factors: np.ndarray  # uint32[M, TOKENS // 2]: factor, of two tokens


def allocate_bfloat16(C, H, N, M, learn):
    """A `BFloat16Softmax` for batches of N tokens and M threads; `learn`: 1 with the memory for gradients, or 0."""
    units, words, tokens, P = (H + 1) // 2, (C + 1) // 2, TOKENS // 2, word_parts(C, M)

    def real(*shape):
        return np.empty(shape, np.float32)

    def pairs(*shape):
        return np.empty(shape, np.uint32)

    return BFloat16Softmax(
        nll=real(N), e=pairs((C + 1) * tokens), hT=pairs(M, units * TOKENS), reference=real(P, TOKENS),
        total=real(P, TOKENS), log_sum=real(TOKENS), finite=np.ones(1, np.int64), target_logit=real(TOKENS),
        target_error=real(TOKENS), factor=real(P, TOKENS), scaled=pairs(learn * M, tokens, H),
        dh_part=real(P, learn * TOKENS, H), V=pairs(C, units), V_words=pairs(words, H), z=real(M, WORDS * TOKENS),
        e_words=pairs(M, WORDS // 2 * TOKENS), before=real(M, TOKENS), factors=pairs(M, tokens),
    )  # fmt: skip


def round_weights(V, first, last, work):
    """Rows first..last of V, the first an even one, in bfloat16: in pairs of units, and in pairs of words."""
    for word in range(first, last):
        pack_adjacent(V[word], work.V[word])
    for word in range(first, last, 2):
        if word + 1 < last:
            interleave_rows(V[word], V[word + 1], work.V_words[word // 2])
        else:
            interleave_rows(V[word], V[word, :0], work.V_words[word // 2])


def transpose(rows, H, hT):
    """As `softmax.transpose`."""
    _transpose(rows, H, hT, row_length(len(rows)))


def pass_logits(thread, part, V, c, first, last, targets, work, learn, without_targets):
    """As `softmax.pass_logits`."""
    H, n, units = V.shape[1], len(targets), work.V.shape[1]
    length, even = row_length(n), n + n % 2  # a token beyond an odd last one makes its pair, of zeros
    hT, z, e_words, dh_part = work.hT[thread], work.z[thread], work.e_words[thread], work.dh_part[part]
    reference, total, before = work.reference[part], work.total[part], work.before[thread]
    for i in range(length):
        reference[i], total[i] = -np.inf if i < n else 0, 0
    for word0 in range(first, last, WORDS):
        words, at = min(WORDS, last - word0), word0 * length // 2
        product(ravel(work.V), word0 * units, units, 1, hT, 0, length, z, 0, length, words, even, units, False)
        if without_targets:
            mask_targets(word0, words, targets, z, 0, length)
        else:
            _set_targets(c, word0, words, targets, work.target_logit, z, length)
        for i in range(length):
            before[i] = total[i]
        if word0 == first:
            first_reference(c, word0, words, z, 0, length, n, LOWEST if without_targets else -np.inf, reference)
        exponentials_in_pairs(z, length, words, c, word0, reference, total, work.e, at, e_words)
        if exceeds(total, n):
            for i in range(length):
                total[i] = before[i]
            _raise_reference(c, first, word0, words, n, z, work.e, reference, total, dh_part, learn)
            exponentials_in_pairs(z, length, words, c, word0, reference, total, work.e, at, e_words)
        if learn:
            _clear_targets(word0, words, targets, work.e, e_words, length)
            product(
                e_words, 0, 1, length, ravel(work.V_words), word0 // 2 * H, H, ravel(dh_part), 0, H,
                n, H, (words + 1) // 2, word0 > first,
            )  # fmt: skip
    if learn and first == last:
        dh_part[:n] = 0


def pass_gradients(thread, part, first, last, rows, work, dV, dc, add):
    """As `softmax.pass_gradients`."""
    H, n = dV.shape[1], len(rows)
    length, pairs = row_length(n), (n + 1) // 2
    factor, scaled, factors = work.factor[part], work.scaled[thread], work.factors[thread]
    nothing = factor.dtype.type(0)
    for k in range(pairs):
        i = 2 * k
        other, scale = (i + 1, factor[i + 1]) if i + 1 < n else (i, nothing)
        interleave_scaled_rows(rows[i, :H], factor[i], rows[other, :H], scale, scaled[k])
        factors[k] = pack_bfloat16(factor[i], scale)
    for word0 in range(first, last, WORDS):
        words, at, row = min(WORDS, last - word0), word0 * length // 2, length // 2
        product(work.e, at, row, 1, ravel(scaled), 0, H, ravel(dV), word0 * H, H, words, H, pairs, add)
        if len(dc) > 0:
            product(work.e, at, row, 1, factors, 0, 1, dc, word0, 1, words, 1, pairs, add)


def one_minus_p(i, log_sum, work):
    """As `softmax.one_minus_p`: for a target that is well predicted the products hold nothing of its o - 1."""
    return 1 - min(log_sum.dtype.type(1), exp(work.target_logit[i] - log_sum[i]))


@jit
def _raise_reference(c, first, word0, words, n, z, e, reference, total, dh_part, learn):
    """Raise the references to the logits of words word0...; the exponentials since `first` and their sums go along."""
    length, H = row_length(n), dh_part.shape[1]
    for i in range(n):
        high = highest(c, word0, words, z, 0, length, i, reference[i])
        factor = exp(reference[i] - high)
        total[i] *= factor
        reference[i] = high
        if learn and word0 > first:
            for word in range(first, word0):
                at = (word * length + i) // 2
                one, other = unpack_bfloat16(e[at], 0), unpack_bfloat16(e[at], 1)
                e[at] = pack_bfloat16(factor * one, other) if i % 2 == 0 else pack_bfloat16(one, factor * other)
            for j in range(H):
                dh_part[i, j] *= factor


@jit
def _transpose(rows, H, hT, length):
    """hT[k * length + i] = two(rows[i, 2 k], rows[i, 2 k + 1]) of H units; zeros beyond an odd last unit or token."""
    n = len(rows)
    for k in range((H + 1) // 2):
        out = hT[k * length : k * length + n + n % 2]
        if 2 * k + 1 < H:
            for i in range(n):
                out[i] = pack_bfloat16(rows[i, 2 * k], rows[i, 2 * k + 1])
        else:
            for i in range(n):
                out[i] = pack_bfloat16(rows[i, 2 * k], rows.dtype.type(0))
        if n % 2 == 1:
            out[n] = 0


@jit
def _set_targets(c, word0, words, targets, target_logit, z, length):
    """Replace the targets' logits of rounded factors by the exact ones, less their bias."""
    for i in range(len(targets)):
        word = targets[i]
        if word0 <= word < word0 + words:
            z[(word - word0) * length + i] = target_logit[i] - c[word] if len(c) > 0 else target_logit[i]


@jit
def _clear_targets(word0, words, targets, e, e_words, length):
    """Make zeros of the targets' exponentials: one of the two numbers of a uint32 in both forms."""
    for i in range(len(targets)):
        word = targets[i]
        if word0 <= word < word0 + words:
            at, within = (word * length + i) // 2, (word - word0) // 2 * length + i
            e[at] &= UPPER if i % 2 == 0 else LOWER
            e_words[within] &= UPPER if word % 2 == 0 else LOWER


def exponentials_in_pairs(z, length, words, c, c0, reference, total, e, e0, e_words):
    """exp(z + c - reference) of a block [words, tokens], added to `total`, and rounded.

    Parameters
    ----------
    z : float32 (at least words * length,)
        The block, in rows of `length`, a multiple of 8.
    c : array
        A number for every word, from `c0` on; or empty.
    reference, total : float32 (at least `length`,)
        A number for every token; `total` is overwritten.
    e : uint32
        Pairs of tokens, [words, length / 2] from `e0` on; overwritten, after an odd number of words by a row more.
    e_words : uint32
        Pairs of words, [(words + 1) // 2, length]; overwritten.
    """
    exact = np.zeros((words + words % 2, length), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what stands beyond the tokens may be anything
        block = z[: words * length].reshape(words, length) - reference[:length]
        if len(c) > 0:
            block += c[c0 : c0 + words, None]
        exact[:words] = np.exp(np.minimum(block, np.float32(88)))
        total[:length] += exact.sum(0)
    bits = (exact.view(np.uint32) + np.uint32(HALF)) >> np.uint32(16)
    count = bits.size // 2
    e[e0 : e0 + count] = (bits[:, ::2] | bits[:, 1::2] << np.uint32(16)).ravel()
    e_words[:count] = (bits[::2] | bits[1::2] << np.uint32(16)).ravel()


@intrinsic
def _exponentials_in_pairs(typingctx, z, length, words, c, c0, reference, total, e, e0, e_words):
    """One visit to every vector of z, two words at a time; e is written as it lies in memory."""

    def codegen(context, builder, signature, args):
        z, length, words, c, c0, reference, total, e, e0, e_words = (
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        )
        half, lanes = ir.IntType(16), lanes_of(32)
        e_row = builder.gep(builder.bitcast(e.data, half.as_pointer()), [builder.mul(e0, constant(2))])
        biased, bias_at = builder.icmp_signed(">", c.nitems, constant(0)), builder.gep(c.data, [c0])
        pairs = builder.sdiv(builder.add(words, constant(1)), constant(2))
        whole = builder.sdiv(length, constant(lanes))
        done = builder.mul(whole, constant(lanes))
        rest = builder.icmp_signed("<", done, length)

        def bias(word):
            """A word's number of c, or zero; what is read is c's or, for none, the first reference."""
            number = builder.load(builder.select(biased, builder.gep(bias_at, [word]), reference.data))
            return builder.select(biased, number, number.type(0.0))

        def pair_of_words(first, second, exists, pair_row, biases, vectors, at):
            """Of the tokens of one vector, from `at` on; z, e and e_words have the pair from `pair_row` on."""
            bits, halves = ir.VectorType(I32, vectors.lanes), ir.VectorType(half, vectors.lanes)
            subtracted = vectors.load(builder.gep(reference.data, [at]))

            def constants(value):
                return ir.Constant(bits, [value] * vectors.lanes)

            def exponential(row, bias):
                z_row = builder.gep(z.data, [builder.add(row, at)])
                return vectors.exp(builder.fsub(builder.fadd(vectors.load(z_row), vectors.splat(bias)), subtracted))

            def keep(e, row):
                """Store the upper halves, rounded; returns where they stand in the upper half, and in the lower."""
                rounded = builder.add(builder.bitcast(e, bits), constants(HALF))
                low = builder.lshr(rounded, constants(16))
                target = builder.bitcast(builder.gep(e_row, [builder.add(row, at)]), halves.as_pointer())
                builder.store(builder.trunc(low, halves), target).align = 2
                return rounded, low

            e0 = exponential(first, biases[0])
            e1 = builder.select(exists, exponential(builder.select(exists, second, first), biases[1]), vectors.zero)
            sums = builder.gep(total.data, [at])
            vectors.store(builder.fadd(vectors.load(sums), builder.fadd(e0, e1)), sums)
            _, low = keep(e0, first)
            high, _ = keep(e1, second)
            joined = builder.or_(low, builder.and_(high, constants(int(UPPER))))
            target = builder.gep(e_words.data, [builder.add(pair_row, at)])
            builder.store(joined, builder.bitcast(target, bits.as_pointer())).align = 4

        with cgutils.for_range(builder, pairs) as loop:
            word = builder.mul(loop.index, constant(2))
            after = builder.add(word, constant(1))
            exists = builder.icmp_signed("<", after, words)
            first, pair_row = builder.mul(word, length), builder.mul(loop.index, length)
            biases = [bias(word), bias(builder.select(exists, after, word))]
            pair = first, builder.add(first, length), exists, pair_row, biases
            with cgutils.for_range(builder, whole) as columns:
                vectors = Vectors(builder, ir.FloatType(), 4, lanes)
                pair_of_words(*pair, vectors, builder.mul(columns.index, constant(lanes)))
            with builder.if_then(rest):
                pair_of_words(*pair, Vectors(builder, ir.FloatType(), 4, lanes // 2), done)
        return context.get_dummy_value()

    return types.void(z, length, words, c, c0, reference, total, e, e0, e_words), codegen


@overload(exponentials_in_pairs)
def _exponentials_in_vectors(z, length, words, c, c0, reference, total, e, e0, e_words):
    def run(z, length, words, c, c0, reference, total, e, e0, e_words):
        _exponentials_in_pairs(z, length, words, c, c0, reference, total, e, e0, e_words)

    return run

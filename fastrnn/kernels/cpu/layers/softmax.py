"""The output layer: logits, softmax, cross-entropy and their gradients, without ever holding them for all tokens.

Tokens are taken in blocks of TOKENS, words in sub-blocks of WORDS that stay in cache; words go to the threads in parts,
so every row of V has one reader and one writer. Of a block only e = exp(z - m) is kept, as
[words, tokens], with tokens along the vector: the softmax's sums then need no sum across a vector.

    z = V h + c;                    o = softmax(z) = f e;   loss = -ln o[y];   f = exp(m) / sum exp(z)
    dz = scale (o - onehot(y));     dV += dz h^T;           dc += dz;          dh = V^T dz

Logits are visited once, for their exponential. No pass looks for their maximum: m is the largest of a
part's first sub-block, which serves as long as no sum exceeds LIMIT; else it is raised. None forms dz either: the
factor f of a token scales h in dV, and the result V^T e in dh; the one-hot part touches one row of V a token.

Words are passed twice: for e and V^T e, and, once their sums and so f are known, for dV. Both passes have a second
form, with factors in bfloat16 (softmax_bfloat16.py), which the type of the memory chooses.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from ...compiler.jit import jit, overload
from ...compiler.views import ravel
from ...linalg.elementwise import exp, exponentials
from ...linalg.gemm import product
from ...threads import end_phase, next_part
from . import output, softmax_bfloat16
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
    words_of,
)

# N tokens of a batch, M threads, P parts of the words.


class Softmax(NamedTuple):
    """The output layer's memory; of one block of tokens, but for nll."""

    nll: np.ndarray  # (N,): cross-entropy of each row, nats
    e: np.ndarray  # (C * TOKENS,): exponentials, in rows of row_length(tokens of the block)
    hT: np.ndarray  # (M, H * TOKENS): states, transposed
    reference: np.ndarray  # (P, TOKENS): what is subtracted from the logits of a part of the words
    total: np.ndarray  # (P, TOKENS): sum of its exponentials
    log_sum: np.ndarray  # (TOKENS,): ln sum exp(logit) over all words
    finite: np.ndarray  # int64[1]: whether all of log_sum were, in the last block
    target_logit: np.ndarray  # (TOKENS,)
    target_error: np.ndarray  # (TOKENS,): what the products lack of 1 - o[y], times the gradient's scale
    factor: np.ndarray  # (P, TOKENS): probability over exponential, times the gradient's scale
    scaled: np.ndarray  # (M, TOKENS, H): states times that
    dh_part: np.ndarray  # (P, TOKENS or 0, H): each part of V^T e
    best: np.ndarray  # int32[P, TOKENS]: most probable of a part's words


def allocate_softmax(C, H, N, M, learn, dtype, bfloat16=False):
    """A `Softmax` or BFloat16Softmax for batches of N tokens and M threads.

    `learn`: 1 with the memory for gradients, or 0.
    """
    if bfloat16:
        return softmax_bfloat16.allocate_bfloat16(C, H, N, M, learn)
    P = word_parts(C, M)

    def real(*shape):
        return np.empty(shape, dtype)

    return Softmax(
        nll=real(N), e=real(C * TOKENS), hT=real(M, H * TOKENS), reference=real(P, TOKENS), total=real(P, TOKENS),
        log_sum=real(TOKENS), finite=np.ones(1, np.int64), target_logit=real(TOKENS), target_error=real(TOKENS),
        factor=real(P, TOKENS), scaled=real(learn * M, TOKENS, H), dh_part=real(P, learn * TOKENS, H),
        best=np.empty((P, TOKENS), np.int32),
    )  # fmt: skip


@jit(indirect=types.boolean)
def output_layer(thread, n_threads, barrier, V, c, count, state, targets, work, dV, dc, dh, dscale, dh_scale, add):
    """Cross-entropy of the `count` packed tokens and, if dV is not empty, its gradients; called by all threads.

    Reads state (count, S*H), with h in its first columns, and targets; writes work.nll (count,), in nats, and

        dV (C, H), dc (C,) or (0,):   the gradients of dscale * sum(nll), added to what is there with `add`
        dh (count, H):                that of dh_scale * dscale * sum(nll)

    `work` is a Softmax, or BFloat16Softmax. A step of gradient descent without a gradient array: pass V and
    c as dV and dc, dscale = -learning rate, dh_scale = 1 / dscale and `add`, with at most TOKENS tokens (a second
    block would see the new V). Returns False, before any gradient of a block was written, if one of its
    cross-entropies is not finite.
    """
    learn, parts = len(dV) > 0, len(work.total)
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        words, rows, dh_rows = targets[block : block + n], state[block : block + n], dh[block : block + n]
        hT_is_there, part = False, next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part == parts:
                _close_logits(n, work, dscale)
                for i in range(n):
                    work.nll[block + i] = work.log_sum[i] - work.target_logit[i]
            else:
                first, last = words_of(part, parts, len(V))
                if block == 0:
                    round_weights(V, first, last, work)
                if not hT_is_there:
                    transpose(rows, V.shape[1], work.hT[thread])
                    hT_is_there = True
                _target_logits(V, c, first, last, words, rows, work.target_logit, dh_rows)
                pass_logits(thread, part, V, c, first, last, words, work, learn, False)
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)
        if learn:
            if work.finite[0] == 0:
                return False
            part = next_part(thread, n_threads, barrier, parts + n_threads, -1)
            while part >= 0:
                if part < parts:
                    first, last = words_of(part, parts, len(V))
                    pass_gradients(thread, part, first, last, rows, work, dV, dc, add or block > 0)
                    target_gradients(first, last, words, rows, work.target_error, dV, dc)
                elif part < parts + n_threads:
                    sum_parts(part - parts, n_threads, n, work, dh_rows, dh_scale)
                part = next_part(thread, n_threads, barrier, parts + n_threads, part)
            end_phase(thread, n_threads, barrier)
    return True


@jit
def probabilities(thread, n_threads, barrier, V, c, count, state, origin, work, best, proba):
    """Most probable word of every packed token and, if `proba` has rows, all probabilities; called by all threads.

    Writes best (tokens of the corpus,) int32 and proba (the same or 0, C) at the rows' `origin`. `work` is a
    Softmax.
    """
    parts = len(work.total)
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        positions, rows = origin[block : block + n], state[block : block + n]
        hT_is_there, part = False, next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part == parts:
                _close_logits(n, work, 1.0)
            else:
                first, last = words_of(part, parts, len(V))
                if not hT_is_there:
                    transpose(rows, V.shape[1], work.hT[thread])
                    hT_is_there = True
                unused = work.best[part, :n]  # for targets: with a Softmax only their number matters
                pass_logits(thread, part, V, c, first, last, unused, work, False, False)
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part == parts:
                _best_words(n, positions, work, best)
            else:
                first, last = words_of(part, parts, len(V))
                largest = work.total[part]  # reuses the memory of the sums
                _block_probabilities(first, last, positions, work.e, work.factor[part], largest, work.best[part], proba)
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)


@jit
def _target_logits(V, c, first, last, targets, rows, target_logit, dh_rows):
    """The targets' logits, and their rows of V into `dh_rows` if that has rows; for targets among words first..last."""
    H = V.shape[1]
    for i in range(len(targets)):
        word = targets[i]
        if first <= word < last:
            h, v = rows[i], V[word]
            total = h[0] * v[0]
            for j in range(1, H):
                total += h[j] * v[j]
            target_logit[i] = total + c[word] if len(c) > 0 else total
            if len(dh_rows) > 0:
                error = dh_rows[i]
                for j in range(H):
                    error[j] = v[j]


def _pass_logits(thread, part, V, c, first, last, targets, work, learn, without_targets):
    H, n = V.shape[1], len(targets)
    length = row_length(n)
    hT, e, dh_part, reference, total = (
        work.hT[thread], work.e, work.dh_part[part], work.reference[part], work.total[part]
    )  # fmt: skip
    for i in range(length):
        reference[i], total[i] = -np.inf, 0
    for word0 in range(first, last, WORDS):
        words, at = min(WORDS, last - word0), word0 * length
        product(ravel(V), word0 * H, H, 1, hT, 0, length, e, at, length, words, n, H, False)
        if without_targets:
            mask_targets(word0, words, targets, e, at, length)
        if word0 == first:
            first_reference(c, word0, words, e, at, length, n, LOWEST if without_targets else -np.inf, reference)
        exponentials(e, at, length, n, words, c, word0, reference, total)
        if exceeds(total, n):
            product(ravel(V), word0 * H, H, 1, hT, 0, length, e, at, length, words, n, H, False)
            if without_targets:
                mask_targets(word0, words, targets, e, at, length)
            _raise_reference(c, first, word0, words, n, e, reference, total, dh_part, learn)
            exponentials(e, at, length, n, words, c, word0, reference, total)
        if learn:
            product(e, at, 1, length, ravel(V), word0 * H, H, ravel(dh_part), 0, H, n, H, words, word0 > first)
    if learn and first == last:
        dh_part[:n] = 0


def _pass_gradients(thread, part, first, last, rows, work, dV, dc, add):
    H, n = dV.shape[1], len(rows)
    length, e, factor, scaled = row_length(n), work.e, work.factor[part], work.scaled[thread]
    for i in range(n):
        h, out = rows[i], scaled[i]
        for j in range(H):
            out[j] = factor[i] * h[j]
    for word0 in range(first, last, WORDS):
        words, at = min(WORDS, last - word0), word0 * length
        product(e, at, length, 1, ravel(scaled), 0, H, ravel(dV), word0 * H, H, words, H, n, add)
        if len(dc) > 0:
            product(e, at, length, 1, factor, 0, 1, dc, word0, 1, words, 1, n, add)


def _transpose(rows, H, hT):
    length = row_length(len(rows))
    for j0 in range(0, H, 16):
        for i in range(len(rows)):  # a few units at a time, so that the writes stay in few lines of the cache
            row = rows[i]
            for j in range(j0, min(H, j0 + 16)):
                hT[j * length + i] = row[j]


@jit
def _raise_reference(c, first, word0, words, n, e, reference, total, dh_part, learn):
    """Raise the references to the logits of words word0...; the exponentials since `first` and their sums go along."""
    length, H = row_length(n), dh_part.shape[1]
    for i in range(n):
        high = highest(c, word0, words, e, word0 * length, length, i, reference[i])
        factor = exp(reference[i] - high)
        total[i] = 0
        for word in range(first, word0):
            e[word * length + i] *= factor
            total[i] += e[word * length + i]
        if learn and word0 > first:
            for j in range(H):
                dh_part[i, j] *= factor
        reference[i] = high


@jit
def _close_logits(n, work, scale):
    """With the sums of all parts: work.log_sum, work.factor, and `scale` times what the products lack of 1 - o[y]."""
    reference, total, log_sum, parts = work.reference, work.total, work.log_sum, len(work.total)
    finite = True
    for i in range(n):
        highest = reference[0, i]
        for part in range(1, parts):
            highest = max(highest, reference[part, i])
        summed = 0.0
        for part in range(parts):
            summed += total[part, i] * math.exp(reference[part, i] - highest)
        log_sum[i] = highest + math.log(summed) if summed > 0 else np.nan
        finite = finite and np.isfinite(log_sum[i])
    work.finite[0] = 1 if finite else 0
    scale_exponentials(n, work, scale)
    for i in range(n):
        work.target_error[i] = scale * one_minus_p(i, log_sum, work)


@jit
def scale_exponentials(n, work, scale):
    """work.factor: what makes e of a part probabilities times `scale`."""
    reference, log_sum = work.reference, work.log_sum
    for part in range(len(work.total)):
        factor, own = work.factor[part], reference[part]
        for i in range(n):
            factor[i] = scale * exp(own[i] - log_sum[i])


@jit
def _best_words(n, positions, work, best):
    """The most probable word of every token, of those of all parts."""
    for i in range(n):
        winner = 0
        for part in range(1, len(work.total)):
            if work.total[part, i] > work.total[winner, i]:
                winner = part
        best[positions[i]] = work.best[winner, i]


@jit
def target_gradients(first, last, targets, rows, target_error, dV, dc):
    """What the targets among words first..last add to the sums over tokens."""
    for i in range(len(targets)):
        word = targets[i]
        if first <= word < last:
            h, out, scale = rows[i], dV[word], target_error[i]
            for j in range(len(out)):
                out[j] -= scale * h[j]
            if len(dc) > 0:
                dc[word] -= scale


@jit
def sum_parts(share, shares, n, work, dh, dh_scale):
    """dh of a share of a block's tokens, where the targets' rows of V stand so far."""
    for i in range(n * share // shares, n * (share + 1) // shares):
        out, scale = dh[i], work.target_error[i]
        for j in range(len(out)):
            out[j] *= -scale
        for part in range(len(work.dh_part)):
            row, f = work.dh_part[part, i], work.factor[part, i]
            for j in range(len(out)):
                out[j] += f * row[j]
        for j in range(len(out)):
            out[j] *= dh_scale


@jit
def add_columns(row, total, first, last):
    """total += row, columns first..last."""
    for j in range(first, last):
        total[j] += row[j]


@jit
def _block_probabilities(first, last, positions, e, factor, largest, best, proba):
    """Probabilities of words first..last, into proba; each token's largest into `largest`, its word into `best`."""
    n = len(positions)
    length = row_length(n)
    for i in range(n):
        largest[i], best[i] = -1, first
    for word in range(first, last):
        row = e[word * length : word * length + n]
        for i in range(n):
            p = row[i] * factor[i]
            if p > largest[i]:
                largest[i], best[i] = p, word
            if len(proba) > 0:
                proba[positions[i], word] = p


# ---- The passes over words, whose form the memory chooses


def round_weights(V, first, last, work):
    """Prepare words first..last of V, before the first pass."""
    if _in_bfloat16(work):
        softmax_bfloat16.round_weights(V, first, last, work)


def transpose(rows, H, hT):
    """The H units of the states of a block's tokens, transposed: hT[j * row_length(tokens) + i] = rows[i, j]."""
    (softmax_bfloat16.transpose if hT.dtype == np.uint32 else _transpose)(rows, H, hT)


def pass_logits(thread, part, V, c, first, last, targets, work, learn, without_targets):
    """e of part `part`, words first..last, of a block of tokens, sums of e, and, to learn, its part of V^T e.

    Of a token's target the exponential is 0, and not in the sum, with `without_targets`. They go into work.e,
    work.total[number] and work.part[number], less what is left in work.reference[number]. The states are in
    work.hT[thread].
    """
    passes = softmax_bfloat16.pass_logits if _in_bfloat16(work) else _pass_logits
    passes(thread, part, V, c, first, last, targets, work, learn, without_targets)


def pass_gradients(thread, part, first, last, rows, work, dV, dc, add):
    """Rows first..last of dV and dc, less the one-hot parts: from work.e, once work.factor[number] is known."""
    passes = softmax_bfloat16.pass_gradients if _in_bfloat16(work) else _pass_gradients
    passes(thread, part, first, last, rows, work, dV, dc, add)


def one_minus_p(i, log_sum, work):
    """What the sums over words and tokens lack of 1 - o[y] of token i."""
    return softmax_bfloat16.one_minus_p(i, log_sum, work) if _in_bfloat16(work) else _one_minus_p(i, log_sum, work)


def _in_bfloat16(work):
    return work.e.dtype == np.uint32


def _no_rounding(V, first, last, work):
    pass


def _one_minus_p(i, log_sum, work):
    return log_sum.dtype.type(1)


def _choice(work, plain, in_bfloat16):
    """For the type of `work`."""
    return in_bfloat16 if work.types[work.fields.index("e")].dtype == types.uint32 else plain


@overload(round_weights)
def _round_weights_of_type(V, first, last, work):
    return _choice(work, _no_rounding, softmax_bfloat16.round_weights)


@overload(transpose)
def _transpose_of_type(rows, H, hT):
    return softmax_bfloat16.transpose if hT.dtype == types.uint32 else _transpose


@overload(pass_logits)
def _pass_logits_of_type(thread, part, V, c, first, last, targets, work, learn, without_targets):
    return _choice(work, _pass_logits, softmax_bfloat16.pass_logits)


@overload(pass_gradients)
def _pass_gradients_of_type(thread, part, first, last, rows, work, dV, dc, add):
    return _choice(work, _pass_gradients, softmax_bfloat16.pass_gradients)


@overload(one_minus_p)
def _one_minus_p_of_type(i, log_sum, work):
    return _choice(work, _one_minus_p, softmax_bfloat16.one_minus_p)


# ---- What the passes ask for, see output.py: the gradients are the model's own


def _begin(memory, key, targets, tokens, count):
    pass


def _learn(thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add):
    return output_layer(
        thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add
    )


def _add_to_dV(memory, dV, word, d, first, last):
    add_columns(d, dV[word], first, last)


def _first_dense(memory, cell_start):
    return 0


def _squares(share, shares, memory):
    return 0.0


def _update(share, shares, rule, dense, moments, constants, memory):
    pass


def _free(share, shares, memory):
    pass


_FUNCTIONS = output.Functions(_begin, _learn, _add_to_dV, _first_dense, _squares, _update, _free)
output.implement(Softmax, _FUNCTIONS)
output.implement(softmax_bfloat16.BFloat16Softmax, _FUNCTIONS)

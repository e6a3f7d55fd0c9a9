"""The output layer: logits, softmax, cross-entropy and their gradients, without ever holding them for all tokens.

Tokens are taken in blocks of TOKENS, words in sub-blocks of WORDS that stay in cache; words are split over
the team, so every row of V has one reader and one writer. Of a block only e = exp(z - m) is kept, as
[words, tokens], with tokens along the vector: the softmax's sums then need no sum across a vector.

    z = V h + c;                    o = softmax(z) = f e;   loss = -ln o[y];   f = exp(m) / sum exp(z)
    dz = scale (o - onehot(y));     dV += dz h^T;           dc += dz;          dh = V^T dz

Logits are visited once, for their exponential. No pass looks for their maximum: m is the largest of a
member's first sub-block, which serves as long as no sum exceeds LIMIT; else it is raised. None forms dz either: the
factor f of a token scales h in dV, and the result in dh; the one-hot part touches one row of V a token.
"""

import math

import numpy as np
from numba import types

from .gemm import product
from .jit import jit
from .linking import flat
from .mathfun import exp, exponentials
from .threads import meet

TOKENS = 120  # no power of two, or the rows of e would fall into the same places of the cache
WORDS = 96
GRAIN = 8  # rows of e are as long as the block's tokens, rounded up to a multiple of this
LIMIT = 1e20  # of a sum of exponentials: far from overflow


@jit(separate=types.boolean)
def output_layer(member, size, barrier, V, c, count, state, targets, work, dV, dc, dh, dscale, dh_scale, add):
    """Cross-entropy of the `count` packed tokens and, if dV is not empty, its gradients; called by the whole team.

    Reads state (count, S*H), with h in its first columns, and targets; writes work.nll (count,), in nats, and

        dV (C, H), dc (C,) or (0,):   the gradients of dscale * sum(nll), added to what is there with `add`
        dh (count, H):                that of dh_scale * dscale * sum(nll)

    `work` is a workspace.Softmax. A step of gradient descent without a gradient array: pass V and c as dV
    and dc, dscale = -learning rate, dh_scale = 1 / dscale and `add`, with at most TOKENS tokens (a second
    block would see the new V). Returns False, before any gradient of a block was written, if one of its
    cross-entropies is not finite.
    """
    first, last = len(V) * member // size, len(V) * (member + 1) // size
    learn = len(dV) > 0
    log_sum = work.log_sum[member]
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        words, rows, errors = targets[block : block + n], state[block : block + n], dh[block : block + n]
        _target_logits(V, c, first, last, words, rows, work.target_logit, errors)
        _exponentials(V, c, first, last, n, rows, work.hT[member], work.e, work.reference[member], work.total[member])
        meet(barrier, size)
        finite = _log_sums(size, n, work.reference, work.total, log_sum)
        if member == 0:
            for i in range(n):
                work.nll[block + i] = log_sum[i] - work.target_logit[i]
        if learn:
            if not finite:
                return False
            _block_gradients(
                V, first, last, words, rows, work.e, work.reference[member], log_sum, work.factor[member],
                work.scaled[member], dV, dc, work.part[member], dscale, add or block > 0,
            )  # fmt: skip
        meet(barrier, size)
        if learn:
            _sum_parts(member, size, n, work.factor, work.part, errors, dscale, dh_scale)
    return True


@jit
def probabilities(member, size, barrier, V, c, count, state, origin, work, best, proba):
    """Most probable word of every packed token and, if `proba` has rows, all probabilities; called by the whole team.

    Writes best (tokens of the corpus,) int32 and proba (the same or 0, C) at the rows' `origin`.
    """
    first, last = len(V) * member // size, len(V) * (member + 1) // size
    log_sum, factor, largest = work.log_sum[member], work.factor[member], work.total[member]
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        places, rows = origin[block : block + n], state[block : block + n]
        _exponentials(V, c, first, last, n, rows, work.hT[member], work.e, work.reference[member], work.total[member])
        meet(barrier, size)
        _log_sums(size, n, work.reference, work.total, log_sum)
        meet(barrier, size)
        for i in range(n):
            factor[i] = exp(work.reference[member, i] - log_sum[i])
        _block_probabilities(first, last, places, work.e, factor, largest, work.best[member], proba)
        meet(barrier, size)
        for i in range(n * member // size, n * (member + 1) // size):
            winner = 0
            for other in range(1, size):
                if work.total[other, i] > work.total[winner, i]:
                    winner = other
            best[places[i]] = work.best[winner, i]
        meet(barrier, size)


@jit
def row_length(n):
    """Elements from a row of e to the next, in a block of n tokens."""
    return (n + GRAIN - 1) // GRAIN * GRAIN


@jit
def _target_logits(V, c, first, last, targets, rows, target_logit, errors):
    """The targets' logits, and their rows of V into `errors` if that has rows; for targets among words first..last."""
    H = V.shape[1]
    for i in range(len(targets)):
        word = targets[i]
        if first <= word < last:
            h, v = rows[i], V[word]
            total = h[0] * v[0]
            for j in range(1, H):
                total += h[j] * v[j]
            target_logit[i] = total + c[word] if len(c) > 0 else total
            if len(errors) > 0:
                error = errors[i]
                for j in range(H):
                    error[j] = v[j]


@jit
def _exponentials(V, c, first, last, n, rows, hT, e, reference, total):
    """e = exp(logit - reference) for words first..last of a block of n tokens, and its sums."""
    H, length = V.shape[1], row_length(n)
    _transpose(rows, hT, length)
    for i in range(length):
        reference[i], total[i] = -np.inf, 0
    for word0 in range(first, last, WORDS):
        words = min(WORDS, last - word0)
        product(flat(V), word0 * H, H, 1, hT, 0, length, e, word0 * length, length, words, n, H, False)
        if word0 == first:
            _raise_reference(c, first, word0, words, n, e, reference, total)
        exponentials(e, word0 * length, length, n, words, c, word0, reference, total)
        if _exceeds(total, n):
            product(flat(V), word0 * H, H, 1, hT, 0, length, e, word0 * length, length, words, n, H, False)
            _raise_reference(c, first, word0, words, n, e, reference, total)
            exponentials(e, word0 * length, length, n, words, c, word0, reference, total)


@jit
def _transpose(rows, hT, length):
    """hT[j * length + i] = rows[i, j] for the units j; a few units at a time, so that the writes stay in few lines."""
    H = len(hT) // TOKENS
    for j0 in range(0, H, 16):
        for i in range(len(rows)):
            row = rows[i]
            for j in range(j0, min(H, j0 + 16)):
                hT[j * length + i] = row[j]


@jit
def _exceeds(total, n):
    """Whether one of the sums is beyond LIMIT, or not a number."""
    for i in range(n):
        if not total[i] <= LIMIT:
            return True
    return False


@jit
def _raise_reference(c, first, word0, words, n, z, reference, total):
    """Raise the references to the logits of words word0...; the exponentials since `first` and their sums go along."""
    length = row_length(n)
    for i in range(n):
        high = reference[i]
        for word in range(word0, word0 + words):
            logit = z[word * length + i]
            high = max(high, logit + c[word] if len(c) > 0 else logit)
        factor = exp(reference[i] - high)
        total[i] = 0
        for word in range(first, word0):
            z[word * length + i] *= factor
            total[i] += z[word * length + i]
        reference[i] = high


@jit
def _log_sums(size, n, reference, total, log_sum):
    """log_sum = ln sum exp(logit) over all words, joined from the members' parts. Returns whether all are finite."""
    finite = True
    for i in range(n):
        highest = reference[0, i]
        for other in range(1, size):
            highest = max(highest, reference[other, i])
        summed = 0.0
        for other in range(size):
            summed += total[other, i] * math.exp(reference[other, i] - highest)
        log_sum[i] = highest + math.log(summed) if summed > 0 else np.nan
        finite = finite and np.isfinite(log_sum[i])
    return finite


@jit
def _block_gradients(
    V, first, last, targets, rows, e, reference, log_sum, factor, scaled, dV, dc, part, dscale, add
):  # fmt: skip
    """Rows first..last of dV and dc; these words' part of dh, less its factors and its one-hot term."""
    H, n = V.shape[1], len(targets)
    length = row_length(n)
    for i in range(n):
        factor[i] = dscale * exp(reference[i] - log_sum[i])
        h, out = rows[i], scaled[i]
        for j in range(H):
            out[j] = factor[i] * h[j]
    if first == last:
        part[:n] = 0
    for word0 in range(first, last, WORDS):
        words, at = min(WORDS, last - word0), word0 * length
        product(e, at, 1, length, flat(V), word0 * H, H, flat(part), 0, H, n, H, words, word0 > first)
        product(e, at, length, 1, flat(scaled), 0, H, flat(dV), word0 * H, H, words, H, n, add)
        if len(dc) > 0:
            product(e, at, length, 1, factor, 0, 1, dc, word0, 1, words, 1, n, add)
    for i in range(n):
        word = targets[i]
        if first <= word < last:
            h, out = rows[i], dV[word]
            for j in range(H):
                out[j] -= dscale * h[j]
            if len(dc) > 0:
                dc[word] -= dscale


@jit
def _sum_parts(member, size, n, factor, part, dh, dscale, dh_scale):
    """dh of this member's share of a block's tokens, where the targets' rows of V stand so far."""
    for i in range(n * member // size, n * (member + 1) // size):
        out = dh[i]
        for j in range(len(out)):
            out[j] *= -dscale
        for other in range(size):
            piece, f = part[other, i], factor[other, i]
            for j in range(len(out)):
                out[j] += f * piece[j]
        for j in range(len(out)):
            out[j] *= dh_scale


@jit
def _block_probabilities(first, last, places, e, factor, largest, best, proba):
    """Probabilities of words first..last, into proba; each token's largest into `largest`, its word into `best`."""
    n = len(places)
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
                proba[places[i], word] = p

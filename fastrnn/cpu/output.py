"""The output layer: logits, softmax, cross-entropy and their gradients, without ever holding them for all tokens.

Tokens are taken in blocks of TOKENS, words in sub-blocks of WORDS that stay in cache; words are split over
the team, so every row of V has one reader and one writer. Logits are kept as [words, tokens], tokens along
the vector: the softmax's sums then need no sum across a vector, and the same block serves as A of dV and as
B of dh. One exponential a logit: a sub-block keeps e = exp(z - m) with m the running maximum when it was
computed, and is rescaled once the sums are known.

    z = V h + c;                    o = softmax(z);   loss = -ln o[y]
    dz = scale (o - onehot(y));     dV += dz h^T;     dc += dz;    dh = V^T dz
"""

import math

import numpy as np

from .gemm import product
from .jit import jit
from .mathfun import exp
from .threads import meet

TOKENS = 64
WORDS = 48


@jit
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
    z, hT, reference, log_sum = (work.z, work.hT[member], work.reference[member], work.log_sum[member])
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        words, rows = targets[block : block + n], state[block : block + n]
        _transpose(rows, hT)
        _exponentials(
            V, c, first, last, words, hT, z, reference, work.top[member], work.total[member], work.target_logit
        )
        meet(barrier, size)
        finite = _log_sums(size, n, work.top, work.total, log_sum)
        if member == 0:
            for i in range(n):
                work.nll[block + i] = log_sum[i] - work.target_logit[i]
        if learn:
            if not finite:
                return False
            _block_gradients(
                V, first, last, words, rows, z, reference, log_sum, dV, dc, work.dhT[member], dscale, add or block > 0
            )
        meet(barrier, size)
        if learn:
            _sum_parts(member, size, n, work.dhT, dh[block : block + n], dh_scale)
    return True


@jit
def probabilities(member, size, barrier, V, c, count, state, targets, origin, work, best, proba):
    """Most probable word of every packed token and, if `proba` has rows, all probabilities; called by the whole team.

    Writes best (tokens of the corpus,) int32 and proba (the same or 0, C) at the rows' `origin`.
    """
    first, last = len(V) * member // size, len(V) * (member + 1) // size
    z, hT, reference, log_sum = (work.z, work.hT[member], work.reference[member], work.log_sum[member])
    for block in range(0, count, TOKENS):
        n = min(TOKENS, count - block)
        places = origin[block : block + n]
        _transpose(state[block : block + n], hT)
        _exponentials(
            V, c, first, last, targets[block : block + n], hT, z, reference, work.top[member], work.total[member],
            work.target_logit,
        )  # fmt: skip
        meet(barrier, size)
        _log_sums(size, n, work.top, work.total, log_sum)
        meet(barrier, size)
        _block_probabilities(first, last, places, z, reference, log_sum, work.total[member], work.best[member], proba)
        meet(barrier, size)
        for i in range(n * member // size, n * (member + 1) // size):
            winner = 0
            for other in range(1, size):
                if work.total[other, i] > work.total[winner, i]:
                    winner = other
            best[places[i]] = work.best[winner, i]
        meet(barrier, size)


@jit
def _transpose(rows, hT):
    """hT[j, i] = rows[i, j] for the units j."""
    for j in range(len(hT)):
        out = hT[j]
        for i in range(len(rows)):
            out[i] = rows[i, j]


@jit
def _exponentials(V, c, first, last, targets, hT, z, reference, top, total, target_logit):
    """z = exp(logit - running maximum) for words first..last of a block of tokens, and the running sums."""
    H, n = V.shape[1], len(targets)
    for i in range(n):
        top[i], total[i] = -np.inf, 0
    for sub, word0 in enumerate(range(first, last, WORDS)):
        word1 = min(last, word0 + WORDS)
        product(
            V.ravel(), word0 * H, H, 1, hT.ravel(), 0, TOKENS, z.ravel(), word0 * TOKENS, TOKENS,
            word1 - word0, n, H, False,
        )  # fmt: skip
        high = reference[sub]
        for i in range(n):
            high[i] = top[i]
        for word in range(word0, word1):
            row = z[word]
            if len(c) > 0:
                for i in range(n):
                    row[i] += c[word]
            for i in range(n):
                high[i] = max(high[i], row[i])
        for i in range(n):
            total[i] *= exp(top[i] - high[i])
        for i in range(n):
            top[i] = high[i]
            if word0 <= targets[i] < word1:
                target_logit[i] = z[targets[i], i]
        for word in range(word0, word1):
            row = z[word]
            for i in range(n):
                row[i] = exp(row[i] - high[i])
            for i in range(n):
                total[i] += row[i]


@jit
def _log_sums(size, n, top, total, log_sum):
    """log_sum = ln sum exp(logit) over all words, joined from the members' parts. Returns whether all are finite."""
    finite = True
    for i in range(n):
        highest = top[0, i]
        for other in range(1, size):
            highest = max(highest, top[other, i])
        summed = 0.0
        for other in range(size):
            summed += total[other, i] * math.exp(top[other, i] - highest)
        log_sum[i] = highest + math.log(summed) if summed > 0 else np.nan
        finite = finite and np.isfinite(log_sum[i])
    return finite


@jit
def _block_gradients(V, first, last, targets, rows, z, reference, log_sum, dV, dc, dhT, dscale, add):
    """dz of words first..last, in place of z; their rows of dV and dc; their part of dh."""
    H, n, width = V.shape[1], len(targets), rows.shape[1]
    dhT[:, :] = 0
    for sub, word0 in enumerate(range(first, last, WORDS)):
        word1 = min(last, word0 + WORDS)
        factor = reference[sub]
        for i in range(n):
            factor[i] = dscale * exp(factor[i] - log_sum[i])
        for word in range(word0, word1):
            row = z[word]
            for i in range(n):
                row[i] *= factor[i]
        for i in range(n):
            if word0 <= targets[i] < word1:
                z[targets[i], i] -= dscale
        if len(dc) > 0:
            for word in range(word0, word1):
                row, total = z[word], float(dc[word]) if add else 0.0
                for i in range(n):
                    total += row[i]
                dc[word] = total
        words = word1 - word0
        product(
            V.ravel(), word0 * H, 1, H, z.ravel(), word0 * TOKENS, TOKENS, dhT.ravel(), 0, TOKENS, H, n, words, True
        )
        product(
            z.ravel(), word0 * TOKENS, TOKENS, 1, rows.ravel(), 0, width, dV.ravel(), word0 * H, H, words, H, n, add
        )  # fmt: skip


@jit
def _sum_parts(member, size, n, dhT, dh, dh_scale):
    """dh of this member's share of a block's tokens: the sum of what every member's words gave."""
    for i in range(n * member // size, n * (member + 1) // size):
        for j in range(dh.shape[1]):
            total = dhT[0, j, i]
            for other in range(1, size):
                total += dhT[other, j, i]
            dh[i, j] = dh_scale * total


@jit
def _block_probabilities(first, last, places, z, reference, log_sum, largest, best, proba):
    """Probabilities of words first..last, into proba; each token's largest into `largest`, its word into `best`."""
    n = len(places)
    for i in range(n):
        largest[i], best[i] = -1, first
    for sub, word0 in enumerate(range(first, last, WORDS)):
        factor = reference[sub]
        for i in range(n):
            factor[i] = exp(factor[i] - log_sum[i])
        for word in range(word0, min(last, word0 + WORDS)):
            row = z[word]
            for i in range(n):
                p = row[i] * factor[i]
                if p > largest[i]:
                    largest[i], best[i] = p, word
                if len(proba) > 0:
                    proba[places[i], word] = p

"""The output layer in training on a sample of the words, drawn once a minibatch and shared by its tokens.

A panel of K words stands for all C: the most frequent ones (the head), which are always in, and one word drawn from
each of S strata, into which the other words, sorted by frequency, are cut. A drawn word w is in with probability pi_w,
in proportion to sqrt(frequency) within its stratum, and stands for 1 / pi_w words like it (Horvitz & Thompson 1952):

    Z    = exp(z_y) + sum over w in the panel, w != y, of exp(z_w - ln pi_w)        E[Z] = sum over all w of exp(z_w)
    loss = ln Z - z_y

so Z estimates the partition function without bias (the loss, being its logarithm, is a little below the exact one on
average). A token's own target is exact and counts once, whether or not it is in the panel. For a given draw the
gradient below is that of this loss. Logits, exponentials and products are those of softmax.py, over a copy of
the panel's rows of V, from whose products every token's own target is left out; it is added by itself.

Only rows of V and c that are in the panel, or are targets, get a gradient and an update, as in U only rows that occur.

Bengio & Senecal 2008 sample words to estimate Z; one draw for a minibatch is that of Jean et al. 2015, section 3.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from ...compiler.jit import jit
from ...compiler.views import ravel
from ...linalg.elementwise import exp
from ...threads import end_phase, next_part
from ..optimizers import squared_norm, update
from . import output
from .dropout import MASK, mix
from .softmax import (
    add_columns,
    allocate_softmax,
    pass_gradients,
    pass_logits,
    round_weights,
    scale_exponentials,
    sum_parts,
    target_gradients,
    transpose,
)
from .softmax_blocks import TOKENS, words_of

HEAD_SHARE = 1 / 4  # of the panel; 1/10 to 1/2 learn alike, 5/8 and more a little less (8,000 words, panels of 800)
STREAM = 0x5A3C  # sets the draws apart from dropout's masks, which have the same seed


class Strata(NamedTuple):
    """From what the panel is drawn. K words of C, S of them drawn."""

    order: np.ndarray  # int32[C]: words by falling frequency
    first: np.ndarray  # int64[S + 1]: of `order`, where strata begin: the head is before first[0]
    cumulative: np.ndarray  # float64[C]: by `order`, sum of the probabilities in a stratum, up to and with the word
    log_probability: np.ndarray  # float64[C]: by `order`, ln pi; 0 in the head

    @classmethod
    def of(cls, counts, n_sampled):
        """For a panel of n_sampled words, at least 2 and less than C, of words that occur so often: int64[C]."""
        C = len(counts)
        head = min(n_sampled - 1, round(HEAD_SHARE * n_sampled))
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        weights = np.sqrt(np.maximum(counts[order], 1))
        strata, rest = n_sampled - head, np.cumsum(weights[head:])
        cuts = np.searchsorted(rest, rest[-1] * np.arange(strata) / strata, side="right")
        at_least = np.arange(strata)  # every stratum has a word
        cuts = np.maximum.accumulate(cuts - at_least) + at_least
        first = np.append(np.minimum(cuts, C - head - strata + at_least), C - head).astype(np.int64) + head
        first[0] = head
        sizes = np.diff(first)
        sums = np.add.reduceat(weights, first[:-1])
        probability = np.concatenate([np.ones(head), weights[head:] / np.repeat(sums, sizes)])
        cumulative = np.cumsum(weights)
        before = np.repeat(cumulative[first[:-1]] - weights[first[:-1]], sizes)
        cumulative = np.concatenate([np.ones(head), (cumulative[head:] - before) / np.repeat(sums, sizes)])
        return cls(order, first, cumulative, np.log(probability))

    @property
    def panel_size(self):
        """K."""
        return int(self.first[0]) + len(self.first) - 1


class SampledSoftmax(NamedTuple):
    """Memory of the layer, overwritten but for `strata`. R rows of V at most: those of the panel, then other targets'.

    N tokens of a batch, H units, C words.
    """

    panel: tuple  # Softmax or BFloat16Softmax of K words
    nll: np.ndarray  # (N,): loss of each row, nats; the panel's own
    strata: Strata
    V: np.ndarray  # (K, H): rows of the panel's words
    c: np.ndarray  # (K,): their biases - ln pi
    log_probability: np.ndarray  # (K,): ln pi
    words: np.ndarray  # int32[R]: word of a row
    row: np.ndarray  # int32[C]: row of a word, -1 for none; so between batches
    target_row: np.ndarray  # int32[N]
    used: np.ndarray  # int64[1]: rows in use
    dV: np.ndarray  # (R, H): gradient
    dc: np.ndarray  # (R,), or (0,) without bias
    c_start: int  # where c begins in the flat array of the model's parameters


def allocate_sampled(model, strata, N, M, bfloat16=False):
    """A `SampledSoftmax` for training a model on batches of N tokens with M threads."""
    (C, H), dtype, K = model.V.shape, model.V.dtype, strata.panel_size
    R = min(C, K + 2 * N)  # inputs have rows as well, if the embedding is V
    panel = allocate_softmax(K, H, N, M, 1, dtype, bfloat16)
    return SampledSoftmax(
        panel=panel, nll=panel.nll, strata=strata, V=np.empty((K, H), dtype), c=np.empty(K, dtype),
        log_probability=np.empty(K), words=np.empty(R, np.int32), row=np.full(C, -1, np.int32),
        target_row=np.empty(N, np.int32), used=np.zeros(1, np.int64), dV=np.empty((R, H), dtype),
        dc=np.empty(R if len(model.c) else 0, dtype),
        c_start=(model.c.ctypes.data - model.dense.ctypes.data) // dtype.itemsize,
    )  # fmt: skip


@jit
def draw(strata, key, words, log_probability):
    """Draw a panel: its words, and ln of their probabilities, the head's first."""
    head = strata.first[0]
    for row in range(head):
        words[row], log_probability[row] = strata.order[row], 0
    for stratum in range(len(strata.first) - 1):
        at, last = strata.first[stratum], strata.first[stratum + 1] - 1
        uniform = mix((key + stratum) & MASK) / (MASK + 1)
        while at < last and strata.cumulative[at] <= uniform:
            at += 1
        words[head + stratum], log_probability[head + stratum] = strata.order[at], strata.log_probability[at]


@jit
def choose_rows(work, key, targets, tokens, count):
    """Draw the panel of a batch, and give every other target, and every one of `tokens`, a row after it."""
    K, rows, words = len(work.V), work.row, work.words
    draw(work.strata, mix((key ^ STREAM) & MASK), words, work.log_probability)
    for row in range(K):
        rows[words[row]] = row
    used = K
    for i in range(count):
        if rows[targets[i]] < 0:
            rows[targets[i]], words[used] = used, targets[i]
            used += 1
        work.target_row[i] = rows[targets[i]]
    for i in range(len(tokens)):
        if rows[tokens[i]] < 0:
            rows[tokens[i]], words[used] = used, tokens[i]
            used += 1
    work.used[0] = used


@jit(indirect=types.boolean)
def sampled_layer(thread, n_threads, barrier, V, c, count, state, targets, work, dh, dscale):
    """Loss of the `count` packed tokens and its gradients, after `choose_rows`; called by all threads.

    Reads state (count, S*H), with h in its first columns, and targets; writes work.nll (count,), in nats, and the
    gradients of dscale * sum(nll): work.dV, work.dc and dh (count, H). Returns False, before any gradient of a block
    was written, if one of its losses is not finite.
    """
    panel, K, parts, used = work.panel, len(work.V), len(work.panel.total), work.used[0]
    for block in range(0, count, TOKENS):
        n, add = min(TOKENS, count - block), block > 0
        words, rows, deltas = targets[block : block + n], state[block : block + n], dh[block : block + n]
        target_rows = work.target_row[block : block + n]
        hT_is_there, part = False, next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part == parts:
                _close_logits(n, panel, dscale)
                for i in range(n):
                    work.nll[block + i] = panel.log_sum[i] - panel.target_logit[i]
            else:
                first, last = words_of(part, parts, K)
                if block == 0:
                    _copy_panel(V, c, first, last, work)
                if not hT_is_there:
                    transpose(rows, V.shape[1], panel.hT[thread])
                    hT_is_there = True
                _target_logits(part, parts, V, c, words, rows, panel.target_logit, deltas)
                pass_logits(thread, part, work.V, work.c, first, last, target_rows, panel, True, True)
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)
        if panel.finite[0] == 0:
            return False
        part = next_part(thread, n_threads, barrier, parts + n_threads, -1)
        while part >= 0:
            if part < parts:
                first, last = words_of(part, parts, K)
                pass_gradients(thread, part, first, last, rows, panel, work.dV, work.dc, add)
                target_gradients(first, last, target_rows, rows, panel.target_error, work.dV, work.dc)
                first, last = K + (used - K) * part // parts, K + (used - K) * (part + 1) // parts
                if not add:
                    work.dV[first:last] = 0
                    work.dc[first:last] = 0
                target_gradients(first, last, target_rows, rows, panel.target_error, work.dV, work.dc)
            elif part < parts + n_threads:
                sum_parts(part - parts, n_threads, n, panel, deltas, 1.0)
            part = next_part(thread, n_threads, barrier, parts + n_threads, part)
        end_phase(thread, n_threads, barrier)
    return True


@jit
def _copy_panel(V, c, first, last, work):
    """Rows first..last of the panel."""
    for row in range(first, last):
        word, target = work.words[row], work.V[row]
        source = V[word]
        for j in range(len(target)):
            target[j] = source[j]
        work.c[row] = (c[word] if len(c) > 0 else 0) - work.log_probability[row]
    round_weights(work.V, first, last, work.panel)


@jit
def _target_logits(share, shares, V, c, targets, rows, target_logit, deltas):
    """The targets' logits, and their rows of V into `deltas`, of a share of a block's tokens."""
    n = len(targets)
    for i in range(n * share // shares, n * (share + 1) // shares):
        h, v, error = rows[i], V[targets[i]], deltas[i]
        total = h[0] * v[0]
        for j in range(1, len(v)):
            total += h[j] * v[j]
        target_logit[i] = total + c[targets[i]] if len(c) > 0 else total
        for j in range(len(v)):
            error[j] = v[j]


@jit
def _close_logits(n, panel, scale):
    """As `softmax._close_logits`, with the targets, which are in no part's sums."""
    reference, total, log_sum, target_logit = panel.reference, panel.total, panel.log_sum, panel.target_logit
    finite, one = True, panel.log_sum.dtype.type(1)
    for i in range(n):
        highest = target_logit[i]
        for part in range(len(total)):
            highest = max(highest, reference[part, i])
        summed = math.exp(target_logit[i] - highest)
        for part in range(len(total)):
            summed += total[part, i] * math.exp(reference[part, i] - highest)
        log_sum[i] = highest + math.log(summed)
        finite = finite and np.isfinite(log_sum[i])
        panel.target_error[i] = scale * (1 - min(one, exp(target_logit[i] - log_sum[i])))
    panel.finite[0] = 1 if finite else 0
    scale_exponentials(n, panel, scale)


@jit
def squares_of_rows(share, shares, work):
    """A share of the squared norm of dV and dc."""
    first, last = work.used[0] * share // shares, work.used[0] * (share + 1) // shares
    H = work.dV.shape[1]
    total = squared_norm(ravel(work.dV), first * H, last * H)
    return total + squared_norm(work.dc, first, last) if len(work.dc) > 0 else total


@jit
def update_rows(share, shares, rule, dense, moments, constants, work):
    """A share of a step on the rows of V and c, which begin the flat parameters `dense`."""
    H, dV = work.dV.shape[1], ravel(work.dV)
    for row in range(work.used[0] * share // shares, work.used[0] * (share + 1) // shares):
        word = work.words[row]
        update(rule, dense, word * H, dV, row * H, H, moments[0], moments[1], constants)
        if len(work.dc) > 0:
            update(rule, dense, work.c_start + word, work.dc, row, 1, moments[0], moments[1], constants)


@jit
def free_rows(share, shares, work):
    """Forget which rows a share of the words has."""
    for row in range(work.used[0] * share // shares, work.used[0] * (share + 1) // shares):
        work.row[work.words[row]] = -1


# ---- What the passes ask for, see output.py


def _begin(memory, key, targets, tokens, count):
    choose_rows(memory, key, targets, tokens, count)


def _learn(thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add):
    return sampled_layer(thread, n_threads, barrier, V, c, count, state, targets, memory, dh, dscale)


def _add_to_dV(memory, dV, word, d, first, last):
    add_columns(d, memory.dV[memory.row[word]], first, last)


def _first_dense(memory, cell_start):
    return cell_start


def _squares(share, shares, memory):
    return squares_of_rows(share, shares, memory)


def _update(share, shares, rule, dense, moments, constants, memory):
    update_rows(share, shares, rule, dense, moments, constants, memory)


def _free(share, shares, memory):
    free_rows(share, shares, memory)


output.implement(SampledSoftmax, output.Functions(_begin, _learn, _add_to_dV, _first_dense, _squares, _update, _free))

"""Beam search (Sutskever et al. 2014, section 3.2): which hypotheses go on, and which have ended.

Every sentence has a beam of at most W live hypotheses. At each step every word is appended to each; of these the most
probable are kept, as many as the beam is wide. Those that end leave it, and it is narrower by their number.
Hypothesis w of sentence s is stream s * W + w of `decode.Streams`; a stream without one has ended.
"""

import math
from typing import NamedTuple

import numpy as np

from .decode import largest
from .jit import jit
from .mathfun import exp
from .threads import meet

BLOCK = 64  # words that are looked at together: whether one of them is better than what is kept


class Beams(NamedTuple):
    """Beams of S sentences, of width W, over at most T steps."""

    live: np.ndarray  # int64[S]: hypotheses in the beam
    score: np.ndarray  # float64[S, W]: their ln p, nats
    next_score: np.ndarray  # float64[S, W]: that of the next step, while the old are still read
    token: np.ndarray  # int32[T, S * W]: what was appended to each stream at each step
    parent: np.ndarray  # int64[T, S * W]: the stream to which it was
    ended: np.ndarray  # int64[S]: hypotheses that have ended
    final_score: np.ndarray  # float64[S, W]: their ln p
    final_step: np.ndarray  # int64[S, W]: the step at which each ended
    final_parent: np.ndarray  # int64[S, W]: the stream to which the end was appended


class Candidates(NamedTuple):
    """The best words of every row, M members: memory that is overwritten."""

    value: np.ndarray  # float64[rows, W]: ln p of the word, the best first
    word: np.ndarray  # int64[rows, W]
    count: np.ndarray  # int64[rows]
    heads: np.ndarray  # int64[M, W]: how many of each hypothesis' candidates are taken
    lanes: np.ndarray  # (M, 2, decode.BLOCK)
    top: np.ndarray  # (M, 2)


def allocate(sentences, width, steps, members, dtype, lanes):
    """Beams with one live hypothesis each, the empty one, and the memory of their steps."""
    S, W, n = sentences, width, sentences * width
    beams = Beams(
        live=np.ones(S, np.int64), score=np.zeros((S, W)), next_score=np.zeros((S, W)),
        token=np.zeros((steps, n), np.int32), parent=np.zeros((steps, n), np.int64), ended=np.zeros(S, np.int64),
        final_score=np.zeros((S, W)), final_step=np.zeros((S, W), np.int64), final_parent=np.zeros((S, W), np.int64),
    )  # fmt: skip
    candidates = Candidates(
        np.zeros((n, W)), np.zeros((n, W), np.int64), np.zeros(n, np.int64), np.zeros((members, W), np.int64),
        np.empty((members, 2, lanes), dtype), np.empty((members, 2), dtype),
    )  # fmt: skip
    return beams, candidates


@jit
def expand(member, size, barrier, z, allowed, end, step, streams, beams, candidates, row_of):
    """One step of all beams; z (rows, C) are logits, or ln p, a row for every stream that has not ended, in order.

    `allowed` (bool[C]) are words that may be appended; `end` is the one that ends a hypothesis. Overwrites beams,
    streams.token and streams.ended, and writes in beams.parent from which stream each goes on.
    `row_of` (int64[streams]) is memory.
    """
    W = beams.score.shape[1]
    if member == 0:
        rows = 0
        for s in range(len(streams.ended)):
            row_of[s] = rows
            rows += 0 if streams.ended[s] else 1
    meet(barrier, size)
    for s in range(member, len(streams.ended), size):
        if not streams.ended[s]:
            row = row_of[s]
            room = W - beams.ended[s // W]
            candidates.count[row] = _best_words(
                z[row], allowed, candidates.value[row, :room], candidates.word[row], candidates.lanes[member],
                candidates.top[member],
            )  # fmt: skip
    meet(barrier, size)
    for sentence in range(member, len(beams.live), size):
        if beams.live[sentence] > 0:
            _choose(sentence, W, end, step, streams, beams, candidates, candidates.heads[member], row_of)
    meet(barrier, size)


@jit
def _best_words(z, allowed, value, word, lanes, top):
    """The most probable allowed words and their ln p, at most len(value) of them; returns their number."""
    largest(z, allowed, lanes, top)
    room, count, least = len(value), 0, _lower_bound(lanes[1], len(value))
    for first in range(0, len(z), BLOCK):
        part, may, better = z[first : first + BLOCK], allowed[first : first + BLOCK], 0
        for i in range(len(part)):
            better += 1 if part[i] >= least else 0
        if better > 0:
            for i in range(len(part)):
                if may[i] and part[i] >= least and (count < room or part[i] > value[count - 1]):
                    count = _insert(float(part[i]), first + i, value, word, count)
    log_sum = float(top[0]) + math.log(_sum_of_exponentials(z, top[0]))
    for i in range(count):
        value[i] -= log_sum
    return count


@jit
def _lower_bound(lanes, count):
    """What the `count` largest logits are at least: the lanes hold the largest of as many disjoint sets of words."""
    if count > len(lanes):
        return lanes.dtype.type(-np.inf)
    for _ in range(count):
        high = 0
        for i in range(1, len(lanes)):
            high = i if lanes[i] > lanes[high] else high
        least = lanes[high]
        lanes[high] = -np.inf
    return least


@jit
def _insert(x, new_word, value, word, count):
    """Put x among the `count` values, the largest first, of equals the older; the least may fall out."""
    at = count if count < len(value) else count - 1
    while at > 0 and value[at - 1] < x:
        value[at], word[at] = value[at - 1], word[at - 1]
        at -= 1
    value[at], word[at] = x, new_word
    return min(count + 1, len(value))


@jit
def _sum_of_exponentials(z, reference):
    total = 0.0
    for first in range(0, len(z), BLOCK):
        part, summed = z[first : first + BLOCK], z.dtype.type(0)
        for i in range(len(part)):
            summed += exp(part[i] - reference)
        total += summed
    return total


@jit
def _choose(sentence, W, end, step, streams, beams, candidates, heads, row_of):
    """The hypotheses of one sentence that are kept."""
    first, before = sentence * W, beams.live[sentence]
    room, live, ended = W - beams.ended[sentence], 0, beams.ended[sentence]
    heads[:before] = 0
    for _ in range(room):
        best, best_score = -1, -np.inf
        for w in range(before):
            row = row_of[first + w]
            if heads[w] < candidates.count[row]:
                total = beams.score[sentence, w] + candidates.value[row, heads[w]]
                if best < 0 or total > best_score:
                    best, best_score = w, total
        if best < 0:
            break
        word = candidates.word[row_of[first + best], heads[best]]
        heads[best] += 1
        if word == end:
            beams.final_score[sentence, ended], beams.final_step[sentence, ended] = best_score, step
            beams.final_parent[sentence, ended] = first + best
            ended += 1
        else:
            beams.token[step, first + live], beams.parent[step, first + live] = word, first + best
            beams.next_score[sentence, live] = best_score
            live += 1
    for w in range(W):
        streams.ended[first + w] = w >= live
        if w < live:
            beams.score[sentence, w] = beams.next_score[sentence, w]
            streams.token[first + w] = beams.token[step, first + w]
    beams.live[sentence], beams.ended[sentence] = live, ended


@jit
def average(member, size, barrier, z, rows, first, last, count, total):
    """Add the probabilities of one model of an ensemble, from its logits z (rows, C), to `total`, in place.

    `first`: it is the first of `count` models, so `total` is overwritten; `last`: total becomes the ln of the mean.
    """
    for row in range(member, rows, size):
        logits, summed = z[row], total[row]
        high = logits[0]
        for j in range(1, len(logits)):
            high = max(high, logits[j])
        scale = z.dtype.type(1 / (_sum_of_exponentials(logits, high) * count))
        for j in range(len(logits)):
            p = exp(logits[j] - high) * scale
            summed[j] = p if first else summed[j] + p
        if last:
            for j in range(len(logits)):
                summed[j] = math.log(summed[j])

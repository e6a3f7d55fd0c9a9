"""The best words of every row of logits, for a search, and the mean of an ensemble's probabilities."""

import math

import numpy as np

from ..driver import THREADS, cuda, kernel
from ..layers.reductions import best_of, exponentials, next_best


def best_words(z, allowed, value, word):
    """The most probable allowed words of every row, as `cpu.decoding.beam` ranks them.

    Parameters
    ----------
    z : (rows, C)
        Logits, or ln p.
    allowed : boolean (1 or 2, C), on the device
        Its last row counts.
    value, word : float64 and int32 (rows, W)
        Overwritten with ln p and the words, the most probable first, of equals the one with the smaller index; -1 where
        there are fewer words.
    """
    _rank(z.shape[0], THREADS, z, allowed, value, word)


@kernel
def _rank(z, allowed, value, word):
    """One row a block. Every thread holds its best word; the one whose word is taken looks for its next."""
    values = cuda.shared.array(THREADS, z.dtype)
    words = cuda.shared.array(THREADS, np.int32)
    sums = cuda.shared.array(THREADS, np.float64)
    thread, s, C, may = cuda.threadIdx.x, cuda.blockIdx.x, z.shape[1], allowed.shape[0] - 1
    top, total = exponentials(z, s, values, words, sums, thread)
    log_sum = float(top) + math.log(total)
    own, own_word = next_best(z, s, allowed, may, thread, top, -1)
    for k in range(value.shape[1]):
        values[thread], words[thread] = own, own_word
        best, best_word = best_of(values, words, thread)
        if thread == 0:
            value[s, k] = float(best) - log_sum
            word[s, k] = best_word if best_word < C else -1
        if best_word < C and best_word == own_word:
            own, own_word = next_best(z, s, allowed, may, thread, own, own_word)


def average(z, first, last, count, total):
    """Add the probabilities of one model of an ensemble, from its logits z (rows, C), to `total` (rows, C), in place.

    `first`: it is the first of `count` models, so `total` is overwritten; `last`: total becomes the ln of the mean.
    """
    _average(z.shape[0], THREADS, z, first, last, count, total)


@kernel
def _average(z, first, last, count, total):
    values = cuda.shared.array(THREADS, z.dtype)
    words = cuda.shared.array(THREADS, np.int32)
    sums = cuda.shared.array(THREADS, np.float64)
    thread, s, C = cuda.threadIdx.x, cuda.blockIdx.x, z.shape[1]
    top, total_weight = exponentials(z, s, values, words, sums, thread)
    scale = z.dtype.type(1 / (total_weight * count))
    for i in range(thread, C, THREADS):
        p = math.exp(z[s, i] - top) * scale
        if not first:
            p += total[s, i]
        if last:
            p = math.log(p) if p > 0 else z.dtype.type(-np.inf)
        total[s, i] = p

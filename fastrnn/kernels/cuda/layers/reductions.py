"""What a block of threads finds out about a row of logits: its largest, its next best, sums over its words."""

import math

import numpy as np

from ..driver import THREADS, cuda, device_function


@device_function
def largest(z, s, thread):
    """The largest of the words that the thread looks at."""
    top = z.dtype.type(-np.inf)
    for i in range(thread, z.shape[1], THREADS):
        top = z[s, i] if z[s, i] > top else top
    return top


@device_function
def next_best(z, s, allowed, may, thread, value, word):
    """Of the allowed words that a thread looks at the first that is largest, and its logit, after `word` of `value`.

    A word after another has a smaller logit, or the same and a larger index. (-inf, C) if there is none.
    """
    best, found = z.dtype.type(-np.inf), z.shape[1]
    for i in range(thread, z.shape[1], THREADS):
        x = z[s, i]
        if allowed[may, i] and (x < value or (x == value and i > word)) and (x > best or found == z.shape[1]):
            best, found = x, i
    return best, found


@device_function
def best_of(values, words, thread):
    """The largest value that a thread has left, of equals that of the smallest word; both arrays are overwritten."""
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            value, word = values[thread + half], words[thread + half]
            if value > values[thread] or (value == values[thread] and word < words[thread]):
                values[thread], words[thread] = value, word
        cuda.syncthreads()
        half //= 2
    value, word = values[0], words[0]
    cuda.syncthreads()
    return value, word


@device_function
def sums_of(sums, counts, value, count, thread):
    """The sums of the threads' values and counts; both arrays are memory of a number a thread."""
    sums[thread], counts[thread] = value, count
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
            counts[thread] += counts[thread + half]
        cuda.syncthreads()
        half //= 2
    total, counted = sums[0], counts[0]
    cuda.syncthreads()
    return total, counted


@device_function
def exponentials(z, s, values, words, sums, thread):
    """The largest logit of a row, and the sum of exp(z - it); `values`, `words` and `sums` are shared memory."""
    values[thread] = largest(z, s, thread)
    words[thread] = 0
    top, _ = best_of(values, words, thread)
    every = z.dtype.type(0)
    for i in range(thread, z.shape[1], THREADS):
        every += math.exp(z[s, i] - top)
    total, _ = sums_of(sums, words, every, 0, thread)
    return top, total

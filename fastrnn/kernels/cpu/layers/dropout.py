"""Dropout's masks: a hash of what is dropped. No mask is kept, and any number of threads drops the same.

Whether unit j of a token is dropped depends on (seed, update, connection, position of the token in the corpus, j)
alone; the backward pass asks again.
"""

from ...compiler.jit import jit

MASK = 0xFFFFFFFF
BITS = 24  # of a hash are compared with the rate


@jit
def mix(h):
    """A permutation of the numbers below 2**32 that looks random, of the form of C. Wellons' "hash prospector"."""
    h ^= h >> 16
    h = (h * 0x21F0AAAD) & MASK  # factors below 2**31: no product overflows
    h ^= h >> 15
    h = (h * 0x735A2D97) & MASK
    return h ^ (h >> 15)


@jit
def batch_key(seed, update):
    """What all masks of one update have in common."""
    return mix((mix(seed & MASK) + update) & MASK)


@jit
def row_key(key, connection, position):
    """What the mask of one token's row begins with."""
    return mix((mix((key + position) & MASK) ^ mix(connection)) & MASK)


@jit
def drop(source, target, rate, key):
    """target = source, but elements are zero with probability `rate`, the others divided by 1 - rate.

    Rows of one dtype, which may be the same; `source` may be longer. A `rate` of 0 copies.
    """
    if rate == 0:
        for j in range(len(target)):
            target[j] = source[j]
        return
    bound, factor, zero = int(rate * (1 << BITS)), source.dtype.type(1 / (1 - rate)), source.dtype.type(0)
    for j in range(len(target)):
        kept = mix((key + j) & MASK) >> (32 - BITS) >= bound
        target[j] = source[j] * factor if kept else zero

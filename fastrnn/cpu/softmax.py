"""What the output layer's two forms, output.py and output_bfloat16.py, have in common: blocks and references."""

from .jit import jit

TOKENS = 120  # no power of two, or the rows of e would fall into the same places of the cache
WORDS = 96
GRAIN = 8  # rows of e are as long as the block's tokens, rounded up to a multiple of this
LIMIT = 1e20  # of a sum of exponentials: far from overflow


@jit
def row_length(n):
    """Numbers from a row of e to the next, in a block of n tokens."""
    return (n + GRAIN - 1) // GRAIN * GRAIN


@jit
def exceeds(total, n):
    """Whether one of the sums is beyond LIMIT, or not a number."""
    for i in range(n):
        if not total[i] <= LIMIT:
            return True
    return False


@jit
def highest(c, word0, words, z, z0, length, i, high):
    """The largest of `high` and token i's logits of words word0...; z has them from z0 on, less their bias."""
    for word in range(words):
        logit = z[z0 + word * length + i]
        high = max(high, logit + c[word0 + word] if len(c) > 0 else logit)
    return high

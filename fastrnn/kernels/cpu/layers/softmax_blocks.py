"""What the output layer's two forms, softmax.py and softmax_bfloat16.py, have in common: blocks and references."""

from ...compiler.jit import jit
from ...threads import partition

TOKENS = 120  # no power of two, or the rows of e would map to the same cache sets
WORDS = 96
GRAIN = 8  # rows of e are as long as the block's tokens, rounded up to a multiple of this
LIMIT = 1e20  # of a sum of exponentials: far from overflow
MASKED, LOWEST = -1e30, -1e20  # the logit of a masked target, and the lowest reference beside which its e is 0
# Words go to the threads in parts: several for each if every part has so many sub-blocks, but not more than that.
PART_BLOCKS, PARTS_EACH = 5, 16


def word_parts(C, n_threads):
    """In how many parts C words are taken; what is summed over words depends on it, so it is a matter of sizes only."""
    if n_threads == 1:
        return 1
    return n_threads * max(1, min(PARTS_EACH, C // (PART_BLOCKS * WORDS * n_threads)))


@jit
def words_of(part, parts, C):
    """First word and last-plus-one of a part, the first an even one."""
    return partition(part, parts, C, WORDS if C >= parts * WORDS else 2)


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


@jit
def first_reference(c, word0, words, z, z0, length, n, lowest, reference):
    """The largest of `lowest` and each token's logits of words word0..., which are the first of a part."""
    for i in range(n):
        reference[i] = lowest
    for word in range(words):
        bias = c[word0 + word] if len(c) > 0 else reference.dtype.type(0)
        row = z[z0 + word * length : z0 + word * length + n]
        for i in range(n):
            logit = row[i] + bias
            reference[i] = logit if logit > reference[i] else reference[i]


@jit
def mask_targets(word0, words, targets, z, z0, length):
    """Give the targets among words word0... logits whose exponentials are 0; z has them from z0 on."""
    for i in range(len(targets)):
        word = targets[i]
        if word0 <= word < word0 + words:
            z[z0 + (word - word0) * length + i] = MASKED

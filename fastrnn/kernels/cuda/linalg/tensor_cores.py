"""What tensor cores do for `product`: the same slices in shared memory, multiplied by warps.

An instruction adds A (16, 8) times B (8, 8) to C (16, 8). The lanes of a warp hold parts of each (PTX ISA, "Matrix
Fragments for mma.m16n8k8"), with g = lane // 4 and t = lane % 4:

    A:  (g, t)  (g + 8, t)  (g, t + 4)  (g + 8, t + 4)
    B:  (t, g)  (t + 4, g)
    C:  (g, 2t)  (g, 2t + 1)  (g + 8, 2t)  (g + 8, 2t + 1)

In which order the terms of a sum are taken is all one, as long as A and B agree: what the instruction has for its terms
t and t + 4 are terms 2t and 2t + 1 of a slice. In rows that are 4 banks apart, as those of `product` are, a warp then
reads all banks at once.
"""

import numpy as np

from ..driver import cuda
from . import ptx

LANES, ROWS, COLUMNS, TERMS = 32, 16, 8, 8  # of a warp, and of what an instruction multiplies
SIDE = 32  # of a warp's part of a tile, which is square; two parts lie side by side
DOWN, ACROSS = SIDE // ROWS, SIDE // COLUMNS  # instructions that make a warp's part
PART = ROWS * COLUMNS // LANES  # sums of a lane in one of them
SUMS = DOWN * ACROSS * PART
# Of A and B, for all of them.
LEFT, RIGHT = DOWN * 4, ACROSS * 2


def round_all(held):
    """Round float32 numbers of this thread to tf32, in place."""
    for i in range(len(held)):
        held[i] = ptx.round_tf32(held[i])


def multiplication(row, k_slice, depth):
    """The function that adds the product of two slices to the sums of this thread.

    Parameters
    ----------
    row : int
        Elements from one term of a slice to the next, in shared memory.
    k_slice : int
        Elements from the slice of A to that of B.
    depth : int
        Terms of a slice.
    """

    def multiply(memory, offset, thread, sums):
        """sums (SUMS,) += A B, of the slices from `offset` on."""
        a = cuda.local.array(LEFT, memory.dtype)
        b = cuda.local.array(RIGHT, memory.dtype)
        warp, lane = thread // LANES, thread % LANES
        first = offset + lane % 4 * 2 * row + lane // 4
        left, right = first + warp // 2 * SIDE, first + k_slice + warp % 2 * SIDE
        for _ in range(depth // TERMS):
            for i in range(DOWN * 2):  # twice 8 rows an instruction
                at = i // 2 * 4 + i % 2
                a[at] = memory[np.uint64(left + i * 8)]
                a[at + 2] = memory[np.uint64(left + i * 8 + row)]
            for j in range(ACROSS):
                b[2 * j] = memory[np.uint64(right + j * COLUMNS)]
                b[2 * j + 1] = memory[np.uint64(right + j * COLUMNS + row)]
            for i in range(DOWN):
                for j in range(ACROSS):
                    at = (i * ACROSS + j) * PART
                    sums[at], sums[at + 1], sums[at + 2], sums[at + 3] = ptx.mma(
                        a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3], b[2 * j], b[2 * j + 1],
                        sums[at], sums[at + 1], sums[at + 2], sums[at + 3],
                    )  # fmt: skip
            left += TERMS * row
            right += TERMS * row

    return multiply


def keeping(row):
    """The function that puts this thread's sums into shared memory, as [row, column], `row` elements a row."""

    def keep(sums, thread, memory):
        warp, lane = thread // LANES, thread % LANES
        first = (warp // 2 * SIDE + lane // 4) * row + warp % 2 * SIDE + lane % 4 * 2
        for i in range(DOWN):
            for j in range(ACROSS):
                at, offset = (i * ACROSS + j) * PART, first + i * ROWS * row + j * COLUMNS
                memory[np.uint64(offset)] = sums[at]
                memory[np.uint64(offset + 1)] = sums[at + 1]
                memory[np.uint64(offset + 8 * row)] = sums[at + 2]
                memory[np.uint64(offset + 8 * row + 1)] = sums[at + 3]

    return keep

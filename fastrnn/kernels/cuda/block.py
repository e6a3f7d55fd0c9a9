"""What one block of threads does together: it holds a few sequences' rows in shared memory and multiplies them by W.

A block's shared memory, in elements; `rows` is how many sequences it has, H units, G*H columns:

===========  ===================  =============================================================================
forward      elements             what
===========  ===================  =============================================================================
h            rows * H             states before the step
a            rows * G*H           what enters the gates, before their nonlinearities
q            rows * H             a second left side of a product, for cells that need one
W            H * row_stride       only if it fits
===========  ===================  =============================================================================

===========  ===================  =============================================================================
backward     elements             what
===========  ===================  =============================================================================
da           rows * G*H           errors of a
out          rows * H             their product with W^T
parts        rows * PARTS * LINE  sums over parts of the columns
W            H * row_stride       only if it fits
===========  ===================  =============================================================================

Both products read an element of W once for all of a block's sequences, which is what they wait for.
"""

import numpy as np

from .driver import SIMULATED, cuda, device_function

# A thread may have 255 registers then, all that there are; the time loops take that many.
THREADS = 4 if SIMULATED else 256
# How many sequences a block may have: a kernel is compiled for each.
ROWS = (1, 2) if SIMULATED else (1, 2, 4, 8)
# Threads that share a unit in the product with W^T, and how many units there are side by side, with room between two
# parts, so that a warp writes to all banks.
PARTS = 2 if SIMULATED else 8
UNITS = THREADS // PARTS
BANKS = 32
LINE = UNITS + BANKS // PARTS
# Of an index: unsigned, so that no code is made for negative ones.
u64 = np.uint64


def row_stride(columns):
    """Elements from one row of W to the next: neighbouring rows begin PARTS banks apart."""
    return columns + (PARTS - columns) % BANKS


def forward_tiles(rows, H, columns):
    """Elements of shared memory before W."""
    return rows * (2 * H + columns)


def backward_tiles(rows, H, columns):
    """Elements of shared memory before W."""
    return rows * (H + columns + PARTS * LINE)


_row_stride, _forward_tiles, _backward_tiles = map(device_function, (row_stride, forward_tiles, backward_tiles))


@device_function
def load_weights(W, layer, tile, tiles):
    """Copy one layer's W (H, G*H) behind `tiles` elements of shared memory; synchronise before reading it."""
    H, columns = W.shape[1], W.shape[2]
    stride, warp = _row_stride(columns), min(BANKS, THREADS)
    for k in range(cuda.threadIdx.x // warp, H, THREADS // warp):
        for column in range(cuda.threadIdx.x % warp, columns, warp):
            tile[u64(tiles + k * stride + column)] = W[u64(layer), u64(k), u64(column)]


def weights(resident):
    """The function that reads an element of W: from shared memory if it is `resident` there."""

    @device_function
    def from_shared(W, layer, tile, tiles, stride, k, column):
        return tile[u64(tiles + k * stride + column)]

    @device_function
    def from_global(W, layer, tile, tiles, stride, k, column):
        return W[u64(layer), u64(k), u64(column)]

    return from_shared if resident else from_global


def columns_product(rows, resident):
    """The function that adds a product with W to what enters the gates, for blocks of `rows` sequences."""
    weight = weights(resident)

    @device_function
    def product(W, layer, tile, left, first, last, entering, gates, row, n):
        """a = what enters + x W, columns first..last; a thread takes whole columns. Ends with a barrier.

        Parameters
        ----------
        W : array (L, H, G*H)
        tile : flat array
            Shared memory; x (rows, H) begins at `left`; a is overwritten.
        entering : tuple
            U (words, G*H), b (L, G*H or 0), the sequences' words (rows,), and whether U + b enters, or else what stands
            in `gates` (L, N, G*H), in `n` rows from `row` on.
        """
        U, b, words, embedded = entering
        H, columns = W.shape[1], W.shape[2]
        tiles, stride, a = _forward_tiles(rows, H, columns), _row_stride(columns), rows * H
        zero = W.dtype.type(0)
        for column in range(first + cuda.threadIdx.x, last, THREADS):
            total, below = cuda.local.array(rows, W.dtype), cuda.local.array(rows, W.dtype)
            bias = b[layer, u64(column)] if embedded and b.shape[1] > 0 else zero
            for r in range(rows):  # read here, needed after the product: no thread waits for it
                total[r], below[r] = zero, zero
                if r < n:
                    below[r] = (
                        U[u64(words[r]), u64(column)] + bias if embedded else gates[layer, u64(row + r), u64(column)]
                    )
            k = 0
            while k < H:  # over a range the compiler would take k for signed, and keep fewer loads on their way
                w = weight(W, layer, tile, tiles, stride, k, column)
                for r in range(rows):
                    total[r] += w * tile[u64(left + r * H + k)]
                k += 1
            for r in range(rows):
                tile[u64(a + r * columns + column)] = total[r] + below[r]
        cuda.syncthreads()

    return product


def units_product(rows, resident):
    """The function that multiplies errors by W^T, for blocks of `rows` sequences."""
    weight = weights(resident)

    @device_function
    def product(W, layer, tile, first, last):
        """out = columns first..last of da times those of W^T; da must be synchronised; ends with a barrier.

        PARTS threads share a unit: thread p of them takes column p of every PARTS. The loops are not unrolled, as those
        over a range would be: the kernels have no registers to spare.
        """
        H, columns = W.shape[1], W.shape[2]
        tiles, stride, out = _backward_tiles(rows, H, columns), _row_stride(columns), rows * columns
        parts, zero = out + rows * H, W.dtype.type(0)
        part, own = cuda.threadIdx.x % PARTS, cuda.threadIdx.x // PARTS
        unit0 = 0
        while unit0 < H:
            total = cuda.local.array(rows, W.dtype)
            for r in range(rows):
                total[r] = zero
            if unit0 + own < H:
                column = first + part
                while column < last:
                    w = weight(W, layer, tile, tiles, stride, unit0 + own, column)
                    for r in range(rows):
                        total[r] += w * tile[u64(r * columns + column)]
                    column += PARTS
            for r in range(rows):
                tile[u64(parts + (r * PARTS + part) * LINE + own)] = total[r]
            cuda.syncthreads()
            i = cuda.threadIdx.x
            while i < rows * UNITS:
                r, unit = i // UNITS, i % UNITS
                i += THREADS
                if unit0 + unit < H:
                    whole = zero
                    for p in range(PARTS):
                        whole += tile[u64(parts + (r * PARTS + p) * LINE + unit)]
                    tile[u64(out + r * H + unit0 + unit)] = whole
            cuda.syncthreads()
            unit0 += UNITS

    return product

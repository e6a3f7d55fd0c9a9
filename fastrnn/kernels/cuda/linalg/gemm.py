"""The one matrix product behind everything on the GPU: C (+)= A B, in tiles whose sums stay in registers.

A block of threads makes one tile of C, TILE by TILE; a thread makes THREAD_ROWS by THREAD_COLUMNS of it. Slices of A
and B, DEPTH deep, go through shared memory as [k, row] and [k, column]: what a thread needs of them for one k is then
contiguous and read as vectors. While one slice is multiplied the next is on its way from memory.

A, B and C are described by their first element and two strides, so transposed operands and ranges of columns need no
copy. Threads that are neighbours read neighbours in memory, whichever way an operand lies. The tile of C is written
through shared memory too, whole rows at a time.

Where C has few tiles and the sums are long (gradients of weights), several blocks make parts of the sums, and a second
launch adds the parts in order: the same numbers every time.

With `tf32` the operands, float32, are rounded to it on their way into shared memory, and tensor cores multiply them
there. The sums are float32. The simulator rounds as well, and multiplies as ever.
"""

import numpy as np

from ..driver import SIMULATED, THREADS, cuda, device_function, inlined_function, kernel
from . import tensor_cores

# A tile of 64 x 64 x k reads 128 k numbers for 4096 k multiplications: 16 flop a byte in float32, from the L2 cache. At
# its 4 to 5 TB/s that is about what an H100 can compute, and small matrices still make enough tiles to occupy it. From
# shared memory a thread reads 12 numbers as three vectors for 32 multiplications.
TILE = 4 if SIMULATED else 64
DEPTH = 4 if SIMULATED else 16
THREAD_ROWS, THREAD_COLUMNS = (2, 2) if SIMULATED else (8, 4)
PRODUCT_THREADS = TILE // THREAD_ROWS * (TILE // THREAD_COLUMNS)
# A warp's threads make this many groups of columns, and WARP // WARP_COLUMNS groups of rows.
WARP, WARP_COLUMNS = (4, 2) if SIMULATED else (32, 8)
WARPS_ACROSS = TILE // THREAD_COLUMNS // WARP_COLUMNS
# Threads that read neighbours along k, where those lie side by side: with the padding of a row their writes meet no
# bank twice.
NEIGHBOURS = 2 if SIMULATED else 8
VECTOR = min(4, THREAD_ROWS, THREAD_COLUMNS)
ROW = TILE + 4  # of shared memory: a multiple of four, for vectors
K_SLICE = DEPTH * ROW
MEMORY = max(4 * K_SLICE, TILE * ROW)  # two slices of A and two of B, or a tile of C
SUMS = THREAD_ROWS * THREAD_COLUMNS
FETCHED = TILE * DEPTH // PRODUCT_THREADS
FETCHED_ROWS = PRODUCT_THREADS // NEIGHBOURS
FETCHED_DEEP = PRODUCT_THREADS // TILE
GROUPS, GROUP = DEPTH // NEIGHBOURS, TILE * NEIGHBOURS // PRODUCT_THREADS

# What is done with the vector of a product: nothing, it is added to every row of C, or it receives the sums over k of
# the rows of A, or of the columns of B.
NO_VECTOR, BIAS, ROW_SUMS, COLUMN_SUMS = range(4)
# Sums over k are split until so many blocks are busy, in parts of at least so many terms.
TARGET_BLOCKS = 8 if SIMULATED else 512
MIN_TERMS = 8 if SIMULATED else 64


def product(
    a, a0, a_row, a_k, b, b0, b_k, b_column, c, c0, c_row, m, n, depth, *, add=False, bias=None, bias0=0, scratch=None,
    tf32=False,
):  # fmt: skip
    """C[:m, :n] (+)= A[:m, :depth] @ B[:depth, :n] (+ bias); with depth 0 the product is 0.

    Parameters
    ----------
    a, b, c : device arrays of one dtype
        The operands' memory, C-contiguous, of any shape (flat ones save a view each); `c` must not overlap the others
        and is overwritten, or added to.
    a0, b0, c0 : int
        Where the operands start, in elements.
    a_row, a_k, b_k, b_column, c_row : int
        Elements from a row of A to the next, from a column of A, a row of B, a column of B, a row of C; the columns of
        C are contiguous.
    m, n, depth : int
        Rows and columns of C; the length of the sums.
    add : bool
        Add to what C holds, rather than overwrite it.
    bias : device array, optional
        Added to every row: its n elements from `bias0` on.
    scratch : device array, optional
        Memory of the same dtype, overwritten: with it (and no bias) long sums may be split.
    tf32 : bool
        On tensor cores, A and B rounded to tf32, 11 significant bits; of float32 only.
    """
    vector, mode = (c, NO_VECTOR) if bias is None else (bias, BIAS)
    _launch(
        a, a0, a_row, a_k, b, b0, b_k, b_column, c, c0, c_row, m, n, depth, add, vector, bias0, mode,
        scratch if bias is None else None, tf32,
    )  # fmt: skip


def token_sum(
    x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch,
    *, add=False, sums=None, sums0=0, of=COLUMN_SUMS, tf32=False,
):  # fmt: skip
    """out (+)= X^T D, summed over the `count` rows of X (count, m) and D (count, n).

    x, d and out are device arrays of one dtype, their rows from `x0`, `d0`, `out0` on, `x_row`, `d_row`, `out_row`
    elements apart. `scratch` (device array, overwritten) is memory for parts of the sums. `sums` (device array,
    optional) receives, from `sums0` on, the sum of all rows of D, or of X with of=ROW_SUMS: a bias's gradient,
    overwritten or added to as `out`. `tf32` is that of `product`; the sums are then of rounded rows too.
    """
    vector, mode = (out, NO_VECTOR) if sums is None else (sums, of)
    _launch(
        x, x0, 1, x_row, d, d0, d_row, 1, out, out0, out_row, m, n, count, add, vector, sums0, mode, scratch, tf32
    )  # fmt: skip


def ravel(array):
    """A device array as one of one dimension."""
    return array if array.ndim == 1 else array.ravel()


def _launch(
    a, a0, a_row, a_k, b, b0, b_k, b_column, c, c0, c_row, m, n, depth, add, vector, vector0, mode, scratch,
    tf32,
):  # fmt: skip
    """The product in one launch, or its parts in one and their sum in another."""
    down, across = -(-m // TILE), -(-n // TILE)
    extra = (0, 0, m, n)[mode]
    size = m * n + extra
    parts, share = _split(down * across, depth, 0 if scratch is None else scratch.size // max(size, 1))
    a, b, c, vector = ravel(a), ravel(b), ravel(c), ravel(vector)
    multiply = _product_tf32 if tf32 else _product
    if parts == 1:
        multiply(
            (across, down), PRODUCT_THREADS, a, a0, a_row, a_k, b, b0, b_k, b_column, c, c0, c_row, 0, m, n, depth,
            share, add, vector, vector0, mode,
        )  # fmt: skip
        return
    part = ravel(scratch)
    multiply(
        (across, down, parts), PRODUCT_THREADS, a, a0, a_row, a_k, b, b0, b_k, b_column, part, 0, n, size, m, n, depth,
        share, False, part, m * n, mode,
    )  # fmt: skip
    blocks = (-(-max(n, extra) // THREADS), m + (extra > 0))
    _add_parts(blocks, THREADS, part, size, parts, c, c0, c_row, m, n, add, vector, vector0, extra)


def _split(tiles, depth, max_parts):
    """In how many parts sums of `depth` terms are made, at most `max_parts` of them, and how long a part is."""
    parts = max(1, min(TARGET_BLOCKS // max(tiles, 1), depth // MIN_TERMS, max_parts))
    share = max(1, -(-depth // (parts * DEPTH))) * DEPTH
    return max(1, -(-depth // share)), share


def scratch_size(m, n, depth, extra=0):
    """Elements of scratch that let sums of `depth` terms be split as much as pays; 0 where that is not at all.

    C has m rows and n columns; `extra` are the elements of a vector that receives sums besides.
    """
    parts, _ = _split(-(-m // TILE) * -(-n // TILE), depth, TARGET_BLOCKS)
    return parts * (m * n + extra) if parts > 1 else 0


def _kernel(name, prepare, multiply, keep):
    """The kernel of that name in this file.

    `prepare(held)` is done with what a thread brings of A or B, `multiply` with slices in shared memory, and `keep`
    with the sums that this has made.
    """

    def run(
        a, a0, a_row, a_k, b, b0, b_k, b_column, c, c0, c_row, c_part, m, n, depth, share, add, vector, vector0, mode
    ):  # fmt: skip
        """One tile of a part of the sums: block (x, y, z) makes columns x, rows y, terms from z * share on.

        The parts are `c_part` elements apart, in `c` as in `vector`, if that receives sums.
        """
        memory = _shared(a)
        sums = cuda.local.array(SUMS, a.dtype)
        left = cuda.local.array(FETCHED, a.dtype)
        right = cuda.local.array(FETCHED, a.dtype)
        thread, part = cuda.threadIdx.x, cuda.blockIdx.z
        row0, column0, k0 = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE, part * share
        rows, columns, terms = m - row0, n - column0, min(share, depth - k0)
        a_at, b_at = a0 + row0 * a_row + k0 * a_k, b0 + column0 * b_column + k0 * b_k
        summing = (mode == ROW_SUMS and column0 == 0) or (mode == COLUMN_SUMS and row0 == 0)
        total = a.dtype.type(0)
        for i in range(SUMS):
            sums[i] = total
        _fetch(a, a_at, a_row, a_k, rows, terms, thread, left)
        _fetch(b, b_at, b_column, b_k, columns, terms, thread, right)
        offset = 0  # slices take turns in the two halves of the memory: one meeting of the threads each is then enough
        while terms > 0:
            prepare(left)
            prepare(right)
            _put(left, a_k, thread, memory, offset)
            _put(right, b_k, thread, memory, offset + K_SLICE)
            cuda.syncthreads()
            a_at += DEPTH * a_k
            b_at += DEPTH * b_k
            terms -= DEPTH
            if terms > 0:
                _fetch(a, a_at, a_row, a_k, rows, terms, thread, left)
                _fetch(b, b_at, b_column, b_k, columns, terms, thread, right)
            multiply(memory, offset, thread, sums)
            if summing and thread < TILE:
                first = offset + thread if mode == ROW_SUMS else offset + K_SLICE + thread
                for k in range(DEPTH):
                    total += memory[np.uint64(first + k * ROW)]
            offset = 2 * K_SLICE - offset
        if summing and thread < TILE:
            within = row0 + thread if mode == ROW_SUMS else column0 + thread
            if within < (m if mode == ROW_SUMS else n):
                at = vector0 + part * c_part + within
                vector[np.uint64(at)] = vector[np.uint64(at)] + total if add else total
        cuda.syncthreads()
        keep(sums, thread, memory)
        cuda.syncthreads()
        row, column = thread // TILE, thread % TILE
        if column < columns:
            shift = vector[np.uint64(vector0 + column0 + column)] if mode == BIAS else a.dtype.type(0)
            at = c0 + part * c_part + (row0 + row) * c_row + column0 + column
            for i in range(row, min(rows, TILE), FETCHED_DEEP):
                value = memory[np.uint64(i * ROW + column)] + shift
                c[np.uint64(at)] = c[np.uint64(at)] + value if add else value
                at += FETCHED_DEEP * c_row

    run.__qualname__ = name  # under which it is kept on disk
    return kernel(run)


if SIMULATED:

    @inlined_function
    def _shared(like):
        return cuda.shared.array(MEMORY, like.dtype)

else:

    @inlined_function
    def _shared(like):
        """Shared memory that may be read as vectors; the simulator knows no alignment."""
        return cuda.shared.array(MEMORY, like.dtype, alignment=16)


@device_function
def _fetch(source, at, row_step, k_step, rows, terms, thread, held):
    """This thread's share of a slice of A, or of B^T: TILE rows, DEPTH deep, from `at` on; zeros beyond the edges."""
    zero = source.dtype.type(0)
    if k_step == 1:
        row, k = thread // NEIGHBOURS, thread % NEIGHBOURS
        for group in range(GROUPS):
            offset, inside = at + row * row_step + k + group * NEIGHBOURS, k + group * NEIGHBOURS < terms
            for i in range(GROUP):
                fits = inside and row + i * FETCHED_ROWS < rows
                held[group * GROUP + i] = source[np.uint64(offset)] if fits else zero
                offset += FETCHED_ROWS * row_step
    else:
        row, k = thread % TILE, thread // TILE
        offset, inside = at + row * row_step + k * k_step, row < rows
        for i in range(FETCHED):
            fits = inside and k + i * FETCHED_DEEP < terms
            held[i] = source[np.uint64(offset)] if fits else zero
            offset += FETCHED_DEEP * k_step


@device_function
def _put(held, k_step, thread, memory, offset):
    """What `_fetch` has held into shared memory, as [k, row]."""
    if k_step == 1:
        offset += thread % NEIGHBOURS * ROW + thread // NEIGHBOURS
        for group in range(GROUPS):
            for i in range(GROUP):
                memory[np.uint64(offset + group * NEIGHBOURS * ROW + i * FETCHED_ROWS)] = held[group * GROUP + i]
    else:
        offset += thread // TILE * ROW + thread % TILE
        for i in range(FETCHED):
            memory[np.uint64(offset + i * FETCHED_DEEP * ROW)] = held[i]


@device_function
def _corner(thread):
    """First row and column of what a thread makes of a tile."""
    warp, lane = thread // WARP, thread % WARP
    row = lane // WARP_COLUMNS + warp // WARPS_ACROSS * (WARP // WARP_COLUMNS)
    column = lane % WARP_COLUMNS + warp % WARPS_ACROSS * WARP_COLUMNS
    return row * THREAD_ROWS, column * THREAD_COLUMNS


@device_function
def _multiply(memory, offset, thread, sums):
    """Add the product of two slices in shared memory to the sums of this thread's part of the tile."""
    row, column = _corner(thread)
    left, right = (offset + row) // VECTOR, (offset + K_SLICE + column) // VECTOR
    for _ in range(DEPTH // 2):
        _multiply_one(memory, left, right, sums)
        _multiply_one(memory, left + ROW // VECTOR, right + ROW // VECTOR, sums)
        left += 2 * ROW // VECTOR
        right += 2 * ROW // VECTOR


@device_function
def _multiply_one(memory, left, right, sums):
    """The same for one k; `left` and `right` count vectors, so that the compiler sees that they are aligned."""
    x = cuda.local.array(THREAD_ROWS, memory.dtype)
    y = cuda.local.array(THREAD_COLUMNS, memory.dtype)
    for i in range(THREAD_ROWS):
        x[i] = memory[np.uint64(left * VECTOR + i)]
    for j in range(THREAD_COLUMNS):
        y[j] = memory[np.uint64(right * VECTOR + j)]
    for i in range(THREAD_ROWS):
        for j in range(THREAD_COLUMNS):
            sums[i * THREAD_COLUMNS + j] += x[i] * y[j]


@device_function
def _keep(sums, thread, memory):
    """This thread's part of the tile into shared memory, as [row, column]."""
    row, column = _corner(thread)
    for i in range(THREAD_ROWS):
        for j in range(THREAD_COLUMNS):
            memory[np.uint64((row + i) * ROW + column + j)] = sums[i * THREAD_COLUMNS + j]


@device_function
def _as_it_is(held):
    """Nothing is done with float32 and float64."""


_product = _kernel("_product", _as_it_is, _multiply, _keep)
if SIMULATED:
    _product_tf32 = _kernel("_product_tf32", device_function(tensor_cores.round_all), _multiply, _keep)
else:
    _product_tf32 = _kernel(
        "_product_tf32", device_function(tensor_cores.round_all),
        device_function(tensor_cores.multiplication(ROW, K_SLICE, DEPTH)),
        device_function(tensor_cores.keeping(ROW)),
    )  # fmt: skip


@kernel
def _add_parts(part, step, parts, c, c0, c_row, m, n, add, vector, vector0, extra):
    """C (+)= the sum of its parts, `step` elements apart; block (x, y) adds in row y, and row m is the `vector`'s."""
    row, column = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if column >= (n if row < m else extra):
        return
    at, total = row * n + column, part.dtype.type(0)
    for _ in range(parts):
        total += part[np.uint64(at)]
        at += step
    if row < m:
        at = c0 + row * c_row + column
        c[np.uint64(at)] = c[np.uint64(at)] + total if add else total
    else:
        at = vector0 + column
        vector[np.uint64(at)] = vector[np.uint64(at)] + total if add else total

"""Packing: weights and sums are copied into panels, which products read from consecutive memory.

A weight matrix that serves many steps is copied once into panels of PANEL_WIDTH columns, [panel, row, column], so that
a tile reads it from consecutive memory; rows whose length is a power of two would map to the same cache sets.

Panels of uint32 hold two rows of the matrix in one, in bfloat16 (bfloat16.py); products then round their other factor
too. Callers need not know: the type of the panels, or of the scratch memory, is dispatched on at compile time.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.jit import jit, overload
from ..compiler.views import ravel, view
from .bfloat16 import interleave_rows, pack_adjacent, pack_bfloat16, values_per_element
from .gemm import PANEL_WIDTH, product
from .simd import I32, VECTOR_BYTES, constant

# A sum over tokens copies so many rows at a time, each row so much longer, for the cache's sake as well.
DEPTH = 64
PAD = 16
# The left factor is rounded on the stack: so many uint32, of at most so many rows.
STACK_PAIRS = 12 * 1024
STACK_ROWS = 96


@jit
def packed_depth(packed, depth):
    """Rows of a panel that `depth` rows of a matrix take."""
    return (depth + values_per_element(packed) - 1) // values_per_element(packed)


def packed_rows(depth, columns, dtype):
    """Rows of PANEL_WIDTH elements that a matrix (depth, columns) takes packed in panels of a dtype."""
    return -(-columns // PANEL_WIDTH) * -(-depth // (2 if dtype == np.uint32 else 1))


def copy_packed(source, i, other, target, j, n):
    """target[j : j + n] = source[i : i + n]; in uint32, joined with source[other : other + n], zeros if that is -1."""
    if target.dtype == np.uint32:
        _copy_pairs(source, i, other, target, j, n)
    else:
        _copy_floats(source, i, other, target, j, n)


def _copy_floats(source, i, other, target, j, n):
    source, target = source[i : i + n], target[j : j + n]  # whose indices start at 0: LLVM vectorises those
    for k in range(n):
        target[k] = source[k]


def _copy_pairs(source, i, other, target, j, n):
    second = source[other : other + n] if other >= 0 else source[:0]
    interleave_rows(source[i : i + n], second, target[j : j + n])


@overload(copy_packed)
def _copy_packed_of_dtype(source, i, other, target, j, n):
    return _copy_pairs if target.dtype == types.uint32 else _copy_floats


@jit
def pack_weights(part, n_parts, W, packed):
    """Pack part `part` of `n_parts` of W (depth, columns) into panels (packed_rows, PANEL_WIDTH)."""
    depth, columns = W.shape
    source, target, rows, values = ravel(W), ravel(packed), packed_depth(packed, depth), values_per_element(packed)
    for row in range(rows * part // n_parts, rows * (part + 1) // n_parts):
        paired = row * values + 1 < depth
        for first in range(0, columns, PANEL_WIDTH):
            start, offset = row * values * columns + first, (first // PANEL_WIDTH * rows + row) * PANEL_WIDTH
            copy_packed(
                source, start, start + columns if paired else -1, target, offset, min(PANEL_WIDTH, columns - first)
            )


def packed_element(row, k, packed):
    """Element k of a row; or elements 2 k and 2 k + 1 (zero beyond the end) where panels are uint32."""
    return _packed_pair(row, k, packed) if packed.dtype == np.uint32 else row[k]


def _packed_pair(row, k, packed):
    return pack_bfloat16(row[2 * k], row[2 * k + 1] if 2 * k + 1 < len(row) else row.dtype.type(0))


@overload(packed_element)
def _packed_element_of_dtype(row, k, packed):
    return _packed_pair if packed.dtype == types.uint32 else lambda row, k, packed: row[k]


@jit
def pack_transposed(part, n_parts, W, packed):
    """Pack part `part` of `n_parts` of W^T; a few of its rows at a time, which then stay in cache."""
    columns, depth = W.shape
    rows = packed_depth(packed, depth)
    start, stop = rows * part // n_parts, rows * (part + 1) // n_parts
    for first in range(0, columns, PANEL_WIDTH):
        offset = first // PANEL_WIDTH * rows
        for row0 in range(start, stop, 16):
            for j in range(min(PANEL_WIDTH, columns - first)):
                source = W[first + j]
                for row in range(row0, min(stop, row0 + 16)):
                    packed[offset + row, j] = packed_element(source, row, packed)


def packed_product(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add):
    """out (+)= X P[k0:k1, first:last], of m rows, where P (depth, columns) is packed in panels.

    x and out are flat, their rows from `x0` and `out0` on, `x_row` and `out_row` elements apart; X has k1 - k0
    columns.
    """
    by_dtype = _bfloat16_product if packed.dtype == np.uint32 else _float_product
    by_dtype(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add)


def _float_product(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add):
    weights, column = ravel(packed), first
    while column < last:
        within = column % PANEL_WIDTH
        n = min(PANEL_WIDTH - within, last - column)
        product(
            x, x0, x_row, 1, weights, (column // PANEL_WIDTH * depth + k0) * PANEL_WIDTH + within, PANEL_WIDTH,
            out, out0 + column - first, out_row, m, n, k1 - k0, add,
        )  # fmt: skip
        column += n


@jit(indirect=types.none)
def _bfloat16_product(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add):
    """`packed_product` of uint32 panels: rounds a block of x to bfloat16 and multiplies it.

    The block has all rows if possible, so that the panels are read once, and as many columns as the buffer holds.
    """
    rounded, weights, rows = _stack_buffer(), ravel(packed), packed_depth(packed, depth)
    count = min(m, STACK_ROWS)
    most, end = STACK_PAIRS // count, (k1 + 1) // 2
    for i in range(0, m, count):
        n = min(count, m - i)
        for pair in range(k0 // 2, end, most):
            pairs = min(most, end - pair)
            start, stop = max(2 * pair, k0), min(2 * (pair + pairs), k1)
            for row in range(n):
                offset = x0 + (i + row) * x_row - k0
                _round_row(x[offset + start : offset + stop], start % 2, rounded[row * pairs : (row + 1) * pairs])
            adding, column = add or 2 * pair > k0, first
            while column < last:
                within = column % PANEL_WIDTH
                width = min(PANEL_WIDTH - within, last - column)
                product(
                    rounded, 0, pairs, 1, weights, (column // PANEL_WIDTH * rows + pair) * PANEL_WIDTH + within,
                    PANEL_WIDTH,
                    out, out0 + i * out_row + column - first, out_row, n, width, pairs, adding,
                )  # fmt: skip
                column += width


def bfloat16_product_specialization():
    """The `Specialization` behind all `packed_product` of uint32 panels."""
    floats, packed = np.empty(0, np.float32), np.empty((0, PANEL_WIDTH), np.uint32)
    return _bfloat16_product.specialization_for((floats, 0, 0, packed, *[0] * 5, floats, 0, 0, 0, True))


@jit
def _round_row(row, skip, out):
    """Neighbours of a row of float32 in `out`; with `skip` 1 its first number is the second of a pair."""
    if skip > 0:
        out[0] = pack_bfloat16(row.dtype.type(0), row[0])
    pack_adjacent(row[skip:], out[skip:])


def _stack_buffer():
    """ROUNDED uint32 of memory, on the stack."""
    return np.empty(STACK_PAIRS, np.uint32)


@intrinsic
def _stack_memory(typingctx):
    def codegen(context, builder, signature, args):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(I32, STACK_PAIRS))
        memory.align = VECTOR_BYTES
        first = builder.bitcast(memory, I32.as_pointer())
        return view(context, builder, signature.return_type, first, [constant(STACK_PAIRS)])

    return types.Array(types.uint32, 1, "C")(), codegen


if not numba.config.DISABLE_JIT:
    _stack_buffer = _stack_memory


def _call_bfloat16_product(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add):
    _bfloat16_product(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add)


@overload(packed_product)
def _packed_product_of_dtype(x, x0, x_row, packed, depth, k0, k1, first, last, out, out0, out_row, m, add):
    return _call_bfloat16_product if packed.dtype == types.uint32 else _float_product


def token_sum_size(m, n):
    """Elements of scratch memory that `token_sum` takes for a result (m, n)."""
    return DEPTH * (m + PAD) + -(-n // PANEL_WIDTH) * (DEPTH + m) * PANEL_WIDTH


@jit
def token_sum(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch):
    """out = X^T D, summed over the `count` rows of X (count, m) and D (count, n), which are packed block by block.

    The sum too is packed in panels until all is added up. x, d and out are flat, their rows from `x0`, `d0`, `out0` on,
    `x_row`, `d_row`, `out_row` elements apart. In scratch memory of uint32 two tokens are one, in bfloat16.
    """
    row, packed_d, sums = m + PAD, DEPTH * (m + PAD), as_floats(scratch)
    total = packed_d + DEPTH * ((n + PANEL_WIDTH - 1) // PANEL_WIDTH * PANEL_WIDTH)
    rows, values = packed_depth(scratch, count), values_per_element(scratch)
    for k0 in range(0, rows, DEPTH):
        depth = min(DEPTH, rows - k0)
        for k in range(depth):
            token = (k0 + k) * values
            x_at, d_at, paired = x0 + token * x_row, d0 + token * d_row, token + 1 < count
            copy_packed(x, x_at, x_at + x_row if paired else -1, scratch, k * row, m)
            for j in range(0, n, PANEL_WIDTH):
                other, target = (
                    d_at + j + d_row if paired else -1,
                    packed_d + (j // PANEL_WIDTH * DEPTH + k) * PANEL_WIDTH,
                )
                copy_packed(d, d_at + j, other, scratch, target, min(PANEL_WIDTH, n - j))
        for j in range(0, n, PANEL_WIDTH):
            product(
                scratch, 0, 1, row, scratch, packed_d + j * DEPTH, PANEL_WIDTH, sums, total + j * m, PANEL_WIDTH,
                m, min(PANEL_WIDTH, n - j), depth, k0 > 0,
            )  # fmt: skip
    for i in range(m):
        for j in range(0, n, PANEL_WIDTH):
            copy_packed(sums, total + j * m + i * PANEL_WIDTH, -1, out, out0 + i * out_row + j, min(PANEL_WIDTH, n - j))


def as_floats(scratch):
    """The same memory as numbers that are added up: as float32 if it is uint32."""
    return scratch.view(np.float32) if scratch.dtype == np.uint32 else scratch


@intrinsic
def _as_floats(typingctx, scratch):
    kind = types.float32 if scratch.dtype == types.uint32 else scratch.dtype

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        data = builder.bitcast(array.data, context.get_value_type(kind).as_pointer())
        return view(context, builder, signature.return_type, data, [array.nitems])

    return scratch.copy(dtype=kind)(scratch), codegen


if not numba.config.DISABLE_JIT:
    as_floats = _as_floats

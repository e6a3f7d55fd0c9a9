"""Weights and sums in panels: what the products of the layers read and write, copied so that the cache serves it well.

A weight matrix that serves many steps is copied once into panels of PANEL columns, [panel, row, column], so that a
tile reads it from consecutive memory; rows of a power of two in length would fall into the same places of the cache.

Panels of uint32 hold two rows of the matrix in one, in bfloat16 (bfloat16.py); products then round their other factor
too. What multiplies need not know: the type of the panels, or of the scratch memory, decides when it is compiled.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.jit import jit, overload
from ..compiler.views import flat, view
from .bfloat16 import join_neighbours, join_rows, numbers_in, two
from .gemm import PANEL, product
from .simd import I32, VECTOR_BYTES, constant

# A sum over tokens copies so many rows at a time, each row so much longer, for the cache's sake as well.
DEPTH = 64
PAD = 16
# The left factor is rounded on the stack: so many uint32, of at most so many rows.
ROUNDED = 12 * 1024
ROUNDED_ROWS = 96


@jit
def rows_in(panels, depth):
    """Rows of a panel that `depth` rows of a matrix take."""
    return (depth + numbers_in(panels) - 1) // numbers_in(panels)


def panel_rows(depth, columns, dtype):
    """Rows of PANEL elements that a matrix (depth, columns) takes in panels of a dtype."""
    return -(-columns // PANEL) * -(-depth // (2 if dtype == np.uint32 else 1))


def take(source, i, other, target, j, n):
    """target[j : j + n] = source[i : i + n]; in uint32, joined with source[other : other + n], zeros if that is -1."""
    if target.dtype == np.uint32:
        _take_two(source, i, other, target, j, n)
    else:
        _take_one(source, i, other, target, j, n)


def _take_one(source, i, other, target, j, n):
    source, target = source[i : i + n], target[j : j + n]  # whose indices start at 0: LLVM vectorises those
    for k in range(n):
        target[k] = source[k]


def _take_two(source, i, other, target, j, n):
    second = source[other : other + n] if other >= 0 else source[:0]
    join_rows(source[i : i + n], second, target[j : j + n])


@overload(take)
def _take_of_dtype(source, i, other, target, j, n):
    return _take_two if target.dtype == types.uint32 else _take_one


@jit
def pack_weights(member, size, W, panels):
    """This member's share of W (depth, columns) in panels, flat rows (panel_rows, PANEL)."""
    depth, columns = W.shape
    source, target, rows, numbers = flat(W), flat(panels), rows_in(panels, depth), numbers_in(panels)
    for row in range(rows * member // size, rows * (member + 1) // size):
        paired = row * numbers + 1 < depth
        for first in range(0, columns, PANEL):
            start, place = row * numbers * columns + first, (first // PANEL * rows + row) * PANEL
            take(source, start, start + columns if paired else -1, target, place, min(PANEL, columns - first))


def element(row, k, panels):
    """Element k of a row; or elements 2 k and 2 k + 1 (zero beyond the end) where panels are uint32."""
    return _element_of_two(row, k, panels) if panels.dtype == np.uint32 else row[k]


def _element_of_two(row, k, panels):
    return two(row[2 * k], row[2 * k + 1] if 2 * k + 1 < len(row) else row.dtype.type(0))


@overload(element)
def _element_of_dtype(row, k, panels):
    return _element_of_two if panels.dtype == types.uint32 else lambda row, k, panels: row[k]


@jit
def pack_transposed(member, size, W, panels):
    """This member's share of W^T in panels; a few of its rows at a time, which then stay in cache."""
    columns, depth = W.shape
    rows = rows_in(panels, depth)
    start, stop = rows * member // size, rows * (member + 1) // size
    for first in range(0, columns, PANEL):
        place = first // PANEL * rows
        for row0 in range(start, stop, 16):
            for j in range(min(PANEL, columns - first)):
                source = W[first + j]
                for row in range(row0, min(stop, row0 + 16)):
                    panels[place + row, j] = element(source, row, panels)


def panel_product(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add):
    """out (+)= X P[k0:k1, first:last], of m rows, where P (depth, columns) stands in panels.

    x and out are flat, their rows from `x0` and `out0` on, `x_row` and `out_row` elements apart; X has k1 - k0
    columns.
    """
    by_dtype = _rounded_product if panels.dtype == np.uint32 else _whole_product
    by_dtype(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add)


def _whole_product(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add):
    weights, column = flat(panels), first
    while column < last:
        within = column % PANEL
        n = min(PANEL - within, last - column)
        product(
            x, x0, x_row, 1, weights, (column // PANEL * depth + k0) * PANEL + within, PANEL,
            out, out0 + column - first, out_row, m, n, k1 - k0, add,
        )  # fmt: skip
        column += n


@jit(separate=types.none)
def _rounded_product(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add):
    """`panel_product` of uint32 panels: rounds a few rows of x, or pieces of them, and multiplies these.

    All rows if possible, so that the panels are read once: long ones then go in pieces.
    """
    rounded, weights, rows = _stack(), flat(panels), rows_in(panels, depth)
    count = min(m, ROUNDED_ROWS)
    most, end = ROUNDED // count, (k1 + 1) // 2
    for i in range(0, m, count):
        n = min(count, m - i)
        for pair in range(k0 // 2, end, most):
            pairs = min(most, end - pair)
            start, stop = max(2 * pair, k0), min(2 * (pair + pairs), k1)
            for row in range(n):
                place = x0 + (i + row) * x_row - k0
                _round(x[place + start : place + stop], start % 2, rounded[row * pairs : (row + 1) * pairs])
            adding, column = add or 2 * pair > k0, first
            while column < last:
                within = column % PANEL
                width = min(PANEL - within, last - column)
                product(
                    rounded, 0, pairs, 1, weights, (column // PANEL * rows + pair) * PANEL + within, PANEL,
                    out, out0 + i * out_row + column - first, out_row, n, width, pairs, adding,
                )  # fmt: skip
                column += width


def rounded_product_version():
    """The `separate.Version` behind all `panel_product` of uint32 panels."""
    numbers, panels = np.empty(0, np.float32), np.empty((0, PANEL), np.uint32)
    return _rounded_product.version_for((numbers, 0, 0, panels, *[0] * 5, numbers, 0, 0, 0, True))


@jit
def _round(row, skip, out):
    """Neighbours of a row of float32 in `out`; with `skip` 1 its first number is the second of a pair."""
    if skip > 0:
        out[0] = two(row.dtype.type(0), row[0])
    join_neighbours(row[skip:], out[skip:])


def _stack():
    """ROUNDED uint32 of memory, on the stack."""
    return np.empty(ROUNDED, np.uint32)


@intrinsic
def _stack_memory(typingctx):
    def codegen(context, builder, signature, args):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(I32, ROUNDED))
        memory.align = VECTOR_BYTES
        first = builder.bitcast(memory, I32.as_pointer())
        return view(context, builder, signature.return_type, first, [constant(ROUNDED)])

    return types.Array(types.uint32, 1, "C")(), codegen


if not numba.config.DISABLE_JIT:
    _stack = _stack_memory


def _through_bfloat16(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add):
    _rounded_product(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add)


@overload(panel_product)
def _panel_product_of_dtype(x, x0, x_row, panels, depth, k0, k1, first, last, out, out0, out_row, m, add):
    return _through_bfloat16 if panels.dtype == types.uint32 else _whole_product


def token_sum_size(m, n):
    """Elements of scratch memory that `token_sum` takes for a result (m, n)."""
    return DEPTH * (m + PAD) + -(-n // PANEL) * (DEPTH + m) * PANEL


@jit
def token_sum(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch):
    """out = X^T D, summed over the `count` rows of X (count, m) and D (count, n), which are copied in pieces.

    The sum too is in panels until all is added up. x, d and out are flat, their rows from `x0`, `d0`, `out0` on,
    `x_row`, `d_row`, `out_row` elements apart. In scratch memory of uint32 two tokens are one, in bfloat16.
    """
    row, panels, sums = m + PAD, DEPTH * (m + PAD), as_numbers(scratch)
    total = panels + DEPTH * ((n + PANEL - 1) // PANEL * PANEL)
    rows, numbers = rows_in(scratch, count), numbers_in(scratch)
    for k0 in range(0, rows, DEPTH):
        depth = min(DEPTH, rows - k0)
        for k in range(depth):
            token = (k0 + k) * numbers
            x_at, d_at, paired = x0 + token * x_row, d0 + token * d_row, token + 1 < count
            take(x, x_at, x_at + x_row if paired else -1, scratch, k * row, m)
            for j in range(0, n, PANEL):
                other, target = d_at + j + d_row if paired else -1, panels + (j // PANEL * DEPTH + k) * PANEL
                take(d, d_at + j, other, scratch, target, min(PANEL, n - j))
        for j in range(0, n, PANEL):
            product(
                scratch, 0, 1, row, scratch, panels + j * DEPTH, PANEL, sums, total + j * m, PANEL,
                m, min(PANEL, n - j), depth, k0 > 0,
            )  # fmt: skip
    for i in range(m):
        for j in range(0, n, PANEL):
            take(sums, total + j * m + i * PANEL, -1, out, out0 + i * out_row + j, min(PANEL, n - j))


def as_numbers(scratch):
    """The same memory as numbers that are added up: as float32 if it is uint32."""
    return scratch.view(np.float32) if scratch.dtype == np.uint32 else scratch


@intrinsic
def _as_numbers(typingctx, scratch):
    kind = types.float32 if scratch.dtype == types.uint32 else scratch.dtype

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        data = builder.bitcast(array.data, context.get_value_type(kind).as_pointer())
        return view(context, builder, signature.return_type, data, [array.nitems])

    return scratch.copy(dtype=kind)(scratch), codegen


if not numba.config.DISABLE_JIT:
    as_numbers = _as_numbers

"""The one matrix product behind everything: C (+)= A B, held in registers.

A micro-kernel keeps a tile of C in vector registers: a few rows by a few vectors of columns. For every k it
loads part of a row of B as vectors, broadcasts one scalar of A for each row of the tile, and issues one
fused multiply-add for every pair. A may lie in any order (its scalars have two strides), so transposed
operands need no copy; the rows of B and C must be contiguous. The last vector of a tile is loaded and
stored under a mask, so any number of columns works without padding; it has half the lanes where they suffice.
Rows that do not exist are computed but not stored.

Factors in bfloat16 (bfloat16.py), as uint32 of two numbers each, are multiplied in the same way, at half the cost.

Called with ``NUMBA_DISABLE_JIT=1`` the product is NumPy's.
"""

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided

from ..compiler.jit import jit
from .bfloat16 import unpack_bfloat16_pairs
from .simd import I64, TILE_VECTORS, VECTOR_BYTES, BFloat16Vectors, Vectors, constant, lanes_of, optimization_barrier

TILE_ROWS = 6
ROW_CHOICES = (6, 4, 2, 1)  # a tile of m rows takes the smallest that holds them
HALVES = VECTOR_BYTES == 64  # whether a last vector of half the lanes can be cheaper


@intrinsic
def _tile(typingctx, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    """One tile, 1 <= m <= TILE_ROWS and 1 <= n <= TILE_VECTORS * lanes; arguments as in `product`."""
    i = types.intp
    signature = types.void(a, i, i, i, b, i, i, c, i, i, i, i, i, types.boolean)

    def codegen(context, builder, signature, args):
        lanes = lanes_of(signature.args[0].dtype.bitwidth)
        whole, half = (_vectors(context, builder, signature.args[0].dtype, count) for count in (lanes, lanes // 2))
        a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add = args
        a, b, c = builder.gep(a, [a0]), builder.gep(b, [b0]), builder.gep(c, [c0])

        def between(value, low, high):
            above, below = (builder.icmp_signed(">", value, constant(bound)) for bound in (low, high))
            return builder.if_then(builder.and_(above, builder.not_(below)))

        for rows, fewer in zip(ROW_CHOICES, (*ROW_CHOICES[1:], 0), strict=True):
            with between(m, fewer, rows):
                for full in range(TILE_VECTORS):
                    for last in (half, whole) if HALVES else (whole,):
                        low = full * lanes + (half.lanes if HALVES and last is whole else 0)
                        with between(n, low, full * lanes + last.lanes):
                            columns = [whole] * full + [last]
                            _emit_tile(builder, rows, columns, a, a_row, a_k, b, b_k, c, c_row, m, n, depth, add)
        return context.get_dummy_value()

    return signature, codegen


def _vectors(context, builder, dtype, lanes):
    """What emits operations on the sums of products of operands of a dtype: uint32 are two bfloat16."""
    if dtype == types.uint32:
        return BFloat16Vectors(builder, lanes)
    return Vectors(builder, context.get_data_type(dtype), dtype.bitwidth // 8, lanes)


def _emit_tile(builder, R, columns, a, a_row, a_k, b, b_k, c, c_row, m, n, depth, add):
    """Emit a tile of R rows by the vectors of `columns`, the last under a mask: the loop over k, then the stores."""
    starts = [sum(vectors.lanes for vectors in columns[:v]) for v in range(len(columns))]
    masks = [None] * (len(columns) - 1) + [columns[-1].first(builder.sub(n, constant(starts[-1])))]
    column_tiles = list(zip(columns, starts, masks, strict=True))
    last = builder.sub(m, constant(1))
    row_offsets = []  # a row beyond the last reads the last once more
    for r in range(R):
        row = constant(r) if r == 0 else builder.select(
            builder.icmp_signed("<", constant(r), m), constant(r), last)  # fmt: skip
        row_offsets.append(builder.mul(row, a_row))
    with builder.if_then(add):  # C is read only after the loop: ask for it now
        for r in range(R):
            for vectors, start, _ in column_tiles:
                vectors.prefetch(builder.gep(c, [builder.mul(c_row, constant(r))]), constant(start))
    # Prefetch the rows of A of the next tile, a part of them for every k.
    next_a = builder.gep(a, [builder.mul(a_row, constant(R))])
    stride = builder.sdiv(builder.mul(a_row, constant(R)), depth)

    entry = builder.block
    loop, done = builder.append_basic_block("tile.k"), builder.append_basic_block("tile.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    left, a_at, b_at, ahead = builder.phi(I64), builder.phi(a.type), builder.phi(b.type), builder.phi(a.type)
    for value, first in ((left, depth), (a_at, a), (b_at, b), (ahead, next_a)):
        value.add_incoming(first, entry)
    sums = [[builder.phi(vectors.type) for vectors in columns] for _ in range(R)]
    b_vectors = [vectors.operand.load(b_at, start, mask) for vectors, start, mask in column_tiles]
    columns[0].prefetch(ahead, constant(0))
    results = []
    for r in range(R):
        x = builder.load(builder.gep(a_at, [row_offsets[r]]))
        results.append([vectors.fma(vectors.operand.splat(x), b, total)
                        for vectors, b, total in zip(columns, b_vectors, sums[r], strict=True)])  # fmt: skip
    left_next = optimization_barrier(builder, builder.sub(left, constant(1)))
    left.add_incoming(left_next, loop)
    a_at.add_incoming(optimization_barrier(builder, builder.gep(a_at, [a_k])), loop)
    b_at.add_incoming(optimization_barrier(builder, builder.gep(b_at, [b_k])), loop)
    ahead.add_incoming(optimization_barrier(builder, builder.gep(ahead, [stride])), loop)
    for r in range(R):
        for vectors, total, result in zip(columns, sums[r], results[r], strict=True):
            total.add_incoming(vectors.zero, entry)
            total.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed(">", left_next, constant(0)), loop, done)
    builder.position_at_end(done)
    for r in range(R):
        with builder.if_then(builder.icmp_signed("<", constant(r), m)):
            c_base = builder.gep(c, [builder.mul(c_row, constant(r))])
            with builder.if_else(add) as (adding, setting):
                with adding:
                    for (vectors, start, mask), result in zip(column_tiles, results[r], strict=True):
                        old = vectors.load(c_base, start, mask)
                        vectors.store(builder.fadd(old, result), c_base, start, mask)
                with setting:
                    for (vectors, start, mask), result in zip(column_tiles, results[r], strict=True):
                        vectors.store(result, c_base, start, mask)


@intrinsic
def _lanes(typingctx, pointer):
    """Elements in a vector of what `pointer` points to."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, lanes_of(signature.args[0].dtype.bitwidth))

    return types.intp(pointer), codegen


@jit(indirect=types.none)
def _tiles(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    """The product of operands given as pointers, tile by tile."""
    width = TILE_VECTORS * _lanes(a)
    for j in range(0, n, width):
        columns = min(width, n - j)
        for i in range(0, m, TILE_ROWS):
            rows = min(TILE_ROWS, m - i)
            _tile(
                a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_k, c, c0 + i * c_row + j, c_row, rows, columns, depth, add
            )


@intrinsic
def _pointer(typingctx, array):
    """To the first element of `array`."""

    def codegen(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    """C[:m, :n] (+)= A[:m, :depth] @ B[:depth, :n]; all sizes at least 1.

    Parameters
    ----------
    a, b, c : 1-d contiguous arrays of one dtype; or a and b of uint32 and c of float32
        The operands' memory; `c` must not overlap the others and is overwritten, or added to. In uint32 two
        neighbours of a row of A, and of a column of B, are one element: `depth` counts those.
    a0, b0, c0 : int
        Where the operands start, in elements.
    a_row, a_k : int
        Elements from a row of A to the next, and from a column to the next.
    b_k, c_row : int
        Elements from a row of B, of C, to the next; their columns are contiguous.
    m, n, depth : int
        Rows and columns of C; the length of the sums.
    add : bool
        Add to what C holds, rather than overwrite it.
    """
    size = a.itemsize
    left = as_strided(a[a0:], (m, depth), (a_row * size, a_k * size))
    right = as_strided(b[b0:], (depth, n), (b_k * size, size))
    out = as_strided(c[c0:], (m, n), (c_row * size, size))
    if a.dtype == np.uint32:
        total = sum(x @ y for x, y in zip(unpack_bfloat16_pairs(left), unpack_bfloat16_pairs(right), strict=True))
    else:
        total = left @ right
    out[:] = total + (out if add else 0)


def product_specialization(dtype):
    """The `Specialization` behind all products of a dtype, by name."""
    operand, i = types.CPointer(getattr(types, dtype)), types.intp
    result = types.CPointer(types.float32) if dtype == "uint32" else operand
    return _tiles.specialization((operand, i, i, i, operand, i, i, result, i, i, i, i, i, types.boolean))


@jit
def _compiled_product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    _tiles(_pointer(a), a0, a_row, a_k, _pointer(b), b0, b_k, _pointer(c), c0, c_row, m, n, depth, add)


if not numba.config.DISABLE_JIT:
    product = _compiled_product


PANEL_WIDTH = 64  # columns of a panel, see packing.py

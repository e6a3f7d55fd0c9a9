"""The one matrix product behind everything: C (+)= A B, held in registers, nothing packed.

A micro-kernel keeps a tile of C in vector registers: a few rows by a few vectors of columns. For every k it
loads one row piece of B as vectors, broadcasts one scalar of A for each row of the tile, and issues one
fused multiply-add for every pair. A may lie in any order (its scalars have two strides), so transposed
operands need no copy; the rows of B and C must be contiguous. The last vector of a tile is loaded and
stored under a mask, so any number of columns works without padding, and rows that do not exist are computed
but not stored.

LLVM is given the vector operations as they are, since its own vectoriser does not find this form:
`llvm.fmuladd`, which is one instruction where the machine has it; `llvm.fma` would be a call of the C library
where it has not. Called with ``NUMBA_DISABLE_JIT=1`` the product is NumPy's.
"""

import functools

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided

from .jit import cfunc


def host_vectors(features=None):
    """(bytes in a vector, vectors of columns in a tile) of this machine, or of CPU features as LLVM writes them."""
    if features is None:
        chosen = numba.config.CPU_FEATURES
        features = chosen if chosen is not None else llvm.get_host_cpu_features().flatten()
    has = set(features.split(","))
    if "+avx512f" in has:
        return 64, 4  # 24 accumulators of 32 registers
    if {"+avx2", "+fma"} <= has:
        return 32, 2  # 12 of 16
    if "+neon" in has:
        return 16, 4  # 24 of 32
    return 16, 2  # 12 of 16


VECTOR_BYTES, TILE_VECTORS = host_vectors()
TILE_ROWS = 6
ROW_CHOICES = (6, 3, 1)  # a tile of m rows takes the smallest that holds them


@intrinsic
def _tile(typingctx, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    """One tile, 1 <= m <= TILE_ROWS and 1 <= n <= TILE_VECTORS * lanes; arguments as in `product`."""
    i = types.intp
    signature = types.void(a, i, i, i, b, i, i, c, i, i, i, i, i, types.boolean)

    def codegen(context, builder, signature, args):
        dtype = signature.args[0].dtype
        scalar, lanes = context.get_data_type(dtype), VECTOR_BYTES * 8 // dtype.bitwidth
        a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add = args
        a, b, c = builder.gep(a, [a0]), builder.gep(b, [b0]), builder.gep(c, [c0])

        def over(value, bound):
            return builder.icmp_signed(">", value, ir.Constant(value.type, bound))

        for rows, fewer in zip(ROW_CHOICES, ROW_CHOICES[1:] + (0,), strict=True):
            with builder.if_then(builder.and_(over(m, fewer), builder.not_(over(m, rows)))):
                for vectors in range(1, TILE_VECTORS + 1):
                    fits = builder.and_(over(n, (vectors - 1) * lanes), builder.not_(over(n, vectors * lanes)))
                    with builder.if_then(fits):
                        _emit_tile(
                            builder, scalar, lanes, rows, vectors, a, a_row, a_k, b, b_k, c, c_row, m, n, depth, add
                        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_tile(builder, scalar, lanes, R, V, a, a_row, a_k, b, b_k, c, c_row, m, n, depth, add):
    """Emit a tile of R rows by V vectors: the loop over k, then the stores."""
    size = VECTOR_BYTES // lanes
    vector, i64, i32 = ir.VectorType(scalar, lanes), ir.IntType(64), ir.IntType(32)
    zero = ir.Constant(vector, [0.0] * lanes)
    module, name = builder.module, f"v{lanes}f{8 * size}"

    def constant(value):
        return ir.Constant(i64, value)

    def declare(what, result, *arguments):
        return cgutils.get_or_insert_function(module, ir.FunctionType(result, arguments), what)

    mask_type = ir.VectorType(ir.IntType(1), lanes)
    pointer = vector.as_pointer()
    fma = declare(f"llvm.fmuladd.{name}", vector, vector, vector, vector)
    masked_load = declare(f"llvm.masked.load.{name}.p0", vector, pointer, i32, mask_type, vector)
    masked_store = declare(f"llvm.masked.store.{name}.p0", ir.VoidType(), vector, pointer, i32, mask_type)
    align = ir.Constant(i32, size)

    def splat(value, kind):
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(i32, 0))
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined),
                                      ir.Constant(ir.VectorType(i32, lanes), [0] * lanes))  # fmt: skip

    left = builder.trunc(builder.sub(n, constant((V - 1) * lanes)), i32)
    counts = ir.VectorType(i32, lanes)
    mask = builder.icmp_signed("<", ir.Constant(counts, list(range(lanes))), splat(left, counts))

    def load(base, v):
        address = builder.bitcast(builder.gep(base, [constant(v * lanes)]), pointer)
        if v == V - 1:
            return builder.call(masked_load, [address, align, mask, zero])
        value = builder.load(address)
        value.align = size
        return value

    def store(value, base, v):
        address = builder.bitcast(builder.gep(base, [constant(v * lanes)]), pointer)
        if v == V - 1:
            builder.call(masked_store, [value, address, align, mask])
        else:
            builder.store(value, address).align = size

    last = builder.sub(m, constant(1))
    row_offsets = []  # a row beyond the last reads the last once more
    for r in range(R):
        row = constant(r) if r == 0 else builder.select(
            builder.icmp_signed("<", constant(r), m), constant(r), last)  # fmt: skip
        row_offsets.append(builder.mul(row, a_row))

    entry = builder.block
    loop, done = builder.append_basic_block("tile.k"), builder.append_basic_block("tile.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, a_k_offset, b_k_offset = (builder.phi(i64) for _ in range(3))
    for value in (k, a_k_offset, b_k_offset):
        value.add_incoming(constant(0), entry)
    sums = [[builder.phi(vector) for _ in range(V)] for _ in range(R)]
    b_row = builder.gep(b, [b_k_offset])
    b_vectors = [load(b_row, v) for v in range(V)]
    results = []
    for r in range(R):
        x = splat(builder.load(builder.gep(a, [builder.add(a_k_offset, row_offsets[r])])), vector)
        results.append([builder.call(fma, [x, b_vectors[v], sums[r][v]]) for v in range(V)])
    next_k = builder.add(k, constant(1))
    k.add_incoming(next_k, loop)
    a_k_offset.add_incoming(builder.add(a_k_offset, a_k), loop)
    b_k_offset.add_incoming(builder.add(b_k_offset, b_k), loop)
    for r in range(R):
        for v in range(V):
            sums[r][v].add_incoming(zero, entry)
            sums[r][v].add_incoming(results[r][v], loop)
    builder.cbranch(builder.icmp_signed("<", next_k, depth), loop, done)
    builder.position_at_end(done)
    for r in range(R):
        with builder.if_then(builder.icmp_signed("<", constant(r), m)):
            c_base = builder.gep(c, [builder.mul(c_row, constant(r))])
            with builder.if_else(add) as (adding, setting):
                with adding:
                    for v in range(V):
                        store(builder.fadd(load(c_base, v), results[r][v]), c_base, v)
                with setting:
                    for v in range(V):
                        store(results[r][v], c_base, v)


@intrinsic
def _lanes(typingctx, pointer):
    """Elements in a vector of what `pointer` points to."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, VECTOR_BYTES * 8 // signature.args[0].dtype.bitwidth)

    return types.intp(pointer), codegen


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


def _arguments(pointer):
    i = types.intp
    return (pointer, i, i, i, pointer, i, i, pointer, i, i, i, i, i, types.boolean)


def _symbol(dtype):
    return f"fastrnn_product_{dtype}"


@functools.cache
def load_product(dtype):
    """Compile (or load) the product for a dtype, "float32" or "float64".

    It is compiled once and known to the kernels by a symbol, which must be there before they are loaded:
    were it a function of theirs, LLVM would optimise its tiles again in every kernel, most of the time that
    compiling takes.
    """
    if numba.config.DISABLE_JIT:
        return None
    signature = types.void(*_arguments(types.CPointer(getattr(types, dtype))))
    function = cfunc(signature, _tiles)
    llvm.add_symbol(_symbol(dtype), function.address)
    return function


@intrinsic
def _compiled_product(typingctx, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    signature = types.void(*(a if isinstance(t, types.CPointer) else t for t in _arguments(types.CPointer(a.dtype))))

    def codegen(context, builder, signature, args):
        dtype = signature.args[0].dtype
        arguments = _arguments(types.CPointer(dtype))
        values = [
            context.make_array(have)(context, builder, value).data if isinstance(want, types.CPointer) else value
            for have, want, value in zip(signature.args, arguments, args, strict=True)
        ]
        kinds = [context.get_value_type(kind) for kind in arguments]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), _symbol(dtype.name)
        )
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, codegen


def product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    """C[:m, :n] (+)= A[:m, :depth] @ B[:depth, :n]; all sizes at least 1.

    Parameters
    ----------
    a, b, c : 1-d contiguous arrays of one dtype
        The operands' memory; `c` must not overlap the others and is overwritten, or added to.
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
    out[:] = left @ right + (out if add else 0)


if not numba.config.DISABLE_JIT:
    product = _compiled_product

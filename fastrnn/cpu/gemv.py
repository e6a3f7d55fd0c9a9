"""A matrix times a vector, for a single stream of tokens: sums along the rows, at the speed of the memory.

A few rows at once, each with an accumulator of a whole vector, so that neither the latency of the multiply-add nor
the sum across the vector is waited for. The end of a row is loaded under a mask: any length works without
padding, and rows that do not exist read the last one once more. As in gemm.py LLVM is given the vector operations as
they are: its own vectoriser leaves the end of every row to scalar code.
"""

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit
from .vector import VECTOR_BYTES

ROWS = 4


@intrinsic
def _dots(typingctx, A, row, rows, x, out):
    """out[row + r] = sum(A[row + r] * x) for r < rows, 1 <= rows <= ROWS; A (m, depth), all contiguous."""
    i = types.intp
    signature = types.void(A, i, i, x, out)

    def codegen(context, builder, signature, args):
        kind = signature.args[0].dtype
        matrix, vector, result = (
            context.make_array(signature.args[position])(context, builder, args[position]) for position in (0, 3, 4)
        )
        row, rows = args[1], args[2]
        depth = cgutils.unpack_tuple(builder, matrix.shape)[1]
        first = builder.gep(matrix.data, [builder.mul(row, depth)])
        _emit_dots(
            builder, context.get_data_type(kind), VECTOR_BYTES * 8 // kind.bitwidth, first, rows, depth, vector.data,
            builder.gep(result.data, [row]),
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, codegen


def _emit_dots(builder, scalar, lanes, a, rows, depth, x, out):
    """Emit the loop over whole vectors, then the masked rest, then the sums across and the stores."""
    size = VECTOR_BYTES // lanes
    vector, i64, i32 = ir.VectorType(scalar, lanes), ir.IntType(64), ir.IntType(32)
    counts, mask_type = ir.VectorType(i32, lanes), ir.VectorType(ir.IntType(1), lanes)
    pointer, name, zero = vector.as_pointer(), f"v{lanes}f{8 * size}", ir.Constant(vector, [0.0] * lanes)

    def constant(value):
        return ir.Constant(i64, value)

    def declare(what, result, *arguments):
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), what)

    fma = declare(f"llvm.fmuladd.{name}", vector, vector, vector, vector)
    masked_load = declare(f"llvm.masked.load.{name}.p0", vector, pointer, i32, mask_type, vector)
    across = declare(f"llvm.vector.reduce.fadd.{name}", scalar, scalar, vector)

    last = builder.sub(rows, constant(1))
    starts = []
    for r in range(ROWS):
        row = builder.select(builder.icmp_signed("<", constant(r), rows), constant(r), last)
        starts.append(builder.gep(a, [builder.mul(row, depth)]))
    whole = builder.and_(depth, constant(-lanes))
    rest = builder.insert_element(
        ir.Constant(counts, ir.Undefined), builder.trunc(builder.sub(depth, whole), i32), ir.Constant(i32, 0)
    )
    rest = builder.shuffle_vector(rest, ir.Constant(counts, ir.Undefined), ir.Constant(counts, [0] * lanes))
    mask = builder.icmp_signed("<", ir.Constant(counts, list(range(lanes))), rest)

    entry = builder.block
    head, body, end = (builder.append_basic_block(f"dots.{part}") for part in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(i64)
    k.add_incoming(constant(0), entry)
    sums = [builder.phi(vector) for _ in range(ROWS)]
    builder.cbranch(builder.icmp_signed("<", k, whole), body, end)

    def load(base, masked):
        address = builder.bitcast(builder.gep(base, [k]), pointer)
        if masked:
            return builder.call(masked_load, [address, ir.Constant(i32, size), mask, zero])
        value = builder.load(address)
        value.align = size
        return value

    builder.position_at_end(body)
    x_vector = load(x, masked=False)
    for r in range(ROWS):
        sums[r].add_incoming(zero, entry)
        sums[r].add_incoming(builder.call(fma, [load(starts[r], masked=False), x_vector, sums[r]]), body)
    k.add_incoming(builder.add(k, constant(lanes)), body)
    builder.branch(head)
    builder.position_at_end(end)
    x_vector = load(x, masked=True)
    for r in range(ROWS):
        total = builder.call(fma, [load(starts[r], masked=True), x_vector, sums[r]])
        total = builder.call(across, [ir.Constant(scalar, 0.0), total], fastmath=("reassoc",))
        with builder.if_then(builder.icmp_signed("<", constant(r), rows)):
            builder.store(total, builder.gep(out, [constant(r)]))


@jit
def matvec(A, x, out):
    """out = A x: A (m, depth), x (at least depth,), out (m,), overwritten; all contiguous, of one dtype."""
    for row in range(0, len(A), ROWS):
        _dots(A, row, min(ROWS, len(A) - row), x, out)


if numba.config.DISABLE_JIT:

    def matvec(A, x, out):
        """out = A x."""
        out[:] = A @ x[: A.shape[1]]

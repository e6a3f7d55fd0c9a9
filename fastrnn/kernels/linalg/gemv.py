"""A matrix times a vector, for a single stream of tokens: sums along the rows, at the speed of the memory.

A few rows at once, each with an accumulator of a whole vector, so that neither the latency of the multiply-add nor
the sum across the vector is waited for. The end of a row is loaded under a mask: any length works without
padding, and rows that do not exist read the last one once more. As in gemm.py LLVM is given the vector operations as
they are: its own vectoriser leaves the end of every row to scalar code.
"""

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiler.jit import jit
from .simd import I64, Vectors, constant, lanes_of

ROW_BLOCK = 4


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
        vectors = Vectors(builder, context.get_data_type(kind), kind.bitwidth // 8, lanes_of(kind.bitwidth))
        _emit_dots(builder, vectors, first, rows, depth, vector.data, builder.gep(result.data, [row]))
        return context.get_dummy_value()

    return signature, codegen


def _emit_dots(builder, vectors, a, rows, depth, x, out):
    """Emit the loop over whole vectors, then the masked rest, then the sums across and the stores."""
    last = builder.sub(rows, constant(1))
    starts = []
    for r in range(ROW_BLOCK):
        row = builder.select(builder.icmp_signed("<", constant(r), rows), constant(r), last)
        starts.append(builder.gep(a, [builder.mul(row, depth)]))
    whole = builder.and_(depth, constant(-vectors.lanes))
    mask = vectors.first(builder.sub(depth, whole))

    entry = builder.block
    head, body, end = (builder.append_basic_block(f"dots.{part}") for part in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(I64)
    k.add_incoming(constant(0), entry)
    sums = [builder.phi(vectors.type) for _ in range(ROW_BLOCK)]
    builder.cbranch(builder.icmp_signed("<", k, whole), body, end)

    def load(base, mask=None):
        return vectors.load(builder.gep(base, [k]), 0, mask)

    builder.position_at_end(body)
    x_vector = load(x)
    for r in range(ROW_BLOCK):
        sums[r].add_incoming(vectors.zero, entry)
        sums[r].add_incoming(vectors.fma(load(starts[r]), x_vector, sums[r]), body)
    k.add_incoming(builder.add(k, constant(vectors.lanes)), body)
    builder.branch(head)
    builder.position_at_end(end)
    x_vector = load(x, mask)
    for r in range(ROW_BLOCK):
        total = vectors.sum(vectors.fma(load(starts[r], mask), x_vector, sums[r]))
        with builder.if_then(builder.icmp_signed("<", constant(r), rows)):
            builder.store(total, builder.gep(out, [constant(r)]))


@jit
def matvec(A, x, out):
    """out = A x: A (m, depth), x (at least depth,), out (m,), overwritten; all contiguous, of one dtype."""
    for row in range(0, len(A), ROW_BLOCK):
        _dots(A, row, min(ROW_BLOCK, len(A) - row), x, out)


if numba.config.DISABLE_JIT:

    def matvec(A, x, out):
        """out = A x."""
        out[:] = A @ x[: A.shape[1]]

"""Instructions of tensor cores, which Numba has no names for.

Kernels name them through this module: what identifies a kernel on disk must not hold them, as they differ from process
to process.
"""

import numpy as np

from ..driver import SIMULATED, intrinsic, ir, types

# Of tf32: a float32 whose last bits are zero.
DROPPED = 13
PTX = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"

if SIMULATED:

    def round_tf32(x):
        """A stand-in for the instruction: the nearest number with 10 bits after the point, of two the larger one."""
        if not np.isfinite(x):
            return x
        bits = int(np.float32(x).view(np.uint32)) + (1 << DROPPED - 1)
        return np.uint32(bits >> DROPPED << DROPPED).view(np.float32)

    def mma(*_):
        raise NotImplementedError("the simulator has no warps")

else:

    @intrinsic
    def round_tf32(typing_context, x):
        """A float32 rounded to tf32: to the nearest number, of two to the larger one."""

        def emit(context, builder, signature, values):
            kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
            rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), values)
            return builder.bitcast(rounded, ir.FloatType())

        return x(x), emit

    @intrinsic
    def mma(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """C + A B by a warp, of A (16, 8) and B (8, 8) in tf32: a lane's part of it, see `tensor`."""

        def emit(context, builder, signature, values):
            number, bits = ir.FloatType(), ir.IntType(32)
            kind = ir.FunctionType(ir.LiteralStructType([number] * 4), [bits] * 6 + [number] * 4)
            code = ir.InlineAsm(kind, PTX, "=f,=f,=f,=f,r,r,r,r,r,r,0,1,2,3")
            operands = [builder.bitcast(value, bits) for value in values[:6]] + list(values[6:])
            # All lanes must come here together, and nothing happens to memory.
            sums = builder.call(code, operands, attrs=("convergent", "nounwind", "readnone"))
            parts = [builder.extract_value(sums, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(c0, 4)(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3), emit

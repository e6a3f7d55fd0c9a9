"""Numbers in bfloat16, the upper half of a float32: products of them cost half as much where the CPU has AVX512_BF16.

That instruction adds to every float32 of a vector the products of two bfloat16 by two others. So two numbers stand in
a uint32, the first in its lower half: two neighbours of a row for the left factor of a product, two neighbours of a
column for the right one (or the other way about where a factor is transposed). An odd end has a zero for its second.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiler.features import has_features
from ..compiler.jit import jit, overload

HALF = 0x8000  # rounds to nearest, of equals away from zero
QUIET = 0x400000  # set in a NaN, whose other bits may all be in the half that goes, or be carried out of the number
LOWER, UPPER = np.uint32(0x0000FFFF), np.uint32(0xFFFF0000)  # where the first number of two is, and the second


def problem():
    """Why this CPU cannot multiply them: a str, or None if it can."""
    if numba.config.DISABLE_JIT or has_features("+avx512bf16", "+avx512vl"):
        return None
    return "this CPU has no AVX512_BF16"


def two(x0, x1):
    """Two float32 as bfloat16 in a uint32: scalars, and outside of kernels arrays of one shape."""
    low, high = (_rounded(np.asarray(x, np.float32)) for x in (x0, x1))
    return (low >> np.uint64(16) & np.uint64(LOWER) | high & np.uint64(UPPER)).astype(np.uint32)


def _rounded(x):
    """Bits whose upper half of 32 is x in bfloat16: in 64, so that none is lost with a warning."""
    bits = x.view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(x), bits | np.uint64(QUIET), bits + np.uint64(HALF))


def number(twos, which):
    """The first (0) or the second (1) number of two, a float32."""
    return split(np.array([twos], np.uint32))[which][0]


def split(twos):
    """The first and the second numbers of an array of uint32, as arrays of float32."""
    return (twos << np.uint32(16)).view(np.float32), (twos & UPPER).view(np.float32)


@intrinsic
def _two(typingctx, x0, x1):
    def codegen(context, builder, signature, args):
        number = ir.IntType(32)

        def rounded(x):
            bits = builder.bitcast(x, number)
            nan = builder.fcmp_unordered("uno", x, x)
            return builder.select(nan, builder.or_(bits, number(QUIET)), builder.add(bits, number(HALF)))

        low, high = map(rounded, args)
        return builder.or_(builder.lshr(low, number(16)), builder.and_(high, number(int(UPPER))))

    return types.uint32(types.float32, types.float32), codegen


@intrinsic
def _number(typingctx, twos, which):
    def codegen(context, builder, signature, args):
        bits = args[0]
        first, second = builder.shl(bits, bits.type(16)), builder.and_(bits, bits.type(int(UPPER)))
        chosen = builder.select(builder.icmp_signed("==", args[1], args[1].type(0)), first, second)
        return builder.bitcast(chosen, ir.FloatType())

    return types.float32(types.uint32, types.intp), codegen


@overload(number)
def _number_of_two(twos, which):
    return lambda twos, which: _number(twos, which)


@overload(two)
def _two_in_float32(x0, x1):
    return lambda x0, x1: _two(x0, x1)


def numbers_in(array):
    """How many numbers an element of an array is: two in uint32."""
    return 2 if array.dtype == np.uint32 else 1


@intrinsic
def _numbers_in(typingctx, array):
    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, 2 if signature.args[0].dtype == types.uint32 else 1)

    return types.intp(array), codegen


if not numba.config.DISABLE_JIT:
    numbers_in = _numbers_in


@jit
def join_rows(a, b, out):
    """out[j] = two(a[j], b[j]) for all j of `out`: rows of float32, out of uint32. Where `b` is empty, it is zeros."""
    if len(b) == 0:
        for j in range(len(out)):
            out[j] = two(a[j], a.dtype.type(0))
    else:
        for j in range(len(out)):
            out[j] = two(a[j], b[j])


@jit
def join_scaled_rows(a, scale_a, b, scale_b, out):
    """out[j] = two(scale_a a[j], scale_b b[j]) for all j of `out`."""
    for j in range(len(out)):
        out[j] = two(scale_a * a[j], scale_b * b[j])


@jit
def join_neighbours(row, out):
    """out[j] = two(row[2 j], row[2 j + 1]): a row of n float32, and (n + 1) // 2 uint32."""
    for j in range(len(row) // 2):
        out[j] = two(row[2 * j], row[2 * j + 1])
    if len(row) % 2 == 1:
        out[len(row) // 2] = two(row[len(row) - 1], row.dtype.type(0))

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


def pack_bfloat16(x0, x1):
    """Two float32 as bfloat16 in a uint32: scalars, and outside of kernels arrays of one shape."""
    low, high = (_rounded(np.asarray(x, np.float32)) for x in (x0, x1))
    return (low >> np.uint64(16) & np.uint64(LOWER) | high & np.uint64(UPPER)).astype(np.uint32)


def _rounded(x):
    """Bits whose upper half of 32 is x in bfloat16: in 64, so that none is lost with a warning."""
    bits = x.view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(x), bits | np.uint64(QUIET), bits + np.uint64(HALF))


def unpack_bfloat16(pairs, which):
    """The first (0) or the second (1) number of two, a float32."""
    return unpack_bfloat16_pairs(np.array([pairs], np.uint32))[which][0]


def unpack_bfloat16_pairs(pairs):
    """The first and the second numbers of an array of uint32, as arrays of float32."""
    return (pairs << np.uint32(16)).view(np.float32), (pairs & UPPER).view(np.float32)


@intrinsic
def _pack_bfloat16(typingctx, x0, x1):
    def codegen(context, builder, signature, args):
        i32 = ir.IntType(32)

        def rounded(x):
            bits = builder.bitcast(x, i32)
            nan = builder.fcmp_unordered("uno", x, x)
            return builder.select(nan, builder.or_(bits, i32(QUIET)), builder.add(bits, i32(HALF)))

        low, high = map(rounded, args)
        return builder.or_(builder.lshr(low, i32(16)), builder.and_(high, i32(int(UPPER))))

    return types.uint32(types.float32, types.float32), codegen


@intrinsic
def _unpack_bfloat16(typingctx, pairs, which):
    def codegen(context, builder, signature, args):
        bits = args[0]
        first, second = builder.shl(bits, bits.type(16)), builder.and_(bits, bits.type(int(UPPER)))
        chosen = builder.select(builder.icmp_signed("==", args[1], args[1].type(0)), first, second)
        return builder.bitcast(chosen, ir.FloatType())

    return types.float32(types.uint32, types.intp), codegen


@overload(unpack_bfloat16)
def _unpack_bfloat16_pair(pairs, which):
    return lambda pairs, which: _unpack_bfloat16(pairs, which)


@overload(pack_bfloat16)
def _pack_bfloat16_pair(x0, x1):
    return lambda x0, x1: _pack_bfloat16(x0, x1)


def values_per_element(array):
    """How many numbers an element of an array is: two in uint32."""
    return 2 if array.dtype == np.uint32 else 1


@intrinsic
def _values_per_element(typingctx, array):
    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, 2 if signature.args[0].dtype == types.uint32 else 1)

    return types.intp(array), codegen


if not numba.config.DISABLE_JIT:
    values_per_element = _values_per_element


@jit
def interleave_rows(a, b, out):
    """out[j] = two(a[j], b[j]) for all j of `out`: rows of float32, out of uint32. Where `b` is empty, it is zeros."""
    if len(b) == 0:
        for j in range(len(out)):
            out[j] = pack_bfloat16(a[j], a.dtype.type(0))
    else:
        for j in range(len(out)):
            out[j] = pack_bfloat16(a[j], b[j])


@jit
def interleave_scaled_rows(a, scale_a, b, scale_b, out):
    """out[j] = two(scale_a a[j], scale_b b[j]) for all j of `out`."""
    for j in range(len(out)):
        out[j] = pack_bfloat16(scale_a * a[j], scale_b * b[j])


@jit
def pack_adjacent(row, out):
    """out[j] = two(row[2 j], row[2 j + 1]): a row of n float32, and (n + 1) // 2 uint32."""
    for j in range(len(row) // 2):
        out[j] = pack_bfloat16(row[2 * j], row[2 * j + 1])
    if len(row) % 2 == 1:
        out[len(row) // 2] = pack_bfloat16(row[len(row) - 1], row.dtype.type(0))

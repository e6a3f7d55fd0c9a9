"""exp, tanh and the logistic function, written so that a loop over them becomes vector code.

Numba ships no vector mathematics, and a call of the C library's exp keeps a loop scalar (about ten times
slower). In float32 these are short polynomials; in float64, which serves the checks, the C library's
functions. The softmax's exponentials, most of all that are taken, are vector code from the start.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiler.flags import STRICT_ORDER
from ..compiler.jit import jit, overload
from .simd import ROUNDER, Vectors, constant, lanes_of, whole_and_power

f4 = np.float32


@intrinsic
def _whole_and_power(typingctx, shifted):
    """`simd.whole_and_power` of a float32."""

    def codegen(context, builder, signature, args):
        return context.make_tuple(builder, signature.return_type, whole_and_power(builder, args[0]))

    return types.UniTuple(shifted, 2)(shifted), codegen


@intrinsic
def _absolute(typingctx, x):
    """|x|, a float32."""  # NumPy's takes Numba long to resolve

    def codegen(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.fabs", [args[0].type]), args)

    return x(x), codegen


@intrinsic
def _copysign(typingctx, magnitude, x):
    """`magnitude` with the sign of x, float32s."""

    def codegen(context, builder, signature, args):
        kind = args[0].type
        copysign = builder.module.declare_intrinsic("llvm.copysign", [kind], ir.FunctionType(kind, [kind, kind]))
        return builder.call(copysign, args)

    return x(magnitude, x), codegen


@jit(fastmath=STRICT_ORDER)
def _reduced(x):
    """(r, t, 2^n) with x = n ln 2 + r, |r| <= ln(2)/2 and e^r = 1 + r + t, t Cephes' polynomial: e^x = 2^n e^r."""
    n, power = _whole_and_power(x * f4(1.44269504) + f4(ROUNDER))
    r = x - n * f4(0.693359375)
    r = r + n * f4(2.12194440e-4)
    p = f4(1.9875691500e-4) * r + f4(1.3981999507e-3)
    p = p * r + f4(8.3334519073e-3)
    p = p * r + f4(4.1665795894e-2)
    p = p * r + f4(1.6666665459e-1)
    p = p * r + f4(5.0000001201e-1)
    return r, p * (r * r), power


def _exp32(x):
    """Exponential, relative error below 2e-7; NaN stays NaN."""
    x = f4(-87.0) if x < f4(-87.0) else x
    x = f4(89.0) if x > f4(89.0) else x
    r, t, power = _reduced(x)
    return (t + (r + f4(1.0))) * power


def _tanh32(x):
    """Hyperbolic tangent, relative error below 3e-7, near 0 too; 1 where no float32 below is nearer. NaN stays NaN.

    With m = e^2|x| - 1 it is m / (m + 2), or 1 - 2 / (m + 2), which is nearer where it is nearly 1.
    """
    magnitude = _absolute(x)
    magnitude = f4(10.0) if magnitude > f4(10.0) else magnitude
    r, t, power = _reduced(magnitude + magnitude)
    m = (t + r) * power + (power - f4(1.0))
    small = magnitude < f4(0.5)
    q = (m if small else f4(2.0)) / (m + f4(2.0))
    return _copysign(q if small else f4(1.0) - q, x)


def _sigmoid32(x):
    return f4(1.0) / (f4(1.0) + exp(-x))


def _exp64(x):
    return math.inf if x > 709.0 else math.exp(-745.0 if x < -745.0 else x)


def _sigmoid64(x):
    return 1.0 / (1.0 + exp(-x))


def _tanh64(x):
    return math.tanh(x)


# What the kernels call. The bodies run under NUMBA_DISABLE_JIT=1 only; compiled code takes the function of
# its dtype.
def exp(x):
    """e**x of a scalar: never 0, of float32 at least e**-87; infinite of float32 above 88.3, of float64 above 709."""
    if not isinstance(x, f4):
        return type(x)(_exp64(float(x)))
    return f4(math.inf if x > 88.3 else math.exp(-87.0 if x < -87 else float(x)))


def tanh(x):
    """Hyperbolic tangent of a scalar."""
    return type(x)(math.tanh(x))


def sigmoid(x):
    """Logistic function 1 / (1 + exp(-x)) of a scalar."""
    return type(x)(_sigmoid64(float(x)))


def tanh_slope(y):
    """Derivative of tanh where it has the value y: 1 - y**2."""
    return type(y)(1) - y * y


def sigmoid_slope(y):
    """Derivative of the logistic function where it has the value y: y (1 - y)."""
    return y * (type(y)(1) - y)


@overload(exp, fastmath=STRICT_ORDER)
def _exp_of_dtype(x):
    return _exp32 if x == types.float32 else _exp64


@overload(tanh, fastmath=STRICT_ORDER)
def _tanh_of_dtype(x):
    return _tanh32 if x == types.float32 else _tanh64


@overload(sigmoid, fastmath=STRICT_ORDER)
def _sigmoid_of_dtype(x):
    return _sigmoid32 if x == types.float32 else _sigmoid64


# A bare 1 would turn float32 into float64: an integer and a float32 give a float64 in compiled code.
@overload(tanh_slope)
def _tanh_slope_of_dtype(y):
    return (lambda y: f4(1) - y * y) if y == types.float32 else (lambda y: 1.0 - y * y)


@overload(sigmoid_slope)
def _sigmoid_slope_of_dtype(y):
    return (lambda y: y * (f4(1) - y)) if y == types.float32 else (lambda y: y * (1.0 - y))


def exponentials(z, z0, length, n, words, c, c0, reference, total):
    """z = exp(z + c - reference) of a block [words, tokens], added to `total`.

    Parameters
    ----------
    z : flat array
        The block stands in rows of `length`, a multiple of 8, from `z0` on; overwritten. What stands beyond the first
        `n` of a row is nothing, and becomes nothing.
    c : array
        A number for every word, from `c0` on; or empty.
    reference, total : arrays (at least `length`,)
        A number for every token; `total` is overwritten.
    """
    for word in range(words):
        row = z[z0 + word * length : z0 + word * length + n]
        if len(c) > 0:
            for i in range(n):
                row[i] += c[c0 + word]
        for i in range(n):
            row[i] = exp(row[i] - reference[i])
        for i in range(n):
            total[i] += row[i]


@intrinsic
def _exponentials32(typingctx, z, z0, length, n, words, c, c0, reference, total):
    """`exponentials` in float32: one visit to every vector of z, its sums in registers."""

    def codegen(context, builder, signature, args):
        arrays = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        z, z0, length, _, words, c, c0, reference, total = arrays
        z, lanes = builder.gep(z.data, [z0]), lanes_of(32)
        biased = builder.icmp_signed(">", c.nitems, constant(0))
        bias_at = builder.gep(c.data, [c0])

        def columns(vectors, at):
            """A vector of tokens, through all words."""
            block, subtracted = builder.gep(z, [at]), vectors.load(builder.gep(reference.data, [at]))
            sums_at = builder.gep(total.data, [at])
            sums = cgutils.alloca_once_value(builder, vectors.load(sums_at))
            with cgutils.for_range(builder, words) as loop:
                row = builder.gep(block, [builder.mul(loop.index, length)])
                with builder.if_else(biased) as (some, none):
                    with some:
                        bias, found = builder.load(builder.gep(bias_at, [loop.index])), builder.block
                    with none:
                        nothing, otherwise = bias.type(0.0), builder.block
                chosen = builder.phi(bias.type)
                chosen.add_incoming(bias, found)
                chosen.add_incoming(nothing, otherwise)
                shifted = builder.fsub(builder.fadd(vectors.load(row), vectors.splat(chosen)), subtracted)
                e = vectors.exp(shifted)
                vectors.store(e, row)
                builder.store(builder.fadd(builder.load(sums), e), sums)
            vectors.store(builder.load(sums), sums_at)

        scalar = context.get_data_type(types.float32)
        whole = builder.sdiv(length, constant(lanes))
        with cgutils.for_range(builder, whole) as loop:
            columns(Vectors(builder, scalar, 4, lanes), builder.mul(loop.index, constant(lanes)))
        done = builder.mul(whole, constant(lanes))
        with builder.if_then(builder.icmp_signed("<", done, length)):
            columns(Vectors(builder, scalar, 4, lanes // 2), done)
        return context.get_dummy_value()

    return types.void(z, z0, length, n, words, c, c0, reference, total), codegen


def _exponentials_in_float32(z, z0, length, n, words, c, c0, reference, total):
    _exponentials32(z, z0, length, n, words, c, c0, reference, total)


@overload(exponentials)
def _exponentials_of_dtype(z, z0, length, n, words, c, c0, reference, total):
    return _exponentials_in_float32 if z.dtype == types.float32 else exponentials

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

from .jit import STRICT_ORDER, overload
from .vector import Vectors, constant, lanes_of

f4 = np.float32
i32 = ir.IntType(32)


@intrinsic
def _floor(typingctx, x):
    """x rounded down, a float32."""  # NumPy's takes Numba long to resolve

    def codegen(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.floor", [args[0].type]), args)

    return x(x), codegen


@intrinsic
def _power_of_two(typingctx, n):
    """2**n as a float32, for a whole number n within the exponents of float32: its bits put together."""

    def codegen(context, builder, signature, args):
        exponent = builder.add(builder.fptosi(args[0], i32), ir.Constant(i32, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(i32, 23)), args[0].type)

    return n(n), codegen


def _exp32(x):
    """Exponential, relative error below 2e-7: e^x = 2^n e^r with |r| <= ln(2)/2 (Cephes' polynomial). NaN stays NaN."""
    x = f4(-87.0) if x < f4(-87.0) else x
    x = f4(88.0) if x > f4(88.0) else x
    n = _floor(x * f4(1.44269504) + f4(0.5))
    r = x - n * f4(0.693359375)
    r = r + n * f4(2.12194440e-4)
    p = f4(1.9875691500e-4) * r + f4(1.3981999507e-3)
    p = p * r + f4(8.3334519073e-3)
    p = p * r + f4(4.1665795894e-2)
    p = p * r + f4(1.6666665459e-1)
    p = p * r + f4(5.0000001201e-1)
    p = p * (r * r) + (r + f4(1.0))
    return p * _power_of_two(n)


def _tanh32(x):
    """Hyperbolic tangent, relative error below 3e-7, near 0 too: x P(x^2) / Q(x^2) (Eigen's coefficients)."""
    bound = f4(7.90531110763549805)
    x = bound if x > bound else x
    x = -bound if x < -bound else x
    s = x * x
    p = f4(-2.76076847742355e-16) * s + f4(2.00018790482477e-13)
    p = p * s + f4(-8.60467152213735e-11)
    p = p * s + f4(5.12229709037114e-08)
    p = p * s + f4(1.48572235717979e-05)
    p = p * s + f4(6.37261928875436e-04)
    p = p * s + f4(4.89352455891786e-03)
    q = f4(1.19825839466702e-06) * s + f4(1.18534705686654e-04)
    q = q * s + f4(2.26843463243900e-03)
    q = q * s + f4(4.89352518554385e-03)
    return x * p / q


def _sigmoid32(x):
    return f4(1.0) / (f4(1.0) + exp(-x))


def _exp64(x):
    x = -745.0 if x < -745.0 else x
    return math.exp(709.0 if x > 709.0 else x)


def _sigmoid64(x):
    return 1.0 / (1.0 + exp(-x))


def _tanh64(x):
    return math.tanh(x)


# What the kernels call. The bodies run under NUMBA_DISABLE_JIT=1 only; compiled code takes the function of
# its dtype.
def exp(x):
    """e**x of a scalar; of float32, of at most 88."""
    return type(x)(_exp64(min(float(x), 88.0) if isinstance(x, f4) else float(x)))


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
        z, z0, length, n, words, c, c0, reference, total = arrays
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

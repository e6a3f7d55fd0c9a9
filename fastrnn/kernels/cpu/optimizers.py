"""Optimisers: one visit to a parameter, its gradient and its moments.

With g the gradient, already clipped, and r the learning rate:

    SGD         p -= r g
    momentum    m = mu m + g;                      p -= r m
    RMSProp     v = rho v + (1 - rho) g^2;         p -= r g / (sqrt(v) + eps)
    Adam        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= r' m / (sqrt(v) + eps')
                with r', eps' holding the corrections of the moments' bias (Kingma & Ba 2015, section 2)

Rows of U are visited only when their word occurs: a word's moments rest while it is not seen. Under Adam such a
row has no m: by the time m has passed most of a gradient on, a rare word is not there any more to be moved. Its step is

    Adam on U   v = b2 v + (1 - b2) g^2;  p -= f r'' g / (sqrt(v) + eps')    r'' without the correction of m's bias

and RMSProp and Adam move U by f times their rate, see `optimizer.U_RATE`.
"""

import math
from typing import NamedTuple

import numpy as np

from ..compiler.jit import jit

NONE, SGD, MOMENTUM, RMSPROP, ADAM = range(5)
CHUNK = 1024  # elements; all arrays of a chunk stay in the first-level cache from one short loop to the next


class Hyperparameters(NamedTuple):
    """What an update depends on besides the gradient; all fields are floats."""

    learning_rate: float = 0.0
    momentum: float = 0.0
    rho: float = 0.0  # RMSProp's decay
    beta1: float = 0.0  # Adam's decays
    beta2: float = 0.0
    epsilon: float = 0.0
    clip_norm: float = 0.0  # largest norm of the gradient; 0: no clipping
    rate_U: float = 0.0  # factor of the learning rate on U
    dropout: float = 0.0  # probability


@jit
def squared_norm(g, start, stop):
    """Sum of g[start:stop]**2, in float64 between chunks."""
    total = 0.0
    for first in range(start, stop, CHUNK):
        part = g[first] * g[first]
        for i in range(first + 1, min(first + CHUNK, stop)):
            part += g[i] * g[i]
        total += part
    return total


@jit
def constants(rule, hyper, clip, step, out):
    """Fill `out` (2, 8), of the parameters' dtype, with the rule's constants b1, a1, b2, a2, rate, eps for `update`.

    The first row is for the dense parameters, the second for U, where Adam has RMSProp's form. `hyper` are
    `Hyperparameters`; `clip` is the factor of the gradient, `step` the number of the update, from 1.
    """
    rate, momentum, rho, epsilon = hyper.learning_rate, hyper.momentum, hyper.rho, hyper.epsilon
    beta1, beta2 = hyper.beta1, hyper.beta2
    b1, a1, b2, a2 = 0.0, clip, 0.0, 0.0
    rate_U = rate * hyper.rate_U
    if rule == SGD:
        rate *= clip
        rate_U *= clip
    elif rule == MOMENTUM:
        b1 = momentum
    elif rule == RMSPROP:
        b2, a2 = rho, (1 - rho) * clip * clip
        rate *= clip
        rate_U *= clip
    elif rule == ADAM:
        b1, a1 = beta1, (1 - beta1) * clip
        b2, a2 = beta2, (1 - beta2) * clip * clip
        correction = math.sqrt(1 - beta2**step)
        rate *= correction / (1 - beta1**step)
        rate_U *= correction * clip
        epsilon *= correction
    for which in range(2):
        row = out[which]
        row[0], row[1], row[2], row[3], row[4], row[5] = b1, a1, b2, a2, rate, epsilon
    out[1, 4] = rate_U


@jit
def update(rule, p, p0, g, g0, count, m, v, constants):
    """One step of `rule` on p[p0:p0+count], its gradient at g[g0:]; m and v lie like p, empty if the rule has none.

    All arrays are flat and of one dtype; p, m and v are overwritten.
    """
    b1, a1, b2, a2, rate, eps = (constants[0], constants[1], constants[2], constants[3], constants[4], constants[5])
    for first in range(0, count, CHUNK):
        n = min(CHUNK, count - first)
        start = p0 + first
        pc, gc, mc, vc = (
            p[start : start + n],
            g[g0 + first : g0 + first + n],
            m[start : start + n],
            v[start : start + n],
        )
        if rule == MOMENTUM or rule == ADAM:
            for i in range(n):
                mc[i] = b1 * mc[i] + a1 * gc[i]
        if rule == RMSPROP or rule == ADAM:
            for i in range(n):
                vc[i] = b2 * vc[i] + a2 * gc[i] * gc[i]
        if rule == SGD:
            for i in range(n):
                pc[i] -= rate * gc[i]
        elif rule == MOMENTUM:
            for i in range(n):
                pc[i] -= rate * mc[i]
        elif rule == RMSPROP:
            for i in range(n):
                pc[i] -= rate * gc[i] / (np.sqrt(vc[i]) + eps)
        elif rule == ADAM:
            for i in range(n):
                pc[i] -= rate * mc[i] / (np.sqrt(vc[i]) + eps)

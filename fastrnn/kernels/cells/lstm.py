"""Long short-term memory with peepholes (Graves 2013, arXiv 1308.0850; Chung et al. 2014, arXiv 1412.3555).

With a = x_t U + h_{t-1} W + b:

    i = sigmoid(a_i + p_i * c_{t-1})            f = sigmoid(a_f + p_f * c_{t-1})
    g = tanh(a_g)                               c_t = f * c_{t-1} + i * g
    o = sigmoid(a_o + p_o * c_t)                h_t = o * tanh(c_t)

Backward, given dh and the carried dc:

    da_o = dh * tanh(c) * o (1 - o)             dc += dh * o * (1 - tanh(c)^2) + da_o * p_o
    da_i = dc * g * i (1 - i)                   da_f = dc * c_{t-1} * f (1 - f)
    da_g = dc * i * (1 - g^2)                   dc_{t-1} = dc * f + da_i * p_i + da_f * p_f
    dh_{t-1} = da W^T                           dW += h_{t-1}^T da
    dp_i += da_i * c_{t-1}                      dp_f += da_f * c_{t-1}          dp_o += da_o * c_t

===========  =========  =======================================================
parameter    shape      what
===========  =========  =======================================================
W            (H, 4H)    previous state to gates, in the order i, f, o, g
b            (4H,)      bias, (0,) without
p            (3, H)     peepholes p_i, p_f, p_o: diagonal matrices, so vectors;
                        (0, H) without them
===========  =========  =======================================================

The state is [h, c]; aux keeps tanh(c). Peepholes have loops of their own, so that the same kernels do without them.
"""

from typing import NamedTuple

import numpy as np

from ..compiler.jit import jit
from ..compiler.views import ravel
from ..linalg.elementwise import sigmoid, sigmoid_slope, tanh, tanh_slope
from ..linalg.packing import packed_product, token_sum
from .interface import implement


class LSTM(NamedTuple):
    """Parameters of the LSTM, with or without peepholes."""

    W: np.ndarray
    b: np.ndarray
    p: np.ndarray

    NAME = "lstm"
    GATES = 4  # G
    GATE_NAMES = ("i", "f", "o", "g")
    STATES = 2  # S
    STATE_NAMES = ("h", "c")
    AUX = 1  # A: tanh(c)

    @staticmethod
    def own_shapes(hidden_dim, peepholes):
        """Shapes of the parameters besides W and b."""
        return {"p": (3 if peepholes else 0, hidden_dim)}


@jit
def layer(cell, index):
    return LSTM(cell.W[index], cell.b[index], cell.p[index])


@jit
def forward(cell, prev, gates, aux, state):
    n, H = aux.shape
    p, peepholes = ravel(cell.p), len(cell.p) > 0
    p_i, p_f, p_o = p[:H], p[H : 2 * H], p[2 * H :]
    packed_product(ravel(prev), 0, 2 * H, cell.W, H, 0, H, 0, 4 * H, ravel(gates), 0, 4 * H, n, True)
    for row in range(n):
        i, f, o, g = (gates[row, :H], gates[row, H : 2 * H], gates[row, 2 * H : 3 * H], gates[row, 3 * H :])
        i_and_f, c_prev, h, c, tanh_c = gates[row, : 2 * H], prev[row, H:], state[row, :H], state[row, H:], aux[row]
        if peepholes:
            for j in range(H):
                i[j] += p_i[j] * c_prev[j]
            for j in range(H):
                f[j] += p_f[j] * c_prev[j]
        for j in range(2 * H):
            i_and_f[j] = sigmoid(i_and_f[j])
        for j in range(H):
            g[j] = tanh(g[j])
        for j in range(H):
            c[j] = f[j] * c_prev[j] + i[j] * g[j]
        if peepholes:
            for j in range(H):
                o[j] += p_o[j] * c[j]
        for j in range(H):
            o[j] = sigmoid(o[j])
        for j in range(H):
            tanh_c[j] = tanh(c[j])
        for j in range(H):
            h[j] = o[j] * tanh_c[j]


@jit
def backward(cell, WT, prev, gates, aux, state, dstate, da):
    n, H = aux.shape
    p, peepholes = ravel(cell.p), len(cell.p) > 0
    p_i, p_f, p_o = p[:H], p[H : 2 * H], p[2 * H :]
    for row in range(n):
        i, f, o, g = (gates[row, :H], gates[row, H : 2 * H], gates[row, 2 * H : 3 * H], gates[row, 3 * H :])
        d_i, d_f, d_o, d_g = (da[row, :H], da[row, H : 2 * H], da[row, 2 * H : 3 * H], da[row, 3 * H :])
        c_prev, tanh_c, dh, dc = prev[row, H:], aux[row], dstate[row, :H], dstate[row, H:]
        for j in range(H):
            d_o[j] = dh[j] * tanh_c[j] * sigmoid_slope(o[j])
        for j in range(H):
            dc[j] += dh[j] * o[j] * tanh_slope(tanh_c[j])
        if peepholes:
            for j in range(H):
                dc[j] += d_o[j] * p_o[j]
        for j in range(H):
            d_i[j] = dc[j] * g[j] * sigmoid_slope(i[j])
        for j in range(H):
            d_f[j] = dc[j] * c_prev[j] * sigmoid_slope(f[j])
        for j in range(H):
            d_g[j] = dc[j] * i[j] * tanh_slope(g[j])
        for j in range(H):
            dc[j] *= f[j]
        if peepholes:
            for j in range(H):
                dc[j] += d_i[j] * p_i[j] + d_f[j] * p_f[j]
    packed_product(ravel(da), 0, 4 * H, WT, 4 * H, 0, 4 * H, 0, H, ravel(dstate), 0, 2 * H, n, False)


@jit
def gradients(cell, gradient, prev, aux, state, da, first, last, scratch):
    n, H = aux.shape
    token_sum(
        ravel(prev), 0, 2 * H, ravel(da), first, 4 * H, n, ravel(gradient.W), first, 4 * H, H, last - first, scratch
    )
    dp = ravel(gradient.p)  # p's elements stand in the order of the first three gates' columns
    last = min(last, len(dp))
    for column in range(first, last):
        dp[column] = 0
    for row in range(n):
        c_prev, c = prev[row, H:], state[row, H:]
        for column in range(first, min(last, H)):
            dp[column] += da[row, column] * c_prev[column]
        for column in range(max(first, H), min(last, 2 * H)):
            dp[column] += da[row, column] * c_prev[column - H]
        for column in range(max(first, 2 * H), last):
            dp[column] += da[row, column] * c[column - 2 * H]


implement(LSTM, layer, forward, backward, gradients)

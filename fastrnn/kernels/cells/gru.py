"""Gated recurrent unit (Chung et al. 2014, arXiv 1412.3555): reset before the product, z weighs the new state.

    z = sigmoid(x_t U_z + h_{t-1} W_z + b_z)    r = sigmoid(x_t U_r + h_{t-1} W_r + b_r)
    q = r * h_{t-1}                             g = tanh(x_t U_g + q W_g + b_g)
    h_t = (1 - z) * h_{t-1} + z * g

Backward, given dh:

    da_z = dh * (g - h_{t-1}) * z (1 - z)       da_g = dh * z * (1 - g^2)
    dq = da_g W_g^T                             da_r = dq * h_{t-1} * r (1 - r)
    dh_{t-1} = dh * (1 - z) + dq * r + [da_z, da_r] W_zr^T
    dW_zr += h_{t-1}^T [da_z, da_r]             dW_g += q^T da_g

===========  =========  ==================================================
parameter    shape      what
===========  =========  ==================================================
W            (H, 3H)    previous state to gates, in the order z, r, g
b            (3H,)      bias, (0,) without
===========  =========  ==================================================

The state is [h]; aux keeps q. (Cho et al. 2014, cuDNN and PyTorch swap z and 1 - z; the last two also reset
after the product.)
"""

from typing import NamedTuple

import numpy as np

from ..compiler.jit import jit
from ..compiler.views import ravel
from ..linalg.elementwise import sigmoid, sigmoid_slope, tanh, tanh_slope
from ..linalg.packing import packed_product, token_sum
from .interface import implement


class GRU(NamedTuple):
    """Parameters of the gated recurrent unit."""

    W: np.ndarray
    b: np.ndarray

    NAME = "gru"
    GATES = 3  # G
    GATE_NAMES = ("z", "r", "g")
    STATES = 1  # S
    STATE_NAMES = ("h",)
    AUX = 1  # A: q

    @staticmethod
    def own_shapes(hidden_dim, peepholes):
        """Shapes of the parameters besides W and b."""
        return {}


@jit
def layer(cell, index):
    return GRU(cell.W[index], cell.b[index])


@jit
def forward(cell, prev, gates, aux, state):
    n, H = prev.shape
    a, q = ravel(gates), ravel(aux)
    packed_product(ravel(prev), 0, H, cell.W, H, 0, H, 0, 2 * H, a, 0, 3 * H, n, True)
    for row in range(n):
        zr, r, q_row, h_prev = gates[row, : 2 * H], gates[row, H : 2 * H], aux[row], prev[row]
        for j in range(2 * H):
            zr[j] = sigmoid(zr[j])
        for j in range(H):
            q_row[j] = r[j] * h_prev[j]
    packed_product(q, 0, H, cell.W, H, 0, H, 2 * H, 3 * H, a, 2 * H, 3 * H, n, True)
    for row in range(n):
        z, g, h_prev, h = gates[row, :H], gates[row, 2 * H :], prev[row], state[row]
        for j in range(H):
            g[j] = tanh(g[j])
        for j in range(H):
            h[j] = h_prev[j] + z[j] * (g[j] - h_prev[j])


@jit
def backward(cell, WT, prev, gates, aux, state, dstate, da):
    n, H = prev.shape
    d, dh_prev = ravel(da), ravel(dstate)
    for row in range(n):
        z, g, h_prev, dh = gates[row, :H], gates[row, 2 * H :], prev[row], dstate[row]
        d_z, d_g = da[row, :H], da[row, 2 * H :]
        for j in range(H):
            d_z[j] = dh[j] * (g[j] - h_prev[j]) * sigmoid_slope(z[j])
        for j in range(H):
            d_g[j] = dh[j] * z[j] * tanh_slope(g[j])
    # dq is kept where da_r will stand
    packed_product(d, 2 * H, 3 * H, WT, 3 * H, 2 * H, 3 * H, 0, H, d, H, 3 * H, n, False)
    for row in range(n):
        z, r, h_prev, dh, d_r = (gates[row, :H], gates[row, H : 2 * H], prev[row], dstate[row], da[row, H : 2 * H])
        for j in range(H):
            dh[j] = dh[j] - dh[j] * z[j] + d_r[j] * r[j]
        for j in range(H):
            d_r[j] = d_r[j] * h_prev[j] * sigmoid_slope(r[j])
    packed_product(d, 0, 3 * H, WT, 3 * H, 0, 2 * H, 0, H, dh_prev, 0, H, n, True)


@jit
def gradients(cell, gradient, prev, aux, state, da, first, last, scratch):
    n, H = prev.shape
    d, dW = ravel(da), ravel(gradient.W)
    middle = min(max(2 * H, first), last)  # columns before it see h_{t-1}, those after it q
    if first < middle:
        token_sum(ravel(prev), 0, H, d, first, 3 * H, n, dW, first, 3 * H, H, middle - first, scratch)
    if middle < last:
        token_sum(ravel(aux), 0, H, d, middle, 3 * H, n, dW, middle, 3 * H, H, last - middle, scratch)


implement(GRU, layer, forward, backward, gradients)

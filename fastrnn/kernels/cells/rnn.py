"""The tanh recurrent network (Elman 1990; the WildML tutorial).

    h_t = tanh(x_t U + h_{t-1} W + b)

Backward, given dh = dL/dh_t:

    da = dh * (1 - h^2);   dh_{t-1} = da W^T;   dW += h_{t-1}^T da

===========  ========  ===============================
parameter    shape     what
===========  ========  ===============================
W            (H, H)    previous state to units
b            (H,)      bias, (0,) without
===========  ========  ===============================
"""

from typing import NamedTuple

import numpy as np

from ..compiler.jit import jit
from ..compiler.views import ravel
from ..linalg.elementwise import tanh, tanh_slope
from ..linalg.packing import packed_product, token_sum
from .interface import implement


class RNN(NamedTuple):
    """Parameters of the tanh recurrent network."""

    W: np.ndarray
    b: np.ndarray

    NAME = "rnn"
    GATES = 1  # G
    GATE_NAMES = ()  # none that opens or closes: the one product becomes h
    STATES = 1  # S
    STATE_NAMES = ("h",)
    AUX = 0  # A

    @staticmethod
    def own_shapes(hidden_dim, peepholes):
        """Shapes of the parameters besides W and b."""
        return {}


@jit
def layer(cell, index):
    return RNN(cell.W[index], cell.b[index])


@jit
def forward(cell, prev, gates, aux, state):
    n, H = prev.shape
    packed_product(ravel(prev), 0, H, cell.W, H, 0, H, 0, H, ravel(gates), 0, H, n, True)
    for i in range(n):
        a, h = gates[i], state[i]
        for j in range(H):
            h[j] = tanh(a[j])


@jit
def backward(cell, WT, prev, gates, aux, state, dstate, da):
    n, H = prev.shape
    for i in range(n):
        h, dh, d = state[i], dstate[i], da[i]
        for j in range(H):
            d[j] = dh[j] * tanh_slope(h[j])
    packed_product(ravel(da), 0, H, WT, H, 0, H, 0, H, ravel(dstate), 0, H, n, False)


@jit
def gradients(cell, gradient, prev, aux, state, da, first, last, scratch):
    n, H = prev.shape
    token_sum(ravel(prev), 0, H, ravel(da), first, H, n, ravel(gradient.W), first, H, H, last - first, scratch)


implement(RNN, layer, forward, backward, gradients)

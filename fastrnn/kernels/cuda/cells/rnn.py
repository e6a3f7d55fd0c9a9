"""The tanh recurrent network on the GPU; the equations are in `fastrnn.kernels.cells.rnn`."""

import math

from ...cells.rnn import RNN
from ..block import THREADS, u64
from ..driver import cuda, device_function
from ..linalg.elementwise import tanh_slope

NAME = RNN.NAME
PRODUCTS = (("prev", 0, 1),)
DIAGONALS = ()


def forward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, entering, prev, gates, aux, state, row, n):
        H = W.shape[1]
        product(W, layer, tile, 0, 0, H, entering, gates, row, n)
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        if r < n:
            a, token = rows * H + r * H, u64(row + r)
            for j in range(lane, H, lanes):
                state[layer, token, u64(j)] = math.tanh(tile[u64(a + j)])

    return step


def backward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, prev, gates, aux, state, row, n, carry, slot, first, da, which):
        H = W.shape[1]
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        b, token = u64(first + r), u64(row + r)
        if r < n:
            for j in range(lane, H, lanes):
                d = carry[slot, b, u64(j)] * tanh_slope(state[layer, token, u64(j)])
                tile[u64(r * H + j)] = d
                da[which, token, u64(j)] = d
        cuda.syncthreads()
        product(W, layer, tile, 0, H)
        if r < n:
            out = rows * H + r * H
            for j in range(lane, H, lanes):
                carry[slot, b, u64(j)] = tile[u64(out + j)]

    return step

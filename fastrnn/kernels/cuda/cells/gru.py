"""Gated recurrent unit on the GPU; the equations are in `fastrnn.kernels.cells.gru`."""

import math

from ...cells.gru import GRU
from ..block import THREADS, u64
from ..driver import cuda, device_function
from ..linalg.elementwise import sigmoid, sigmoid_slope, tanh_slope

NAME = GRU.NAME
PRODUCTS = (("prev", 0, 2), ("aux", 2, 1))
DIAGONALS = ()


def forward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, entering, prev, gates, aux, state, row, n):
        H = W.shape[1]
        product(W, layer, tile, 0, 0, 2 * H, entering, gates, row, n)
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        h, a, q_all, token = r * H, rows * H + r * 3 * H, rows * 4 * H, u64(row + r)
        if r < n:
            for j in range(lane, H, lanes):
                reset = sigmoid(tile[u64(a + H + j)])
                q = reset * tile[u64(h + j)]
                gates[layer, token, u64(H + j)] = reset
                aux[layer, token, u64(j)] = q
                tile[u64(q_all + h + j)] = q
        cuda.syncthreads()
        product(W, layer, tile, q_all, 2 * H, 3 * H, entering, gates, row, n)
        if r < n:
            for j in range(lane, H, lanes):
                z, g, h_prev = sigmoid(tile[u64(a + j)]), math.tanh(tile[u64(a + 2 * H + j)]), tile[u64(h + j)]
                gates[layer, token, u64(j)], gates[layer, token, u64(2 * H + j)] = z, g
                state[layer, token, u64(j)] = h_prev + z * (g - h_prev)

    return step


def backward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, prev, gates, aux, state, row, n, carry, slot, first, da, which):
        H = W.shape[1]
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        d, out, b = r * 3 * H, rows * 3 * H + r * H, first + r
        token = u64(row + r)
        if r < n:
            for j in range(lane, H, lanes):
                z, g, dh = gates[layer, token, u64(j)], gates[layer, token, u64(2 * H + j)], carry[slot, b, u64(j)]
                d_z = dh * (g - prev[layer, token, u64(j)]) * sigmoid_slope(z)
                d_g = dh * z * tanh_slope(g)
                tile[u64(d + j)], tile[u64(d + 2 * H + j)] = d_z, d_g
                da[which, token, u64(j)], da[which, token, u64(2 * H + j)] = d_z, d_g
        cuda.syncthreads()
        product(W, layer, tile, 2 * H, 3 * H)  # dq
        if r < n:
            for j in range(lane, H, lanes):
                z, reset = gates[layer, token, u64(j)], gates[layer, token, u64(H + j)]
                dh, dq = carry[slot, b, u64(j)], tile[u64(out + j)]
                d_r = dq * prev[layer, token, u64(j)] * sigmoid_slope(reset)
                tile[u64(d + H + j)] = d_r
                da[which, token, u64(H + j)] = d_r
                carry[slot, b, u64(j)] = dh - dh * z + dq * reset
        cuda.syncthreads()
        product(W, layer, tile, 0, 2 * H)
        if r < n:
            for j in range(lane, H, lanes):
                carry[slot, b, u64(j)] += tile[u64(out + j)]

    return step

"""Long short-term memory, with peepholes or without, on the GPU; the equations are in `fastrnn.kernels.cells.lstm`."""

import math

from ...cells.lstm import LSTM
from ..block import THREADS, u64
from ..driver import cuda, device_function
from ..linalg.elementwise import sigmoid, sigmoid_slope, tanh_slope

NAME = LSTM.NAME
PRODUCTS = (("prev", 0, 4),)
DIAGONALS = ("prev", "prev", "state")  # c_{t-1}, c_{t-1}, c_t


def forward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, entering, prev, gates, aux, state, row, n):
        H, peepholes = W.shape[1], own.shape[1] > 0
        product(W, layer, tile, 0, 0, 4 * H, entering, gates, row, n)
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        token = u64(row + r)
        if r < n:
            a = rows * H + r * 4 * H
            for j in range(lane, H, lanes):
                c_prev = prev[layer, token, u64(H + j)]
                a_i, a_f, a_o = tile[u64(a + j)], tile[u64(a + H + j)], tile[u64(a + 2 * H + j)]
                if peepholes:
                    a_i += own[layer, 0, u64(j)] * c_prev
                    a_f += own[layer, 1, u64(j)] * c_prev
                i, f, g = sigmoid(a_i), sigmoid(a_f), math.tanh(tile[u64(a + 3 * H + j)])
                c = f * c_prev + i * g
                if peepholes:
                    a_o += own[layer, 2, u64(j)] * c
                o = sigmoid(a_o)
                tanh_c = math.tanh(c)
                gates[layer, token, u64(j)], gates[layer, token, u64(H + j)] = i, f
                gates[layer, token, u64(2 * H + j)], gates[layer, token, u64(3 * H + j)] = o, g
                aux[layer, token, u64(j)] = tanh_c
                state[layer, token, u64(j)], state[layer, token, u64(H + j)] = o * tanh_c, c

    return step


def backward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, prev, gates, aux, state, row, n, carry, slot, first, da, which):
        H, peepholes = W.shape[1], own.shape[1] > 0
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        b = u64(first + r)
        token = u64(row + r)
        if r < n:
            d = r * 4 * H
            for j in range(lane, H, lanes):
                i, f = gates[layer, token, u64(j)], gates[layer, token, u64(H + j)]
                o, g = gates[layer, token, u64(2 * H + j)], gates[layer, token, u64(3 * H + j)]
                tanh_c, dh = aux[layer, token, u64(j)], carry[slot, b, u64(j)]
                d_o = dh * tanh_c * sigmoid_slope(o)
                dc = carry[slot, b, u64(H + j)] + dh * o * tanh_slope(tanh_c)
                if peepholes:
                    dc += d_o * own[layer, 2, u64(j)]
                d_i = dc * g * sigmoid_slope(i)
                d_f = dc * prev[layer, token, u64(H + j)] * sigmoid_slope(f)
                d_g = dc * i * tanh_slope(g)
                dc_prev = dc * f
                if peepholes:
                    dc_prev += d_i * own[layer, 0, u64(j)] + d_f * own[layer, 1, u64(j)]
                carry[slot, b, u64(H + j)] = dc_prev
                tile[u64(d + j)], tile[u64(d + H + j)] = d_i, d_f
                tile[u64(d + 2 * H + j)], tile[u64(d + 3 * H + j)] = d_o, d_g
                da[which, token, u64(j)], da[which, token, u64(H + j)] = d_i, d_f
                da[which, token, u64(2 * H + j)], da[which, token, u64(3 * H + j)] = d_o, d_g
        cuda.syncthreads()
        product(W, layer, tile, 0, 4 * H)
        if r < n:
            out = rows * 4 * H + r * H
            for j in range(lane, H, lanes):
                carry[slot, b, u64(j)] = tile[u64(out + j)]

    return step

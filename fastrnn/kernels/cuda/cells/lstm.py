"""Long short-term memory, with peepholes or without, on the GPU; the equations are in `fastrnn.kernels.cells.lstm`."""

import math

from ...cells.lstm import LSTM
from ..block import THREADS, at
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
        token = at(row + r)
        if r < n:
            a = rows * H + r * 4 * H
            for j in range(lane, H, lanes):
                c_prev = prev[layer, token, at(H + j)]
                a_i, a_f, a_o = tile[at(a + j)], tile[at(a + H + j)], tile[at(a + 2 * H + j)]
                if peepholes:
                    a_i += own[layer, 0, at(j)] * c_prev
                    a_f += own[layer, 1, at(j)] * c_prev
                i, f, g = sigmoid(a_i), sigmoid(a_f), math.tanh(tile[at(a + 3 * H + j)])
                c = f * c_prev + i * g
                if peepholes:
                    a_o += own[layer, 2, at(j)] * c
                o = sigmoid(a_o)
                tanh_c = math.tanh(c)
                gates[layer, token, at(j)], gates[layer, token, at(H + j)] = i, f
                gates[layer, token, at(2 * H + j)], gates[layer, token, at(3 * H + j)] = o, g
                aux[layer, token, at(j)] = tanh_c
                state[layer, token, at(j)], state[layer, token, at(H + j)] = o * tanh_c, c

    return step


def backward(rows, product):
    lanes = THREADS // rows

    @device_function
    def step(W, own, layer, tile, prev, gates, aux, state, row, n, carry, slot, first, da, which):
        H, peepholes = W.shape[1], own.shape[1] > 0
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        b = at(first + r)
        token = at(row + r)
        if r < n:
            d = r * 4 * H
            for j in range(lane, H, lanes):
                i, f = gates[layer, token, at(j)], gates[layer, token, at(H + j)]
                o, g = gates[layer, token, at(2 * H + j)], gates[layer, token, at(3 * H + j)]
                tanh_c, dh = aux[layer, token, at(j)], carry[slot, b, at(j)]
                d_o = dh * tanh_c * sigmoid_slope(o)
                dc = carry[slot, b, at(H + j)] + dh * o * tanh_slope(tanh_c)
                if peepholes:
                    dc += d_o * own[layer, 2, at(j)]
                d_i = dc * g * sigmoid_slope(i)
                d_f = dc * prev[layer, token, at(H + j)] * sigmoid_slope(f)
                d_g = dc * i * tanh_slope(g)
                dc_prev = dc * f
                if peepholes:
                    dc_prev += d_i * own[layer, 0, at(j)] + d_f * own[layer, 1, at(j)]
                carry[slot, b, at(H + j)] = dc_prev
                tile[at(d + j)], tile[at(d + H + j)] = d_i, d_f
                tile[at(d + 2 * H + j)], tile[at(d + 3 * H + j)] = d_o, d_g
                da[which, token, at(j)], da[which, token, at(H + j)] = d_i, d_f
                da[which, token, at(2 * H + j)], da[which, token, at(3 * H + j)] = d_o, d_g
        cuda.syncthreads()
        product(W, layer, tile, 0, 4 * H)
        if r < n:
            out = rows * 4 * H + r * H
            for j in range(lane, H, lanes):
                carry[slot, b, at(j)] = tile[at(out + j)]

    return step

"""The stack of layers on the GPU: what enters each from below, the way of errors down, the gradients of the weights.

`fastrnn.kernels.cpu.layers.stack` says what goes over which connection, and where the layers' matrices are. A layer is
one launch, forward and back, and what enters the layer above it one product over all of the batch's tokens. Dropout
costs no launch: the layer that hands h up drops it, and drops its errors as it receives them.
"""

from ..block import BANKS, THREADS
from ..cells import CELLS
from ..driver import SIMULATED, cuda, kernel
from ..linalg.gemm import product, ravel, token_sum
from .dropout import drop, dropout, row_mask
from .recurrence import backward, forward

# Neighbouring threads that work on neighbouring columns, and how many such groups a block has.
NEIGHBOURS = 2 if SIMULATED else BANKS
GROUPS = THREADS // NEIGHBOURS


def matrix_offset(layer, E, H):
    """First row of a layer's own matrix in `inputs`."""
    return 0 if layer == 0 else E + (layer - 1) * H


def run_forward(cell, inputs, U, batch, states, rate, key):
    """Run a batch forward through all layers; fills `states`.

    Parameters
    ----------
    cell : a cell's tuple
        The recurrent parameters of all layers, on the device.
    inputs : array (E + (L - 1) H, G*H)
        The layers' own matrices.
    U : array (C, D)
        Its rows are the embedding, if states.embeddings has columns; else they enter the gates of layer 0.
    batch : workspace.Batch
    states : workspace.States
    rate, key : float, int
        Of dropout, 0 for none; its batch's.
    """
    E, H, columns = states.embeddings.shape[1], states.x.shape[2], states.gates.shape[2]
    dropped, layout = dropout(rate, key, cell.W.dtype), batch.layout
    gates, tokens = ravel(states.gates), states.gates.shape[1]
    if E > 0:
        _read_embeddings(
            -(-batch.count // GROUPS), THREADS, batch.count, batch.row0, layout.tokens, layout.origin, U,
            states.embeddings,
            dropped.bound, dropped.factor, dropped.key,
        )  # fmt: skip
    for layer in range(len(cell.W)):
        embedded = layer == 0 and E == 0
        if not embedded:
            below, width = (states.embeddings, E) if layer == 0 else (states.x, H)
            product(
                below, max(layer - 1, 0) * tokens * H, width, 1, inputs, matrix_offset(layer, E, H) * columns, columns,
                1,
                gates, layer * tokens * columns, columns, batch.count, columns, width,
                bias=cell.b if cell.b.shape[1] > 0 else None, bias0=layer * columns, tf32=states.tf32,
            )  # fmt: skip
        forward(cell, layer, U, embedded, batch, states, dropped)


def run_backward(cell, inputs, truncate, batch, states, deltas, rate, key):
    """Take a batch's errors back through all layers: from deltas.dh, overwritten, to deltas.da.

    And to deltas.d_embeddings, if there is an embedding. `truncate` is k of truncated back-propagation through time,
    negative for none: the error of output t then reaches steps t ... t-k and no further. The rest is as in
    `run_forward`.
    """
    E, H, columns = states.embeddings.shape[1], states.x.shape[2], states.gates.shape[2]
    dropped, tokens = dropout(rate, key, cell.W.dtype), deltas.da.shape[1]
    # With k = steps - 1 no error is cut off, but to the last output the initial state is a constant.
    if truncate >= batch.steps - (1 if deltas.initial.shape[1] == 0 else 0):
        truncate = -1
    lags = min(truncate + 1, batch.steps) if truncate >= 0 else 1
    for layer in range(len(cell.W) - 1, -1, -1):
        backward(cell, layer, truncate, batch, states, deltas, dropped)
        if layer > 0:
            # All lags at once; rows beyond the batch's, between two lags, are never read.
            da, da0 = (deltas.by_lag, 0) if truncate >= 0 else (deltas.da, layer * tokens * columns)
            product(
                da, da0, columns, 1, inputs, matrix_offset(layer, E, H) * columns, 1, columns, deltas.dh, 0, H,
                (lags - 1) * tokens + batch.count, H, columns, tf32=states.tf32,
            )  # fmt: skip
    if E > 0:
        product(
            deltas.da, 0, columns, 1, inputs, 0, 1, columns, deltas.d_embeddings, 0, E, batch.count, E, columns,
            tf32=states.tf32,
        )  # fmt: skip
        if rate > 0:
            _drop_embeddings(
                -(-batch.count // GROUPS), THREADS, batch.count, batch.row0, batch.layout.origin, deltas.d_embeddings,
                dropped.bound, dropped.factor, dropped.key,
            )  # fmt: skip


def weights_gradients(cell, gradient, batch, states, deltas, scratch):
    """The gradients of all weights of the layers, summed over the batch's tokens.

    `gradient` is a workspace.Model on the device, overwritten; `scratch`, of its dtype, is memory for parts of sums.
    """
    counterpart, E, (L, H, columns) = CELLS[cell.NAME], states.embeddings.shape[1], cell.W.shape
    da, tokens, biased = ravel(deltas.da), deltas.da.shape[1], cell.b.shape[1] > 0
    for layer in range(L):
        for name, gate, gates in counterpart.PRODUCTS:
            left, column = getattr(states, name), gate * H
            token_sum(
                left, layer * tokens * left.shape[2], left.shape[2], da, layer * tokens * columns + column, columns,
                batch.count, gradient.cell.W, layer * H * columns + column, columns, H, gates * H, scratch,
                sums=gradient.cell.b if biased else None, sums0=layer * columns + column, tf32=states.tf32,
            )  # fmt: skip
        if layer > 0 or E > 0:
            below, width = (states.embeddings, E) if layer == 0 else (states.x, H)
            token_sum(
                below, max(layer - 1, 0) * tokens * H, width, da, layer * tokens * columns, columns, batch.count,
                gradient.inputs, matrix_offset(layer, E, H) * columns, columns, width, columns, scratch,
                tf32=states.tf32,
            )  # fmt: skip
    if counterpart.DIAGONALS and gradient.cell[2].shape[1] > 0:
        after = sum(1 << row for row, name in enumerate(counterpart.DIAGONALS) if name == "state")
        _diagonals(
            (-(-H // NEIGHBOURS), len(counterpart.DIAGONALS), L), THREADS, batch.count, after, states.prev,
            states.state,
            deltas.da, gradient.cell[2],
        )  # fmt: skip


@kernel
def _read_embeddings(count, row0, tokens, origin, U, words, bound, factor, key):
    """words = the rows of U (C, E) that the batch's tokens name, dropped."""
    lane = cuda.threadIdx.x % NEIGHBOURS
    row = cuda.blockIdx.x * GROUPS + cuda.threadIdx.x // NEIGHBOURS
    if row < count:
        word = tokens[row0 + row]
        mask = row_mask(key, 0, origin[row0 + row]) if bound > 0 else 0
        for j in range(lane, words.shape[1], NEIGHBOURS):
            words[row, j] = drop(U[word, j], j, bound, factor, mask) if bound > 0 else U[word, j]


@kernel
def _drop_embeddings(count, row0, origin, d_embeddings, bound, factor, key):
    """Apply the embeddings' dropout masks to their gradient, in place."""
    lane = cuda.threadIdx.x % NEIGHBOURS
    row = cuda.blockIdx.x * GROUPS + cuda.threadIdx.x // NEIGHBOURS
    if row < count:
        mask = row_mask(key, 0, origin[row0 + row])
        for j in range(lane, d_embeddings.shape[1], NEIGHBOURS):
            d_embeddings[row, j] = drop(d_embeddings[row, j], j, bound, factor, mask)


@kernel
def _diagonals(count, after, prev, state, da, gradient):
    """gradient (L, rows, H) = sums over tokens of a gate's da times the state's last part.

    Block (x, y, z) makes columns of row y of layer z: gate y, and the part of the state after the step if bit y of
    `after` is set, before it if not. A group of threads sums over every GROUPS-th token; the first adds their sums.
    """
    sums = cuda.shared.array(THREADS, da.dtype)
    H, layer, row = gradient.shape[2], cuda.blockIdx.z, cuda.blockIdx.y
    own, group = cuda.threadIdx.x % NEIGHBOURS, cuda.threadIdx.x // NEIGHBOURS
    j, total, part = cuda.blockIdx.x * NEIGHBOURS + own, da.dtype.type(0), prev.shape[2] - gradient.shape[2]
    if j < H:
        for i in range(group, count, GROUPS):
            factor = state[layer, i, part + j] if after >> row & 1 else prev[layer, i, part + j]
            total += da[layer, i, row * H + j] * factor
    sums[cuda.threadIdx.x] = total
    cuda.syncthreads()
    if group == 0 and j < H:
        for other in range(1, GROUPS):
            total += sums[other * NEIGHBOURS + own]
        gradient[layer, row, j] = total

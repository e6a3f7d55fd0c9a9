"""The stack of layers: what enters each layer from below, and the way of errors down through all of them.

    layer 0             the row of U that a word names; or, if that is an embedding, the row times layer 0's own matrix
    every other layer   h of the layer below, times its own matrix
    the output          h of the last layer

A thread takes a group of sequences through one whole layer after the other: what enters a layer is then one
product for all steps, and no barrier is needed. Only truncated errors go down all layers step by step.

Dropout (Zaremba et al. 2014, arXiv 1409.2329) acts on what enters a layer from below, an embedding or h, and on what
enters the output layer; never from step to step.

The layers' own matrices stand one below the other in `inputs` (E + (L - 1) H, G*H): E rows for the embedding, none
without, and H rows for every further layer.
"""

from numba import types

from ...cells.interface import layer_of, weight_gradients
from ...compiler.jit import jit
from ...compiler.views import ravel
from ...linalg.gemm import PANEL_WIDTH
from ...linalg.packing import pack_transposed, pack_weights, packed_depth, packed_product, token_sum
from ...threads import partition
from .dropout import drop, row_key
from .recurrence import add, backward, backward_at_lag, copy, forward

# Work on arrays is divided in whole cache lines: multiples of so many elements.
GRAIN = 16


@jit
def matrix_offset(layer, E, H):
    """First row of a layer's own matrix in `inputs`."""
    return 0 if layer == 0 else E + (layer - 1) * H


@jit
def packed_range(inputs, layer, E, H, columns):
    """First row and last-plus-one, in `inputs`, of a layer's own matrix (width, columns): one below the other."""
    strips, below, above = (columns + PANEL_WIDTH - 1) // PANEL_WIDTH, packed_depth(inputs, E), packed_depth(inputs, H)
    return strips * matrix_offset(layer, below, above), strips * matrix_offset(layer + 1, below, above)


@jit
def packed_transposed_range(inputsT, layer, E, H, columns):
    """The same of its transpose, in `inputsT`."""
    rows, below, above = (
        packed_depth(inputsT, columns),
        (E + PANEL_WIDTH - 1) // PANEL_WIDTH,
        (H + PANEL_WIDTH - 1) // PANEL_WIDTH,
    )
    return rows * matrix_offset(layer, below, above), rows * matrix_offset(layer + 1, below, above)


@jit
def pack_forward(part, n_parts, model, cell, inputs):
    """Pack part `part` of `n_parts` of all weights: into the arrays W of `cell`, and `inputs`."""
    L, H, columns = model.cell.W.shape
    E = len(model.inputs) - (L - 1) * H
    for layer in range(L):
        pack_weights(part, n_parts, model.cell.W[layer], cell.W[layer])
        if layer > 0 or E > 0:
            matrix = model.inputs[matrix_offset(layer, E, H) : matrix_offset(layer + 1, E, H)]
            first, last = packed_range(inputs, layer, E, H, columns)
            pack_weights(part, n_parts, matrix, inputs[first:last])


@jit
def pack_backward(part, n_parts, model, deltas):
    """The same of their transposes, into deltas.WT and deltas.inputsT."""
    L, H, columns = model.cell.W.shape
    E = len(model.inputs) - (L - 1) * H
    for layer in range(L):
        pack_transposed(part, n_parts, model.cell.W[layer], deltas.WT[layer])
        if layer > 0 or E > 0:
            matrix = model.inputs[matrix_offset(layer, E, H) : matrix_offset(layer + 1, E, H)]
            first, last = packed_transposed_range(deltas.inputsT, layer, E, H, columns)
            pack_transposed(part, n_parts, matrix, deltas.inputsT[first:last])


@jit
def run_forward(group, n_groups, cell, inputs, U, steps, rows, states, rate, key):
    """Run one group of sequences forward through all layers; fills its rows of `states`.

    `cell` and `inputs` are packed in panels; `rate` is that of dropout, 0 for none, `key` its batch's.
    """
    L, E, H, starts = len(states.prev), states.embeddings.shape[1], states.x.shape[2], rows.starts[group]
    first, last = starts[0], starts[steps]
    for layer in range(L):
        fed = layer > 0 or E > 0
        if fed:
            below = states.embeddings if layer == 0 else states.x[layer - 1]
            if layer == 0:
                for row in range(first, last):
                    copy(U[rows.tokens[row]], below[row])
            if layer > 0 or rate > 0:
                _dropout_rows(
                    below if layer == 0 else states.state[layer - 1], below, first, last, rate, key, layer, rows.origin
                )
            start, end = packed_range(inputs, layer, E, H, states.gates.shape[2])
            _project_input(below, cell.b[layer], inputs[start:end], states.gates[layer], first, last)
        forward(group, n_groups, cell, layer, U[: 0 if fed else len(U)], steps, starts, rows.tokens, states)
    if rate > 0:
        _dropout_rows(states.state[L - 1], states.x[L - 1], first, last, rate, key, L, rows.origin)


@jit
def _dropout_rows(source, target, first, last, rate, key, connection, origin):
    """Rows first..last of what a layer, or the embedding, passes to the one above: dropout at the given rate."""
    for row in range(first, last):
        drop(source[row], target[row], rate, row_key(key, connection, origin[row]))


@jit
def _project_input(below, b, packed, gates, first, last):
    """gates = below times the layer's own matrix, + b, for rows first..last."""
    width, columns = below.shape[1], gates.shape[1]
    if first == last:
        return
    if len(b) > 0:
        for row in range(first, last):
            copy(b, gates[row])
    packed_product(
        ravel(below), first * width, width, packed, width, 0, width, 0, columns, ravel(gates), first * columns,
        columns, last - first, len(b) > 0,
    )  # fmt: skip


@jit(indirect=types.none)
def run_backward(group, n_groups, cell, truncate, steps, rows, states, deltas, rate, key):
    """Run one group of sequences back through all layers: from its rows of deltas.dh, overwritten, to deltas.da.

    And to deltas.d_embeddings, if there is an embedding. `truncate` is k of truncated back-propagation through
    time, negative for none: the error of output t then reaches steps t ... t-k and no further.
    """
    L, E, H, starts = len(states.prev), states.embeddings.shape[1], states.x.shape[2], rows.starts[group]
    first, last = starts[0], starts[steps]
    if rate > 0:
        _dropout_rows(deltas.dh, deltas.dh, first, last, rate, key, L, rows.origin)
    # With k = steps - 1 no error is cut off, but to the last output the initial state is a constant.
    if 0 <= truncate < steps - (1 if len(deltas.initial[0]) == 0 else 0):
        _run_truncated(group, n_groups, cell, truncate, steps, rows, states, deltas, rate, key)
        return
    for layer in range(L - 1, -1, -1):
        backward(group, n_groups, cell, layer, steps, starts, states, deltas)
        if layer > 0 or E > 0:
            below = deltas.dh if layer > 0 else deltas.d_embeddings
            _project_input_backward(deltas.da[layer], first, deltas.inputsT, layer, E, H, below, first, last - first)
            if rate > 0:
                _dropout_rows(below, below, first, last, rate, key, layer, rows.origin)


@jit
def _project_input_backward(da, da_row, inputsT, layer, E, H, below, row, count):
    """`count` rows of below, from `row` on: those of da, from da_row on, times the layer's own matrix, transposed."""
    width, columns = below.shape[1], da.shape[1]
    if count > 0:
        start, end = packed_transposed_range(inputsT, layer, E, H, columns)
        packed_product(
            ravel(da), da_row * columns, columns, inputsT[start:end], columns, 0, columns, 0, width, ravel(below),
            row * width, width, count, False,
        )  # fmt: skip


@jit(cold=True)
def _run_truncated(group, n_groups, cell, truncate, steps, rows, states, deltas, rate, key):
    """`run_backward`, truncated.

    Being linear in the errors, one sweep does it that carries each output's error by itself, in a ring of k + 1 slots
    a layer, down all layers of a step and then on to the step before.
    """
    L, E, H, starts = len(states.prev), states.embeddings.shape[1], states.x.shape[2], rows.starts[group]
    slots, carry = truncate + 1, deltas.carry[group]
    d_gates, dx, d_embeddings = deltas.scratch[group], deltas.dx[group], deltas.dx_embeddings[group]
    carry[:, :slots] = 0
    for t in range(steps - 1, -1, -1):
        first, newest = starts[t], t % slots
        n = starts[t + 1] - first
        for layer in range(L):
            carry[layer, newest, :n] = 0
        for b in range(n):
            add(deltas.dh[first + b], carry[L - 1, newest, b])
        for layer in range(L - 1, -1, -1):
            for lag in range(min(slots, steps - t)):
                slot = (t + lag) % slots
                backward_at_lag(cell, layer, t, lag, slot, starts, states, deltas, carry[layer], d_gates)
                if layer > 0:
                    _project_input_backward(d_gates, 0, deltas.inputsT, layer, E, H, dx, 0, n)
                    _dropout_rows_backward(dx, n, first, rate, key, layer, rows.origin)
                    for b in range(n):
                        add(dx[b], carry[layer - 1, slot, b])
                elif E > 0:
                    _project_input_backward(d_gates, 0, deltas.inputsT, layer, E, H, d_embeddings, 0, n)
                    _dropout_rows_backward(d_embeddings, n, first, rate, key, layer, rows.origin)
                    for b in range(n):
                        if lag == 0:
                            copy(d_embeddings[b], deltas.d_embeddings[first + b])
                        else:
                            add(d_embeddings[b], deltas.d_embeddings[first + b])
    if len(deltas.initial[0]) > 0 and steps > 0:
        for layer in range(L):
            for b in range(starts[1] - starts[0]):
                out = deltas.initial[layer, group + b * n_groups]
                out[:] = 0
                for lag in range(min(truncate, steps)):  # of an older output the initial state is a constant
                    add(carry[layer, lag, b], out)


@jit
def _dropout_rows_backward(dx, n, first, rate, key, connection, origin):
    """Apply the dropout masks of rows first... to the n rows of their gradient."""
    if rate > 0:
        for b in range(n):
            drop(dx[b], dx[b], rate, row_key(key, connection, origin[first + b]))


@jit
def weights_gradients(part, n_parts, cell, gradient, count, states, deltas):
    """Columns of part `part` of the gradients of all layers' weights, summed over the batch's `count` tokens.

    `gradient` is a workspace.Model; overwritten. The backward pass of all groups must be done.
    """
    L, E, H, columns = len(states.prev), states.embeddings.shape[1], states.x.shape[2], deltas.da.shape[2]
    first, last = partition(part, n_parts, columns, GRAIN)
    if first == last:
        return
    scratch, matrices = deltas.packing[part], ravel(gradient.inputs)
    for layer in range(L):
        da = deltas.da[layer, :count]
        weight_gradients(
            layer_of(cell, layer), layer_of(gradient.cell, layer), states.prev[layer, :count],
            states.aux[layer, :count], states.state[layer, :count], da, first, last, scratch,
        )  # fmt: skip
        if gradient.cell.b.shape[1] > 0:
            _sum_rows(da, first, last, gradient.cell.b[layer])
        if layer > 0 or E > 0:
            below = states.embeddings if layer == 0 else states.x[layer - 1]
            width = below.shape[1]
            token_sum(
                ravel(below), 0, width, ravel(da), first, columns, count, matrices,
                matrix_offset(layer, E, H) * columns + first, columns, width, last - first, scratch,
            )  # fmt: skip


@jit
def _sum_rows(rows, first, last, total):
    """total = the sum of all rows, columns first..last of both."""
    total[first:last] = 0
    for i in range(len(rows)):
        row = rows[i]
        for j in range(first, last):
            total[j] += row[j]

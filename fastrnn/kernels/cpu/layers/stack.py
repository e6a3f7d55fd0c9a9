"""The stack of layers: what enters each layer from below, and the way of errors down through all of them.

    layer 0             the row of U that a word names; or, if that is an embedding, the row times layer 0's own matrix
    every other layer   h of the layer below, times its own matrix
    the output          h of the last layer

A member takes a group of sequences through one whole layer after the other: what enters a layer is then one
product for all steps, and no barrier is needed. Only truncated errors go down all layers step by step.

Dropout (Zaremba et al. 2014, arXiv 1409.2329) acts on what enters a layer from below, an embedding or h, and on what
enters the output layer; never from step to step.

The layers' own matrices stand one below the other in `inputs` (E + (L - 1) H, G*H): E rows for the embedding, none
without, and H rows for every further layer.
"""

from numba import types

from ...cells.interface import layer_of, weight_gradients
from ...compiler.jit import jit
from ...compiler.views import flat
from ...linalg.gemm import PANEL
from ...linalg.packing import pack_transposed, pack_weights, panel_product, rows_in, token_sum
from ...threads import share
from .dropout import drop, row_key
from .recurrence import add, backward, backward_by_age, copy, forward

# Elements that are divided among members in whole cache lines.
GRAIN = 16


@jit
def place(layer, E, H):
    """First row of a layer's own matrix in `inputs`."""
    return 0 if layer == 0 else E + (layer - 1) * H


@jit
def panels_of(inputs, layer, E, H, columns):
    """First row and last-plus-one, in `inputs`, of a layer's own matrix (width, columns): one below the other."""
    strips, below, above = (columns + PANEL - 1) // PANEL, rows_in(inputs, E), rows_in(inputs, H)
    return strips * place(layer, below, above), strips * place(layer + 1, below, above)


@jit
def transposed_panels_of(inputsT, layer, E, H, columns):
    """The same of its transpose, in `inputsT`."""
    rows, below, above = rows_in(inputsT, columns), (E + PANEL - 1) // PANEL, (H + PANEL - 1) // PANEL
    return rows * place(layer, below, above), rows * place(layer + 1, below, above)


@jit
def pack_forward(member, size, model, cell, inputs):
    """This member's share of all weights in panels: into the arrays W of `cell`, and `inputs`."""
    L, H, columns = model.cell.W.shape
    E = len(model.inputs) - (L - 1) * H
    for layer in range(L):
        pack_weights(member, size, model.cell.W[layer], cell.W[layer])
        if layer > 0 or E > 0:
            matrix = model.inputs[place(layer, E, H) : place(layer + 1, E, H)]
            first, last = panels_of(inputs, layer, E, H, columns)
            pack_weights(member, size, matrix, inputs[first:last])


@jit
def pack_backward(member, size, model, errors):
    """The same of their transposes, into errors.WT and errors.inputsT."""
    L, H, columns = model.cell.W.shape
    E = len(model.inputs) - (L - 1) * H
    for layer in range(L):
        pack_transposed(member, size, model.cell.W[layer], errors.WT[layer])
        if layer > 0 or E > 0:
            matrix = model.inputs[place(layer, E, H) : place(layer + 1, E, H)]
            first, last = transposed_panels_of(errors.inputsT, layer, E, H, columns)
            pack_transposed(member, size, matrix, errors.inputsT[first:last])


@jit
def run_forward(member, size, cell, inputs, U, steps, rows, states, rate, key):
    """Run this member's group forward through all layers; fills its rows of `states`.

    `cell` and `inputs` are in panels; `rate` is that of dropout, 0 for none, `key` its batch's.
    """
    L, E, H, starts = len(states.prev), states.words.shape[1], states.x.shape[2], rows.starts[member]
    first, last = starts[0], starts[steps]
    for layer in range(L):
        fed = layer > 0 or E > 0
        if fed:
            below = states.words if layer == 0 else states.x[layer - 1]
            if layer == 0:
                for row in range(first, last):
                    copy(U[rows.tokens[row]], below[row])
            if layer > 0 or rate > 0:
                _hand_up(
                    below if layer == 0 else states.state[layer - 1], below, first, last, rate, key, layer, rows.origin
                )
            panels, end = panels_of(inputs, layer, E, H, states.gates.shape[2])
            _enter(below, cell.b[layer], inputs[panels:end], states.gates[layer], first, last)
        forward(member, size, cell, layer, U[: 0 if fed else len(U)], steps, starts, rows.tokens, states)
    if rate > 0:
        _hand_up(states.state[L - 1], states.x[L - 1], first, last, rate, key, L, rows.origin)


@jit
def _hand_up(source, target, first, last, rate, key, connection, origin):
    """Rows first..last of what a layer, or the embedding, hands to the one above: dropped at the given rate."""
    for row in range(first, last):
        drop(source[row], target[row], rate, row_key(key, connection, origin[row]))


@jit
def _enter(below, b, panels, gates, first, last):
    """gates = below times the layer's own matrix, + b, for rows first..last."""
    width, columns = below.shape[1], gates.shape[1]
    if first == last:
        return
    if len(b) > 0:
        for row in range(first, last):
            copy(b, gates[row])
    panel_product(
        flat(below), first * width, width, panels, width, 0, width, 0, columns, flat(gates), first * columns,
        columns, last - first, len(b) > 0,
    )  # fmt: skip


@jit(separate=types.none)
def run_backward(member, size, cell, truncate, steps, rows, states, errors, rate, key):
    """Run this member's group back through all layers: from its rows of errors.dh, overwritten, to those of errors.da.

    And to those of errors.dwords, if there is an embedding. `truncate` is k of truncated back-propagation through
    time, negative for none: the error of output t then reaches steps t ... t-k and no further.
    """
    L, E, H, starts = len(states.prev), states.words.shape[1], states.x.shape[2], rows.starts[member]
    first, last = starts[0], starts[steps]
    if rate > 0:
        _hand_up(errors.dh, errors.dh, first, last, rate, key, L, rows.origin)
    # With k = steps - 1 no error is cut off, but to the last output the initial state is a constant.
    if 0 <= truncate < steps - (1 if len(errors.initial[0]) == 0 else 0):
        _run_truncated(member, size, cell, truncate, steps, rows, states, errors, rate, key)
        return
    for layer in range(L - 1, -1, -1):
        backward(member, size, cell, layer, steps, starts, states, errors)
        if layer > 0 or E > 0:
            below = errors.dh if layer > 0 else errors.dwords
            _leave(errors.da[layer], first, errors.inputsT, layer, E, H, below, first, last - first)
            if rate > 0:
                _hand_up(below, below, first, last, rate, key, layer, rows.origin)


@jit
def _leave(da, da_row, inputsT, layer, E, H, below, row, count):
    """`count` rows of below, from `row` on: those of da, from da_row on, times the layer's own matrix, transposed."""
    width, columns = below.shape[1], da.shape[1]
    if count > 0:
        panels, end = transposed_panels_of(inputsT, layer, E, H, columns)
        panel_product(
            flat(da), da_row * columns, columns, inputsT[panels:end], columns, 0, columns, 0, width, flat(below),
            row * width, width, count, False,
        )  # fmt: skip


@jit(rare=True)
def _run_truncated(member, size, cell, truncate, steps, rows, states, errors, rate, key):
    """`run_backward`, truncated.

    Being linear in the errors, one sweep does it that carries each output's error by itself, in a ring of k + 1 slots
    a layer, down all layers of a step and then on to the step before.
    """
    L, E, H, starts = len(states.prev), states.words.shape[1], states.x.shape[2], rows.starts[member]
    slots, carry = truncate + 1, errors.carry[member]
    d_gates, dx, dwords = errors.scratch[member], errors.dx[member], errors.dx_words[member]
    carry[:, :slots] = 0
    for t in range(steps - 1, -1, -1):
        first, newest = starts[t], t % slots
        n = starts[t + 1] - first
        for layer in range(L):
            carry[layer, newest, :n] = 0
        for b in range(n):
            add(errors.dh[first + b], carry[L - 1, newest, b])
        for layer in range(L - 1, -1, -1):
            for age in range(min(slots, steps - t)):
                slot = (t + age) % slots
                backward_by_age(cell, layer, t, age, slot, starts, states, errors, carry[layer], d_gates)
                if layer > 0:
                    _leave(d_gates, 0, errors.inputsT, layer, E, H, dx, 0, n)
                    _hand_down(dx, n, first, rate, key, layer, rows.origin)
                    for b in range(n):
                        add(dx[b], carry[layer - 1, slot, b])
                elif E > 0:
                    _leave(d_gates, 0, errors.inputsT, layer, E, H, dwords, 0, n)
                    _hand_down(dwords, n, first, rate, key, layer, rows.origin)
                    for b in range(n):
                        if age == 0:
                            copy(dwords[b], errors.dwords[first + b])
                        else:
                            add(dwords[b], errors.dwords[first + b])
    if len(errors.initial[0]) > 0 and steps > 0:
        for layer in range(L):
            for b in range(starts[1] - starts[0]):
                out = errors.initial[layer, member + b * size]
                out[:] = 0
                for age in range(min(truncate, steps)):  # of an older output the initial state is a constant
                    add(carry[layer, age, b], out)


@jit
def _hand_down(dx, n, first, rate, key, connection, origin):
    """Drop of n rows of errors what was dropped of the rows first... of what they are errors of."""
    if rate > 0:
        for b in range(n):
            drop(dx[b], dx[b], rate, row_key(key, connection, origin[first + b]))


@jit
def weights_gradients(member, size, cell, gradient, count, states, errors):
    """This member's columns of the gradients of all weights of the layers, summed over the batch's `count` tokens.

    `gradient` is a workspace.Model; overwritten. The backward pass of all groups must be done.
    """
    L, E, H, columns = len(states.prev), states.words.shape[1], states.x.shape[2], errors.da.shape[2]
    first, last = share(member, size, columns, GRAIN)
    if first == last:
        return
    scratch, matrices = errors.packing[member], flat(gradient.inputs)
    for layer in range(L):
        da = errors.da[layer, :count]
        weight_gradients(
            layer_of(cell, layer), layer_of(gradient.cell, layer), states.prev[layer, :count],
            states.aux[layer, :count], states.state[layer, :count], da, first, last, scratch,
        )  # fmt: skip
        if gradient.cell.b.shape[1] > 0:
            _sum_rows(da, first, last, gradient.cell.b[layer])
        if layer > 0 or E > 0:
            below = states.words if layer == 0 else states.x[layer - 1]
            width = below.shape[1]
            token_sum(
                flat(below), 0, width, flat(da), first, columns, count, matrices,
                place(layer, E, H) * columns + first, columns, width, last - first, scratch,
            )  # fmt: skip


@jit
def _sum_rows(rows, first, last, total):
    """total = the sum of all rows, columns first..last of both."""
    total[first:last] = 0
    for i in range(len(rows)):
        row = rows[i]
        for j in range(first, last):
            total[j] += row[j]

"""Training of an encoder-decoder (Sutskever et al. 2014, arXiv 1409.3215) by a whole team: one pass over both sides.

The encoder reads the source, from zeros; the decoder starts from the state that the encoder ends in, in every layer,
reads the target and predicts its next word. Going back, the error of the decoder's initial state is that of
the encoder's last.
"""

from typing import NamedTuple

import numpy as np

from ...data.batches import Segments
from ..compiler.jit import jit
from ..threads import end_phase, next_part
from .layers import output
from .layers.dropout import batch_key
from .layers.recurrence import copy, pack, steps_of, token_count
from .layers.stack import pack_backward, pack_forward, run_backward, run_forward, weights_gradients
from .optimizers import NONE, constants
from .passes import (
    apply_update,
    assign_slots,
    begin,
    free_slots,
    rows_gradient,
    squares,
    sum_of_squares,
    total_of,
    update_parts,
)
from .workspace import Model, Work


class Side(NamedTuple):
    """What the pass needs of the encoder, or of the decoder."""

    model: Model
    U: np.ndarray  # (words, D)
    gradient: Model  # overwritten
    moments: tuple  # as in passes.train_pass
    moments_U: tuple
    segments: Segments
    ids: np.ndarray  # int64: sequences of all batches, each batch's longest first
    work: Work


@jit
def train_pairs(
    member, size, barrier, encoder, decoder, bounds, places, rule, hyper, scale, status, losses, norms
):  # fmt: skip
    """Train on batches of pairs, in order; stop early if a loss or a gradient is not finite.

    Parameters
    ----------
    encoder, decoder : Side
        Batch b has the sequences ids[bounds[b]:bounds[b + 1]] of each.
    places : int64 array
        Like decoder.ids: at which place of its batch the encoder has the source of a target.
    rule, hyper, scale, status, losses, norms
        As in `passes.train_pass`.
    """
    rate = hyper[8]
    sources, targets = encoder.work, decoder.work
    for batch in range(len(bounds) - 1):
        first, last = bounds[batch], bounds[batch + 1]
        n, place = last - first, places[first:last]
        source_key, target_key = batch_key(status[2] + 1, status[1]), batch_key(status[2], status[1])
        source_count = token_count(encoder.segments.length, encoder.ids[first:last])
        target_count = token_count(decoder.segments.length, decoder.ids[first:last])
        part = next_part(member, size, barrier, size, -1)
        while part >= 0:
            if part < size:
                _prepare(part, size, encoder, first, last)
                _prepare(part, size, decoder, first, last)
            part = next_part(member, size, barrier, size, part)
        end_phase(member, size, barrier)
        part = next_part(member, size, barrier, size, -1)
        while part >= 0:
            if part < size:
                _forward(part, size, encoder, first, last, rate, source_key)
            part = next_part(member, size, barrier, size, part)
        end_phase(member, size, barrier)
        part = next_part(member, size, barrier, size + 1, -1)
        while part >= 0:
            if part == 0:
                tokens = targets.rows.tokens[: target_count if len(targets.sparse.dU) == 0 else 0]
                output.begin(targets.softmax, target_key, targets.rows.targets, tokens, target_count)
            elif part <= size:
                group = part - 1
                for layer in range(len(targets.states.initial)):
                    for i in range(group, n, size):
                        copy(sources.states.final[layer, place[i]], targets.states.initial[layer, i])
                _forward(group, size, decoder, first, last, rate, target_key)
            part = next_part(member, size, barrier, size + 1, part)
        end_phase(member, size, barrier)
        states, L = targets.states, len(targets.states.state)
        if not output.learn(
            member, size, barrier, decoder.model.V, decoder.model.c, target_count,
            states.x[L - 1] if rate > 0 else states.state[L - 1], targets.rows.targets, targets.softmax,
            decoder.gradient.V, decoder.gradient.c, targets.errors.dh, scale if scale > 0 else 1.0 / n, 1.0, False,
        ):  # fmt: skip
            if member == 0:
                output.free(0, 1, targets.softmax)
            return
        part = next_part(member, size, barrier, size, -1)
        while part >= 0:
            if part < size:
                _backward(part, size, decoder, first, last, rate, target_key)
                for layer in range(len(targets.states.initial)):
                    for i in range(part, n, size):
                        copy(targets.errors.initial[layer, i], sources.errors.final[layer, place[i]])
            part = next_part(member, size, barrier, size, part)
        end_phase(member, size, barrier)
        part = next_part(member, size, barrier, size + 1, -1)
        while part >= 0:
            if part == 0:
                losses[batch] = total_of(targets.softmax.nll, target_count)
                assign_slots(sources.rows.tokens, source_count, sources.sparse, sources.partial)
                assign_slots(targets.rows.tokens, target_count, targets.sparse, targets.partial)
            elif part <= size:
                starts = sources.rows.starts[part - 1]
                steps = steps_of(part - 1, encoder.segments.length, encoder.ids[first:last])
                sources.errors.dh[starts[0] : starts[steps]] = 0
                _backward(part - 1, size, encoder, first, last, rate, source_key)
            part = next_part(member, size, barrier, size + 1, part)
        end_phase(member, size, barrier)
        part = next_part(member, size, barrier, size, -1)
        while part >= 0:
            if part < size:
                _gradients(part, size, encoder, source_count)
                _gradients(part, size, decoder, target_count)
            part = next_part(member, size, barrier, size, part)
        end_phase(member, size, barrier)
        clip = 1.0
        if hyper[6] > 0:
            part = next_part(member, size, barrier, size, -1)
            while part >= 0:
                if part < size:
                    _squares(part, size, encoder)
                    _squares(part, size, decoder)
                else:
                    norms[batch] = np.sqrt(
                        sum_of_squares(size, sources.partial) + sum_of_squares(size, targets.partial)
                    )  # fmt: skip
                part = next_part(member, size, barrier, size, part)
            end_phase(member, size, barrier)
            norm = norms[batch]
            if not np.isfinite(norm):
                if member == 0:
                    _free(0, 1, encoder)
                    _free(0, 1, decoder)
                return
            clip = min(1.0, hyper[6] / norm) if norm > 0 else 1.0
        parts = update_parts(size)
        part = next_part(member, size, barrier, parts, -1)
        while part >= 0:
            if part < parts:
                _update(member, part, parts, encoder, rule, hyper, clip, status)
                _update(member, part, parts, decoder, rule, hyper, clip, status)
            else:
                status[0] += 1
                status[1] += 1
            part = next_part(member, size, barrier, parts, part)
        end_phase(member, size, barrier)


@jit
def _prepare(member, size, side, first, last):
    """Lay out a group of a side, and a share of the weights."""
    segments, work, chosen = side.segments, side.work, side.ids[first:last]
    pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, work.rows)
    begin(member, size, segments.start[0], last - first, work.states)
    pack_forward(member, size, side.model, work.cell, work.inputs)
    pack_backward(member, size, side.model, work.errors)


@jit
def _forward(member, size, side, first, last, rate, key):
    work, steps = side.work, steps_of(member, side.segments.length, side.ids[first:last])
    run_forward(member, size, work.cell, work.inputs, side.U, steps, work.rows, work.states, rate, key)


@jit
def _backward(member, size, side, first, last, rate, key):
    work, steps = side.work, steps_of(member, side.segments.length, side.ids[first:last])
    run_backward(member, size, work.cell, -1, steps, work.rows, work.states, work.errors, rate, key)


@jit
def _gradients(member, size, side, count):
    work = side.work
    weights_gradients(member, size, work.cell, side.gradient, count, work.states, work.errors)
    occurring = int(work.partial[0, 1])
    rows_gradient(
        member, size, work.rows.tokens, count, work.errors, work.sparse, occurring, work.softmax, side.gradient.V
    )  # fmt: skip


@jit
def _squares(member, size, side):
    work = side.work
    dense = side.gradient.dense[output.first_dense(work.softmax, side.model.cell_start) :]
    squares(member, size, dense, work.softmax, work.sparse.dU, int(work.partial[0, 1]), work.partial)


@jit
def _update(member, part, parts, side, rule, hyper, clip, status):
    work, occurring = side.work, int(side.work.partial[0, 1])
    if rule != NONE:
        constants(rule, hyper, clip, status[1] + 1, work.constants[member])
        first = output.first_dense(work.softmax, side.model.cell_start)
        apply_update(
            part, parts, rule, first, side.model.dense, side.gradient.dense, side.moments, side.U, work.sparse,
            occurring, side.moments_U, work.constants[member],
        )  # fmt: skip
        output.update(part, parts, rule, side.model.dense, side.moments, work.constants[member, 0], work.softmax)
    _free(part, parts, side)


@jit
def _free(part, parts, side):
    free_slots(part, parts, side.work.sparse, int(side.work.partial[0, 1]))
    output.free(part, parts, side.work.softmax)

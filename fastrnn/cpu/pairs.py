"""Training of an encoder-decoder (Sutskever et al. 2014, arXiv 1409.3215) by a whole team: one pass over both sides.

The encoder reads the source, from zeros; the decoder starts from the state that the encoder ends in, in every layer,
reads the target and predicts its next word. Going back, the error of the decoder's initial state is that of
the encoder's last.
"""

from typing import NamedTuple

import numpy as np

from .dropout import batch_key
from .jit import jit
from .output import output_layer
from .passes import apply_update, assign_slots, begin, free_slots, rows_gradient, squares, sum_of_squares, total_of
from .recurrence import copy, pack, token_count
from .stack import pack_backward, pack_forward, run_backward, run_forward, weights_gradients
from .threads import meet
from .update import NONE, constants
from .workspace import Model, Segments, Work


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
        source_count, source_steps = _prepare(member, size, encoder, first, last)
        target_count, target_steps = _prepare(member, size, decoder, first, last)
        meet(barrier, size)
        _forward(member, size, encoder, source_steps, rate, source_key)
        meet(barrier, size)
        for layer in range(len(targets.states.initial)):
            for i in range(member, n, size):
                copy(sources.states.final[layer, place[i]], targets.states.initial[layer, i])
        _forward(member, size, decoder, target_steps, rate, target_key)
        meet(barrier, size)
        states, L = targets.states, len(targets.states.state)
        if not output_layer(
            member, size, barrier, decoder.model.V, decoder.model.c, target_count,
            states.x[L - 1] if rate > 0 else states.state[L - 1], targets.rows.targets, targets.softmax,
            decoder.gradient.V, decoder.gradient.c, targets.errors.dh, scale if scale > 0 else 1.0 / n, 1.0, False,
        ):  # fmt: skip
            return
        meet(barrier, size)
        _backward(member, size, decoder, target_steps, rate, target_key)
        for layer in range(len(targets.states.initial)):
            for i in range(member, n, size):
                copy(targets.errors.initial[layer, i], sources.errors.final[layer, place[i]])
        meet(barrier, size)
        starts = sources.rows.starts[member]
        sources.errors.dh[starts[0] : starts[source_steps]] = 0
        _backward(member, size, encoder, source_steps, rate, source_key)
        if member == 0:
            losses[batch] = total_of(targets.softmax.nll, target_count)
            assign_slots(sources.rows.tokens, source_count, sources.sparse, sources.partial)
            assign_slots(targets.rows.tokens, target_count, targets.sparse, targets.partial)
        meet(barrier, size)
        _gradients(member, size, encoder, source_count)
        _gradients(member, size, decoder, target_count)
        meet(barrier, size)
        clip = 1.0
        if hyper[6] > 0:
            for side in (encoder, decoder):
                work = side.work
                squares(member, size, side.gradient.dense, work.sparse.dU, int(work.partial[0, 1]), work.partial)
            meet(barrier, size)
            norm = np.sqrt(sum_of_squares(size, sources.partial) + sum_of_squares(size, targets.partial))
            if not np.isfinite(norm):
                return
            norms[batch] = norm
            clip = min(1.0, hyper[6] / norm) if norm > 0 else 1.0
        _update(member, size, encoder, rule, hyper, clip, status)
        _update(member, size, decoder, rule, hyper, clip, status)
        meet(barrier, size)
        if member == 0:
            status[0] += 1
            status[1] += 1
        meet(barrier, size)


@jit
def _prepare(member, size, side, first, last):
    """Lay out this member's group of a side, and its share of the weights; tokens of the batch, steps of the group."""
    segments, work, chosen = side.segments, side.work, side.ids[first:last]
    count = token_count(segments.length, chosen)
    steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, work.rows)
    begin(member, size, segments.start[0], last - first, work.states)
    pack_forward(member, size, side.model, work.cell, work.inputs)
    pack_backward(member, size, side.model, work.errors)
    return count, steps


@jit
def _forward(member, size, side, steps, rate, key):
    work = side.work
    run_forward(member, size, work.cell, work.inputs, side.U, steps, work.rows, work.states, rate, key)


@jit
def _backward(member, size, side, steps, rate, key):
    work = side.work
    run_backward(member, size, work.cell, -1, steps, work.rows, work.states, work.errors, rate, key)


@jit
def _gradients(member, size, side, count):
    work = side.work
    weights_gradients(member, size, work.cell, side.gradient, count, work.states, work.errors)
    occurring = int(work.partial[0, 1])
    rows_gradient(member, size, work.rows.tokens, count, work.errors, work.sparse, occurring, side.gradient.V)


@jit
def _update(member, size, side, rule, hyper, clip, status):
    work, occurring = side.work, int(side.work.partial[0, 1])
    if rule != NONE:
        constants(rule, hyper, clip, status[1] + 1, work.constants[member])
        apply_update(
            member, size, rule, 0, side.model.dense, side.gradient.dense, side.moments, side.U, work.sparse, occurring,
            side.moments_U, work.constants[member],
        )  # fmt: skip
    free_slots(member, size, work.sparse, occurring)

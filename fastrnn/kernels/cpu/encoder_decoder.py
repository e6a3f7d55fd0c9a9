"""Training of an encoder-decoder (Sutskever et al. 2014, arXiv 1409.3215) by all threads: one pass over both sides.

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
    assign_dU_rows,
    begin,
    free_dU_rows,
    rows_gradient,
    squares,
    sum_of_squares,
    total_of,
    update_parts,
)
from .workspace import Model, Workspace


class NetworkArgs(NamedTuple):
    """What the pass needs of the encoder, or of the decoder."""

    model: Model
    U: np.ndarray  # (words, D)
    gradient: Model  # overwritten
    moments: tuple  # as in passes.train_pass
    moments_U: tuple
    segments: Segments
    ids: np.ndarray  # int64: sequences of all batches, each batch's longest first
    work: Workspace


@jit
def train_pairs(
    thread, n_threads, barrier, encoder, decoder, bounds, source_slot, rule, hyper, scale, status, losses, norms
):  # fmt: skip
    """Train on batches of pairs, in order; stop early if a loss or a gradient is not finite.

    Parameters
    ----------
    encoder, decoder : Side
        Batch b has the sequences ids[bounds[b]:bounds[b + 1]] of each.
    source_slot : int64 array
        Like decoder.ids: position, within the encoder's batch, of the source of each target.
    rule, hyper, scale, status, losses, norms
        As in `passes.train_pass`.
    """
    rate = hyper.dropout
    sources, targets = encoder.work, decoder.work
    for batch in range(len(bounds) - 1):
        first, last = bounds[batch], bounds[batch + 1]
        n, slots = last - first, source_slot[first:last]
        source_key, target_key = batch_key(status[2] + 1, status[1]), batch_key(status[2], status[1])
        source_count = token_count(encoder.segments.length, encoder.ids[first:last])
        target_count = token_count(decoder.segments.length, decoder.ids[first:last])
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                _prepare(part, n_threads, encoder, first, last)
                _prepare(part, n_threads, decoder, first, last)
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                _forward(part, n_threads, encoder, first, last, rate, source_key)
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads + 1, -1)
        while part >= 0:
            if part == 0:
                tokens = targets.rows.tokens[: target_count if len(targets.sparse.dU) == 0 else 0]
                output.begin(targets.softmax, target_key, targets.rows.targets, tokens, target_count)
            elif part <= n_threads:
                group = part - 1
                for layer in range(len(targets.states.initial)):
                    for i in range(group, n, n_threads):
                        copy(sources.states.final[layer, slots[i]], targets.states.initial[layer, i])
                _forward(group, n_threads, decoder, first, last, rate, target_key)
            part = next_part(thread, n_threads, barrier, n_threads + 1, part)
        end_phase(thread, n_threads, barrier)
        states, L = targets.states, len(targets.states.state)
        if not output.learn(
            thread, n_threads, barrier, decoder.model.V, decoder.model.c, target_count,
            states.x[L - 1] if rate > 0 else states.state[L - 1], targets.rows.targets, targets.softmax,
            decoder.gradient.V, decoder.gradient.c, targets.deltas.dh, scale if scale > 0 else 1.0 / n, 1.0, False,
        ):  # fmt: skip
            if thread == 0:
                output.free(0, 1, targets.softmax)
            return
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                _backward(part, n_threads, decoder, first, last, rate, target_key)
                for layer in range(len(targets.states.initial)):
                    for i in range(part, n, n_threads):
                        copy(targets.deltas.initial[layer, i], sources.deltas.final[layer, slots[i]])
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads + 1, -1)
        while part >= 0:
            if part == 0:
                losses[batch] = total_of(targets.softmax.nll, target_count)
                assign_dU_rows(sources.rows.tokens, source_count, sources.sparse, sources.partial)
                assign_dU_rows(targets.rows.tokens, target_count, targets.sparse, targets.partial)
            elif part <= n_threads:
                starts = sources.rows.starts[part - 1]
                steps = steps_of(part - 1, encoder.segments.length, encoder.ids[first:last])
                sources.deltas.dh[starts[0] : starts[steps]] = 0
                _backward(part - 1, n_threads, encoder, first, last, rate, source_key)
            part = next_part(thread, n_threads, barrier, n_threads + 1, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                _gradients(part, n_threads, encoder, source_count)
                _gradients(part, n_threads, decoder, target_count)
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        clip = 1.0
        if hyper.clip_norm > 0:
            part = next_part(thread, n_threads, barrier, n_threads, -1)
            while part >= 0:
                if part < n_threads:
                    _squares(part, n_threads, encoder)
                    _squares(part, n_threads, decoder)
                else:
                    norms[batch] = np.sqrt(
                        sum_of_squares(n_threads, sources.partial) + sum_of_squares(n_threads, targets.partial)
                    )  # fmt: skip
                part = next_part(thread, n_threads, barrier, n_threads, part)
            end_phase(thread, n_threads, barrier)
            norm = norms[batch]
            if not np.isfinite(norm):
                if thread == 0:
                    _free(0, 1, encoder)
                    _free(0, 1, decoder)
                return
            clip = min(1.0, hyper.clip_norm / norm) if norm > 0 else 1.0
        parts = update_parts(n_threads)
        part = next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part < parts:
                _update(thread, part, parts, encoder, rule, hyper, clip, status)
                _update(thread, part, parts, decoder, rule, hyper, clip, status)
            else:
                status[0] += 1
                status[1] += 1
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)


@jit
def _prepare(part, n_parts, network, first, last):
    """Lay out a group of a side, and a share of the weights."""
    segments, work, chosen = network.segments, network.work, network.ids[first:last]
    pack(part, n_parts, segments.x, segments.y, segments.begin, segments.length, chosen, work.rows)
    begin(part, n_parts, segments.start[0], last - first, work.states)
    pack_forward(part, n_parts, network.model, work.cell, work.inputs)
    pack_backward(part, n_parts, network.model, work.deltas)


@jit
def _forward(group, n_groups, network, first, last, rate, key):
    work, steps = network.work, steps_of(group, network.segments.length, network.ids[first:last])
    run_forward(group, n_groups, work.cell, work.inputs, network.U, steps, work.rows, work.states, rate, key)


@jit
def _backward(group, n_groups, network, first, last, rate, key):
    work, steps = network.work, steps_of(group, network.segments.length, network.ids[first:last])
    run_backward(group, n_groups, work.cell, -1, steps, work.rows, work.states, work.deltas, rate, key)


@jit
def _gradients(part, n_parts, network, count):
    work = network.work
    weights_gradients(part, n_parts, work.cell, network.gradient, count, work.states, work.deltas)
    occurring = int(work.partial[0, 1])
    rows_gradient(
        part, n_parts, work.rows.tokens, count, work.deltas, work.sparse, occurring, work.softmax, network.gradient.V
    )  # fmt: skip


@jit
def _squares(part, n_parts, network):
    work = network.work
    dense = network.gradient.dense[output.first_dense(work.softmax, network.model.cell_start) :]
    squares(part, n_parts, dense, work.softmax, work.sparse.dU, int(work.partial[0, 1]), work.partial)


@jit
def _update(thread, part, parts, network, rule, hyper, clip, status):
    work, occurring = network.work, int(network.work.partial[0, 1])
    if rule != NONE:
        constants(rule, hyper, clip, status[1] + 1, work.constants[thread])
        first = output.first_dense(work.softmax, network.model.cell_start)
        apply_update(
            part, parts, rule, first, network.model.dense, network.gradient.dense, network.moments, network.U,
            work.sparse, occurring, network.moments_U, work.constants[thread],
        )  # fmt: skip
        output.update(part, parts, rule, network.model.dense, network.moments, work.constants[thread, 0], work.softmax)
    _free(part, parts, network)


@jit
def _free(part, parts, network):
    free_dU_rows(part, parts, network.work.sparse, int(network.work.partial[0, 1]))
    output.free(part, parts, network.work.softmax)

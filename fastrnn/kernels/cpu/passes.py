"""Passes over batches, each run by all threads: training, scoring, predicting, and running a network for its states.

They are made of phases (threads.py), whose work is divided into `n_parts` parts, or `n_groups` groups of sequences.

`ids` (int64) names the segments of all batches, each batch's longest first; batch b takes those from bounds[b] to
bounds[b + 1] - 1.
"""

import numpy as np

from ...data.batches import CARRIED, GIVEN
from ..compiler.jit import jit
from ..compiler.views import ravel
from ..threads import end_phase, next_part, partition
from .layers import output
from .layers.dropout import batch_key
from .layers.recurrence import copy, pack, steps_of, token_count
from .layers.softmax import add_columns, output_layer, probabilities
from .layers.softmax_blocks import TOKENS
from .layers.stack import GRAIN, pack_backward, pack_forward, run_backward, run_forward, weights_gradients
from .optimizers import ADAM, NONE, RMSPROP, SGD, constants, squared_norm, update

UPDATE_PARTS_EACH = 4


@jit
def train_pass(
    thread, n_threads, barrier, model, U, gradient, moments, moments_U, segments, ids, bounds, work,
    rule, hyper, truncate, scale, status, losses, norms,
):  # fmt: skip
    """Train on the batches, in order; stop early if a loss or a gradient is not finite.

    Parameters
    ----------
    model, U : Model and array (C, D)
        The parameters; overwritten.
    gradient : Model
        Overwritten with the gradient of the last batch (dense arrays; U's is work.sparse.dU, by rows of
        work.sparse.words, or added to V's where dU has no rows: U is then V).
    moments, moments_U : pairs of flat arrays
        First and second moments of the dense parameters and of U, empty where the rule has none; overwritten.
    rule : int
        Of optimizers.py; NONE computes the gradient and leaves the parameters alone.
    hyper : optimizers.Hyperparameters
    truncate : int
        k of truncated back-propagation, negative for none.
    scale : float
        Factor of the gradient of the summed cross-entropy; 0: one over the batch's sequences.
    status : int64[3]
        [0] batches done, [1] updates done so far; overwritten. [2] seed of dropout.
    losses, norms : float64[batches]
        Summed cross-entropy of each batch before its update, nats; norm of its gradient, where one was
        needed.
    """
    rows, states, deltas, sparse, rate = work.rows, work.states, work.deltas, work.sparse, hyper.dropout
    L, tied = len(states.prev), len(sparse.dU) == 0
    for batch in range(len(bounds) - 1):
        chosen, key = ids[bounds[batch] : bounds[batch + 1]], batch_key(status[2], status[1])
        count = token_count(segments.length, chosen)
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                pack(part, n_threads, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
                begin(part, n_threads, segments.start[batch], len(chosen), states)
                pack_forward(part, n_threads, model, work.cell, work.inputs)
                pack_backward(part, n_threads, model, deltas)
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads + 1, -1)
        while part >= 0:
            if part == 0:
                output.begin(work.softmax, key, rows.targets, rows.tokens[: count if tied else 0], count)
            elif part <= n_threads:
                steps = steps_of(part - 1, segments.length, chosen)
                run_forward(part - 1, n_threads, work.cell, work.inputs, U, steps, rows, states, rate, key)
            part = next_part(thread, n_threads, barrier, n_threads + 1, part)
        end_phase(thread, n_threads, barrier)
        dscale = scale if scale > 0 else 1.0 / len(chosen)
        dh_scale, dV, dc = 1.0, gradient.V, gradient.c
        # Plain SGD in one block needs no gradient of V: its step goes straight into V.
        first = output.first_dense(work.softmax, model.cell_start)
        direct = rule == SGD and hyper.clip_norm == 0 and count <= TOKENS and not tied and first == 0
        if direct:
            dscale, dh_scale, dV, dc = -hyper.learning_rate * dscale, -1 / hyper.learning_rate, model.V, model.c
        top = states.x[L - 1] if rate > 0 else states.state[L - 1]
        if not output.learn(
            thread, n_threads, barrier, model.V, model.c, count, top, rows.targets, work.softmax,
            dV, dc, deltas.dh, dscale, dh_scale, direct,
        ):  # fmt: skip
            if thread == 0:
                output.free(0, 1, work.softmax)
            return
        part = next_part(thread, n_threads, barrier, n_threads + 1, -1)
        while part >= 0:
            if part == 0:
                losses[batch] = total_of(work.softmax.nll, count)
                assign_dU_rows(rows.tokens, count, sparse, work.partial)
            elif part <= n_threads:
                group = part - 1
                steps = steps_of(group, segments.length, chosen)
                run_backward(group, n_threads, work.cell, truncate, steps, rows, states, deltas, rate, key)
            part = next_part(thread, n_threads, barrier, n_threads + 1, part)
        end_phase(thread, n_threads, barrier)
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                weights_gradients(part, n_threads, work.cell, gradient, count, states, deltas)
                occurring = int(work.partial[0, 1])
                rows_gradient(part, n_threads, rows.tokens, count, deltas, sparse, occurring, work.softmax, gradient.V)
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)
        clip = 1.0
        if hyper.clip_norm > 0:
            part = next_part(thread, n_threads, barrier, n_threads, -1)
            while part >= 0:
                if part < n_threads:
                    squares(
                        part, n_threads, gradient.dense[first:], work.softmax, sparse.dU, int(work.partial[0, 1]),
                        work.partial,
                    )  # fmt: skip
                else:
                    norms[batch] = np.sqrt(sum_of_squares(n_threads, work.partial))
                part = next_part(thread, n_threads, barrier, n_threads, part)
            end_phase(thread, n_threads, barrier)
            norm = norms[batch]
            if not np.isfinite(norm):
                if thread == 0:
                    free_dU_rows(0, 1, sparse, int(work.partial[0, 1]))
                    output.free(0, 1, work.softmax)
                return
            clip = min(1.0, hyper.clip_norm / norm) if norm > 0 else 1.0
        parts = update_parts(n_threads)
        part = next_part(thread, n_threads, barrier, parts, -1)
        while part >= 0:
            if part < parts:
                occurring = int(work.partial[0, 1])
                if rule != NONE:
                    constants(rule, hyper, clip, status[1] + 1, work.constants[thread])
                    apply_update(
                        part, parts, rule, model.cell_start if direct else first, model.dense, gradient.dense, moments,
                        U, sparse, occurring, moments_U, work.constants[thread],
                    )  # fmt: skip
                    output.update(part, parts, rule, model.dense, moments, work.constants[thread, 0], work.softmax)
                output.free(part, parts, work.softmax)
                free_dU_rows(part, parts, sparse, occurring)
            else:
                status[0] += 1
                status[1] += 1
            part = next_part(thread, n_threads, barrier, parts, part)
        end_phase(thread, n_threads, barrier)


@jit
def update_parts(n_threads):
    """In how many parts an update is done; of no consequence for its result."""
    return 1 if n_threads == 1 else UPDATE_PARTS_EACH * n_threads


@jit
def begin(group, n_groups, start, sequences, states):
    """What a group's sequences start from, where states are carried."""
    initial, final = states.initial, states.final
    if start == GIVEN or initial.shape[1] == 0:
        return
    for layer in range(len(initial)):
        for i in range(group, sequences, n_groups):
            if start == CARRIED:
                copy(final[layer, i], initial[layer, i])
            else:
                initial[layer, i, :] = 0


@jit
def total_of(values, count):
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@jit
def assign_dU_rows(tokens, count, sparse, partial):
    """Give every word that occurs a row of dU, if dU has rows; leaves their number in partial[0, 1]."""
    dU_row, words, occurring = sparse.dU_row, sparse.words, 0
    for row in range(count if len(sparse.dU) > 0 else 0):
        word = tokens[row]
        if dU_row[word] < 0:
            dU_row[word] = occurring
            words[occurring] = word
            occurring += 1
    partial[0, 1] = occurring


@jit
def free_dU_rows(part, n_parts, sparse, occurring):
    for i in range(occurring * part // n_parts, occurring * (part + 1) // n_parts):
        sparse.dU_row[sparse.words[i]] = -1


@jit
def rows_gradient(part, n_parts, tokens, count, deltas, sparse, occurring, softmax, dV):
    """Columns of part `part` of the gradient of U, in the rows of the words that occur; added to V's if U is V."""
    dU_row, dU = sparse.dU_row, sparse.dU
    rows = deltas.d_embeddings if deltas.d_embeddings.shape[1] > 0 else deltas.da[0]
    first, last = partition(part, n_parts, rows.shape[1], GRAIN)
    dU[:occurring, first:last] = 0
    for row in range(count):
        if len(dU) > 0:
            add_columns(rows[row], dU[dU_row[tokens[row]]], first, last)
        else:
            output.add_to_dV(softmax, dV, tokens[row], rows[row], first, last)


@jit
def squares(part, n_parts, dense, softmax, dU, occurring, partial):
    """Squared norm of part `part` of a gradient, into partial[part, 0]."""
    first, last = partition(part, n_parts, len(dense), GRAIN)
    first_U, last_U = partition(part, n_parts, occurring * dU.shape[1], GRAIN)
    total = squared_norm(dense, first, last) + squared_norm(ravel(dU), first_U, last_U)
    partial[part, 0] = total + output.squares(part, n_parts, softmax)


@jit
def sum_of_squares(n_parts, partial):
    """The squared norm whose parts `squares` has left."""
    total = 0.0
    for other in range(n_parts):
        total += partial[other, 0]
    return total


@jit
def apply_update(part, n_parts, rule, start, dense, gradient, moments, U, sparse, occurring, moments_U, own):
    """Part `part` of the step, on the dense parameters from `start` on and the rows of U that occur."""
    first, last = partition(part, n_parts, len(dense) - start, GRAIN)
    update(rule, dense, start + first, gradient, start + first, last - first, moments[0], moments[1], own[0])
    rule = RMSPROP if rule == ADAM else rule
    columns, U, dU = U.shape[1], ravel(U), ravel(sparse.dU)
    for i in range(occurring * part // n_parts, occurring * (part + 1) // n_parts):
        update(rule, U, sparse.words[i] * columns, dU, i * columns, columns, moments_U[0], moments_U[1], own[1])


@jit
def score_pass(thread, n_threads, barrier, model, U, segments, ids, bounds, work, nll):
    """nll[t], nats: the cross-entropy of every token t of the segments, in the corpus' order."""
    rows, states, nothing = work.rows, work.states, model.V[:0]
    _pack_all(thread, n_threads, barrier, model, work)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        _run_groups(thread, n_threads, barrier, U, segments, chosen, segments.start[batch], work)
        output_layer(
            thread, n_threads, barrier, model.V, model.c, count, states.state[len(states.state) - 1], rows.targets,
            work.softmax, nothing, model.c[:0], work.deltas.dh, 1.0, 1.0, len(nothing) > 0,
        )  # fmt: skip
        part = next_part(thread, n_threads, barrier, n_threads, -1)
        while part >= 0:
            if part < n_threads:
                for row in range(count * part // n_threads, count * (part + 1) // n_threads):
                    nll[rows.origin[row]] = work.softmax.nll[row]
            part = next_part(thread, n_threads, barrier, n_threads, part)
        end_phase(thread, n_threads, barrier)


@jit
def predict_pass(thread, n_threads, barrier, model, U, segments, ids, bounds, work, best, proba):
    """best[t]: the most probable word after every token t of the segments; proba[t] (N or 0, C): all probabilities."""
    rows, states = work.rows, work.states
    _pack_all(thread, n_threads, barrier, model, work)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        _run_groups(thread, n_threads, barrier, U, segments, chosen, segments.start[batch], work)
        probabilities(
            thread, n_threads, barrier, model.V, model.c, count, states.state[len(states.state) - 1], rows.origin,
            work.softmax, best, proba,
        )  # fmt: skip


@jit
def run_pass(thread, n_threads, barrier, model, U, segments, ids, bounds, work):
    """Run the layers forward; what the last batch leaves behind is in work.states, its last states in states.final."""
    _pack_all(thread, n_threads, barrier, model, work)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        _run_groups(thread, n_threads, barrier, U, segments, chosen, segments.start[batch], work)


@jit
def _pack_all(thread, n_threads, barrier, model, work):
    """A phase: all weights packed in panels, for the forward pass."""
    part = next_part(thread, n_threads, barrier, n_threads, -1)
    while part >= 0:
        if part < n_threads:
            pack_forward(part, n_threads, model, work.cell, work.inputs)
        part = next_part(thread, n_threads, barrier, n_threads, part)
    end_phase(thread, n_threads, barrier)


@jit
def _run_groups(thread, n_threads, barrier, U, segments, chosen, start, work):
    """A phase: all groups of a batch, laid out and run forward."""
    part = next_part(thread, n_threads, barrier, n_threads, -1)
    while part >= 0:
        if part < n_threads:
            steps = pack(
                part, n_threads, segments.x, segments.y, segments.begin, segments.length, chosen, work.rows
            )  # fmt: skip
            begin(part, n_threads, start, len(chosen), work.states)
            run_forward(part, n_threads, work.cell, work.inputs, U, steps, work.rows, work.states, 0.0, 0)
        part = next_part(thread, n_threads, barrier, n_threads, part)
    end_phase(thread, n_threads, barrier)

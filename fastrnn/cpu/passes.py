"""Passes over batches, each run by a whole team: training, scoring, predicting, and running a network for its states.

`ids` (int64) names the segments of all batches, each batch's longest first; batch b takes those from bounds[b] to
bounds[b + 1] - 1.
"""

import numpy as np

from .dropout import batch_key
from .jit import jit
from .output import output_layer, probabilities
from .recurrence import copy, pack, token_count
from .softmax import TOKENS
from .stack import GRAIN, pack_backward, pack_forward, run_backward, run_forward, weights_gradients
from .threads import meet, share
from .update import ADAM, NONE, RMSPROP, SGD, constants, squared_norm, update
from .views import flat
from .workspace import CARRIED, GIVEN


@jit
def train_pass(
    member, size, barrier, model, U, gradient, moments, moments_U, segments, ids, bounds, work,
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
        Of update.py; NONE computes the gradient and leaves the parameters alone.
    hyper : float64[9]
        learning rate, momentum, rho, beta1, beta2, epsilon, largest norm of the gradient (0: no clipping), factor
        of the learning rate on U, dropout.
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
    rows, states, errors, sparse, rate = work.rows, work.states, work.errors, work.sparse, hyper[8]
    L, tied = len(states.prev), len(sparse.dU) == 0
    for batch in range(len(bounds) - 1):
        chosen, key = ids[bounds[batch] : bounds[batch + 1]], batch_key(status[2], status[1])
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        begin(member, size, segments.start[batch], len(chosen), states)
        pack_forward(member, size, model, work.cell, work.inputs)
        pack_backward(member, size, model, errors)
        meet(barrier, size)
        run_forward(member, size, work.cell, work.inputs, U, steps, rows, states, rate, key)
        meet(barrier, size)
        dscale = scale if scale > 0 else 1.0 / len(chosen)
        dh_scale, dV, dc = 1.0, gradient.V, gradient.c
        # Plain SGD in one block needs no gradient of V: its step goes straight into V.
        direct = rule == SGD and hyper[6] == 0 and count <= TOKENS and not tied
        if direct:
            dscale, dh_scale, dV, dc = -hyper[0] * dscale, -1 / hyper[0], model.V, model.c
        top = states.x[L - 1] if rate > 0 else states.state[L - 1]
        if not output_layer(
            member, size, barrier, model.V, model.c, count, top, rows.targets, work.softmax,
            dV, dc, errors.dh, dscale, dh_scale, direct,
        ):  # fmt: skip
            return
        meet(barrier, size)
        run_backward(member, size, work.cell, truncate, steps, rows, states, errors, rate, key)
        if member == 0:
            losses[batch] = total_of(work.softmax.nll, count)
            assign_slots(rows.tokens, count, sparse, work.partial)
        meet(barrier, size)
        occurring, clip = int(work.partial[0, 1]), 1.0
        weights_gradients(member, size, work.cell, gradient, count, states, errors)
        rows_gradient(member, size, rows.tokens, count, errors, sparse, occurring, gradient.V)
        meet(barrier, size)
        if hyper[6] > 0:
            squares(member, size, gradient.dense, sparse.dU, occurring, work.partial)
            meet(barrier, size)
            norm = np.sqrt(sum_of_squares(size, work.partial))
            if not np.isfinite(norm):
                return
            norms[batch] = norm
            clip = min(1.0, hyper[6] / norm) if norm > 0 else 1.0
        if rule != NONE:
            constants(rule, hyper, clip, status[1] + 1, work.constants[member])
            apply_update(
                member, size, rule, model.cell_start if direct else 0, model.dense, gradient.dense, moments, U, sparse,
                occurring, moments_U, work.constants[member],
            )  # fmt: skip
        free_slots(member, size, sparse, occurring)
        meet(barrier, size)
        if member == 0:
            status[0] += 1
            status[1] += 1
        meet(barrier, size)


@jit
def begin(member, size, start, sequences, states):
    """What this member's sequences start from, where states are carried."""
    initial, final = states.initial, states.final
    if start == GIVEN or initial.shape[1] == 0:
        return
    for layer in range(len(initial)):
        for i in range(member, sequences, size):
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
def assign_slots(tokens, count, sparse, partial):
    """Give every word that occurs a row of dU, if dU has rows; leaves their number in partial[0, 1]."""
    slot, words, occurring = sparse.slot, sparse.words, 0
    for row in range(count if len(sparse.dU) > 0 else 0):
        word = tokens[row]
        if slot[word] < 0:
            slot[word] = occurring
            words[occurring] = word
            occurring += 1
    partial[0, 1] = occurring


@jit
def free_slots(member, size, sparse, occurring):
    for i in range(occurring * member // size, occurring * (member + 1) // size):
        sparse.slot[sparse.words[i]] = -1


@jit
def rows_gradient(member, size, tokens, count, errors, sparse, occurring, dV):
    """This member's columns of the gradient of U, in the rows of the words that occur; added to V's if U is V."""
    slot, dU = sparse.slot, sparse.dU
    rows = errors.dwords if errors.dwords.shape[1] > 0 else errors.da[0]
    first, last = share(member, size, rows.shape[1], GRAIN)
    dU[:occurring, first:last] = 0
    for row in range(count):
        total, d = dU[slot[tokens[row]]] if len(dU) > 0 else dV[tokens[row]], rows[row]
        for j in range(first, last):
            total[j] += d[j]


@jit
def squares(member, size, dense, dU, occurring, partial):
    """This member's part of a gradient's squared norm, into partial[member, 0]."""
    first, last = share(member, size, len(dense), GRAIN)
    first_U, last_U = share(member, size, occurring * dU.shape[1], GRAIN)
    partial[member, 0] = squared_norm(dense, first, last) + squared_norm(flat(dU), first_U, last_U)


@jit
def sum_of_squares(size, partial):
    """The squared norm whose parts `squares` has left; the team must have met since."""
    total = 0.0
    for other in range(size):
        total += partial[other, 0]
    return total


@jit
def apply_update(member, size, rule, start, dense, gradient, moments, U, sparse, occurring, moments_U, own):
    """This member's share of the step, on the dense parameters from `start` on and the rows of U that occur."""
    first, last = share(member, size, len(dense) - start, GRAIN)
    update(rule, dense, start + first, gradient, start + first, last - first, moments[0], moments[1], own[0])
    rule = RMSPROP if rule == ADAM else rule
    columns, U, dU = U.shape[1], flat(U), flat(sparse.dU)
    for i in range(occurring * member // size, occurring * (member + 1) // size):
        update(rule, U, sparse.words[i] * columns, dU, i * columns, columns, moments_U[0], moments_U[1], own[1])


@jit
def score_pass(member, size, barrier, model, U, segments, ids, bounds, work, nll):
    """nll[t], nats: the cross-entropy of every token t of the segments, in the corpus' order."""
    rows, states, nothing = work.rows, work.states, model.V[:0]
    pack_forward(member, size, model, work.cell, work.inputs)
    meet(barrier, size)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        begin(member, size, segments.start[batch], len(chosen), states)
        run_forward(member, size, work.cell, work.inputs, U, steps, rows, states, 0.0, 0)
        meet(barrier, size)
        output_layer(
            member, size, barrier, model.V, model.c, count, states.state[len(states.state) - 1], rows.targets,
            work.softmax, nothing, model.c[:0], work.errors.dh, 1.0, 1.0, len(nothing) > 0,
        )  # fmt: skip
        for row in range(count * member // size, count * (member + 1) // size):
            nll[rows.origin[row]] = work.softmax.nll[row]
        meet(barrier, size)


@jit
def predict_pass(member, size, barrier, model, U, segments, ids, bounds, work, best, proba):
    """best[t]: the most probable word after every token t of the segments; proba[t] (N or 0, C): all probabilities."""
    rows, states = work.rows, work.states
    pack_forward(member, size, model, work.cell, work.inputs)
    meet(barrier, size)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        begin(member, size, segments.start[batch], len(chosen), states)
        run_forward(member, size, work.cell, work.inputs, U, steps, rows, states, 0.0, 0)
        meet(barrier, size)
        probabilities(
            member, size, barrier, model.V, model.c, count, states.state[len(states.state) - 1], rows.origin,
            work.softmax, best, proba,
        )  # fmt: skip


@jit
def run_pass(member, size, barrier, model, U, segments, ids, bounds, work):
    """Run the layers forward; what the last batch leaves behind is in work.states, its last states in states.final."""
    rows = work.rows
    pack_forward(member, size, model, work.cell, work.inputs)
    meet(barrier, size)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        begin(member, size, segments.start[batch], len(chosen), work.states)
        run_forward(member, size, work.cell, work.inputs, U, steps, rows, work.states, 0.0, 0)
        meet(barrier, size)

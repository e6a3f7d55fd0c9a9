"""Passes over batches, each run by a whole team: training, scoring, predicting.

`ids` (int64) names the segments of all batches, each batch's longest first; batch b takes those from bounds[b] to
bounds[b + 1] - 1.
"""

import numpy as np

from ..cells.interface import weight_gradients
from .gemm import pack_transposed, pack_weights
from .jit import jit
from .output import TOKENS, output_layer, probabilities
from .recurrence import backward, forward, pack, token_count
from .threads import meet, share
from .update import ADAM, NONE, RMSPROP, SGD, constants, squared_norm, update

# Elements that are divided among members in whole cache lines.
GRAIN = 16


@jit
def train_pass(
    member, size, barrier, model, U, gradient, moments, moments_U, segments, ids, bounds, work,
    rule, hyper, truncate, scale, status, losses, norms,
):  # fmt: skip
    """Train on the batches, in order; stop early if a loss or a gradient is not finite.

    Parameters
    ----------
    model, U : Model and array (C, G*H)
        The parameters; overwritten.
    gradient : Model
        Overwritten with the gradient of the last batch (dense arrays; U's is work.dU, by rows of work.words).
    moments, moments_U : pairs of flat arrays
        First and second moments of the dense parameters and of U, empty where the rule has none; overwritten.
    rule : int
        Of update.py; NONE computes the gradient and leaves the parameters alone.
    hyper : float64[8]
        learning rate, momentum, rho, beta1, beta2, epsilon, largest norm of the gradient (0: no clipping), factor
        of the learning rate on U.
    truncate : int
        k of truncated back-propagation, negative for none.
    scale : float
        Factor of the gradient of the summed cross-entropy; 0: one over the batch's sequences.
    status : int64[2]
        [0] batches done, [1] updates done so far; overwritten.
    losses, norms : float64[batches]
        Summed cross-entropy of each batch before its update, nats; norm of its gradient, where one was
        needed.
    """
    rows, errors = work.rows, work.errors
    starts = rows.starts[member]
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        pack_weights(member, size, model.cell.W, work.cell.W)
        pack_transposed(member, size, model.cell.W, errors.WT)
        meet(barrier, size)
        forward(member, size, work.cell, U, steps, starts, rows.tokens, work.states)
        meet(barrier, size)
        dscale = scale if scale > 0 else 1.0 / len(chosen)
        dh_scale, dV, dc = 1.0, gradient.V, gradient.c
        # Plain SGD in one block needs no gradient of V: its step goes straight into V.
        direct = rule == SGD and hyper[6] == 0 and count <= TOKENS
        if direct:
            dscale, dh_scale, dV, dc = -hyper[0] * dscale, -1 / hyper[0], model.V, model.c
        if not output_layer(
            member, size, barrier, model.V, model.c, count, work.states.state, rows.targets, work.softmax,
            dV, dc, errors.dh, dscale, dh_scale, direct,
        ):  # fmt: skip
            return
        meet(barrier, size)
        backward(
            work.cell, steps, truncate, starts, work.states, errors.dh, errors.da, errors.WT,
            errors.carry[member], errors.scratch[member],
        )  # fmt: skip
        if member == 0:
            losses[batch] = _sum(work.softmax.nll, count)
            work.partial[0, 1] = _assign_slots(rows.tokens, count, work.sparse.slot, work.sparse.words)
        meet(barrier, size)
        occurring = int(work.partial[0, 1])
        _gradients(
            member, size, model.cell, gradient.cell, work.states, errors.da[:count], rows.tokens, occurring,
            work.sparse, errors.packing[member],
        )  # fmt: skip
        meet(barrier, size)
        clip = 1.0
        if hyper[6] > 0:
            norm = _norm(
                member, size, barrier, gradient.dense, work.sparse.dU.ravel(), occurring * U.shape[1], work.partial
            )
            if not np.isfinite(norm):
                return
            norms[batch] = norm
            clip = min(1.0, hyper[6] / norm) if norm > 0 else 1.0
        if rule != NONE:
            start = model.cell_start if direct else 0
            constants(rule, hyper, clip, status[1] + 1, work.constants[member])
            _update(
                member, size, rule, start, model.dense, gradient.dense, moments, U, work.sparse, occurring, moments_U,
                work.constants[member],
            )  # fmt: skip
        for i in range(occurring * member // size, occurring * (member + 1) // size):
            work.sparse.slot[work.sparse.words[i]] = -1
        meet(barrier, size)
        if member == 0:
            status[0] += 1
            status[1] += 1
        meet(barrier, size)


@jit
def _sum(values, count):
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@jit
def _assign_slots(tokens, count, slot, words):
    """Give every word that occurs a row of dU; returns their number."""
    occurring = 0
    for row in range(count):
        word = tokens[row]
        if slot[word] < 0:
            slot[word] = occurring
            words[occurring] = word
            occurring += 1
    return occurring


@jit
def _gradients(member, size, cell, d_cell, states, da, tokens, occurring, sparse, scratch):
    """This member's columns of the gradients of W, b, whatever else the cell owns, and of the rows of U that occur."""
    first, last = share(member, size, da.shape[1], GRAIN)
    if first == last:
        return
    count, slot, dU, db = len(da), sparse.slot, sparse.dU, d_cell.b
    weight_gradients(
        cell, d_cell, states.prev[:count], states.aux[:count], states.state[:count], da, first, last, scratch
    )
    if len(db) > 0:
        db[first:last] = 0
        for row in range(count):
            d = da[row]
            for j in range(first, last):
                db[j] += d[j]
    dU[:occurring, first:last] = 0
    for row in range(count):
        total, d = dU[slot[tokens[row]]], da[row]
        for j in range(first, last):
            total[j] += d[j]


@jit
def _norm(member, size, barrier, dense, dU, count_U, partial):
    """Euclidean norm of the whole gradient."""
    first, last = share(member, size, len(dense), GRAIN)
    first_U, last_U = share(member, size, count_U, GRAIN)
    partial[member, 0] = squared_norm(dense, first, last) + squared_norm(dU, first_U, last_U)
    meet(barrier, size)
    total = 0.0
    for other in range(size):
        total += partial[other, 0]
    return np.sqrt(total)


@jit
def _update(member, size, rule, start, dense, gradient, moments, U, sparse, occurring, moments_U, own):
    """This member's share of the step, on the dense parameters from `start` on and the rows of U that occur."""
    first, last = share(member, size, len(dense) - start, GRAIN)
    update(rule, dense, start + first, gradient, start + first, last - first, moments[0], moments[1], own[0])
    rule = RMSPROP if rule == ADAM else rule
    columns, U, dU = U.shape[1], U.ravel(), sparse.dU.ravel()
    for i in range(occurring * member // size, occurring * (member + 1) // size):
        update(rule, U, sparse.words[i] * columns, dU, i * columns, columns, moments_U[0], moments_U[1], own[1])


@jit
def score_pass(member, size, barrier, model, U, segments, ids, bounds, work, nll):
    """nll[t], nats: the cross-entropy of every token t of the segments, in the corpus' order."""
    rows, nothing = work.rows, model.V[:0]
    pack_weights(member, size, model.cell.W, work.cell.W)
    meet(barrier, size)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        forward(member, size, work.cell, U, steps, rows.starts[member], rows.tokens, work.states)
        meet(barrier, size)
        output_layer(
            member, size, barrier, model.V, model.c, count, work.states.state, rows.targets, work.softmax,
            nothing, model.c[:0], work.errors.dh, 1.0, 1.0, len(nothing) > 0,
        )  # fmt: skip
        for row in range(count * member // size, count * (member + 1) // size):
            nll[rows.origin[row]] = work.softmax.nll[row]
        meet(barrier, size)


@jit
def predict_pass(member, size, barrier, model, U, segments, ids, bounds, work, best, proba):
    """best[t]: the most probable word after every token t of the segments; proba[t] (N or 0, C): all probabilities."""
    rows = work.rows
    pack_weights(member, size, model.cell.W, work.cell.W)
    meet(barrier, size)
    for batch in range(len(bounds) - 1):
        chosen = ids[bounds[batch] : bounds[batch + 1]]
        count = token_count(segments.length, chosen)
        steps = pack(member, size, segments.x, segments.y, segments.begin, segments.length, chosen, rows)
        forward(member, size, work.cell, U, steps, rows.starts[member], rows.tokens, work.states)
        meet(barrier, size)
        probabilities(
            member, size, barrier, model.V, model.c, count, work.states.state, rows.origin, work.softmax,
            best, proba,
        )  # fmt: skip

"""Time loops of one layer: a group of sequences through all of its steps, forward and back.

Sequences are independent, so a thread takes a group of them, sorted by length, through all steps by itself: no barrier
in the loop. There are as many groups as threads, `n_groups`; `group` is the index of one. Its tokens stand in packed
rows, step after step, and within a step the longest sequence first: as sequences end, fewer rows stay active, and
nothing is ever padded.

    rows of step t:  starts[t] ... starts[t+1] - 1;   sequence b of the group at step t:  row starts[t] + b
"""

from ...cells.interface import backward_step, forward_step, layer_of
from ...compiler.jit import jit


@jit
def token_count(length, ids):
    """Number of tokens of the named sequences."""
    count = 0
    for s in ids:
        count += length[s]
    return count


@jit
def steps_of(group, length, ids):
    """Number of steps of a group."""
    return length[ids[group]] if group < len(ids) else 0


@jit
def pack(group, n_groups, x, y, begin, length, ids, rows):
    """Lay out a group: its tokens, targets and the rows of each step. Returns the number of steps.

    The group is every `n_groups`-th sequence of `ids` (int64, longest first), from `group` on.
    """
    origin, tokens, targets, starts = rows.origin, rows.tokens, rows.targets, rows.starts[group]
    starts[0] = 0
    for position in range(len(ids)):
        if position % n_groups < group:
            starts[0] += length[ids[position]]
    count = (len(ids) - group + n_groups - 1) // n_groups
    steps = steps_of(group, length, ids)
    for t in range(steps):
        while length[ids[group + (count - 1) * n_groups]] <= t:
            count -= 1
        for b in range(count):
            token, row = begin[ids[group + b * n_groups]] + t, starts[t] + b
            origin[row], tokens[row], targets[row] = token, x[token], y[token]
        starts[t + 1] = starts[t] + count
    return steps


@jit
def forward(group, n_groups, cell, layer, U, steps, starts, tokens, states):
    """Run the group forward through one layer; fills this group's rows of `states`, in that layer.

    `starts` is the group's own. Where U has rows (C, G*H) a word's row enters the gates; where it has none,
    states.gates already holds all that enters from below. A sequence starts from its row of states.initial (in the
    order of `ids`; zeros where that has no rows) and leaves its last state in states.final, if that has rows.
    """
    own = layer_of(cell, layer)
    prev, gates, aux, state = states.prev[layer], states.gates[layer], states.aux[layer], states.state[layer]
    initial, final = states.initial[layer], states.final[layer]
    for t in range(steps):
        first, last = starts[t], starts[t + 1]
        for row in range(first, last):
            if len(U) > 0:
                embed(U, own.b, tokens[row], gates[row])
            b = row - first
            if t > 0:
                copy(state[starts[t - 1] + b], prev[row])
            elif len(initial) > 0:
                copy(initial[group + b * n_groups], prev[row])
            else:
                prev[row, :] = 0
        forward_step(own, prev[first:last], gates[first:last], aux[first:last], state[first:last])
        if len(final) > 0:
            staying = starts[t + 2] - last if t + 1 < steps else 0
            for row in range(first + staying, last):
                copy(state[row], final[group + (row - first) * n_groups])


@jit
def copy(source, target):
    """target = source, two rows; `source` may be longer."""
    for j in range(len(target)):
        target[j] = source[j]


@jit
def embed(U, b, token, gates):
    """gates = U[token] + b: a one-hot row times U is a row of U."""
    row = U[token]
    if len(b) > 0:
        for j in range(len(row)):
            gates[j] = row[j] + b[j]
    else:
        copy(row, gates)


@jit
def add(source, target):
    """target += source, two rows; `target` may be longer."""
    for j in range(len(source)):
        target[j] += source[j]


@jit
def backward(group, n_groups, cell, layer, steps, starts, states, deltas):
    """Run the group back through one layer from deltas.dh; fills this group's rows of deltas.da, in that layer.

    The errors of the last states, deltas.final, join where sequences end, if there are any; those of the initial
    states are left in deltas.initial, if it has rows.
    """
    own, WT, da, carry = layer_of(cell, layer), deltas.WT[layer], deltas.da[layer], deltas.carry[group, layer, 0]
    prev, gates, aux, state = states.prev[layer], states.gates[layer], states.aux[layer], states.state[layer]
    final, initial = deltas.final[layer], deltas.initial[layer]
    sequences = starts[1] - starts[0] if steps > 0 else 0
    for b in range(sequences):
        if len(final) > 0:
            copy(final[group + b * n_groups], carry[b])
        else:
            carry[b, :] = 0
    for t in range(steps - 1, -1, -1):
        first, last = starts[t], starts[t + 1]
        for b in range(last - first):
            add(deltas.dh[first + b], carry[b])
        backward_step(
            own, WT, prev[first:last], gates[first:last], aux[first:last], state[first:last], carry[: last - first],
            da[first:last],
        )  # fmt: skip
    if len(initial) > 0:
        for b in range(sequences):
            copy(carry[b], initial[group + b * n_groups])


@jit
def backward_at_lag(cell, layer, t, lag, slot, starts, states, deltas, carry, d_gates):
    """One step back through one layer of the errors of the outputs `lag` steps later, which wait in carry[slot].

    Their da is left in d_gates (rows, G*H), and added to what deltas.da holds; for `lag` 0 it is the first.
    """
    first, last = starts[t], starts[t + 1]
    n, da = last - first, deltas.da[layer]
    backward_step(
        layer_of(cell, layer), deltas.WT[layer], states.prev[layer, first:last], states.gates[layer, first:last],
        states.aux[layer, first:last], states.state[layer, first:last], carry[slot, :n], d_gates[:n],
    )  # fmt: skip
    for b in range(n):
        if lag == 0:
            copy(d_gates[b], da[first + b])
        else:
            add(d_gates[b], da[first + b])

"""Time loops: a group of sequences through all of its steps, forward and back.

Sequences are independent, so each member of the team takes a group of them, sorted by length, through all
steps by itself: no barrier in the loop. The group's tokens stand in packed rows, step after step, and
within a step the longest sequence first: as sequences end, fewer rows stay active, and nothing is ever
padded.

    rows of step t:  starts[t] ... starts[t+1] - 1;   sequence b of the group at step t:  row starts[t] + b
"""

from ..cells.interface import backward_step, forward_step
from .jit import jit


@jit
def token_count(length, ids):
    """Number of tokens of the named sequences."""
    count = 0
    for s in ids:
        count += length[s]
    return count


@jit
def pack(member, size, x, y, begin, length, ids, rows):
    """Lay out this member's group: its tokens, targets and the rows of each step. Returns the number of steps.

    The group is every `size`-th sequence of `ids` (int64, longest first), from `member` on.
    """
    origin, tokens, targets, starts = rows.origin, rows.tokens, rows.targets, rows.starts[member]
    starts[0] = 0
    for position in range(len(ids)):
        if position % size < member:
            starts[0] += length[ids[position]]
    count = (len(ids) - member + size - 1) // size
    steps = length[ids[member]] if count > 0 else 0
    for t in range(steps):
        while length[ids[member + (count - 1) * size]] <= t:
            count -= 1
        for b in range(count):
            token, row = begin[ids[member + b * size]] + t, starts[t] + b
            origin[row], tokens[row], targets[row] = token, x[token], y[token]
        starts[t + 1] = starts[t] + count
    return steps


@jit
def forward(member, size, cell, U, steps, starts, tokens, states):
    """Run the group forward; fills this member's rows of `states`.

    `starts` is the member's own. A sequence starts from its row of states.initial (in the order of `ids`;
    zeros where that has no rows) and leaves its last state in states.final, if that has rows.
    """
    prev, gates, aux, state = states.prev, states.gates, states.aux, states.state
    initial, final = states.initial, states.final
    for t in range(steps):
        first, last = starts[t], starts[t + 1]
        for row in range(first, last):
            embed(U, cell.b, tokens[row], gates[row])
            b = row - first
            if t > 0:
                _copy(state[starts[t - 1] + b], prev[row])
            elif len(initial) > 0:
                _copy(initial[member + b * size], prev[row])
            else:
                prev[row, :] = 0
        forward_step(cell, prev[first:last], gates[first:last], aux[first:last], state[first:last])
        if len(final) > 0:
            staying = starts[t + 2] - last if t + 1 < steps else 0
            for row in range(first + staying, last):
                _copy(state[row], final[member + (row - first) * size])


@jit
def _copy(source, target):
    for j in range(len(source)):
        target[j] = source[j]


@jit
def embed(U, b, token, gates):
    """gates = U[token] + b: a one-hot row times U is a row of U."""
    row = U[token]
    if len(b) > 0:
        for j in range(len(row)):
            gates[j] = row[j] + b[j]
    else:
        _copy(row, gates)


@jit
def backward(cell, steps, truncate, starts, states, dh, da, WT, carry, scratch):
    """Run the group back from dh, the output layer's errors; fills this member's rows of da.

    `starts`, `carry` and `scratch` are the member's own. `truncate` is k of truncated back-propagation
    through time, negative for none: the error of output t then reaches steps t ... t-k and no further.
    Being linear in the errors, one sweep does it that carries each output's error by itself, in a ring of k
    + 1 slots; without truncation one slot takes the sum of all.
    """
    H, width = dh.shape[1], states.state.shape[1]
    truncated = 0 <= truncate < steps - 1
    slots = truncate + 1 if truncated else 1
    for slot in range(slots):
        carry[slot, :, :] = 0
    for t in range(steps - 1, -1, -1):
        first, last = starts[t], starts[t + 1]
        n = last - first
        prev, gates = states.prev[first:last], states.gates[first:last]
        aux, state, d_gates = states.aux[first:last], states.state[first:last], da[first:last]
        newest = carry[t % slots]
        for b in range(n):
            error, d = dh[first + b], newest[b]
            if truncated:
                for j in range(width):
                    d[j] = 0
            for j in range(H):
                d[j] += error[j]
        backward_step(cell, WT, prev, gates, aux, state, newest[:n], d_gates)
        if truncated:
            for age in range(1, min(slots, steps - t)):
                backward_step(cell, WT, prev, gates, aux, state, carry[(t + age) % slots][:n], scratch[:n])
                for b in range(n):
                    total, part = d_gates[b], scratch[b]
                    for j in range(len(part)):
                        total[j] += part[j]

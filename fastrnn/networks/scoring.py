"""Passes over all of the data that change nothing, in batches and chunks that bound the memory."""

import itertools

import numpy as np

from ..data.batches import Batches
from ..data.ragged import minibatches
from ..kernels.cpu import passes
from ..kernels.threads import ThreadTeam

# Scoring and predicting go in batches of sequences and, with the state carried, in chunks of steps.
SCORE_SEQUENCES = 64
SCORE_STEPS = 128


def run_in_chunks(network, kernel, x, y, n_threads, states, *out, reduced_precision=True):
    """Run a pass that fills `out` over all of x: long sequences in chunks, so that memory stays bounded."""
    order, bounds = minibatches(x.lengths, SCORE_SEQUENCES)
    lengths = x.lengths[order]
    longest = int(lengths[0])
    steps, sequences = min(longest, SCORE_STEPS), min(len(order), SCORE_SEQUENCES)
    whole = longest <= steps and states is None
    sizes = {"tokens": steps * sequences, "steps": steps, "sequences": sequences, "learn": False}
    sizes["reduced_precision"] = reduced_precision
    with ThreadTeam(n_threads) as team:
        work = network.workspace(team.n_threads, carried=0 if whole else sequences, **sizes)
        if whole:
            network.run(team, kernel, Batches.whole(x, y, order, bounds), work, *out)
            return
        for first, last in itertools.pairwise(bounds):
            chosen, initial = order[first:last], work.states.initial
            network.write_states(initial, 0 if states is None else states[:, chosen], last - first)
            for t in range(0, int(lengths[first]), steps):
                active = chosen[lengths[first:last] > t]
                chunk = Batches.whole(x, y, active, np.array([0, len(active)]), given=True).chunk(t, steps)
                network.run(team, kernel, chunk, work, *out)
                network.copy_states(work.states.final, initial)
            if states is not None:
                states[:, chosen] = network.read(initial)[:, : last - first]


def activations(network, x):
    """See `Network.activations`."""
    longest, found = int(x.lengths.max()), []
    work = network.workspace(1, reduced_precision=False, tokens=longest, steps=longest, sequences=1, learn=False)
    with ThreadTeam(1) as team:
        for i in range(len(x)):  # alone in its batch, so that its rows stand in order
            batch = Batches.whole(x, x, np.array([i]), np.array([0, 1]))
            team.run(passes.run_pass, network.model, network.U, *batch, work)
            length, layers = int(x.lengths[i]), range(network.num_layers)
            found.append([_activations_by_name(network, work.states, layer, length) for layer in layers])
    return found


def _activations_by_name(network, states, layer, length):
    """Copies of the first rows of a layer's states and gates, by name."""
    H, cell = network.hidden_dim, network.cell_class
    parts = ((cell.STATE_NAMES, states.state[layer]), (cell.GATE_NAMES, states.gates[layer]))
    return {name: array[:length, k * H : (k + 1) * H].copy() for names, array in parts for k, name in enumerate(names)}

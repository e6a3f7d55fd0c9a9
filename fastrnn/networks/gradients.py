"""Gradients over all of the data, and not by batches: their sum, and what stands for an optimiser meanwhile."""

import numpy as np

from ..data.batches import Batches
from ..data.ragged import minibatches
from ..kernels.cpu.optimizers import NONE, Hyperparameters
from ..kernels.threads import ThreadTeam

SEQUENCES = 64  # of a batch


def mean_gradients(network, x, y, truncate, n_threads, states):
    """See `Network.gradients`."""
    order, bounds = minibatches(x.lengths, SEQUENCES)
    batches = Batches.whole(x, y, order, bounds, given=states is not None)
    total, nothing, loss = GradientSum(network), NoOptimizer(network.dtype), 0.0
    d_states = None if states is None else np.full_like(states, np.nan)
    carried = 0 if states is None else batches.sizes()["sequences"]
    with ThreadTeam(n_threads) as team:
        work = network.workspace(
            team.n_threads, **batches.sizes(), learn=True, truncate=truncate, carried=carried, carried_deltas=carried
        )
        network.write_states(work.deltas.final, 0, carried)
        for b in range(batches.count):
            chosen = order[bounds[b] : bounds[b + 1]]
            if states is not None:
                network.write_states(work.states.initial, states[:, chosen], len(chosen))
            losses, _ = network.train(
                team, batches[b : b + 1], work, total.gradient, nothing, truncate, 1 / len(x.values)
            )
            if len(losses) == 0:  # not finite, and so left off before the gradients
                loss = np.nan
                total.fill_nan()
                break
            loss += losses.sum()
            total.add(work, x[chosen].values)
            if states is not None:
                d_states[:, chosen] = network.read(work.deltas.initial)[:, : len(chosen)]
    return loss / len(x.values), total.as_dict() | ({} if states is None else {"initial_state": d_states})


class GradientSum:
    """The sum of a network's gradients over batches.

    Attributes
    ----------
    gradient : fastrnn.kernels.cpu.workspace.Model
        Where the kernels leave that of one batch.
    """

    def __init__(self, network):
        self.gradient, self._total, self._network = network.gradient_like(), network.dense_like(), network
        self._dU = self._total.V if network.tie_weights else np.zeros_like(network.U)

    def add(self, work, words):
        """Add that of the batch that was done last, in which `words` occurred."""
        dense, words, dU = self._network.read_gradient(self.gradient, work, words)
        self._total.dense[:] += dense
        if not self._network.tie_weights:
            self._dU[words] += dU

    def fill_nan(self):
        """Set all to NaN: a loss was not finite."""
        self._total.dense[:], self._dU[:] = np.nan, np.nan

    def as_dict(self):
        """{public name: array in its public shape}."""
        named = self._network.layout.by_name(self._total, self._dU)
        return {name: np.ascontiguousarray(array) for name, array in named.items()}


class NoOptimizer:
    """Stands where an optimizer does when only gradients are wanted."""

    def __init__(self, dtype):
        empty = np.empty(0, dtype)
        self.rule, self.hyper, self.updates, self.seed = NONE, Hyperparameters(), 0, 0
        self.moments = [((empty, empty), (empty, empty))] * 2

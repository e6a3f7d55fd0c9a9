"""An encoder and a decoder, and passes over pairs of sequences: losses, gradients, training batches."""

import itertools
from typing import NamedTuple

import numpy as np

from ..data.batches import Batches
from ..data.ragged import Ragged, minibatches
from ..kernels.cpu import encoder_decoder
from ..kernels.threads import ThreadTeam
from .gradients import SEQUENCES, GradientSum, NoOptimizer
from .network import Network
from .parameters import Parameters


class Pairs(NamedTuple):
    """Sources, and what the decoder reads and is to predict; sequence i of each belongs together."""

    source: Ragged
    x: Ragged
    y: Ragged


class PairBatches(NamedTuple):
    """Batches of pairs as the kernels take them.

    Attributes
    ----------
    encoder, decoder : Batches
        Batch b of each holds the same pairs; `bounds` are the same.
    source_slot : int64 array
        Like decoder.ids: position, within the encoder's batch, of the source of each target.
    """

    encoder: Batches
    decoder: Batches
    source_slot: np.ndarray

    @classmethod
    def of(cls, data, batch_size, rng=None):
        """Batches of like length, shuffled by `rng`: by the length of the target, then of the source."""
        source, x, y = data.source, data.x, data.y
        order, bounds = minibatches(x.lengths * (source.lengths.max() + 1) + source.lengths, batch_size, rng)
        source_order, source_slot = np.empty_like(order), np.empty_like(order)
        for first, last in itertools.pairwise(bounds):
            by_length = np.argsort(-source.lengths[order[first:last]], kind="stable")
            source_order[first:last] = order[first:last][by_length]
            source_slot[first:last][by_length] = np.arange(last - first)
        encoder = Batches.whole(source, source, source_order, bounds)
        return cls(encoder, Batches.whole(x, y, order, bounds, given=True), source_slot)


class PairNetwork:
    """An encoder and a decoder with parameters of their own.

    Parameters
    ----------
    source_size, target_size : int
        Words of each side.
    cell, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights, peepholes, zeros
        As in `Network`, for both sides; the encoder has no V with which to tie its embedding.
    """

    device = "cpu"
    _network_class = Network

    def __init__(self, cell, source_size, target_size, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights,
                 peepholes=True, zeros=np.zeros):  # fmt: skip
        deep = {"num_layers": num_layers, "embedding_dim": embedding_dim, "peepholes": peepholes, "zeros": zeros}
        make = self._network_class
        self.encoder = make(cell, source_size, hidden_dim, bias, dtype, **deep, output=False)
        self.decoder = make(cell, target_size, hidden_dim, bias, dtype, **deep, tie_weights=tie_weights)
        self._join()

    def _join(self):
        self.networks, self.dtype = (self.encoder, self.decoder), self.decoder.dtype
        self.params = Parameters(lambda: _joined(self.encoder.params, self.decoder.params))

    def writable(self):
        """Itself, with weights that may be written to: see `Network.writable`."""
        for network in self.networks:
            network.writable()
        return self

    def arrays(self):
        """{public name: array}, to be read only; `params` are those that may be written to."""
        return _joined(self.encoder.arrays(), self.decoder.arrays())

    def not_finite(self):
        """Public names of the parameters that hold NaN or infinity."""
        return [name for name, array in self.arrays().items() if not np.isfinite(array).all()]

    def __getstate__(self):
        return {"encoder": self.encoder, "decoder": self.decoder}

    def __setstate__(self, state):
        self.encoder, self.decoder = state["encoder"], state["decoder"]
        self._join()

    def clone_as(self, pair_class):
        """A copy of another class: for another device."""
        copy = pair_class.__new__(pair_class)
        sides = (self.encoder, self.decoder)
        copy.encoder, copy.decoder = (network.clone_as(pair_class._network_class) for network in sides)
        copy._join()
        return copy

    @property
    def vocab_size(self):
        """Words of the source's side and of the target's."""
        return self.encoder.vocab_size, self.decoder.vocab_size

    def constructor_params(self):
        """Parameters of the estimators with which it was made: {name: value}."""
        return self.decoder.constructor_params()

    def initialise(self, rng, init="default", scale=None):
        """As `Network.initialise`, the encoder first."""
        for network in self.networks:
            network.initialise(rng, init, scale)

    def is_finite(self):
        """Whether no parameter is NaN or infinite."""
        return all(network.is_finite() for network in self.networks)

    def snapshot(self):
        """A copy of all parameters, for `restore`."""
        return (*self.encoder.snapshot(), *self.decoder.snapshot())

    def restore(self, snapshot):
        """Put back what `snapshot` returned."""
        self.encoder.restore(snapshot[:2])
        self.decoder.restore(snapshot[2:])

    def on_host(self, snapshot):
        """A snapshot as NumPy arrays, which `restore` takes as well."""
        return (*self.encoder.on_host(snapshot[:2]), *self.decoder.on_host(snapshot[2:]))

    def gradient_like(self):
        """Memory for the kernels to leave the gradients of both sides in."""
        return tuple(network.gradient_like() for network in self.networks)

    def training_workspace(self, n_threads, batches, dropout=False, strata=None):
        """Memory for training on the given batches, for both sides; `strata` of the target's words as in `Network`."""
        works = []
        for network, side in zip(self.networks, (batches.encoder, batches.decoder), strict=True):
            sizes = side.sizes()
            carried = {"carried": sizes["sequences"], "carried_deltas": sizes["sequences"]}
            if network.output and strata is not None:
                carried["strata"] = strata
            works.append(network.workspace(n_threads, **sizes, **carried, learn=True, dropout=dropout))
        final = works[1].deltas.final
        self.decoder.write_states(final, 0, final.shape[1])  # nothing comes after the target
        return works

    def train(self, team, batches, first, last, works, gradients, optimizer, scale=0.0):
        """Train on batches first..last - 1, see `fastrnn.kernels.cpu.encoder_decoder.train_pairs`.

        Returns
        -------
        losses, norms : float64 arrays
            As of `Network.train`.
        """
        args = [
            encoder_decoder.NetworkArgs(network.model, network.U, gradient, *moments, side.segments, side.ids, work)
            for network, gradient, moments, side, work in zip(
                self.networks, gradients, optimizer.moments, (batches.encoder, batches.decoder), works, strict=True
            )
        ]
        losses, norms = np.empty(last - first), np.full(last - first, np.nan)
        status = np.array([0, optimizer.updates, optimizer.seed], np.int64)
        bounds = batches.decoder.bounds[first : last + 1]
        try:
            team.run(
                encoder_decoder.train_pairs, *args, bounds, batches.source_slot, optimizer.rule, optimizer.hyper,
                float(scale),
                status, losses, norms,
            )  # fmt: skip
        finally:  # a Ctrl-C comes after the batches: they count
            done, optimizer.updates = int(status[0]), int(status[1])
        return losses[:done], norms[:done]

    def states(self, source, n_threads):
        """The states (L, B, S*H) in which the encoder ends: what the decoder starts from."""
        return self.encoder.last_states(source, n_threads)

    def token_losses(self, data, n_threads):
        """Cross-entropy of every token of data.y, nats: array (N,)."""
        return self.decoder.token_losses(data.x, data.y, n_threads, self.states(data.source, n_threads))

    def gradients(self, data, n_threads):
        """Mean cross-entropy per target token, and its gradients: (float, {public name: array in its public shape})."""
        batches = PairBatches.of(data, SEQUENCES)
        totals, nothing, loss = [GradientSum(network) for network in self.networks], NoOptimizer(self.dtype), 0.0
        gradients = [total.gradient for total in totals]
        with ThreadTeam(n_threads) as team:
            works = self.training_workspace(team.n_threads, batches)
            for b in range(batches.encoder.count):
                losses, _ = self.train(team, batches, b, b + 1, works, gradients, nothing, 1 / len(data.x.values))
                if len(losses) == 0:
                    loss = np.nan
                    for total in totals:
                        total.fill_nan()
                    break
                loss += losses.sum()
                chosen = batches.decoder.ids[batches.decoder.bounds[b] : batches.decoder.bounds[b + 1]]
                for total, work, part in zip(totals, works, (data.source, data.x), strict=True):
                    total.add(work, part[chosen].values)
        return loss / len(data.x.values), _joined(*(total.as_dict() for total in totals))


def _joined(encoder, decoder):
    sides = {"encoder": encoder, "decoder": decoder}
    return {f"{side}.{name}": array for side, arrays in sides.items() for name, array in arrays.items()}

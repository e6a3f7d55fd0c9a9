"""What the training loop trains: a network with its data, cut into the batches of an epoch."""

from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np

from ..data.batches import Batches
from ..data.ragged import minibatches, streams
from ..kernels.cpu.layers.sampled_softmax import Strata
from ..networks.encoder_decoder import PairBatches
from ..networks.gradients import NoOptimizer


class Task:
    """What is the same whatever the data are.

    Attributes
    ----------
    network : Network or PairNetwork
    tokens : int64 array
        Of every batch of the epoch.
    sampled : bool
        Whether the output layer learns on a sample of the words.
    """

    @property
    def sampled(self):
        return self._strata is not None

    def is_finite(self):
        """Whether all weights are."""
        return self.network.is_finite()

    def first_loss(self, team):
        """Mean cross-entropy per token, nats, of the epoch's first batch at the present weights; NaN if it diverges."""
        losses, _ = self.train(team, 0, 1, NoOptimizer(self.network.dtype))
        return losses[0] / self.tokens[0] if len(losses) else np.nan

    def snapshot(self):
        """A copy of the weights: a tuple of arrays, for `restore`."""
        return self.network.snapshot()

    def on_host(self, snapshot):
        """A snapshot as NumPy arrays, which `restore` takes as well."""
        return self.network.on_host(snapshot)

    def restore(self, snapshot):
        """Put back the weights."""
        self.network.restore(snapshot)

    def carried(self):
        """Arrays that go on from batch to batch within an epoch."""
        return []

    def set_carried(self, arrays):
        """Go on from other such arrays."""


# How an output layer learns.
OUTPUTS = ("softmax", "sampled")


def sample_size(output, n_sampled, vocab_size):
    """Words on a sample of which an output layer learns at each update; None: on all.

    By default 9 sqrt(C), 805 of 8,000: there the perplexity on held-out text after one and two epochs was within 2 % of
    the full softmax's (bench/RESULTS.md). Of few words a sample would save nothing.
    """
    if output == "softmax":
        return None
    n_sampled = n_sampled or round(9 * vocab_size**0.5)
    return n_sampled if n_sampled < vocab_size else None


def strata_of(targets, vocab_size, n_sampled):
    """From what a sampled output layer draws its words; None if n_sampled is."""
    return None if n_sampled is None else Strata.of(np.bincount(targets, minlength=vocab_size), n_sampled)


class LanguageTask(Task):
    """Predicting the next index of sequences.

    Parameters
    ----------
    network : Network
    x, y : Ragged
        Training data.
    validation : (Ragged, Ragged) or None
    batch_size : int
    chunk_len : int or None
    truncate : int
        k of truncated back-propagation, negative for none.
    n_threads : int
    dropout : bool
        Whether the optimizer that is to come drops anything.
    n_sampled : int or None
        Words on a sample of which the output layer learns; None: on all.
    """

    def __init__(
        self, network, x, y, validation, *, batch_size, chunk_len, truncate, n_threads, dropout, n_sampled=None
    ):
        self.network, self.x, self.y, self.validation = network, x, y, validation
        self.batch_size, self.chunk_len, self.truncate, self.n_threads = batch_size, chunk_len, truncate, n_threads
        self.dropout, self._strata = dropout, strata_of(y.values, network.vocab_size, n_sampled)
        self._gradient = network.gradient_like()

    def begin_epoch(self, rng, n_threads):
        """Draw the batches of an epoch from `rng`, for a team of `n_threads`; returns the tokens of each: int64."""
        self._batches = self._draw(rng)
        self._work = self.network.writable().training_workspace(
            n_threads, self._batches, self.truncate, self.dropout, self._strata
        )
        self.tokens = self._batches.tokens
        return self.tokens

    def _draw(self, rng):
        x, y = self.x, self.y
        if self.chunk_len is None:
            return Batches.whole(x, y, *minibatches(x.lengths, self.batch_size, rng))
        begin, length = streams(x.offsets, self.batch_size, self.chunk_len)
        return Batches.chunked(x, y, begin, length, *minibatches(length, self.batch_size, rng), self.chunk_len)

    def carried(self):
        """Arrays that go on from batch to batch within an epoch: states of chunked streams."""
        return [self.network.read(self._work.states.final)]

    def set_carried(self, arrays):
        """Go on from other such arrays."""
        final = self._work.states.final
        self.network.write_states(final, arrays[0], final.shape[1])

    def train(self, team, first, last, optimizer):
        """Train on the epoch's batches from `first` to `last` - 1.

        Returns
        -------
        losses, norms : float64 arrays
            Summed cross-entropy of each batch, nats, and its gradient's norm or NaN. Shorter than the batches if
            one was not finite.
        """
        return self.network.train(team, self._batches[first:last], self._work, self._gradient, optimizer, self.truncate)

    def noise(self, batch, deviation, rng):
        """A context in which the weights that batch number `batch` uses have Gaussian noise."""
        if not deviation:
            return nullcontext()
        return self.network.noise(self._batches.words(batch), deviation, rng)

    def training_loss(self):
        """Mean cross-entropy per token of the training data, nats."""
        return self._loss(self.x, self.y)

    def validation_loss(self):
        """The same of the validation data; None if there are none."""
        return None if self.validation is None else self._loss(*self.validation)

    def _loss(self, x, y):
        return float(self.network.token_losses(x, y, self.n_threads).mean(dtype=np.float64))


class PairTask(Task):
    """Predicting targets from sources, by an encoder and a decoder; for the training loop as `LanguageTask`.

    Parameters
    ----------
    network : PairNetwork
    pairs : Pairs
        Training data.
    validation : Pairs or None
    batch_size, n_threads : int
    dropout : bool
    n_sampled : int or None
        As of `LanguageTask`, of the target's words.
    """

    def __init__(self, network, pairs, validation, *, batch_size, n_threads, dropout, n_sampled=None):
        self.network, self.pairs, self.validation = network, pairs, validation
        self.batch_size, self.n_threads, self.dropout = batch_size, n_threads, dropout
        self._strata = strata_of(pairs.y.values, network.decoder.vocab_size, n_sampled)
        self._gradients = network.gradient_like()

    def begin_epoch(self, rng, n_threads):
        """Draw the batches of an epoch from `rng`, for a team of `n_threads`; returns the target tokens of each."""
        self._batches = PairBatches.of(self.pairs, self.batch_size, rng)
        self._works = self.network.writable().training_workspace(n_threads, self._batches, self.dropout, self._strata)
        self.tokens = self._batches.decoder.tokens
        return self.tokens

    def train(self, team, first, last, optimizer):
        """Train on the epoch's batches from `first` to `last` - 1: losses and norms, as `LanguageTask.train`."""
        return self.network.train(team, self._batches, first, last, self._works, self._gradients, optimizer)

    @contextmanager
    def noise(self, batch, deviation, rng):
        """A context in which the weights that batch number `batch` uses have Gaussian noise."""
        with ExitStack() as stack:
            if deviation:
                for network, side in zip(
                    self.network.networks, (self._batches.encoder, self._batches.decoder), strict=True
                ):
                    stack.enter_context(network.noise(side.words(batch), deviation, rng))
            yield

    def training_loss(self):
        """Mean cross-entropy per target token of the training data, nats."""
        return self._loss(self.pairs)

    def validation_loss(self):
        """The same of the validation data; None if there are none."""
        return None if self.validation is None else self._loss(self.validation)

    def _loss(self, pairs):
        return float(self.network.token_losses(pairs, self.n_threads).mean(dtype=np.float64))

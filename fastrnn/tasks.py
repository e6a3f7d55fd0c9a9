"""What the training loop trains: a network with its data, cut into the batches of an epoch."""

from contextlib import nullcontext

import numpy as np

from .network import NoOptimizer
from .ragged import minibatches


class LanguageTask:
    """Predicting the next index of sequences. The training loop needs these methods, whatever the data are.

    Parameters
    ----------
    network : Network
    x, y : Ragged
        Training data.
    validation : (Ragged, Ragged) or None
    batch_size : int
    truncate : int
        k of truncated back-propagation, negative for none.
    n_threads : int
    """

    def __init__(self, network, x, y, validation, *, batch_size, truncate, n_threads):
        self.network, self.x, self.y, self.validation = network, x, y, validation
        self.batch_size, self.truncate, self.n_threads = batch_size, truncate, n_threads
        self._gradient = network.dense_like()

    def begin_epoch(self, rng, members):
        """Draw the batches of an epoch from `rng`, for a team of `members`; returns the tokens of each: int64."""
        self._order, self._bounds = minibatches(self.x.lengths, self.batch_size, rng)
        self._work = self.network.training_workspace(members, self.x, self._order, self._bounds, self.truncate)
        self._tokens = np.add.reduceat(self.x.lengths[self._order], self._bounds[:-1])
        return self._tokens

    def train(self, team, first, last, optimizer):
        """Train on the epoch's batches from `first` to `last` - 1.

        Returns
        -------
        losses, norms : float64 arrays
            Summed cross-entropy of each batch, nats, and its gradient's norm or NaN. Shorter than the batches if
            one was not finite.
        """
        bounds = self._bounds[first : last + 1]
        return self.network.train(
            team, self.x, self.y, self._order, bounds, self._work, self._gradient, optimizer, self.truncate
        )

    def first_loss(self, team):
        """Mean cross-entropy a token, nats, of the epoch's first batch at the present weights; NaN if it diverges."""
        losses, _ = self.train(team, 0, 1, NoOptimizer(self.network.dtype))
        return losses[0] / self._tokens[0] if len(losses) else np.nan

    def noise(self, batch, deviation, rng):
        """A context in which the weights that batch number `batch` uses have Gaussian noise."""
        if not deviation:
            return nullcontext()
        ids = self._order[self._bounds[batch] : self._bounds[batch + 1]]
        return self.network.noise(np.unique(self.x[ids].values), deviation, rng)

    def training_loss(self):
        """Mean cross-entropy a token of the training data, nats."""
        return self._loss(self.x, self.y)

    def validation_loss(self):
        """The same of the validation data; None if there are none."""
        return None if self.validation is None else self._loss(*self.validation)

    def _loss(self, x, y):
        return float(self.network.token_losses(x, y, self.n_threads).mean(dtype=np.float64))

    def is_finite(self):
        """Whether all weights are."""
        return self.network.is_finite()

    def snapshot(self):
        """A copy of the weights: a tuple of arrays, for `restore`."""
        return self.network.snapshot()

    def restore(self, snapshot):
        """Put back the weights."""
        self.network.restore(snapshot)

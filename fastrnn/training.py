"""Training: epochs of shuffled minibatches, the learning rate's schedule, progress, and what to do on divergence."""

import logging
import sys
import time

import numpy as np

from .batches import Batches
from .cpu.threads import Team
from .cpu.update import ADAM, MOMENTUM, RMSPROP, SGD
from .errors import DivergenceError
from .ragged import minibatches, streams

OPTIMIZERS = ("sgd", "rmsprop", "adam")
LEARNING_RATES = {"sgd": 0.5, "rmsprop": 0.003, "adam": 0.005}
SCHEDULES = ("constant", "halve")
RHO, BETA1, BETA2 = 0.9, 0.9, 0.999
EPSILON = 1e-8
# Factor of the learning rate on U, measured at 100 units. Where rates are relative to the gradient's size, one step
# moves a gate as a dense embedding of H numbers would, through all of them, and not as one number: about sqrt(H) / 2.
U_RATE = {"sgd": 1.0, "rmsprop": 4.0, "adam": 4.0}
# Between two looks at the progress bar, and at Ctrl-C.
SECONDS_PER_RUN = 0.2

logger = logging.getLogger("fastrnn")


class Optimizer:
    """State of an optimiser: its rule, constants and moments.

    Parameters
    ----------
    name : {"sgd", "rmsprop", "adam"}
    learning_rate, momentum : float
        Momentum is of "sgd" only.
    clip_norm : float or None
        Largest Euclidean norm of the gradient.
    network : Network
        Whose parameters it will update; the moments lie like these.
    dropout : float
        Share of what layers hand up that is dropped in training.
    seed : int
        Of dropout's masks.
    """

    def __init__(self, name, learning_rate, momentum, clip_norm, network, dropout=0.0, seed=0):
        self.rule = {"sgd": MOMENTUM if momentum else SGD, "rmsprop": RMSPROP, "adam": ADAM}[name]
        self.hyper = np.array([learning_rate, momentum, RHO, BETA1, BETA2, EPSILON, clip_norm or 0.0, 1.0, dropout])
        if not network.embedding_dim:
            self.hyper[7] = U_RATE[name]
        self.updates, self.seed = 0, seed

        def moments(rule, size):
            first = size if rule in (MOMENTUM, ADAM) else 0
            second = size if rule in (RMSPROP, ADAM) else 0
            return np.zeros(first, network.dtype), np.zeros(second, network.dtype)

        self.moments = moments(self.rule, network.model.dense.size)
        rule_U = RMSPROP if self.rule == ADAM else self.rule
        self.moments_U = moments(rule_U, 0 if network.tie_weights else network.U.size)

    @property
    def learning_rate(self):
        return float(self.hyper[0])

    @learning_rate.setter
    def learning_rate(self, value):
        self.hyper[0] = value


class History:
    """What happened in training so far.

    Attributes
    ----------
    losses : list of float
        Mean cross-entropy a token of every epoch, nats, each batch's taken before its update.
    evaluations : list of (int, float)
        Epochs done, and the loss on all training data at that moment (schedule "halve").
    """

    def __init__(self):
        self.losses, self.evaluations = [], []


def train(network, optimizer, history, x, y, *, epochs, batch_size, chunk_len, truncate, schedule, evaluate_every, rng,
          n_threads, verbose):  # fmt: skip
    """Train for a number of epochs; appends to `history`.

    Ctrl-C ends it early: what was learned stays, and a line is logged.

    Raises
    ------
    DivergenceError
        A loss or gradient is not finite; the weights are put back to those before that epoch.
    """
    with Team(n_threads) as team:
        gradient = network.dense_like()
        try:
            for _ in range(epochs):
                if schedule == "halve" and len(history.losses) % evaluate_every == 0:
                    _halve_if_risen(network, optimizer, history, x, y, n_threads)
                _epoch(network, optimizer, history, x, y, team, gradient, batch_size, chunk_len, truncate, rng, verbose)
        except KeyboardInterrupt:
            logger.warning(
                "interrupted after %d full epochs and %d updates: the model keeps what it has learned",
                len(history.losses), optimizer.updates,
            )  # fmt: skip


def _halve_if_risen(network, optimizer, history, x, y, n_threads):
    """The tutorial's schedule: evaluate the loss on all training data, halve the learning rate if it rose."""
    loss = float(network.token_losses(x, y, n_threads).mean(dtype=np.float64))
    if history.evaluations and loss > history.evaluations[-1][1]:
        optimizer.learning_rate /= 2
    history.evaluations.append((len(history.losses), loss))


def training_batches(x, y, batch_size, chunk_len, rng):
    """An epoch's batches in random order, of whole sequences, or of chunks of streams."""
    if chunk_len is None:
        return Batches.whole(x, y, *minibatches(x.lengths, batch_size, rng))
    begin, length = streams(x.offsets, batch_size, chunk_len)
    return Batches.chunked(x, y, begin, length, *minibatches(length, batch_size, rng), chunk_len)


def _epoch(network, optimizer, history, x, y, team, gradient, batch_size, chunk_len, truncate, rng, verbose):
    batches = training_batches(x, y, batch_size, chunk_len, rng)
    tokens, dropout = batches.tokens, bool(optimizer.hyper[8])
    work = network.training_workspace(team.size, batches, truncate, dropout)
    before = network.snapshot()
    epoch, total, seen = len(history.losses) + 1, 0.0, 0
    with _progress(f"epoch {epoch}", len(x.values), verbose) as bar:
        first, count = 0, 1
        while first < batches.count:
            last = min(batches.count, first + count)
            start = time.perf_counter()
            losses, _ = network.train(team, batches[first:last], work, gradient, optimizer, truncate)
            seconds = time.perf_counter() - start
            if len(losses) < last - first:
                network.restore(before)
                raise _diverged(f"the loss or gradient of batch {first + len(losses) + 1}", epoch, optimizer)
            done = int(tokens[first:last].sum())
            total, seen = total + float(losses.sum()), seen + done
            bar.set_postfix_str(f"loss {total / seen:.3f}, {done / seconds:,.0f} tokens/s", refresh=False)
            bar.update(done)
            count = max(1, int((last - first) * min(4.0, SECONDS_PER_RUN / seconds)))
            first = last
    if not network.is_finite():
        network.restore(before)
        raise _diverged("a weight", epoch, optimizer)
    history.losses.append(total / seen)


def _diverged(what, epoch, optimizer):
    return DivergenceError(
        f"training diverged: {what} of epoch {epoch} is not finite; the weights are those before that epoch."
        f" Lower learning_rate (found {optimizer.learning_rate:g}) or clip_norm"
    )


def _progress(title, tokens, verbose):
    """A bar over the tokens of an epoch, on standard error, with the loss and tokens a second."""
    from tqdm import tqdm

    return tqdm(
        total=tokens, desc=title, disable=not verbose, unit_scale=True, file=sys.stderr,
        bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} tokens{postfix}, {elapsed}",
    )  # fmt: skip

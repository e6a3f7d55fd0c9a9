"""The training loop: epochs of batches, validation, divergence, Ctrl-C, checkpoints. What it trains is a task.

A run that is stopped and goes on from its checkpoint must end with the same bits as one that was not. So nothing that
is learned depends on the time, or on how many batches one call of a kernel takes: only when progress is shown, when
Ctrl-C is seen, and when a checkpoint is written.
"""

import dataclasses
import logging
import math
import signal
import sys
import threading
import time
from typing import NamedTuple

import numpy as np

from .checkpoint import generator_from, generator_state
from .cpu.threads import Team
from .errors import DivergenceError
from .schedules import after_epoch, before_batch, pause
from .second_process import compile_meanwhile

# Between two looks at the progress bar, at Ctrl-C, and at whether a checkpoint is due.
SECONDS_PER_RUN = 0.2
# Batches after which the weights are copied, to come back to if training diverges; every epoch's first are, too.
SNAPSHOT_EVERY = 1000
# Nats a token beyond which weights are as lost as if the loss were not finite: guessing costs ln C, which is below 20.
ABSURD = 1000.0
# Times that a call of fit may diverge; with the last one it gives up.
MOST_SETBACKS = 5

logger = logging.getLogger("fastrnn")


class Settings(NamedTuple):
    """Parameters of the estimators that the loop follows."""

    lr_schedule: str
    evaluate_every: int
    patience: int
    lr_decay_start: int
    early_stopping: bool | str  # "auto" is as True, where there is a validation loss
    n_iter_no_change: int
    tol: float
    weight_noise: float
    verbose: int


@dataclasses.dataclass
class State:
    """Where a run stands, besides weights, moments and history."""

    first_epoch: int  # epochs done before this call of fit
    batch: int = 0  # next of the epoch; 0: the epoch has not begun
    rng_at_begin: dict | None = None  # of the epoch, to draw the same batches again
    loss: float = 0.0  # sums over the epoch so far
    tokens: int = 0
    norm: float = 0.0
    largest_norm: float = -math.inf
    batches: int = 0
    setbacks: int = 0  # times that this call diverged
    best_loss: float = math.inf  # early stopping
    waited: int = 0
    seconds: float = 0.0  # of training, other calls included


class Training:
    """A run of training.

    Parameters
    ----------
    task : LanguageTask, or what has its methods
    optimizer : Optimizer
    history : History
        Epochs are added to it.
    rng : numpy.random.Generator
        Orders the batches and makes the noise.
    settings : Settings
    """

    def __init__(self, task, optimizer, history, rng, settings):
        self.task, self.optimizer, self.history, self.rng, self.settings = task, optimizer, history, rng, settings
        self.state = State(first_epoch=len(history.losses), seconds=history.last("seconds"))
        self._good = self._best = None  # snapshots: to go back to, and of early stopping
        self._epoch_tokens = self._bar = None  # tokens of every batch; the progress bar
        self._carried = []  # states of streams, from a checkpoint
        self._resume_clock()

    def run(self, epochs, n_threads, callback=None, checkpoint=None):
        """Train until there are `epochs` more than before the call of fit; with early stopping, fewer.

        Ctrl-C ends it early: what was learned stays, and a line is logged.

        Parameters
        ----------
        epochs, n_threads : int
        callback : callable, optional
            Called without arguments after every epoch; ends the training if it returns what is true.
        checkpoint : Checkpoint, optional
            The first one is to be written before.

        Raises
        ------
        DivergenceError
            Losses or gradients were not finite, too many times; the weights are the last good ones.
        """
        network = self.task.network.networks[0]
        if epochs > 0 and network.device == "cpu":
            compile_meanwhile(network.cell_class.NAME, network.dtype.name, network.matmul_precision)
        self._target, self._callback, self._checkpoint = self.state.first_epoch + epochs, callback, checkpoint
        self._count = 1
        self._resume_clock()
        with Team(n_threads) as self._team, _Interruption() as interruption:
            try:
                while not self._is_finished():
                    if self._step(interruption):
                        break
            except KeyboardInterrupt:
                self._tell_interruption()
            finally:
                self._close_bar()
                if self._best is not None:
                    self.task.restore(self._best)

    def _resume_clock(self):
        self._started = time.perf_counter() - self.state.seconds

    def saved(self):
        """(header, arrays) of all that `load` needs to go on from here."""
        self.state.seconds = time.perf_counter() - self._started
        header = {
            "state": dataclasses.asdict(self.state), "history": self.history.to_header(),
            "rng": generator_state(self.rng), "learning_rate": self.optimizer.learning_rate,
            "updates": self.optimizer.updates, "earlier": self.optimizer.earlier,
            "seed": self.optimizer.seed,
        }  # fmt: skip
        weights, good, best = (
            self.task.on_host(snapshot) if snapshot else ()
            for snapshot in (self.task.snapshot(), self._good, self._best)
        )
        groups = {
            "weights": weights, "moments": self.optimizer.arrays(), "good": good, "best": best,
            "carried": self._states() if self.state.batch else (),
        }  # fmt: skip
        return header, {f"{name}/{i}": array for name, group in groups.items() for i, array in enumerate(group)}

    def load(self, header, arrays):
        """Go on from what `saved` gave; KeyError, TypeError or ValueError if it does not fit."""
        if header["state"].keys() != vars(self.state).keys():
            raise ValueError(f"found a state of {list(header['state'])}, expected {list(vars(self.state))}")
        self.state, self.rng = State(**header["state"]), generator_from(header["rng"])
        vars(self.history).update(vars(type(self.history).from_header(header["history"])))
        self.optimizer.learning_rate = float(header["learning_rate"])
        self.optimizer.updates, self.optimizer.earlier = int(header["updates"]), int(header["earlier"])
        self.optimizer.seed = int(header["seed"])
        weights = self.task.on_host(self.task.snapshot())
        for name, group in (("weights", weights), ("moments", self.optimizer.arrays())):
            for i, array in enumerate(group):
                _fill(array, arrays[f"{name}/{i}"])
        self.task.restore(weights)
        self._carried = [arrays[name] for name in sorted(arrays) if name.startswith("carried/")]
        for name in ("good", "best"):
            if f"{name}/0" in arrays:
                copies = tuple(np.empty_like(array) for array in weights)
                for i, array in enumerate(copies):
                    _fill(array, arrays[f"{name}/{i}"])
                setattr(self, f"_{name}", copies)
        return self

    def _is_finished(self):
        stopped = self.settings.early_stopping and self.state.waited >= self.settings.n_iter_no_change
        return stopped or len(self.history.losses) >= self._target

    def _step(self, interruption):
        """Train for a while, and do all that is due then; returns whether to stop."""
        if self._epoch_tokens is None:
            self._begin_epoch()
        self._train_batches()
        done, stop = self.state.batch == len(self._epoch_tokens) and self._end_epoch(), False
        try:
            if done and self._callback is not None:
                stop = self._callback()
        finally:  # an error in it, or Ctrl-C, loses nothing
            if interruption.requested or done or (self._checkpoint is not None and self._checkpoint.is_due()):
                if self._checkpoint is not None:
                    self._checkpoint.try_to_write(*self.saved())
        if interruption.requested:
            self._tell_interruption()
        return stop or interruption.requested

    def _begin_epoch(self):
        state = self.state
        if state.batch:  # in the middle, after a checkpoint: the same batches again
            self._epoch_tokens = self.task.begin_epoch(generator_from(state.rng_at_begin), self._team.size)
            states = self.task.carried()
            for array, saved in zip(states, self._carried, strict=True):
                _fill(array, saved)
            self.task.set_carried(states)
        else:
            state.rng_at_begin = generator_state(self.rng)
            self._epoch_tokens = self.task.begin_epoch(self.rng, self._team.size)
        self._bar = _progress(f"epoch {self._epoch()}", self._epoch_tokens, state.batch, self.settings.verbose)

    def _next_stop(self):
        """Do what the schedule has before the next batch; returns the batch before which something is to be done."""
        first, batches = self.state.batch, len(self._epoch_tokens)
        at = pause(self.settings, batches)
        if first in (0, at):
            before_batch(self.settings, self.optimizer, self.history, first, batches, self.task.training_loss)
        stops = [batches, first + self._count, first - first % SNAPSHOT_EVERY + SNAPSHOT_EVERY]
        return min([*stops, at] if first < at else stops)

    def _train_batches(self):
        """Train on as many batches as take a moment, but never past one before which something is to be done."""
        state, noise, first, snapshot = self.state, self.settings.weight_noise, self.state.batch, None
        last = self._next_stop()
        if first % SNAPSHOT_EVERY == 0:  # good once a loss and gradient at these weights are
            if not self.task.is_finite():
                self._set_back("a weight")
            snapshot = self.task.snapshot()
            self._good = self._good or snapshot
        last = first + 1 if snapshot is not None or noise else last
        start = time.perf_counter()
        with self.task.noise(first, noise, self.rng):
            losses, norms = self.task.train(self._team, first, last, self.optimizer)
        seconds = max(time.perf_counter() - start, 1e-9)
        sane = losses < ABSURD * self._epoch_tokens[first : first + len(losses)]
        done = len(losses) if sane.all() else int(sane.argmin())
        self.optimizer.updates -= len(losses) - done  # those after it are undone
        losses, norms = losses[:done], norms[:done]
        self._count = max(1, int((last - first) * min(4.0, SECONDS_PER_RUN / seconds)))
        failed = done < last - first
        self._good = self._good if failed else snapshot or self._good
        state.batch = first + done + failed
        self._add_up(losses, norms, first)
        self._show(int(self._epoch_tokens[first : state.batch].sum()), seconds)
        if failed:
            self._set_back(f"the loss or gradient of batch {state.batch}")

    def _add_up(self, losses, norms, first):
        state = self.state
        for loss, norm in zip(losses.tolist(), norms.tolist(), strict=True):  # one by one: sums do not depend on calls
            state.loss, state.norm = state.loss + loss, state.norm + norm
            state.largest_norm = norm if math.isnan(norm) else max(state.largest_norm, norm)
        state.batches += len(losses)
        state.tokens += int(self._epoch_tokens[first : first + len(losses)].sum())

    def _show(self, tokens, seconds):
        if self.state.tokens:
            loss = f"loss {self.state.loss / self.state.tokens:.3f}"
            self._bar.set_postfix_str(f"{loss}, {tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(tokens)

    def _end_epoch(self):
        """The end of an epoch's batches; False if it is to be done again because no batch of it was finite."""
        state, history, self._epoch_tokens = self.state, self.history, None
        state.batch = 0
        if state.tokens == 0:
            self._close_bar()
            return False
        if not self.task.is_finite():
            self._set_back("a weight")
        validation = self._validation_loss()
        if validation is None and self._epoch() == self._target and not self.task.first_loss(self._team) < ABSURD:
            self._set_back("the loss or gradient at the end")
        state.seconds = time.perf_counter() - self._started
        history.add(
            state.loss / state.tokens, validation, learning_rates=self.optimizer.learning_rate,
            mean_norms=state.norm / state.batches, max_norms=state.largest_norm, seconds=state.seconds,
            tokens=int(history.last("tokens")) + state.tokens,
        )  # fmt: skip
        state.loss, state.tokens, state.norm, state.largest_norm, state.batches = 0.0, 0, 0.0, -math.inf, 0
        if self.settings.early_stopping and validation is not None:
            self._keep_best(validation)
        after_epoch(self.settings, self.optimizer, history, validation is not None)
        self._close_bar()
        return True

    def _validation_loss(self):
        loss = self.task.validation_loss()
        if loss is not None and not loss < ABSURD:
            self._set_back("the loss of the validation data")
            loss = self.task.validation_loss()
        if loss is not None:
            self._bar.set_postfix_str(f"loss {self.state.loss / self.state.tokens:.3f}, validation {loss:.3f}")
        return loss

    def _keep_best(self, loss):
        state = self.state
        state.waited = 0 if loss < state.best_loss - self.settings.tol else state.waited + 1
        if loss < state.best_loss:
            state.best_loss, self._best = loss, self.task.snapshot()
            self.history.best_epoch = len(self.history.losses)

    def _set_back(self, what):
        """Back to the last good weights, at half the learning rate and without moments; raises if that is too often."""
        state, optimizer, what = self.state, self.optimizer, f"{what} of epoch {self._epoch()}"
        rate = optimizer.learning_rate
        if self._good is not None:
            self.task.restore(self._good)
            optimizer.reset()
            states = self._states()
            for array in states:  # they may be no numbers either
                array[:] = 0
            if self._epoch_tokens is not None:
                self.task.set_carried(states)
        state.setbacks += 1
        if self._good is None or state.setbacks >= MOST_SETBACKS:
            raise DivergenceError(
                f"training diverged: {what} is not finite or absurd, though the learning rate was halved"
                f" {state.setbacks - 1} times; the weights are the last good ones. Lower learning_rate (found"
                f" {rate * 2.0 ** (state.setbacks - 1):g}) or clip_norm"
            )
        optimizer.learning_rate = rate / 2
        logger.warning(
            "%s is not finite or absurd: training goes on from the last good weights, the learning rate halved to %g",
            what, rate / 2,
        )  # fmt: skip

    def _states(self):
        """What is carried from batch to batch: the task's, or, before its epoch has begun, those of the checkpoint."""
        return self._carried if self._epoch_tokens is None else self.task.carried()

    def _epoch(self):
        return len(self.history.losses) + 1

    def _tell_interruption(self):
        logger.warning(
            "interrupted after %d full epochs and %d updates: the model keeps what it has learned",
            len(self.history.losses), self.optimizer.total_updates,
        )  # fmt: skip

    def _close_bar(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Interruption:
    """Ctrl-C waits until batches, sums and position agree: then `requested` is seen. A second one comes through."""

    def __enter__(self):
        self.requested, self._before = False, None
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def _fill(array, saved):
    if saved.shape != array.shape or saved.dtype != array.dtype:
        raise ValueError(f"found an array {saved.dtype}{saved.shape}, expected {array.dtype}{array.shape}")
    array[...] = saved


def _progress(title, tokens, done, verbose):
    """A bar over the tokens of an epoch, on standard error, with the loss and tokens a second."""
    from tqdm import tqdm

    return tqdm(
        total=int(tokens.sum()), initial=int(tokens[:done].sum()), desc=title, disable=not verbose,
        unit_scale=True, file=sys.stderr,
        bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} tokens{postfix}, {elapsed}",
    )  # fmt: skip

"""The training loop: epochs of batches, validation, divergence, Ctrl-C, checkpoints. What it trains is a task.

A run that is stopped and goes on from its checkpoint must end with the same bits as one that was not. So nothing that
is learned depends on the time, or on how many batches one call of a kernel takes: only when progress is shown, when
Ctrl-C is seen, and when a checkpoint is written.
"""

import dataclasses
import logging
import math
import time

import numpy as np

from ..errors import DivergenceError
from ..kernels.threads import ThreadTeam
from ..networks.precompile import start_background_compiler
from ..validation import check_real
from .checkpoint import generator_from, generator_state
from .interruption import HeldInterrupts
from .progress import Progress
from .schedules import next_boundary, on_batch_start, on_epoch_end
from .state import State, check_count

# Between two looks at the progress bar, at Ctrl-C, and at whether a checkpoint is due.
SECONDS_PER_RUN = 0.2
# Batches after which the weights are copied, to come back to if training diverges; every epoch's first are, too.
SNAPSHOT_EVERY = 1000
# A loss above this, in nats per token, is treated as divergence: uniform guessing costs ln C, which is below 20.
DIVERGED_LOSS = 1000.0
# A call of fit gives up when it diverges for so many times.
MAX_ROLLBACKS = 5

logger = logging.getLogger("fastrnn")


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
        self._last_finite = self._best = None  # snapshots: to go back to, and of early stopping
        self._epoch_tokens = None  # of every batch
        self._progress = Progress(settings.verbose)
        self._carried = []  # states of streams, from a checkpoint
        self._resume_clock()

    def run(self, epochs, n_threads, callback=None, checkpoint=None):
        """Train until there are `epochs` more than before the call of fit; with early stopping, fewer.

        Ctrl-C ends it early: what was learned stays, and a line is logged. It waits until batches, sums and position
        agree; a second one does not.

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
            start_background_compiler(
                network.cell_class.NAME, network.dtype.name, network.matmul_precision, self.task.sampled
            )  # fmt: skip
        self._target, self._callback, self._checkpoint = self.state.first_epoch + epochs, callback, checkpoint
        self._count = 1
        self._resume_clock()
        with ThreadTeam(n_threads) as self._team, HeldInterrupts(at_most=1) as interrupts:
            try:
                if interrupts.received:  # since before the training, in a block around it
                    raise KeyboardInterrupt
                while not self._is_finished():
                    if self._step(interrupts):
                        break
            except KeyboardInterrupt:
                self._tell_interruption()
            finally:
                self._progress.close()
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
            for snapshot in (self.task.snapshot(), self._last_finite, self._best)
        )
        groups = {
            "weights": weights, "moments": self.optimizer.arrays(), "good": good, "best": best,
            "carried": self._states() if self.state.batch else (),
        }  # fmt: skip
        return header, {f"{name}/{i}": array for name, group in groups.items() for i, array in enumerate(group)}

    def load(self, header, arrays):
        """Go on from what `saved` gave; KeyError, TypeError or ValueError if it does not fit."""
        vars(self.history).update(vars(type(self.history).from_header(header["history"])))
        self.state, self.rng = State.from_header(header["state"], self.history), generator_from(header["rng"])
        check_real("learning_rate", header["learning_rate"], 0, low_open=False)
        self.optimizer.learning_rate = header["learning_rate"]
        for name in ("updates", "earlier", "seed"):
            setattr(self.optimizer, name, check_count(name, header[name]))
        weights = self.task.on_host(self.task.snapshot())
        for name, group in (("weights", weights), ("moments", self.optimizer.arrays())):
            for i, array in enumerate(group):
                _fill(array, arrays[f"{name}/{i}"])
        self.task.restore(weights)
        self._carried = [arrays[name] for name in sorted(arrays) if name.startswith("carried/")]
        for name, attribute in (("good", "_last_finite"), ("best", "_best")):  # "good": of files
            if f"{name}/0" in arrays:
                copies = tuple(np.empty_like(array) for array in weights)
                for i, array in enumerate(copies):
                    _fill(array, arrays[f"{name}/{i}"])
                setattr(self, attribute, copies)
        self._check_position()
        return self

    def _check_position(self):
        """ValueError if the epoch in which the checkpoint was written has no such batch, or carries other states."""
        if self.state.batch:
            tokens = self.task.begin_epoch(generator_from(self.state.rng_at_begin), 1)
            if self.state.batch >= len(tokens):
                raise ValueError(f"found batch {self.state.batch}, expected less than {len(tokens)}")
            for array, saved in zip(self.task.carried(), self._carried, strict=True):
                _fill(array.copy(), saved)

    def _is_finished(self):
        stopped = self.settings.early_stopping and self.state.waited >= self.settings.n_iter_no_change
        return stopped or len(self.history.losses) >= self._target

    def _step(self, interrupts):
        """Train for a while, and do all that is due then; returns whether to stop."""
        if self._epoch_tokens is None:
            self._begin_epoch()
        self._train_batches()
        done, stop = self.state.batch == len(self._epoch_tokens) and self._end_epoch(), False
        try:
            if done and self._callback is not None:
                stop = self._callback()
        finally:  # an error in it, or Ctrl-C, loses nothing
            if self._checkpoint is not None and (interrupts.received or done or self._checkpoint.is_due()):
                with self._progress.aside():
                    self._checkpoint.try_to_write(*self.saved())
        if interrupts.received:
            self._tell_interruption()
        return bool(stop or interrupts.received)

    def _begin_epoch(self):
        state = self.state
        if state.batch:  # in the middle, after a checkpoint: the same batches again
            self._epoch_tokens = self.task.begin_epoch(generator_from(state.rng_at_begin), self._team.n_threads)
            states = self.task.carried()
            for array, saved in zip(states, self._carried, strict=True):
                _fill(array, saved)
            self.task.set_carried(states)
        else:
            state.rng_at_begin = generator_state(self.rng)
            self._epoch_tokens = self.task.begin_epoch(self.rng, self._team.n_threads)
        tokens = self._epoch_tokens
        self._progress.begin(f"epoch {self._epoch()}", int(tokens.sum()), int(tokens[: state.batch].sum()))

    def _next_stop(self):
        """Do what the schedule has before the next batch; returns the batch before which something is to be done."""
        first, batches = self.state.batch, len(self._epoch_tokens)
        at = next_boundary(self.settings, batches)
        if first in (0, at):
            on_batch_start(self.settings, self.optimizer, self.history, first, batches, self.task.training_loss)
        stops = [batches, first + self._count, first - first % SNAPSHOT_EVERY + SNAPSHOT_EVERY]
        return min([*stops, at] if first < at else stops)

    def _train_batches(self):
        """Train on as many batches as take a moment, but never past one before which something is to be done."""
        state, noise, first, snapshot = self.state, self.settings.weight_noise, self.state.batch, None
        last = self._next_stop()
        if first % SNAPSHOT_EVERY == 0:  # good once a loss and gradient at these weights are
            if not self.task.is_finite():
                self._roll_back("a weight")
            snapshot = self.task.snapshot()
            self._last_finite = self._last_finite or snapshot
        last = first + 1 if snapshot is not None or noise else last
        start = time.perf_counter()
        with self.task.noise(first, noise, self.rng):
            losses, norms = self.task.train(self._team, first, last, self.optimizer)
        seconds = max(time.perf_counter() - start, 1e-9)
        sane = losses < DIVERGED_LOSS * self._epoch_tokens[first : first + len(losses)]
        done = len(losses) if sane.all() else int(sane.argmin())
        self.optimizer.updates -= len(losses) - done  # those after it are undone
        losses, norms = losses[:done], norms[:done]
        self._count = max(1, int((last - first) * min(4.0, SECONDS_PER_RUN / seconds)))
        failed = done < last - first
        self._last_finite = self._last_finite if failed else snapshot or self._last_finite
        state.batch = first + done + failed
        self._add_up(losses, norms, first)
        self._show(int(self._epoch_tokens[first : state.batch].sum()), seconds)
        if failed:
            self._roll_back(f"the loss or gradient of batch {state.batch}")

    def _add_up(self, losses, norms, first):
        state = self.state
        for loss, norm in zip(losses.tolist(), norms.tolist(), strict=True):  # one by one: sums do not depend on calls
            state.loss, state.norm = state.loss + loss, state.norm + norm
            state.largest_norm = norm if math.isnan(norm) else max(state.largest_norm, norm)
        state.batches += len(losses)
        state.tokens += int(self._epoch_tokens[first : first + len(losses)].sum())

    def _show(self, tokens, seconds):
        loss = self.state.loss / self.state.tokens if self.state.tokens else None
        may_stop = self.settings.early_stopping and self.task.validation is not None
        until = ", less if it stops early" if may_stop else ""
        self._progress.advance(tokens, seconds, loss, self._target - self._epoch(), until)

    def _end_epoch(self):
        """The end of an epoch's batches; False if it is to be done again because no batch of it was finite."""
        state, history, self._epoch_tokens = self.state, self.history, None
        state.batch = 0
        if state.tokens == 0:
            self._progress.close()
            return False
        if not self.task.is_finite():
            self._roll_back("a weight")
        validation = self._validation_loss()
        if (
            validation is None
            and self._epoch() == self._target
            and not self.task.first_loss(self._team) < DIVERGED_LOSS
        ):
            self._roll_back("the loss or gradient at the end")
        state.seconds = time.perf_counter() - self._started
        history.add(
            state.loss / state.tokens, validation, learning_rates=self.optimizer.learning_rate,
            mean_norms=state.norm / state.batches, max_norms=state.largest_norm, seconds=state.seconds,
            tokens=int(history.last("tokens")) + state.tokens,
        )  # fmt: skip
        state.loss, state.tokens, state.norm, state.largest_norm, state.batches = 0.0, 0, 0.0, -math.inf, 0
        if self.settings.early_stopping and validation is not None:
            self._keep_best(validation)
        on_epoch_end(self.settings, self.optimizer, history, validation is not None)
        self._progress.close()
        return True

    def _validation_loss(self):
        loss = self.task.validation_loss()
        if loss is not None and not loss < DIVERGED_LOSS:
            self._roll_back("the loss of the validation data")
            loss = self.task.validation_loss()
        if loss is not None:
            self._progress.tell(f"loss {self.state.loss / self.state.tokens:.3f}, validation {loss:.3f}")
        return loss

    def _keep_best(self, loss):
        state = self.state
        state.waited = 0 if loss < state.best_loss - self.settings.tol else state.waited + 1
        if loss < state.best_loss:
            state.best_loss, self._best = loss, self.task.snapshot()
            self.history.best_epoch = len(self.history.losses)

    def _roll_back(self, what):
        """Restore the last good weights, halve the learning rate, reset the moments; raises at MAX_ROLLBACKS."""
        state, optimizer, what = self.state, self.optimizer, f"{what} of epoch {self._epoch()}"
        rate = optimizer.learning_rate
        if self._last_finite is not None:
            self.task.restore(self._last_finite)
            optimizer.reset()
            states = self._states()
            for array in states:  # they may be no numbers either
                array[:] = 0
            if self._epoch_tokens is not None:
                self.task.set_carried(states)
        state.setbacks += 1
        if self._last_finite is None or state.setbacks >= MAX_ROLLBACKS:
            raise DivergenceError(
                f"training diverged: {what} is not finite or absurd, though the learning rate was halved"
                f" {state.setbacks - 1} times; the weights are the last good ones. Lower learning_rate (found"
                f" {rate * 2.0 ** (state.setbacks - 1):g}) or clip_norm"
            )
        optimizer.learning_rate = rate / 2
        with self._progress.aside():
            logger.warning(
                "%s is not finite or absurd: training goes on from the last good weights, the learning rate halved"
                " to %g",
                what, rate / 2,
            )  # fmt: skip

    def _states(self):
        """What is carried from batch to batch: the task's, or, before its epoch has begun, those of the checkpoint."""
        return self._carried if self._epoch_tokens is None else self.task.carried()

    def _epoch(self):
        return len(self.history.losses) + 1

    def _tell_interruption(self):
        self._progress.close()
        logger.warning(
            "interrupted after %d full epochs and %d updates: the model keeps what it has learned",
            len(self.history.losses), self.optimizer.total_updates,
        )  # fmt: skip


def _fill(array, saved):
    if saved.shape != array.shape or saved.dtype != array.dtype:
        raise ValueError(f"found an array {saved.dtype}{saved.shape}, expected {array.dtype}{array.shape}")
    array[...] = saved

"""What the estimators share that train a network: parameters of the training, and what it leaves behind."""

import json
import os
from functools import partial

import numpy as np

from .base import Estimator, check_bool, check_choice, check_integer, check_real
from .checkpoint import Checkpoint, fingerprint, read
from .optimizer import OPTIMIZERS, Optimizer
from .ragged import check_pair
from .schedules import SCHEDULES
from .training import Settings, Training

# What is held out for early stopping unless something else is asked for, as scikit-learn's MLPClassifier has it.
VALIDATION_FRACTION = 0.1
# Parameters that a run may change when it goes on from a checkpoint.
_FREE = (
    "max_epochs", "n_threads", "random_state", "verbose", "vocab_size", "warm_start", "checkpoint", "checkpoint_minutes"
)  # fmt: skip


class Trainable(Estimator):
    """An estimator with `network_`, `optimizer_`, `history_` and `rng_`, trained by `Training`."""

    @property
    def loss_curve_(self):
        self._check_fitted("history_")
        return self.history_.losses

    @property
    def validation_losses_(self):
        self._check_fitted("history_")
        return self.history_.validation_losses

    @property
    def evaluations_(self):
        self._check_fitted("history_")
        return self.history_.evaluations

    @property
    def n_epochs_(self):
        return len(self.loss_curve_)

    @property
    def n_updates_(self):
        self._check_fitted("optimizer_")
        return self.optimizer_.total_updates

    @property
    def learning_rate_(self):
        self._check_fitted("optimizer_")
        return self.optimizer_.learning_rate

    def check_training_parameters(self):
        """Raise TypeError or ValueError unless the parameters of the training are possible."""
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_real("learning_rate", self.learning_rate, 0, none=True)
        check_real("momentum", self.momentum, 0, 1, low_open=False)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("max_epochs", self.max_epochs, 0)
        check_real("clip_norm", self.clip_norm, 0, none=True)
        check_choice("lr_schedule", self.lr_schedule, SCHEDULES)
        check_integer("evaluate_every", self.evaluate_every, 1)
        check_integer("patience", self.patience, 1)
        check_integer("lr_decay_start", self.lr_decay_start, 0)
        check_real("validation_fraction", self.validation_fraction, 0, 1, none=True)
        check_bool("early_stopping", self.early_stopping)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        check_real("tol", self.tol, 0, low_open=False)
        check_real("weight_noise", self.weight_noise, 0, low_open=False)
        if self.checkpoint is not None and not isinstance(self.checkpoint, (str, os.PathLike)):
            raise TypeError(f"checkpoint: found {self.checkpoint!r}, expected a path or None")
        check_real("checkpoint_minutes", self.checkpoint_minutes, 0, none=True)
        check_bool("warm_start", self.warm_start)

    def _new_optimizer(self):
        seed = int(self.rng_.integers(1 << 32)) if self.dropout else 0
        networks = getattr(self.network_, "networks", [self.network_])
        return Optimizer(
            self.optimizer, self.learning_rate, self.momentum, self.clip_norm, networks, self.dropout, seed
        )

    def _plain_parameters(self, built=None):
        """The constructor's parameters as JSON can hold them, or those in `built`; of a random_state, only a number."""
        return {name: _plain(name, value) for name, value in (self.get_params() | (built or {})).items()}

    def _is_warm(self, resume):
        return bool(self.warm_start) and resume is None and hasattr(self, "network_")

    def _fit(self, x, y, given, size, callback, resume):
        """What `fit` does when all has been checked but the checkpoint; `given` are validation data or None.

        The subclass has ``_initialise(size)``, ``_built()`` (parameters that the network was made with), ``_threads()``
        and ``_task(x, y, validation)``.
        """
        fraction = None if given else self.validation_fraction or (VALIDATION_FRACTION if self.early_stopping else None)
        if fraction is not None:
            _number_held_out(len(x), fraction)
        identity = saved = None
        if self.checkpoint is not None or resume is not None:
            identity = self._identity(size, (x, y, *(given or (None, None))))
        if resume is not None:
            saved = read(resume, identity)
        before = vars(self).copy()
        if self._is_warm(resume):
            self._go_on_warm()
        else:
            self._initialise(size)
        try:
            training = self._training(x, y, given, fraction, saved)
        except (KeyError, TypeError, ValueError) as error:
            vars(self).clear()
            vars(self).update(before)
            raise ValueError(f"{resume}: damaged: {error}") from None
        checkpoint = None
        if identity is not None:
            identity["split_seed"] = self._split_seed
            checkpoint = Checkpoint(self.checkpoint or resume, self.checkpoint_minutes, identity)
        training.run(
            self.max_epochs, self._threads(), None if callback is None else partial(callback, self), checkpoint
        )

    def _identity(self, size, data):
        """What must be the same for a run to go on from a checkpoint."""
        parameters = {name: value for name, value in self._plain_parameters().items() if name not in _FREE}
        parameters = json.loads(json.dumps(parameters | {"vocab_size": size}))
        return {"kind": f"{type(self).__name__} checkpoint", "parameters": parameters, "data": fingerprint(*data)}

    def _go_on_warm(self):
        """Take over network and optimiser as they are."""
        for name, value in self._built().items():
            if _plain(name, getattr(self, name)) != _plain(name, value):
                raise ValueError(
                    f"{name}: found {getattr(self, name)!r}, expected {value!r}, with which the network was made:"
                    " warm_start goes on with it"
                )
        optimizer = self._new_optimizer()
        if optimizer.parameters != self.optimizer_.parameters:
            optimizer.earlier = self.optimizer_.total_updates
            self.optimizer_ = optimizer

    def _training(self, x, y, given, fraction=None, saved=None):
        """The run of training: fresh, or as `saved` in a checkpoint; holds out a fraction of the sequences."""
        if saved is not None:
            self._split_seed = saved[0]["split_seed"]
        if fraction is not None:
            kept, held_out = self._split(len(x), fraction)
            x, y, given = x[kept], y[kept], (x[held_out], y[held_out])
        settings = Settings(**{name: getattr(self, name) for name in Settings._fields})
        training = Training(self._task(x, y, given), self.optimizer_, self.history_, self.rng_, settings)
        if saved is not None:
            training.load(*saved)
            self.rng_ = training.rng
        return training

    def _split(self, count, fraction):
        """Which of `count` sequences are trained on, and which are held out: two arrays of int, ascending.

        The same again for the same number of sequences, so that warm_start never trains on what it is judged by.
        """
        if self._split_seed is None:
            self._split_seed = int(self.rng_.integers(2**53))
        order = np.random.default_rng(self._split_seed).permutation(count)
        held_out = _number_held_out(count, fraction)
        return np.sort(order[held_out:]), np.sort(order[:held_out])


def _number_held_out(count, fraction):
    """How many of `count` sequences; ValueError if nothing would be left on one side."""
    if count < 2:
        raise ValueError(f"x: found {count} sequence, expected 2 at least, of which one can be held out for validation")
    return min(count - 1, max(1, round(count * fraction)))


def check_fit_arguments(validation_data, callback):
    """The arguments that every `fit` has, checked; returns the validation data as a pair of `Ragged`, or None."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: found {callback!r}, expected a function or None")
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data: found a {type(validation_data).__name__}, expected a pair (x, y)")
    try:
        return check_pair(*validation_data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None


def _plain(name, value):
    if name == "dtype":
        return np.dtype(value).name
    if name == "random_state":
        value = value if isinstance(value, (int, np.integer, type(None))) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value

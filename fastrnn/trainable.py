"""What the estimators share that train a network: parameters of the training, and what it leaves behind."""

import json
import os
from contextlib import contextmanager
from functools import partial

import numpy as np

from . import storage
from .base import Estimator, as_generator, check_bool, check_choice, check_integer, check_real
from .cells import CELLS
from .checkpoint import Checkpoint, fingerprint, read
from .cpu.cores import available_cores
from .devices import moved, product_precision, resolve
from .history import History
from .optimizer import OPTIMIZERS, Optimizer
from .schedules import SCHEDULES
from .training import Settings, Training

DTYPES = ("float32", "float64")
# What is held out for early stopping unless something else is asked for, as scikit-learn's MLPClassifier has it.
VALIDATION_FRACTION = 0.1
# Parameters of the machine, which no file holds.
_OF_MACHINE = ("device", "matmul_precision")
# Parameters that a run may change when it goes on from a checkpoint.
_FREE = (
    "max_epochs", "device", "matmul_precision", "n_threads", "random_state", "verbose", "vocab_size", "warm_start",
    "checkpoint", "checkpoint_minutes",
)  # fmt: skip


class Trainable(Estimator):
    """An estimator with `network_`, `optimizer_`, `history_` and `rng_`, trained by `Training`."""

    @property
    def network_(self):
        """The network, on the device that the parameter names, with products as precise as is asked for."""
        if "_network" not in vars(self):
            raise AttributeError("network_")
        device = resolve(self.device)
        if self._network.device != device:
            self._network = moved(self._network, device)
        precision = product_precision(self.matmul_precision, self._network.dtype.name, device)
        for network in self._network.networks:
            network.matmul_precision = precision
        return self._network

    @network_.setter
    def network_(self, network):
        self._network = network

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

    @property
    def params_(self):
        self._check_fitted("network_")
        return self.network_.params

    def save(self, path):
        """Write the model to one .npz file, aside first, then renamed. The optimiser's moments are not in it."""
        storage.write(path, {"kind": type(self).__name__} | self._header(), self._arrays())

    @classmethod
    def load(cls, path, *, device="cpu"):
        """Read a model that `save` wrote, on whatever device; ValueError if the file is damaged or foreign."""
        header, arrays = storage.read(path, cls.__name__)
        return cls._from_file(path, header, arrays, device)

    def _header(self):
        """What a file holds besides arrays."""
        self._check_fitted("network_")
        facts = {"vocab_size": self._size(), "learning_rate": self.learning_rate_}
        return {"parameters": self._plain_parameters(self.network_.built())} | facts | self.history_.to_header()

    def _arrays(self):
        return {f"params/{name}": array for name, array in self.params_.items()}

    @classmethod
    def _from_file(cls, path, header, arrays, device):
        resolve(device)
        try:
            model = cls(**header["parameters"]).set_params(device=device)
            model.check_parameters()
            model._initialise(header["vocab_size"])
            names = {f"params/{name}" for name in model.params_}
            found = {name for name in arrays if name.startswith("params/")}
            if names != found:
                raise ValueError(f"found parameters {sorted(found)}, expected {sorted(names)}")
            for name in names:
                model.params_[name.removeprefix("params/")] = arrays[name]
            model.history_ = History.from_header(header)
            model.optimizer_.learning_rate = float(header["learning_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: damaged: {error}") from None
        return model

    def _size(self):
        """Number of indices that the network was made for, None before."""
        return self.network_.vocab_size if hasattr(self, "network_") else None

    def _threads(self):
        check_integer("n_threads", self.n_threads, 1, none=True)
        return 1 if resolve(self.device) == "cuda" else self.n_threads or available_cores()

    def _initialise(self, size):
        """Fresh weights, optimiser and history."""
        self.rng_ = as_generator(self.random_state)
        self.network_ = self._make_network(size)
        self.network_.initialise(self.rng_, self.init_scale)
        self.optimizer_ = self._new_optimizer()
        self.history_, self._split_seed = History(), None

    def check_network_parameters(self):
        """Raise TypeError or ValueError unless the parameters of the network are possible."""
        check_choice("cell", self.cell, tuple(CELLS))
        check_integer("hidden_dim", self.hidden_dim, 1)
        check_bool("bias", self.bias)
        check_integer("num_layers", self.num_layers, 1)
        check_real("dropout", self.dropout, 0, 1, low_open=False)
        check_integer("embedding_dim", self.embedding_dim, 1, none=True)
        check_bool("tie_weights", self.tie_weights)
        if self.tie_weights and self.embedding_dim != self.hidden_dim:
            raise ValueError(
                f"tie_weights: found embedding_dim {self.embedding_dim} and hidden_dim {self.hidden_dim}, expected them"
                " to be equal"
            )
        check_real("init_scale", self.init_scale, 0, none=True)
        try:
            name = self.dtype if self.dtype is None else np.dtype(self.dtype).name  # NumPy takes None for float64
        except TypeError:
            name = self.dtype
        check_choice("dtype", name, DTYPES)
        product_precision(self.matmul_precision, name, resolve(self.device))
        self._threads()
        if not isinstance(self.verbose, (bool, int)):
            raise TypeError(f"verbose: found {self.verbose!r}, expected an int")

    def _new_optimizer(self):
        seed = int(self.rng_.integers(1 << 32)) if self.dropout else 0
        return Optimizer(
            self.optimizer,
            self.learning_rate,
            self.momentum,
            self.clip_norm,
            self.network_.networks,
            self.dropout,
            seed,
        )

    def _plain_parameters(self, built=None):
        """The constructor's parameters as JSON can hold them, or those in `built`; of a random_state, only a number.

        What is of this machine is none of them: a file is read on another one.
        """
        parameters = self.get_params() | (built or {})
        return {name: _plain(name, value) for name, value in parameters.items() if name not in _OF_MACHINE}

    def _is_warm(self, resume):
        return bool(self.warm_start) and resume is None and hasattr(self, "network_")

    def _fit(self, x, y, validation_data, callback, resume):
        """What `fit` does; returns self.

        The subclass has ``_check_data(x, y)``, which makes `Ragged` of both, ``_check_indices(data, size)``, which
        returns the network's size, ``_make_network(size)`` and ``_task(x, y, validation)``.
        """
        self.check_parameters()
        x, y = self._check_data(x, y)
        given = self._check_fit_arguments(validation_data, callback)
        size = self._check_indices((x, y, *(given or ())), self._size() if self._is_warm(resume) else None)
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
        checkpoint = None
        try:
            training = self._training(x, y, given, fraction, saved)
            if identity is not None:
                identity["split_seed"] = self._split_seed
                checkpoint = Checkpoint(self.checkpoint or resume, self.checkpoint_minutes, identity)
                checkpoint.write(*training.saved())
        except (KeyError, TypeError, ValueError, OSError) as error:  # what was fitted before stays
            _put_back(self, before)
            if saved is None or isinstance(error, OSError):
                raise
            raise ValueError(f"{resume}: damaged: {error}") from None
        training.run(
            self.max_epochs, self._threads(), None if callback is None else partial(callback, self), checkpoint
        )
        return self

    def _partial_fit(self, x, y):
        """What `partial_fit` does; returns self."""
        self.check_parameters()
        if self.early_stopping:
            raise ValueError("early_stopping: found True, expected False in partial_fit, which trains one epoch")
        x, y = self._check_data(x, y)
        size = self._check_indices((x, y), self._size())
        if not hasattr(self, "network_"):
            self._initialise(size)
        self._training(x, y, None).run(1, self._threads())
        return self

    def _check_fit_arguments(self, validation_data, callback):
        """The arguments that every `fit` has, checked; returns the validation data as a pair of `Ragged`, or None."""
        if callback is not None and not callable(callback):
            raise TypeError(f"callback: found {callback!r}, expected a function or None")
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise TypeError(f"validation_data: found a {type(validation_data).__name__}, expected a pair (x, y)")
        try:
            return self._check_data(*validation_data)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None

    def _identity(self, size, data):
        """What must be the same for a run to go on from a checkpoint."""
        parameters = {name: value for name, value in self._plain_parameters().items() if name not in _FREE}
        parameters = json.loads(json.dumps(parameters | {"vocab_size": size}))
        return {"kind": f"{type(self).__name__} checkpoint", "parameters": parameters, "data": fingerprint(*data)}

    def _go_on_warm(self):
        """Take over network and optimiser as they are."""
        for name, value in self.network_.built().items():
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


@contextmanager
def restored_if_refused(estimator):
    """What an estimator around a `model_` had comes back if the block raises before that model has a network."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        if not hasattr(estimator.model_, "network_"):
            _put_back(estimator, before)
        raise


def _put_back(estimator, attributes):
    vars(estimator).clear()
    vars(estimator).update(attributes)


def _plain(name, value):
    if name == "dtype":
        return np.dtype(value).name
    if name == "random_state":
        value = value if isinstance(value, (int, np.integer, type(None))) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value

"""What the estimators share that train a network: parameters of the training, and what it leaves behind."""

import json
import os
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np

from .. import storage
from ..base import Estimator
from ..kernels.cells import CELLS
from ..kernels.cores import available_cores
from ..networks.devices import DEVICES, MATMUL_PRECISIONS, network_to_device, product_precision, resolve
from ..networks.network import INITS, unallocated
from ..text.custom_tokenizer import check_functions
from ..text.vocabulary import Vocabulary
from ..training.checkpoint import Checkpoint, fingerprint, read
from ..training.checkpoint_lock import reserved
from ..training.history import History
from ..training.loop import Settings, Training
from ..training.optimizer import OPTIMIZERS, Optimizer
from ..training.schedules import SCHEDULES
from ..training.tasks import OUTPUTS, sample_size
from ..validation import (
    LARGEST_FLOAT32,
    as_generator,
    check_bool,
    check_callable,
    check_dtype,
    check_integer,
    check_path,
    check_random_state,
    check_real,
    check_verbose,
    choice,
    errors_named,
    integer,
    real,
    shown,
)

DTYPES = ("float32", "float64")
# What is held out for early stopping unless something else is asked for; and for a checkpoint older than this value.
VALIDATION_FRACTION, _EARLIER_FRACTION = 0.05, 0.1
# Sequences from which on early_stopping="auto" holds some out: fewer are too few to measure by.
AUTO_SEQUENCES = 1000
# Parameters of the machine, which no file holds.
_OF_MACHINE = ("device", "matmul_precision")
# Parameters that a run may change when it goes on from a checkpoint.
_FREE = (
    "max_epochs", "device", "matmul_precision", "n_threads", "random_state", "verbose", "vocab_size", "warm_start",
    "checkpoint", "checkpoint_minutes",
)  # fmt: skip


def _check_early_stopping(name, value):
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str) and value == "auto":
        return value
    raise TypeError(f"{name}: found {shown(value)}, expected True, False or 'auto'")


class Trainable(Estimator):
    """An estimator with `network_`, `optimizer_`, `history_` and `rng_`, trained by `Training`."""

    _checks = {
        # of the network
        "cell": choice(tuple(CELLS)),
        "hidden_dim": integer(1),
        "bias": check_bool,
        "num_layers": integer(1),
        "dropout": real(0, 1, low_open=False),
        "embedding_dim": integer(1, none=True),
        "tie_weights": check_bool,
        "output": choice(OUTPUTS),
        "n_sampled": integer(2, none=True),
        "peepholes": check_bool,
        "init": choice(INITS),
        "init_scale": real(0, LARGEST_FLOAT32, none=True),
        "dtype": partial(check_dtype, choices=DTYPES),
        "device": choice(DEVICES),
        "matmul_precision": choice(MATMUL_PRECISIONS),
        "n_threads": integer(1, none=True),
        "random_state": check_random_state,
        "verbose": check_verbose,
        # of the training
        "optimizer": choice(OPTIMIZERS),
        "learning_rate": real(0, none=True),
        "momentum": real(0, 1, low_open=False),
        "batch_size": integer(1),
        "max_epochs": integer(0),
        "clip_norm": real(0, none=True),
        "lr_schedule": choice(SCHEDULES),
        "evaluate_every": integer(1),
        "patience": integer(1),
        "lr_decay_start": integer(0),
        "validation_fraction": real(0, 1, none=True),
        "early_stopping": _check_early_stopping,
        "n_iter_no_change": integer(1),
        "tol": real(0, low_open=False),
        "weight_noise": real(0, LARGEST_FLOAT32 / 100, low_open=False),
        "checkpoint": partial(check_path, none=True),
        "checkpoint_minutes": real(0, none=True),
        "warm_start": check_bool,
    }

    def check_parameters(self):
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        super().check_parameters()
        checked = self._checked
        if checked.tie_weights and checked.embedding_dim != checked.hidden_dim:
            raise ValueError(
                f"tie_weights: found embedding_dim {checked.embedding_dim} and hidden_dim {checked.hidden_dim},"
                " expected them to be equal"
            )
        if checked.init_scale is not None and checked.init != "default":
            raise ValueError(f"init_scale: found {checked.init_scale!r}, expected None with init={checked.init!r}")
        if checked.output != "softmax" and resolve(checked.device) == "cuda":
            raise ValueError(
                f"output: found {checked.output!r} with device={checked.device!r}, expected 'softmax' there: a GPU does"
                " not learn on samples yet"
            )
        product_precision(checked.matmul_precision, checked.dtype, resolve(checked.device))

    @property
    def network_(self):
        """The network, on the device that the parameter names, with products as precise as is asked for."""
        if "_network" not in vars(self):
            raise AttributeError("network_")
        device = resolve(self.device)
        if self._network.device != device:
            self._network = network_to_device(self._network, device)
        precision = product_precision(self.matmul_precision, self._network.dtype.name, device)
        for network in self._network.networks:
            network.matmul_precision = precision
        return self._network

    @network_.setter
    def network_(self, network):
        self._network = network

    @property
    def loss_curve_(self):
        """Mean cross-entropy per token of every epoch, nats."""
        self._check_fitted("history_")
        return self.history_.losses

    @property
    def validation_losses_(self):
        """Mean cross-entropy per token of the validation data after every epoch, nats."""
        self._check_fitted("history_")
        return self.history_.validation_losses

    @property
    def evaluations_(self):
        """Epochs done and loss on all training data, of the schedule "halve"."""
        self._check_fitted("history_")
        return self.history_.evaluations

    @property
    def n_epochs_(self):
        """Epochs done."""
        return len(self.loss_curve_)

    @property
    def n_updates_(self):
        """Updates done."""
        self._check_fitted("optimizer_")
        return self.optimizer_.total_updates

    @property
    def learning_rate_(self):
        """The learning rate as the schedule has left it."""
        self._check_fitted("optimizer_")
        return self.optimizer_.learning_rate

    @property
    def params_(self):
        """Views of the weights by name, which may be written to."""
        self._check_fitted("network_")
        return self.network_.params

    def save(self, path):
        """Write the model to one .npz file, which replaces what was there once it is whole. Moments are not in it.

        Raises
        ------
        ValueError
            `load` would refuse it: a parameter that was set since is not possible, or weights are NaN or infinite.
        OSError
            It cannot be written.
        """
        path = check_path("path", path)
        storage.write(path, {"kind": type(self).__name__} | self._header(), self._arrays())

    @classmethod
    def load(cls, path, *, device="cpu"):
        """Read a model that `save` wrote, on whatever device; ValueError if the file is damaged or foreign."""
        path = check_path("path", path)
        with storage.opened(path, cls.__name__) as (header, arrays):
            return cls._from_file(path, header, arrays, device)

    def _header(self):
        """What a file holds besides arrays; TypeError or ValueError for parameters that `load` would not take."""
        self._check_fitted("network_")
        model = type(self)(**self.get_params() | self.network_.constructor_params()).set_params(
            **{name: default for name, default in self._parameter_defaults().items() if name in _OF_MACHINE}
        )
        model.check_parameters()
        facts = {"vocab_size": self._size(), "learning_rate": self.learning_rate_}
        header = {"parameters": model._plain_parameters()} | facts | self.history_.to_header()
        _check_stored(header)
        return header

    def _arrays(self):
        """The parameters as a file holds them, checked as `load` does."""
        self._check_fitted("network_")
        if self.network_.not_finite():
            refuse_weights([self])
        return {f"params/{name}": array for name, array in self.network_.arrays().items()}

    @classmethod
    def _from_file(cls, path, header, arrays, device):
        """The model of an open file; no memory is reserved before the file's arrays are known to be of that size."""
        resolve(device)
        with storage.damage_named(path):
            _check_stored(header)
            model = cls(**storage.NOT_IN_OLDER_FILES | header["parameters"]).set_params(device=device)
            model.check_parameters()
            model.set_params(**model._plain_parameters())  # as they are saved: a float is none that was an int
            size = cls._stored_size(header["vocab_size"])
            if model.num_layers > len(arrays):
                raise ValueError(f"found {len(arrays)} arrays for {model.num_layers} layers")
            sketch = model._make_network(size, "cpu", zeros=unallocated)
            arrays.check("params/", {name: array.shape for name, array in sketch.arrays().items()}, sketch.dtype)
            model._initialise(size)
            for name in model.params_:
                model.params_[name] = arrays.checked(f"params/{name}")
            model.history_ = History.from_header(header)
            model.optimizer_.learning_rate = header["learning_rate"]
        return model

    def _check_result(self, *arrays):
        """ValueError, which names the parameters that are not finite, unless what was computed with them is."""
        check_results([self], *arrays)

    def _check_weights(self, words):
        """The same before a result that does not show it: of weights that these words (an array of int) use."""
        if not self.network_.reads_finite(words):
            refuse_weights([self])

    def _size(self):
        """Number of indices that the network was made for, None before."""
        return self.network_.vocab_size if hasattr(self, "network_") else None

    def _threads(self):
        n_threads = self._checked.n_threads
        return 1 if resolve(self.device) == "cuda" else n_threads or available_cores()

    def _initialise(self, size):
        """Fresh weights, optimiser and history."""
        rng = as_generator(self.random_state)
        try:
            network = self._make_network(size)
        except (MemoryError, OverflowError, ValueError) as error:
            checked = self._checked
            raise ValueError(
                f"hidden_dim: found {checked.hidden_dim}, with {checked.num_layers} layers and a vocabulary of {size},"
                f" expected a network that memory can hold ({error})"
            ) from None
        self.rng_, self.network_ = rng, network
        self.network_.initialise(self.rng_, self._checked.init, self._checked.init_scale)
        self.optimizer_ = self._new_optimizer()
        self.history_, self._split_seed = History(), None

    def _new_optimizer(self):
        checked = self._checked
        seed = int(self.rng_.integers(1 << 32)) if checked.dropout or checked.output == "sampled" else 0
        return Optimizer(
            checked.optimizer, checked.learning_rate, checked.momentum, checked.clip_norm, self.network_.networks,
            checked.dropout, seed,
        )  # fmt: skip

    def _plain_parameters(self):
        """The constructor's parameters, normalised, as JSON can hold them; of a random_state, only a number.

        What is of this machine is none of them: a file is read on another one.
        """
        names = [name for name in self._parameter_defaults() if name not in _OF_MACHINE]
        plain = {name: getattr(self._checked, name) for name in names}
        if not isinstance(plain["random_state"], int):
            plain["random_state"] = None
        return plain

    def _n_sampled(self, vocab_size):
        """Words on a sample of which the output layer learns, None for all."""
        return sample_size(self._checked.output, self._checked.n_sampled, vocab_size)

    def _is_warm(self, resume):
        return self._checked.warm_start and resume is None and hasattr(self, "network_")

    def _fit(self, x, y, validation_data, callback, resume):
        """What `fit` does; returns self.

        The subclass has ``_check_data(x, y)``, which makes `Ragged` of both, ``_check_indices(data, size)``, which
        returns the network's size, ``_make_network(size)`` and ``_task(x, y, validation)``.
        """
        self.check_parameters()
        checked, resume = self._checked, check_path("resume", resume, none=True)
        x, y = self._check_data(x, y)
        given = self._check_fit_arguments(validation_data, callback)
        size = self._check_indices((x, y, *(given or ())), self._size() if self._is_warm(resume) else None)
        fraction = None if given else self._held_out_fraction(len(x))
        if fraction is not None:
            _number_held_out(len(x), fraction)
        identity = None
        if checked.checkpoint is not None or resume is not None:
            identity = self._identity(size, (x, y, *(given or (None, None))))
        path = checked.checkpoint or resume
        resumed = resume is not None and os.path.realpath(path) == os.path.realpath(resume)
        with nullcontext() if path is None else reserved(path, resumed) as path:
            saved = None if resume is None else read(resume, identity)
            if saved is not None and fraction is not None:
                fraction = saved[0].get("held_out", checked.validation_fraction or _EARLIER_FRACTION)
            checkpoint = None if path is None else Checkpoint(path, checked.checkpoint_minutes, identity)
            training = self._begin(size, (x, y, given), fraction, resume, saved, checkpoint)
            training.run(
                checked.max_epochs, self._threads(), None if callback is None else partial(callback, self), checkpoint
            )
        return self

    def _begin(self, size, data, fraction, resume, saved, checkpoint):
        """The run of training, and its first checkpoint; if it raises, the estimator is as it was."""
        before = vars(self).copy()
        if self._is_warm(resume):
            self._go_on_warm()
        else:
            self._initialise(size)
        try:
            with nullcontext() if saved is None else storage.damage_named(resume):
                training = self._training(*data, fraction, saved)
            if checkpoint is not None:
                checkpoint.identity["split_seed"], checkpoint.identity["held_out"] = self._split_seed, fraction
                checkpoint.write(*training.saved())
        except Exception:  # what was fitted before stays
            _put_back(self, before)
            raise
        return training

    def _partial_fit(self, x, y):
        """What `partial_fit` does; returns self."""
        self.check_parameters()
        if self._checked.early_stopping is True:
            raise ValueError(
                "early_stopping: found True, expected False or 'auto' in partial_fit, which trains one epoch"
            )
        x, y = self._check_data(x, y)
        size = self._check_indices((x, y), self._size())
        if not hasattr(self, "network_"):
            self._initialise(size)
        self._training(x, y, None).run(1, self._threads())
        return self

    def _held_out_fraction(self, count):
        """Share of `count` sequences that `fit` holds out if it is given no validation data, None for none."""
        checked = self._checked
        if checked.validation_fraction is not None:
            return checked.validation_fraction
        wanted = count >= AUTO_SEQUENCES if checked.early_stopping == "auto" else checked.early_stopping
        return VALIDATION_FRACTION if wanted else None

    def _check_fit_arguments(self, validation_data, callback):
        """The arguments that every `fit` has, checked; returns the validation data as a pair of `Ragged`, or None."""
        check_callable("callback", callback)
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise TypeError(f"validation_data: found a {type(validation_data).__name__}, expected a pair (x, y)")
        with errors_named("validation_data"):
            return self._check_data(*validation_data)

    def _identity(self, size, data):
        """What must be the same for a run to go on from a checkpoint."""
        parameters = {name: value for name, value in self._plain_parameters().items() if name not in _FREE}
        parameters = json.loads(json.dumps(parameters | {"vocab_size": size}))
        return {"kind": f"{type(self).__name__} checkpoint", "parameters": parameters, "data": fingerprint(*data)}

    def _go_on_warm(self):
        """Take over network and optimiser as they are."""
        for name, value in self.network_.constructor_params().items():
            check_same(name, getattr(self._checked, name), value)
        optimizer = self._new_optimizer()
        if optimizer.parameters != self.optimizer_.parameters:
            optimizer.earlier = self.optimizer_.total_updates
            self.optimizer_ = optimizer

    def _training(self, x, y, given, fraction=None, saved=None):
        """The run of training: fresh, or as `saved` in a checkpoint; holds out a fraction of the sequences."""
        if saved is not None:
            self._split_seed = saved[0]["split_seed"]
            check_integer("split_seed", self._split_seed, 0, None, none=True)
        if fraction is not None:
            kept, held_out = self._split(len(x), fraction)
            x, y, given = x[kept], y[kept], (x[held_out], y[held_out])
        settings = Settings(**{name: getattr(self._checked, name) for name in Settings._fields})
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


def check_results(models, *arrays):
    """ValueError, which names the parameters that are not finite, unless what models computed together is."""
    if not all(np.isfinite(array).all() for array in arrays):
        refuse_weights(models)


def refuse_weights(models):
    """Raise ValueError, which names the parameters of models that are not finite."""
    names = [
        f"models[{i}].{name}" if len(models) > 1 else name
        for i, model in enumerate(models)
        for name in model.network_.not_finite()
    ]
    found = f"NaN or infinity in {', '.join(names)}" if names else "weights so large that results overflow"
    raise ValueError(f"params_: found {found}, expected finite numbers")


def check_same(name, found, expected):
    """ValueError unless a parameter is what a network that is trained on was made with."""
    if found != expected:
        raise ValueError(
            f"{name}: found {found!r}, expected {expected!r}, with which the network was made: what is fitted goes on"
            " with it"
        )


def _number_held_out(count, fraction):
    """How many of `count` sequences; ValueError if nothing would be left on one side."""
    if count < 2:
        raise ValueError(f"x: found {count} sequence, expected 2 at least, of which one can be held out for validation")
    return min(count - 1, max(1, round(count * fraction)))


def read_vocabulary(path, arrays, prefix, tokenizer=None, detokenizer=None):
    """The `Vocabulary` whose arrays an open file has under a prefix, with the functions that it was made with."""
    functions = {"tokenizer": tokenizer, "detokenizer": detokenizer}
    with storage.damage_named(path):
        stored = arrays.under(prefix)
    with errors_named(path):
        check_functions(stored.get("config"), functions)
    with storage.damage_named(path, "{}"):
        return Vocabulary.from_arrays(stored, **functions)


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


def _check_stored(header):
    """ValueError, TypeError or KeyError unless what a model file's header holds is possible."""
    for name, value in header["parameters"].items():
        if not isinstance(value, (str, int, float, type(None))):
            raise ValueError(f"{name}: found a {type(value).__name__}, expected a number or a text")
    check_real("learning_rate", header["learning_rate"], 0, low_open=False)
    History.from_header(header)

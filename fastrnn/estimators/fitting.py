"""How an estimator is fitted: what is held out, warm starts, checkpoints to write and to resume from."""

import json
import os
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np

from .. import storage
from ..training.checkpoint import Checkpoint, fingerprint, read
from ..training.checkpoint_lock import reserved
from ..training.loop import Training
from ..training.state import Settings
from ..validation import check_callable, check_integer, check_path, errors_named
from .weight_checks import check_same

# What is held out for early stopping unless something else is asked for; and for a checkpoint older than this value.
VALIDATION_FRACTION, _EARLIER_FRACTION = 0.05, 0.1
# Sequences from which on early_stopping="auto" holds some out: fewer are too few to measure by.
AUTO_SEQUENCES = 1000
# Parameters that a run may change when it resumes from a checkpoint.
FREE = (
    "max_epochs", "device", "matmul_precision", "n_threads", "random_state", "verbose", "vocab_size", "warm_start",
    "checkpoint", "checkpoint_minutes",
)  # fmt: skip


def fit(model, x, y, validation_data, callback, resume):
    """What `fit` does; returns the model.

    The estimator has ``_check_data(x, y)``, which makes `Ragged` of both, ``_check_indices(data, size)``, which
    returns the network's size, ``_make_network(size)`` and ``_task(x, y, validation)``.
    """
    model.check_parameters()
    checked, resume = model._checked, check_path("resume", resume, none=True)
    x, y = model._check_data(x, y)
    given = _check_arguments(model, validation_data, callback)
    size = model._check_indices((x, y, *(given or ())), model._size() if model._is_warm(resume) else None)
    fraction = None if given else held_out_fraction(model, len(x))
    if fraction is not None:
        _number_held_out(len(x), fraction)
    identity = None
    if checked.checkpoint is not None or resume is not None:
        identity = _identity(model, size, (x, y, *(given or (None, None))))
    path = checked.checkpoint or resume
    resumed = resume is not None and os.path.realpath(path) == os.path.realpath(resume)
    with nullcontext() if path is None else reserved(path, resumed) as path:
        saved = None if resume is None else read(resume, identity)
        if saved is not None and fraction is not None:
            fraction = saved[0].get("held_out", checked.validation_fraction or _EARLIER_FRACTION)
        checkpoint = None if path is None else Checkpoint(path, checked.checkpoint_minutes, identity)
        training = _begin(model, size, (x, y, given), fraction, resume, saved, checkpoint)
        training.run(
            checked.max_epochs, model._threads(), None if callback is None else partial(callback, model), checkpoint
        )
    return model


def partial_fit(model, x, y):
    """What `partial_fit` does; returns the model."""
    model.check_parameters()
    if model._checked.early_stopping is True:
        raise ValueError("early_stopping: found True, expected False or 'auto' in partial_fit, which trains one epoch")
    x, y = model._check_data(x, y)
    size = model._check_indices((x, y), model._size())
    if not hasattr(model, "network_"):
        model._initialise(size)
    model._ready_network()
    _training(model, x, y, None).run(1, model._threads())
    return model


def held_out_fraction(model, count):
    """Share of `count` sequences that `fit` holds out if it is given no validation data, None for none."""
    checked = model._checked
    if checked.validation_fraction is not None:
        return checked.validation_fraction
    wanted = count >= AUTO_SEQUENCES if checked.early_stopping == "auto" else checked.early_stopping
    return VALIDATION_FRACTION if wanted else None


@contextmanager
def restored_if_refused(estimator):
    """Restore an estimator around a `model_` if the block raises before that model has a network."""
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


def _begin(model, size, data, fraction, resume, saved, checkpoint):
    """The run of training, and its first checkpoint; if it raises, the estimator is as it was."""
    before = vars(model).copy()
    if model._is_warm(resume):
        _resume_warm(model)
    else:
        model._initialise(size)
    try:
        with nullcontext() if saved is None else storage.damage_named(resume):
            training = _training(model, *data, fraction, saved)
        if checkpoint is not None:
            checkpoint.identity["split_seed"], checkpoint.identity["held_out"] = model._split_seed, fraction
            checkpoint.write(*training.saved())
    except Exception:  # what was fitted before stays
        _put_back(model, before)
        raise
    return training


def _check_arguments(model, validation_data, callback):
    """The arguments that every `fit` has, checked; returns the validation data as a pair of `Ragged`, or None."""
    check_callable("callback", callback)
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data: found a {type(validation_data).__name__}, expected a pair (x, y)")
    with errors_named("validation_data"):
        return model._check_data(*validation_data)


def _identity(model, size, data):
    """What must be the same for a run to resume from a checkpoint."""
    parameters = {name: value for name, value in model._plain_parameters().items() if name not in FREE}
    parameters = json.loads(json.dumps(parameters | {"vocab_size": size}))
    return {"kind": f"{type(model).__name__} checkpoint", "parameters": parameters, "data": fingerprint(*data)}


def _resume_warm(model):
    """Take over network and optimiser as they are."""
    model._ready_network()
    for name, value in model.network_.constructor_params().items():
        check_same(name, getattr(model._checked, name), value)
    optimizer = model._new_optimizer()
    if optimizer.parameters != model.optimizer_.parameters:
        optimizer.earlier = model.optimizer_.total_updates
        model.optimizer_ = optimizer


def _training(model, x, y, given, fraction=None, saved=None):
    """The run of training: new, or as `saved` in a checkpoint; holds out a fraction of the sequences."""
    if saved is not None:
        model._split_seed = saved[0]["split_seed"]
        check_integer("split_seed", model._split_seed, 0, None, none=True)
    if fraction is not None:
        kept, held_out = _split(model, len(x), fraction)
        x, y, given = x[kept], y[kept], (x[held_out], y[held_out])
    settings = Settings(**{name: getattr(model._checked, name) for name in Settings._fields})
    training = Training(model._task(x, y, given), model.optimizer_, model.history_, model.rng_, settings)
    if saved is not None:
        training.load(*saved)
        model.rng_ = training.rng
    return training


def _split(model, count, fraction):
    """Which of `count` sequences are trained on, and which are held out: two arrays of int, ascending.

    The same again for the same number of sequences, so that warm_start never trains on what it is judged by.
    """
    if model._split_seed is None:
        model._split_seed = int(model.rng_.integers(2**53))
    order = np.random.default_rng(model._split_seed).permutation(count)
    held_out = _number_held_out(count, fraction)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _number_held_out(count, fraction):
    """How many of `count` sequences; ValueError if nothing would be left on one side."""
    if count < 2:
        raise ValueError(f"x: found {count} sequence, expected 2 at least, of which one can be held out for validation")
    return min(count - 1, max(1, round(count * fraction)))

"""`FastRNN`'s constructor parameters: they are only stored, and checked by fit."""

import inspect

import numpy as np
import pytest
from helpers import fit_small, raised, same_weights_as, weights

from fastrnn import FastRNN


class TestParameters:
    def test_the_constructor_only_stores(self):
        thing = object()
        model = FastRNN(cell=thing, hidden_dim=thing, random_state=thing)
        assert model.cell is thing and model.hidden_dim is thing and model.get_params()["random_state"] is thing
        assert set(vars(model)) == set(inspect.signature(FastRNN).parameters)

    def test_get_and_set(self):
        model = FastRNN("lstm", 7)
        assert model.set_params(hidden_dim=9, bias=False) is model
        parameters = model.get_params()
        assert parameters["cell"] == "lstm" and parameters["hidden_dim"] == 9 and parameters["bias"] is False
        assert FastRNN(**parameters).get_params() == parameters
        assert repr(model) == "FastRNN(cell='lstm', hidden_dim=9, bias=False)"
        with pytest.raises(ValueError, match="no parameter 'hidden'"):
            model.set_params(hidden=3)

    def test_parameters_set_after_fit_wait_for_the_next(self, tmp_path):
        model, x, y = fit_small()
        loss = model.loss(x, y)
        model.set_params(hidden_dim=3, cell="rnn", bias=False, dtype="float64")
        assert model.loss(x, y) == loss
        assert max(model.check_gradients(x[:2], y[:2]).values()) < 1e-2
        model.save(tmp_path / "model")
        assert FastRNN.load(tmp_path / "model").loss(x, y) == loss
        assert model.fit(x, y).params_["layer0.W"].shape == (3, 3)

    @pytest.mark.parametrize("bad, error", [
        *[({"cell": value}, ValueError) for value in ("GRU", "transformer", None, 3)],
        *[({"hidden_dim": value}, error) for value, error in ((0, ValueError), (2.5, TypeError), (True, TypeError))],
        *[({"vocab_size": value}, error) for value, error in ((0, ValueError), ("8000", TypeError))],
        *[({name: value}, TypeError) for name in ("bias", "peepholes") for value in ("yes", 1, None)],
        *[({"init": value}, ValueError) for value in ("ones", None, 0.1)],
        *[({"early_stopping": value}, TypeError) for value in ("yes", None)],
        *[({"bptt_truncate": value}, error) for value, error in ((-1, ValueError), (4.0, TypeError))],
        *[({"optimizer": value}, ValueError) for value in ("adamw", None)],
        *[({"learning_rate": value}, ValueError) for value in (0, -1, float("nan"), float("inf"))],
        ({"learning_rate": "fast"}, TypeError),
        *[({"momentum": value}, error) for value, error in ((1.0, ValueError), (-0.1, ValueError), (None, TypeError))],
        *[({"batch_size": value}, error) for value, error in ((0, ValueError), (1.5, TypeError))],
        *[({"max_epochs": value}, error) for value, error in ((-1, ValueError), (None, TypeError))],
        *[({"clip_norm": value}, error) for value, error in ((0, ValueError), (-1, ValueError), ("5", TypeError))],
        ({"lr_schedule": "cosine"}, ValueError),
        ({"evaluate_every": 0}, ValueError),
        *[({name: 0}, ValueError) for name in ("patience", "n_iter_no_change", "validation_fraction")],
        *[({"lr_decay_start": value}, error) for value, error in ((-1, ValueError), (2.5, TypeError))],
        *[({"validation_fraction": value}, error) for value, error in ((1.0, ValueError), ("half", TypeError))],
        *[({name: -1e-9}, ValueError) for name in ("tol", "weight_noise", "checkpoint_minutes")],
        *[({name: 1}, TypeError) for name in ("early_stopping", "warm_start", "checkpoint")],
        *[({"dtype": value}, ValueError) for value in ("float16", "int32", "double precision", 3, None)],
        *[({"n_threads": value}, error) for value, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError))],
        *[({"random_state": value}, error) for value, error in ((-1, ValueError), ("seed", TypeError))],
    ])  # fmt: skip
    def test_impossible_parameters(self, bad, error):
        name = next(iter(bad))
        model, x, y = fit_small()
        before, curve = weights(model), list(model.loss_curve_)
        message = raised(error, model.set_params(**bad).fit, x, y)
        assert message.startswith(f"{name}: found {bad[name]!r}, expected ")
        assert same_weights_as(model, before) and model.loss_curve_ == curve
        fresh = FastRNN(**bad)
        assert raised(error, fresh.fit, x, y) == message
        assert not hasattr(fresh, "params_")
        fresh = FastRNN(**bad)
        assert raised(error, fresh.partial_fit, x, y) == message

    @pytest.mark.parametrize("same", [
        {"dtype": np.float64}, {"dtype": np.dtype("float32")}, {"hidden_dim": np.int64(6)},
        {"learning_rate": np.float32(0.5)}, {"bias": np.True_}, {"batch_size": np.int32(4)},
        {"random_state": np.int64(3)},
    ])  # fmt: skip
    def test_numpy_scalars_are_numbers(self, same, tmp_path):
        model, x, y = fit_small(**same, max_epochs=0)
        model.save(tmp_path / "model")
        again = FastRNN.load(tmp_path / "model")
        assert again.loss(x, y) == model.loss(x, y)
        name, value = next(iter(same.items()))
        assert again.get_params()[name] == (np.dtype(value).name if name == "dtype" else value)

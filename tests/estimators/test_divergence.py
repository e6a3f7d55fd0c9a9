"""`FastRNN`'s weights stay finite."""

import numpy as np
import pytest
from helpers import CELLS, fit_small, make_model, raised, random_batch, same_weights_as, weights

from fastrnn import DivergenceError, FastRNN


class TestDivergence:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("rate, optimizer, clip_norm", [
        (1e30, "sgd", None), (1e36, "sgd", None), (1e38, "sgd", 5.0), (1e38, "adam", 5.0), (1e38, "rmsprop", None),
    ])  # fmt: skip
    @pytest.mark.parametrize("cell", CELLS)
    def test_weights_stay_finite(self, cell, rate, optimizer, clip_norm, threads):
        x, y = random_batch(9, [6, 5, 4, 3] * 5)
        with np.errstate(all="ignore"):  # NumPy warns where kernels run as plain Python
            model = FastRNN(cell, 5, 9, max_epochs=0, random_state=0, batch_size=2, n_threads=threads).fit(x, y)
            before = weights(model)
            model.set_params(learning_rate=rate, optimizer=optimizer, clip_norm=clip_norm, max_epochs=5)
            message = raised(DivergenceError, model.fit, x, y)
        assert "learning_rate" in message and "epoch 1" in message and f"{rate:g}" in message
        assert model.loss_curve_ == []
        assert same_weights_as(model, before)  # none were good since: the same seed's first
        assert np.isfinite(model.loss(x, y))
        assert issubclass(DivergenceError, FloatingPointError)

    def test_later_epochs_keep_what_was_learned(self):
        model, x, y = fit_small(optimizer="sgd", clip_norm=None, learning_rate=0.1, batch_size=1)
        x, y = x * 3, y * 3
        before, curve = weights(model), list(model.loss_curve_)
        model.optimizer_.learning_rate = 1e36
        with np.errstate(all="ignore"):
            assert "epoch 3" in raised(DivergenceError, model.partial_fit, x, y)
        assert same_weights_as(model, before) and model.loss_curve_ == curve
        model.optimizer_.learning_rate = 0.1
        assert np.isfinite(model.partial_fit(x, y).loss_curve_[-1])

    def test_gradients_at_weights_that_overflow_are_nan(self):
        model = make_model("rnn", 6, 4, dtype="float64")
        model.params_["V"] = np.full((6, 4), 1e308)
        model.params_["layer0.U"] = np.full((4, 6), 20.0)
        with np.errstate(all="ignore"):
            loss, gradients = model.gradients([[1, 2, 3]], [[2, 3, 4]])
        assert np.isnan(loss) and all(np.isnan(array).all() for array in gradients.values())

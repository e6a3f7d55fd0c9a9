"""Sequences that `FastRNN`'s methods cannot use, and methods before fit."""

import os

import numpy as np
import pytest
from helpers import make_model, raised, same_weights_as, weights

from fastrnn import FastRNN, NotFittedError

METHODS = ["fit", "partial_fit", "loss", "score", "perplexity", "score_samples", "token_losses", "gradients",
           "check_gradients"]  # fmt: skip


class TestInput:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("x, y, error, message", [
        ([], [], ValueError, "x is empty"),
        ([[1], []], [[1], []], ValueError, "x: sequence 1 is empty"),
        ([[1, 2]], [[1]], ValueError, "y: sequence 0 has 1 tokens, expected 2 as in x"),
        ([[1, 2], [3]], [[1], [2, 3]], ValueError, "y: sequence 0 has 1 tokens, expected 2 as in x"),
        ([[1]], [[1], [2]], ValueError, "y has 2 sequences, expected 1 as in x"),
        ([[1, 12]], [[1, 2]], ValueError, "x: sequence 0, position 1 is 12, expected 0 <= index < 12"),
        ([[1], [2, 3]], [[1], [4, 99]], ValueError, "y: sequence 1, position 1 is 99, expected 0 <= index < 12"),
        ([[1, -1]], [[1, 2]], ValueError, "x: sequence 0, position 1 is -1"),
        ([[1, 2]], [[1, -2]], ValueError, "y: sequence 0, position 1 is -2"),
        ([[1, 2**31]], [[1, 2]], ValueError, "x: sequence 0, position 1 is 2147483648"),
        ([[1, 2.0]], [[1, 2]], TypeError, "x must be a list of sequences of int indices, found float in sequence 0"),
        ([[1, 2]], [[1, float("nan")]], TypeError, "y must be a list of sequences of int indices, found nan"),
        ([np.array([1.0, 2.0])], [[1, 2]], TypeError, "x must be a list"),
        ([np.array([True, False])], [[1, 2]], TypeError, "x must be a list"),
        ([["a", "b"]], [[1, 2]], TypeError, "x must be a list of sequences of int indices, found str"),
        ("text", [[1]], TypeError, "x must be a list of sequences of int indices, found a single str"),
        ([1, 2, 3], [[1]], TypeError, "x must be a list of sequences of int indices, found a flat list of int"),
        (None, [[1]], TypeError, "x must be a list of sequences of int indices, found a single None"),
        ([[1]], [None], TypeError, "y must be a list of sequences of int indices, found None"),
    ])  # fmt: skip
    def test_unusable_sequences(self, method, x, y, error, message):
        model = make_model("gru", 12, 4).set_params(vocab_size=12)
        before, state = weights(model), model.rng_.bit_generator.state
        assert raised(error, getattr(model, method), x, y).startswith(message)
        assert same_weights_as(model, before) and model.loss_curve_ == []
        assert model.rng_.bit_generator.state == state

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "activations"])
    def test_unusable_inputs_of_predict(self, method):
        predict = getattr(make_model("gru", 12, 4), method)
        assert raised(ValueError, predict, []).startswith("x is empty")
        assert raised(ValueError, predict, [[]]).startswith("x: sequence 0 is empty")
        assert raised(ValueError, predict, [[3, 12]]).startswith("x: sequence 0, position 1 is 12")
        assert raised(TypeError, predict, [[0.5]]).startswith("x must be a list")

    def test_partial_fit_keeps_its_vocabulary(self):
        model = FastRNN("rnn", 3, max_epochs=0).partial_fit([[1, 2]], [[2, 3]])
        assert raised(ValueError, model.partial_fit, [[4]], [[0]]).startswith("x: sequence 0, position 0 is 4")

    @pytest.mark.parametrize("method, args", [
        *[(method, ([[1]], [[1]])) for method in METHODS if "fit" not in method],
        ("predict", ([[1]],)), ("predict_proba", ([[1]],)), ("activations", ([[1]],)), ("generate", ()),
        ("save", ("never",)),
    ])  # fmt: skip
    def test_not_fitted(self, method, args):
        message = raised(NotFittedError, getattr(FastRNN(), method), *args)
        assert message.startswith("this FastRNN is not fitted yet")
        assert not os.path.exists("never")

    @pytest.mark.parametrize("name", ["params_", "vocab_size_", "loss_curve_", "evaluations_", "n_epochs_",
                                      "learning_rate_"])  # fmt: skip
    def test_what_fit_learns_is_absent_before(self, name):
        assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)
        assert not hasattr(FastRNN(), name)
        assert hasattr(make_model(), name)

"""`FastRNN.params_`: names, shapes, views, assignment."""

import numpy as np
import pytest
import reference
from helpers import make_model, random_batch, same_weights_as, weights


class TestWeights:
    def test_assignment_copies(self):
        model = make_model("lstm")
        array = np.arange(21.0).reshape(3, 7)[:, :5]
        model.params_["layer0.p"] = array
        np.testing.assert_array_equal(model.params_["layer0.p"], array)
        array[:] = 0
        assert model.params_["layer0.p"].any()
        model.params_["c"] = list(range(7))
        assert model.params_["c"].tolist() == list(range(7)) and model.params_["c"].dtype == np.float32

    def test_views_are_the_weights(self):
        model = make_model("gru", dtype="float64")
        x, y = random_batch(7, [4, 3])
        for name in list(model.params_):
            model.params_[name][...] *= 0.5
            expected = reference.loss("gru", weights(model), x, y)
            assert model.loss(x, y) == pytest.approx(expected, rel=1e-12), name

    @pytest.mark.parametrize("cell, bias, names", [
        ("rnn", False, ["layer0.U", "layer0.W", "V"]),
        ("rnn", True, ["layer0.U", "layer0.W", "layer0.b", "V", "c"]),
        ("gru", True, ["layer0.U", "layer0.W", "layer0.b", "V", "c"]),
        ("lstm", True, ["layer0.U", "layer0.W", "layer0.b", "layer0.p", "V", "c"]),
        ("lstm", False, ["layer0.U", "layer0.W", "layer0.p", "V"]),
    ])  # fmt: skip
    @pytest.mark.parametrize("peepholes", [True, False])
    def test_names_and_shapes(self, cell, bias, names, peepholes):
        params = make_model(cell, 7, 5, bias=bias, peepholes=peepholes).params_
        names = [name for name in names if peepholes or name != "layer0.p"]
        assert list(params) == names and len(params) == len(names)
        rng = np.random.default_rng(0)
        expected = reference.init_params(cell, 7, 5, bias, rng, peepholes=peepholes)
        assert {n: a.shape for n, a in params.items()} == {n: a.shape for n, a in expected.items()}
        assert "V: float32[7, 5]" in repr(params).replace("'", "")

    @pytest.mark.parametrize("name, value, error, message", [
        ("V", np.zeros((5, 7)), ValueError, r"V: found shape \(5, 7\), expected \(7, 5\)"),
        ("V", 0.0, ValueError, r"V: found shape \(\), expected \(7, 5\)"),
        ("V", np.full((7, 5), np.nan), ValueError, "V: found NaN or infinity"),
        ("V", np.full((7, 5), -np.inf), ValueError, "V: found NaN or infinity"),
        ("V", np.full((7, 5), 1e300), ValueError, "V: found NaN or infinity.*float32"),
        ("V", np.full((7, 5), "a"), TypeError, "V: found dtype <U1, expected numbers"),
        ("V", np.zeros((7, 5), complex), TypeError, "V: found dtype complex128, expected numbers"),
        ("V", np.zeros((7, 5), bool), TypeError, "V: found dtype bool, expected numbers"),
        ("W", np.zeros((5, 5)), KeyError, "no parameter 'W', expected one of layer0.U, "),
    ])  # fmt: skip
    def test_unusable_weights(self, name, value, error, message):
        model = make_model("rnn", dtype="float32")
        before = weights(model)
        with pytest.raises(error, match=message):
            model.params_[name] = value
        with pytest.raises(TypeError, match="cannot be removed"):
            del model.params_["V"]
        assert same_weights_as(model, before)

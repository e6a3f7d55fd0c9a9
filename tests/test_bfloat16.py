"""Products of factors in bfloat16 (matmul_precision="bfloat16"): how they round, and that nothing else does."""

import copy
import logging

import numpy as np
import pytest
import reference
from conftest import CELLS, COMPILED, examples, make_model, random_batch, weights
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import Ensemble, FastRNN, LanguageModel, Seq2Seq, devices
from fastrnn.cpu import bfloat16
from fastrnn.cpu.bfloat16 import split, two
from fastrnn.cpu.vector import has_features

pytestmark = pytest.mark.skipif(bfloat16.problem() is not None, reason=str(bfloat16.problem()))

ROUNDING = 2.0**-8  # of a factor, relative
SMALL = {"hidden_dim": 8, "max_epochs": 2, "batch_size": 2, "random_state": 0}
X, Y = [[0, 2, 1, 3], [2, 0]], [[2, 1, 3, 1], [0, 1]]


def rounded(array):
    """A float32 array with the precision of bfloat16."""
    return split(two(array, array))[0]


def distance(found, expected):
    """The norm of the difference of two gradients, {name: array}, over the norm of the second."""
    off = sum(np.sum((found[name].astype(np.float64) - expected[name]) ** 2) for name in expected)
    return np.sqrt(off / sum(np.sum(expected[name].astype(np.float64) ** 2) for name in expected))


class TestNumbers:
    def test_are_rounded_to_the_nearest(self):
        rng = np.random.default_rng(0)
        x = (rng.standard_normal(10_000) * 10 ** rng.uniform(-30, 30, 10_000)).astype(np.float32)
        first, second = split(two(x, -x))
        np.testing.assert_array_equal(first, -second)
        assert not (first.view(np.uint32) & 0xFFFF).any()
        assert 0.9 * ROUNDING < np.max(np.abs(first / x - 1)) <= ROUNDING

    def test_exact_and_not_finite_ones_stay(self):
        x = np.array([0, 1, -2.5, 255, 2**-126, np.inf, -np.inf, np.nan], np.float32)
        np.testing.assert_array_equal(rounded(x), x)


class TestGradients:
    @examples(30)
    @given(st.data())
    def test_are_the_float32_ones_but_for_the_rounding(self, data):
        """Of any size: odd numbers of words, units and tokens; with and without bias; 1 and 2 threads."""
        draw = data.draw
        cell, C, H = draw(st.sampled_from(CELLS)), draw(st.integers(2, 230)), draw(st.integers(1, 20))
        lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=20))
        model = make_model(
            cell, C, H, draw(st.integers(0, 99)), bias=draw(st.booleans()), dtype="float32",
            n_threads=draw(st.integers(1, 2)),
        )  # fmt: skip
        x, y = random_batch(C, lengths, draw(st.integers(0, 99)))
        loss, expected = model.gradients(x, y)
        model.set_params(matmul_precision="bfloat16")
        rounded_loss, found = model.gradients(x, y)
        assert rounded_loss == pytest.approx(loss, abs=0.02) and rounded_loss >= 0
        assert model.loss(x, y) == pytest.approx(rounded_loss, rel=1e-5)
        assert distance(found, expected) < 4 * ROUNDING

    def test_are_rounded(self):
        model = make_model("rnn", 300, 20, 0, dtype="float32")
        x, y = random_batch(300, [9] * 30, 0)
        loss, exact = model.gradients(x, y)
        model.set_params(matmul_precision="bfloat16")
        assert model.gradients(x, y)[0] != loss
        assert distance(model.gradients(x, y)[1], exact) > ROUNDING / 30

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_logits_that_lie_far_apart(self, threads, order):
        """What is subtracted from a token's logits is raised again and again, or far too large in the end."""
        C, (x, y) = 701, random_batch(701, [9] * 12 + [4] * 9, 0)
        model = make_model("rnn", C, 9, 0, dtype="float32", n_threads=threads)
        model.params_["c"] = np.linspace(-400, 400, C)[::order]
        expected_loss, expected = reference.gradients("rnn", weights(model), x, y)
        model.set_params(matmul_precision="bfloat16")
        loss, found = model.gradients(x, y)
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert distance(found, expected) < 2 * ROUNDING

    def test_of_a_well_predicted_word_are_not_lost_in_the_rounding(self):
        """1 - p of the target is 1e-4, less than p is rounded by."""
        model = make_model("rnn", 50, 8, 0, dtype="float32")
        x, y = [[1] * 7], [[3] * 7]
        model.params_["c"][:] = 0
        model.params_["c"][3] = np.log(50) + np.log(1e4)
        expected_loss, expected = reference.gradients("rnn", weights(model), x, y)
        assert 1e-5 < expected_loss < 1e-3
        model.set_params(matmul_precision="bfloat16")
        loss, found = model.gradients(x, y)
        assert loss == pytest.approx(expected_loss, rel=0.01)
        assert distance(found, expected) < 4 * ROUNDING

    def test_of_what_is_not_finite(self):
        model = make_model("rnn", 50, 8, 0, dtype="float32", matmul_precision="bfloat16")
        model.params_["V"][7, 3] = np.nan
        loss, found = model.gradients([[1, 2]], [[2, 3]])
        assert np.isnan(loss) and np.isnan(found["V"]).all()


class TestTraining:
    def test_learns_as_float32_does(self):
        x, y = random_batch(12, [8] * 40, 0)
        y = x
        losses = {}
        for precision in ("float32", "bfloat16"):
            model = FastRNN("gru", hidden_dim=16, max_epochs=25, random_state=0, matmul_precision=precision).fit(x, y)
            losses[precision] = model.loss(x, y)
        assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05) and losses["bfloat16"] < 1
        assert model.network_.model.dense.dtype == np.float32

    @pytest.mark.parametrize("threads", [1, 2])
    def test_same_seed_same_bits(self, threads):
        x, y = random_batch(130, [8] * 20, 0)
        one, two = (
            FastRNN("lstm", **SMALL, n_threads=threads, matmul_precision="bfloat16").fit(x, y) for _ in range(2)
        )
        for name, array in one.params_.items():
            np.testing.assert_array_equal(array, two.params_[name])

    def test_a_checkpoint_and_files_do_not_hold_it(self, tmp_path):
        path = tmp_path / "run.ckpt"
        FastRNN(**SMALL | {"max_epochs": 1}, checkpoint=path).fit(X, Y)
        model = FastRNN(**SMALL, matmul_precision="bfloat16").fit(X, Y, resume=path)
        assert model.n_epochs_ == 2
        model.save(tmp_path / "model.npz")
        again = FastRNN.load(tmp_path / "model.npz")
        assert again.matmul_precision == "float32" and copy.deepcopy(model).matmul_precision == "bfloat16"
        np.testing.assert_array_equal(again.predict_proba(X)[0], model.predict_proba(X)[0])

    def test_text(self):
        model = LanguageModel(**SMALL, matmul_precision="bfloat16").fit(["A cat sat. A dog sat. A cat ran."])
        assert model.network_.matmul_precision == "bfloat16" if hasattr(model, "network_") else True
        assert model.generate(1, random_state=0)


def test_predictions_and_what_is_drawn_are_not_rounded():
    model = make_model("gru", 70, 9, 0, dtype="float32")
    x, _ = random_batch(70, [9] * 12, 0)
    expected = model.predict(x), model.predict_proba(x), model.generate(9, random_state=0, max_length=5)
    model.set_params(matmul_precision="bfloat16")
    for found, wanted in zip((model.predict(x), model.predict_proba(x)), expected, strict=False):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(model.generate(9, random_state=0, max_length=5), expected[2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module", params=[8, 9])
def searched(request):
    """A model and its sources."""
    rng = np.random.default_rng(0)
    source = [rng.integers(2, 40, rng.integers(2, 6)) for _ in range(40)]
    target = [np.append(s[::-1], 1) for s in source]
    parameters = {"hidden_dim": request.param, "max_epochs": 6, "random_state": 0, "batch_size": 8}
    return Seq2Seq("lstm", **parameters, init_scale=0.7, n_threads=2).fit(source, target), source


class TestSearch:
    @pytest.mark.parametrize("many", [1, 2])
    def test_finds_what_float32_finds(self, searched, many):
        model, source = searched
        searching = model if many == 1 else Ensemble([model, model])
        found = {}
        for precision in ("float32", "bfloat16"):
            model.set_params(matmul_precision=precision)
            found[precision] = searching.search(source, beam_width=3, max_length=9)
        pairs = list(zip(*found.values(), strict=True))
        assert all(len(one) == len(other) for one, other in pairs)
        off = [abs(one[0].log_prob - other[0].log_prob) for one, other in pairs]
        assert 0 < max(off) < 0.1
        same = [np.array_equal(one[0].tokens, other[0].tokens) for one, other in pairs]
        assert np.mean(same) > 0.8


class TestParameter:
    def test_of_a_cpu(self):
        assert devices.products("bfloat16", "float32", "cpu") == "bfloat16"
        assert devices.products("tf32", "float32", "cpu") == "float32"
        with pytest.raises(
            ValueError, match='^matmul_precision: found "bfloat16" with dtype float64, expected dtype f'
        ):
            FastRNN(**SMALL, dtype="float64", matmul_precision="bfloat16").fit(X, Y)

    def test_of_a_cpu_without(self, monkeypatch, caplog):
        """It is said once, and all is as in float32."""
        monkeypatch.setattr(devices, "bfloat16_problem", lambda: "this CPU has no AVX512_BF16")
        devices._tell.cache_clear()
        expected = FastRNN(**SMALL).fit(X, Y).loss_curve_
        with caplog.at_level(logging.WARNING, "fastrnn"):
            for _ in range(2):
                assert FastRNN(**SMALL, matmul_precision="bfloat16").fit(X, Y).loss_curve_ == expected
        said = 'matmul_precision="bfloat16": products are in float32, since this CPU has no AVX512_BF16'
        assert caplog.text.count(said) == 1

    def test_of_a_gpu(self, monkeypatch):
        monkeypatch.setattr(devices, "_tf32_problem", lambda: None)
        assert devices.products("bfloat16", "float32", "cuda") == "tf32"

    @pytest.mark.compiled
    def test_the_cpu_s_features_decide(self, monkeypatch):
        assert COMPILED and has_features("+avx512bf16", features="+avx2,+avx512bf16")
        monkeypatch.setattr(bfloat16, "has_features", lambda *wanted: False)
        assert bfloat16.problem() == "this CPU has no AVX512_BF16"

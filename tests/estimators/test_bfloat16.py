"""Estimators with matmul_precision="bfloat16": training, files, search, and CPUs without the instruction."""

import copy
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from bfloat16_helpers import needs_instruction
from helpers import COMPILED, make_model, random_batch

from fastrnn import Ensemble, FastRNN, LanguageModel, Seq2Seq, warmup
from fastrnn.kernels.compiler.features import has_features
from fastrnn.kernels.linalg import bfloat16
from fastrnn.networks import devices

pytestmark = pytest.mark.usefixtures("bfloat16_on_any_cpu")

SMALL = {"hidden_dim": 8, "max_epochs": 2, "batch_size": 2, "random_state": 0}
X, Y = [[0, 2, 1, 3], [2, 0]], [[2, 1, 3, 1], [0, 1]]


@needs_instruction
class TestTraining:
    def test_learns_as_float32_does(self):
        x, y = random_batch(12, [8] * 40, 0)
        y = x
        losses = {}
        for precision in ("float32", "bfloat16"):
            model = FastRNN("lstm", hidden_dim=16, max_epochs=25, random_state=0, matmul_precision=precision).fit(x, y)
            losses[precision] = model.loss(x, y)
        assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05) and losses["bfloat16"] < 1
        assert model.network_.model.dense.dtype == np.float32

    @pytest.mark.parametrize("threads", [1, 2])
    def test_same_seed_same_bits(self, threads):
        x, y = random_batch(130, [8] * 20, 0)
        one, other = (
            FastRNN("lstm", **SMALL, n_threads=threads, matmul_precision="bfloat16").fit(x, y) for _ in range(2)
        )
        for name, array in one.params_.items():
            np.testing.assert_array_equal(array, other.params_[name])

    def test_a_checkpoint_and_files_do_not_hold_it(self, tmp_path):
        path = tmp_path / "run.ckpt"
        FastRNN("lstm", **SMALL | {"max_epochs": 1}, checkpoint=path).fit(X, Y)
        model = FastRNN("lstm", **SMALL, matmul_precision="bfloat16").fit(X, Y, resume=path)
        assert model.n_epochs_ == 2
        model.save(tmp_path / "model.npz")
        again = FastRNN.load(tmp_path / "model.npz")
        assert again.matmul_precision == "float32" and copy.deepcopy(model).matmul_precision == "bfloat16"
        np.testing.assert_array_equal(again.predict_proba(X)[0], model.predict_proba(X)[0])

    def test_text(self):
        text = ["A cat sat. A dog sat. A cat ran."]
        model = LanguageModel(cell="lstm", **SMALL, matmul_precision="bfloat16").fit(text)
        assert model.model_.network_.matmul_precision == "bfloat16"
        assert model.generate(1, random_state=0)


@needs_instruction
def test_predictions_and_what_is_drawn_are_not_rounded():
    model = make_model("lstm", 70, 9, 0, dtype="float32")
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


@needs_instruction
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


@needs_instruction
@pytest.mark.parametrize("first", [(9, "bfloat16"), (4, "bfloat16"), (9, "float32")])
def test_an_ensemble_of_several_sizes_and_precisions(first):
    rng, models = np.random.default_rng(0), []
    source = [rng.integers(2, 20, 3) for _ in range(12)]
    for H, precision in (first, (4, "bfloat16"), (9, "bfloat16")):
        parameters = {"hidden_dim": H, "max_epochs": 1, "init_scale": 0.7, "random_state": 0}
        targets = [np.append(s, 1) for s in source]
        models.append(Seq2Seq("gru", **parameters, matmul_precision=precision).fit(source, targets))
    found = Ensemble(models).search(source, beam_width=3, max_length=4)
    for model in models:
        model.set_params(matmul_precision="float32")
    for one, other in zip(found, Ensemble(models).search(source, beam_width=3, max_length=4), strict=True):
        assert one[0].log_prob == pytest.approx(other[0].log_prob, abs=0.05)


class TestParameter:
    def test_of_a_cpu(self):
        assert devices.product_precision("bfloat16", "float32", "cpu") == "bfloat16"
        assert devices.product_precision("tf32", "float32", "cpu") == "float32"
        with pytest.raises(
            ValueError, match='^matmul_precision: found "bfloat16" with dtype float64, expected dtype f'
        ):
            FastRNN("lstm", **SMALL, dtype="float64", matmul_precision="bfloat16").fit(X, Y)

    def test_warmup_asks_before_it_compiles(self):
        with pytest.raises(ValueError, match='^matmul_precision: found "bfloat16" with dtype float64'):
            warmup(["rnn"], ["float32", "float64"], matmul_precision="bfloat16")

    def test_of_a_cpu_without(self, monkeypatch, caplog):
        """It is said once, and all is as in float32."""
        monkeypatch.setattr(devices, "bfloat16_problem", lambda: "this CPU has no AVX512_BF16")
        devices._tell.cache_clear()
        expected = FastRNN("lstm", **SMALL).fit(X, Y).loss_curve_
        with caplog.at_level(logging.WARNING, "fastrnn"):
            for _ in range(2):
                assert FastRNN("lstm", **SMALL, matmul_precision="bfloat16").fit(X, Y).loss_curve_ == expected
        said = 'matmul_precision="bfloat16": products are in float32, since this CPU has no AVX512_BF16'
        assert caplog.text.count(said) == 1

    def test_of_a_gpu(self, monkeypatch):
        monkeypatch.setattr(devices, "_tf32_problem", lambda: None)
        assert devices.product_precision("bfloat16", "float32", "cuda") == "tf32"

    @pytest.mark.compiled
    def test_the_cpu_s_features_decide(self, monkeypatch):
        assert COMPILED and has_features("+avx512bf16", features="+avx2,+avx512bf16")
        monkeypatch.setattr(bfloat16, "has_features", lambda *wanted: False)
        assert bfloat16.problem() == "this CPU has no AVX512_BF16"

    @pytest.mark.compiled
    def test_vectors_may_be_forbidden(self):
        """Then no instruction of theirs is asked for: LLVM would end the process."""
        script = "from fastrnn.kernels.linalg import bfloat16; print(bfloat16.problem())"
        environment = os.environ | {"NUMBA_ENABLE_AVX": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "this CPU has no AVX512_BF16\n"

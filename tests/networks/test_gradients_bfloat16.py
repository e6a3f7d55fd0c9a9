"""Gradients with matmul_precision="bfloat16": those in float32 but for the rounding."""

import numpy as np
import pytest
import reference
from bfloat16_helpers import ROUNDING, needs_instruction
from helpers import CELLS as ALL_CELLS
from helpers import COMPILED, examples, make_model, random_batch, weights
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("bfloat16_on_any_cpu")

CELLS = ["lstm"] if COMPILED else ALL_CELLS  # what depends on the cell is shown without compiling it once more


def distance(found, expected):
    """The norm of the difference of two gradients, {name: array}, over the norm of the second."""
    off = sum(np.sum((found[name].astype(np.float64) - expected[name]) ** 2) for name in expected)
    return np.sqrt(off / sum(np.sum(expected[name].astype(np.float64) ** 2) for name in expected))


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
        model = make_model("lstm", 300, 20, 0, dtype="float32")
        x, y = random_batch(300, [9] * 30, 0)
        loss, exact = model.gradients(x, y)
        model.set_params(matmul_precision="bfloat16")
        assert model.gradients(x, y)[0] != loss
        assert distance(model.gradients(x, y)[1], exact) > ROUNDING / 30

    @pytest.mark.every_cpu
    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_logits_that_lie_far_apart(self, threads, order):
        """What is subtracted from a token's logits is raised again and again, or far too large in the end."""
        C, (x, y) = 701, random_batch(701, [9] * 12 + [4] * 9, 0)
        model = make_model("lstm", C, 9, 0, dtype="float32", n_threads=threads)
        model.params_["c"] = np.linspace(-400, 400, C)[::order]
        expected_loss, expected = reference.gradients("lstm", weights(model), x, y)
        model.set_params(matmul_precision="bfloat16")
        loss, found = model.gradients(x, y)
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert distance(found, expected) < 2 * ROUNDING

    def test_of_a_well_predicted_word_are_not_lost_in_the_rounding(self):
        """1 - p of the target is 1e-4, less than p is rounded by."""
        model = make_model("lstm", 50, 8, 0, dtype="float32")
        x, y = [[1] * 7], [[3] * 7]
        model.params_["c"][:] = 0
        model.params_["c"][3] = np.log(50) + np.log(1e4)
        expected_loss, expected = reference.gradients("lstm", weights(model), x, y)
        assert 1e-5 < expected_loss < 1e-3
        model.set_params(matmul_precision="bfloat16")
        loss, found = model.gradients(x, y)
        assert loss == pytest.approx(expected_loss, rel=0.01)
        assert distance(found, expected) < 4 * ROUNDING

    def test_of_what_is_not_finite(self):
        model = make_model("lstm", 50, 8, 0, dtype="float32", matmul_precision="bfloat16")
        model.params_["V"][7, 3] = np.nan
        loss, found = model.gradients([[1, 2]], [[2, 3]])
        assert np.isnan(loss) and np.isnan(found["V"]).all()


SHAPES = {
    "one": {}, "deep": {"num_layers": 2}, "embedding": {"embedding_dim": 7},
    "three": {"num_layers": 3, "embedding_dim": 4},
    "tied": {"num_layers": 2, "embedding_dim": "hidden_dim", "tie_weights": True},
}  # fmt: skip


def gradients(precision, cell, shape, H=9, k=None, threads=2, lengths=(9, 7, 7, 4, 1, 1), **parameters):
    """Loss and gradients of a model whose products are of that precision."""
    shape = {name: H if value == "hidden_dim" else value for name, value in SHAPES[shape].items()}
    model = make_model(cell, 11, H, 0, 0.5, dtype="float32", bptt_truncate=k, n_threads=threads,
                       matmul_precision=precision, **shape, **parameters)  # fmt: skip
    return model, model.gradients(*random_batch(11, lengths, 0))


@needs_instruction
class TestLayers:
    @pytest.mark.parametrize("k", [None, 2])
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("cell", CELLS)
    def test_gradients_differ_by_rounding(self, cell, shape, k):
        lengths = (9, 7, 7, 4, 1, 1) if COMPILED else (4, 3, 1)
        for H in (9, 70) if COMPILED else (5,):
            (_, (loss, expected)), (_, (rounded_loss, found)) = (
                gradients(precision, cell, shape, H, k, lengths=lengths) for precision in ("float32", "bfloat16")
            )
            assert rounded_loss == pytest.approx(loss, rel=1e-2)
            for name, array in expected.items():
                difference = np.linalg.norm(found[name] - array) / np.linalg.norm(array)
                assert difference < 0.02, name
                assert difference > 1e-5 or name == "c", name

    @pytest.mark.parametrize("cell", CELLS)
    def test_the_same_bits_again(self, cell):
        runs = []
        for _ in range(2):
            model, (loss, found) = gradients("bfloat16", cell, "three", dropout=0.2)
            x, y = random_batch(11, (5, 4, 3, 1), 1)
            model.set_params(max_epochs=2, warm_start=True).fit(x, y)
            runs.append([loss, *found.values(), *model.params_.values(), model.loss(x, y)])
        for first, second in zip(*runs, strict=True):
            np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("cell", CELLS)
    def test_dropout_is_that_of_float32(self, cell):
        """A step of training drops the same; what it learns differs by rounding."""
        trained = []
        for precision in ("float32", "bfloat16"):
            shape = {"num_layers": 2, "embedding_dim": 5, "dropout": 0.3}
            model = make_model(cell, 11, 9, 0, 0.5, matmul_precision=precision, optimizer="sgd", clip_norm=None,
                               learning_rate=0.1, **shape)  # fmt: skip
            before = {name: array.copy() for name, array in model.params_.items()}
            model.set_params(max_epochs=1, warm_start=True).fit(*random_batch(11, (5, 4, 3, 1), 1))
            trained.append({name: array - before[name] for name, array in model.params_.items()})
        for name, step in trained[0].items():
            difference = np.linalg.norm(trained[1][name] - step) / np.linalg.norm(step)
            assert difference < 0.03, name
            assert difference > 1e-5 or name == "c", name

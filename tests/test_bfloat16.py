"""Products of bfloat16 on the CPU: against NumPy with rounded factors, and networks against those in float32."""

import numba
import numpy as np
import pytest
from conftest import CELLS, COMPILED, examples, make_model, random_batch
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import FastRNN
from fastrnn.cpu import bfloat16, panels
from fastrnn.cpu.gemm import PANEL, product
from fastrnn.devices import products

pytestmark = pytest.mark.skipif(bfloat16.problem() is not None, reason=str(bfloat16.problem()))
f4 = np.float32


def rounded(x):
    """Float32 numbers rounded to bfloat16, to nearest, as float64."""
    bits = np.ascontiguousarray(x, f4).view(np.uint32).astype(np.uint64) + 0x8000
    return (bits & 0xFFFF0000).astype(np.uint32).view(f4).astype(float)


def joined(first, second):
    """Pairs of float32 arrays as uint32."""
    first, second = (rounded(x).astype(f4).view(np.uint32) for x in (first, second))
    return first >> 16 | second


@numba.njit
def multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)


@numba.njit
def pack(size, W, out, transposed):
    for member in range(size):
        if transposed:
            panels.pack_transposed(member, size, W, out)
        else:
            panels.pack_weights(member, size, W, out)


@numba.njit
def multiply_panels(x, x0, x_row, weights, depth, k0, k1, first, last, out, out0, out_row, m, add):
    panels.panel_product(x, x0, x_row, weights, depth, k0, k1, first, last, out, out0, out_row, m, add)


@numba.njit
def sum_tokens(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch):
    panels.token_sum(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch)


def in_panels(W, transposed, dtype=np.uint32, size=2):
    columns, depth = W.shape if transposed else W.shape[::-1]
    out = np.full((panels.panel_rows(depth, columns, dtype), PANEL), 0x7FC07FC0, np.uint32).view(dtype)
    pack(size, W, out, transposed)
    return out


def close(found, expected, size):
    """Within 1e-5 of the sums of the factors' sizes: sums in float32, of what is exact in it."""
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(size).max() and np.any(found)


class TestProducts:
    @examples(300, plain=40)
    @given(
        m=st.integers(1, 20), n=st.integers(1, 150), depth=st.integers(1, 40), transposed=st.booleans(),
        add=st.booleans(), seed=st.integers(0, 1000),
    )  # fmt: skip
    def test_of_pairs(self, m, n, depth, transposed, add, seed):
        rng = np.random.default_rng(seed)
        a, b = (rng.standard_normal((2, *shape)).astype(f4) for shape in ((m, depth), (depth, n)))
        c = rng.standard_normal((m, n + 3)).astype(f4)
        parts = [rounded(x) @ rounded(y) for x, y in zip(a, b, strict=True)]
        expected, before = sum(parts) + (c[:, :n] if add else 0), c.copy()
        left = joined(*a).T.copy() if transposed else joined(*a)
        strides = (1, m) if transposed else (depth, 1)
        multiply(left.ravel(), 0, *strides, joined(*b).ravel(), 0, n, c.ravel(), 0, n + 3, m, n, depth, add)
        close(c[:, :n], expected, depth)
        assert (c[:, n:] == before[:, n:]).all()

    @pytest.mark.parametrize("transposed", [False, True])
    @examples(200, plain=30)
    @given(
        m=st.one_of(st.integers(1, 9), st.integers(90, 200)), columns=st.integers(1, 150),
        depth=st.one_of(st.integers(1, 40), st.integers(120, 700)), add=st.booleans(), data=st.data(),
    )  # fmt: skip
    def test_of_panels(self, transposed, m, depth, columns, add, data):
        """Any rows of W, any of its columns, more rows and longer ones than are rounded at a time."""
        k0, k1 = sorted((data.draw(st.integers(0, depth)), data.draw(st.integers(0, depth))))
        k0, k1 = (k0, k1) if k0 < k1 else (0, depth)
        first = data.draw(st.integers(0, columns - 1))
        last = data.draw(st.integers(first + 1, columns))
        rng = np.random.default_rng(m * depth)
        W, x = (rng.standard_normal(shape).astype(f4) for shape in ((depth, columns), (m, k1 - k0 + 3)))
        out = rng.standard_normal((m, last - first + 2)).astype(f4)
        expected = rounded(x[:, 1:-2]) @ rounded(W[k0:k1, first:last]) + (out[:, 1:-1] if add else 0)
        sides = out[:, [0, -1]]
        weights = in_panels(W.T.copy() if transposed else W, transposed)
        multiply_panels(
            x.ravel(), 1, x.shape[1], weights, depth, k0, k1, first, last, out.ravel(), 1, out.shape[1], m, add
        )
        close(out[:, 1:-1], expected, k1 - k0)
        assert (out[:, [0, -1]] == sides).all()

    @examples(100, plain=20)
    @given(
        count=st.one_of(st.integers(1, 9), st.integers(120, 300)), m=st.integers(1, 40), n=st.integers(1, 150),
        seed=st.integers(0, 1000),
    )  # fmt: skip
    def test_summed_over_tokens(self, count, m, n, seed):
        rng = np.random.default_rng(seed)
        x, d = (rng.standard_normal((count, size + 1)).astype(f4) for size in (m, n))
        out = np.full((m, n + 2), 77, f4)
        scratch = np.full(panels.token_sum_size(m, n), 0x7FC07FC0, np.uint32)
        sum_tokens(x.ravel(), 1, m + 1, d.ravel(), 1, n + 1, count, out.ravel(), 1, n + 2, m, n, scratch)
        close(out[:, 1:-1], rounded(x[:, 1:]).T @ rounded(d[:, 1:]), count)
        assert (out[:, [0, -1]] == 77).all()

    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("shape", [(1, 1), (2, 64), (3, 65), (16, 7), (37, 130)])
    def test_rows_in_pairs(self, shape, transposed):
        W = np.random.default_rng(0).standard_normal(shape).astype(f4)
        matrix = W.T if transposed else W
        depth, columns = matrix.shape
        matrix = np.vstack([matrix, np.zeros((depth % 2, columns), f4)])
        found = in_panels(W, transposed).reshape(-1, (depth + 1) // 2, PANEL)
        for panel, strip in enumerate(found):
            piece = matrix[:, panel * PANEL : (panel + 1) * PANEL]
            assert (strip[:, : piece.shape[1]] == joined(piece[::2], piece[1::2])).all()

    def test_not_numbers_come_through(self):
        W, x, out = np.ones((3, 2), f4), np.array([[1, np.nan, 1], [np.inf, 1, 1]], f4), np.zeros((2, 2), f4)
        with np.errstate(invalid="ignore"):
            multiply_panels(x.ravel(), 0, 3, in_panels(W, False), 3, 0, 3, 0, 2, out.ravel(), 0, 2, 2, False)
        assert np.isnan(out[0]).all() and (out[1] == np.inf).all()


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


class TestNetworks:
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

    @pytest.mark.parametrize("cell", CELLS)
    def test_passes_forward(self, cell):
        """Scores, probabilities, states: near those of float32, and not the same; sampling is in float32."""
        x, y = random_batch(11, (9, 7, 4, 1), 2)
        found = []
        for precision in ("float32", "bfloat16"):
            model, _ = gradients(precision, cell, "three")
            drawn = model.generate(3, max_length=5, random_state=0)
            found.append((model.score_samples(x, y), np.concatenate(model.predict_proba(x)), drawn))
        for expected, rounded_one in list(zip(*found, strict=True))[:2]:
            np.testing.assert_allclose(rounded_one, expected, rtol=0.02)
            assert np.any(rounded_one != expected)
        assert [list(s) for s in found[0][2]] == [list(s) for s in found[1][2]]


class TestDevices:
    def test_what_is_chosen(self):
        assert products("bfloat16", "float32", "cpu") == "bfloat16"
        assert products("tf32", "float32", "cpu") == products("float32", "float64", "cpu") == "float32"

    def test_only_float32_is_rounded(self):
        with pytest.raises(ValueError, match="^matmul_precision: found"):
            FastRNN(dtype="float64", matmul_precision="bfloat16", max_epochs=0).fit([[0]], [[0]])

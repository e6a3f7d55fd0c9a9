"""Products of factors in bfloat16 (matmul_precision="bfloat16"): how they round, and that nothing else does."""

import copy
import logging
import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest
import reference
from helpers import CELLS as ALL_CELLS
from helpers import COMPILED, examples, make_model, random_batch, weights
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import Ensemble, FastRNN, LanguageModel, Seq2Seq, warmup
from fastrnn.kernels.compiler.features import has_features
from fastrnn.kernels.cpu.layers import softmax, softmax_bfloat16
from fastrnn.kernels.linalg import bfloat16, packing
from fastrnn.kernels.linalg.bfloat16 import pack_bfloat16, unpack_bfloat16_pairs
from fastrnn.kernels.linalg.gemm import PANEL_WIDTH, product
from fastrnn.networks import devices, precompile

CELLS = ["lstm"] if COMPILED else ALL_CELLS  # what depends on the cell is shown without compiling it once more
ROUNDING = 2.0**-8  # of a factor, relative
SMALL = {"hidden_dim": 8, "max_epochs": 2, "batch_size": 2, "random_state": 0}
X, Y = [[0, 2, 1, 3], [2, 0]], [[2, 1, 3, 1], [0, 1]]
f4 = np.float32


# What compiles for minutes, and adds nothing to the tests of products and gradients but the way to them.
needs_instruction = pytest.mark.skipif(bfloat16.problem() is not None, reason=str(bfloat16.problem()))


@pytest.fixture(autouse=True)
def on_any_cpu(monkeypatch):
    """Where the CPU has no such instruction, the kernels do what it does."""
    monkeypatch.setattr(devices, "bfloat16_problem", lambda: None)


def rounded(x):
    """Float32 numbers rounded to bfloat16, to nearest, as float64."""
    bits = np.ascontiguousarray(x, f4).view(np.uint32).astype(np.uint64) + 0x8000
    return (bits & 0xFFFF0000).astype(np.uint32).view(f4).astype(float)


def distance(found, expected):
    """The norm of the difference of two gradients, {name: array}, over the norm of the second."""
    off = sum(np.sum((found[name].astype(np.float64) - expected[name]) ** 2) for name in expected)
    return np.sqrt(off / sum(np.sum(expected[name].astype(np.float64) ** 2) for name in expected))


class TestNumbers:
    def test_are_rounded_to_the_nearest(self):
        rng = np.random.default_rng(0)
        x = (rng.standard_normal(10_000) * 10 ** rng.uniform(-30, 30, 10_000)).astype(np.float32)
        first, second = unpack_bfloat16_pairs(pack_bfloat16(x, -x))
        np.testing.assert_array_equal(first, -second)
        assert not (first.view(np.uint32) & 0xFFFF).any()
        assert 0.9 * ROUNDING < np.max(np.abs(first / x - 1)) <= ROUNDING

    def test_exact_and_not_finite_ones_stay(self):
        x = np.array([0, 1, -2.5, 255, 2**-126, np.inf, -np.inf, np.nan], np.float32)
        np.testing.assert_array_equal(unpack_bfloat16_pairs(pack_bfloat16(x, x)), [x, x])

    @pytest.mark.every_cpu
    def test_in_kernels(self):
        rng = np.random.default_rng(0)
        x = np.append(rng.standard_normal(10_000) * 10 ** rng.uniform(-30, 30, 10_000), [0, np.inf, -np.inf]).astype(f4)
        found = np.empty(len(x), np.uint32)
        bfloat16.interleave_rows(x, -x, found)
        np.testing.assert_array_equal(found, joined(x, -x))
        np.testing.assert_array_equal(found, pack_bfloat16(x, -x))

    @pytest.mark.every_cpu
    def test_nan_of_any_bits_stays(self):
        nan = np.array([0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(f4)  # a GPU's is the second
        found = np.empty(len(nan), np.uint32)
        bfloat16.interleave_rows(nan, nan, found)
        assert (
            np.isnan(unpack_bfloat16_pairs(found)).all()
            and np.isnan(unpack_bfloat16_pairs(pack_bfloat16(nan, nan))).all()
        )


@numba.njit
def pairs_of_exponentials(z, length, words, c, c0, reference, total, e, e0, e_words):
    softmax_bfloat16.exponentials_in_pairs(z, length, words, c, c0, reference, total, e, e0, e_words)


@pytest.mark.every_cpu
@pytest.mark.parametrize("words", [1, 4, 7])
@pytest.mark.parametrize("biased", [True, False])
def test_pairs_of_exponentials(words, biased):
    rng, length = np.random.default_rng(0), 24
    z, c, reference = (
        rng.uniform(-size, size, n).astype(f4) for size, n in ((40, words * length), (1, 9), (2, length))
    )
    c = c if biased else c[:0]
    exact = np.exp(z.reshape(words, length).astype(float) + (c[2 : 2 + words, None] if biased else 0) - reference)
    total, even = np.ones(length, f4), words + words % 2
    e, e_words = np.zeros(5 + even * length // 2, np.uint32), np.zeros(even * length // 2, np.uint32)
    pairs_of_exponentials(z, length, words, c, 2, reference, total, e, 5, e_words)
    np.testing.assert_allclose(total, 1 + exact.sum(0), rtol=1e-5)
    of_tokens = np.stack(unpack_bfloat16_pairs(e[5:].reshape(even, -1)), 2).reshape(even, length)
    of_words = np.stack(unpack_bfloat16_pairs(e_words.reshape(-1, length)), 1).reshape(even, length)
    np.testing.assert_allclose(of_tokens[:words], exact, rtol=ROUNDING)
    np.testing.assert_array_equal(of_words[:words], of_tokens[:words])
    assert not of_words[words:].any() and not e[:5].any()


def joined(first, second):
    """Pairs of float32 arrays as uint32."""
    first, second = (rounded(x).astype(f4).view(np.uint32) for x in (first, second))
    return first >> 16 | second


@numba.njit
def multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)


@numba.njit
def pack(size, W, out, transposed):
    for thread in range(size):
        if transposed:
            packing.pack_transposed(thread, size, W, out)
        else:
            packing.pack_weights(thread, size, W, out)


@numba.njit
def multiply_panels(x, x0, x_row, weights, depth, k0, k1, first, last, out, out0, out_row, m, add):
    packing.packed_product(x, x0, x_row, weights, depth, k0, k1, first, last, out, out0, out_row, m, add)


@numba.njit
def sum_tokens(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch):
    packing.token_sum(x, x0, x_row, d, d0, d_row, count, out, out0, out_row, m, n, scratch)


def in_panels(W, transposed, dtype=np.uint32, size=2):
    columns, depth = W.shape if transposed else W.shape[::-1]
    out = np.full((packing.packed_rows(depth, columns, dtype), PANEL_WIDTH), 0x7FC07FC0, np.uint32).view(dtype)
    pack(size, W, out, transposed)
    return out


def close(found, expected, size):
    """Within 1e-5 of the sums of the factors' sizes: sums in float32, of what is exact in it."""
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(size).max() and np.any(found)


class TestProducts:
    @pytest.mark.every_cpu
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
        scratch = np.full(packing.token_sum_size(m, n), 0x7FC07FC0, np.uint32)
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
        found = in_panels(W, transposed).reshape(-1, (depth + 1) // 2, PANEL_WIDTH)
        for panel, strip in enumerate(found):
            piece = matrix[:, panel * PANEL_WIDTH : (panel + 1) * PANEL_WIDTH]
            assert (strip[:, : piece.shape[1]] == joined(piece[::2], piece[1::2])).all()

    def test_not_numbers_come_through(self):
        W, x, out = np.ones((3, 2), f4), np.array([[1, np.nan, 1], [np.inf, 1, 1]], f4), np.zeros((2, 2), f4)
        with np.errstate(invalid="ignore"):
            multiply_panels(x.ravel(), 0, 3, in_panels(W, False), 3, 0, 3, 0, 2, out.ravel(), 0, 2, 2, False)
        assert np.isnan(out[0]).all() and (out[1] == np.inf).all()


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


def output_layer_gradients(precision, tokens, n_threads=1, H=9, wider=0, C=13, running=None):
    """dV, dh and nll of the output layer, of states with `wider` more columns that are NaN.

    `running`: how many of the threads there are at all.
    """
    model = make_model("rnn", C, H, 0, dtype="float32", matmul_precision=precision).network_
    rng = np.random.default_rng(0)
    state = np.full((tokens, H + wider), np.nan, f4)
    state[:, :H] = rng.uniform(-1, 1, (tokens, H))
    targets = rng.integers(0, C, tokens).astype(np.int32)
    work = model.workspace(n_threads, tokens=tokens, steps=1, sequences=1, learn=True)
    V, c, dV, dc, dh = model.model.V, model.model.c, np.zeros((C, H), f4), np.zeros(C, f4), np.zeros((tokens, H), f4)

    def run(thread):
        softmax.output_layer(
            thread, n_threads, None, V, c, tokens, state, targets, work.softmax, dV, dc, dh, f4(1), f4(1), False
        )

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(running or n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dV, dh, work.softmax.nll


class Phases:
    """`next_part` and `end_phase` in plain Python, with a thread that is often late."""

    def __init__(self, n_threads, late):
        self.changed, self.own = threading.Condition(), [0] * n_threads
        self.phase, self.given, self.done, self.late = 0, 0, 0, late

    def next_part(self, thread, n_threads, barrier, parts, part):
        if thread == self.late:
            time.sleep(0.02)
        with self.changed:
            if part == parts:
                self.phase, self.given, self.done = self.phase + 1, 0, 0
                self.changed.notify_all()
                return -1
            if part >= 0:
                self.done += 1
                if self.done == parts:
                    return parts
            if self.phase != self.own[thread] or self.given == parts:
                return -1
            self.given += 1
            return self.given - 1

    def end_phase(self, thread, n_threads, barrier):
        with self.changed:
            assert self.changed.wait_for(lambda: self.phase > self.own[thread], 60)
            self.own[thread] += 1


@pytest.mark.skipif(COMPILED, reason="the output layer is called as plain Python")
class TestOutputLayer:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("late", [0, 1])
    def test_a_thread_that_is_late(self, precision, late, monkeypatch):
        """It changes nothing of what the others did without it, and gives what would come of one thread only."""
        tokens, results = 2 * softmax.TOKENS + 7, []
        for running in (1, 2):
            phases = Phases(2, late if running == 2 else None)
            monkeypatch.setattr(softmax, "next_part", phases.next_part)
            monkeypatch.setattr(softmax, "end_phase", phases.end_phase)
            results.append(output_layer_gradients(precision, tokens, 2, running=running))
        monkeypatch.undo()
        for alone, found, expected in zip(*results, output_layer_gradients(precision, tokens), strict=True):
            np.testing.assert_array_equal(found, alone)
            assert np.linalg.norm(found - expected) < ROUNDING * np.linalg.norm(expected)

    @pytest.mark.parametrize("H", [8, 9])
    def test_reads_no_part_of_the_state_but_h(self, H):
        found, expected = (output_layer_gradients("bfloat16", 5, H=H, wider=wider) for wider in (H, 0))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


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


@pytest.mark.compiled
def test_the_second_process_compiles_no_product_in_float32():
    plain, rounded = (precompile.specializations("rnn", "float32", precision) for precision in ("float32", "bfloat16"))
    names = ["uint32" in str(specialization.kinds) for specialization in rounded]
    assert len(rounded) == len(plain) + 1 and all(names), names

"""Products in tf32: which lane holds what, and how large their error is; in the simulator, which has no warps, rounded.

The instruction is emulated by what the PTX ISA says of it ("Matrix Fragments for mma.m16n8k8").
"""

import copy
import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import CELLS, HAS_GPU, make_model, random_batch

from fastrnn import FastRNN, LanguageModel, Seq2Seq
from fastrnn.kernels.cuda import driver
from fastrnn.kernels.cuda.driver import to_device, to_host
from fastrnn.kernels.cuda.linalg import gemm, ptx, tensor_cores
from fastrnn.networks import devices

pytestmark = pytest.mark.usefixtures("simulator")

# Of a GPU's product: in the simulator tiles are smaller.
TILE, DEPTH, ROW = 64, 16, 68
THREADS = 128


def rounded(array):
    """To tf32: 10 bits after the point, the nearest, of two the one farther from 0."""
    mantissa, exponent = np.frexp(np.asarray(array, np.float64))
    scaled = np.ldexp(mantissa, 11)
    return np.ldexp(np.copysign(np.floor(np.abs(scaled) + 0.5), scaled), exponent - 11).astype(np.float32)


class Warp:
    """32 threads that call `mma` together, each with what its lane holds."""

    # Of lane: (row, column) of every element, as the ISA has it.
    A = [lambda g, t: (g, t), lambda g, t: (g + 8, t), lambda g, t: (g, t + 4), lambda g, t: (g + 8, t + 4)]
    B = [lambda g, t: (t, g), lambda g, t: (t + 4, g)]
    C = [
        lambda g, t: (g, 2 * t),
        lambda g, t: (g, 2 * t + 1),
        lambda g, t: (g + 8, 2 * t),
        lambda g, t: (g + 8, 2 * t + 1),
    ]

    def __init__(self):
        self.held, self.own = [None] * 32, threading.local()
        self.all_here, self.all_done = threading.Barrier(32, self._multiply), threading.Barrier(32)

    def mma(self, *operands):
        self.held[self.own.lane] = operands
        self.all_here.wait(60)
        mine = self.result[self.own.lane]
        self.all_done.wait(60)
        return mine

    def _multiply(self):
        a, b, c = np.full((16, 8), np.nan), np.full((8, 8), np.nan), np.full((16, 8), np.nan)
        for lane, operands in enumerate(self.held):
            places = [where(lane // 4, lane % 4) for where in (*self.A, *self.B, *self.C)]
            for place, value, matrix in zip(places, operands, [a] * 4 + [b] * 2 + [c] * 4, strict=True):
                matrix[place] = value
        c += a @ b
        self.result = [[c[where(lane // 4, lane % 4)] for where in self.C] for lane in range(32)]

    def run(self, first, work):
        """work(thread) of 32 threads from `first` on."""

        def lane(number):
            self.own.lane = number
            work(first + number)

        threads = [threading.Thread(target=lane, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_lanes_hold_what_the_instruction_wants(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2 * DEPTH, TILE)), rng.normal(size=(2 * DEPTH, TILE))
    k_slice = DEPTH * ROW
    memory, warp = np.full(4 * k_slice, np.nan), Warp()
    for half in (0, 1):
        for turn, operand in enumerate((a, b)):
            pieces = memory[(2 * half + turn) * k_slice :][:k_slice].reshape(DEPTH, ROW)
            pieces[:, :TILE] = operand[half * DEPTH : (half + 1) * DEPTH]
    monkeypatch.setattr(tensor_cores, "cuda", SimpleNamespace(local=SimpleNamespace(array=np.empty)))
    monkeypatch.setattr(tensor_cores, "ptx", warp)
    multiply, keep = tensor_cores.multiplication(ROW, k_slice, DEPTH), tensor_cores.keeping(ROW)
    tile = np.full(TILE * ROW, np.nan)

    def work(thread):
        sums = np.zeros(tensor_cores.SUMS)
        for place in (0, 2 * k_slice):
            multiply(memory, place, thread, sums)
        keep(sums, thread, tile)

    for first in range(0, THREADS, 32):
        warp.run(first, work)
    found = tile.reshape(TILE, ROW)
    np.testing.assert_allclose(found[:, :TILE], a.T @ b, rtol=0, atol=1e-12)
    assert np.isnan(found[:, TILE:]).all()


def test_the_sums_of_a_thread_are_as_many_as_without():
    if not driver.SIMULATED:
        assert (gemm.TILE, gemm.DEPTH, gemm.ROW, gemm.PRODUCT_THREADS) == (TILE, DEPTH, ROW, THREADS)
        assert gemm.SUMS == tensor_cores.SUMS
    assert (
        tensor_cores.SUMS * THREADS == TILE * TILE and (TILE // tensor_cores.SIDE) ** 2 * tensor_cores.LANES == THREADS
    )


def test_a_warp_s_reads_meet_no_bank_twice(monkeypatch):
    read = {}

    class Memory:
        dtype = np.dtype("f4")

        def __getitem__(self, place):
            read.setdefault(thread, []).append(int(place))
            return 0.0

    monkeypatch.setattr(tensor_cores, "cuda", SimpleNamespace(local=SimpleNamespace(array=np.zeros)))
    monkeypatch.setattr(tensor_cores, "ptx", SimpleNamespace(mma=lambda *operands: operands[6:]))
    multiply = tensor_cores.multiplication(ROW, DEPTH * ROW, DEPTH)
    for thread in range(THREADS):
        multiply(Memory(), 0, thread, np.zeros(tensor_cores.SUMS))
    for first in range(0, THREADS, 32):
        for places in zip(*(read[first + lane] for lane in range(32)), strict=True):
            assert len({place % 32 for place in places}) == 32


@pytest.mark.skipif(HAS_GPU, reason="a GPU has the instruction itself")
def test_the_stand_in_rounds_as_the_instruction_does():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=300) * 10.0 ** rng.integers(-30, 30, size=300)).astype(np.float32)
    step = np.float32(2.0**-10)
    ties = np.float32([1 + step / 2, 1 + 3 * step / 2, -1 - step / 2, 2 - step / 2, 1 + step / 4, 0.0, -0.0])
    for value in (*values, *ties):
        found = ptx.round_tf32(value)
        assert found == rounded(value) and found.dtype == np.float32
        assert found.view(np.uint32) & 0x1FFF == 0 and abs(found - value) <= abs(value) * 2.0**-11
    assert [ptx.round_tf32(v) for v in ties] == [1 + step, 1 + 2 * step, -1 - step, 2, 1, 0, 0]
    assert ptx.round_tf32(np.float32(np.inf)) == np.inf and np.isnan(ptx.round_tf32(np.float32(np.nan)))


@pytest.mark.parametrize("sizes", [(5, 7, 9), (1, 1, 1), (3, 2, 0), (0, 3, 2), (9, 3, 40)])
@pytest.mark.parametrize("turned", [False, True])
def test_product_of_rounded_operands(sizes, turned):
    m, n, depth = sizes
    rng = np.random.default_rng(m + n)
    a, b, bias = (rng.normal(size=shape).astype("f4") for shape in ((m, depth), (depth, n), n))
    A, B, C = to_device(a.T if turned else a), to_device(b.T if turned else b), driver.zeros((m, n), "f4")
    a_steps, b_steps = ((1, m), (1, depth)) if turned else ((depth, 1), (n, 1))
    gemm.product(A, 0, *a_steps, B, 0, *b_steps, C, 0, n, m, n, depth, bias=to_device(bias), tf32=True)
    expected = rounded(a).astype("f8") @ rounded(b) + bias
    np.testing.assert_allclose(to_host(C), expected, rtol=1e-5, atol=1e-5)
    if sizes == (9, 3, 40):
        assert np.abs(to_host(C) - (a.astype("f8") @ b + bias)).max() > 1e-4


def test_token_sum_of_rounded_operands_in_parts():
    rng = np.random.default_rng(0)
    x, d = (rng.normal(size=(70, columns)).astype("f4") for columns in (5, 9))
    out, sums = driver.zeros((5, 9), "f4"), driver.zeros(9, "f4")
    scratch = driver.empty(1000, "f4")
    gemm.token_sum(to_device(x), 0, 5, to_device(d), 0, 9, 70, out, 0, 9, 5, 9, scratch, sums=sums, tf32=True)
    np.testing.assert_allclose(to_host(out), rounded(x).T.astype("f8") @ rounded(d), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_host(sums), rounded(d).sum(0, dtype="f8"), rtol=1e-5, atol=1e-5)


DEEP = {"num_layers": 2, "embedding_dim": 3}
X, Y = random_batch(5, [3, 1, 2])


def gradient_error(cell, precision, **parameters):
    """The error of a GPU's gradients, by array: its Euclidean norm over that of the CPU's in float64."""
    x, y = random_batch(7, [3, 1, 2])
    model = make_model(cell, 7, 6, dtype="float32", scale=0.7, **parameters)
    exact = make_model(cell, 7, 6, dtype="float64", scale=0.7, **parameters)
    for name, array in model.params_.items():
        exact.params_[name] = array
    model.set_params(device="cuda", matmul_precision=precision)
    expected, found = (m.gradients(x, y)[1] for m in (exact, model))
    return {
        name: np.linalg.norm(found[name] - array) / np.linalg.norm(array) for name, array in expected.items()
        if array.size
    }  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_the_error_of_gradients_is_that_of_tf32(cell):
    """Each operand is off by 2^-11 = 4.9e-4 at most, and by 2e-4 in the quadratic mean; far less in float32."""
    plain, tf32 = (gradient_error(cell, precision, **DEEP) for precision in ("float32", "tf32"))
    assert plain.keys() == tf32.keys() and len(plain) > 6
    for name, error in tf32.items():
        assert plain[name] < 2e-6, name
        assert 2e-5 < error < 2e-3, name


@pytest.fixture
def asked(monkeypatch):
    """What every product is asked for."""
    asked = []
    launch = gemm._launch

    def noted(*arguments):
        asked.append(arguments[-1])
        return launch(*arguments)

    monkeypatch.setattr(gemm, "_launch", noted)
    return asked


SMALL = {"hidden_dim": 3, "vocab_size": 5, "max_epochs": 1, "batch_size": 2, "random_state": 0, "device": "cuda"}


class TestParameter:
    def test_all_products_of_training_and_scoring_follow_it(self, asked):
        model = FastRNN(**SMALL, **DEEP, matmul_precision="tf32").fit(X, Y)
        model.score_samples(X, Y)
        assert len(asked) > 20 and all(asked)
        asked.clear()
        model.predict_proba(X)
        assert asked and not any(asked)
        asked.clear()
        model.set_params(matmul_precision="float32").score_samples(X, Y)
        FastRNN(**SMALL, **DEEP).fit(X, Y)
        assert len(asked) > 20 and not any(asked)

    def test_pairs_follow_it_and_what_is_drawn_does_not(self, asked):
        parameters = {"hidden_dim": 3, "max_epochs": 1, "random_state": 0, "device": "cuda", "num_layers": 2}
        model = Seq2Seq(**parameters, matmul_precision="tf32").fit([[2, 3], [3]], [[3], [2, 4]])
        assert len(asked) > 10 and all(asked)
        asked.clear()
        model.set_params(matmul_precision="float32").loss([[2, 3]], [[3]])
        assert asked and not any(asked)
        asked.clear()
        FastRNN(**SMALL | {"max_epochs": 0}, matmul_precision="tf32").fit(X, Y).generate(2, prompt=[0], max_length=3)
        assert asked and not any(asked)

    def test_the_cpu_heeds_it_not(self):
        one, two = (
            FastRNN(**SMALL | {"device": "cpu"}, matmul_precision=precision).fit(X, Y)
            for precision in ("float32", "tf32")
        )
        assert one.loss_curve_ == two.loss_curve_

    def test_float64_and_unknown_ones_are_refused(self):
        with pytest.raises(ValueError, match="^matmul_precision: found 'tf64', expected one of 'float32', 'tf32'"):
            FastRNN(matmul_precision="tf64").fit(X, Y)
        for kind in (FastRNN, Seq2Seq):
            with pytest.raises(
                ValueError, match='^matmul_precision: found "tf32" with dtype float64, expected dtype f'
            ):
                kind(dtype="float64", matmul_precision="tf32").fit(X, Y)
        model = FastRNN(**SMALL | {"device": "cpu"}, dtype="float64").fit(X, Y)
        with pytest.raises(ValueError, match="with dtype float64"):
            model.set_params(matmul_precision="tf32").predict(X)

    def test_a_gpu_without_is_told_once(self, monkeypatch, caplog):
        devices._tell.cache_clear()
        expected = FastRNN(**SMALL).fit(X, Y).loss_curve_
        monkeypatch.setattr(
            devices, "_tf32_problem", lambda: "the GPU has compute capability 7.5, expected at least 8.0"
        )
        with caplog.at_level(logging.WARNING, "fastrnn"):
            for _ in range(2):
                assert FastRNN(**SMALL, matmul_precision="tf32").fit(X, Y).loss_curve_ == expected
        assert caplog.text.count('"tf32": products are in float32, since the GPU has compute capability 7.5') == 1

    def test_bfloat16_lets_a_gpu_take_tf32(self, asked):
        FastRNN(**SMALL, **DEEP, matmul_precision="bfloat16").fit(X, Y)
        assert asked and all(asked)

    def test_files_and_copies(self, tmp_path, asked):
        text = ["A cat sat. A dog sat."]
        lm = LanguageModel(hidden_dim=3, max_epochs=1, random_state=0, device="cuda", matmul_precision="tf32").fit(text)
        assert asked and all(asked)
        lm.save(tmp_path / "lm.npz")
        assert LanguageModel.load(tmp_path / "lm.npz", device="cuda").matmul_precision == "float32"
        asked.clear()
        copy.deepcopy(lm).model_.loss(X, Y)
        assert asked and all(asked)

    def test_a_checkpoint_goes_on_with_another(self, tmp_path):
        path = tmp_path / "run.ckpt"
        FastRNN(**SMALL, checkpoint=path).fit(X, Y)
        model = FastRNN(**SMALL | {"max_epochs": 2}, matmul_precision="tf32").fit(X, Y, resume=path)
        assert model.n_epochs_ == 2

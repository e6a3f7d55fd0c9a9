"""exp, tanh and the logistic function of the kernels against float64, over all of their range."""

import os
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest

from fastrnn.kernels.cpu.decoding import top_k
from fastrnn.kernels.linalg import elementwise

pytestmark = pytest.mark.every_cpu


@numba.njit
def apply_exp(x, y):
    for i in range(len(x)):
        y[i] = elementwise.exp(x[i])


@numba.njit
def apply_tanh(x, y):
    for i in range(len(x)):
        y[i] = elementwise.tanh(x[i])


@numba.njit
def apply_sigmoid(x, y):
    for i in range(len(x)):
        y[i] = elementwise.sigmoid(x[i])


@numba.njit
def apply_slopes(x, y, z):
    for i in range(len(x)):
        y[i] = elementwise.tanh_slope(x[i])
        z[i] = elementwise.sigmoid_slope(x[i])


@numba.njit
def apply_exponentials(z, length, n, words, c, c0, reference, total):
    elementwise.exponentials(z, 3, length, n, words, c, c0, reference, total)


@numba.njit
def add_exponentials(tile, reference, sums):
    top_k.add_exponentials(tile, reference, sums)


def float32s(low, high, step):
    """Every `step`-th float32 of those between two positive ones."""
    first, last = np.array([low, high], np.float32).view(np.uint32)
    return np.arange(first, last, step, dtype=np.uint32).view(np.float32)


def mapped(function, x, dtype):
    x = np.asarray(x, dtype)
    y = np.empty_like(x)
    function(x, y)
    return y


class TestMathematics:
    RELATIVE = {"float32": 3e-7, "float64": 1e-15}

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_exp(self, dtype):
        low, high = {"float32": (-87, 88), "float64": (-745, 709)}[dtype]
        x = np.concatenate([np.linspace(low, high, 20_001), np.linspace(-1, 1, 20_001)]).astype(dtype)
        y, expected = mapped(apply_exp, x, dtype), np.exp(x.astype(float))
        normal = expected > np.finfo(dtype).tiny
        np.testing.assert_allclose(y[normal], expected[normal], rtol=self.RELATIVE[dtype])
        assert mapped(apply_exp, [0], dtype)[0] == 1
        far = mapped(apply_exp, [-1e4, -1e30, -np.inf], dtype)
        assert (far > 0).all() and (far < 2e-38).all()  # their logarithms are taken
        assert (mapped(apply_exp, [89, 1e4, np.inf], "float32") == np.inf).all()
        assert (mapped(apply_exp, [710, 1e4, np.inf], "float64") == np.inf).all()

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_tanh(self, dtype):
        x = np.concatenate([np.linspace(-12, 12, 20_001), np.linspace(-0.01, 0.01, 20_001), [1e-20, -1e-6, 1e30]])
        x = x.astype(dtype)
        y = mapped(apply_tanh, x, dtype)
        np.testing.assert_allclose(y, np.tanh(x.astype(float)), rtol=self.RELATIVE[dtype])
        assert np.abs(y).max() <= 1
        assert mapped(apply_tanh, [np.inf, -np.inf, 40, -40, 0], dtype).tolist() == [1, -1, 1, -1, 0]

    def test_tanh_becomes_one_where_no_smaller_float32_is_nearer(self):
        x = float32s(1e-10, 100, 10_007)
        y, expected = mapped(apply_tanh, x, "float32"), np.tanh(x.astype(float))
        np.testing.assert_allclose(y, expected, rtol=self.RELATIVE["float32"])
        np.testing.assert_allclose(1 - y.astype(float), 1 - expected, rtol=0, atol=4 * 2.0**-24)
        nearly_one = x > 4
        np.testing.assert_allclose(y[nearly_one], expected[nearly_one], rtol=0, atol=1.01 * 2.0**-25)
        assert (y[x > 9.0115] == 1).all() and (y[x < 9.0105] < 1).all()  # where 1 - tanh is 2**-25
        assert (np.diff(y) >= -np.spacing(y[1:])).all() and (np.diff(y[nearly_one]) >= 0).all()
        np.testing.assert_array_equal(mapped(apply_tanh, -x, "float32"), -y)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_sigmoid(self, dtype):
        x = np.linspace(-87, 87, 40_001).astype(dtype)
        y = mapped(apply_sigmoid, x, dtype)
        np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(float))), rtol=2 * self.RELATIVE[dtype])
        assert (np.diff(y) >= -np.spacing(y[1:])).all() and y[-1] == 1
        assert mapped(apply_sigmoid, [0], dtype)[0] == 0.5
        edge = {"float32": 105, "float64": 750}[dtype]
        far = mapped(apply_sigmoid, [np.inf, 1e30, edge, -edge, -1e30, -np.inf], dtype)
        assert far.tolist() == [1, 1, 1, 0, 0, 0]

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("function", [apply_exp, apply_tanh, apply_sigmoid])
    def test_nan_stays(self, function, dtype):
        y = mapped(function, [0.5, np.nan, -0.5] * 11, dtype)  # in a vector, and in the loop's tail
        assert np.isnan(y).tolist() == [False, True, False] * 11

    @pytest.mark.parametrize("biased", [True, False])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_exponentials_of_a_block(self, dtype, biased):
        rng = np.random.default_rng(0)
        for n in (1, 7, 8, 9, 16, 17, 24, 25, 40, 120):
            length, words = -(-n // 8) * 8, 5
            z = rng.normal(0, 20, 3 + words * length + 3).astype(dtype)
            c, reference = rng.normal(0, 1, words + 2).astype(dtype), rng.normal(0, 1, length).astype(dtype)
            total, c = rng.uniform(0, 1, length).astype(dtype), c if biased else c[:0]
            block = z[3:-3].reshape(words, length).astype(float)
            shifted = block + (c[2:, None].astype(float) if biased else 0) - reference
            expected, before, around = np.exp(shifted)[:, :n], total.astype(float)[:n], z[[0, 1, 2, -3, -2, -1]].copy()
            apply_exponentials(z, length, n, words, c, 2, reference, total)
            found = z[3:-3].reshape(words, length)[:, :n]
            rtol = {"float32": 2e-5, "float64": 1e-13}[dtype]  # of the sum z + c - reference, up to 80 in size
            np.testing.assert_allclose(found, expected, rtol=rtol)
            np.testing.assert_allclose(total[:n], before + expected.sum(0), rtol=rtol)
            np.testing.assert_array_equal(z[[0, 1, 2, -3, -2, -1]], around)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_exponential_is_exact_to_its_last_digits(self, dtype):
        low, high = {"float32": (-85.9, 87.9), "float64": (-700, 700)}[dtype]
        z = np.concatenate([np.zeros(3), np.linspace(low, high, 4000), np.linspace(-1, 1, 4000)]).astype(dtype)
        expected, zero = np.exp(z[3:].astype(float)), np.zeros(8000, dtype)
        apply_exponentials(z, 8000, 8000, 1, zero[:0], 0, zero, zero.copy())
        np.testing.assert_allclose(z[3:], expected, rtol=self.RELATIVE[dtype])

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_exponentials_of_nan_infinity_and_far_numbers(self, dtype):
        z = np.array([0, 0, 0, np.nan, 1, -np.inf, np.inf, -1e30, 1e30, 0, np.nan], dtype)
        zero, total = np.zeros(8, dtype), np.zeros(8, dtype)
        apply_exponentials(z, 8, 8, 1, zero[:0], 0, zero, total)
        assert np.isnan(z[3:]).tolist() == np.isnan(total).tolist() == [True] + [False] * 6 + [True]
        assert z[5] < 1e-37 and z[7] < 1e-37 and z[6] > 1e37 and z[8] > 1e37 and z[9] == 1

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_slopes(self, dtype):
        y = np.linspace(-1, 1, 101).astype(dtype)
        tanh_slope, sigmoid_slope = np.empty_like(y), np.empty_like(y)
        apply_slopes(y, tanh_slope, sigmoid_slope)
        epsilon = 2 * np.finfo(dtype).eps
        np.testing.assert_allclose(tanh_slope, 1 - y.astype(float) ** 2, atol=epsilon)
        np.testing.assert_allclose(sigmoid_slope, y * (1 - y.astype(float)), atol=epsilon)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_sums_of_exponentials_of_a_piece(self, dtype):
        rng, sums = np.random.default_rng(0), np.zeros(top_k.LANES, dtype)
        for scale in (1, 10, 25):
            tile, reference = (rng.uniform(-scale, scale, top_k.PANEL_WIDTH)).astype(dtype), np.dtype(dtype).type(0.5)
            sums[:] = 0
            add_exponentials(tile, reference, sums)
            expected = np.exp(tile.astype(float) - 0.5).sum()
            np.testing.assert_allclose(sums.sum(dtype=float), expected, rtol={"float32": 3e-6, "float64": 1e-13}[dtype])


@pytest.mark.compiled
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="other CPUs always have it")
@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="the CPU that is meant was chosen already")
def test_without_a_fused_multiply_add(tmp_path):
    """LLVM then emits a product and a sum, which fast-math flags would let it reorder."""
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "+sse2",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "float32 and not nan", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout

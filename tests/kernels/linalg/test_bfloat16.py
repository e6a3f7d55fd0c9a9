"""Products of factors in bfloat16: how they round, and that nothing else does."""

import numba
import numpy as np
import pytest
from bfloat16_helpers import ROUNDING, f4
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.kernels.linalg import bfloat16, packing
from fastrnn.kernels.linalg.bfloat16 import pack_bfloat16, unpack_bfloat16_pairs
from fastrnn.kernels.linalg.gemm import PANEL_WIDTH, product


def rounded(x):
    """Float32 numbers rounded to bfloat16, to nearest, as float64."""
    bits = np.ascontiguousarray(x, f4).view(np.uint32).astype(np.uint64) + 0x8000
    return (bits & 0xFFFF0000).astype(np.uint32).view(f4).astype(float)


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
        assert np.isnan(unpack_bfloat16_pairs(found)).all()
        assert np.isnan(unpack_bfloat16_pairs(pack_bfloat16(nan, nan))).all()


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

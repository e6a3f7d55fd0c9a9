"""Products of matrices, of any shapes and strides."""

import numba
import numpy as np
import pytest
from helpers import COMPILED, examples
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.kernels.linalg.gemm import TILE_ROWS, product
from fastrnn.kernels.linalg.simd import TILE_VECTORS, VECTOR_BYTES


@numba.njit
def multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)


def check_product(dtype, m, n, depth, transposed, add, gaps, seed):
    """One product, of operands that lie amid NaN, into a C amid guards."""
    rng = np.random.default_rng(seed)
    a0, b0, c0, a_gap, b_gap, c_gap = gaps
    A, B, C = (rng.standard_normal(shape).astype(dtype) for shape in ((m, depth), (depth, n), (m, n)))

    def lay(matrix, start, gap, fill):
        rows, columns = matrix.shape
        memory = np.full(start + rows * (columns + gap) + 70, fill, dtype)
        memory[start : start + rows * (columns + gap)].reshape(rows, columns + gap)[:, :columns] = matrix
        return memory, columns + gap

    a, stride = lay(A.T if transposed else A, a0, a_gap, np.nan)
    b, b_k = lay(B, b0, b_gap, np.nan)
    c, c_row = lay(C, c0, c_gap, 77)
    a_row, a_k = (1, stride) if transposed else (stride, 1)
    expected = A.astype(np.float64) @ B.astype(np.float64) + (C if add else 0)
    expected, _ = lay(expected.astype(dtype), c0, c_gap, 77)
    multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)
    epsilon = np.finfo(dtype).eps
    np.testing.assert_allclose(c, expected, rtol=4 * epsilon, atol=4 * depth * epsilon)
    guards = np.ones(len(c), bool)
    guards[c0 : c0 + m * c_row].reshape(m, c_row)[:, :n] = False
    assert (c[guards] == 77).all()


class TestProduct:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @examples(300, plain=40)
    @given(
        m=st.integers(1, 20), n=st.integers(1, 150), depth=st.integers(1, 40), transposed=st.booleans(),
        add=st.booleans(), gaps=st.tuples(*[st.integers(0, 9)] * 6), seed=st.integers(0, 1000),
    )  # fmt: skip
    def test_any_shape_and_stride(self, dtype, m, n, depth, transposed, add, gaps, seed):
        check_product(dtype, m, n, depth, transposed, add, gaps, seed)

    @pytest.mark.every_cpu
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_every_tail(self, dtype):
        """All numbers of rows and columns around one and two tiles."""
        lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
        width = TILE_VECTORS * lanes
        columns = range(1, 2 * width + 2) if COMPILED else [1, 2]
        for n in columns:
            for m in (1, 2, 3, 4, 5, TILE_ROWS, TILE_ROWS + 1) if n % lanes < 2 else (TILE_ROWS + 1,):
                check_product(dtype, m, n, 3, n % 2 == 0, n % 3 == 0, (1, 2, 3, 4, 5, 6), n)

    def test_nan_and_infinity_come_through(self):
        a, b, c = np.array([1.0, 0.0]), np.array([np.inf, 2.0, np.nan, 3.0]), np.zeros(2)
        multiply(a, 0, 2, 1, b, 0, 2, c, 0, 2, 1, 2, 2, False)
        assert np.isnan(c[0]) and c[1] == 2.0  # inf + 0 NaN;  2 + 0

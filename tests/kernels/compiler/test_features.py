"""Kernels for a CPU that can do less, and kernels as plain Python."""

import platform

import llvmlite.binding as llvm
import pytest
from helpers import COMPILED, PACKAGE, run_python

HASWELL = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cmov,+bmi,+bmi2,+avx,+avx2,+fma"
AVX2_SCRIPT = """
import numpy as np, reference
from helpers import assert_arrays_close, make_model, random_batch, weights
from fastrnn.kernels.linalg.simd import TILE_VECTORS, VECTOR_BYTES
assert (VECTOR_BYTES, TILE_VECTORS) == (32, 2), (VECTOR_BYTES, TILE_VECTORS)
for C, H in ((97, 19), (5, 3)):
    x, y = random_batch(C, [9, 5, 5, 2, 1] * 4)
    model = make_model("rnn", C, H, n_threads=2, bptt_truncate=4)
    loss, gradients = model.gradients(x, y)
    expected_loss, expected = reference.gradients("rnn", weights(model), x, y, 4)
    assert abs(loss - expected_loss) < 1e-5 * expected_loss
    assert_arrays_close(gradients, expected, "float32")
print("right")
"""


def has_avx2():
    features = set(llvm.get_host_cpu_features().flatten().split(","))
    return platform.machine().lower() in ("x86_64", "amd64") and {"+avx2", "+fma", "+bmi2"} <= features


@pytest.mark.compiled
@pytest.mark.skipif(not has_avx2(), reason="this machine has no AVX2")
def test_gradients_on_a_machine_with_avx2_only():
    path = [PACKAGE.parent, PACKAGE.parent / "tests"]
    assert run_python(AVX2_SCRIPT, *path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=HASWELL) == "right\n"


@pytest.mark.skipif(not COMPILED, reason="this is a run without compiled kernels already")
def test_without_compiled_kernels():
    """NUMBA_DISABLE_JIT=1: the same source as plain Python."""
    script = AVX2_SCRIPT.replace("assert (VECTOR", "0 and (VECTOR").replace("(97, 19)", "(4, 2)").replace("* 4)", ")")
    path = [PACKAGE.parent, PACKAGE.parent / "tests"]
    assert run_python(script, *path, NUMBA_DISABLE_JIT="1") == "right\n"

"""How wide vectors are."""

import llvmlite.binding as llvm
import numba
import pytest

from fastrnn.kernels.linalg.simd import host_vectors


class TestVectors:
    @pytest.mark.parametrize("features, expected", [
        ("+sse2,+avx,+avx2,+fma,+avx512f,+avx512vl", (64, 4)),
        ("+sse2,+avx,+avx2,+fma,-avx512f", (32, 2)),
        ("+sse2,+avx,+avx2,-fma", (16, 2)),
        ("+sse2,+avx", (16, 2)),
        ("+neon,+fp-armv8", (16, 4)),
        ("", (16, 2)),
    ])  # fmt: skip
    def test_of_features(self, features, expected):
        assert host_vectors(features) == expected

    def test_of_this_machine(self, monkeypatch):
        monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
        assert host_vectors() == host_vectors(llvm.get_host_cpu_features().flatten())
        monkeypatch.setattr(numba.config, "CPU_FEATURES", "+avx2,+fma")
        assert host_vectors() == (32, 2)

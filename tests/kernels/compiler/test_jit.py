"""How kernels are compiled: which, when, and who can call them."""

import numba
import pytest
from helpers import PACKAGE, run_python

from fastrnn.kernels.compiler import jit as jit_module
from fastrnn.kernels.cpu.layers.softmax import output_layer
from fastrnn.kernels.threads import partition


@pytest.mark.compiled
def test_compilations_are_listed_and_told_once():
    told, kernel = [], numba.njit(lambda x: x)
    with jit_module.compilations(lambda: told.append("told")) as names:
        assert told == []
        kernel(1), kernel(1.0), kernel(2)
    kernel(True)
    assert len(names) == 2 and "lambda" in names[0] and told == ["told"]


@pytest.mark.compiled
def test_a_kernel_serves_python_and_other_kernels():
    caller = numba.njit(lambda n: partition(n, 3, 100, 1))
    assert caller(1) == partition(1, 3, 100, 1) == partition.py_func(1, 3, 100, 1)


@pytest.mark.compiled
def test_a_fit_compiles_training_only(tmp_path):
    script = """
from fastrnn import FastRNN
from fastrnn.kernels.cpu import passes
from fastrnn.kernels.cpu.decoding import beam, sampling
from fastrnn.kernels.compiler.jit import compilations
with compilations() as compiled:
    FastRNN("rnn", 2, max_epochs=1).fit([[0, 1]], [[1, 0]])
kernels = [passes.train_pass, passes.score_pass, passes.predict_pass, sampling.draw, beam.search]
print("train_pass" in compiled, [len(kernel.overloads) for kernel in kernels])
"""
    assert run_python(script, PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path) == "True [1, 0, 0, 0, 0]\n"


@pytest.mark.compiled
def test_python_cannot_call_an_indirect_kernel():
    with pytest.raises(TypeError, match="output_layer is called by other kernels only"):
        output_layer(0)

"""A second process that compiles part of the kernels meanwhile."""

import json
import os
import sys
from types import SimpleNamespace

import pytest
from helpers import PACKAGE, run_python

from fastrnn.kernels.compiler import cache_folder
from fastrnn.networks import precompile

HELPED = """
import json
from fastrnn import FastRNN
from fastrnn.networks import precompile
from fastrnn.kernels.compiler.jit import compilations
precompile.available_cores, made = lambda: 2, []
start = precompile.subprocess.Popen
precompile.subprocess.Popen = lambda *arguments, **options: made.append(start(*arguments, **options)) or made[-1]
with compilations() as compiled:
    model = FastRNN("rnn", 2, 3, max_epochs=2, random_state=0).fit([[0, 1]], [[1, 0]])
names = ("train_pass", "_tiles", "output_layer", "run_backward")
print(json.dumps([len(made), [name in compiled for name in names], model.history_.losses]))
assert not any(process.returncode for process in made)
"""


@pytest.mark.compiled
def test_a_second_process_compiles_what_is_missing_once(tmp_path):
    first, later = (json.loads(run_python(HELPED, PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path)) for _ in range(2))
    assert first[:2] == [1, [True, False, False, False]]  # so its argument types are those of the calls
    assert later[:2] == [0, [False] * 4] and first[2] == later[2]


FAILING = """
from fastrnn import Seq2Seq
from fastrnn.networks import network, precompile
from fastrnn.training import loop as training
from fastrnn.kernels.compiler import indirect_calls
from fastrnn.kernels.linalg.gemm import _tiles
from fastrnn.kernels.compiler.jit import compilations
precompile.available_cores, precompile.CODE, indirect_calls.COMPILE_TIMEOUT = lambda: 2, GIVEN, 0.2
process = precompile.start_background_compiler("rnn", "float32")
with compilations() as compiled:
    for specialization in precompile.specializations("rnn", "float32"):
        assert not specialization.load()
        specialization.ensure_compiled()
        assert specialization.load()
print(process.wait() != 0, "output_layer" in compiled)
"""


@pytest.mark.compiled
@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import time; time.sleep(100)"])
def test_a_second_process_that_fails_or_hangs(tmp_path, code):
    assert run_python(FAILING.replace("GIVEN", repr(code)), PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path) == "True True\n"


def test_no_second_process(monkeypatch, tmp_path):
    """Without a second core, a cache that can be written, an interpreter that can be started."""

    def refuse(*arguments, **options):
        raise OSError("no process")

    started = []
    monkeypatch.setattr(precompile, "specializations", lambda *wanted: [SimpleNamespace(load=lambda: False)])
    monkeypatch.setattr(precompile.subprocess, "Popen", lambda *arguments, **options: started.append(1))
    monkeypatch.setattr(precompile, "ENABLED", True)
    monkeypatch.setattr(cache_folder, "FOLDER", tmp_path)
    monkeypatch.setattr(precompile, "available_cores", lambda: 2)
    for module, name, value in (
        (precompile, "ENABLED", False), (precompile, "available_cores", lambda: 1),
        (cache_folder, "FOLDER", None), (os, "access", lambda path, mode: False),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            assert precompile.start_background_compiler("rnn", "float32") is None
    for executable in ("", None, "/usr/bin/uwsgi"):
        monkeypatch.setattr(sys, "executable", executable)
        assert precompile.start_background_compiler("rnn", "float32") is None
    monkeypatch.setattr(sys, "executable", "/usr/bin/Python3")
    monkeypatch.setattr(precompile.subprocess, "Popen", refuse)
    assert precompile.start_background_compiler("rnn", "float32") is None and not started


@pytest.mark.compiled
def test_the_second_process_compiles_no_product_in_float32():
    plain, rounded = (precompile.specializations("rnn", "float32", precision) for precision in ("float32", "bfloat16"))
    names = ["uint32" in str(specialization.kinds) for specialization in rounded]
    assert len(rounded) == len(plain) + 1 and all(names), names

"""Every kernel for a GPU compiled for sm_80 and sm_90, which needs numba-cuda and its toolkit, but no GPU.

What kernels are launched with is noted in the simulator, by one process; another compiles that, without the simulator.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cuda_signatures import ptxas

ARCHITECTURES = [("8", "0"), ("9", "0")]
ROOT = Path(__file__).resolve().parents[3]
REGISTERS = 65536  # of a multiprocessor
SHARED = 48 * 1024  # bytes that a block has without asking
MOST_THREADS = 256  # of a block, but for those in the next line
THREADS = {"_total": 1024, "_product": 128, "_product_tf32": 128}
# Kernels of float32 that add up in float64 on purpose: norms, losses, ln p, and where a uniform number falls.
DOUBLE = {"_square", "_step", "_total", "_choose", "_rank", "_average"}

NOTE = """
import json, sys
from helpers import simulating
from cuda_signatures import noted
from pytest import MonkeyPatch
from fastrnn import Ensemble, FastRNN, Seq2Seq
from fastrnn.kernels.cuda.layers import recurrence
X, Y = [[0, 2, 1], [3], [1, 4]], [[2, 1, 1], [1], [4, 4]]
SMALL = dict(hidden_dim=3, max_epochs=1, batch_size=2, random_state=0, device="cuda", dtype=sys.argv[2])
launches, plan = set(), recurrence._plan
with MonkeyPatch.context() as patch, simulating(patch), noted(launches):
    for cell in sys.argv[3:]:
        deep = dict(num_layers=2, embedding_dim=3, dropout=0.2)
        model = FastRNN(cell, vocab_size=5, **SMALL, **deep).fit(X, Y)
        recurrence._plan = lambda *arguments: (2, False, plan(*arguments)[2])  # W from memory
        model.predict_proba([[0]] * 8)
        model.gradients([[0]] * 8, [[1]] * 8)
        recurrence._plan = plan
    if sys.argv[2] == "float32":
        FastRNN("rnn", vocab_size=5, matmul_precision="tf32", **SMALL).fit(X, Y)
    model.loss(X, Y)
    model.generate(2, max_length=2, random_state=0)
    pair = Seq2Seq(**SMALL).fit([[2, 3], [3]], [[3], [2]])
    Ensemble([pair, pair]).search([[2]], beam_width=2, max_length=2)
json.dump(sorted(launches), open(sys.argv[1], "w"))
"""


def start(arguments, **environment):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip


def told(process):
    """What it printed, when it is done."""
    out, error = process.communicate(timeout=900)
    assert process.returncode == 0, error[-3000:]
    return out


KEEP = """
from types import SimpleNamespace
from numba.cuda import types
from fastrnn.kernels.compiler.cache_folder import FOLDER
from fastrnn.kernels.cuda import driver, optimizers as update
cache = next(kernel for kernel in vars(update).values() if isinstance(kernel, driver.Kernel))._dispatcher._cache
cache._impl.rebuild = lambda context, states: states
codegen = SimpleNamespace(magic_tuple=lambda: ("runtime", (9, 0)))
context = SimpleNamespace(refresh=lambda: None, codegen=lambda: codegen)
compiled = SimpleNamespace(codegen=codegen, _reduce_states=lambda: {"types": (types.float32[::1],)})
kinds, others = (types.float32[::1],), (types.float64[::1],)
cache.save_overload(kinds, compiled)
(file,) = FOLDER.glob("cuda-*.kernel")
print(cache.load_overload(kinds, context) == compiled._reduce_states(), cache.load_overload(others, context))
file.write_bytes(file.read_bytes()[:-1])
print(cache.load_overload(kinds, context), file.exists())
import shutil; shutil.rmtree(FOLDER)
cache.save_overload(kinds, compiled)
"""


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_kernels_are_kept_as_those_of_the_cpu_are(tmp_path):
    """In files that are checked, and written if they can be; no GPU compiles them, which numba-cuda would need."""
    process = start(["-c", KEEP], NUMBA_ENABLE_CUDASIM="0", NUMBA_DISABLE_JIT="0", NUMBA_CACHE_DIR=str(tmp_path))
    assert told(process).split() == ["True", "None", "None", "False"]


def test_ptxas_is_found(tmp_path, monkeypatch):
    """In packages, in CUDA_HOME, on the PATH, in this order."""
    folders = [tmp_path / "package", tmp_path / "toolkit" / "bin", tmp_path / "path"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "ptxas").touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "nvidia", SimpleNamespace(__path__=[str(folders[0])]))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    monkeypatch.setenv("PATH", str(folders[2]))
    for folder in folders:
        assert ptxas() == str(folder / "ptxas")
        (folder / "ptxas").unlink()
    assert ptxas() is None


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
@pytest.mark.skipif(ptxas() is None, reason="ptxas is neither installed nor in CUDA_HOME nor on the PATH")
@pytest.mark.parametrize("dtype, cells", [("float32", ["rnn", "lstm", "gru"]), ("float64", ["lstm"])])
def test_nothing_spills(dtype, cells, tmp_path):
    noted, script = tmp_path / "launches.json", str(ROOT / "tests" / "cuda_signatures.py")
    told(start(["-c", NOTE, str(noted), dtype, *cells], NUMBA_ENABLE_CUDASIM="1", NUMBA_DISABLE_JIT="1"))
    launches = json.loads(noted.read_text())
    assert len({name for name, *_ in launches}) > 20 and any("global" in name for name, *_ in launches)
    wanted = dict.fromkeys(ARCHITECTURES, launches)
    if dtype == "float32":
        wanted[ARCHITECTURES[-1]] = with_most_rows(launches)
    compiling = {}
    for sm, chosen in wanted.items():
        path = tmp_path / f"{'.'.join(sm)}.json"
        path.write_text(json.dumps(chosen))
        compiling[sm] = start([script, str(path), *sm], NUMBA_ENABLE_CUDASIM="0")
    for sm, process in compiling.items():
        found = [json.loads(line) for line in told(process).splitlines()]
        assert {row["kernel"] for row in found} == {name for name, *_ in wanted[sm]}
        for row in found:
            check(row, row["kernel"].partition(":")[2], dtype)


def with_most_rows(launches):
    """The launches, and those of recurrences with as many rows a block as a GPU has, which the simulator has not."""
    more = [
        [re.sub(r"_\d_(\w+)$", r"_8_\1", name), *types] for name, *types in launches if "recurrence:" in name
    ]  # fmt: skip
    assert any("8_global" in name for name, *_ in more) and any("8_shared" in name for name, *_ in more)
    return [*launches, *sorted({tuple(row) for row in more})]


def check(row, name, dtype):
    assert row["stack"] == row["spilled"] == 0, row
    assert 0 < row["registers"] * THREADS.get(name, MOST_THREADS) <= REGISTERS, row
    assert row["shared"] <= SHARED, row
    assert (row["tensor_cores"] > 0) == (name == "_product_tf32"), row
    if dtype == "float32" and name not in DOUBLE:
        assert row["double_precision"] == 0, row

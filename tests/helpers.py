"""Models, batches and comparisons that several test files use, what there is to test on, and a simulated GPU."""

import ctypes
import importlib.util
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from reference import init_params


def _has_gpu():
    """Whether there is a driver, with a GPU; asked without Numba, which must not be imported before the next lines."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


HAS_GPU = _has_gpu() and importlib.util.find_spec("numba_cuda") is not None
if not HAS_GPU:  # kernels for a GPU run in Numba's simulator then
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

import numba  # noqa: E402

import fastrnn  # noqa: E402
from fastrnn import FastRNN  # noqa: E402

PACKAGE = Path(fastrnn.__file__).parent
CELLS = ["rnn", "lstm", "gru"]
KINDS = [*((cell, True) for cell in CELLS), ("lstm", False)]  # cells, and whether they have their peepholes
DTYPES = ["float32", "float64"]
COMPILED = not numba.config.DISABLE_JIT


@contextmanager
def simulating(monkeypatch):
    """A context for the simulator: its threads take turns often, and share the memory that two ask for at once.

    No memory is zero before it is written, as on a GPU: numbers are NaN there, or indices far outside.
    """
    from fastrnn.kernels.cuda import driver

    api, memory = (importlib.import_module(f"numba.cuda.simulator.{name}") for name in ("kernelapi", "cudadrv"))
    allocate, lock = api.FakeCUDAShared.array, threading.Lock()

    def array(self, shape, dtype):
        frame = sys._getframe(1)
        with lock:
            if shape == 0:  # one piece of memory, which is zeros when a block begins
                if self._allocations.setdefault("dynamic", True):
                    _poison(allocate(self, 0, dtype))
                    self._allocations["dynamic"] = False
                return allocate(self, 0, dtype)
            place = frame.f_code.co_filename, frame.f_lineno  # arrays are told apart by the line that asks
            if place not in self._allocations:
                self._allocations[place] = _poison(np.empty(shape, dtype))
            return self._allocations[place]

    monkeypatch.setattr(api.FakeCUDAShared, "array", array)
    monkeypatch.setattr(api.FakeCUDALocal, "array", lambda self, shape, dtype: _poison(np.empty(shape, dtype)))
    poisoned = lambda *arguments: memory.devicearray.FakeCUDAArray(_poison(np.empty(*arguments)))  # noqa: E731
    monkeypatch.setattr(driver.cuda._module, "device_array", poisoned)
    for name, module in list(sys.modules.items()):
        # A warning adds this to the globals, over which the simulator iterates.
        if name.startswith("fastrnn.kernels.cuda."):
            monkeypatch.setattr(module, "__warningregistry__", {}, raising=False)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # it waits in busy loops
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def _poison(array):
    """Fill it with what is noticed when it is used."""
    array.fill({"f": np.nan, "i": np.iinfo(np.int32).max // 2}.get(array.dtype.kind, True))
    return array


def examples(compiled, plain=3):
    """Settings of a Hypothesis test: how many examples with compiled kernels, and as plain Python."""
    return settings(max_examples=compiled if COMPILED else plain)


def run_python(script, *path, **environment):
    """Run a script in a process of its own; its standard output."""
    inherited = {name: value for name, value in os.environ.items() if name not in environment}
    inherited |= {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    chosen = {name: str(value) for name, value in environment.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=inherited | chosen, cwd=path[0], capture_output=True,
        text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_batch(vocab_size, lengths, seed=0):
    """Inputs and targets of the given lengths: two lists of int32 arrays."""
    rng = np.random.default_rng(seed)
    x, y = ([rng.integers(vocab_size, size=length, dtype=np.int32) for length in lengths] for _ in "xy")
    return x, y


def make_model(cell="gru", vocab_size=7, hidden_dim=5, seed=0, scale=1.5, **parameters):
    """An untrained model whose weights are large enough that its cell is far from linear."""
    model = FastRNN(cell, hidden_dim, vocab_size, **{"max_epochs": 0, "n_threads": 1, "random_state": 0} | parameters)
    model.fit([[0]], [[0]])
    rng = np.random.default_rng(seed)
    same = {name: getattr(model, name) for name in ("num_layers", "embedding_dim", "tie_weights", "peepholes")}
    for name, array in init_params(cell, vocab_size, hidden_dim, model.bias, rng, scale, **same).items():
        model.params_[name] = array
    return model


def weights(model):
    """A float64 copy of a model's parameters, as the reference takes them."""
    return {name: np.array(array, np.float64) for name, array in model.params_.items()}


def assert_arrays_close(found, expected, dtype, rtol=None, floor=None):
    """Compare two {name: array}: the error is measured by the largest element of each array.

    An array that ought to be nonzero is asserted to be. `floor` is the absolute error allowed besides, for
    arrays that are zero but for rounding.
    """
    rtol = {"float32": 1e-4, "float64": 1e-9}[dtype] if rtol is None else rtol
    floor = {"float32": 2e-6, "float64": 1e-14}[dtype] if floor is None else floor
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        largest = np.abs(array).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=rtol * largest + floor, err_msg=name)
        if largest > 2 * floor:
            assert np.any(found[name] != 0), f"{name} is all zero"


def raised(error, function, *args, **keywords):
    """The message with which `function` raises: one line, without a full stop."""
    with pytest.raises(error) as info:
        function(*args, **keywords)
    message = str(info.value)
    assert message and "\n" not in message and not message.endswith(".")
    return message


def same_weights(one, other):
    return all(np.array_equal(array, other.params_[name]) for name, array in one.params_.items())


def same_weights_as(model, before):
    return all(np.array_equal(array, before[name]) for name, array in weights(model).items())


def successor_sentences(count, vocab_size, seed=0):
    """Sentences with something to learn: words nearly as frequent as Zipf says, each with a favourite successor."""
    rng = np.random.default_rng(seed)
    share = 1 / (10 + np.arange(vocab_size - 2))
    favourite = rng.choice(np.arange(2, vocab_size), vocab_size, p=share / share.sum())
    x, y = [], []
    for length in rng.integers(5, 25, count):
        drawn = rng.choice(np.arange(2, vocab_size), length, p=share / share.sum())
        sentence = [0]
        for word in drawn:
            sentence.append(int(favourite[sentence[-1]] if rng.random() < 0.5 else word))
        x.append(sentence)
        y.append([*sentence[1:], 1])
    return x, y


def fit_small(**parameters):
    x, y = random_batch(12, [6, 5, 4, 3, 3, 1] * (3 if COMPILED else 1))
    small = dict(hidden_dim=6, vocab_size=12, max_epochs=2, batch_size=4, random_state=1, n_threads=1, dtype="float32")
    return FastRNN(**small | parameters).fit(x, y), x, y

"""`device="cuda"` through the public classes: the CPU's numbers. Without a GPU in Numba's simulator, so tiny."""

import copy
import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import CELLS, assert_arrays_close, make_model, random_batch

import fastrnn
from fastrnn import DeviceError, FastRNN, LanguageModel, NotFittedError, Seq2Seq, warmup
from fastrnn.data.batches import Batches
from fastrnn.data.ragged import Ragged, minibatches
from fastrnn.kernels.compiler.cache_folder import source_hash
from fastrnn.kernels.cpu.layers.recurrence import pack
from fastrnn.kernels.cpu.workspace import Rows
from fastrnn.kernels.cuda import driver, layout
from fastrnn.kernels.cuda.driver import cuda, to_device, to_host
from fastrnn.kernels.cuda.layout import BatchLayouts
from fastrnn.networks import devices
from fastrnn.networks.device_copy import DeviceCopy

pytestmark = pytest.mark.usefixtures("simulator")

X, Y = random_batch(5, [3, 1, 2])
SMALL = {"hidden_dim": 3, "vocab_size": 5, "max_epochs": 2, "batch_size": 2, "random_state": 0, "dtype": "float64"}
DEEP = {"num_layers": 2, "embedding_dim": 3, "tie_weights": True}
VARIANTS = [
    {}, {"bias": False}, {"num_layers": 2}, DEEP, {"num_layers": 2, "embedding_dim": 2, "bptt_truncate": 1},
    {"bptt_truncate": 0},
]  # fmt: skip
OF_LSTM = [{"peepholes": False, "num_layers": 2}, {"peepholes": False, "bptt_truncate": 1}]


def names(case):
    return "-".join(f"{name}={value}" for name, value in case.items()) or "plain"


def on_both(**parameters):
    """Two untrained models of equal weights, one a device."""
    cell = parameters.pop("cell", "gru")
    cpu = make_model(cell, 5, 3, dtype="float64", **parameters)
    return cpu, copy.deepcopy(cpu).set_params(device="cuda")


def assert_same(found, expected, rtol=1e-9):
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=rtol, atol=1e-12)


class TestPasses:
    @pytest.mark.parametrize("cell, variant", [
        *((cell, variant) for cell in CELLS for variant in VARIANTS), *(("lstm", variant) for variant in OF_LSTM),
    ])  # fmt: skip
    def test_gradients(self, cell, variant):
        cpu, cuda = on_both(cell=cell, **variant)
        loss, expected = cpu.gradients(X, Y)
        found_loss, found = cuda.gradients(X, Y)
        assert cuda.network_.device == "cuda"
        assert found_loss == pytest.approx(loss, rel=1e-12)
        assert_arrays_close(found, expected, "float64", rtol=1e-10)

    @pytest.mark.parametrize("cell", CELLS)
    def test_gradients_of_given_states(self, cell):
        cpu, cuda = on_both(cell=cell, num_layers=2)
        states = np.random.default_rng(0).normal(size=(2, len(X), cpu.network_.state_size))
        expected, found = (model.gradients(X, Y, initial_state=states)[1] for model in (cpu, cuda))
        assert "initial_state" in found
        assert_arrays_close(found, expected, "float64", rtol=1e-10)

    @pytest.mark.parametrize("cell", CELLS)
    def test_predictions(self, cell):
        cpu, cuda = on_both(cell=cell, num_layers=2)
        assert_same(cuda.predict_proba(X), cpu.predict_proba(X))
        assert [p.tolist() for p in cuda.predict(X)] == [p.tolist() for p in cpu.predict(X)]
        assert_same([cuda.score_samples(X, Y)], [cpu.score_samples(X, Y)])
        (found, state), (expected, last) = (model.predict_proba(X, return_state=True) for model in (cuda, cpu))
        assert_same(found, expected)
        assert_same(state, last)
        assert_same(cuda.predict_proba(Y, initial_state=state), cpu.predict_proba(Y, initial_state=last))

    def test_float32(self):
        cpu = make_model("lstm", 5, 3, dtype="float32")
        cuda = copy.deepcopy(cpu).set_params(device="cuda")
        (loss, expected), (found_loss, found) = cpu.gradients(X, Y), cuda.gradients(X, Y)
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert_arrays_close(found, expected, "float32")

    def test_generation(self):
        cpu, cuda = on_both(cell="lstm")
        for options in ({}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.7, "temperature": 0.8, "exclude": [3]}):
            expected, found = (
                model.generate(3, prompt=[0, 2], max_length=5, random_state=1, return_log_probs=True, **options)
                for model in (cpu, cuda)
            )
            assert [s.tolist() for s in found[0]] == [s.tolist() for s in expected[0]]
            assert_same(found[1], expected[1])


FITS = [
    *[{"cell": cell} for cell in CELLS], {"cell": "lstm", "peepholes": False},
    {"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "rmsprop"},
    {"optimizer": "sgd", "clip_norm": None, "batch_size": 1, "max_epochs": 1}, {"dropout": 0.4, "num_layers": 2} | DEEP,
    {"chunk_len": 2, "batch_size": 7, "cell": "lstm"}, {"early_stopping": True, "validation_fraction": 0.4},
    {"weight_noise": 0.1, "max_epochs": 1}, {"bptt_truncate": 1, "num_layers": 2, "max_epochs": 1},
]  # fmt: skip


class TestTraining:
    @pytest.mark.parametrize("case", FITS, ids=names)
    def test_the_cpu_s_loss_curve(self, case):
        cpu, cuda = (FastRNN(**SMALL | case, device=device).fit(X, Y) for device in ("cpu", "cuda"))
        np.testing.assert_allclose(cuda.loss_curve_, cpu.loss_curve_, rtol=1e-9)
        assert cuda.loss_curve_[0] > 0 and cuda.n_updates_ == cpu.n_updates_ > 0
        np.testing.assert_allclose(cuda.history_.max_norms, cpu.history_.max_norms, rtol=1e-8)
        for name, array in cpu.params_.items():
            np.testing.assert_allclose(cuda.params_[name], array, rtol=1e-7, atol=1e-9, err_msg=name)

    def test_the_same_twice(self):
        one, two = (FastRNN(**SMALL, device="cuda").fit(X, Y) for _ in range(2))
        assert one.loss_curve_ == two.loss_curve_
        assert all((array == two.params_[name]).all() for name, array in one.params_.items())

    def test_a_network_moves_when_it_is_used_and_not_when_it_is_looked_at(self):
        model = FastRNN(**SMALL | {"max_epochs": 0}).fit(X, Y)
        model.set_params(device="cuda")
        assert model.network_.device == "cpu"
        model.loss(X, Y)
        assert model.network_.device == "cuda"
        assert model.set_params(device="cpu").params_["V"].shape and model.network_.device == "cpu"

    @pytest.mark.parametrize("first, then", [("cpu", "cuda"), ("cuda", "cpu")])
    def test_training_goes_on_on_the_other_device(self, first, then):
        whole = FastRNN(**SMALL).fit(X, Y)
        model = FastRNN(**SMALL | {"max_epochs": 1, "warm_start": True}, device=first).fit(X, Y)
        model.set_params(device=then).fit(X, Y)
        assert model.network_.device == then
        np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-9)

    @pytest.mark.parametrize("first, then", [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
    def test_a_checkpoint_is_of_any_device(self, first, then, tmp_path):
        path = tmp_path / "run.ckpt"
        whole = FastRNN(**SMALL, device=then).fit(X, Y)
        FastRNN(**SMALL | {"max_epochs": 1}, checkpoint=path, device=first).fit(X, Y)
        model = FastRNN(**SMALL, device=then).fit(X, Y, resume=path)
        np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-9)
        if first == then:
            assert all((array == whole.params_[name]).all() for name, array in model.params_.items())

    def test_files_are_of_any_device(self, tmp_path):
        path = tmp_path / "m.npz"
        model = FastRNN(**SMALL, device="cuda").fit(X, Y)
        model.save(path)
        cpu, cuda = FastRNN.load(path), FastRNN.load(path, device="cuda")
        assert (cpu.device, cuda.device) == (cpu.network_.device, cuda.network_.device) == ("cpu", "cuda")
        assert cpu.loss(X, Y) == pytest.approx(cuda.loss(X, Y)) == pytest.approx(model.loss(X, Y))

    def test_divergence_leaves_good_weights(self, caplog):
        parameters = SMALL | {"optimizer": "sgd", "learning_rate": 1e300, "clip_norm": None, "max_epochs": 1}
        with caplog.at_level(logging.WARNING, "fastrnn"):
            model = FastRNN(**parameters, device="cuda").fit(X, Y)
        assert "not finite" in caplog.text and model.learning_rate_ < 1e300
        assert all(np.isfinite(array).all() for array in model.params_.values())
        assert np.isfinite(model.loss_curve_).all()

    def test_parameters_may_be_written(self):
        model = FastRNN(**SMALL, device="cuda").fit(X, Y)
        before = model.loss(X, Y)
        model.params_["c"] = np.arange(5.0)
        assigned = model.loss(X, Y)
        assert assigned != before
        view = model.params_["c"]
        view[:] = 0
        assert model.loss(X, Y) not in (before, assigned)

    def test_raw_text(self, tmp_path):
        text = ["A cat sat. A dog sat. A cat ran."] * 2
        lm = LanguageModel(hidden_dim=3, max_epochs=1, random_state=0, device="cuda").fit(text)
        lm.save(tmp_path / "lm.npz")
        assert lm.generate(2, max_length=3, random_state=0) == LanguageModel.load(
            tmp_path / "lm.npz", device="cuda"
        ).generate(2, max_length=3, random_state=0)


class TestPairs:
    SOURCE, TARGET = [[2, 3], [3], [4, 2]], [[3], [2, 4], [4]]
    PARAMETERS = {"hidden_dim": 3, "max_epochs": 1, "batch_size": 2, "random_state": 0, "dtype": "float64"}
    CASES = [{}, {"num_layers": 2, "dropout": 0.3}, {"cell": "gru", "embedding_dim": 3, "tie_weights": True}]

    @pytest.mark.parametrize("case", CASES, ids=names)
    def test_as_on_the_cpu(self, case):
        cpu, cuda = (
            Seq2Seq(**self.PARAMETERS | case, device=device).fit(self.SOURCE, self.TARGET) for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(cuda.loss_curve_, cpu.loss_curve_, rtol=1e-9)
        (loss, expected), (found_loss, found) = (model.gradients(self.SOURCE, self.TARGET) for model in (cpu, cuda))
        assert found_loss == pytest.approx(loss, rel=1e-7)
        assert_arrays_close(found, expected, "float64", rtol=1e-6)
        wanted, got = (model.search(self.SOURCE, beam_width=3, max_length=4) for model in (cpu, cuda))
        assert [[h.tokens.tolist() for h in row] for row in got] == [[h.tokens.tolist() for h in row] for row in wanted]
        for row, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose([h.log_prob for h in row], [h.log_prob for h in other], rtol=1e-6)


class TestDevices:
    @pytest.fixture
    def without(self, monkeypatch):
        monkeypatch.setattr(devices, "_problem", lambda: "numba-cuda is not installed: install it")
        devices._tell.cache_clear()

    def test_unknown_ones(self):
        with pytest.raises(ValueError, match="^device: found 'gpu', expected"):
            FastRNN(device="gpu").fit(X, Y)

    def test_no_gpu_is_told(self, without, tmp_path):
        model = FastRNN(**SMALL).fit(X, Y)
        with pytest.raises(DeviceError, match='^device: found "cuda", but numba-cuda is not installed'):
            FastRNN(device="cuda").fit(X, Y)
        before = model.params_["V"].copy()
        with pytest.raises(DeviceError):
            model.set_params(device="cuda").fit(X, Y)
        with pytest.raises(DeviceError):
            model.predict(X)
        assert (model.set_params(device="cpu").params_["V"] == before).all()
        model.save(tmp_path / "m.npz")
        with pytest.raises(DeviceError):
            FastRNN.load(tmp_path / "m.npz", device="cuda")

    def test_auto_says_once_that_it_is_the_cpu(self, without, caplog):
        with caplog.at_level(logging.WARNING, "fastrnn"):
            for _ in range(2):
                assert FastRNN(**SMALL, device="auto").fit(X, Y).network_.device == "cpu"
        assert caplog.text.count('device="auto": the CPU is used, since numba-cuda') == 1

    def test_auto_takes_what_is_there(self):
        assert FastRNN(**SMALL, device="auto").fit(X, Y).network_.device == "cuda"

    @pytest.mark.parametrize(
        "error, message",
        [
            (
                None,
                "^the compiler's library libNVVM was not found: pip install .* or let CUDA_HOME name a CUDA toolkit$",
            ),
            ("No driver\n at all", r"^no usable NVIDIA GPU or driver was found \(No driver\): install NVIDIA's driver"),
        ],
    )
    def test_what_is_missing_is_told(self, error, message, monkeypatch):
        found = SimpleNamespace(is_available=lambda: False, cuda_error=lambda: error)
        monkeypatch.setattr(driver, "cuda", found)
        monkeypatch.setattr(driver, "SIMULATED", False)
        monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: name)
        assert re.match(message, driver.problem())

    def test_an_unfitted_model_is_unfitted(self):
        with pytest.raises(NotFittedError):
            FastRNN(device="cuda").predict(X)

    def test_warming_up(self):
        done = warmup(["rnn"], ["float64"], device="cuda")
        assert [step.task for step in done] == ["training", "scoring", "predicting", "generating", "pairs"]


class TestMirror:
    def test_whose_numbers_count(self):
        array = np.arange(3.0)
        copies = DeviceCopy([array, np.empty((0, 2))])
        device = copies.device()
        array[0] = 5  # seen, though nobody says so
        assert to_host(copies.device()[0])[0] == 5 and copies.device()[0] is device[0]
        copies.device(write=True)[0].copy_to_device(np.full(3, 7.0))
        assert array[0] == 5
        assert copies.host()[0] is array and (array == 7).all()
        copied = copy.deepcopy(copies)
        assert (to_host(copied.device()[0]) == 7).all()

    def test_interrupted(self, monkeypatch):
        arrays = np.zeros(2), np.zeros(2)
        copies = DeviceCopy(arrays)
        first, second = copies.device(write=True)
        for array in (first, second):
            array.copy_to_device(np.full(2, 7.0))
        with monkeypatch.context() as patch:
            patch.setattr(second, "copy_to_host", interrupt, raising=False)
            with pytest.raises(KeyboardInterrupt):
                copies.host()
        assert all((array == 7).all() for array in copies.host())


def interrupt():
    raise KeyboardInterrupt


class TestKernel:
    def test_edits_of_any_file_of_kernels_are_seen(self, tmp_path):
        package = Path(fastrnn.__file__).parent
        shutil.copytree(package, tmp_path / "fastrnn", ignore=shutil.ignore_patterns("__pycache__"))
        hashes = {source_hash(tmp_path / "fastrnn", cuda=True)}
        files = sorted((tmp_path / "fastrnn" / "kernels" / "cuda").rglob("*.py"))
        for path in files:
            path.write_text(path.read_text() + "\n# edited\n")
            hashes.add(source_hash(tmp_path / "fastrnn", cuda=True))
        assert len(hashes) == len(files) + 1 > 20

    def test_keeps_no_more_grids_than_it_may(self, monkeypatch):
        monkeypatch.setattr(driver, "MAX_LAUNCHERS", 2)
        found, threads = to_device(np.zeros(1)), 1
        for blocks in (1, 2, 3, 4):
            _count((blocks, 1), threads, found)
        assert len(_count._launchers) == 2
        assert to_host(found)[0] == 4

    def test_more_shared_memory_is_asked_for_before_the_launch(self, monkeypatch):
        """Once for arguments of each type; a callback of the launch must not call the driver."""
        done = []

        class Dispatcher:
            typeof_pyval = staticmethod(type)

            def compile(self, types):
                done.append("compiled")
                return SimpleNamespace(library=SimpleNamespace(get_cufunc=lambda: types[0].__name__))

            def __getitem__(self, configuration):
                return lambda *arguments: done.append(f"launched {configuration}")

        kernel, much = driver.kernel(_count.py_func), driver.DEFAULT_SHARED + 1
        kernel._dispatcher = Dispatcher()
        monkeypatch.setattr(driver, "SIMULATED", False)
        monkeypatch.setattr(driver, "set_shared_limit", done.append)
        for argument in (np.float32(1), np.float32(2), np.float64(3), 1, -5, 2**63, True):
            kernel(2, 32, argument, shared=much)
            assert done.pop() == f"launched {((2,), 32, 0, much)}"
        assert done[0::2] == ["compiled"] * 5
        assert done[1::2] == ["float32", "float64", "int", "int", "bool"]
        kernel(2, 32, 1.0, shared=driver.DEFAULT_SHARED)
        assert len(done) == 11 and done.pop().startswith("launched")


@driver.kernel
def _count(found):
    if cuda.blockIdx.x == 0:
        found[0] += 1


def test_the_layout_is_that_of_one_thread():
    x, y = (Ragged.from_sequences(s, "x") for s in random_batch(4, [3, 1, 4, 4, 2, 1]))
    order, bounds = minibatches(x.lengths, 4)
    batches = Batches.whole(x, y, order, bounds)
    for laid_out, first, last in zip(BatchLayouts(*batches), bounds[:-1], bounds[1:], strict=True):
        count = laid_out.count
        rows = Rows(np.empty(count, np.int64), *(np.empty(count, np.int32) for _ in "xy"), np.zeros((1, 5), np.int64))
        segments = batches.segments
        steps = pack(0, 1, segments.x, segments.y, segments.begin, segments.length, order[first:last], rows)
        layout, row0 = laid_out.layout, laid_out.row0
        assert (laid_out.steps, laid_out.sequences) == (steps, last - first)
        for name, expected in (("tokens", rows.tokens), ("targets", rows.targets), ("origin", rows.origin)):
            assert (to_host(getattr(layout, name))[row0 : row0 + count] == expected).all()
        starts = to_host(layout.starts)[laid_out.step0 : laid_out.step0 + steps + 1]
        assert (starts == rows.starts[0, : steps + 1]).all()
        words = to_host(layout.words)[laid_out.word0 : laid_out.word0 + laid_out.occurring]
        assert (words == np.unique(rows.tokens)).all()
        marks = to_host(layout.word_starts)[laid_out.mark0 : laid_out.mark0 + laid_out.occurring + 1]
        by_word = to_host(layout.by_word)[row0 : row0 + count]
        for word, begin, end in zip(words, marks[:-1], marks[1:], strict=True):
            assert by_word[begin:end].tolist() == np.flatnonzero(rows.tokens == word).tolist()


def test_batches_are_laid_out_while_the_gpu_works_on_others(monkeypatch):
    rows, laid_out = layout._rows, []
    monkeypatch.setattr(layout, "_rows", lambda *arguments: laid_out.append(0) or rows(*arguments))
    x, y = (Ragged.from_sequences(s, "x") for s in random_batch(4, [2] * 50))
    found = []
    for batch in BatchLayouts(*Batches.whole(x, y, *minibatches(x.lengths, 1))):
        found.append(to_host(batch.layout.origin)[batch.row0])
        assert len(laid_out) - len(found) < min(len(found), layout.MAX_GROUP)
    assert sorted(found) == list(range(0, 100, 2)) and len(laid_out) == 50

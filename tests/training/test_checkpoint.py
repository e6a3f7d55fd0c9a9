"""Checkpoints: a run that was stopped at any moment ends with the bits of one that was not."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import raised, random_batch

import fastrnn
from fastrnn import FastRNN, LanguageModel, storage
from fastrnn.data.ragged import Ragged
from fastrnn.estimators import fitting
from fastrnn.networks.network import Network
from fastrnn.training import loop
from fastrnn.training.checkpoint import Checkpoint, fingerprint, generator_from, generator_state
from fastrnn.training.tasks import LanguageTask

DATA = random_batch(9, [6, 5, 4, 3, 3, 1] * 3)
HELD_OUT = random_batch(9, [4, 2, 5], seed=1)
SMALL = dict(hidden_dim=4, vocab_size=9, max_epochs=3, batch_size=2, random_state=1, n_threads=1)
ROOT = Path(fastrnn.__file__).resolve().parent.parent


class Killed(BaseException):
    """Stands for SIGKILL within this process."""


def everything(model):
    """All that must be the same after a run, to compare: bytes and plain values; not the time it took."""
    history = {name: value for name, value in vars(model.history_).items() if name != "seconds"}
    moments = [array.tobytes() for array in model.optimizer_.arrays()]
    weights = {name: array.tobytes() for name, array in model.params_.items()}
    rates = model.learning_rate_, model.optimizer_.updates, model.n_updates_
    return weights, moments, rates, repr(history), generator_state(model.rng_)


def killed_after(calls, monkeypatch, function, *args, **keywords):
    """Call `function`; at its so many-eth batch the process is as good as dead. Returns whether it came to that."""
    original, left = LanguageTask.train, [calls]

    def train(task, team, first, last, optimizer):
        left[0] -= hasattr(optimizer, "learning_rate")  # a look at the first batch's loss has none
        if left[0] < 0:
            raise Killed
        return original(task, team, first, last, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageTask, "train", train)
        patch.setattr(loop, "SECONDS_PER_RUN", 0.0)  # one batch a call
        try:
            function(*args, **keywords)
        except Killed:
            return True
    return False


CASES = [
    *[{"optimizer": name} for name in ("sgd", "rmsprop", "adam")],
    {"optimizer": "sgd", "momentum": 0.9, "clip_norm": None, "batch_size": 1, "max_epochs": 1},
    {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 9, "learning_rate": 0.1},
    {"weight_noise": 0.1, "dtype": "float64", "cell": "lstm"},
    {"lr_schedule": "halve", "evaluate_every": 1, "learning_rate": 0.2},
    {"lr_schedule": "plateau", "patience": 1, "validation_fraction": 0.2, "learning_rate": 0.2},
    {"lr_schedule": "half-epochs", "lr_decay_start": 1, "random_state": None},
    {"random_state": np.random.Generator(np.random.MT19937(3))},
    {"random_state": np.random.Generator(np.random.Philox(3)), "bptt_truncate": 1, "bias": False},
    {"chunk_len": 2, "batch_size": 30, "num_layers": 2, "cell": "lstm", "max_epochs": 4},
    {"dropout": 0.4, "random_state": None, "embedding_dim": 4, "tie_weights": True},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values()))[:40])
def test_killed_anywhere_and_resumed_it_ends_with_the_same_bits(case, tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    parameters = SMALL | case | {"checkpoint": path, "checkpoint_minutes": 1e-9}
    whole = FastRNN(**parameters)
    start = {}

    class Remembered(Checkpoint):  # the first checkpoint: a seed of None, or a generator, starts only one run alike
        def write(self, header, arrays):
            super().write(header, arrays)
            start.setdefault("bytes", path.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr("fastrnn.estimators.fitting.Checkpoint", Remembered)
        whole.fit(*DATA)
    expected = everything(whole)  # now: a generator that was given is drawn from by all of them
    for step in (1, 5):  # batches between two deaths
        path.write_bytes(start["bytes"])
        deaths = 0
        while killed_after(step, monkeypatch, FastRNN(**parameters).fit, *DATA, resume=path):
            deaths += 1
        assert deaths >= 1
        assert everything(FastRNN(**parameters).fit(*DATA, resume=path)) == expected


def test_what_goes_wrong_is_resumed_too(tmp_path, monkeypatch):
    path, original = tmp_path / "run.ckpt", Network.train
    monkeypatch.setattr(loop, "SNAPSHOT_EVERY", 4)

    def diverges(network, team, batches, work, gradient, optimizer, truncate, *scale):
        losses, norms = original(network, team, batches, work, gradient, optimizer, truncate, *scale)
        tokens = batches.ids[batches.bounds[:-1]].tolist()
        bad = [i for i, first in enumerate(tokens) if first == 7 and getattr(optimizer, "learning_rate", 0) > 0.002]
        return (losses[: bad[0]], norms[: bad[0]]) if bad else (losses, norms)

    monkeypatch.setattr(Network, "train", diverges)
    monkeypatch.setattr(loop, "SECONDS_PER_RUN", 0.0)
    parameters = SMALL | {"checkpoint": path, "checkpoint_minutes": 1e-9, "batch_size": 1}
    whole = FastRNN(**parameters).fit(*DATA)
    assert whole.learning_rate_ < 0.002 and whole.optimizer_.earlier > 0
    for step in (1, 5):
        killed_after(step, monkeypatch, FastRNN(**parameters).fit, *DATA)
        while killed_after(step, monkeypatch, FastRNN(**parameters).fit, *DATA, resume=path):
            pass
        assert everything(FastRNN(**parameters).fit(*DATA, resume=path)) == everything(whole)


def test_more_epochs(tmp_path):
    path = tmp_path / "run.ckpt"
    short = FastRNN(**SMALL, checkpoint=path).fit(*DATA)
    nothing_to_do = FastRNN(**SMALL | {"max_epochs": 2}).fit(*DATA, resume=path)
    assert everything(nothing_to_do) == everything(short)
    longer = FastRNN(**SMALL | {"max_epochs": 5}).fit(*DATA, resume=path)  # and it writes the checkpoint on
    assert everything(longer) == everything(FastRNN(**SMALL | {"max_epochs": 5}).fit(*DATA))
    again = FastRNN(**SMALL | {"max_epochs": 5}).fit(*DATA, resume=path)
    assert everything(again) == everything(longer)


def test_a_warm_start_is_resumed(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    first, twin = (FastRNN(**SMALL, warm_start=True).fit(*DATA) for _ in "ab")
    whole = first.set_params(checkpoint=path).fit(*DATA)
    assert killed_after(13, monkeypatch, twin.set_params(checkpoint=path).fit, *DATA)
    resumed = FastRNN(**SMALL, warm_start=True).fit(*DATA, resume=path)
    assert resumed.n_epochs_ == 6 and everything(resumed) == everything(whole)


def test_given_validation_data(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    parameters = SMALL | {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12, "learning_rate": 0.1}
    whole = FastRNN(**parameters).fit(*DATA, validation_data=HELD_OUT)
    options = {"validation_data": HELD_OUT}
    assert killed_after(25, monkeypatch, FastRNN(**parameters, checkpoint=path).fit, *DATA, **options)
    assert everything(FastRNN(**parameters).fit(*DATA, **options, resume=path)) == everything(whole)
    other = FastRNN(**parameters)
    assert "other data" in raised(ValueError, other.fit, *DATA, validation_data=DATA, resume=path)
    assert "other data" in raised(ValueError, other.fit, *DATA, resume=path)


def test_of_a_version_that_had_fewer_parameters_and_held_out_more(tmp_path, monkeypatch):
    path, data = tmp_path / "run.ckpt", random_batch(9, [3] * 40)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "VALIDATION_FRACTION", 0.1)
        whole = FastRNN(**SMALL, early_stopping=True).fit(*data)
        FastRNN(**SMALL | {"max_epochs": 1}, early_stopping=True, checkpoint=path).fit(*data)
    header, arrays = storage.read(path, "FastRNN checkpoint")
    assert header.pop("held_out") == 0.1
    del header["parameters"]["init"], header["parameters"]["peepholes"]
    storage.write(path, header, arrays)
    assert everything(FastRNN(**SMALL, early_stopping=True).fit(*data, resume=path)) == everything(whole)
    for change in ({"init": "tutorial"}, {"peepholes": False}):
        (name, value), model = *change.items(), FastRNN(**SMALL, early_stopping=True, **change)
        assert f"expected {name}={value!r}" in raised(ValueError, model.fit, *data, resume=path)


def test_ctrl_c_writes_a_last_checkpoint(tmp_path, monkeypatch):
    path, original = tmp_path / "run.ckpt", LanguageTask.train

    def pressed(*args):
        signal.raise_signal(signal.SIGINT)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageTask, "train", pressed)
        stopped = FastRNN(**SMALL, checkpoint=path).fit(*DATA)
    assert stopped.n_updates_ == 1 and stopped.n_epochs_ == 0
    resumed = FastRNN(**SMALL).fit(*DATA, resume=path)
    assert everything(resumed) == everything(FastRNN(**SMALL).fit(*DATA))


def test_a_checkpoint_that_cannot_be_written_leaves_what_was_fitted(tmp_path):
    model = FastRNN(**SMALL).fit(*DATA)
    before = everything(model)
    model.set_params(checkpoint=tmp_path / "missing" / "run.ckpt", hidden_dim=5)
    with pytest.raises(OSError, match="missing"):
        model.fit(*DATA)
    assert everything(model) == before


def test_an_error_in_a_callback_loses_nothing(tmp_path):
    path = tmp_path / "run.ckpt"
    with pytest.raises(KeyError):
        FastRNN(**SMALL, checkpoint=path).fit(*DATA, callback=lambda model: {}["mine"])
    epochs = []
    resumed = FastRNN(**SMALL).fit(*DATA, resume=path, callback=lambda model: epochs.append(model.n_epochs_))
    assert epochs == [2, 3] and everything(resumed) == everything(FastRNN(**SMALL).fit(*DATA))


def test_raw_text(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    texts = ["the cat sees a dog\na dog sees the cat\nit is quiet"] * 6
    parameters = dict(hidden_dim=4, max_epochs=2, random_state=0, sentence_split="line", batch_size=2, n_threads=1)
    whole = LanguageModel(**parameters).fit(texts)
    assert killed_after(13, monkeypatch, LanguageModel(**parameters, checkpoint=path).fit, texts)
    resumed = LanguageModel(**parameters).fit(texts, resume=path)
    assert everything(resumed.model_) == everything(whole.model_)
    assert "other data" in raised(ValueError, LanguageModel(**parameters).fit, texts[1:], resume=path)


class TestWriting:
    def test_after_every_epoch_or_more_often(self, tmp_path, monkeypatch):
        written, original = [], Checkpoint.write
        monkeypatch.setattr(Checkpoint, "write", lambda self, header, arrays: written.append(header["state"]["batch"]))
        monkeypatch.setattr(loop, "SECONDS_PER_RUN", 0.0)
        FastRNN(**SMALL, checkpoint=tmp_path / "c").fit(*DATA)
        assert written == [0, 0, 0, 0] and original
        written.clear()
        FastRNN(**SMALL, checkpoint=tmp_path / "c", checkpoint_minutes=1000).fit(*DATA)
        assert written == [0, 0, 0, 0]
        written.clear()
        FastRNN(**SMALL | {"max_epochs": 1}, checkpoint=tmp_path / "c", checkpoint_minutes=1e-12).fit(*DATA)
        assert written == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]

    def test_a_full_disk_leaves_the_old_one_whole(self, tmp_path, monkeypatch, caplog):
        path, original, left = tmp_path / "run.ckpt", np.savez, [2]

        def fills(file, **arrays):
            left[0] -= 1
            if left[0] < 0:
                file.write(b"half of a check")
                raise OSError(errno.ENOSPC, "No space left on device")
            original(file, **arrays)

        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", fills)
            model = FastRNN(**SMALL, checkpoint=path).fit(*DATA)
        assert (
            caplog.messages
            == [
                f"{path} could not be written (No space left on device): the checkpoint before it stays,"
                " and training goes on"
            ]
            * 2
        )
        assert os.listdir(tmp_path) == ["run.ckpt"]
        assert storage.read(path, "FastRNN checkpoint")[0]["history"]["losses"] == model.loss_curve_[:1]
        assert everything(FastRNN(**SMALL).fit(*DATA, resume=path)) == everything(model)

    def test_one_that_cannot_be_written_is_told_before_the_training(self, tmp_path):
        model = FastRNN(**SMALL, checkpoint=tmp_path / "nowhere" / "run.ckpt")
        raised(OSError, model.fit, *DATA)
        assert not hasattr(model, "network_")

    def test_a_saved_model_has_its_path_as_text(self, tmp_path):
        FastRNN(**SMALL, checkpoint=tmp_path / "c").fit(*DATA).save(tmp_path / "m")
        assert FastRNN.load(tmp_path / "m").checkpoint == str(tmp_path / "c")


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "run.ckpt"
    FastRNN(**SMALL | {"early_stopping": True}, checkpoint=path).fit(*DATA)
    return path


class TestRefused:
    @pytest.mark.parametrize("change", [
        {"hidden_dim": 5}, {"cell": "rnn"}, {"optimizer": "sgd"}, {"learning_rate": 0.1}, {"batch_size": 3},
        {"dtype": "float64"}, {"vocab_size": 10}, {"early_stopping": False}, {"weight_noise": 0.5},
        {"peepholes": False}, {"init": "tutorial"},
        {"lr_schedule": "halve"},
    ])  # fmt: skip
    def test_another_model(self, written, change):
        name, value = next(iter(change.items()))
        model = FastRNN(**SMALL | {"early_stopping": True} | change)
        message = raised(ValueError, model.fit, *DATA, resume=written)
        assert message.startswith(f"resume: {written} is of a model with {name}=")
        assert message.endswith(f"expected {name}={value!r} as this one has")
        assert not hasattr(model, "params_")

    def test_other_data(self, written):
        x, y = [row.copy() for row in DATA[0]], DATA[1]
        x[3][1] = (x[3][1] + 1) % 9
        model = FastRNN(**SMALL | {"early_stopping": True}).fit(*DATA)
        before = everything(model)
        for data in ((x, y), (y, DATA[0]), (x[:-1], y[:-1])):
            message = raised(ValueError, model.fit, *data, resume=written)
            assert message == f"resume: {written} was written in training on other data, expected the same sequences"
        assert everything(model) == before

    def test_no_checkpoint(self, written, tmp_path):
        model = FastRNN(**SMALL | {"early_stopping": True})
        raised(FileNotFoundError, model.fit, *DATA, resume=tmp_path / "none")
        model.fit(*DATA).save(tmp_path / "model")
        message = raised(ValueError, model.fit, *DATA, resume=tmp_path / "model")
        assert "found a FastRNN, expected a FastRNN checkpoint" in message
        assert "found a FastRNN checkpoint, expected a FastRNN" in raised(ValueError, FastRNN.load, written)

    @pytest.mark.parametrize("change", [
        lambda header, arrays: header["state"].pop("batch"),
        lambda header, arrays: header["state"].update(more=1),
        lambda header, arrays: header.pop("state"),
        lambda header, arrays: header.pop("split_seed"),
        lambda header, arrays: header.pop("history"),
        lambda header, arrays: header.update(parameters=3),
        lambda header, arrays: header["rng"].update(bit_generator="seed"),
        lambda header, arrays: header.update(rng=None),
        lambda header, arrays: header.update(updates="many"),
        lambda header, arrays: header.update(learning_rate=float("inf")),
        lambda header, arrays: header["state"].update(batch=1),
        lambda header, arrays: header["state"].update(loss="0"),
        lambda header, arrays: header["state"].update(first_epoch=99),
        lambda header, arrays: header["history"].update(best_epoch=float("inf")),
        lambda header, arrays: header.update(split_seed=-1),
        lambda header, arrays: arrays.pop("weights/1"),
        lambda header, arrays: arrays.pop("best/1"),
        lambda header, arrays: arrays.update({"moments/0": arrays["moments/0"][1:]}),
        lambda header, arrays: arrays.update({"good/0": arrays["good/0"].astype("float64")}),
    ])  # fmt: skip
    def test_damaged(self, written, change):
        header, arrays = storage.read(written, "FastRNN checkpoint")
        change(header, arrays)
        storage.write(written, header, arrays)
        model = FastRNN(**SMALL | {"early_stopping": True}).fit(*DATA)
        before = everything(model)
        assert raised(ValueError, model.fit, *DATA, resume=written).startswith(f"{written}: damaged: ")
        assert everything(model) == before

    def test_another_version(self, written):
        header, arrays = storage.read(written, "FastRNN checkpoint")
        storage.write(written, header | {"checkpoint": 2}, arrays)
        model = FastRNN(**SMALL | {"early_stopping": True})
        assert raised(ValueError, model.fit, *DATA, resume=written).endswith("found checkpoint version 2, expected 1")
        written.write_bytes(written.read_bytes()[:-300])
        assert "damaged" in raised(ValueError, model.fit, *DATA, resume=written)


def test_the_state_of_every_generator():
    import json

    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64):
        rng = np.random.Generator(kind(7))
        rng.integers(5, size=3, dtype=np.int32), rng.standard_normal(5, np.float32)
        twin = generator_from(json.loads(json.dumps(generator_state(rng))))
        assert rng.permutation(50).tolist() == twin.permutation(50).tolist()
        assert rng.standard_normal(5).tolist() == twin.standard_normal(5).tolist()


def test_positions_outside_a_generator_s_numbers_are_refused():
    for kind, path in ((np.random.MT19937, ("state", "pos")), (np.random.Philox, ("buffer_pos",))):
        for position in (-1, 10**6):
            state = generator_state(np.random.Generator(kind(7)))
            inner = state
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = position
            assert "position" in raised(ValueError, generator_from, state)


def test_a_link_stays_one(tmp_path):
    (tmp_path / "run.ckpt").symlink_to("there.ckpt")
    FastRNN(**SMALL | {"max_epochs": 0}, checkpoint=tmp_path / "run.ckpt").fit(*DATA)
    assert (tmp_path / "run.ckpt").is_symlink() and storage.kind_of(tmp_path / "there.ckpt") == "FastRNN checkpoint"
    assert {*os.listdir(tmp_path)} == {"run.ckpt", "there.ckpt"}


def test_a_fingerprint_is_of_values_and_lengths():
    rows = [[[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]], [[1, 2], [4]]]
    prints = {fingerprint(Ragged.from_sequences(row)) for row in rows}
    a, b = (Ragged.from_sequences(row) for row in rows[:2])
    prints |= {fingerprint(a, b), fingerprint(b, a), fingerprint(a, None), fingerprint(None, a), fingerprint()}
    assert len(prints) == 9 and fingerprint(a) == fingerprint(Ragged.from_sequences(rows[0]))


RUN = """
import sys, time, numpy as np
from fastrnn import FastRNN
rng = np.random.default_rng(0)
x = [rng.integers(0, 60, n) for n in rng.integers(3, 30, 400)]
y = [np.roll(row, -1) for row in x]
path, resume = sys.argv[1], sys.argv[2] == "resume"
model = FastRNN("lstm", 24, 60, max_epochs=20, batch_size=4, random_state=3, n_threads=2, weight_noise=0.01,
                early_stopping=True, n_iter_no_change=99, lr_schedule="plateau", checkpoint_minutes=1e-4,
                checkpoint=path)
model.fit(x, y, resume=path if resume else None, callback=lambda model: time.sleep(0.03))
np.savez(path + ".done", rate=model.learning_rate_, losses=model.loss_curve_, validation=model.validation_losses_,
         **{name.replace(".", "_"): array for name, array in model.params_.items()})
"""


@pytest.mark.compiled
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_for_real(tmp_path):
    def start(path, how):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", RUN, str(path), how], env=environment)

    assert start(tmp_path / "whole", "fresh").wait(180) == 0
    path, rng, deaths, how = tmp_path / "killed", np.random.default_rng(), 0, "fresh"
    for _ in range(4):
        before = path.stat().st_mtime_ns if path.exists() else None
        with start(path, how) as process:
            while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
                time.sleep(0.01)  # until it has written one itself
            time.sleep(0.5 * rng.random())
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                deaths += 1
        how = "resume"
    assert start(path, "resume").wait(180) == 0 and deaths >= 2
    with np.load(tmp_path / "whole.done.npz") as whole, np.load(tmp_path / "killed.done.npz") as killed:
        for name in whole.files:
            np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
    left = set(os.listdir(tmp_path))
    assert left <= {"whole", "whole.done.npz", "killed", "killed.done.npz"}

"""Files of a `FastRNN`: all that is loaded is what was saved, and what is damaged is told."""

import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
from helpers import fit_small, make_model, raised, same_weights

from fastrnn import FastRNN, storage


@pytest.fixture
def saved(tmp_path):
    """A fitted model and the file it was saved to."""
    model, x, y = fit_small(cell="gru", hidden_dim=2, lr_schedule="halve", evaluate_every=1)
    path = tmp_path / "model.npz"
    model.save(path)
    return model, path, x, y


class TestFiles:
    @pytest.mark.parametrize("cell, dtype, bias", [
        ("rnn", "float32", False), ("lstm", "float32", True), ("gru", "float32", True), ("gru", "float64", False),
    ])  # fmt: skip
    def test_a_loaded_model_is_the_same_bit_for_bit(self, tmp_path, cell, dtype, bias):
        model, x, y = fit_small(cell=cell, dtype=dtype, bias=bias, lr_schedule="halve", evaluate_every=1)
        model.save(str(tmp_path / "model.npz"))
        again = FastRNN.load(str(tmp_path / "model.npz"))
        assert again.get_params() == model.get_params()
        assert same_weights(again, model)
        for o, expected in zip(again.predict_proba(x), model.predict_proba(x), strict=True):
            np.testing.assert_array_equal(o, expected)
        assert again.loss_curve_ == model.loss_curve_ and again.evaluations_ == model.evaluations_
        assert again.learning_rate_ == model.learning_rate_ and again.vocab_size_ == model.vocab_size_
        assert np.isfinite(again.partial_fit(x, y).loss_curve_[-1]) and again.n_epochs_ == model.n_epochs_ + 1

    @pytest.mark.parametrize("name", ["model", "model.npz", "model.bin", "модель 1.npz"])
    def test_the_name_is_kept(self, tmp_path, name):
        make_model().save(tmp_path / name)
        assert os.listdir(tmp_path) == [name]

    def test_a_generator_is_not_saved(self, tmp_path):
        model, x, y = fit_small(random_state=np.random.default_rng(0))
        model.save(tmp_path / "model")
        again = FastRNN.load(tmp_path / "model")
        assert again.random_state is None and again.loss(x, y) == model.loss(x, y)

    @pytest.mark.skipif(sys.platform == "win32", reason="no umask on Windows")
    def test_the_file_is_as_readable_as_any(self, tmp_path):
        (tmp_path / "other").write_text("")
        make_model().save(tmp_path / "model")
        assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_truncated(self, saved):
        _, path, *_ = saved
        content = path.read_bytes()
        for length in [0, 1, 100, *range(200, len(content), 97), len(content) - 1]:
            path.write_bytes(content[:length])
            assert "model.npz: damaged or not a model" in raised(ValueError, FastRNN.load, path)

    def test_flipped_bytes_are_noticed_or_harmless(self, saved):
        model, path, *_ = saved
        content, noticed = path.read_bytes(), 0
        positions = np.random.default_rng(0).permutation(len(content))[:300]
        for position in positions:
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            path.write_bytes(flipped)
            try:
                again = FastRNN.load(path)
            except ValueError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                noticed += 1
            else:  # a date, say
                assert same_weights(again, model) and again.get_params() == model.get_params()
        assert noticed > len(positions) / 2

    def test_a_password_flag_is_damage_too(self, saved):
        _, path, *_ = saved
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(content)
        assert "damaged" in raised(ValueError, FastRNN.load, path)

    def test_foreign_files(self, tmp_path):
        path = tmp_path / "model"
        for write in (
            lambda: path.write_text("hello"),
            lambda: path.write_bytes(pickle.dumps({"format": "fastrnn model"})),
            lambda: np.savez(open(path, "wb"), a=np.arange(3)),
            lambda: np.savez(open(path, "wb"), header=np.arange(3)),
            lambda: np.savez(open(path, "wb"), header=np.frombuffer(b"[1]", np.uint8)),
            lambda: np.save(open(path, "wb"), np.arange(3)),
            lambda: zipfile.ZipFile(path, "w").writestr("header", "text"),
        ):
            keep_closed(write, path)
            message = raised(ValueError, FastRNN.load, path)
            assert str(path) in message and "not a model saved by fastrnn" in message

    def test_missing(self, tmp_path):
        assert str(tmp_path / "none") in raised(FileNotFoundError, FastRNN.load, tmp_path / "none")
        raised(FileNotFoundError, FastRNN.load, tmp_path)

    def test_another_kind_or_version(self, saved, monkeypatch):
        _, path, *_ = saved
        header, arrays = storage.read(path, "FastRNN")
        storage.write(path, header | {"kind": "LanguageModel"}, arrays)
        assert "found a LanguageModel, expected a FastRNN" in raised(ValueError, FastRNN.load, path)
        storage.write(path, header | {"version": 99}, arrays)
        assert "found format version 99" in raised(ValueError, FastRNN.load, path)

    @pytest.mark.parametrize("change", [
        lambda header, arrays: arrays.pop("params/V"),
        lambda header, arrays: arrays.update({"params/V": arrays["params/V"][:, :1]}),
        lambda header, arrays: arrays.update({"params/V": arrays["params/V"] * np.nan}),
        lambda header, arrays: arrays.update({"params/more": np.zeros(3)}),
        lambda header, arrays: header.pop("vocab_size"),
        lambda header, arrays: header.update(vocab_size=-1),
        lambda header, arrays: header.update(vocab_size="12"),
        lambda header, arrays: header.update(losses=None),
        lambda header, arrays: header.update(evaluations=[3]),
        lambda header, arrays: header.update(parameters=[1]),
        lambda header, arrays: header["parameters"].update(cell="transformer"),
        lambda header, arrays: header["parameters"].update(unheard_of=1),
        lambda header, arrays: header["parameters"].update(hidden_dim=3),
    ])  # fmt: skip
    def test_contents_that_do_not_match(self, saved, change):
        _, path, *_ = saved
        header, arrays = storage.read(path, "FastRNN")
        storage.write(path, header, arrays)
        FastRNN.load(path)
        change(header, arrays)
        storage.write(path, header, arrays)
        assert f"{path}: damaged: " in raised(ValueError, FastRNN.load, path)

    def test_nothing_is_executed(self, saved, tmp_path):
        _, path, *_ = saved
        _, arrays = storage.read(path, "FastRNN")
        trap = np.array([Trap(str(tmp_path / "sprung"))], object)
        header = np.load(path)
        header = header["header"], header.close()
        with open(path, "wb") as file:
            np.savez(file, header=header[0], **arrays | {"params/V": trap})
        assert "damaged" in raised(ValueError, FastRNN.load, path)
        assert not (tmp_path / "sprung").exists()
        pickle.loads(pickle.dumps(trap))  # the trap works
        assert (tmp_path / "sprung").exists()

    def test_a_failed_save_leaves_the_old_file(self, saved, monkeypatch):
        model, path, x, y = saved
        before = path.read_bytes()

        def fails(file, **arrays):
            file.write(b"half of a mod")
            raise OSError("disk full")

        model.partial_fit(x, y)
        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", fails)
            assert raised(OSError, model.save, path) == "disk full"
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
        model.save(path)
        assert path.read_bytes() != before and same_weights(FastRNN.load(path), model)


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def keep_closed(write, path):
    """Write to `path` and close whatever is left open (NumPy does not close files that it was given)."""
    opened, original = [], open

    def remember(*args):
        opened.append(original(*args))
        return opened[-1]

    globals()["open"] = remember
    try:
        write()
    finally:
        del globals()["open"]
        for file in opened:
            file.close()

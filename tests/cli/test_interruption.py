"""Ctrl-C and SIGTERM while a command runs."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SMALL, TINY, posix, run, start

from fastrnn import LanguageModel
from fastrnn.cli import main
from fastrnn.estimators.rnn import FastRNN
from fastrnn.training.loop import Training


@posix
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_was_learned(folder, number, status):
    arguments = ["train", "text.txt", "-o", "long.npz", *SMALL, "--epochs", "1000000", "--no-early-stopping"]
    in_background = signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN  # where Ctrl-C is ignored
    heard = lambda: signal.signal(signal.SIGINT, in_background)  # noqa: E731
    (folder / "long.npz").unlink(missing_ok=True)
    with start(folder, *arguments, preexec_fn=heard) as process:
        seen = b""
        while b"epoch 3" not in seen:
            part = os.read(process.stderr.fileno(), 10_000)
            assert part, seen.decode()
            seen += part
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(rb"^fastrnn: interrupted after", err, re.M) and b"Traceback" not in err
    assert b"Saved long.npz after" in out and (b"after training" in out) == (number == signal.SIGINT)
    assert err.endswith(b"fastrnn: terminated\n") == (number == signal.SIGTERM)
    assert int(re.search(r"epochs +(\d+)", run(folder, "info", "long.npz")[0])[1]) >= 2


@pytest.mark.parametrize("learned", [False, True])
def test_ctrl_c_before_anything_was_learned_saves_nothing(tiny, monkeypatch, capsys, learned):
    def fit(self, x, y, **options):
        FastRNN_fit(FastRNN.set_params(self, max_epochs=0), x, y)
        if options:  # as `train` does it: returns before its time
            self.set_params(max_epochs=1)
            self.optimizer_.updates = 7 * learned
        return self

    FastRNN_fit = FastRNN.fit
    monkeypatch.setattr(FastRNN, "fit", fit)
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY]) == (0 if learned else 130)
    assert Path("o.npz").exists() == learned
    assert ("0 epochs (7 updates)" in capsys.readouterr().out) == learned


@posix
@pytest.mark.parametrize(
    "number, status, said", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("moments", [("save",), ("train", "train", "save"), ("save", "save")])
def test_a_signal_while_it_saves_destroys_nothing(tiny, monkeypatch, capsys, number, status, said, moments):
    def signals_at(moment, method):
        def method_and_signals(*args, **options):
            for _ in range(moments.count(moment)):
                signal.raise_signal(number)
            return method(*args, **options)

        return method_and_signals

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(LanguageModel, "save", signals_at("save", LanguageModel.save))
    end_epoch = signals_at("train", Training._end_epoch)
    monkeypatch.setattr(Training, "_end_epoch", lambda *args: end_epoch(*args))
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "2"]) == status
    out, err = capsys.readouterr()
    assert "Saved o.npz after" in out and err.endswith(f"fastrnn: {said}\n")
    saved, once = (LanguageModel.load(name).model_.params_["V"] for name in ("o.npz", "tiny.npz"))
    assert np.array_equal(saved, once) == ("train" in moments)  # after one update, or two
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@posix
def test_sigterm_before_anything_was_learned(tiny, monkeypatch, capsys):
    monkeypatch.setattr("fastrnn.text.files.read_inputs", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY]) == 143
    assert capsys.readouterr() == ("", "fastrnn: terminated\n") and not Path("o.npz").exists()


def test_ctrl_c_elsewhere_is_one_line(tiny, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(LanguageModel, "load", interrupt)
    assert main.main(["info", "tiny.npz"]) == 130
    assert capsys.readouterr() == ("", "fastrnn: interrupted\n")

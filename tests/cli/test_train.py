"""`fastrnn train`: what it tells, holds out, resumes, saves."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SMALL, TINY, make_text, run

from fastrnn import LanguageModel
from fastrnn.cli import main
from fastrnn.errors import DivergenceError
from fastrnn.estimators.rnn import FastRNN
from fastrnn.training.history import History


def test_train_tells_the_vocabulary_the_progress_and_the_loss(folder):
    out = (folder / "train.out").read_text(encoding="utf-8")
    err = (folder / "train.err").read_text(encoding="utf-8")
    assert re.search(r"^\d+ sentences, \d+ tokens, \d+ distinct\nVocabulary size \d+", out)
    before, after = (float(p) for p in re.findall(r"Held out, .*, perplexity ([\d.]+) ", out))
    model = LanguageModel.load(folder / "m.npz")
    assert before == pytest.approx(len(model.vocabulary_), rel=0.05) and after < before
    assert f"{sum(a.size for a in model.model_.params_.values()):,} weights" in out
    assert "Saved m.npz after 3 epochs" in out and "fastrnn generate m.npz" in out
    assert "epoch 3: 100%" in err


def test_the_held_out_share_is_measured_and_not_learned(folder):
    out = (folder / "train.out").read_text(encoding="utf-8")
    learned, kept = map(int, re.search(r"^(\d+) sentences(?s:.*?)\((\d+) sentences", out).groups())
    assert (learned, kept) == (72, 18)
    model = LanguageModel.load(folder / "m.npz")
    assert model.vocabulary_.n_sentences_ == learned
    assert model.model_.n_epochs_ == 3 and model.verbose == 0


def test_train_on_a_csv_column_and_on_standard_input(folder):
    with open(folder / "posts.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "body"], *enumerate(make_text().split("\n\n"))])
    arguments = ["--output", "c.npz", "--quiet", *SMALL]
    assert run(folder, "train", "posts.csv", "--column", "body", *arguments)[0] == ""
    from_file = LanguageModel.load(folder / "c.npz")
    (folder / "c.npz").unlink()
    text = (folder / "posts.csv").read_text(encoding="utf-8")
    run(folder, "train", "-", "--column", "body", *arguments, stdin=text)
    from_stdin = LanguageModel.load(folder / "c.npz")
    assert from_file.vocabulary_.tokens_ == from_stdin.vocabulary_.tokens_
    assert from_file.vocabulary_.n_sentences_ == 87
    assert np.array_equal(from_file.model_.params_["V"], from_stdin.model_.params_["V"])


def test_nothing_is_held_out_of_one_paragraph(tiny, capsys):
    Path("one.txt").write_text("It is only a sentence")
    assert main.main(["train", "one.txt", "-o", "o.npz", *TINY, "--held-out", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert "nothing is held out: found 1 line, expected at least 2 for a share of 0.5" in err and "Held out" not in out


def test_resume_goes_on_as_if_nothing_had_been(folder):
    command = ["train", "text.txt", *SMALL, "--batch-size", "4"]
    run(folder, *command, "--output", "whole.npz", "--epochs", "4")
    run(folder, *command, "--output", "half.npz", "--epochs", "2", "--checkpoint", "run.ckpt")
    out, err = run(folder, *command, "--output", "whole2.npz", "--epochs", "4", "--resume", "run.ckpt")
    assert "epoch 3: 100%" in err and "epoch 2" not in err and "before training" not in out
    assert "Saved whole2.npz after 4 epochs" in out and not list(folder.glob("*.part"))
    whole, resumed = (LanguageModel.load(folder / name).model_ for name in ("whole.npz", "whole2.npz"))
    for name, array in whole.params_.items():
        assert np.array_equal(array, resumed.params_[name]), name
    assert "of a model with --hidden-dim 8, expected --hidden-dim 9" in run_and_fail(folder, command)


def run_and_fail(folder, command):
    arguments = [*command, "--output", "o.npz", "--resume", "run.ckpt", "--hidden-dim", "9"]
    return run(folder, *arguments, status=2)[1]


def test_what_is_held_out_decides_when_to_stop(tiny, capsys):
    Path("more.txt").write_text("\n".join(["A cat sees.", "A dog hears!", "The mouse sees the cat."] * 10))
    options = "--held-out 0.2 --sentence-split line --epochs 60 --n-iter-no-change 2 --tol 0.01"
    command = ["train", "more.txt", "-o", "o.npz", *TINY, *options.split(), "--learning-rate", "0.2"]
    assert main.main(command) == 0
    out, err = capsys.readouterr()
    assert out.count("Early stopping: the weights kept are those of the best epoch on held-out text") == 1
    model = LanguageModel.load("o.npz").model_
    losses = model.validation_losses_
    assert 2 < len(losses) == model.n_epochs_ < 60 and f"validation {losses[-1]:.3f}" in err
    after = float(re.search(r"after training: ([\d.]+) nats", out)[1])
    assert after == pytest.approx(min(losses), abs=1e-3)  # the weights that are saved are the best ones
    assert main.main(["info", "o.npz"]) == 0
    assert re.search(rf"validation  {min(losses):.4f} nats per token", capsys.readouterr().out)
    assert main.main([*command, "--no-early-stopping", "--epochs", str(len(losses) + 2)]) == 0
    model = LanguageModel.load("o.npz").model_
    assert model.n_epochs_ == len(losses) + 2 and model.validation_losses_ == []
    assert "Early stopping" not in capsys.readouterr().out


@pytest.mark.parametrize("options, early_stopping", [
    ("--held-out 0", False), ("--held-out 0 --early-stopping", True),
    ("--held-out 0 --validation-fraction 0.5", "auto"), ("--held-out 0.5", "auto"), ("--no-early-stopping", False),
])  # fmt: skip
def test_nothing_is_held_out_unasked(tiny, options, early_stopping):
    Path("two.txt").write_text("A cat sees.\nA dog hears!\n\nA mouse.")
    command = ["train", "two.txt", "-o", "o.npz", "--sentence-split", "line", *TINY]
    assert main.main([*command, "--quiet", *options.split()]) == 0
    assert LanguageModel.load("o.npz").early_stopping == early_stopping


def test_no_line_goes_on_where_the_bar_ends(tiny, capsys):
    rough = ["--learning-rate", "1e30", "--optimizer", "sgd", "--clip-norm", "none", "--epochs", "4"]
    with np.errstate(all="ignore"):
        assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, *rough]) in (0, 1)
    err = capsys.readouterr().err
    assert "training goes on from the last good weights" in err and "epoch 1:" in err
    assert not re.search(r"[^\r\n]fastrnn: ", err)


@pytest.mark.parametrize("epochs", [0, 2])
def test_divergence_saves_the_last_finite_weights_if_they_learned(tiny, monkeypatch, capsys, epochs):
    def fit(self, x, y, **options):
        FastRNN_fit(self, x, y)
        if self.max_epochs:
            self.history_ = self.history_ if epochs else History()
            raise DivergenceError("training diverged")
        return self

    FastRNN_fit = FastRNN.fit
    monkeypatch.setattr(FastRNN, "fit", fit)
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY]) == 1
    out, err = capsys.readouterr()
    assert "\nfastrnn: error: training diverged" in err and "generate" not in out
    assert Path("o.npz").exists() == bool(epochs)


def test_remarks_name_options_too(tiny, capsys):
    Path("titles.txt").write_text("red fox\nblue dog runs\nold cat\na mouse\nthe end\n")
    assert main.main(["train", "titles.txt", "-o", "o.npz", *TINY, "--quiet"]) == 0
    assert "every line end ends a sentence; --sentence-split punkt joins lines\n" in capsys.readouterr().err
    assert LanguageModel.load("o.npz").vocabulary_.n_sentences_ == 5

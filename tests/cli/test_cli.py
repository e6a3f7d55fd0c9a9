"""The command `fastrnn`: through real processes where that matters, in this one for the rest."""

import csv
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import COMPILED

import fastrnn
from fastrnn import LanguageModel, Translator, Vocabulary
from fastrnn.cli import arguments, main, train
from fastrnn.errors import DivergenceError
from fastrnn.estimators.rnn import FastRNN
from fastrnn.plotting import plots
from fastrnn.text.hold_out import HoldOut
from fastrnn.training.history import History
from fastrnn.training.loop import Training

ROOT = Path(fastrnn.__file__).resolve().parent.parent
SMALL = ["--hidden-dim", "8", "--epochs", "3", "--threads", "2", "--seed", "0"]
TINY = ["--hidden-dim", "4", "--epochs", "1", "--threads", "1", "--seed", "0", "--held-out", "0"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


def make_text():
    """Thirty paragraphs of three sentences; the last has words that are nowhere else."""
    animals, verbs = ["cat", "dog", "heron", "mouse", "naïve snail"], ["sees", "likes", "follows"]
    paragraphs = [
        f"The {a} {v} the {b}. Why does it {v[:-1]} it? Nobody knows, and the {b} is quiet."
        for a, b in zip(animals, animals[1:] + animals[:1], strict=True)
        for v in verbs
    ]
    return "\n\n".join([*paragraphs, *reversed(paragraphs)])


def environment():
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return env | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


def start(folder, *args, **options):
    command = [sys.executable, "-W", "error", "-m", "fastrnn", *map(str, args)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=folder, env=environment(), **pipes, **options)


def run(folder, *args, stdin="", status=0):
    """Standard output and error of a process that must end with the status."""
    with start(folder, *args) as process:
        out, err = (stream.decode() for stream in process.communicate(stdin.encode(), timeout=180))
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    return out.replace("\r\n", "\n"), err.replace("\r\n", "\n")


def failure(folder, *args, stdin=""):
    """The one line that a process says that fails."""
    out, err = run(folder, *args, stdin=stdin, status=2)
    assert out == "" and err.count("\n") == 1 and err.startswith("fastrnn: error: "), (out, err)
    return err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text, and m.npz, trained on it."""
    if not COMPILED:
        pytest.skip("other processes, whose kernels are compiled in any case")
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(make_text(), encoding="utf-8")
    out, err = run(folder, "train", "text.txt", "--output", "m.npz", *SMALL, "--held-out", "0.2")
    (folder / "train.out").write_text(out, encoding="utf-8")
    (folder / "train.err").write_text(err, encoding="utf-8")
    return folder


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The working folder, with tiny.npz, made in this process."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.txt").write_text("A cat sees.\nA dog hears!\n")
    assert main.main(["train", "tiny.txt", "-o", "tiny.npz", "--quiet", "--sentence-split", "line", *TINY]) == 0
    return tmp_path


# Training


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


@pytest.mark.parametrize("command, kind", [("train", LanguageModel), ("translate-train", Translator)])
def test_every_parameter_has_its_option(command, kind, capsys):
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    told = {*re.findall(r"^  (?:-o FILE, )?(--[\w-]+)", capsys.readouterr().out, re.M)}
    options = {name: option for name, (option, *_) in arguments.PARAMETERS.items()}
    # --quiet stands for verbose; no process has a model to go on from; a command line has no functions
    pointless = {"verbose", "warm_start", "tokenizer", "detokenizer"}
    assert told & {*options.values()} == {options[name] for name in kind().get_params() if name not in pointless}


def test_options_reach_the_parameters(tiny):
    arguments = "--cell rnn --no-bias --no-lowercase --level char --vocab-size 9 --clip-norm none --dtype float64"
    more = "--optimizer sgd --learning-rate 0.01 --momentum 0.5 --bptt-truncate 2 --lr-schedule halve --batch-size 1"
    more += " --patience 4 --lr-decay-start 6 --early-stopping --n-iter-no-change 7 --tol 0.5 --validation-fraction 0.3"
    more += " --output-layer sampled --n-sampled 3"
    more += " --language german --weight-noise 0.25 --checkpoint run.ckpt --checkpoint-minutes 1.5"
    more += " --layers 2 --embedding-dim 4 --tie-weights --dropout 0.25 --chunk-len 9 --init-scale 0.1 --no-peepholes"
    more += " --min-count 2 --special-token <s> --unknown-word <unk>"
    command = ["train", "tiny.txt", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "0"]
    command += [*arguments.split(), *more.split()]
    assert main.main([*command, "--evaluate-every", "1", "--sentence-split", "text", "--quiet"]) == 0
    parameters = LanguageModel.load("o.npz").get_params()
    expected = {"cell": "rnn", "bias": False, "lowercase": False, "level": "char", "vocab_size": 9, "clip_norm": None}
    expected |= {"dtype": "float64", "optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 1}
    expected |= {"bptt_truncate": 2, "lr_schedule": "halve", "evaluate_every": 1, "sentence_split": "text"}
    expected |= {"hidden_dim": 4, "max_epochs": 0, "n_threads": 1, "random_state": 0, "verbose": 0}
    expected |= {"patience": 4, "lr_decay_start": 6, "early_stopping": True, "n_iter_no_change": 7, "tol": 0.5}
    expected |= {"validation_fraction": 0.3, "weight_noise": 0.25, "checkpoint": "run.ckpt", "checkpoint_minutes": 1.5}
    expected |= {"warm_start": False, "num_layers": 2, "embedding_dim": 4, "tie_weights": True, "dropout": 0.25}
    expected |= {"output": "sampled", "n_sampled": 3}
    expected |= {"peepholes": False, "init": "default", "language": "german", "tokenizer": None, "detokenizer": None}
    expected |= {"chunk_len": 9, "init_scale": 0.1, "device": "cpu", "matmul_precision": "float32"}
    expected |= {"min_count": 2, "tokens": None, "special_tokens": ("<s>",), "unknown_word": "<unk>"}
    assert parameters == expected


@pytest.mark.parametrize("text, split, unit, parts", [
    ("A cat. A dog.", "punkt", "line", ["A cat. A dog."]),
    ("a\n\nb\n \nc", "punkt", "paragraph", ["a", "b", "c"]),
    ("One line.\nAnd one more.\nAnd a third\nwhich goes on.", "punkt", "line",
     ["One line.", "And one more.", "And a third\nwhich goes on."]),
    ("one\ntwo\r\nthree\u2028four", "line", "line", ["one", "two", "three\u2028four"]),
    ("one\ntwo", "text", "text", ["one\ntwo"]),
    ("a b\nc\nd e f\ng h\ni", None, "line", ["a b", "c", "d e f", "g h", "i"]),
])  # fmt: skip
def test_what_is_held_out_and_what_is_not_make_up_the_text(text, split, unit, parts):
    hold_out = HoldOut(0.3, Vocabulary(sentence_split=split).new_splitter())
    rest = list(hold_out.rest([text] * 20))
    separator = {"paragraph": "\n\n", "line": "\n", "text": "\0"}[unit]
    found, expected = [*separator.join(rest).split(separator), *hold_out.kept], parts * 20
    assert sorted(separator.join(found).split(separator)) == sorted(separator.join(expected).split(separator))
    assert hold_out.found == {unit: 20 * len(parts)} and len(hold_out.kept) == int(0.3 * 20 * len(parts))
    assert list(HoldOut(0, hold_out.splitter).rest([text, " "])) == [text]


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
    assert re.search(rf"validation  {min(losses):.4f} nats a token", capsys.readouterr().out)
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


def test_no_line_goes_on_where_the_bar_ends(tiny, capsys):
    rough = ["--learning-rate", "1e30", "--optimizer", "sgd", "--clip-norm", "none", "--epochs", "4"]
    with np.errstate(all="ignore"):
        assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, *rough]) in (0, 1)
    err = capsys.readouterr().err
    assert "training goes on from the last good weights" in err and "epoch 1:" in err
    assert not re.search(r"[^\r\n]fastrnn: ", err)


def test_ctrl_c_elsewhere_is_one_line(tiny, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(LanguageModel, "load", interrupt)
    assert main.main(["info", "tiny.npz"]) == 130
    assert capsys.readouterr() == ("", "fastrnn: interrupted\n")


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


# Generating


def test_generate_a_sentence_a_line_reproducibly(folder):
    command = ["generate", "m.npz", "-n", 4, "--seed", 3, "--prompt", "The cat", "--temperature", 0.5]
    command += ["--top-k", 9, "--top-p", 0.9, "--min-length", 2, "--max-length", 6, "--exclude", "dog", "mouse"]
    out, err = run(folder, *command)
    assert not err or err.startswith("Compiling the kernels")
    assert run(folder, *command) == (out, "")
    options = {"temperature": 0.5, "top_k": 9, "top_p": 0.9, "min_length": 2, "max_length": 6, "prompt": "The cat"}
    expected, log_probs = LanguageModel.load(folder / "m.npz").generate(
        4, random_state=3, return_log_probs=True, exclude=["UNKNOWN_TOKEN", "dog", "mouse"], **options
    )
    assert out.splitlines() == expected
    rows = [line.split("\t") for line in run(folder, *command, "--log-probs")[0].splitlines()]
    assert [sentence for _, sentence in rows] == expected
    assert np.allclose([float(log_p) for log_p, _ in rows], [p.sum() for p in log_probs], atol=1e-3)


def test_generate_in_this_process(tiny, capsys):
    assert main.main(["generate", "tiny.npz", "--seed", "1", "--max-length", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    command = ["generate", "tiny.npz", "--prompt", "a zebra", "-n", "1"]
    assert main.main(command) == 2
    assert capsys.readouterr().err.startswith("fastrnn: error: --prompt: found 'zebra'")
    assert main.main([*command, "--unknown-prompt", "token", "--allow-unknown", "--log-probs"]) == 0
    assert re.match(r"-[\d.]+\ta UNKNOWN_TOKEN", capsys.readouterr().out)


# Scoring


def read_scores(out):
    """The rows as (nats, tokens, perplexity, sentence), and the total's numbers."""
    lines = out.splitlines()
    assert lines[0] == "nats\ttokens\tperplexity\tsentence"
    rows = [line.split("\t") for line in lines[1:-2]]
    numbers = [float(n.replace(",", "")) for n in re.findall(r"[\d,.]*\d", " ".join(lines[-2:]))]
    return [(float(n), int(t), float(p), s) for n, t, p, s in rows], numbers


def test_scores_agree_with_the_library(folder):
    text = make_text()
    rows, (sentences, tokens, unknown, loss, perplexity) = read_scores(run(folder, "score", "m.npz", "text.txt")[0])
    model = LanguageModel.load(folder / "m.npz")
    assert np.allclose([-row[0] for row in rows], model.score_samples([text], per_sentence=True)[0], atol=1e-3)
    _, y = model.vocabulary_.transform([text])
    assert [row[1] for row in rows] == y.lengths.tolist()
    assert np.allclose([row[2] for row in rows], [np.exp(row[0] / row[1]) for row in rows], rtol=1e-3)
    assert rows[0][3] == "The cat sees the dog."
    assert (sentences, tokens, unknown) == (len(rows), y.values.size, (y.values == len(model.vocabulary_) - 1).sum())
    assert loss == pytest.approx(model.loss([text]), abs=1e-3)
    assert perplexity == pytest.approx(model.perplexity([text]), abs=0.02)


def test_candidates_are_ranked_whole(folder):
    lines = "The cat sees the dog. And?\n\n  the\tcat  \nthe\fzebra\n"
    command = ["score", "m.npz", "-", "--lines", "--text", "The dog. The cat.", "--sort"]
    rows, (sentences, _, unknown, *_) = read_scores(run(folder, *command, stdin=lines)[0])
    assert {row[3] for row in rows} == {"The cat sees the dog. And?", "the cat", "the zebra", "The dog. The cat."}
    assert sorted(rows) == rows and (sentences, unknown) == (4, 1)  # full stops within a line are tokens


def test_score_in_this_process(tiny, capsys):
    assert main.main(["score", "tiny.npz", "tiny.txt", "--text", "a dog sees."]) == 0
    rows, _ = read_scores(capsys.readouterr().out)
    assert [row[3] for row in rows] == ["a dog sees.", "A cat sees.", "A dog hears!"]
    for wrong in (["--text", " "], []):
        assert main.main(["score", "tiny.npz", *wrong]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1


@posix
def test_a_reader_that_leaves_early_is_no_error(folder):
    (folder / "many.txt").write_text("the cat sees the dog\n" * 5000)
    with start(folder, "score", "m.npz", "--lines", "many.txt") as process:
        assert process.stdout.readline().startswith(b"nats")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# Information


def test_info(folder):
    out, err = run(folder, "info", "m.npz")
    model = LanguageModel.load(folder / "m.npz")
    assert err == ""
    lines = ["hidden_dim=8", "max_epochs=3", "n_threads=2", "random_state=0"]
    parameters = [f"{name}={value!r}" for name, value in model.get_params().items()]
    assert f"\nparameters  {f'{chr(10):<13}'.join(sorted(lines, key=parameters.index))}" in out
    assert f"\n            and {len(parameters) - 4} defaults, which --all lists\n" in out and "cell=" not in out
    shown = run(folder, "info", "m.npz", "--all")[0].partition("\nparameters  ")[2].splitlines()[: len(parameters)]
    assert {line.strip() for line in shown[:4]} == {*lines} and {line.strip() for line in shown} == {*parameters}
    for name, array in model.model_.params_.items():
        assert f"{name} {array.shape} float32\n" in out
    for fact in ("m.npz, format version 1", model.vocabulary_.report().splitlines()[0], "level word"):
        assert fact in out
    assert re.search(r"epochs +3\n", out)
    assert f"last loss   {model.model_.loss_curve_[-1]:.4f} nats" in out


def test_info_of_a_model_that_has_not_trained(tiny, capsys):
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "0"]) == 0
    assert main.main(["info", "o.npz"]) == 0
    assert "last loss" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [
    "", "demo", "train", "generate", "score", "translate-train", "translate", "info", "plot", "plot hidden", "warmup"
])  # fmt: skip
def test_help_has_an_example_and_the_classes_defaults(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        caught.value.code == 0
        and f"fastrnn {command or 'demo'}" in text.split("Begin with" if not command else "Example")[1]
    )
    if command == "train":
        epochs = LanguageModel().max_epochs
        assert f"passes over the text (default: {epochs})" in text
        assert "recurrent cell: rnn, lstm, gru (default: gru)" in text


def test_version_and_usage_errors_come_at_once(folder):
    assert re.fullmatch(r"fastrnn \d[\w.]*\n", run(folder, "--version")[0])
    code = (
        "import sys\nfrom fastrnn.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: print('numba' in sys.modules)"
    )
    for words in (["--help"], ["train"], ["score"], ["plot", "losses", "m.npz"], ["generate", "m.npz", "-n", "many"]):
        done = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True)
        assert done.stdout.decode().split()[-1] == "False"


# Pictures


@pytest.mark.parametrize("ending, head", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_pictures_are_saved_as_their_ending_says(tiny, capsys, ending, head):
    text = ["--text", "A cat hears a zebra. A dog sees."]
    for picture in (["losses", "tiny.npz"], ["hidden", "tiny.npz", "--units", "3", "--layer", "0", *text],
                    ["gates", "tiny.npz", *text], ["surprisal", "tiny.npz", *text]):  # fmt: skip
        assert main.main(["plot", *picture, "-o", f"p.{ending}"]) == 0
        out, err = capsys.readouterr()
        assert out == f"Saved p.{ending}\n" and (not err or err.startswith("Compiling the kernels"))
        assert Path(f"p.{ending}").read_bytes().startswith(head)
        Path(f"p.{ending}").unlink()


@posix
def test_outputs_go_through_links_and_into_fifos(tiny, capsys):
    Path("there").mkdir()
    for name in ("m.npz", "run.ckpt", "p.svg"):
        Path(name).symlink_to(f"there/{name}")
    os.mkfifo("fifo.npz")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("fifo.npz").read_bytes()), daemon=True)
    reader.start()
    small = ["--quiet", "--sentence-split", "line", *TINY]
    assert main.main(["train", "tiny.txt", "-o", "m.npz", "--checkpoint", "run.ckpt", *small]) == 0
    assert main.main(["train", "tiny.txt", "-o", "fifo.npz", *small]) == 0
    assert main.main(["plot", "losses", "m.npz", "-o", "p.svg"]) == 0
    reader.join(60)
    assert all(Path(name).is_symlink() for name in ("m.npz", "run.ckpt", "p.svg"))
    assert {*os.listdir("there")} == {"m.npz", "run.ckpt", "p.svg"}
    Path("read.npz").write_bytes(read[0])
    found, expected = (LanguageModel.load(name).model_.params_["V"] for name in ("read.npz", "m.npz"))
    assert np.array_equal(found, expected) and Path("fifo.npz").is_fifo()


@posix
def test_what_cannot_be_replaced_is_told_before_the_training(tiny, capsys):
    Path("folder").mkdir()
    Path("nowhere.npz").symlink_to("none/m.npz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.npz")
        for output, told in (
            ("folder", "folder: found a directory, expected a file to write"),
            ("socket.npz", "socket.npz: found a socket, expected a file to write"),
            ("nowhere.npz", "none: no such directory, nowhere.npz cannot be saved there"),
        ):
            for option in (["-o", output], ["-o", "o.npz", "--checkpoint", output]):
                assert main.main(["train", "tiny.txt", *option, *TINY]) == 2
                assert told in capsys.readouterr().err
    assert not Path("o.npz").exists()


def test_surprisal_is_told_where_no_picture_is_saved(folder):
    out, _ = run(folder, "plot", "surprisal", "m.npz", "--text", "The cat sees a zebra. Why?")
    *lines, told = out.splitlines()
    assert re.findall(r"(\S+)\(\d+\.\d\)", " ".join(lines)) == "the cat sees a* zebra* . </s> why ? </s>".split()
    assert told.startswith("10 tokens, ") and told.endswith("; 2 unknown, marked *")


def test_losses_of_several_models_are_named_after_their_files(tiny, monkeypatch):
    labels = []
    original = plots.plot_losses
    monkeypatch.setattr(plots, "plot_losses", lambda m, by, names: labels.append(names) or original(m, by, names))
    Path("other").mkdir()
    Path("other/tiny.npz").write_bytes(Path("tiny.npz").read_bytes())
    Path("b.npz").write_bytes(Path("tiny.npz").read_bytes())
    assert main.main(["plot", "losses", "tiny.npz", "b.npz", "-o", "p.svg"]) == 0
    assert main.main(["plot", "losses", "tiny.npz", "-o", "p.svg", "other/tiny.npz"]) == 0
    assert labels == [["tiny", "b"], ["tiny.npz", "other/tiny.npz"]]


def test_a_picture_without_matplotlib_is_one_line(tiny, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main.main(["plot", "losses", "tiny.npz", "-o", "p.png"]) == 2
    assert capsys.readouterr().err == "fastrnn: error: pictures need matplotlib: pip install matplotlib\n"
    assert main.main(["plot", "surprisal", "tiny.npz", "--text", "A cat"]) == 0


def test_losses_of_a_model_that_has_not_trained(tiny, capsys):
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "0"]) == 0
    assert main.main(["plot", "losses", "o.npz", "-o", "p.png"]) == 2
    assert "o: found no epoch" in capsys.readouterr().err


# Errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "COMMAND"),
        ("train", "INPUT"),
        ("train text.txt -o o.npz --epochs many", "--epochs"),
        ("train text.txt -o o.npz --epoch 3", "unrecognized arguments: --epoch 3"),
        ("info m.npz m.npz", "unrecognized"),
        ("train text.txt -o o.npz --cell gruu", "cell: found 'gruu'"),
        ("train text.txt -o o.npz --learning-rate nan", "error: --learning-rate: found nan"),
        ("train text.txt -o o.npz --sentence-split maybe", "error: --sentence-split: found 'maybe'"),
        ("train text.txt -o o.npz --held-out 1", "error: --held-out: found 1"),
        ("train text.txt -o nowhere/o.npz", "nowhere"),
        ("train text.txt -o .", "directory"),
        ("train text.txt -o o.npz --checkpoint nowhere/run.ckpt", "nowhere"),
        ("train text.txt -o o.npz --resume nothing.ckpt", "nothing.ckpt: no such file"),
        ("train text.txt -o o.npz --resume m.npz", "found a LanguageModel, expected a FastRNN checkpoint"),
        ("train text.txt -o o.npz --patience 0", "patience: found 0"),
        ("train text.txt nothing.txt -o o.npz", "nothing.txt"),
        ("train binary.txt -o o.npz", "NUL"),
        ("train latin.txt -o o.npz", "not utf-8 at byte 2, line 1; give its encoding, as in --encoding latin-1"),
        ("train u16.txt -o o.npz", "begins with the byte order mark of utf-16, expected --encoding utf-16"),
        ("train m.npz -o o.npz", "m.npz: found a model, or another .npz file, expected a text"),
        ("train text.txt -o o.npz --vocab-size 3", "error: --vocab-size: found 3, expected an int >= 4"),
        ("train table.csv -o o.npz --delimiter xx", "error: --delimiter: found 'xx'"),
        ("generate text.txt", "text.txt: found a text, not a model saved by fastrnn"),
        ("generate m.npz -n 1000000000000000000000000", "error: -n: found 1000000000000000000000000"),
        ("generate m.npz --top-k 10000000000000000000000", "error: --top-k: found 10000000000000000000000"),
        ("generate m.npz --max-length 1000000000000000000000000", "error: --max-length: found 1000000"),
        ("train latin.txt -o o.npz --encoding klingon", "klingon"),
        ("train empty.txt -o o.npz", "no text"),
        ("train - -o o.npz", "standard input: no text"),
        ("train table.csv -o o.npz", "the text, one of 'a', 'b'; if that row is no header, --column 0 is the first"),
        ("train table.csv -o o.npz --column text", "no column 'text'"),
        ("generate nothing.npz", "no such file"),
        ("generate damaged.npz", "damaged"),
        ("generate foreign.npz", "not a model"),
        ("generate m.npz -n 0", "n: found 0"),
        ("generate m.npz --exclude zebra", "zebra"),
        ("generate m.npz --prompt zebra", "--prompt: found 'zebra', expected words of the vocabulary"),
        ("generate m.npz --prompt zebra", "; --unknown-prompt token takes them for UNKNOWN_TOKEN"),
        ("score m.npz", "nothing to score"),
        ("score m.npz latin.txt", "not utf-8"),
        ("plot", "PICTURE"),
        ("plot losses m.npz", "-o"),
        ("plot losses m.npz -o p.gif", "found 'p.gif', expected a file name that ends in .png, .svg, .pdf"),
        ("plot losses m.npz -o nowhere/p.png", "nowhere"),
        ("plot losses m.npz nothing.npz -o p.png", "nothing.npz"),
        ("plot losses m.npz -o p.png --by hours", "by: found 'hours'"),
        ("plot losses m.npz -o p.png --by seconds --bye", "unrecognized arguments: --bye"),
        ("plot surprisal m.npz", "--text"),
        ("plot surprisal m.npz --text=", "text: found ''"),
        ("plot surprisal text.txt --text cat", "not a model"),
        ("plot hidden m.npz --text cat -o p.png --layer 1", "layer: found 1"),
        ("plot gates m.npz --text cat -o p.png --units 0", "units: found 0"),
        ("info text.txt", "not a model"),
        ("info .", "no such file"),
    ],
)
def test_an_error_is_one_line(wrong_files, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(wrong_files)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    with sys.stdin:
        try:
            status = main.main(arguments.split())
        except SystemExit as error:
            status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and err.count("\n") == 1 and err.startswith("fastrnn: error: "), (out, err)
    assert said in err and not Path("o.npz").exists() and not [*Path().glob("**/p.*")]


@pytest.fixture(scope="module")
def wrong_files(folder):
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02")
    (folder / "latin.txt").write_bytes("naïve".encode("latin-1"))
    (folder / "empty.txt").write_text(" \n")
    (folder / "u16.txt").write_bytes("Hello.".encode("utf-16"))
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "damaged.npz").write_bytes((folder / "m.npz").read_bytes()[:-500])
    np.savez(folder / "foreign.npz", a=1)
    return folder


@pytest.mark.parametrize("command, message, expected", [
    ("train", "hidden_dim: found 0", "--hidden-dim: found 0"),
    ("train", "a with hidden_dim=8, expected max_epochs=9.", "a with --hidden-dim 8, expected --epochs 9."),
    ("train", "hidden_dim.txt: no hidden_dim, as 'hidden_dim'", "hidden_dim.txt: no --hidden-dim, as 'hidden_dim'"),
    ("train", "/tmp/n_threads/x: n_threads=2", "/tmp/n_threads/x: --threads 2"),
    ("train", "embedding_dim must be hidden_dim with tie_weights=True",
     "--embedding-dim must be --hidden-dim with --tie-weights"),
    ("train", 'give sentence_split="punkt"; cell is a word', "give --sentence-split punkt; cell is a word"),
    ("train", "path: found '', random_state: x", "INPUT: found '', --seed: x"),
    ("train", "top_k: found 3, top_k=3", "top_k: found 3, top_k=3"),  # which this command has not
    ("generate", "n: found 0, top_k=3, unknown='token'", "-n: found 0, --top-k 3, --unknown-prompt token"),
    ("generate", "exclude: found 'x'", "--exclude: found 'x'"),
])  # fmt: skip
def test_messages_name_what_was_typed(command, message, expected):
    words = {"train": ["train", "a", "-o", "b"], "generate": ["generate", "m"]}[command]
    assert arguments.in_options(message, arguments.parse(words, main._COMMANDS).parser) == expected


def test_remarks_name_options_too(tiny, capsys):
    Path("titles.txt").write_text("red fox\nblue dog runs\nold cat\na mouse\nthe end\n")
    assert main.main(["train", "titles.txt", "-o", "o.npz", *TINY, "--quiet"]) == 0
    assert "every line end ends a sentence; --sentence-split punkt joins lines\n" in capsys.readouterr().err
    assert LanguageModel.load("o.npz").vocabulary_.n_sentences_ == 5


@pytest.mark.parametrize("arguments, option", [("train '' -o o.npz", "INPUT"), ("score m.npz ''", "INPUT")])
def test_an_unset_variable_is_no_input(wrong_files, capsys, monkeypatch, arguments, option):
    monkeypatch.chdir(wrong_files)
    assert main.main(shlex.split(arguments)) == 2
    assert capsys.readouterr().err.startswith(f"fastrnn: error: {option}: found '', expected a path")


def test_closed_standard_input_is_one_line(wrong_files, capsys, monkeypatch):
    monkeypatch.chdir(wrong_files)
    monkeypatch.setattr(sys, "stdin", None)
    for command in ("train - -o o.npz", "score m.npz -", "train - -o o.npz --column a"):
        assert main.main(command.split()) == 2
        assert capsys.readouterr().err == "fastrnn: error: standard input: is closed, expected a text\n"


def test_errors_of_real_processes(wrong_files):
    assert "'gruu'" in failure(wrong_files, "train", "text.txt", "-o", "o.npz", "--cell", "gruu")
    assert "no column" in failure(wrong_files, "train", "-", "-o", "o.npz", "--column", "text", stdin="a,b\n1,2")
    assert "damaged" in failure(wrong_files, "generate", "damaged.npz")
    assert "required" in failure(wrong_files, "train")


# Demonstration


def test_demo_in_this_process(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts = [f"A cat sees {i} dogs." for i in range(25)]
    compiled = numba.njit(lambda: 25)  # a kernel that is not on disk
    monkeypatch.setattr("fastrnn.text.corpora.python_manual", lambda: texts[: compiled()])
    monkeypatch.setattr(train, "DEMO", {"hidden_dim": 4, "max_epochs": 1, "n_threads": 1})
    assert main.main(["demo", "--output", "d.npz"]) == 0
    out, err = capsys.readouterr()
    assert "24 sentences" in out and "1 sentence," in out and "fastrnn generate d.npz --prompt" in out
    assert COMPILED is ("Compiling the kernels" in err) and LanguageModel.load("d.npz").random_state == 0


def test_demo(tmp_path):
    out, err = run(tmp_path, "demo", "--epochs", "1", "--threads", "2")
    assert "about a minute" in err and "epoch 1: 100%" in err
    before, after = (float(p) for p in re.findall(r"Held out, .*, perplexity ([\d.]+) ", out))
    assert after < before / 2
    assert len(re.findall(r"^  (?!.*fastrnn )\S", out, re.MULTILINE)) == 8
    assert 'fastrnn generate demo.npz --prompt "the statement"' in out
    assert run(tmp_path, "generate", "demo.npz", "--prompt", "the statement", "-n", 1)[0].startswith("the statement")


def test_warmup_tells_what_it_did(tiny, capsys, monkeypatch):
    capsys.readouterr()
    assert main.main(["warmup", "--cell", "rnn", "--dtype", "float32"]) == 0
    out, err = capsys.readouterr()
    steps = re.findall(r"^rnn +float32 +(\w+) +[\d.]+ s  (?:compiled|ready)$", out, re.M)
    assert steps == ["training", "scoring", "predicting", "generating", "pairs", "sampled"]
    kept = "Kept in .+" if COMPILED else "Not kept: NUMBA_DISABLE_JIT is set"
    assert re.search(rf"^\d of 6 compiled, [\d.]+ s in all\n{kept}\n\Z", out, re.M)
    assert "rnn float32 training: 0 of 6 done" in err and "rnn float32 sampled: 6 of 6 done" in err
    monkeypatch.setattr("fastrnn.kernels.compiler.cache_folder.PROBLEM", "/home/ann: read-only")
    assert main.main(["warmup", "--cell", "rnn"]) == 0
    assert capsys.readouterr().out.endswith("\nNot kept: /home/ann: read-only\n")
    assert main.main(["warmup", "--cell", "elman"]) == 2
    assert "expected one of 'rnn', 'lstm', 'gru'" in capsys.readouterr().err

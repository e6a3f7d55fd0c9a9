"""`fastrnn demo`."""

import re

import numba
from cli_helpers import run
from helpers import COMPILED

from fastrnn import LanguageModel
from fastrnn.cli import main, train


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

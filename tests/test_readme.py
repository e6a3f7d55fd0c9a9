"""The README's code runs as it stands, with fewer epochs."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastrnn.cli import main

pytestmark = pytest.mark.compiled  # other processes, whose kernels are compiled in any case

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SENTENCES = ["The movie was good, and the actors were good.", "A bad movie!", "I liked it: good text of yours."]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def environment():
    ours = ("NUMBA_DISABLE_JIT", "NUMBA_ENABLE_CUDASIM")
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture
def comments(tmp_path):
    """A folder with the files that the README's code reads."""
    with open(tmp_path / "comments.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["body"], *[[sentence] for sentence in SENTENCES * 20]])
    (tmp_path / "shakespeare.txt").write_text("ROMEO: Ay me.\nJULIET: A rose.\n" * 60, encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("i am cold .\tj'ai froid .\nyou are cold .\tje suis froid .\n" * 60, "utf-8")
    return tmp_path


def run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment(), timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


# What is made smaller, so that it takes seconds.
SMALLER = [(r"max_epochs=\d+", "max_epochs=1"), (r"hidden_dim=256", "hidden_dim=16")]


@pytest.mark.parametrize("beginning, lines, holds", [
    ("from fastrnn import FastRNN, Vocabulary", 6, ""),
    ("from fastrnn import LanguageModel, read_texts\n\ntexts", 2, "'the movie"),
    ("from fastrnn import LanguageModel, read_texts\n\nlm = LanguageModel(\n    level", 1, "ROMEO:"),
    ("from fastrnn import FastRNN\n\nmodel", 0, ""),
    ("from fastrnn import FastRNN\n\nx, y", 1, "."),
    ("from fastrnn import LanguageModel, read_texts\n\nlm = LanguageModel(\n    max_epochs", 1, "."),
    ("from fastrnn import Translator", 4, "["),
    ("from fastrnn import Seq2Seq\n\nmodel", 1, "["),
])  # fmt: skip
def test_python_blocks_print_what_they_promise(beginning, lines, holds, comments):
    (code,) = [block for block in blocks("python") if block.startswith(beginning)]
    for found, smaller in SMALLER:
        code = re.sub(found, smaller, code)
    printed = run([sys.executable, "-W", "error", "-c", code], comments)
    assert len(printed.splitlines()) >= lines and holds in printed


def test_the_recipes_can_be_constructed():
    recipes = [block for block in blocks("python") if re.match(r"\w+\(", block)]
    assert len(recipes) == 2
    for recipe in recipes:
        name = recipe.partition("(")[0]
        code = f"from fastrnn import {name}\nmodel = {recipe}\nmodel.check_parameters()\nprint(model)"
        assert run([sys.executable, "-c", code], None).startswith(name)


def commands():
    return [line for block in blocks("sh")[2:] for line in block.splitlines() if line]


def test_commands(comments, monkeypatch, capsys):
    monkeypatch.chdir(comments)
    assert len(commands()) >= 14
    run([sys.executable, "-m", "fastrnn", "train", "comments.csv", "-o", "demo.npz", "--epochs", "1"], comments)
    for line in commands():
        words = shlex.split(line, comments=True)
        assert words[0] == "fastrnn"
        extra = ["--epochs", "1", "--hidden-dim", "8"] if words[1].endswith("train") else []
        extra += ["--unknown", "token"] if words[1] == "translate" else []
        extra += ["--help"] if words[1] == "warmup" else []
        try:
            assert main.main([*words[1:], *extra]) == 0, line
        except SystemExit as end:  # of --help
            assert end.code == 0
        assert any(capsys.readouterr()), line

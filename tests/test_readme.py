"""The README's code runs as it stands, with fewer epochs."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SENTENCES = ["The movie was good, and the actors were good.", "A bad movie!", "I liked it: good text of yours."]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def environment():
    return {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}


@pytest.fixture
def comments(tmp_path):
    with open(tmp_path / "comments.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["body"], *[[sentence] for sentence in SENTENCES * 20]])
    return tmp_path


def run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment(), timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("number", range(2))
def test_python_blocks_print_what_they_promise(number, comments):
    code = re.sub(r"max_epochs=\d+", "max_epochs=1", blocks("python")[number])
    lines = run([sys.executable, "-W", "error", "-c", code], comments).splitlines()
    if number == 0:  # a perplexity, five sentences
        assert float(lines[0]) > 1 and len(lines) == 6
    else:
        assert lines[0].count("'the movie") == 3 and (comments / "comments.npz").stat().st_size > 0


def test_the_recipe_can_be_constructed():
    code = "from fastrnn import FastRNN\n" + blocks("python")[2].replace("FastRNN(", "print(FastRNN(", 1).rstrip() + ")"
    assert "cell='rnn'" in run([sys.executable, "-c", code], None)


def test_commands(comments):
    commands = [line for line in blocks("sh")[2].splitlines() if line]
    assert len(commands) >= 4
    for line in commands:
        words = shlex.split(line, comments=True)
        assert words[0] == "fastrnn"
        extra = ["--epochs", "1"] if words[1] == "train" else []
        assert run([sys.executable, "-m", *words, *extra], comments)

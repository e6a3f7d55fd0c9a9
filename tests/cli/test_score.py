"""`fastrnn score`."""

import re

import numpy as np
import pytest
from cli_helpers import make_text, posix, run, start

from fastrnn import LanguageModel
from fastrnn.cli import main


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

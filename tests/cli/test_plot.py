"""`fastrnn plot`."""

import re
import sys
from pathlib import Path

import pytest
from cli_helpers import TINY, run

from fastrnn.cli import main
from fastrnn.plotting import plots


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

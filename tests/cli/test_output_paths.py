"""Files that a command writes and reads: none is lost because two arguments name the same one."""

import os
import sys
from pathlib import Path

import pytest

from fastrnn import FastRNN
from fastrnn.cli import main
from fastrnn.cli.output_paths import refuse_overwriting

TEXT = "A cat sees.\nA dog hears!\n"
TINY = ["--hidden-dim", "4", "--epochs", "1", "--threads", "1", "--held-out", "0", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with a text under several names, a folder of texts, and the names that two links have."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text(TEXT)
    Path("corpus/deep").mkdir(parents=True)
    Path("corpus/deep/part.txt").write_text(TEXT)
    Path("other.txt").write_text(TEXT)
    if sys.platform != "win32":
        Path("soft").symlink_to("notes.txt")
        os.link("notes.txt", "hard")
        Path("folder").symlink_to("corpus")
        Path("dangling").symlink_to("corpus/new.npz")
    return tmp_path


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            "notes.txt -o notes.txt",
            "--output: found notes.txt, which is an input as well (notes.txt), expected another",
        ),
        (
            "other.txt notes.txt -o corpus/../notes.txt",
            "--output: found corpus/../notes.txt, which is an input as well",
        ),
        ("notes.txt -o soft", "--output: found soft, which is an input as well (notes.txt)"),
        ("soft -o notes.txt", "--output: found notes.txt, which is an input as well (soft)"),
        ("hard -o notes.txt", "--output: found notes.txt, which is an input as well (hard)"),
        ("corpus -o corpus/deep/part.txt", "which is an input as well (corpus/deep/part.txt)"),
        ("folder -o corpus/deep/part.txt", "which is an input as well (folder/deep/part.txt)"),
        ("other.txt -o m.npz --checkpoint other.txt", "--checkpoint: found other.txt, which is an input as well"),
        ("- -o notes.txt", "--output: found notes.txt, which is an input as well (standard input)"),
        ("notes.txt -o m.npz --checkpoint m.npz", "--output: found m.npz, which is the file of --checkpoint as well"),
        ("notes.txt -o corpus/m.npz --checkpoint folder/m.npz", "which is the file of --checkpoint as well"),
        ("notes.txt -o dangling --checkpoint corpus/new.npz", "which is the file of --checkpoint as well"),
        ("notes.txt -o run.ckpt --resume run.ckpt", "--output: found run.ckpt, which is the file of --resume as well"),
    ],
)
def test_it_is_refused_before_anything_is_read(here, capsys, monkeypatch, arguments, said):
    if sys.platform == "win32" and any(word in arguments for word in ("soft", "hard", "folder", "dangling")):
        pytest.skip("links need rights there")
    monkeypatch.setattr("fastrnn.text.files._read", lambda *_: pytest.fail("a file was read"))
    with open("notes.txt") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main.main(["train", *arguments.split(), *TINY]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
    assert all(Path(name).read_text() == TEXT for name in ("notes.txt", "other.txt", "corpus/deep/part.txt"))
    assert not Path("m.npz").exists() and not Path("corpus/m.npz").exists()


def test_what_is_written_may_be_new_or_be_in_the_folder_that_is_read(here):
    assert main.main(["train", "corpus", "-o", "corpus/m.npz", "--checkpoint", "run.ckpt", *TINY]) == 0
    assert main.main(["train", "corpus", "-o", "corpus/m.npz", *TINY, "--resume", "run.ckpt", "--epochs", "2"]) == 0
    again = ["--resume", "run.ckpt", "--checkpoint", "run.ckpt", "--epochs", "3"]
    assert main.main(["train", "corpus", "-o", "corpus/m.npz", *TINY, *again]) == 0


def test_what_will_be_replaced_is_said(here, capsys):
    command = ["train", "notes.txt", "-o", "m.npz", "--checkpoint", "run.ckpt", *TINY[:-1]]
    Path("m.npz").write_text("what was there")
    assert main.main(command) == 0
    assert "fastrnn: m.npz exists (no model of fastrnn) and will be replaced\n" in capsys.readouterr().err
    assert main.main(command) == 0
    told = capsys.readouterr().err.splitlines()[:2]
    assert told[0] == "fastrnn: m.npz exists (a LanguageModel) and will be replaced"
    assert told[1].endswith(
        "run.ckpt exists (a FastRNN checkpoint) and will be replaced; --resume run.ckpt would go on with it"
    )
    assert main.main([*command, "--quiet"]) == 0
    assert "exists" not in capsys.readouterr().err
    assert main.main(["train", "notes.txt", "-o", "new.npz", *TINY[:-1]]) == 0
    assert "exists" not in capsys.readouterr().err


def test_a_picture_does_not_replace_a_model(here, capsys):
    FastRNN(hidden_dim=2, max_epochs=1, n_threads=1).fit([[0, 2]], [[2, 1]]).save("model.svg")
    model = Path("model.svg").read_bytes()
    Path("other.svg").write_bytes(model)
    assert main.main(["plot", "losses", "other.svg", "model.svg", "-o", "./model.svg"]) == 2
    assert "--output: found model.svg, which is a model to read as well (model.svg)" in capsys.readouterr().err
    assert main.main(["plot", "surprisal", "model.svg", "--text", "cat", "-o", "model.svg"]) == 2
    assert "--output: found model.svg" in capsys.readouterr().err and Path("model.svg").read_bytes() == model


@pytest.mark.skipif(sys.platform == "win32", reason="there are other names for devices")
def test_a_device_may_be_named_twice(here):
    refuse_overwriting("--output", "/dev/null", [("an input", "/dev/null")])

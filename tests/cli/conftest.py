"""Folders with a text and a small model, for tests of the command."""

from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SMALL, TINY, make_text, run
from helpers import COMPILED

from fastrnn.cli import main


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def wrong_files(folder):
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02")
    (folder / "latin.txt").write_bytes("naïve".encode("latin-1"))
    (folder / "empty.txt").write_text(" \n")
    (folder / "u16.txt").write_bytes("Hello.".encode("utf-16"))
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "damaged.npz").write_bytes((folder / "m.npz").read_bytes()[:-500])
    np.savez(folder / "foreign.npz", a=1)
    return folder

"""What commands write through links and into FIFOs, and what they cannot replace."""

import os
import socket
import threading
from pathlib import Path

import numpy as np
from cli_helpers import TINY, posix

from fastrnn import LanguageModel
from fastrnn.cli import main


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

"""Processes of the command `fastrnn`, a text for them, and options for small models."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn

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

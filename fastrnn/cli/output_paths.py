"""Files that a command writes: none may be one that it reads, and what will be replaced is logged."""

import os
import stat
import sys
from pathlib import Path

from .console import log_line


def refuse_overwriting(option, path, others):
    """ValueError if a file to write is one of others that are read, or written for another purpose, by any name.

    Parameters
    ----------
    option : str
        That names the file to write.
    path : str or path
    others : iterable of (str, str or path or None)
        What each is, in words, and its path: a file, a directory or pattern, which stands for its files, or "-" for
        standard input.
    """
    for what, other in others:
        for file in () if other is None else _files(other):
            if _are_same(path, file):
                named = "standard input" if file == "-" else file
                raise ValueError(f"{option}: found {path}, which is {what} as well ({named}), expected another file")


def log_replaced(path):
    """Log that a file that is there will be replaced, and what it is."""
    from ..storage import kind_of

    if not Path(path).is_file():
        return
    try:
        kind = kind_of(path)
    except ValueError:
        kind = None
    what = f"a {kind}" if kind else "no model of fastrnn"
    hint = f"; --resume {path} would go on with it" if kind and kind.endswith(" checkpoint") else ""
    log_line(f"fastrnn: {path} exists ({what}) and will be replaced{hint}")


def _files(path):
    """The files that stand for a path."""
    from ..text.input_paths import input_files

    try:
        return ["-"] if str(path) == "-" else input_files(str(path))[0]
    except (OSError, ValueError):
        return [path]  # it is not there, or none that can be read: whoever reads it says so


def _are_same(path, other):
    """Whether two paths are one regular file, or would be; links are followed, and the other may be "-"."""
    try:
        found = os.stat(path)
        others = os.fstat(sys.stdin.fileno()) if str(other) == "-" else os.stat(other)
    except (OSError, ValueError, AttributeError):  # one is not there yet, or standard input is no file
        return str(other) != "-" and _resolved(path) == _resolved(other)
    return stat.S_ISREG(found.st_mode) and os.path.samestat(found, others)


def _resolved(path):
    return os.path.normcase(os.path.realpath(path))

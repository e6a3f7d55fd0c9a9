"""The files that are meant by a path: a file, a directory of text files, a pattern."""

import glob
import os
from collections import Counter
from pathlib import Path

from .compressed import SUFFIXES as COMPRESSED

STDIN = Path("standard input")  # stands for "-" where a file is named
PROSE = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".asciidoc", ".log")
SEARCHED = (*PROSE, ".csv", ".tsv", ".jsonl", ".ndjson")  # what a directory is searched for, compressed or not
_RUBBISH = frozenset(["__MACOSX"])


def input_files(path):
    """The files that a path stands for, and what was found beside them and left out.

    Parameters
    ----------
    path : str
        A file, ``"-"``, a directory, or a pattern as `glob.glob` has them, in which ``**`` stands for any folders.

    Returns
    -------
    files : list of Path
        In sorted order.
    skipped : Counter
        How many of each kind, in words.

    Raises
    ------
    FileNotFoundError
        There is no such path, and no file that matches.
    ValueError
        A directory without text files.
    """
    if path == "-":
        return [STDIN], Counter()
    if os.path.isdir(path):
        files, skipped = _search(path)
        if not files:
            found = f", found {described(skipped)}" if skipped else ""
            expected = f"{', '.join(SEARCHED)}, or those with {', '.join(COMPRESSED)}"
            raise ValueError(f"{path}: no text files found{found}; expected {expected}")
        return files, skipped
    if os.path.exists(path):
        return [Path(path)], Counter()
    if not glob.has_magic(path):
        raise FileNotFoundError(f"{path}: no such file or directory")
    files, skipped = [], Counter()
    for match in sorted(glob.glob(path, recursive=True)):
        if not os.path.isdir(match):
            files.append(Path(match))
    if not files:
        raise FileNotFoundError(f"{path}: no such file, and none that matches")
    return files, skipped


def suffix_of(file):
    """The suffix that says what a file holds, in lower case, without that of its compression."""
    name = Path(file.name.lower())
    return Path(name.stem).suffix if name.suffix in COMPRESSED else name.suffix


def described(skipped):
    """What was left out, in words: "3 .png, 1 hidden"."""
    return ", ".join(f"{number:,} {what}" for what, number in sorted(skipped.items(), key=lambda item: -item[1]))


def _search(directory):
    files, skipped = [], Counter()
    for folder, folders, names in os.walk(directory, onerror=_raise):
        for name in folders:
            if _is_hidden(name):
                skipped["hidden"] += 1
            elif os.path.islink(os.path.join(folder, name)):
                skipped["linked folder"] += 1
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in names:
            file = Path(folder, name)
            if _is_hidden(name):
                skipped["hidden"] += 1
            elif suffix_of(file) not in SEARCHED or not file.is_file():
                skipped[file.suffix.lower() or "without a suffix"] += 1
            else:
                files.append(file)
    return sorted(files, key=Path.as_posix), skipped


def _is_hidden(name):
    return name.startswith(".") or name in _RUBBISH


def _raise(error):
    raise error

"""Texts from files: plain, compressed, tables, directories of them, standard input."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..validation import check_encoding, check_integer, check_list, check_path, check_str, shown
from .compressed import unpack
from .input_paths import STDIN, described, input_files, suffix_of
from .sizes import FileSizes, SizedTexts
from .tables import KINDS, column_of

if TYPE_CHECKING:
    from ..typing import FilePath

_MARKS = [  # byte order marks of what is no UTF-8: the longer ones first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]

logger = logging.getLogger("fastrnn")


def read_texts(
    path: FilePath | Iterable[FilePath],
    column: str | int | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Iterator[str]:
    """Read texts from files, directories or standard input.

    Parameters
    ----------
    path : str, path-like, or list of them
        A table gives one text a row: CSV (``.csv``), tab-separated values (``.tsv``), JSON (``.jsonl``, ``.ndjson``,
        one object or str a line, or ``.json``, a list of them). Any other file is one text. Each may be compressed:
        ``.gz``, ``.bz2``, ``.xz``, ``.zst`` (which before Python 3.14 needs the package zstandard).
        A directory gives the texts of its files, recursively, in sorted order, but for hidden ones: those that end in
        ``.txt``, ``.text``, ``.md``, ``.rst`` and the like, ``.log``, ``.csv``, ``.tsv``, ``.jsonl`` and ``.ndjson``;
        what else was there is logged in one line. A pattern such as ``"texts/**/*.tex"``, where no file is called that,
        stands for all files that match; ``"-"`` is standard input.
    column : str or int, optional
        The column of the tables that holds the text, named in the first row, or the field of JSON's objects. It may be
        omitted if there is only one. A number, from 0, says that there is no header: the first row is text too. With
        ``"-"`` any column says that standard input is a table.
    encoding : str
        Of every file; a byte order mark is skipped.
    delimiter : str, optional
        One character that separates the columns of CSV files. By default a comma, semicolon, tab or vertical bar,
        whichever makes the first rows alike.

    Returns
    -------
    iterator of str
        Blank texts are left out. Files are read one at a time, as the iterator reaches them.

    Raises
    ------
    FileNotFoundError
        There is no such path.
    ImportError
        A ``.zst`` file, and nothing is installed that reads it.
    ValueError
        No text found, a binary file, another encoding, a broken compressed file, a directory without text
        files, or a table without the column.
    """
    if isinstance(path, (str, os.PathLike)):
        return _read_path(path, column, encoding, delimiter)
    paths = check_list("path", path, "paths")
    if not paths:
        raise ValueError("path: found an empty list, expected at least one path")
    return read_inputs(paths, column, encoding, delimiter)


def read_inputs(paths: Iterable, column=None, encoding="utf-8", delimiter=None) -> Iterator[str]:
    """The texts of several paths, as `read_texts` has them: read when asked for, but a missing path is told now."""
    return SizedTexts.joined([_read_path(path, column, encoding, delimiter) for path in paths])


def read_lines(path, encoding="utf-8") -> list[str]:
    """Read the lines of a text file, which may be compressed as for `read_texts`, or of standard input for ``"-"``.

    Blank lines stay, and only line ends separate lines, so that line i of two files can belong together.
    """
    text = _read(_file(path), check_encoding("encoding", encoding))
    return text.removesuffix("\n").split("\n") if text else []


def read_pairs(path, encoding="utf-8") -> list[tuple[str, str]]:
    """Read (source, target) from lines of source, tab, target; blank lines and further columns are left out.

    Parameters
    ----------
    path, encoding
        As in `read_lines`.

    Raises
    ------
    ValueError
        A line without a tab or with a blank side, no pair at all, or as `read_texts`.
    """
    pairs, file = [], _file(path)
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line.strip():
            source, tab, rest = line.partition("\t")
            target = rest.partition("\t")[0]
            if not tab:
                raise ValueError(f"{file}: line {number} has no tab, expected a source, a tab, and its target")
            for text, side in ((source, "source"), (target, "target")):
                if not text.strip():
                    raise ValueError(f"{file}: line {number} has a blank {side}, expected words on both sides")
            pairs.append((source, target))
    if not pairs:
        raise ValueError(f"{file}: no pairs found, expected lines of a source, a tab, and its target")
    return pairs


def read_parallel(source_path, target_path, encoding="utf-8") -> list[tuple[str, str]]:
    """Read (source, target) from two files whose lines i belong together; lines that both are blank are left out.

    Parameters
    ----------
    source_path, target_path, encoding
        As in `read_lines`.

    Raises
    ------
    ValueError
        Unlike numbers of lines, a line that is blank on one side only, no pair at all, or as `read_texts`.
    """
    files = _file(source_path), _file(target_path)
    sources, targets = read_lines(source_path, encoding), read_lines(target_path, encoding)
    if len(sources) != len(targets):
        raise ValueError(
            f"{files[0]} has {len(sources)} lines and {files[1]} has {len(targets)}, expected as many:"
            " line i of each belong together"
        )
    pairs = []
    for number, pair in enumerate(zip(sources, targets, strict=True), 1):
        blank = [not text.strip() for text in pair]
        if any(blank) and not all(blank):
            file, other = files if blank[0] else files[::-1]
            raise ValueError(f"{file}: line {number} is blank, but that of {other} is not")
        if not any(blank):
            pairs.append(pair)
    if not pairs:
        raise ValueError(f"{files[0]}: no text found, expected at least one line")
    return pairs


def _file(path):
    path = check_path("path", path)
    return STDIN if path == "-" else Path(path)


def _read_path(path, column, encoding, delimiter):
    path, column = check_path("path", path), _check_column(column)
    encoding, delimiter = check_encoding("encoding", encoding), _check_delimiter(delimiter)
    files, skipped = input_files(path)
    if column is not None and len(files) == 1 and files[0] is not STDIN and suffix_of(files[0]) not in KINDS:
        raise ValueError(f"{files[0]}: column {column!r} was asked for, expected one of {', '.join(KINDS)}")
    if skipped:
        logger.warning(
            "%s: found %s to read; skipped: %s",
            path,
            f"{len(files):,} text file{'s' * (len(files) > 1)}",
            described(skipped),
        )
    sizes = FileSizes(map(_size_on_disk, files))
    return SizedTexts(_texts_of(files, path, column, encoding, delimiter, sizes), sizes)


def _check_column(column):
    if column is None or isinstance(column, str):
        return column
    try:
        return check_integer("column", column, 0)
    except TypeError:
        raise TypeError(f"column: found {shown(column)}, expected a str, an int or None") from None


def _check_delimiter(delimiter):
    if delimiter is None:
        return None
    delimiter = check_str("delimiter", delimiter).replace(r"\t", "\t")  # as it is typed in a shell
    if len(delimiter) != 1 or delimiter in '"\r\n\0 \x1f':
        raise ValueError(f"delimiter: found {delimiter!r}, expected one character, such as ';' or '\\t'")
    return delimiter


def _size_on_disk(file):
    """In bytes; None of what is no regular file."""
    return file.stat().st_size if file is not STDIN and file.is_file() else None


def _texts_of(files, path, column, encoding, delimiter, sizes):
    found = False
    for i, file in enumerate(files):
        text = _read(file, encoding)
        kind = KINDS.get(suffix_of(file))
        if file is STDIN and column is not None:
            kind = "jsonl" if text.lstrip().startswith("{") else "csv"
        items = column_of(text, file, kind, column, delimiter) if kind else [text]
        items = [item for item in items if item and not item.isspace()]
        sizes.read(i, items)
        yield from items
        found = found or bool(items)
    if not found:
        raise ValueError(f"{STDIN if path == '-' else path}: no text found, expected at least one sentence")


def _read(file, encoding):
    if file is STDIN and sys.stdin is None:
        raise ValueError(f"{file}: is closed, expected a text")
    data = sys.stdin.buffer.read() if file is STDIN else file.read_bytes()
    data = unpack(file, file.name.lower(), data)
    mark = next((name for start, name in _MARKS if data.startswith(start)), None)
    if mark and not codecs.lookup(encoding).name.startswith(mark):
        raise ValueError(f"{file}: begins with the byte order mark of {mark}, expected encoding={mark!r}")
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise _binary(file, encoding) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f'{file}: not {encoding} at byte {error.start}, line {line}; give its encoding, as in encoding="latin-1"'
        ) from None
    if "\0" in text:
        raise _binary(file, encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _binary(file, encoding):
    return ValueError(f"{file}: NUL bytes found, expected a text file in {encoding}")

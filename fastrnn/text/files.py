"""Texts from files: plain, compressed, CSV, directories of them, standard input."""

import csv
import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from ..validation import check_encoding, check_path, check_str

_SUFFIXES = (".txt", ".txt.gz", ".csv", ".csv.gz")  # what a directory is searched for
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_STDIN = Path("standard input")  # stands for "-" where a file is named


def read_texts(path, column=None, encoding="utf-8") -> Iterator[str]:
    """Read texts from a file, a directory or standard input.

    Parameters
    ----------
    path : str or path-like
        A CSV file (``.csv``, ``.csv.gz``) gives one text a row; any other file, compressed if its
        name ends in ``.gz``, is one text; a directory gives those of all its ``.txt``,
        ``.txt.gz``, ``.csv`` and ``.csv.gz`` files, recursively, in sorted order; ``"-"`` is
        standard input.
    column : str, optional
        The CSV column that holds the text, named in the file's first row. It may be omitted if
        there is only one. With ``"-"`` it says that standard input is CSV.
    encoding : str
        Of every file; a byte order mark is skipped.

    Returns
    -------
    iterator of str
        Blank texts are left out. Files are read one at a time, as the iterator reaches them.

    Raises
    ------
    FileNotFoundError
        There is no such path.
    ValueError
        No text found, a binary file, another encoding, broken gzip, a directory without text
        files, or a CSV file without the column.
    """
    path = check_path("path", path)
    column = None if column is None else check_str("column", column)
    encoding = check_encoding("encoding", encoding)
    if path == "-":
        return _texts_of([_STDIN], _STDIN, column, encoding)
    path = Path(path)
    if path.is_dir():
        files = text_files(path)
        if not files:
            raise ValueError(f"{path}: no text files found, expected {', '.join(_SUFFIXES)}")
        return _texts_of(files, path, column, encoding)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    if column is not None and not _is_csv(path):
        raise ValueError(f"{path}: column {column!r} was asked for, expected a .csv or .csv.gz file")
    return _texts_of([path], path, column, encoding)


def text_files(directory: Path) -> list[Path]:
    """The files that `read_texts` reads from a directory."""
    files = [p for p in directory.rglob("*") if p.is_file() and _name(p).endswith(_SUFFIXES)]
    return sorted(files, key=Path.as_posix)


def read_inputs(paths: Iterable, column=None, encoding="utf-8") -> Iterator[str]:
    """The texts of several paths, as `read_texts` has them: read when asked for, but a missing path is told now."""
    return chain.from_iterable([read_texts(path, column, encoding) for path in paths])


def read_lines(path, encoding="utf-8") -> list[str]:
    """Read the lines of a text file, compressed if its name ends in ``.gz``, or of standard input for ``"-"``.

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
    return _STDIN if str(path) == "-" else Path(path)


def _texts_of(files, path, column, encoding):
    found = False
    for file in files:
        text = _read(file, encoding)
        is_csv = _is_csv(file) or (file is _STDIN and column is not None)
        for item in _csv_column(text, file, column) if is_csv else [text]:
            if item and not item.isspace():
                found = True
                yield item
    if not found:
        raise ValueError(f"{path}: no text found, expected at least one sentence")


def _read(file, encoding):
    try:
        data = sys.stdin.buffer.read() if file is _STDIN else file.read_bytes()
        if _name(file).endswith(".gz"):
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file}: broken gzip file ({error})") from None
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise _binary(file, encoding) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}: not {encoding} at byte {error.start}, line {line}; give its encoding") from None
    if "\0" in text:
        raise _binary(file, encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _binary(file, encoding):
    return ValueError(f"{file}: NUL bytes found, expected a text file in {encoding}")


def _csv_column(text, file, column):
    # The reader's limit is global: it is raised only while the rows are read, all at once.
    limit = csv.field_size_limit(min(len(text) + 1, 2**31 - 1))
    try:
        rows = csv.reader((match.group() for match in _LINE.finditer(text)), strict=True)
        header = next(rows, [])
        if not header:
            return []
        if column is None and len(header) > 1:
            raise ValueError(f"{file}: name the column of the text, one of {_listed(header)}")
        if column is not None and column not in header:
            raise ValueError(f"{file}: no column {column!r}, found {_listed(header)}")
        k = 0 if column is None else header.index(column)
        texts = []
        for row in rows:
            if row and len(row) <= k:
                raise ValueError(
                    f"{file}: the row that ends on line {rows.line_num} has {len(row)} columns, expected {len(header)}"
                )
            texts.extend(row[k : k + 1])
        return texts
    except csv.Error as error:
        raise ValueError(f"{file}: broken CSV on line {rows.line_num} ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _name(path):
    return path.name.lower()


def _is_csv(path):
    return _name(path).endswith((".csv", ".csv.gz"))


def _listed(names):
    return ", ".join(map(repr, names))

"""Texts from a column of tables: CSV, tab-separated values, lines of JSON.

What is odd about a table but can be read is logged in one line; nothing is left out without a word.
"""

import csv
import json
import logging
import re
from itertools import chain, islice

KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_END = "\x1f"  # a line after the last one, which shows whether a quote was open there
_DELIMITERS = ",;\t|"
_SNIFFED_ROWS, _SNIFFED_CHARACTERS = 100, 100_000
_ALIKE = 0.9  # share of rows that have as many columns as the header, at least, of a delimiter that is believed
_NAMED = 20  # columns that an error lists

logger = logging.getLogger("fastrnn")


def column_of(text, file, kind, column=None, delimiter=None):
    r"""The texts of one column, blank ones among them.

    Parameters
    ----------
    text : str
        The table, with lines that end in ``\n``.
    file : path
        What errors and remarks call it.
    kind : {"csv", "tsv", "json", "jsonl"}
    column : str or int, optional
        A name of the header, or of a field of JSON's objects; may be omitted if there is only one. A number, also as a
        str where no column has that name, counts from 0, and says that there is no header.
    delimiter : str, optional
        Of columns, one character. By default a tab for "tsv", and for "csv" what the first rows are separated by.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        No such column, several columns and none named, or JSON that is broken.
    """
    if kind in ("json", "jsonl"):
        return _json_column(text, file, kind, column)
    # The reader's limit is global: it is raised only while the rows are read, all at once.
    limit = csv.field_size_limit(min(len(text) + len(_END) + 1, 2**31 - 1))
    try:
        return _csv_column(text, file, kind, column, delimiter)
    except csv.Error as error:
        raise ValueError(f"{file}: broken CSV ({error})") from None
    finally:
        csv.field_size_limit(limit)


# Rows of fields


def _csv_column(text, file, kind, column, delimiter):
    odd, quoting = [], csv.QUOTE_MINIMAL
    delimiter = delimiter or ("\t" if kind == "tsv" else _delimiter(text, column))
    if delimiter == "\t" and '"' in text and not _has_quoted_fields(text):
        quoting = csv.QUOTE_NONE
        odd.append("its quotation marks are taken for letters, as they do not enclose fields")
    rows = ((line, row, is_open) for line, row, is_open in _rows(text, delimiter, quoting) if any(map(str.strip, row)))
    first = next(rows, None)
    if first is None:
        return []
    k, has_header = _position(first[1], column, file, delimiter)
    width, texts, longer, shorter = len(first[1]), [], [], []
    for line, row, is_open in rows if has_header else chain([first], rows):
        if len(row) != width:
            (longer if len(row) > width else shorter).append(line)
        if is_open:
            opened = line + sum(field.count("\n") for field in row[:-1])
            odd.append(f"a quotation mark on line {opened} is never closed: all after it is one field")
        texts += row[k : k + 1]
    header = f"the {'header' if has_header else 'first row'} ({width})"
    if longer:
        odd.append(f"{_rows_on(longer)} more columns than {header}: what is beyond them is left out")
    if shorter:
        odd.append(f"{_rows_on(shorter)} fewer columns than {header}")
    if has_header and column is None and len(first[1][0].split()) > 2:
        odd.append(f"its first row, {first[1][0]!r}, is taken for the header; column=0 takes it for text")
    if odd:
        logger.warning("%s: %s", file, "; ".join(odd))
    return texts


def _rows(text, delimiter, quoting=csv.QUOTE_MINIMAL, strict=False):
    """Yield (number of its first line, fields, whether it ends in a quote left open) of every row."""
    lines = chain((match.group() for match in _LINE.finditer(text)), [_END])
    n_lines = text.count("\n") + (not text.endswith("\n"))
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=strict, skipinitialspace=True)
    begin = 1
    for row in reader:
        if begin > n_lines:
            return
        is_open = reader.line_num > n_lines
        if is_open:
            row[-1] = row[-1].removesuffix(_END)
        yield begin, row, is_open
        begin = reader.line_num + 1


def _delimiter(text, column):
    """What separates the columns of a CSV file: where the column is found, or else what makes most rows alike."""
    head = text[:_SNIFFED_CHARACTERS]
    found = {}
    for delimiter in _DELIMITERS:
        rows = [row for _, row, _ in islice(_rows(head, delimiter), _SNIFFED_ROWS) if any(row)]
        if rows:
            found[delimiter] = rows
    for delimiter, rows in found.items():
        if column in map(str.strip, rows[0]):
            return delimiter
    for delimiter, (header, *rows) in found.items():
        alike = sum(len(row) == len(header) for row in rows)
        if len(header) > 1 and alike >= _ALIKE * len(rows):
            return delimiter
    return ","


def _has_quoted_fields(text):
    """Whether quotation marks enclose fields of tab-separated values; in many such files they are letters like others.

    They are if one stands where only a letter can, or if a field that they would enclose goes beyond its line and its
    column.
    """
    try:
        for _, row, _ in _rows(text, "\t", strict=True):
            if any("\n" in field and "\t" in field for field in row):
                return False
    except csv.Error as error:
        return "unexpected end" in str(error)
    return True


def _position(header, column, file, delimiter):
    """Where the column is, and whether the first row is a header."""
    names = [name.strip() for name in header]
    if column is None:
        if len(names) > 1:
            raise ValueError(
                f"{file}: name the column of the text, one of {_listed(names)}; if that row is no header, column=0 is"
                " the first"
            )
        return 0, True
    if column in header or column in names:
        return (header if column in header else names).index(column), True
    if isinstance(column, int) or (column.isascii() and column.isdecimal()):
        if int(column) < len(header):
            return int(column), False
    raise ValueError(f"{file}: no column {column!r}, found {_listed(names)}, separated by {delimiter!r}")


def _rows_on(lines):
    return f"1 row ({_first(lines)}) has" if len(lines) == 1 else f"{len(lines):,} rows ({_first(lines)}) have"


def _first(lines):
    return f"line {lines[0]}" if len(lines) == 1 else f"the first on line {lines[0]}"


def _listed(names):
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


# JSON


def _json_column(text, file, kind, column):
    items, odd = _json_items(text, file, kind)
    column = None if column is None else str(column)
    keys = next((list(item) for _, item in items if isinstance(item, dict)), None)
    if keys is not None and column is None:
        if len(keys) != 1:
            raise ValueError(f"{file}: name the column of the text, one of {_listed(keys)}")
        column = keys[0]
    texts, lacking = [], []
    for line, item in items:
        found = item.get(column) if isinstance(item, dict) else item
        if isinstance(found, str):
            texts.append(found)
        else:
            lacking.append(line)
    if lacking and not texts:
        if keys is None:
            raise ValueError(f"{file}: found no texts, expected str, or objects with one in the column that is named")
        raise ValueError(f"{file}: no column {column!r} with texts, found {_listed(keys)}")
    if lacking:
        what = "text" if column is None else f"text in {column!r}"
        where = _first(lacking) if kind == "jsonl" else f"the first is number {lacking[0]}"
        odd.append(f"{len(lacking):,} of {len(items):,} items have no {what} ({where}) and are left out")
    if odd:
        logger.warning("%s: %s", file, "; ".join(odd))
    return texts


def _json_items(text, file, kind):
    """All (line or number, item), and remarks: of an array, or one a line, of which the last may be cut off."""
    if kind == "json":
        try:
            whole = json.loads(text) if text.strip() else []
        except RecursionError:
            raise ValueError(f"{file}: broken JSON (it is nested too deeply)") from None
        except ValueError:
            pass  # one item a line, perhaps, whatever the name says
        else:
            return list(enumerate(whole if isinstance(whole, list) else [whole], 1)), []
    items, last = [], text.count("\n") + (not text.endswith("\n"))
    for number, match in enumerate(_LINE.finditer(text), 1):
        try:
            if not match.group().isspace():
                items.append((number, json.loads(match.group())))
        except (ValueError, RecursionError) as error:
            if number < last or not items:
                raise ValueError(f"{file}: broken JSON on line {number} ({error})") from None
            return items, [f"its last line, {number}, is cut off and left out"]
    return items, []

r"""Vocabularies as text files that people read and edit: one token a line, with its count.

The file of `write`, in UTF-8::

    # fastrnn vocabulary 1
    # {"max_size": 8000, "level": "word", ...}
    # {"punkt": ...}
    SENTENCE_START<TAB>4
    SENTENCE_END<TAB>4
    english<TAB>3
    ...
    UNKNOWN_TOKEN<TAB>0

Backslashes, and characters that cannot be printed, stand as Python writes them in a string: ``\\``, ``\t``, ``\n``,
``\x1f``, ``\ud800``. A line without a count has 0. A file without the first line is a plain list of
tokens, one a line, each as it stands.
"""

import json
import re
from typing import NamedTuple

from ..output_files import replace_file
from ..validation import shown

_HEAD = "# fastrnn vocabulary"
_VERSION = 1
_ESCAPED = re.compile(r"\\(?:[\\tnr]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})")
_LARGEST_COUNT = 2**40
_SENTENCES = ("punkt",)  # what a line of its own holds: it may be long


class VocabularyFile(NamedTuple):
    """What such a file holds.

    Attributes
    ----------
    config : dict or None
        None: the file is a plain list.
    tokens : list of str
    counts : list of int
    """

    config: dict | None
    tokens: list
    counts: list


def write(path, config, tokens, counts):
    """Write a vocabulary as `output_files.replace_file` does: what was there stays whole until the new one is."""
    model = {name: config[name] for name in _SENTENCES}
    head = {name: value for name, value in config.items() if name not in _SENTENCES}
    lines = [f"{_HEAD} {_VERSION}", f"# {json.dumps(head)}", f"# {json.dumps(model)}"]
    lines += [f"{_escape(token)}\t{count}" for token, count in zip(tokens, counts, strict=True)]
    with replace_file(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def read(path):
    """Read what `write` wrote, or a plain list of tokens; blank lines count for nothing.

    Returns
    -------
    VocabularyFile

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        The file is not what it should be; the message begins with its path and the number of the line.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: line {line}: found bytes that are no UTF-8, expected a text") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    ours = lines[0].startswith(_HEAD)
    config, first = (_config(path, lines), 3) if ours else (None, 0)
    tokens, counts, number_of = [], [], {}
    for number, line in enumerate(lines[first:], first + 1):
        if not line:
            continue
        token, count = _token_and_count(path, number, line) if ours else (line, 0)
        if token in number_of:
            raise _fault(path, number, f"found {shown(token)} again, which is on line {number_of[token]}")
        number_of[token] = number
        tokens.append(token)
        counts.append(count)
    if not tokens:
        raise ValueError(f"{path}: line {len(lines)}: found no token, expected one a line")
    return VocabularyFile(config, tokens, counts)


def _config(path, lines):
    if lines[0] != f"{_HEAD} {_VERSION}":
        raise _fault(path, 1, f"found {shown(lines[0])}, expected {_HEAD} {_VERSION}; upgrade fastrnn")
    config = {}
    for number, line in enumerate([*lines[1:], "", ""][:2], 2):
        try:
            found = json.loads(line.removeprefix("#"))
        except (ValueError, RecursionError) as error:
            raise _fault(path, number, f"found {shown(line)}, expected # and a JSON object: {error}") from None
        if not isinstance(found, dict):
            raise _fault(path, number, f"found {shown(line)}, expected # and a JSON object")
        config |= found
    return config


def _token_and_count(path, number, line):
    word, tab, count = line.partition("\t")
    if not word:
        raise _fault(path, number, "found no token before the tab, expected one")
    if (tab and not re.fullmatch(r"\d{1,16}", count, re.ASCII)) or int(count or 0) > _LARGEST_COUNT:
        raise _fault(path, number, f"found the count {shown(count)}, expected digits after one tab, or no tab")
    rest = _ESCAPED.sub("", word)
    if "\\" in rest:
        raise _fault(path, number, rf"found a backslash in {word} that begins no escape, expected \\ for one")
    try:
        return _ESCAPED.sub(_unescape, word), int(count or 0)
    except ValueError:
        raise _fault(path, number, f"found {word}, expected escapes of characters that there are") from None


def _escape(token):
    return "".join(map(_escape_character, token))


def _escape_character(character):
    plain = character == " " or (character.isprintable() and character != "\\")
    return character if plain else character.encode("unicode_escape").decode()


def _unescape(match):
    return match[0].encode().decode("unicode_escape")


def _fault(path, number, text):
    return ValueError(f"{path}: line {number}: {text}")

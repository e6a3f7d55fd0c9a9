"""Models in one .npz file: weights, parameters, vocabulary and a format version. Loading never executes anything.

Nothing that a file claims is believed: memory is reserved only for what its bytes can hold.
"""

import codecs
import json
import math
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .output_files import replace_file

FORMAT = "fastrnn model"
VERSION = 1
# Parameters that files of the same version may lack because they are older, and the values that were the only ones.
NOT_IN_OLDER_FILES = {"init": "default", "peepholes": True, "output": "softmax", "n_sampled": None}
# What the readers of archives, arrays and JSON, and the checks of their contents, raise on what makes no sense.
_DAMAGES = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, EOFError, RecursionError,
    NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_MOST_UNPACKED = 1 << 24  # bytes: what a compressed entry may unpack to where nothing says how large it must be
_DEFLATE_RATIO = 1032  # no byte that deflate writes stands for more
_DEEPEST = 16  # lists and objects within each other in a header
_SLICE = 1 << 20
_ARCHIVE = b"PK\x03\x04"  # how an archive begins; what is shorter may be a part of one
_LOOKED_AT = 4096  # bytes by which a text is known
# The head of an array as NumPy has always written it: only of numbers, and nothing to evaluate.
_ARRAY_HEAD = re.compile(
    rb"\{'descr': '([<>|][fiu][1248])', 'fortran_order': (True|False), 'shape': \(((?:\d{1,19},? ?)*)\), \} *\n"
)


class DamagedFile(ValueError):
    """A file that does not hold what fastrnn has written, or not all of it; the message begins with its path."""


class Entry(NamedTuple):
    """An array of a file, before it is read."""

    info: zipfile.ZipInfo
    dtype: np.dtype
    shape: tuple
    in_columns: bool  # Fortran's order
    offset: int  # bytes before the numbers

    @property
    def size(self):
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


class StoredArrays(Mapping):
    """The arrays of an open file by name, each read when it is asked for; `_DAMAGES` if that cannot be.

    Parameters
    ----------
    file : binary file
        Read as long as arrays are asked for.
    """

    def __init__(self, file):
        self._archive = zipfile.ZipFile(file)
        entries = self._archive.infolist()
        available = file.seek(0, os.SEEK_END)
        if sum(entry.compress_size for entry in entries) > available:
            raise ValueError("entries are longer than the file")
        name, times = Counter(entry.filename for entry in entries).most_common(1)[0] if entries else ("", 1)
        if times > 1:
            raise ValueError(f"found {name} {times} times")
        self.entries = {_name(entry): self._entry(entry) for entry in entries}

    def __iter__(self):
        return iter(self.entries)

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, name):
        """The array; one that is compressed must be small."""
        entry = self.entries[name]
        if entry.info.compress_type != zipfile.ZIP_STORED and entry.size > _MOST_UNPACKED:
            raise ValueError(f"{name} unpacks to {entry.size} bytes, expected {_MOST_UNPACKED} at most")
        return self._read(entry)

    def under(self, prefix):
        """{name without the prefix: array} of those that have it."""
        return {name.removeprefix(prefix): self[name] for name in self.entries if name.startswith(prefix)}

    def check(self, prefix, shapes, dtype):
        """Raise ValueError unless the entries under a prefix are arrays of these {name: shape} and of this dtype."""
        found = {name: entry for name, entry in self.entries.items() if name.startswith(prefix)}
        expected = {f"{prefix}{name}": shape for name, shape in shapes.items()}
        if found.keys() != expected.keys():
            raise ValueError(f"found arrays {sorted(found)}, expected {sorted(expected)}")
        for name, shape in expected.items():
            entry = found[name]
            if entry.shape != shape or entry.dtype.newbyteorder("=") != dtype:
                raise ValueError(f"found {name} {entry.dtype}{entry.shape}, expected {dtype}{shape}")

    def checked(self, name):
        """An array that `check` has let pass, however it is compressed."""
        return self._read(self.entries[name])

    def _entry(self, info):
        if info.flag_bits & 1:
            raise ValueError(f"{info.filename} is encrypted")
        ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_RATIO}.get(info.compress_type)
        if ratio is None:
            raise ValueError(f"{info.filename} is compressed in another way than by deflate")
        if info.file_size > ratio * info.compress_size:
            raise ValueError(f"{info.filename} claims {info.file_size} bytes, which {info.compress_size} cannot hold")
        with self._archive.open(info) as file:
            start = file.read(10)
            head = file.read(int.from_bytes(start[8:], "little"))
        match = _ARRAY_HEAD.fullmatch(head)
        if start[:8] != b"\x93NUMPY\x01\x00" or match is None:
            raise ValueError(f"{info.filename} is no array of numbers")
        shape = tuple(map(int, match[3].replace(b",", b" ").split()))
        dtype = np.dtype(match[1].decode())
        entry = Entry(info, dtype, shape, match[2] == b"True", len(start) + len(head))
        if info.file_size != entry.offset + entry.size:
            raise ValueError(f"{info.filename} has {info.file_size} bytes, expected {entry.offset + entry.size}")
        return entry

    def _read(self, entry):
        numbers = np.empty(entry.size, np.uint8)
        with self._archive.open(entry.info) as file:
            file.read(entry.offset)
            for first in range(0, entry.size, _SLICE):
                part = file.read(min(_SLICE, entry.size - first))
                numbers[first : first + _SLICE] = np.frombuffer(part, np.uint8)
            if file.read(1):  # at the end its sum is checked
                raise ValueError(f"{entry.info.filename} has more bytes than it says")
        array = numbers.view(entry.dtype).reshape(entry.shape, order="F" if entry.in_columns else "C")
        return array.astype(entry.dtype.newbyteorder("="), copy=False)


def write(path, header, arrays):
    """Write a model file, as `output_files.replace_file` does: what was there stays whole until the new one is.

    Parameters
    ----------
    path : str or path
        Written exactly there, whatever its ending.
    header : dict
        What JSON can hold; floats that are not finite too, which losses and norms may be.
    arrays : dict of str to array
        Of numbers.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION} | header)
    with replace_file(path) as file:
        np.savez(file, header=np.frombuffer(text.encode(), np.uint8), **arrays)


@contextmanager
def opened(path, kind=None):
    """Open a model file to read.

    Parameters
    ----------
    path : str or path
    kind : str, optional
        What the header's "kind" must be; by default any.

    Yields
    ------
    header : dict
    arrays : StoredArrays

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is damaged (`DamagedFile`), not ours, of a newer version or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a model saved by fastrnn")
    with open(path, "rb") as file:
        start = file.read(_LOOKED_AT)
        if not _ARCHIVE.startswith(start[: len(_ARCHIVE)]) and _is_text(start):
            raise ValueError(f"{path}: found a text, not a model saved by fastrnn")
        with damage_named(path, "damaged or not a model saved by fastrnn ({})"):
            arrays = StoredArrays(file)
            header = json.loads(arrays["header"].tobytes().decode())
            del arrays.entries["header"]
            _check_depth(header)
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"{path}: not a model saved by fastrnn")
        if header.get("version") != VERSION:
            found = _one_line(header.get("version"))
            raise ValueError(f"{path}: found format version {found}, expected {VERSION}; upgrade fastrnn")
        found = header.get("kind")
        if not isinstance(found, str) or not re.fullmatch(r"[\w ]{1,60}", found):
            raise DamagedFile(f"{path}: damaged: no kind of file")
        if kind not in (None, found):
            raise ValueError(f"{path}: found a {found}, expected a {kind}")
        yield header, arrays


def _is_text(head):
    """Whether a file that begins with these bytes is a text."""
    decoder = codecs.getincrementaldecoder("utf-8")()  # the last letter may be cut
    try:
        return bool(head) and not head.startswith(b"PK") and "\0" not in decoder.decode(head)
    except UnicodeDecodeError:
        return False


def read(path, kind):
    """Read a model file: (header, {name: array}); raises as `opened`."""
    with opened(path, kind) as (header, arrays), damage_named(path):
        return header, dict(arrays)


def kind_of(path):
    """The header's "kind" of a model file, whose arrays are not read; raises as `opened`."""
    with opened(path) as (header, _):
        return header["kind"]


@contextmanager
def damage_named(path, message="damaged: {}"):
    """Make a DamagedFile, which names the file, of what the block raises when contents make no sense."""
    try:
        yield
    except DamagedFile:
        raise
    except _DAMAGES as error:
        raise DamagedFile(f"{path}: {message.format(_one_line(error))}") from None


def _name(info):
    if not info.filename.endswith(".npy"):
        raise ValueError(f"{info.filename} is no array")
    return info.filename.removesuffix(".npy")


def _check_depth(value, left=_DEEPEST):
    """ValueError if lists and objects are nested deeper than anything written here."""
    if isinstance(value, (dict, list)):
        if left == 0:
            raise ValueError("the header is nested too deeply")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)


def _one_line(error):
    text = str(error)
    return " ".join(text.split())[:200].rstrip(". ") or type(error).__name__

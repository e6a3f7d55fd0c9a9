"""Models in one .npz file: weights, parameters, vocabulary and a format version. Loading never executes anything."""

import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

FORMAT = "fastrnn model"
VERSION = 1
# Parameters that files of the same version may lack because they are older, and the values that were the only ones.
NOT_IN_OLDER_FILES = {"init": "default", "peepholes": True}
# What the readers of archives, arrays and JSON raise on bytes that make no sense.
DAMAGES = (
    ValueError, OSError, EOFError, KeyError, AttributeError, TypeError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write(path, header, arrays, aside=None):
    """Write a model file aside, then rename it: what was there stays whole until the new one is.

    Parameters
    ----------
    path : str or path
        Written exactly there, whatever its ending.
    header : dict
        What JSON can hold.
    arrays : dict of str to array
    aside : str or path, optional
        File of the same folder to write first; by default one of a name of its own.
    """
    path = Path(path)
    text = json.dumps({"format": FORMAT, "version": VERSION} | header)
    header_bytes = np.frombuffer(text.encode(), np.uint8)
    if aside is None:
        handle, aside = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    else:
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, header=header_bytes, **arrays)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(aside, 0o666 & ~umask)  # mkstemp's files are for the owner alone
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def read(path, kind):
    """Read a model file.

    Parameters
    ----------
    path : str or path
    kind : str
        What the header's "kind" must be.

    Returns
    -------
    header : dict
    arrays : dict of str to array

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is damaged, not ours, of a newer version or of another kind.
    """
    header, arrays = _contents(path)
    if header.get("kind") != kind:
        raise ValueError(f"{path}: found a {header.get('kind')}, expected a {kind}")
    return header, arrays


def kind_of(path):
    """The header's "kind" of a model file, whose arrays are not read; raises as `read`."""
    return _contents(path, ["header"])[0].get("kind")


def _contents(path, names=None):
    """Header and arrays; only the arrays of the given names, "header" among them."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a model saved by fastrnn")
    try:
        # opened here: NumPy leaves a file open that turns out to be no archive
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names or file.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
    except DAMAGES as error:
        raise ValueError(f"{path}: damaged or not a model saved by fastrnn ({_one_line(error)})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path}: not a model saved by fastrnn")
    if header.get("version") != VERSION:
        raise ValueError(f"{path}: found format version {header.get('version')}, expected {VERSION}; upgrade fastrnn")
    return header, arrays


def _one_line(error):
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__

"""Checkpoints: all that a run of training needs to go on as if it had never been stopped, in one file."""

import hashlib
import logging
import os
import time

import numpy as np

from .. import storage
from ..validation import check_integer

VERSION = 1
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_MT19937_NUMBERS, _PHILOX_NUMBERS = 624, 4  # that these two hold at a time

logger = logging.getLogger("fastrnn")


class Checkpoint:
    """A checkpoint file and when to write it.

    Parameters
    ----------
    path : str or path
    minutes : float or None
        None: after every epoch. A number: also within an epoch, when that time has passed.
    identity : dict
        What must be the same for a run to go on: "kind" of file, "parameters" of the model, hash of its "data".
    """

    def __init__(self, path, minutes, identity):
        self.path, self.minutes, self.identity = os.fspath(path), minutes, identity
        self._written = time.monotonic()

    def is_due(self):
        return self.minutes is not None and time.monotonic() - self._written >= 60 * self.minutes

    def write(self, header, arrays):
        """Write it; until it is whole, the one before stays."""
        self._written = time.monotonic()  # reset even on failure, so that retries keep the interval
        storage.write(self.path, self.identity | {"checkpoint": VERSION} | header, arrays)

    def try_to_write(self, header, arrays):
        """The same, but a full disk is no reason to lose hours of training: it is told, and tried again later."""
        try:
            self.write(header, arrays)
        except OSError as error:
            logger.warning(
                "%s could not be written (%s): the checkpoint before it stays, and training goes on",
                self.path, error.strerror or error,
            )  # fmt: skip


def read(path, identity):
    """Read the checkpoint of a run that this one is to go on with.

    Parameters
    ----------
    path : str or path
    identity : dict
        As `Checkpoint` got it.

    Returns
    -------
    header : dict
    arrays : dict of str to array

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is damaged, of another version, of another model or of other data.
    """
    header, arrays = storage.read(path, identity["kind"])
    if header.get("checkpoint") != VERSION:
        raise ValueError(f"{path}: found checkpoint version {header.get('checkpoint')!r}, expected {VERSION}")
    found, expected = header.get("parameters"), identity["parameters"]
    if not isinstance(found, dict):
        raise ValueError(f"{path}: damaged: no parameters")
    found = storage.NOT_IN_OLDER_FILES | found
    for name in expected | found:
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"resume: {path} is of a model with {name}={found.get(name)!r},"
                f" expected {name}={expected.get(name)!r} as this one has"
            )
    if header.get("data") != identity["data"]:
        raise ValueError(f"resume: {path} was written in training on other data, expected the same sequences")
    return header, arrays


def fingerprint(*raggeds):
    """A hash of sequences: hexadecimal digits. None stands for none."""
    digest = hashlib.blake2b(digest_size=16)
    for ragged in raggeds:
        digest.update(b"none" if ragged is None else b"%d %d " % (len(ragged), ragged.values.size))
        if ragged is not None:
            digest.update(ragged.values)
            digest.update(ragged.offsets)
    return digest.hexdigest()


def generator_state(rng):
    """The state of a numpy Generator as JSON can hold it."""
    return _plain(rng.bit_generator.state)


def generator_from(state):
    """A Generator in the state that `generator_state` gave; ValueError if it is none."""
    try:
        name = state["bit_generator"]
        if name not in _BIT_GENERATORS:
            raise ValueError(f"found the random numbers' generator {name!r}, expected one of {_BIT_GENERATORS}")
        generator = getattr(np.random, name)()
        restored = _restored(state)
        _check_positions(restored)
        generator.state = restored
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"found no state of random numbers ({error})") from None
    return np.random.Generator(generator)


def _check_positions(state):
    """ValueError where a state points outside the numbers that it holds: NumPy itself does not look."""
    positions = ((state["state"].get("pos", 0), _MT19937_NUMBERS), (state.get("buffer_pos", 0), _PHILOX_NUMBERS))
    for found, last in positions:
        check_integer("position", found, 0, None)
        if found > last:
            raise ValueError(f"found the position {found} in random numbers, expected {last} at most")


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "values": value.tolist()}
    return value.item() if isinstance(value, np.generic) else value


def _restored(value):
    if isinstance(value, dict) and value.keys() == {"dtype", "values"}:
        if value["dtype"] not in ("uint32", "uint64"):
            raise ValueError(f"found the dtype {value['dtype']!r}, expected one of integers")
        return np.array(value["values"], value["dtype"])
    return {name: _restored(item) for name, item in value.items()} if isinstance(value, dict) else value

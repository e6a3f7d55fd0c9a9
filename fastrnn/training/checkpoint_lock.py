"""Locks that keep two runs of training from writing one checkpoint file.

The lock is the operating system's, on a file beside the checkpoint: it is gone with the process that held it, however
that ended.
"""

import contextlib
import errno
import logging
import os
from itertools import count

if os.name == "nt":
    import msvcrt

    def _try_to_lock(handle):
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_to_lock(handle):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike lockf's, seen by other threads of the process too


_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_MAX_RUNS = 1000  # that write checkpoints of one name at a time

logger = logging.getLogger("fastrnn")


@contextlib.contextmanager
def reserved(path, resumed):
    """A context in which no other run writes the checkpoint that it yields the path of.

    Parameters
    ----------
    path : str
    resumed : bool
        Whether the run goes on from this very file. It must then have it for itself: ValueError if another run does.
        Otherwise it takes the first free of ``path``, ``path.2``, ``path.3``, ..., and says so.
    """
    names = (path if number == 1 else f"{path}.{number}" for number in count(1))
    for _, name in zip(range(1 if resumed else _MAX_RUNS), names, strict=False):
        lock = _Lock(f"{os.path.realpath(name)}.lock")
        if lock.acquire():
            if name != path:
                logger.warning("%s is being written by another run: this one's checkpoint is %s", path, name)
            try:
                yield name
            finally:
                lock.release()
            return
    raise ValueError(
        f"{'resume' if resumed else 'checkpoint'}: {path} is being written by another run, expected one that has ended;"
        " give each run a checkpoint of its own"
    )


class _Lock:
    """A lock file, which exists while the lock is held."""

    def __init__(self, path):
        self._path, self._handle = path, None

    def acquire(self):
        """Take the lock; False if somebody else has it. Where files cannot be locked, nobody is kept out."""
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _try_to_lock(handle)
                held = False
            except OSError as error:
                held = error.errno in _HELD
            if not held and _is_at(handle, self._path):
                self._handle = handle
                return True
            os.close(handle)
            if held:
                return False
            # who had the lock has removed the file meanwhile

    def release(self):
        """Remove the file and give the lock back."""
        if os.name == "nt":  # an open file cannot be removed there
            os.close(self._handle)
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        if os.name != "nt":
            os.close(self._handle)


def _is_at(handle, path):
    """Whether the open file is still the one of that path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False

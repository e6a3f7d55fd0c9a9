"""Files that are replaced as a whole: written beside the old one, then renamed, so that no reader finds half a file."""

import errno
import io
import os
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

WINDOWS = os.name == "nt"
_SUFFIX = ".fastrnn.part"
_LONGEST_STEM = 60  # characters: with the suffix within the 255 bytes of a name, whatever its letters
# Seconds after which a file that cannot be locked, there or on Windows, is taken for one that nobody writes any more.
_ABANDONED_AFTER = 3600.0
# Windows replaces no file that another program has open, a virus scanner for a moment: seconds to wait in turn.
_WAITS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0)

_NOT_WRITTEN = {stat.S_IFDIR: "directory", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket"}


@contextmanager
def replace_file(path):
    """Open a file to write in binary; what was at `path` stays whole until the block has ended without an error.

    Links are followed: what they lead to is replaced, and they stay. The new file has the old one's permissions. What
    is no regular file (a FIFO, a terminal, the null device) is written into, at the end of the block.

    A process that is killed leaves at most one file beside, ``NAME.fastrnn.part``, which the next write removes.
    Several may write to one path at the same time: each has a file of its own, and the last one stays.

    Parameters
    ----------
    path : str or path

    Yields
    ------
    file
        Binary, for writing, seekable.

    Raises
    ------
    OSError
        As `destination`, or whatever writing raises; it names `path`.
    """
    target = destination(path)
    if target is None:
        with _written_into(path) as file:
            yield file
        return
    part, file = _open_part(path, target)
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if WINDOWS:  # where no open file is renamed; elsewhere it stays open, and thereby locked, until it has its name
            file.close()
        _rename(part, target, path)
    except BaseException:
        if WINDOWS:
            with suppress(OSError):
                file.close()
        with suppress(OSError):
            os.unlink(part)
        raise
    finally:
        with suppress(OSError):  # what could be lost was flushed before
            file.close()
    _sync_folder(target.parent)


def destination(path):
    """The file that writing to `path` replaces, links followed; None if it is to be written into instead.

    Raises
    ------
    OSError
        A directory, a block device, a socket, a file that is read-only, or a path that leads nowhere.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: found {path!r}, expected a str or a path")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    kind = stat.S_IFMT(status.st_mode)
    if kind in _NOT_WRITTEN:
        raise _error(errno.EISDIR, f"found a {_NOT_WRITTEN[kind]}, expected a file to write", path)
    if not stat.S_ISREG(status.st_mode):
        return None
    target = Path(os.path.realpath(path))
    if not target.exists():  # /dev/stdout may lead to a file that has been deleted, and has no name any more
        return None if os.path.exists(path) else target
    if not os.access(target, os.W_OK):
        raise _error(errno.EACCES, "found a read-only file, expected one that may be written", path)
    return target


@contextmanager
def _written_into(path):
    buffer = io.BytesIO()
    yield buffer
    flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    with open(os.open(path, flags), "wb") as file:
        file.write(buffer.getbuffer())


def _open_part(path, target):
    """A new file beside `target` that nobody else writes, with its permissions: (path of it, file)."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        old = None
    # of a file that is private nothing is to be seen before it has its permissions; a new one's are those of the umask
    mode, number = 0o666 if old is None else 0o600, 1
    while True:
        part = target.with_name(f"{target.name[:_LONGEST_STEM]}{_SUFFIX}{'' if number == 1 else number}")
        try:
            file = open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        except FileExistsError:
            number += not _remove_abandoned(part)
            continue
        except OSError as error:
            raise _error(error.errno, error.strerror, path) from None
        if _lock(file, part):
            break
        file.close()  # another process has taken it for one left behind, before it was locked
    if old is not None:
        _take_over(old, part)
    return part, file


def _lock(file, part):
    """Lock a new file until it is closed; False if another process has locked or removed it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return _is_at(file.fileno(), part)


def _remove_abandoned(part):
    """Remove what a process that was killed has left; False if it may be of one that lives."""
    try:
        status = os.stat(part, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return False
        old = time.time() - status.st_mtime > _ABANDONED_AFTER
        if fcntl is None:
            if old:
                os.unlink(part)
            return old
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                if not old:
                    return False
            if _is_at(descriptor, part):
                os.unlink(part)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return True
    except OSError:  # of another user, say
        return False
    return True


def _is_at(descriptor, path):
    """Whether a path still is that of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _take_over(old, part):
    """Give a file the owner and permissions of another, as far as that is allowed."""
    new = os.stat(part)
    with suppress(OSError):
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.chown(part, old.st_uid, old.st_gid)
    with suppress(OSError):  # of a file system without them
        os.chmod(part, stat.S_IMODE(old.st_mode) & 0o777)


def _rename(part, target, path):
    for wait in (*_WAITS, None) if WINDOWS else (None,):
        try:
            os.replace(part, target)
            return
        except OSError as error:
            if error.errno == errno.EBUSY and not WINDOWS:  # a file mounted by itself into a container keeps its inode
                shutil.copyfile(part, target)
                os.unlink(part)
                return
            if wait is None or not isinstance(error, PermissionError):
                reason = f"{error.strerror}; another program may have it open" if WINDOWS else error.strerror
                raise _error(error.errno, reason, path) from None
            time.sleep(wait)


def _sync_folder(folder):
    """Let the new name outlive a power failure, where a folder can be told so."""
    if WINDOWS:
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _error(number, reason, path):
    return OSError(number, reason, os.fspath(path))  # of the subclass that the number stands for

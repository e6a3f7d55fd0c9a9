"""The folder that keeps compiled kernels between processes: where it is, who may write there, when it is removed.

Numba keeps a cached kernel until *its own* file changes: it notices neither that a function it calls, in another file,
has changed, nor other versions or settings. So the folder's name stands for all that machine code depends on. And to
load a kernel is to run what lies there, so nobody else may have written it.
"""

import atexit
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy

from ... import __version__
from .features import cpu_features

PACKAGE = Path(__file__).resolve().parents[2]
# Settings of Numba that change machine code.
SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "ENABLE_PROFILING")
NAME = re.compile(r"fastrnn-(.+-)?[0-9a-f]{16}")
UNFINISHED = ".part"  # ends the names of files that are being written

DAY = 24 * 3600
# Folders that were not used for so many days are removed; when there are more than so many, all but the newest sooner.
UNUSED_DAYS, CROWD, CROWDED_DAYS = 30, 10, 2


def source_hash(package=PACKAGE, cuda=False):
    """Hash of the sources of all kernels below `package`, those for a GPU or the others, as a short hexadecimal string.

    What `data` hands to kernels counts as well: named tuples, whose fields are part of kernels' types.
    """
    kernels = package / "kernels"
    paths = [path for path in kernels.rglob("*.py") if (kernels / "cuda" in path.parents) == cuda]
    digest = hashlib.sha256()
    for path in sorted(paths if cuda else [*paths, *(package / "data").glob("*.py")]):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def folder_name():
    """The name of the folder with the kernels of this version, compiled by this Numba for this Python and CPU."""
    cpu = numba.config.CPU_NAME or llvm.get_host_cpu_name()
    settings = [repr(getattr(numba.config, name, None)) for name in SETTINGS]
    everything = [
        source_hash(), __version__, numba.__version__, llvmlite.__version__, numpy.__version__,
        llvm.get_process_triple(), cpu, cpu_features(), sys.implementation.name, *map(str, sys.version_info[:2]),
        getattr(sys, "abiflags", ""), *settings,
    ]  # fmt: skip
    digest = hashlib.sha256("\0".join(everything).encode()).hexdigest()[:16]
    python = f"py{sys.version_info[0]}{sys.version_info[1]}"
    readable = f"fastrnn-{__version__}-numba-{numba.__version__}-{python}-{cpu}"
    return f"{re.sub('[^A-Za-z0-9._-]', '_', readable)[:100]}-{digest}"


def choose_folder():
    """Where compiled kernels are kept.

    That is a folder in ``NUMBA_CACHE_DIR``, if set, or else in the user's cache folder; never in the package, which an
    uninstall would leave behind. It is used if it is there or can be made, and if only this user, and root, can write
    there. Otherwise it is a new temporary one, which goes with this process.

    Returns
    -------
    folder : pathlib.Path or None
        None if not even a temporary one can be made.
    problem : str or None
        Why the kernels will not be there for the next process.
    """
    try:
        parent = _parent()
        folder = parent / folder_name()
        is_new = _make(folder)
    except OSError as error:
        found = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _temporary_folder(), found
    _note_use(folder, is_new)
    return folder, None


def _parent():
    """The user's folder for our folders, which need not exist; absolute, or a chdir would make another one."""
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        base = base if os.path.isabs(base) else "~/.cache"
    path = Path(os.path.expanduser(base)) / "fastrnn"
    if not path.is_absolute():
        raise FileNotFoundError("this user has no home folder")
    return path


def _make(folder):
    """Make a folder, if need be, that nobody else can write to, or raise OSError; returns whether it is new."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    existing.stat()  # a link to itself ends here
    _check_trusted(existing, above=existing != folder)
    missing = [path for path in (folder, *folder.parents) if path != existing and existing in path.parents]
    for path in reversed(missing):
        path.mkdir(mode=0o755, exist_ok=True)  # readable, as for kernels that root compiled ahead for all
    _check_trusted(folder)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return bool(missing)


def _check_trusted(path, above=False):
    """Raise PermissionError if another user than root could change what `path` leads to.

    Each folder and symbolic link on the way counts; `above` says whether this is one on the way. Systems without user
    ids are not looked at: there a user's folders are made for that user alone.
    """
    if not hasattr(os, "geteuid"):
        return
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        if info.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "it is another user's link", str(path))
        _check_trusted(path.parent / os.readlink(path), above)
    elif not written_by_user(info, above):
        raise PermissionError(errno.EPERM, "other users could write there", str(path))
    if path.parent != path:
        _check_trusted(path.parent, above=True)


def written_by_user(info, above=False):
    """Whether only this user or root can write to the file or folder of that `os.stat_result`.

    For a folder `above` others, it is whether only they can replace what it contains.
    """
    if not hasattr(os, "geteuid"):
        return True
    if info.st_uid not in (0, os.geteuid()) and not (above and info.st_uid == _unmapped_root()):
        return False
    if above and info.st_mode & stat.S_ISVTX:  # as in /tmp, everybody owns what he has made
        return True
    if info.st_mode & stat.S_IWOTH:
        return False
    return not info.st_mode & stat.S_IWGRP or _is_own_group(info.st_gid)


def _unmapped_root():
    """The user id that root's folders appear to have in a container that does not know root; None elsewhere."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        known = any(int(line.split()[1]) == 0 for line in lines)  # the second number: where a range begins outside
        return None if known else int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError, IndexError):
        return None


def _is_own_group(group_id):
    """Whether a group is the user's alone: many systems make one for each user, of the same name."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(group_id)
    except KeyError:
        return False
    return group_id == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _temporary_folder():
    """A new folder for this process and the one that helps it (`second_process.py`), or None."""
    try:
        parent = Path(tempfile.mkdtemp(prefix="fastrnn-")).absolute()
        atexit.register(_remove_own, parent, os.getpid())
        folder = parent / folder_name()
        _make(folder)
    except OSError:
        return None
    return folder


def _remove_own(folder, process):
    if os.getpid() == process:  # not a fork of it
        shutil.rmtree(folder, ignore_errors=True)


def _note_use(folder, is_new):
    """Note, by its time, that a folder is in use; once a day, or when it is new, remove what nobody uses."""
    now = time.time()
    try:
        if not is_new and now - folder.stat().st_mtime < DAY:
            return
        os.utime(folder)
        for path in folder.glob(f"*{UNFINISHED}"):  # of processes that were killed
            if now - path.stat().st_mtime > DAY:
                path.unlink(missing_ok=True)
        remove_unused(folder, now)
    except OSError:  # read-only, or another process was faster
        pass


def remove_unused(folder, now):
    """Remove kernels beside `folder` that nothing loads any more: of other versions, sources or CPUs.

    Another installation may use them, so the time of their last use decides, which is known to a day.
    """
    others = []
    for path in folder.parent.glob("fastrnn-*"):
        info = path.lstat()
        own = not hasattr(os, "geteuid") or info.st_uid == os.geteuid()
        if path != folder and own and stat.S_ISDIR(info.st_mode) and NAME.fullmatch(path.name):
            others.append((info.st_mtime, path))
    for rank, (used, path) in enumerate(sorted(others, reverse=True)):
        if now - used > DAY * (UNUSED_DAYS if rank < CROWD else CROWDED_DAYS):
            shutil.rmtree(path, ignore_errors=True)


# Chosen once, so that neither a chdir nor a changed environment splits a process's kernels.
FOLDER, PROBLEM = (None, None) if numba.config.DISABLE_JIT else choose_folder()

"""The cache of compiled kernels: one file for each, with a checksum; what is damaged or another's is not loaded.

It takes the place of Numba's own, which ends every later process when a file is damaged, the one at hand when the disk
is full, and gives a kernel's two types of arguments one file when two processes compile them at the same time.
"""

import functools
import glob
import hashlib
import logging
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from .cache_folder import FOLDER, PROBLEM, UNFINISHED, written_by_user

try:
    from numba.core.caching import NullCache
    from numba.core.compiler import CompileResult
    from numba.core.serialize import dumps, loads

    reduced, rebuilt = CompileResult._reduce, CompileResult._rebuild
except (ImportError, AttributeError):  # another Numba: kernels are compiled in every process
    NullCache, dumps, loads = object, None, None

KERNELS = f"{__package__.rpartition('.')[0]}."  # what the names of their modules begin with
CHECKSUM = hashlib.sha256
CHECKSUM_BYTES = CHECKSUM().digest_size
SUFFIX = ".kernel"
logger = logging.getLogger("fastrnn")


class KernelFiles:
    """The files of one function: one for each key, which holds a checksum of what follows, the key and the data.

    Parameters
    ----------
    name : str
        The function's, in file names.
    folder : path-like
    dumps, loads : callable
        Data to bytes and back.
    """

    def __init__(self, name, folder=FOLDER, dumps=dumps, loads=loads):
        self.folder, self._name = Path(folder), name.replace("<", "").replace(">", "")
        self._dumps, self._loads = dumps, loads

    def path(self, key):
        """The file for a key, which is known by what `repr` makes of it; `load` compares the key itself."""
        return self.folder / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}{SUFFIX}"

    def load(self, key):
        """The data of a key, or None; a file that is damaged or that others could have written is thrown away."""
        path = self.path(key)
        try:
            with open(path, "rb", opener=_open_file) as file:
                info = os.fstat(file.fileno())
                content = file.read() if stat.S_ISREG(info.st_mode) and written_by_user(info) else b""
        except OSError:
            return None
        checksum, payload = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
        if checksum == CHECKSUM(payload).digest():
            with suppress(Exception):  # whatever unpickling raises, such as for what another release has renamed
                found, data = self._loads(payload)
                if found == key:
                    return data
        self.discard(key)
        return None

    def save(self, key, data):
        """Write the file of a key, whole or not at all; says once if it cannot be written."""
        path = self.path(key)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
        try:
            payload = self._dumps((key, data))
            with open(part, "xb", opener=_create_file) as file:
                file.write(CHECKSUM(payload).digest())
                file.write(payload)
            os.replace(part, path)
        except Exception as error:
            if os.name == "nt" and isinstance(error, PermissionError) and path.exists():
                return  # another process, which has saved the same, has it open
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            _warn_once(f"kernels cannot be kept in {self.folder} ({reason}): the next process compiles them again")
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def discard(self, key):
        """Remove the file of a key, if there is one and it can be."""
        with suppress(OSError):
            self.path(key).unlink()

    def flush(self):
        """Remove all files of the function."""
        for path in self.folder.glob(f"{glob.escape(self._name)}-*{SUFFIX}"):
            with suppress(OSError):
                path.unlink()


def _open_file(path, flags):
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _create_file(path, flags):
    return os.open(path, flags, 0o644)


@functools.cache
def _warn_once(text):
    logger.warning(text)


class KernelCache(NullCache):
    """What a dispatcher of Numba asks for a kernel before it compiles it, and gives it to afterwards."""

    def __init__(self, function, prefix=""):
        module = function.__module__.removeprefix(KERNELS)
        self._files = None if FOLDER is None else KernelFiles(f"{prefix}{module}.{function.__qualname__}")

    @property
    def cache_path(self):
        return FOLDER and str(FOLDER)

    def load_overload(self, sig, target_context):
        """The compiled kernel for these types of arguments, or None."""
        if self._files is None:
            return None
        target_context.refresh()  # or what machine code refers to may not be there yet
        key = _key(sig, target_context)
        data = self._files.load(key)
        if data is None:
            return None
        try:
            return rebuilt(target_context, *data)
        except Exception:  # compiled anew, it says what is wrong, if anything is
            self._files.discard(key)
            return None

    def save_overload(self, sig, data):
        """Keep a compiled kernel."""
        if data.library.has_dynamic_globals:  # addresses of this process
            return
        if PROBLEM is not None:
            _warn_once(
                f"kernels are compiled again in every process, since there is no folder to keep them ({PROBLEM}); "
                "set NUMBA_CACHE_DIR to one that only you can write to"
            )
        if self._files is not None:
            self._files.save(_key(sig, data.target_context), reduced(data))

    def flush(self):
        """Forget what is kept of this kernel."""
        if self._files is not None:
            self._files.flush()


def _key(sig, target_context):
    return sig, target_context.codegen().magic_tuple()


def enable(kernel, prefix=""):
    """Have a dispatcher cache what it compiles, if its function is one of those that the folder's name stands for.

    `prefix` begins the names of its files: kernels that are compiled otherwise have another one.
    """
    if NullCache is not object and kernel.py_func.__module__.startswith(KERNELS):
        kernel._cache = KernelCache(kernel.py_func, prefix)

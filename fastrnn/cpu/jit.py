"""How kernels are compiled: one set of flags, one cache that is never stale.

Numba keeps a cached kernel until *its own* file changes; it does not notice that a function it calls, in
another file, has changed. So the cache's folder carries a hash of every kernel source: edit one and all are
compiled anew.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numba
import numba.extending
from numba.core import event

from .linking import LINKED, Kernel, called_by_address

PACKAGE = Path(__file__).resolve().parent.parent
KERNEL_ROOMS = ("cells", "cpu")

# Sums may be reordered (or they would not vectorise), but NaN and infinity keep their meaning: the guard
# against a diverging run relies on it.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
# For range reductions, whose terms must stay in the order in which they are written.
STRICT_ORDER = {"contract", "nsz"}


def source_hash(package=PACKAGE, rooms=KERNEL_ROOMS):
    """Hash of the sources of all kernels in `rooms` below `package`, as a short hexadecimal string."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted((package / room).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder():
    """Where compiled kernels are kept: a writable folder named after the kernel sources, or None if there is none.

    Tried in turn: ``NUMBA_CACHE_DIR``, the package's own ``__pycache__``, the user's cache folder, the
    temporary folder.
    """
    name = f"fastrnn-{source_hash()}"
    own = PACKAGE / "__pycache__"
    roots = (
        [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else [own, _user_cache(), Path(tempfile.gettempdir())]
    )
    for root in roots:
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if root == own:
            _remove_others(folder)
        return folder
    return None


def _user_cache():
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or "~/.cache").expanduser() / "fastrnn"


def _remove_others(folder):
    """Remove kernels of earlier sources of this very installation: nothing will ever load them again."""
    for old in folder.parent.glob("fastrnn-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


CACHE_FOLDER = cache_folder()
ENABLED = not numba.config.DISABLE_JIT


def jit(function=None, *, fastmath=FASTMATH, rare=False, separate=None):
    """Compile a kernel on its first call: no GIL, NumPy's division, sums in any order, cached on disk.

    A `rare` one gets no copies of what it calls: less to compile for all who never need it. One that is `separate` is
    not linked into its callers, see separate.py; the argument is Numba's type of what it returns.
    """
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, rare=rare, separate=separate)
    function.rare = rare
    if not ENABLED:
        return function
    kernel = Kernel(function, _flags(fastmath)) if separate is None else called_by_address(
        function, separate, _flags(fastmath))  # fmt: skip
    if CACHE_FOLDER is not None:
        _cached(type(kernel).enable_caching, kernel)
    return kernel


def overload(function, *, fastmath=FASTMATH):
    """Say what kernels call for a Python function: decorates what maps the arguments' types to another function."""
    return numba.extending.overload(function, jit_options=LINKED | _flags(fastmath))


def _flags(fastmath):
    return {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath), "_nrt": False}


@contextmanager
def compilations(tell=None, event=event):
    """A list that gets the names of the kernels compiled (not loaded) meanwhile; `tell()` is called at the first.

    `event` is Numba's module of that name, or numba-cuda's.
    """
    names = []

    class Listener(event.Listener):
        def on_start(self, event):
            if tell is not None and not names:
                tell()
            names.append(event.data["dispatcher"].py_func.__qualname__)

        def on_end(self, event):
            pass

    with event.install_listener("numba:compile", Listener()):
        yield names


def _cached(decorator, function):
    """Decorate with Numba's cache in our folder, and only ours: other packages' caches stay where they are."""
    user_folder = numba.config.CACHE_DIR
    try:
        if CACHE_FOLDER is not None:
            numba.config.CACHE_DIR = str(CACHE_FOLDER)
        return decorator(function)
    finally:
        numba.config.CACHE_DIR = user_folder

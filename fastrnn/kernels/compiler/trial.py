"""Whether our extensions of Numba's compiler work with the Numba that is installed.

These, `inline_lowering.py` and `indirect_calls.py`, subclass parts of Numba that are not public. So a tiny kernel is
compiled with them, once for each cache folder, whose name holds Numba's version: with elements and slices of arrays, a
function that is inlined into it, and one that is called through a pointer.
"""

import logging
import os
from contextlib import suppress

import numba
import numpy as np
from numba import types

from . import cache_folder
from .flags import extended_flags

VARIABLE = "FASTRNN_PLAIN_NUMBA"
MARK = "compiler-works"
logger = logging.getLogger("fastrnn")


def extensions():
    """The module `inline_lowering` where it works; None where kernels must be compiled by Numba's public means alone.

    These take several times as long to compile; what they compute is the same, and how fast. The environment variable
    ``FASTRNN_PLAIN_NUMBA=1`` chooses them.
    """
    if numba.config.DISABLE_JIT or os.environ.get(VARIABLE, "0") not in ("", "0"):
        return None
    try:
        from . import inline_lowering

        if not _works_by_the_mark():
            check(inline_lowering)
            _mark()
    except Exception as error:
        logger.warning(
            f"Numba {numba.__version__} is not as fastrnn expects inside ({type(error).__name__}: {error}): kernels are"
            f" compiled by its public means, which takes longer the first time; {VARIABLE}=1 does so without this line"
        )
        return None
    return inline_lowering


def check(extended):
    """Raise an exception unless the trial kernel compiles, and computes what it would in Python."""
    rows = np.arange(1.0, 13.0).reshape(3, 4)
    numbers = rows.ravel().copy()
    global _total
    plain, _total = _total, extended.indirect_kernel(_total, types.float64, extended_flags())
    try:
        inner = extended.Kernel(_scaled, extended_flags())
        found, counted = extended.Kernel(_trial(inner), extended_flags())(rows.copy(), numbers)
    finally:
        _total = plain
    expected, lengths = _trial(_scaled)(rows.copy(), numbers)
    if found != expected or counted != lengths:
        raise ArithmeticError(f"a trial kernel found {found}, {counted}, expected {expected}, {lengths}")


def _total(row):
    total = 0.0
    for i in range(len(row)):
        total += row[i]
    return total


def _scaled(rows, k, factor):
    row = rows[k]
    for i in range(len(row)):
        row[i] = row[i] * factor
    return row[1:3], rows[k:]


def _trial(scaled):
    def trial(rows, numbers):
        part, rest = scaled(rows, 1, 2.0)
        rows[2, 3] = _total(part) + numbers[4]
        return _total(rest[1]) + rest[0, 0], (len(part), rest.shape[0], rest.shape[1])

    return trial


def _works_by_the_mark():
    return cache_folder.FOLDER is not None and (cache_folder.FOLDER / MARK).exists()


def _mark():
    if cache_folder.FOLDER is not None:
        with suppress(OSError):
            (cache_folder.FOLDER / MARK).touch()

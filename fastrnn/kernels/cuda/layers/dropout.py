"""Dropout's masks: the same hashes as on the CPU, so both devices drop the same."""

from typing import NamedTuple

import numpy as np

from ...cpu.layers.dropout import BITS, MASK, mix, row_key
from ..driver import device_function

ZERO = np.float32(0)  # of the smaller type: float64 stays float64 beside it


class Dropout(NamedTuple):
    """What kernels are told of it, as numbers."""

    bound: int  # hashes below it drop; 0 for no dropout
    factor: object  # of the model's dtype: what remains is multiplied by it
    key: int  # the batch's


def dropout(rate, key, dtype):
    """`Dropout` at a rate, for arrays of a dtype."""
    return Dropout(int(rate * (1 << BITS)), dtype.type(1 / (1 - rate)), int(key))


@device_function
def row_mask(key, connection, position):
    """What the mask of one token's row begins with."""
    return row_key(key, connection, int(position))


@device_function
def drop(value, j, bound, factor, mask):
    """Element j of a row, dropped or not; `mask` is the row's."""
    kept = mix((mask + j) & MASK) >> (32 - BITS) >= bound
    return value * factor if kept else ZERO

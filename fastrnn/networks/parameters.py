"""The parameters of a network by their public names: a mapping whose arrays may be written to."""

from collections.abc import MutableMapping

import numpy as np

from ..validation import check_array


class Parameters(MutableMapping):
    """The parameters by name, in the tutorial's orientation: views that may be written to, or assigned.

    ``params["V"] = array`` copies, after a check of shape and of finiteness; names can be neither added nor
    removed.
    """

    def __init__(self, get_arrays):
        self._get_arrays = get_arrays  # a function returning {name: array}: views do not survive a copy of the network

    def __getitem__(self, name):
        return self._get_arrays()[name]

    def __setitem__(self, name, value):
        arrays = self._get_arrays()
        if name not in arrays:
            raise KeyError(f"no parameter {name!r}, expected one of {', '.join(arrays)}")
        value = check_array(name, value)
        if value.shape != arrays[name].shape:
            raise ValueError(f"{name}: found shape {value.shape}, expected {arrays[name].shape}")
        with np.errstate(over="ignore"):
            value = value.astype(arrays[name].dtype)
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: found NaN or infinity, expected finite numbers of {value.dtype}")
        arrays[name][...] = value

    def __delitem__(self, name):
        raise TypeError("parameters cannot be removed")

    def __iter__(self):
        return iter(self._get_arrays())

    def __len__(self):
        return len(self._get_arrays())

    def __repr__(self):
        return "{" + ", ".join(f"{name!r}: {array.dtype}{list(array.shape)}" for name, array in self.items()) + "}"

"""Arrays that the host and the device both have."""

import numpy as np

from ..kernels.cuda.driver import empty


class DeviceCopy:
    """NumPy arrays and their copies on the device, which are copied over when they are asked for.

    The host's arrays are authoritative and are uploaded every time, since views of them may be written to unseen, until
    `device` is called with `write`: then the device's are, until `host` is called.

    Parameters
    ----------
    arrays : list of NumPy arrays
        Owned by the caller, overwritten in place by `host`.
    """

    def __init__(self, arrays):
        self._host, self._device, self._on_device = list(arrays), None, False

    def __getstate__(self):
        return {"arrays": self.host()}

    def __setstate__(self, state):
        self.__init__(state["arrays"])

    def host(self):
        """The NumPy arrays, authoritative from now on; downloads them first if the device's were."""
        if self._on_device:
            for array, copy in zip(self._host, self._device, strict=True):
                if array.size:
                    array[...] = copy.copy_to_host()
            self._on_device = False  # not before: Ctrl-C would lose what was learned
        return self._host

    def device(self, write=False):
        """The arrays on the device, always the same ones; with `write` they are authoritative from now on."""
        if self._device is None:
            self._device = [empty(array.shape, array.dtype) for array in self._host]
        if not self._on_device:
            for array, copy in zip(self._host, self._device, strict=True):
                if array.size:
                    copy.copy_to_device(np.ascontiguousarray(array))
            self._on_device = write
        return self._device

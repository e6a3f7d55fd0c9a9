"""Read-only arrays as kernels take them."""

import numpy as np


class _Writable:
    """Describes an array's memory as if it might be written to; keeps it alive."""

    def __init__(self, array):
        self.array = array
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def kernel_view(array):
    """The same memory as an array that is typed as writable: kernels are compiled anew for arrays that are not.

    For kernels that only read it: writing to it ends the process where the memory is mapped from a file.
    """
    array = np.asarray(array)  # Numba knows no subclasses, such as memory maps
    return array if array.flags.writeable else np.asarray(_Writable(array))

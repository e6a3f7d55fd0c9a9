"""The flags with which kernels are compiled."""

# Sums may be reordered (or they would not vectorise), but NaN and infinity keep their meaning: the guard
# against a diverging run relies on it.
FASTMATH = frozenset({"reassoc", "contract", "nsz", "arcp"})
# For range reductions, whose terms must stay in the order in which they are written.
STRICT_ORDER = frozenset({"contract", "nsz"})


def njit_flags(fastmath=FASTMATH):
    """Options of `numba.njit`: no GIL, NumPy's division, no memory of their own."""
    return {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}


def extended_flags(fastmath=FASTMATH):
    """The same for our extensions of the compiler, whose kernels also count no references."""
    return njit_flags(fastmath) | {"_nrt": False}

"""Loss and gradients on this CPU against the reference in float64, see aarch64."""

import platform

import numba
import numpy as np
import reference

from fastrnn import FastRNN
from fastrnn.kernels.linalg.simd import TILE_VECTORS, VECTOR_BYTES

C, H, LENGTHS = 97, 19, [9, 5, 5, 2, 1]

print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}")
print(f"vectors of {VECTOR_BYTES} bytes, tiles of {TILE_VECTORS}")
rng = np.random.default_rng(0)
x, y = ([rng.integers(C, size=length) for length in LENGTHS] for _ in "xy")
for cell in ("gru", "lstm"):
    model = FastRNN(cell, H, C, max_epochs=0, n_threads=1, random_state=0).fit(x, y)
    for name, array in reference.init_params(cell, C, H, True, rng).items():
        model.params_[name] = array
    loss, found = model.gradients(x, y)
    expected_loss, expected = reference.gradients(cell, reference.in_float64(model.params_), x, y)
    errors = {name: np.abs(found[name] - array).max() / np.abs(array).max() for name, array in expected.items()}
    print(
        f"{cell}: loss {loss:.7f}, reference {expected_loss:.7f}; largest error of each gradient, relative to its size:"
    )
    print("   ", ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    assert abs(loss - expected_loss) < 1e-5 * expected_loss and max(errors.values()) < 1e-5
print("right")

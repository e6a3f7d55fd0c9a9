"""States that a user lets sequences start from."""

import numpy as np

from ..validation import check_array, check_bool


def initial_states(model, x, initial_state, wanted=False):
    """A copy of the states that the sequences start from; None if they are zeros and nobody wants the last ones."""
    network, wanted = model.network_, check_bool("return_state", wanted)
    shape = (network.num_layers, len(x), network.state_size)
    if initial_state is None:
        return np.zeros(shape, network.dtype) if wanted else None
    states = check_array("initial_state", initial_state)
    if states.shape != shape:
        raise ValueError(f"initial_state: found shape {states.shape}, expected (layers, sequences, S*H) {shape}")
    with np.errstate(over="ignore"):
        states = np.array(states, network.dtype, order="C")
    if not np.isfinite(states).all():
        raise ValueError("initial_state: found NaN or infinity, expected finite numbers")
    return states

"""Gradients compared with finite differences, entry by entry."""

import numpy as np

from ..validation import as_generator, check_integer, check_real

# A difference quotient of four points: (steps, weight). Its error falls with the fourth power of the step.
POINTS = ((1, 8), (-1, -8), (2, -1), (-2, 1))


def check_gradients(model, x, y, n_entries, step, random_state):
    """See `FastRNN.check_gradients`."""
    x, y = model._check_pair(x, y)
    n_entries, step = check_integer("n_entries", n_entries, 1), check_real("step", step, 0, 1)
    rng = as_generator(random_state)
    network, threads = model.network_.zeros_like("float64"), model._threads()
    for name, array in model.params_.items():
        network.params[name] = array
    _, gradients = network.gradients(x, y, -1, threads)
    errors = {}
    for name, array in network.params.items():
        errors[name], largest = 0.0, abs(gradients[name]).max()
        entries = _entries(network, name, array, np.unique(x.values))
        for flat in rng.choice(entries, min(n_entries, len(entries)), replace=False):
            index, quotient = np.unravel_index(flat, array.shape), 0.0
            value = array[index]
            for steps, weight in POINTS:
                array[index] = value + steps * step
                quotient += weight * network.token_losses(x, y, threads).mean() / (12 * step)
            array[index] = value
            pair = abs(gradients[name][index]) + abs(quotient)
            if pair > 2e-6 * largest:
                errors[name] = max(errors[name], float(abs(gradients[name][index] - quotient) / pair))
    return errors


def _entries(network, name, array, words):
    """Flat indices of an array's entries; of what indices name, only of `words`: others have no part in the loss."""
    entries = np.arange(array.size)
    if name == "layer0.U" and not network.embedding_dim:
        return entries.reshape(array.shape)[:, words].ravel()
    if name == "embedding" and not network.tie_weights:
        return entries.reshape(array.shape)[words].ravel()
    return entries

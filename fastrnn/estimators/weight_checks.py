"""Errors that name parameters: weights that are not finite, and parameters that a fitted network does not have."""

import numpy as np


def check_results(models, *arrays):
    """ValueError, which names the parameters that are not finite, unless what models computed together is."""
    if not all(np.isfinite(array).all() for array in arrays):
        refuse_weights(models)


def refuse_weights(models):
    """Raise ValueError, which names the parameters of models that are not finite."""
    names = [
        f"models[{i}].{name}" if len(models) > 1 else name
        for i, model in enumerate(models)
        for name in model.network_.not_finite()
    ]
    found = f"NaN or infinity in {', '.join(names)}" if names else "weights so large that results overflow"
    raise ValueError(f"params_: found {found}, expected finite numbers")


def check_same(name, found, expected):
    """ValueError unless a parameter is what a network that is trained on was made with."""
    if found != expected:
        raise ValueError(
            f"{name}: found {found!r}, expected {expected!r}, with which the network was made: what is fitted goes on"
            " with it"
        )

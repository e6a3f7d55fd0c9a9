"""Exceptions of our own."""


class NotFittedError(ValueError, AttributeError):
    """An estimator or vocabulary was used before it was fitted (scikit-learn's name and base classes)."""


class DivergenceError(FloatingPointError):
    """Training met a loss or gradient that is not finite; the model keeps its last finite weights."""

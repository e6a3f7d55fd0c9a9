"""Exceptions of our own."""


class NotFittedError(ValueError, AttributeError):
    """An estimator or vocabulary was used before it was fitted (scikit-learn's name and base classes)."""


class DivergenceError(FloatingPointError):
    """Losses or gradients were not finite, again and again at lower rates; the model has its last good weights."""

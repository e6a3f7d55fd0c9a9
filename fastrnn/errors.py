"""Exceptions of our own."""


class NotFittedError(ValueError, AttributeError):
    """An estimator or vocabulary was used before it was fitted (scikit-learn's name and base classes)."""


class DivergenceError(FloatingPointError):
    """Losses or gradients were not finite, again and again at lower rates; the model has its last good weights."""


class DeviceError(RuntimeError):
    """No GPU can be used, or it has too little memory; the message says what to install or lower."""

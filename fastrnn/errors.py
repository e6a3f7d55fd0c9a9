"""Exceptions of fastrnn."""


class NotFittedError(ValueError, AttributeError):
    """Something was used before it was fitted; scikit-learn's name, and its bases."""

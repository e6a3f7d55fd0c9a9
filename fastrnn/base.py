"""What the estimators share: scikit-learn's way with constructor parameters, without depending on it, and checks."""

import inspect
import math
import numbers

import numpy as np

from .errors import NotFittedError


class Estimator:
    """Constructor parameters as scikit-learn has them: stored under their own names, read and set by name."""

    @classmethod
    def _parameter_defaults(cls):
        """{name: default} of the constructor's parameters."""
        signature = inspect.signature(cls.__init__)
        return {p.name: p.default for p in list(signature.parameters.values())[1:]}

    def get_params(self, deep=True):
        """Return the constructor's parameters: {name: value}."""
        return {name: getattr(self, name) for name in self._parameter_defaults()}

    def set_params(self, **parameters):
        """Set constructor parameters by name; returns self. They take effect at the next fit."""
        known = self._parameter_defaults()
        for name, value in parameters.items():
            if name not in known:
                raise ValueError(f"no parameter {name!r}, expected one of {', '.join(known)}")
            setattr(self, name, value)
        return self

    def changed_params(self):
        """Return the constructor's parameters that differ from their defaults: {name: value}."""
        defaults = self._parameter_defaults()
        return {n: v for n, v in self.get_params().items() if v is not defaults[n] and v != defaults[n]}

    def __repr__(self):
        changed = (f"{name}={value!r}" for name, value in self.changed_params().items())
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None, target_tags=TargetTags(required=False), input_tags=InputTags(two_d_array=False)
        )

    def _check_fitted(self, attribute):
        if not hasattr(self, attribute):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit, or load a model, first")


def check_integer(name, value, lowest, none=False):
    """Raise unless `value` is an int >= `lowest` (or None, if allowed)."""
    if none and value is None:
        return
    or_none = " or None" if none else ""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: found {value!r}, expected an int >= {lowest}{or_none}")
    if value < lowest:
        raise ValueError(f"{name}: found {value!r}, expected an int >= {lowest}{or_none}")


def check_real(name, value, low, high=math.inf, *, low_open=True, high_open=True, none=False):
    """Raise unless `value` is a finite number in the interval (or None, if allowed)."""
    if none and value is None:
        return
    interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
    expected = f"expected a number in {interval}{' or None' if none else ''}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: found {value!r}, {expected}")
    inside = (low < value or (not low_open and value == low)) and (value < high or (not high_open and value == high))
    if not inside or not math.isfinite(value):
        raise ValueError(f"{name}: found {value!r}, {expected}")


def check_choice(name, value, choices):
    """Raise unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(map(repr, choices))}")


def check_bool(name, value):
    """Raise unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: found {value!r}, expected True or False")


def as_generator(random_state):
    """A numpy Generator from None, an int seed, a Generator (itself) or a RandomState."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    check_integer("random_state", random_state, 0, none=True)
    return np.random.default_rng(random_state)

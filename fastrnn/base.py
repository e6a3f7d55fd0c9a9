"""What the estimators share: scikit-learn's way with constructor parameters, without depending on it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .errors import NotFittedError
from .validation import shown

if TYPE_CHECKING:
    from .typing import Self


class Estimator:
    """Constructor parameters as scikit-learn has them: stored under their own names, read and set by name.

    They are stored as they were given, and read as `self._checked.name` wherever something depends on them.
    """

    _checks: dict[
        str, Any
    ] = {}  # for every parameter a function of its name and value, which returns it normalised or raises
    _further: Any = None  # the estimator some of whose parameters the constructor takes as ``**parameters``

    @property
    def _checked(self):
        return Checked(self)

    def check_parameters(self) -> None:
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        for name in self._parameter_defaults():
            getattr(self._checked, name)

    @classmethod
    def _parameter_defaults(cls):
        """{name: default} of the constructor's parameters."""
        signature = list(inspect.signature(cls.__init__).parameters.values())[1:]
        own = {p.name: p.default for p in signature if p.kind is not p.VAR_KEYWORD}
        further = {} if cls._further is None else cls._further._parameter_defaults()
        return own | {n: default for n, default in further.items() if n in cls._checks and n not in own}

    def _store(self, further, **own):
        """Store a constructor's arguments, its own ones and what it got as ``**parameters``; TypeError if unknown."""
        defaults = self._parameter_defaults()
        for name in further:
            if name not in defaults:
                raise TypeError(f"no parameter {name!r}, expected one of {', '.join(defaults)}")
        for name, value in (defaults | own | further).items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters: {name: value}."""
        return {name: getattr(self, name) for name in self._parameter_defaults()}

    def set_params(self, **parameters: Any) -> Self:
        """Set constructor parameters by name; returns self. They take effect at the next fit."""
        known = self._parameter_defaults()
        for name, value in parameters.items():
            if name not in known:
                raise ValueError(f"no parameter {name!r}, expected one of {', '.join(known)}")
            setattr(self, name, value)
        return self

    def changed_params(self) -> dict[str, Any]:
        """Return the constructor's parameters that differ from their defaults: {name: value}."""
        defaults = self._parameter_defaults()
        return {n: v for n, v in self.get_params().items() if v is not defaults[n] and shown(v) != shown(defaults[n])}

    def __repr__(self) -> str:
        changed = (f"{name}={shown(value)}" for name, value in self.changed_params().items())
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None, target_tags=TargetTags(required=False), input_tags=InputTags(two_d_array=False)
        )

    def _check_fitted(self, attribute):
        if not hasattr(self, attribute):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit, or load a model, first")


class Checked:
    """The parameters of an estimator as Python's own types; each is checked when it is read."""

    def __init__(self, estimator):
        self._estimator = estimator

    def __getattr__(self, name):
        return self._estimator._checks[name](name, getattr(self._estimator, name))

"""What happened in training, by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..validation import check_integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..typing import Self

_BY_EPOCH = ("learning_rates", "mean_norms", "max_norms", "seconds", "tokens")


class History:
    """What happened in training so far. Lists have one entry an epoch, NaN where nothing is known.

    Attributes
    ----------
    losses : list of float
        Mean cross-entropy per token, nats, each batch's taken before its update.
    validation_losses : list of float
        Mean cross-entropy per token of the validation data after the epoch, nats; empty if there never were any.
    evaluations : list of (int, float)
        Epochs done, and the loss on all training data at that moment (schedule "halve").
    learning_rates : list of float
        Of the epoch's last update.
    mean_norms, max_norms : list of float
        Norm of the batches' gradients before clipping; NaN without clipping, where none is computed.
    seconds : list of float
        Of training so far, evaluations included.
    tokens : list of int
        Trained on so far.
    best_epoch : int or None
        Epochs done when the weights were those that early stopping has put back.
    """

    losses: list[float]
    validation_losses: list[float]
    evaluations: list[tuple[int, float]]
    learning_rates: list[float]
    mean_norms: list[float]
    max_norms: list[float]
    seconds: list[float]
    tokens: list[int]
    best_epoch: int | None

    def __init__(self) -> None:
        self.losses, self.validation_losses, self.evaluations, self.best_epoch = [], [], [], None
        for name in _BY_EPOCH:
            setattr(self, name, [])

    def add(self, loss, validation_loss, **facts):
        """Add an epoch; `facts` are the other lists' entries, `validation_loss` may be None."""
        self.losses.append(loss)
        for name in _BY_EPOCH:
            getattr(self, name).append(facts[name])
        if validation_loss is not None:
            self.validation_losses += [math.nan] * (len(self.losses) - 1 - len(self.validation_losses))
            self.validation_losses.append(validation_loss)

    def last(self, name: str) -> float:
        """The last entry of `seconds` or `tokens`, 0 if there is none."""
        entries = getattr(self, name)
        return entries[-1] if entries and not math.isnan(entries[-1]) else 0

    def to_header(self) -> dict[str, Any]:
        """What a file's header keeps of it, for `from_header`."""
        return vars(self) | {"evaluations": [list(pair) for pair in self.evaluations]}

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Of what `to_header` gave; of older files, which lack most of it, what they have.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is nothing that `to_header` gives.
        """
        history = cls()
        history.losses = [float(_checked("losses", loss)) for loss in header["losses"]]
        epochs, validation = len(history.losses), header.get("validation_losses", [])
        history.validation_losses = [float(_checked("validation_losses", loss)) for loss in validation]
        if len(validation) > epochs:
            raise ValueError(f"found {len(validation)} validation_losses, expected {epochs} at most")
        for done, loss in header["evaluations"]:
            check_integer("evaluations", done, 0)
            history.evaluations.append((done, float(_checked("evaluations", loss, finite=False))))
        history.best_epoch = header.get("best_epoch")
        check_integer("best_epoch", history.best_epoch, 1, none=True)
        if (history.best_epoch or 0) > len(validation):
            raise ValueError(f"best_epoch: found {history.best_epoch}, expected {len(validation)} at most")
        for name in _BY_EPOCH:
            finite = name not in ("mean_norms", "max_norms")
            entries = [_checked(name, entry, finite) for entry in header.get(name, [math.nan] * epochs)]
            if len(entries) != epochs:
                raise ValueError(f"found {len(entries)} {name}, expected {epochs}")
            setattr(history, name, entries)
        return history


def _checked(name, value, finite=True):
    """An entry of a list: a number, or NaN for one that is not known, and infinite only where it may be."""
    if type(value) not in (int, float):
        raise TypeError(f"{name}: found {value!r}, expected numbers")
    if (type(value) is int and abs(value) >= 2**63) or (finite and math.isinf(value)):
        raise ValueError(f"{name}: found {value!r}, expected finite numbers")
    return value

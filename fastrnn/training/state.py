"""What the training loop follows, and where a run stands: both are in its checkpoints."""

import dataclasses
import math
from typing import NamedTuple

from ..validation import check_integer


class Settings(NamedTuple):
    """Parameters of the estimators that the loop follows."""

    lr_schedule: str
    evaluate_every: int
    patience: int
    lr_decay_start: int
    early_stopping: bool | str  # "auto" is as True, where there is a validation loss
    n_iter_no_change: int
    tol: float
    weight_noise: float
    verbose: int


@dataclasses.dataclass
class State:
    """Where a run stands, besides weights, moments and history."""

    first_epoch: int  # epochs done before this call of fit
    batch: int = 0  # next of the epoch; 0: the epoch has not begun
    rng_at_begin: dict | None = None  # of the epoch, to draw the same batches again
    loss: float = 0.0  # sums over the epoch so far
    tokens: int = 0
    norm: float = 0.0
    largest_norm: float = -math.inf
    batches: int = 0
    setbacks: int = 0  # rollbacks of this call (the name in checkpoints)
    best_loss: float = math.inf  # early stopping
    waited: int = 0
    seconds: float = 0.0  # of training, other calls included

    @classmethod
    def from_header(cls, header, history):
        """Of what `dataclasses.asdict` gave when the history was this; KeyError, TypeError or ValueError if not so."""
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        if header.keys() != fields.keys():
            raise ValueError(f"found a state of {list(header)}, expected {list(fields)}")
        for name, kind in fields.items():
            if kind is int:
                check_count(name, header[name])
            elif type(header[name]) not in ((int, float) if kind is float else (dict, type(None))):
                raise TypeError(f"{name}: found {header[name]!r}, expected another type")
        state = cls(**header)
        if not (math.isfinite(state.loss) and math.isfinite(state.seconds)):
            raise ValueError(f"found a loss of {state.loss} after {state.seconds} s, expected finite numbers")
        if (state.tokens > 0) != (state.batches > 0) or state.first_epoch > len(history.losses):
            raise ValueError("the state's counts do not agree")
        return state


def check_count(name, value):
    """The number, checked to be one that a counter can have."""
    check_integer(name, value, 0, None)
    if value >= 2**63:
        raise ValueError(f"{name}: found {value!r}, expected an int < 2**63")
    return value

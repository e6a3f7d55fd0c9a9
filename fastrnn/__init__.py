"""Recurrent neural networks for sequences, compiled by Numba: from raw text to generated text."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # what type checkers read; the program takes the names from `__getattr__`
    from .data.ragged import Ragged as Ragged
    from .errors import DeviceError as DeviceError
    from .errors import DivergenceError as DivergenceError
    from .errors import NotFittedError as NotFittedError
    from .estimators.ensemble import Ensemble as Ensemble
    from .estimators.language_model import LanguageModel as LanguageModel
    from .estimators.rnn import FastRNN as FastRNN
    from .estimators.seq2seq import Seq2Seq as Seq2Seq
    from .estimators.translator import Translator as Translator
    from .estimators.warmup import warmup as warmup
    from .text.corpora import python_manual as python_manual
    from .text.files import read_texts as read_texts
    from .text.vocabulary import Vocabulary as Vocabulary

# Names are loaded when first used: a program pays only for what it uses.
_EXPORTS = {
    "FastRNN": "estimators.rnn",
    "LanguageModel": "estimators.language_model",
    "Seq2Seq": "estimators.seq2seq",
    "Ensemble": "estimators.ensemble",
    "Translator": "estimators.translator",
    "Vocabulary": "text.vocabulary",
    "Ragged": "data.ragged",
    "read_texts": "text.files",
    "python_manual": "text.corpora",
    "warmup": "estimators.warmup",
    "NotFittedError": "errors",
    "DivergenceError": "errors",
    "DeviceError": "errors",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    except AttributeError as error:  # of that module: as an AttributeError it would be told as "cannot import name"
        raise ImportError(f"{__name__}.{_EXPORTS[name]} cannot be imported: {error}") from error


def __dir__() -> list[str]:
    return __all__

"""Recurrent neural networks for sequences, compiled by Numba: from raw text to generated text."""

from importlib import import_module

__version__ = "0.1.0"

# Names are loaded when first used: a program that needs one room does not pay for the others.
_ROOMS = {
    "FastRNN": "estimator",
    "LanguageModel": "language_model",
    "Seq2Seq": "seq2seq",
    "Ensemble": "seq2seq",
    "Translator": "translator",
    "Vocabulary": "vocabulary",
    "Ragged": "ragged",
    "read_texts": "files",
    "python_manual": "corpora",
    "warmup": "compilation",
    "NotFittedError": "errors",
    "DivergenceError": "errors",
    "DeviceError": "errors",
}
__all__ = list(_ROOMS)


def __getattr__(name):
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__():
    return __all__

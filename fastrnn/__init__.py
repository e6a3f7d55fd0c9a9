"""Recurrent neural networks for sequences, compiled by Numba: from raw text to generated text."""

from importlib import import_module

__version__ = "0.1.0"

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


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    except AttributeError as error:  # of that module: as an AttributeError it would be told as "cannot import name"
        raise ImportError(f"{__name__}.{_EXPORTS[name]} cannot be imported: {error}") from error


def __dir__():
    return __all__

"""Model files as commands take them: of any kind, or an error that says which command reads that kind."""

from importlib import import_module

from ..storage import kind_of

# Kind: module of the class of that name, and what reads its files.
_KINDS = {
    "LanguageModel": ("language_model", "fastrnn generate, score and plot read it"),
    "Translator": ("translator", "fastrnn translate reads it"),
    "FastRNN": ("rnn", "FastRNN.load in Python reads it"),
    "Seq2Seq": ("seq2seq", "Seq2Seq.load in Python reads it"),
}
_CHECKPOINTS = {
    "FastRNN checkpoint": "fastrnn train resumes from it with --resume",
    "Seq2Seq checkpoint": "fastrnn translate-train resumes from it with --resume",
}


def load(path, *kinds, device="cpu", **functions):
    """Load a model file of one of the kinds, by default of any, for a device.

    `functions` are the `tokenizer` and `detokenizer` of a LanguageModel or Translator that was made with any.

    Returns
    -------
    LanguageModel, Translator, FastRNN or Seq2Seq

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is damaged, not ours, or of another kind.
    """
    kinds, kind = kinds or tuple(_KINDS), kind_of(path)
    if kind not in kinds:
        hint = _KINDS[kind][1] if kind in _KINDS else _CHECKPOINTS.get(kind, "upgrade fastrnn")
        raise ValueError(f"{path}: found a {kind}, expected a {' or a '.join(kinds)}; {hint}")
    return getattr(import_module(f".{_KINDS[kind][0]}", __package__), kind).load(path, device=device, **functions)

"""Sources and targets of a `Translator`: texts that are checked, and encoded one by one."""

from ..data.ragged import without_first
from ..text.custom_tokenizer import checked_tokens, is_tokens
from ..validation import check_list, shown


def by_side(values):
    """Values by name, each one for both sides or a pair: the values of sources and those of targets."""
    pairs = {name: value if isinstance(value, (tuple, list)) else (value, value) for name, value in values.items()}
    for name, pair in pairs.items():
        if len(pair) != 2:
            raise ValueError(f"{name}: found {shown(pair)}, expected one or a pair, for sources and for targets")
    return [{name: pair[side] for name, pair in pairs.items()} for side in (0, 1)]


def listed(texts, name):
    """The texts as a list; TypeError if they are none."""
    return check_list(name, texts, "texts")


def check_counts(source, target):
    """ValueError unless there is a target for every source."""
    if len(source) != len(target):
        raise ValueError(f"target_texts: found {len(target)} texts, expected {len(source)} as in source_texts")


def check_one_each(name, rows, source):
    """ValueError unless there is one of `rows` for every source."""
    if len(rows) != len(source):
        raise ValueError(f"{name}: found {len(rows)}, expected {len(source)}, one for every text of source_texts")


def check_texts(texts, name):
    """Every text must be one that has tokens: none is dropped, or pairs would shift."""
    if not texts:
        raise ValueError(f"{name}: found no texts, expected at least one")
    for i, text in enumerate(texts):
        if is_tokens(text):
            checked_tokens(text, f"{name}: text {i}")
        elif not isinstance(text, str):
            raise TypeError(f"{name}: found a {type(text).__name__} as text {i}, expected a str or a list of str")
        if not text or (isinstance(text, str) and not text.strip()):
            raise ValueError(f"{name}: text {i} is empty, expected words")


def indices(transform, texts, side):
    """The words of the texts of a side, a sequence each, by a vocabulary's `transform` or `fit_transform`."""
    check_texts(texts, f"{side}_texts")
    x, _ = transform(texts)
    if len(x) != len(texts):
        raise ValueError(f"{side}_texts: found {len(texts) - len(x)} texts without any token, expected words in all")
    return without_first(x)

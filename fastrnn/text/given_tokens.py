"""Tokens that a user gives: lists, mappings to indices, special ones; checked, in the order of their indices."""

from collections.abc import Iterator, KeysView, Mapping, Set

from ..validation import check_integer, check_list, check_str, shown
from .special_tokens import SENTENCE_END, SENTENCE_START, SPECIAL, UNKNOWN_TOKEN

_ORDER = "SENTENCE_START 0, SENTENCE_END 1, UNKNOWN_TOKEN the last, and the others 2, 3, ..."
_LONGEST = 1000  # characters


def check_token(name, value):
    """Return a str that can be a token."""
    if not check_str(name, value):
        raise ValueError(f"{name}: found an empty token, expected one character at least")
    if len(value) > _LONGEST:
        raise ValueError(f"{name}: found a token of {len(value)} characters, expected {_LONGEST} at most")
    return str(value)


def check_tokens(name, value):
    """Return the ordinary tokens of a list or of a mapping from token to index, in order, as a tuple; None stays.

    SENTENCE_START, SENTENCE_END and UNKNOWN_TOKEN have indices of their own, and may be given or not.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return _in_order(name, value)
    return _ordinary(name, tuple(check_token(name, token) for token in _listed(name, value)))


def check_special_tokens(name, value):
    """Return words for which a vocabulary has tokens of their own, as a tuple."""
    if isinstance(value, Mapping):
        raise TypeError(f"{name}: found {shown(value)}, expected a list of words")
    return tuple(check_word(name, word) for word in _distinct(name, _listed(name, value)))


def check_word(name, value, none=False):
    """Return a word that is looked for in texts (or None, if allowed)."""
    if none and value is None:
        return None
    if check_token(name, value) in SPECIAL or value.split() != [value]:
        expected = f"expected a word without white space, and none of {', '.join(SPECIAL)}"
        raise ValueError(f"{name}: found {shown(value)}, {expected}")
    return str(value)


def _listed(name, value):
    """The items of what has an order, and can be read again."""
    if isinstance(value, (Set, Iterator)) and not isinstance(value, KeysView):
        raise TypeError(f"{name}: found {shown(value)}, expected a list")
    return check_list(name, value, "tokens")


def _in_order(name, mapping):
    indices = {check_token(name, token): check_integer(name, i, 0) for token, i in mapping.items()}
    tokens = sorted(indices, key=indices.get)
    given = [token for token in SPECIAL if token in indices]
    ordinary = _ordinary(name, tokens)
    whole = [SENTENCE_START, SENTENCE_END, *ordinary, UNKNOWN_TOKEN]
    for i, token in enumerate(whole):
        if indices.get(token, i) != i:
            found = f"index {indices[token]} of {shown(token)}{'' if given else ', and no special tokens'}"
            raise ValueError(
                f"{name}: found {found}, expected {i}: {_ORDER}; sorted(mapping, key=mapping.get) is a list of the"
                " tokens in the same order, whose indices are then these"
            )
    return ordinary


def _ordinary(name, tokens):
    ordinary = tuple(token for token in _distinct(name, tokens) if token not in SPECIAL)
    if not ordinary:
        raise ValueError(f"{name}: found {shown(tokens)}, expected one token at least besides {', '.join(SPECIAL)}")
    return ordinary


def _distinct(name, tokens):
    seen = set()
    for token in tokens:
        if check_token(name, token) in seen:
            raise ValueError(f"{name}: found {shown(token)} twice, expected each token once")
        seen.add(token)
    return tokens

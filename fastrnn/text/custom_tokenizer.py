"""Tokenizers of others, as functions from str to list of str, and texts that are lists of tokens already.

Files only hold the names of such functions: nothing is pickled, and whoever loads a file gives the functions again.
"""

import json
import logging
from collections.abc import Callable, Iterable

import numpy as np

from ..validation import check_callable, check_str, shown

FUNCTIONS = ("tokenizer", "detokenizer")


class CustomTokenizer:
    """A user's function from str to list of str, whose results are checked.

    Parameters
    ----------
    function : callable
        From one sentence, a str, to its tokens: a list of str that are not empty.
    encode : callable, optional
        From tokens to a value for each.

    Raises
    ------
    TypeError, ValueError
        When called: the function returned something else.
    """

    def __init__(self, function: Callable[[str], Iterable[str]], encode: Callable[[list], Iterable] = list):
        self._function, self._encode = function, encode

    def __call__(self, sentence: str):
        """Return the values of the tokens of a sentence."""
        tokens = self._function(sentence)
        if not _is_list(tokens):
            raise TypeError(f"tokenizer: found {shown(tokens)} for {shown(sentence)}, expected a list of str")
        return self._encode(checked_tokens(tokens, f"tokenizer: for {shown(sentence)}"))


def is_tokens(text) -> bool:
    """Whether a text is tokens already, a list or tuple of them."""
    return isinstance(text, (list, tuple))


def checked_tokens(tokens, name) -> list[str]:
    """The tokens of a text, as a list; TypeError or ValueError, which begin with `name`, if one is no token."""
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"{name}: token {i} is {type(token).__name__}, expected str")
        if not token:
            raise ValueError(f"{name}: token {i} is empty, expected one character at least")
    return list(map(str, tokens))


def joined(detokenizer, tokens) -> str:
    """Tokens as text, by a user's function, or with spaces between them if that is None."""
    text = " ".join(tokens) if detokenizer is None else detokenizer(list(tokens))
    return check_str("detokenizer", text)


def name_of(function) -> str | None:
    """By what name files remember a function: module and qualified name, or those of its class; None for None."""
    if function is None:
        return None
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


def check_functions(config, given):
    """Check that the functions of a stored vocabulary are given again.

    Parameters
    ----------
    config : array of uint8, or anything
        JSON of the vocabulary; where it cannot be read, nothing is checked.
    given : dict of str to callable or None
        By name, of `FUNCTIONS`.

    Raises
    ------
    TypeError, ValueError
        No function, a missing one, or a tokenizer for a vocabulary that was made without.
    """
    for name, function in given.items():
        check_callable(name, function)
    try:
        stored = json.loads(np.asarray(config).tobytes())
        stored = {name: stored.get(name) for name in FUNCTIONS}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    for name, made_with in stored.items():
        function = given[name]
        if made_with is not None and function is None:
            raise ValueError(
                f"{name}: found None, expected the function that the vocabulary was made with, {shown(made_with)}:"
                f" files hold no functions; give it as {name}=..."
            )
        if made_with is None and function is not None and name == "tokenizer":
            raise ValueError(f"{name}: found {shown(function)}, expected None: the vocabulary was made without one")


def log_other_functions(stored, given):
    """Say, in one line each, where a function has another name than the stored one; both are dicts by name."""
    for name, function in given.items():
        made_with = stored.get(name)
        if made_with is not None and name_of(function) != made_with:
            logging.getLogger("fastrnn").warning(
                "%s: found %s, but the vocabulary was made with %s", name, name_of(function), shown(made_with)
            )


def _is_list(tokens):
    return is_tokens(tokens) or (isinstance(tokens, np.ndarray) and tokens.ndim == 1)

"""Sentences to tokens, with words that are one token as they stand in the text, such as <unk> or <sep>."""

import re
from collections.abc import Callable, Iterable

from .tokenize import tokenizer

_FIRST, _LAST = 0xF0000, 0xFFFFD  # characters of private use, one for each word while a sentence is taken apart
_REPLACEMENT = "\ufffd"  # for those in the text itself


class SentenceTokenizer:
    """Split a sentence into tokens, or values of tokens.

    Parameters
    ----------
    level : {"word", "whitespace", "char"} or callable
        As in `tokenize.tokenizer`.
    lowercase : bool
        Whether the sentence is made lower case, but for `words`.
    words : iterable of str
        Those that are one token wherever they stand, in this case of letters: apart from other letters where they
        begin or end with one, and between white space at the level "whitespace".
    encode : callable, optional
        From tokens to a value for each, as `WordTokenizer` has it.
    """

    def __init__(self, level, lowercase, words=(), encode: Callable[[list], Iterable] = list):
        self._settings = level, lowercase, tuple(words), encode
        self._lowercase = lowercase
        self._stand_ins = {word: chr(_FIRST + i) for i, word in enumerate(dict.fromkeys(words))}
        self._words = {stand_in: word for word, stand_in in self._stand_ins.items()}
        self._space = " " if level == "word" else ""
        self._pattern = _pattern(self._stand_ins, level) if self._stand_ins else None
        self._tokenize = tokenizer(level, self._encode if self._stand_ins else encode)

    def __call__(self, sentence: str) -> list:
        """Return the tokens of one sentence, or their values."""
        if self._pattern is not None and callable(self._settings[0]):
            return self._in_parts(sentence)
        if self._pattern is not None:
            sentence = self._pattern.sub(self._stand_in, sentence)
        return self._tokenize(sentence.lower() if self._lowercase else sentence)

    def lower(self, tokens):
        """Return tokens in lower case, but for `words`; as they are without `lowercase`."""
        if not self._lowercase:
            return list(tokens)
        return [token if token in self._stand_ins else token.lower() for token in tokens]

    def _in_parts(self, sentence):
        """What a user's function makes of the text between the words, which it never sees."""
        values, start = [], 0
        for match in self._pattern.finditer(sentence):
            if match[0] in self._stand_ins:
                values += self._part(sentence[start : match.start()])
                values += self._settings[-1]([match[0]])
                start = match.end()
        return [*values, *self._part(sentence[start:])]

    def _part(self, text):
        if not text or text.isspace():
            return []
        return self._tokenize(text.lower() if self._lowercase else text)

    def _stand_in(self, match):
        stand_in = self._stand_ins.get(match[0])
        return _REPLACEMENT if stand_in is None else f"{self._space}{stand_in}{self._space}"

    def _encode(self, tokens):
        words = self._words
        return self._settings[-1]([words.get(token, token) for token in tokens])

    def __reduce__(self):
        return type(self), self._settings


def _pattern(words, level):
    longest_first = sorted(words, key=len, reverse=True)
    alternatives = "|".join(_alone(word, level) for word in longest_first)
    return re.compile(f"{alternatives}|[{chr(_FIRST)}-{chr(_LAST)}]")


def _alone(word, level):
    """A regular expression of a word that is no part of another."""
    if level == "whitespace":
        return rf"(?<!\S){re.escape(word)}(?!\S)"
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", word) else ""
    return f"{before}{re.escape(word)}{after}"

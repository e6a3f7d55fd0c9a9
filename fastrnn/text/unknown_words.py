"""Counting the words of texts that a vocabulary lacks."""

import logging
from itertools import islice

_NAMED = 5

logger = logging.getLogger("fastrnn")


class UnknownWords:
    """What a vocabulary lacks of the texts that were encoded.

    Attributes
    ----------
    n_tokens, n_unknown : int
        Tokens of all texts, and those of them that stand as UNKNOWN_TOKEN.
    words : dict
        The unknown words, each once, in the order of their appearance, as keys.
    """

    def __init__(self):
        self.n_tokens = self.n_unknown = 0
        self.words = {}

    def add(self, vocabulary, indices, words):
        """Count one text: its indices, and every unknown word of it once."""
        self.n_tokens += len(indices)
        self.n_unknown += int((indices == len(vocabulary) - 1).sum())
        self.words |= dict.fromkeys(words)

    def update(self, other):
        """Count what another one has counted, too."""
        self.n_tokens += other.n_tokens
        self.n_unknown += other.n_unknown
        self.words |= other.words

    def log(self):
        """One line, if there are any."""
        if self.words:
            logger.warning("%s", self)

    def __str__(self):
        named = ", ".join(map(repr, islice(self.words, _NAMED))) + (", ..." if len(self.words) > _NAMED else "")
        return (
            f"{self.n_unknown:,} of {self.n_tokens:,} source tokens {'is' if self.n_unknown == 1 else 'are'} unknown,"
            f" taken for UNKNOWN_TOKEN: {named}"
        )

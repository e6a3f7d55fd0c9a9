"""Whether a text's script puts no spaces between words, so that what white space separates is no word."""

import re
from itertools import islice

# Script: its letters, by Unicode's blocks. Korean has spaces.
_UNSPACED = {
    "Chinese or Japanese": "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Thai": "\u0e01-\u0e4e",
    "Lao": "\u0e81-\u0ece",
    "Burmese": "\u1000-\u1049",
    "Khmer": "\u1780-\u17d3",
}
_SCRIPTS = {script: re.compile(f"[{letters}]") for script, letters in _UNSPACED.items()}
_SAMPLE = 10_000  # distinct tokens that are looked at
_LONG_WORD = 6  # letters: above it, on average, tokens are no words of such a script


def unspaced(tokens):
    """The script of which most tokens are, if they are too long for words; otherwise None.

    Parameters
    ----------
    tokens : iterable of str
        Distinct ones; the first ten thousand count.

    Returns
    -------
    str or None
    """
    sample = [token for token in islice(tokens, _SAMPLE) if token[-1:].isalpha() or len(token) > 1]
    if all(map(str.isascii, sample)):
        return None
    for script, letters in _SCRIPTS.items():
        found = [count for count in (len(letters.findall(token)) for token in sample) if count]
        if 2 * len(found) > len(sample) and sum(found) > _LONG_WORD * len(found):
            return script
    return None

"""The tokens of NLTK's `NLTKWordTokenizer`, found once for each distinct chunk of text between white space.

NLTK is imported inside the functions that need it: that import costs a second.
"""

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain

_MOST_CHUNKS = 1 << 17  # remembered at a time: some 30 MB

_CLOSING = "])}>\"'»”’"  # may follow the full stop that ends a sentence
_CLOSING_OR_SPACE = _CLOSING + "".join(filter(str.isspace, map(chr, range(0x3001))))
_SEPARATORS = "\x1c\x1d\x1e\x1f"  # white space for str, but not for NLTK's regular expressions
_QUOTES = ('"', "'")

# White space matters to a chunk where it is no space, and stands before an opening quote or after a closing one.
_SPACING = re.compile(r"[^\S ](?:\"|'')|'[^\S ]")
_SPACING_OF_TWO = re.compile(r"'\s(?:\"|'')")
_SPACED_CHUNK = re.compile(r"(?:[^\S ](?=\"|''))?\S+(?:(?<=')[^\S ])?")

# Chunks that need no rule: nothing in them is special, apart from their last characters.
_SPECIAL = re.escape("«“‘„`\"'([{<:,;@#$%&‒–—―?!])}>*»”’.-")
_PLAIN_CHUNK = re.compile(rf"((?:[.-]?[^\s{_SPECIAL}])+[.-]?)([,;:?!]|'[smdSMD])?")

# A rule can match only where one of these characters is. Rules that are not listed are always tried.
_NEEDED = {
    r"([«“‘„]|[`]+)": "«“‘„`",
    r"^\"": '"',
    r"(``)": "`",
    r"([ \(\[{<])(\"|\'{2})": "\"'",
    r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)": "'",
    r'([^\.])(\.)([\]\)}>"\'»”’ ]*+)\s*$': ".",
    r'([^\.])(\.)([\]\)}>"\'»”’ ]*)\s*$': ".",
    r"([:,])([^\d])": ":,",
    r"([:,])$": ":,",
    r"\.{2,}": ".",
    r"[;@#$%&]": ";@#$%&",
    r'([^\.])(\.)([\]\)}>"\']*)\s*$': ".",
    r"[?!]": "?!",
    r"([^'])' ": "'",
    r"[*]": "*",
    r"[\]\[\(\)\{\}\<\>]": "][(){}<>",
    r"--": "-",
    r"([»”’])": "»”’",
    r"''": "'",
    r'"': '"',
    r"([^' ])('[sS]|'[mM]|'[dD]|') ": "'",
    r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ": "'",
}


class WordTokenizer:
    """Split sentences into the tokens of NLTK's `word_tokenize`, or into one value for each.

    Nearly all of NLTK's rules see one chunk between white space alone, so that its tokens can be remembered. Rules that
    look farther concern quotes beside white space that is no space, a quote that begins the sentence, and the full
    stop that ends it.

    Parameters
    ----------
    encode : callable, optional
        From a list of tokens to a value for each. It is called in the order of the text, and once for a chunk that is
        still remembered.
    """

    def __init__(self, encode: Callable[[list], Iterable] = tuple):
        self._encode = encode
        self._rules = rules = _Rules()
        self._chunks = _Remembered(lambda chunk: tuple(encode(rules.inner_chunk(chunk))))
        self._first = _Remembered(lambda chunk: tuple(encode(rules(f"{chunk} a")[:-1])))
        self._last = _Remembered(lambda end: tuple(encode(rules.end(end))))

    def __call__(self, sentence: str) -> list:
        """Return the tokens of one sentence, or their values."""
        chunks = sentence.split()
        if not chunks:
            return []
        last = chunks[-1][-1]
        if last in _CLOSING or sentence.startswith(_QUOTES) or not sentence.isprintable():
            return self._uncommon(sentence)
        if last != ".":  # and all white space is spaces, which are printable
            return list(chain.from_iterable(map(self._chunks.__getitem__, chunks)))
        end = chunks.pop()
        values = list(chain.from_iterable(map(self._chunks.__getitem__, chunks)))
        values.extend(self._last[end])
        return values

    def _uncommon(self, sentence):
        """Any sentence."""
        if any(map(sentence.__contains__, _SEPARATORS)):
            return list(self._encode(self._rules(sentence)))
        spaced = _SPACING.search(sentence) is not None
        quoted = sentence.startswith(_QUOTES)
        head, end = _final_full_stop(sentence)
        if end is None and sentence.endswith("'"):
            head, spaced = sentence + "\n", True  # a line end is to a last quote what the end is
        ends_oddly = end is not None and end.startswith(_QUOTES) and head[-1:] != " "
        if (spaced or ends_oddly) and (quoted or ends_oddly or _SPACING_OF_TWO.search(sentence)):
            return list(self._encode(self._rules(sentence)))
        chunks = _SPACED_CHUNK.findall(head) if spaced else head.split()
        values = list(self._first[chunks.pop(0)]) if quoted else []
        values.extend(chain.from_iterable(map(self._chunks.__getitem__, chunks)))
        if end is not None:
            values.extend(self._last[end])
        return values

    def __reduce__(self):
        return type(self), (self._encode,)  # nothing remembered goes along


def _final_full_stop(sentence):
    """What stands before the chunk with the full stop that ends the sentence, and the rest; the rest is None without.

    Closing quotes and brackets may follow the full stop, white space between them.
    """
    body = sentence.rstrip(_CLOSING_OR_SPACE)
    if not body.endswith("."):
        return sentence, None
    start = len(body) - len(body.rsplit(None, 1)[-1])
    return sentence[:start], sentence[start:].rstrip()


class _Rules:
    """NLTK's rules, each tried only on text that has a character it needs."""

    @cached_property
    def _rules(self):
        from nltk.tokenize.destructive import NLTKWordTokenizer as Nltk

        rules = [*Nltk.STARTING_QUOTES, *Nltk.PUNCTUATION, Nltk.PARENS_BRACKETS, Nltk.DOUBLE_DASHES]
        return list(map(_with_needed, rules))

    @cached_property
    def _endings(self):
        from nltk.tokenize.destructive import NLTKWordTokenizer as Nltk

        return list(map(_with_needed, Nltk.ENDING_QUOTES))

    @cached_property
    def _contractions(self):
        from nltk.tokenize.destructive import NLTKWordTokenizer as Nltk

        return [*Nltk.CONTRACTIONS2, *Nltk.CONTRACTIONS3]

    @cached_property
    def _any_contraction(self):
        patterns = (rule.pattern.removeprefix("(?i)") for rule in self._contractions)
        return re.compile("|".join(patterns), re.IGNORECASE)

    def __call__(self, text):
        """The tokens of a sentence, as `NLTKWordTokenizer.tokenize` returns them."""
        text = f" {_apply(self._rules, text)} "
        text = _apply(self._endings, text)
        if self._any_contraction.search(text):
            for rule in self._contractions:
                text = rule.sub(r" \1 \2 ", text)
        return text.split()

    def inner_chunk(self, chunk):
        """The tokens of a chunk within a sentence; white space around it is a space where the chunk has none."""
        if chunk.isalpha() and not self._any_contraction.match(f"{chunk} "):
            return [chunk]
        plain = _PLAIN_CHUNK.fullmatch(chunk)
        if plain and not self._any_contraction.search(f"{plain[1]} "):
            return [plain[1], plain[2]] if plain[2] else [chunk]
        before = "a" if chunk[0].isspace() else "a "
        after = "a" if chunk[-1].isspace() else " a"
        return self(before + chunk + after)[1:-1]

    def end(self, end):
        """The tokens of the end of a sentence, from the chunk with its full stop on."""
        word = _PLAIN_CHUNK.fullmatch(end[:-1])
        if end[-1] == "." and word and end[-2] != "." and word[2] is None:
            return [*self.inner_chunk(end[:-1]), "."]
        return self(f"a {end}")[1:]


def _with_needed(rule):
    pattern, replacement = rule
    needed = _NEEDED.get(pattern.pattern)
    return pattern.sub, replacement, None if needed is None else frozenset(needed)


def _apply(rules, text):
    for substitute, replacement, needed in rules:
        if needed is None or not needed.isdisjoint(text):
            text = substitute(replacement, text)
    return text


class _Remembered(dict):
    """Values made when first asked for; all are forgotten when there are too many."""

    def __init__(self, make):
        super().__init__()
        self._make = make

    def __missing__(self, key):
        if len(self) >= _MOST_CHUNKS:
            self.clear()
        value = self[key] = self._make(key)
        return value

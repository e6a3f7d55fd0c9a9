"""What a training command keeps apart, to measure with it what was learned from the rest."""

import math
import re
from collections import Counter

from .line_ends import BREAK, end_sentences
from .sizes import SizedTexts
from .tokenize import BLANK_LINE

_FULL_LINE = re.compile(r"(?<=[.!?])\n")
_LONG_TEXT = 10_000  # characters


class HoldOut:
    """Cut a share out of texts, where a sentence ends in any case: every 1/share-th paragraph or line.

    Of a long text that is one sequence it is the end, from a line's beginning on if there is one.

    Parameters
    ----------
    share : float
        0 for none.
    splitter : SentenceSplitter
        Says where sentences will end; it need not be prepared.

    Attributes
    ----------
    kept : list of str
        What was held out.
    found : Counter
        How many paragraphs, lines and texts there were.
    """

    def __init__(self, share, splitter):
        self.share, self.splitter = share, splitter
        self.kept, self.found = [], Counter()

    def rest(self, texts):
        """Iterate over the texts without what is held out of them; sized, if the texts are."""
        rest = self._rests(texts)
        if not isinstance(texts, SizedTexts):
            return rest
        return SizedTexts(rest, lambda: None if texts.n_bytes is None else round(texts.n_bytes * (1 - self.share)))

    def _rests(self, texts):
        for text in texts:
            rest = self._rest(text) if self.share else text
            if rest and not rest.isspace():
                yield rest

    def shortage(self):
        """Why nothing is held out, in words."""
        found = " and ".join(f"{number:,} {unit}{'' if number == 1 else 's'}" for unit, number in self.found.items())
        least = math.ceil(1 / self.share - 1e-9)
        return (
            f"nothing is held out: found {found or 'no text'}, expected at least {least} for a share of {self.share:g}"
        )

    def _rest(self, text):
        if self.splitter.mode == "text" and len(text) >= _LONG_TEXT:
            cut = round(len(text) * (1 - self.share))
            cut = text.find("\n", cut) + 1 or cut
            self.kept.append(text[cut:])
            return text[:cut]
        unit, separator, parts = self._parts(text)
        rest = []
        for part in parts:
            if part and not part.isspace():
                self.found[unit] += 1
                count = self.found.total()
                taken = int(count * self.share) > int((count - 1) * self.share)
                (self.kept if taken else rest).append(part)
        return separator.join(rest)

    def _parts(self, text):
        """What the parts of a text are called, what is between them, and the parts."""
        mode, line_ends = self.splitter.mode, self.splitter.line_ends
        if mode == "text":
            return "text", "", [text]
        if mode == "line" or line_ends or (line_ends is None and end_sentences(text)):
            return "line", "\n", BREAK.split(text)
        if BLANK_LINE.search(text):
            return "paragraph", "\n\n", BLANK_LINE.split(text)
        return "line", "\n", _FULL_LINE.split(text)


def hold_out_pairs(pairs, share, lowercase):
    """Split (source, target) pairs into two lists: to learn from, and every 1/share-th source with all its targets.

    Sources that differ by white space only (if `lowercase`, by letters' case too) are one: none is in both lists.
    """
    held, learned, kept = {}, [], []
    for source, target in pairs:
        key = " ".join((source.lower() if lowercase else source).split())
        if key not in held:
            count = len(held) + 1
            held[key] = int(count * share) > int((count - 1) * share)
        (kept if held[key] else learned).append((source, target))
    return learned, kept

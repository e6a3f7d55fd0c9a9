"""NLTK's Punkt sentence tokenizer, with the frequent decisions taken without annotating tokens.

Imports NLTK, which costs a second: imported only inside the functions that need it.
"""

import re
import string
from itertools import chain, pairwise

from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer, PunktToken, PunktTrainer

_MOST_DECISIONS = 1 << 14
_SEPARATORS = re.compile(r"[\x1c-\x1f]")  # white space for str, but not for NLTK's regular expressions


class FastToken(PunktToken):
    """A token whose regular expressions are tried only where they can match."""

    __slots__ = ()

    def _get_type(self, tok):
        return tok.lower() if tok.isalpha() else super()._get_type(tok)

    @property
    def is_ellipsis(self):
        """As NLTK's; false without two full stops at the start."""
        return super().is_ellipsis if self.tok.startswith("..") else None


def trained(sample: str) -> PunktParameters:
    """What `PunktTrainer` learns of a text."""
    return PunktTrainer(sample, token_cls=FastToken).get_params()


class FastPunkt(PunktSentenceTokenizer):
    """Punkt with the sentences of `PunktSentenceTokenizer`.

    A candidate for a sentence's end is a full stop, question or exclamation mark before white space or punctuation.
    NLTK annotates the tokens around each. Most cases need no tokens: question and exclamation marks always end a
    sentence, and so does the full stop that stands alone, or after a word of several letters that is neither an
    abbreviation nor the first of a collocation. Other decisions are NLTK's own; each depends on the candidate's
    context alone, so they are cached.

    Parameters
    ----------
    params : PunktParameters
    """

    def __init__(self, params: PunktParameters):
        super().__init__(params, token_cls=FastToken)
        self._undecided = set(params.abbrev_types) | {first for first, _ in params.collocations}
        self._single = "." not in self._undecided
        self._decisions = {}

    def span_tokenize(self, text, realign_boundaries=True):
        """Yield (start, stop) of each sentence, as `PunktSentenceTokenizer.span_tokenize` does."""
        if _SEPARATORS.search(text):
            yield from super().span_tokenize(text, realign_boundaries)
            return
        spans = self._spans(text)
        yield from self._realigned(text, spans) if realign_boundaries else spans

    def _spans(self, text):
        """As NLTK's `_slices_from_text`, with its `_match_potential_end_contexts`."""
        spaces = [space for space in string.whitespace if space in text]
        spans, last_break = [], 0
        previous, word_start, word_stop = None, 0, 0
        for match in chain(self._lang_vars.period_context_re().finditer(text), [None]):
            start = stop = len(text)
            if match:
                start, stop = word_start, match.start()
                before = text[word_stop:stop]
                space = max(map(before.rfind, spaces), default=0)
                if space > 0:
                    start = word_stop + space + 1
            # A candidate whose word is that of the next candidate, too, is none.
            if previous and word_stop <= start and self._ends_sentence(text[word_start:word_stop], previous):
                spans.append((last_break, previous.end()))
                next_token = previous.start("next_tok")
                last_break = next_token if next_token >= 0 else previous.end()
            previous, word_start, word_stop = match, start, stop
        spans.append((last_break, len(text.rstrip())))
        return spans

    def _ends_sentence(self, word, match):
        """As NLTK's `text_contains_sentbreak` of the candidate's context: the word before, and what comes after."""
        if match.group() != ".":
            return True
        if word.isalpha() and len(word) > 1 and word.lower() not in self._undecided:
            return True
        if not word and self._single:
            return True
        context = f"{word}.{match.group('after_tok')}"
        decision = self._decisions.get(context)
        if decision is None:
            if len(self._decisions) >= _MOST_DECISIONS:
                self._decisions.clear()
            decision = self._decisions[context] = self.text_contains_sentbreak(context)
        return decision

    def _realigned(self, text, spans):
        """As NLTK's `_realign_boundaries`: closing quotes and brackets go with the sentence before."""
        closing = self._lang_vars.re_boundary_realignment
        shift = 0
        for (start, stop), (next_start, next_stop) in pairwise(spans):
            start += shift
            match = None
            if not text[next_start : next_start + 1].isalnum():
                match = closing.match(text[next_start:next_stop])
            if match:
                yield start, next_start + len(match.group().rstrip())
                shift = match.end()
            else:
                shift = 0
                if start < stop:
                    yield start, stop
        start, stop = spans[-1]
        if start + shift < stop:
            yield start + shift, stop

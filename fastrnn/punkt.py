"""NLTK's Punkt sentence tokenizer, with the frequent decisions taken without annotating tokens.

Imports NLTK, which costs a second: imported only inside the functions that need it.
"""

import re
import string

from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

_MOST_DECISIONS = 1 << 14
_SEPARATORS = re.compile(r"[\x1c-\x1f]")  # white space for str, but not for NLTK's regular expressions


class FastPunkt(PunktSentenceTokenizer):
    """Punkt with the sentences of `PunktSentenceTokenizer`.

    A candidate for a sentence's end is a full stop, question or exclamation mark before white space or punctuation.
    NLTK annotates the tokens around each. Two cases need no tokens: question and exclamation marks always end a
    sentence, and so does the full stop of a word of several letters that is neither an abbreviation nor the first of
    a collocation. Other decisions are NLTK's own; each depends on the candidate's context alone, so they are cached.

    Parameters
    ----------
    params : PunktParameters
    """

    def __init__(self, params: PunktParameters):
        super().__init__(params)
        self._undecided = set(params.abbrev_types) | {first for first, _ in params.collocations}
        self._decisions = {}

    def span_tokenize(self, text, realign_boundaries=True):
        """Yield (start, stop) of each sentence, as `PunktSentenceTokenizer.span_tokenize` does."""
        if _SEPARATORS.search(text):
            yield from super().span_tokenize(text, realign_boundaries)
            return
        spans = self._spans(text)
        yield from self._realigned(text, spans) if realign_boundaries else spans

    def _spans(self, text):
        """As NLTK's `_slices_from_text`."""
        spans, last_break = [], 0
        for match, word_start in self._candidates(text):
            if self._ends_sentence(text, match, word_start):
                spans.append((last_break, match.end()))
                next_token = match.start("next_tok")
                last_break = next_token if next_token >= 0 else match.end()
        spans.append((last_break, len(text.rstrip())))
        return spans

    def _candidates(self, text):
        """As NLTK's `_match_potential_end_contexts`: matches, and where the words before them start."""
        previous, word_start, word_stop = None, 0, 0
        for match in self._lang_vars.period_context_re().finditer(text):
            before = text[word_stop : match.start()]
            space = max(map(before.rfind, string.whitespace))
            start = word_stop + space + 1 if space > 0 else word_start
            if previous and word_stop <= start:
                yield previous, word_start
            previous, word_start, word_stop = match, start, match.start()
        if previous:
            yield previous, word_start

    def _ends_sentence(self, text, match, word_start):
        if match.group() != ".":
            return True
        word = text[word_start : match.start()]
        if len(word) > 1 and word.isalpha() and word.lower() not in self._undecided:
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
        for (start, stop), (next_start, next_stop) in zip(spans, spans[1:], strict=False):
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

"""Truecasing: capitals for text of a model that learned lower-case words.

As Lita et al. 2003 ("tRuEcasIng") without their context: each word gets the form in which the training text has it most
often within sentences, where no capital is due to a start; and the first word of a sentence a capital.
"""

from collections import Counter, defaultdict
from itertools import filterfalse

_ENDS = frozenset([".", "?", "!"])
_MOST_CHUNKS = 1 << 17  # counted at a time before those without capitals, most of them numbers, are forgotten
_CLOSING_QUOTES = frozenset(["''", "”", "’", "»"])


class CaseCounts:
    """How often chunks between white space with capitals occur, at the start of sentences and anywhere."""

    def __init__(self):
        self.first, self.all = Counter(), Counter()
        self._most = _MOST_CHUNKS

    def add(self, sentences: list):
        """Count the chunks of sentences; those in lower case, nearly all, are left out before they cost time."""
        first = (sentence.split(None, 1)[:1] for sentence in sentences)
        self.first.update(chunk for chunks in first for chunk in chunks if not chunk.islower())
        self.all.update(filterfalse(str.islower, "\n".join(sentences).split()))
        if len(self.all) > self._most:
            self.drop_lower()
            self._most = 2 * max(len(self.all), _MOST_CHUNKS)

    def update(self, other: "CaseCounts"):
        """Count what another one has counted, too."""
        self.first.update(other.first)
        self.all.update(other.all)

    def drop_lower(self):
        """Forget chunks without capitals, which are not needed. Returns self."""
        for counts in (self.first, self.all):
            for chunk in [chunk for chunk in counts if chunk == chunk.lower()]:
                del counts[chunk]
        return self

    def forms(self, count_of, tokenize):
        """The forms of words that are not lower case most of the time.

        Parameters
        ----------
        count_of : dict of str to int
            How often each lower-case word occurs anywhere.
        tokenize : callable
            From a sentence to its tokens, with their capitals.

        Returns
        -------
        dict of str to str
            Form of each such word.
        """
        self.drop_lower()
        lower = Counter(count_of)
        seen = defaultdict(Counter)
        for chunk, count in self.all.items():
            for word, form in _words(chunk, count_of, tokenize):
                seen[word][form] += count - self.first[chunk]
                lower[word] -= count
        best = {word: max(forms, key=forms.get) for word, forms in seen.items()}
        return {word: form for word, form in sorted(best.items()) if seen[word][form] > lower[word]}


def truecase(tokens, forms):
    """Return the tokens of a sentence with capitals.

    Parameters
    ----------
    tokens : list of str
    forms : dict of str to str

    Examples
    --------
    >>> truecase(["``", "my", "english", "is", "bad", ".", "sorry", "!"], {"english": "English"})
    ['``', 'My', 'English', 'is', 'bad', '.', 'Sorry', '!']
    """
    written, starts, before = [], True, ""
    for token in tokens:
        form = forms.get(token, token)
        if token in _CLOSING_QUOTES and before in ("?", "!"):
            starts = False  # "Why?" he said
        elif token in _ENDS:
            starts = True
        elif any(map(str.isalnum, form)):
            form = _capitalized(form) if starts else form
            starts = False
        written.append(form)
        before = token
    return written


def check_forms(forms):
    """Raise TypeError or ValueError unless it is a dict of words and their forms."""
    if not isinstance(forms, dict) or not all(isinstance(form, str) for form in forms.values()):
        raise TypeError("forms: expected words and their forms")
    for word, form in forms.items():
        if form.lower() != word:
            raise ValueError(f"forms: found {form!r} for {word!r}, expected the same letters")


def _capitalized(form):
    """With its first letter a capital, unless it has one already."""
    i = next((i for i, c in enumerate(form) if c.isalnum()), 0)
    return form if form != form.lower() else form[:i] + form[i].title() + form[i + 1 :]


def _words(chunk, count_of, tokenize):
    """(word, form) of the words with capitals that a vocabulary has, wherever in a sentence the chunk stood."""
    within = tokenize(f"{chunk} a")[:-1]
    tokens = within if all(token.lower() in count_of for token in within) else tokenize(chunk)
    pairs = ((token.lower(), token) for token in tokens)
    return [(word, form) for word, form in pairs if word != form and word in count_of]

"""Raw text to sentences and tokens, and tokens back to text.

NLTK is imported inside the functions that need it: that import costs a second.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from .custom_tokenizer import CustomTokenizer, is_tokens
from .languages import LANGUAGES, abbreviations, collocations
from .line_ends import BREAK, end_sentences
from .words import WordTokenizer

SENTENCE_SPLITS = ("punkt", "line", "text")
LEVELS = ("word", "whitespace", "char")

BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_WORD = re.compile(r"\w")
_BLOCK = 1_000_000  # characters: bounds Punkt's training, and NLTK's five seconds a regex match

_LEARNED = frozenset(["abbreviations", "collocations", "sentence_starters", "orthography"])

_CLOSING = frozenset(".,;:!?%)]}>…”’»")
_OPENING = frozenset("([{<$#“‘„«")
_DOUBLE_QUOTES = frozenset(["``", "''", '"'])
_CLITIC = re.compile(r"n't|'(s|m|d|ll|re|ve)", re.IGNORECASE)
_AFTER_CURLY = re.compile(r"s|t|m|d|ll|re|ve", re.IGNORECASE)
_SPLIT_WORDS = frozenset(  # what NLTK's tokenizer takes apart
    ["can not", "gon na", "got ta", "gim me", "lem me", "wan na", "d 'ye", "more 'n", "'t is", "'t was"]
)
# What an apostrophe shortens, after it or before it: 'twas, 'em, o' the.
_AFTER_APOSTROPHE = frozenset(
    "tis twas twere twill twould twixt twill em bout cause til till gainst gain neath mong mongst tween n".split()
)
_BEFORE_APOSTROPHE = frozenset(["o", "i", "th", "ha", "wi", "ol"])


class SentenceSplitter:
    """Split texts into sentences. A text that is a list of tokens is one sentence, and stays as it is.

    Parameters
    ----------
    mode : {"punkt", "line", "text"}
        ``"punkt"``: NLTK's Punkt, within paragraphs, which blank lines separate. Its model of the language, of
        ``punkt_tab``, is used where it is installed; nothing is ever downloaded, and elsewhere a
        model is trained on the first million characters, which one logged line says.
        ``"line"``: one sentence a line. ``"text"``: every text is one sentence.
    learned : dict, optional
        A Punkt model that was trained before, as the attribute of this name holds it.
    line_ends : bool or None
        Of "punkt": whether the ends of lines end sentences too. None: `prepare` finds out, by the first million
        characters, and one logged line says it if they do.
    inner : bool
        Whether `sentences` finds the sentences within a line or text by the Punkt model, too. Word tokens depend on
        it: only the full stop that ends a sentence is a token.
    language : str
        Whose abbreviations the Punkt model knows, one of `languages.LANGUAGES`.

    Attributes
    ----------
    line_ends : bool or None
    learned : dict or None
        Parameters of the Punkt model if it was trained here, of plain types that JSON can hold.

    Raises
    ------
    ValueError
        An unknown mode or language, or a damaged model.
    """

    def __init__(self, mode="punkt", learned=None, line_ends=False, inner=False, language="english"):
        if mode not in SENTENCE_SPLITS:
            raise ValueError(f"sentence_split is {mode!r}, expected one of {SENTENCE_SPLITS}")
        if language not in LANGUAGES:
            raise ValueError(f"language is {language!r}, expected one of {LANGUAGES}")
        if learned is not None:
            _check_learned(learned)
        self.mode = mode
        self.learned = learned
        self.line_ends = line_ends
        self.inner = inner
        self.language = language
        self._punkt = None

    def prepare(self, texts: Iterable[str]) -> Iterator[str]:
        """Find the Punkt model, or train it on the head of `texts`; return the same texts."""
        if self.mode == "punkt" and self.line_ends is None:
            sample, texts = _head(texts)
            self.line_ends = end_sentences(sample)
            if self.line_ends:
                logging.getLogger("fastrnn").warning(
                    "the lines look like titles, verse or chat, not like wrapped prose: every line end ends a sentence;"
                    ' sentence_split="punkt" joins lines'
                )
        if self._punkt is not None or not (self.inner or self.mode == "punkt"):
            return iter(texts)
        if self.learned is None:
            self._punkt = _installed_punkt(self.language)
        if self._punkt is None:
            if self.learned is None:
                sample, texts = _head(texts)
                self.learned = _train_punkt(sample, self.language)
                logging.getLogger("fastrnn").log(
                    logging.WARNING if self.mode == "punkt" and sample else logging.INFO,
                    "NLTK's punkt_tab%s is not installed: sentences are split by a Punkt model trained on this text",
                    "" if self.language == "english" else f" ({self.language})",
                )
            self._punkt = _build_punkt(self.learned)
        return iter(texts)

    def split(self, text: str) -> Iterator[str]:
        """Yield the sentences of a text, blank ones left out. Call `prepare` first."""
        return chain.from_iterable(map(self.split_block, self.blocks(text)))

    def blocks(self, text: str) -> Iterator[str]:
        """Yield parts of a text, such that the sentences of each, by `split_block`, are those of the text."""
        if is_tokens(text):
            return iter([text])
        if self.mode == "punkt" and not self.line_ends:
            return _paragraphs(text)
        return iter([text]) if self.mode == "text" else _line_blocks(text)

    def split_block(self, block: str) -> Iterator[str]:
        """Yield the sentences of a part of a text, blank ones left out. Call `prepare` first."""
        if is_tokens(block):
            return iter([block] if block else [])
        if self.mode == "punkt":
            sentences = self._punkt_sentences(block)
        else:
            sentences = BREAK.split(block) if self.mode == "line" else [block]
        return (sentence for sentence in sentences if sentence and not sentence.isspace())

    def sentences(self, text: str) -> Iterable[str]:
        """Return the sentences within a line or text by the Punkt model, if `inner`, and otherwise only itself."""
        if is_tokens(text) or not self.inner or not ("\n" in text or _may_end_sentence(text)):
            return [text]
        return self._punkt_sentences(text)

    def _punkt_sentences(self, text):
        lines = BREAK.split(text) if self.line_ends else [text]
        return (s for line in lines for part in _paragraphs(line) for s in _sentences(self._punkt, part))

    def __getstate__(self):
        return self.__dict__ | {"_punkt": None}  # found again, or built again, when needed


def tokenizer(level: str, encode: Callable[[list], Iterable] = list) -> Callable[[str], list]:
    """Return the function that splits one sentence into tokens, or values of tokens.

    Parameters
    ----------
    level : {"word", "whitespace", "char"} or callable
        ``"word"``: as NLTK's `word_tokenize`, which would split sentences once more.
        ``"whitespace"``: for text that is tokenised already. ``"char"``: characters. A user's function from str to
        list of str: as that has it.
    encode : callable, optional
        From tokens to a value for each, as `WordTokenizer` has it.

    Raises
    ------
    ValueError
        An unknown level.
    """
    if callable(level):
        return CustomTokenizer(level, encode)
    if level == "word":
        return WordTokenizer(encode)
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, expected one of {LEVELS}")
    if level == "char":
        return encode
    return lambda sentence: encode(sentence.split())


def join_words(tokens: Iterable[str]) -> str:
    r"""Put word tokens together as people write them.

    What NLTK's `TreebankWordDetokenizer` does, but token by token, without an import that costs
    a second; dashes and dots stay apart from the next word, and quotes are paired.

    Examples
    --------
    >>> join_words(["Do", "n't", "``", "(", "ever", ")", "''", "pay", "$", "5", "!"])
    'Don\'t "(ever)" pay $5!'
    """
    tokens = list(tokens)
    pieces = []
    attach = True  # to the piece before
    in_double = in_single = False
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        after = tokens[i + 1] if i + 1 < len(tokens) else ""
        opens, closes = _is_all(token, _OPENING), _is_all(token, _CLOSING)
        if token in _DOUBLE_QUOTES:
            opens = in_double = not in_double and token != "''"
            closes = not opens
        elif token == "'" and after.lower() in _AFTER_APOSTROPHE and not (in_single and before in _CLOSING):
            opens = True
        elif token == "'" and before in _BEFORE_APOSTROPHE and not in_single:
            closes = True
        elif token == "'":
            paired = "'" in tokens[i + 1 :] or not before[-1:].isalnum() or after[:1].isdigit()
            plural = before.endswith("s")
            opens = in_single = bool(after) and paired and not in_single and not plural
            closes = not opens
        closes |= _CLITIC.fullmatch(token) is not None or (before == ":" and token[:2] == "//")
        if token == "(" and after in ("s", "es") and tokens[i + 2 : i + 3] == [")"] and before.isalpha():
            closes = True  # word(s)
        closes |= f"{before} {token}".lower() in _SPLIT_WORDS
        pieces.append("" if attach or closes else " ")
        pieces.append('"' if token in _DOUBLE_QUOTES else token)
        attach = opens or (token == "’" and _AFTER_CURLY.fullmatch(after) is not None)
    return "".join(pieces)


def _is_all(token, characters):
    return bool(token) and characters.issuperset(token)


def _paragraphs(text):
    start = 0
    for blank in chain(BLANK_LINE.finditer(text), [None]):
        stop = blank.start() if blank else len(text)
        while stop - start > _BLOCK:
            cut = text.rfind("\n", start + 1, start + _BLOCK)
            cut = cut if cut > 0 else text.rfind(" ", start + 1, start + _BLOCK)
            cut = cut if cut > 0 else start + _BLOCK
            yield text[start:cut]
            start = cut
        yield text[start:stop]
        start = blank.end() if blank else stop


def _line_blocks(text):
    """About a million characters at a time, so that a text of many lines is never held twice."""
    start = 0
    while len(text) - start > _BLOCK:
        stop = text.find("\n", start + _BLOCK) + 1 or len(text)
        yield text[start:stop]
        start = stop
    yield text[start:]


def _may_end_sentence(text):
    """Whether a full stop, question or exclamation mark stands before the last character."""
    body = text.rstrip()[:-1]
    return "." in body or "?" in body or "!" in body


def _sentences(punkt, paragraph):
    """Punkt's sentences; one without a word, as the "!" of a last "?!", goes with that before."""
    if not _may_end_sentence(paragraph):
        yield paragraph.rstrip()
        return
    start = stop = 0
    for next_start, next_stop in punkt.span_tokenize(paragraph):
        if _WORD.search(paragraph, next_start, next_stop):
            yield paragraph[start:stop]
            start = next_start
        stop = next_stop
    yield paragraph[start:stop]


def _head(texts):
    """The first million characters, for training, and all the texts, read ones first. Tokens are not sampled."""
    texts, head, size = iter(texts), [], 0
    for text in texts:
        head.append(text)
        size += len(text)
        if size >= _BLOCK:
            break
    return "\n\n".join(text for text in head if isinstance(text, str))[:_BLOCK], chain(head, texts)


def _installed_punkt(language="english"):
    """NLTK's own model of a language, or None where it is not installed."""
    from nltk.data import find
    from nltk.tokenize.punkt import load_punkt_params

    from .punkt import FastPunkt

    try:
        params = load_punkt_params(find(f"tokenizers/punkt_tab/{language}/"))
    except (LookupError, OSError):
        return None
    if language != "english":  # whose sentences are NLTK's, exactly
        params.abbrev_types |= abbreviations(language)
        params.collocations |= collocations(language)
    return FastPunkt(params)


def _train_punkt(sample, language="english"):
    from .punkt import trained

    params = trained(sample)
    found = {word for word in params.abbrev_types if _is_abbreviation(word, sample)}
    return {
        "abbreviations": sorted(found | abbreviations(language)),
        "collocations": sorted(map(list, params.collocations | collocations(language))),
        "sentence_starters": sorted(params.sent_starters),
        "orthography": dict(sorted(params.ortho_context.items())),
    }


def _check_learned(learned):
    """TypeError or ValueError unless it is what `_train_punkt` returns."""
    if not isinstance(learned, dict) or learned.keys() != _LEARNED:
        raise ValueError(f"a Punkt model has {sorted(_LEARNED)}, found {sorted(learned)}")
    words = [*learned["abbreviations"], *learned["sentence_starters"], *learned["orthography"]]
    for pair in learned["collocations"]:
        first, second = pair
        words += [first, second]
    if not all(isinstance(word, str) for word in words):
        raise TypeError("a Punkt model has words, found something else")
    if not all(type(flags) is int and 0 <= flags < 2**31 for flags in learned["orthography"].values()):
        raise ValueError("a Punkt model has flags for each word's orthography, found something else")


def _is_abbreviation(word, sample):
    """Seen five times, and mostly where no sentence starts: Punkt alone takes "sun." for one."""
    after = re.findall(rf"(?i:\b{re.escape(word)})\.\s*(\S)", sample)
    capitals = sum(map(str.isupper, after))
    return len(after) >= 5 and capitals < len(after) / 2 and sample != sample.lower()


def _build_punkt(learned):
    from nltk.tokenize.punkt import PunktParameters

    from .punkt import FastPunkt

    params = PunktParameters()
    params.abbrev_types = set(learned["abbreviations"])
    params.collocations = set(map(tuple, learned["collocations"]))
    params.sent_starters = set(learned["sentence_starters"])
    params.ortho_context.update(learned["orthography"])
    return FastPunkt(params)

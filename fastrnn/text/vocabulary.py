"""Words and their indices: the most frequent ones are kept, the others are UNKNOWN_TOKEN."""

import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import chain, pairwise

import numpy as np

from ..base import Estimator
from ..data.ragged import Ragged
from ..validation import (
    check_bool,
    check_callable,
    check_integer,
    check_list,
    check_no_table,
    check_str,
    check_verbose,
    choice,
    errors_named,
    integer,
    shown,
)
from .custom_tokenizer import (
    FUNCTIONS,
    check_functions,
    checked_tokens,
    is_tokens,
    joined,
    log_other_functions,
    name_of,
)
from .languages import LANGUAGES
from .scripts import unspaced
from .sizes import reading_bar
from .token_ids import TokenIds
from .tokenize import LEVELS, SENTENCE_SPLITS, SentenceSplitter, join_words, tokenizer

SENTENCE_START = "SENTENCE_START"
SENTENCE_END = "SENTENCE_END"
UNKNOWN_TOKEN = "UNKNOWN_TOKEN"

_START, _END = 0, 1
_SPECIAL = frozenset([SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN])
_PARAMETERS = ("max_size", "level", "lowercase", "sentence_split")
_DEFAULTS_OF_OLDER_FILES = {"language": "english"}


class Vocabulary(Estimator):
    """The words of a text and their indices.

    SENTENCE_START has index 0 and SENTENCE_END 1; the most frequent words follow, equal ones in
    order of first appearance; UNKNOWN_TOKEN, which stands for all other words, is the last.

    Parameters
    ----------
    max_size : int or None
        Number of indices, the three special tokens among them; None keeps every word.
    level : {"word", "char", "whitespace"}
        What a token is: a word or punctuation mark as NLTK's `word_tokenize` finds them, a
        character, or what white space separates (for text that is tokenised already).
    lowercase : bool
        Whether text is made lower case.
    sentence_split : {None, "punkt", "line", "text"}
        How a text is split into sentences: by NLTK's Punkt model, one a line, or not at all.
        None means Punkt for words, and otherwise lines, which keep line ends out of the tokens. It also means that
        every line end ends a sentence where `fit` finds titles, verse, subtitles, chat or the like, many lines without
        a full stop that are not wrapped prose; the logger "fastrnn" says so.
    verbose : int
        Above 0, a progress bar is shown on standard error.
    n_jobs : int or None
        Processes that tokenise texts, with the same result. None means one for each core where there is much text
        (more than 16 million characters), and otherwise only this one.
    language : str
        Whose abbreviations the Punkt model knows, "z.B." and "3. Oktober" with "german": "english", "german",
        "french", "spanish", "italian", "portuguese", "dutch", "swedish", "danish", "norwegian", "finnish", "polish",
        "czech", "russian", "greek", "turkish", "estonian" or "slovene".
    tokenizer : callable, optional
        A function from one sentence, a str, to its tokens, a list of str, which takes the place of `level`: any
        tokenizer of others, see the examples. It gets lower case, if `lowercase`, and is called in this process only.
        `sentence_split` still says what a sentence is. Files hold its name only: `from_arrays` and `load` of models ask
        for it again.
    detokenizer : callable, optional
        Its inverse, from a list of str to a str. By default tokens of a `tokenizer` have spaces between them.

    Attributes
    ----------
    tokens_ : list of str
        Token of every index.
    index_ : dict of str to int
        Index of every token.
    counts_ : array of int64, one for every token
        How often each was seen by `fit`; the last counts the words that were left out.
    n_sentences_, n_tokens_, n_distinct_ : int
        Sentences, tokens and distinct tokens of the text, special ones not counted.
    coverage_ : float
        Share of the text's tokens that are in the vocabulary.

    Examples
    --------
    >>> x, y = Vocabulary(level="char").fit_transform(["abba"])
    >>> x.to_list(), y.to_list()
    ([[0, 2, 3, 3, 2]], [[2, 3, 3, 2, 1]])

    Texts that are tokenised already are lists of tokens; other tokenizers are functions:

    >>> Vocabulary().fit([["new york", "is", "big"]]).tokens_[2:-1]
    ['new york', 'is', 'big']
    >>> Vocabulary(tokenizer=lambda text: text.split("-"), detokenizer="-".join).fit(["a-b"]).tokens_[2:-1]
    ['a', 'b']
    """

    _checks = {
        "max_size": integer(len(_SPECIAL) + 1, none=True),
        "level": choice(LEVELS),
        "lowercase": check_bool,
        "sentence_split": choice(SENTENCE_SPLITS, none=True),
        "verbose": check_verbose,
        "n_jobs": integer(1, none=True),
        "language": choice(LANGUAGES),
        **dict.fromkeys(FUNCTIONS, check_callable),
    }

    def __init__(
        self, max_size=8000, level="word", lowercase=True, sentence_split=None, verbose=0, n_jobs=None,
        language="english", tokenizer=None, detokenizer=None,
    ):  # fmt: skip
        self.max_size = max_size
        self.level = level
        self.lowercase = lowercase
        self.sentence_split = sentence_split
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.language = language
        self.tokenizer = tokenizer
        self.detokenizer = detokenizer

    def fit(self, texts):
        """Learn the vocabulary.

        Parameters
        ----------
        texts : iterable of str or lists of str
            Raw texts of any number of sentences, read once. A list of str is one sentence, tokenised already.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            `texts` is a single string, or holds something else than strings and lists of them.
        ValueError
            `texts` holds no sentence, or a constructor parameter is impossible.
        """
        self._learn(texts)
        return self

    def transform(self, texts):
        """Convert texts to index sequences, one a sentence.

        Parameters
        ----------
        texts : iterable of str or lists of str
            Raw texts of any number of sentences, read once. A list of str is one sentence, tokenised already.

        Returns
        -------
        x, y : Ragged
            SENTENCE_START and the words; the words and SENTENCE_END. A special token's name in
            the text is an unknown word.

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError, ValueError
            As `fit`.
        """
        self._check_fitted("tokens_")
        types, ids, lengths = self._scan(texts, self._splitter)
        return _pair(np.take(np.array([self._index(word) for word in types], np.int32), ids, out=ids), lengths)

    def fit_transform(self, texts):
        """Do `fit` and `transform` in one pass over the texts: they are tokenised once."""
        return _pair(*self._learn(texts))

    def sentences(self, texts):
        """Yield the sentences of texts as they stand there, split as `transform` splits them."""
        for found in self.sentences_by_text(texts):
            yield from found

    def sentences_by_text(self, texts):
        """Yield the list of the sentences of every text, which is empty for a blank text; tokens are one sentence."""
        self._check_fitted("tokens_")
        for text in self._splitter.prepare(_checked(texts)):
            yield list(self._splitter.split(text))

    def tokenize(self, sentence):
        """Return the tokens of one sentence as a list of str, whether the vocabulary has them or not.

        Text of several sentences has the tokens of each, one after the other. A list of tokens stays one, in lower case
        if `lowercase`.
        """
        self._check_fitted("tokens_")
        splitter, lowercase = self._splitter, self._checked.lowercase
        if is_tokens(sentence):
            tokens = checked_tokens(sentence, "sentence")
            return [token.lower() for token in tokens] if lowercase else tokens
        splitter.prepare([check_str("sentence", sentence)])
        sentences = splitter.sentences(sentence)
        return list(chain.from_iterable(self._tokenize(s.lower() if lowercase else s) for s in sentences))

    def encode(self, sentence):
        """Return the indices of one sentence, without SENTENCE_START and SENTENCE_END.

        Parameters
        ----------
        sentence : str or iterable of str
            Raw text, or tokens. Among tokens, those of special names have their special index.

        Returns
        -------
        array of int32, shape (T,)

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError
            Something else than a string was found.
        """
        self._check_fitted("tokens_")
        if isinstance(sentence, str):
            indices = map(self._index, self.tokenize(sentence))
        else:
            unknown = len(self) - 1
            lowercase, tokens = self._checked.lowercase, check_list("sentence", sentence, "tokens")
            indices = (self.index_.get(_lower(token, lowercase), unknown) for token in tokens)
        return np.fromiter(indices, np.int32)

    def encode_prompt(self, text):
        """Return the indices of the beginning of a sentence, and its unknown words.

        Parameters
        ----------
        text : str or list of str
            May be empty. A list is tokens.

        Returns
        -------
        indices : array of int32, shape (1 + T,)
            SENTENCE_START, then the words.
        unknown : list of str
            Every word that is UNKNOWN_TOKEN among `indices`, once.

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError
            `text` is not a string, nor tokens.
        """
        self._check_fitted("tokens_")
        text = checked_tokens(text, "text") if is_tokens(text) else check_str("text", text)
        words = self.tokenize(text) if text else []
        indices = [self._index(word) for word in words]
        unknown = [w for w, i in zip(words, indices, strict=True) if i == len(self) - 1]
        return np.array([_START, *indices], np.int32), list(dict.fromkeys(unknown))

    def decode(self, indices):
        """Return the tokens of indices.

        Parameters
        ----------
        indices : sequence of int, shape (T,)

        Returns
        -------
        list of str

        Raises
        ------
        NotFittedError
            `fit` was not called.
        TypeError
            `indices` is not one sequence of ints.
        ValueError
            An index is not in the vocabulary.
        """
        self._check_fitted("tokens_")
        try:
            indices = np.asarray(indices)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"indices must be a sequence of int, found {shown(indices)}") from None
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(f"indices must be a sequence of int, found {shown(indices)}")
        for i in indices[(indices < 0) | (indices >= len(self))]:
            raise ValueError(f"index {i} found among indices, expected 0 <= index < {len(self)}")
        return [self.tokens_[i] for i in indices.astype(int).tolist()]

    def detokenize(self, indices_or_tokens):
        """Return indices or tokens as text to read; SENTENCE_START and SENTENCE_END are left out.

        Parameters
        ----------
        indices_or_tokens : sequence of int or sequence of str

        Returns
        -------
        str
        """
        tokens = check_list("indices_or_tokens", indices_or_tokens, "int or str")
        if not all(isinstance(token, str) for token in tokens):
            with errors_named("indices_or_tokens"):
                tokens = self.decode(tokens)
        tokens = [token for token in tokens if token not in (SENTENCE_START, SENTENCE_END)]
        if self._checked.tokenizer or self._checked.detokenizer:
            return joined(self._checked.detokenizer, tokens)
        return "".join(tokens) if self._checked.level == "char" else join_words(tokens)

    def report(self):
        """Return a summary of the text and the vocabulary, one fact a line."""
        self._check_fitted("tokens_")
        last = len(self) - 2
        count = self.counts_[last]
        return (
            f"{self.n_sentences_:,} sentences, {self.n_tokens_:,} tokens, "
            f"{self.n_distinct_:,} distinct\n"
            f"Vocabulary size {len(self):,}, covers {self.coverage_:.2%} of the tokens\n"
            f"The least frequent {'character' if self._checked.level == 'char' else 'word'} is "
            f"{self.tokens_[last]!r}, seen {'once' if count == 1 else f'{count:,} times'}"
        )

    def to_arrays(self):
        """Return everything that `from_arrays` needs, as plain arrays to store.

        Returns
        -------
        dict of str to array
            ``tokens`` uint8: the tokens' UTF-8 bytes, end to end; ``token_lengths`` int64: bytes
            of each; ``counts`` int64; ``config`` uint8: JSON.
        """
        self._check_fitted("tokens_")
        encoded = [token.encode("utf-8", "surrogatepass") for token in self.tokens_]
        config = {name: getattr(self._checked, name) for name in (*_PARAMETERS, *_DEFAULTS_OF_OLDER_FILES)}
        config |= {"n_distinct": self.n_distinct_, "punkt": self._splitter.learned}
        config |= {name: name_of(getattr(self._checked, name)) for name in FUNCTIONS}
        config |= {"line_ends": self._splitter.line_ends, "inner": self._splitter.inner}
        return {
            "tokens": np.frombuffer(b"".join(encoded), np.uint8),
            "token_lengths": np.array([len(token) for token in encoded], np.int64),
            "counts": self.counts_,
            "config": np.frombuffer(json.dumps(config).encode(), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays, *, tokenizer=None, detokenizer=None):
        """Restore a vocabulary from what `to_arrays` returned.

        Parameters
        ----------
        arrays : dict of str to array
        tokenizer, detokenizer : callable, optional
            Those with which the vocabulary was made, if it was: the arrays hold their names only.

        Raises
        ------
        ValueError
            The arrays are incomplete or damaged, or a function is missing.
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"arrays: found {shown(arrays)}, expected a dict of arrays")
        functions = {"tokenizer": tokenizer, "detokenizer": detokenizer}
        check_functions(arrays.get("config"), functions)
        try:
            config = json.loads(_stored(arrays, "config", np.uint8).tobytes())
            tokens, counts = _stored_tokens(arrays), _stored(arrays, "counts", np.int64)
            added = {name: config.get(name, default) for name, default in _DEFAULTS_OF_OLDER_FILES.items()}
            vocabulary = cls(**{name: config[name] for name in _PARAMETERS}, **added, **functions)
            check_bool("lowercase", vocabulary.lowercase)
            vocabulary.check_parameters()
            check_integer("n_distinct", config["n_distinct"], 0)
            # Older files lack both; there lines and texts were one sentence to the tokenizer.
            line_ends = check_bool("line_ends", config.get("line_ends", False))
            inner = config.get("inner", vocabulary.level == "word" and vocabulary.split_mode == "punkt")
            inner = check_bool("inner", inner)
            splitter = SentenceSplitter(vocabulary.split_mode, config["punkt"], line_ends, inner, vocabulary.language)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"arrays: the stored vocabulary is damaged: {str(error)[:200]!r}") from None
        intact = (
            counts.size == len(tokens) <= (vocabulary.max_size or len(tokens))
            and counts.min() >= 0
            and counts[2:].any()
            and counts.sum(dtype=np.float64) < 2**62
        )
        if not intact:
            raise ValueError("arrays: the stored vocabulary is damaged: its arrays do not fit together")
        log_other_functions(config, functions)
        vocabulary._set_learned(tokens, counts, config["n_distinct"], splitter)
        return vocabulary

    def __len__(self):
        self._check_fitted("tokens_")
        return len(self.tokens_)

    def __contains__(self, token):
        self._check_fitted("tokens_")
        return token in self.index_

    def _learn(self, texts):
        self.check_parameters()
        splitter = self.new_splitter()
        types, ids, lengths = self._scan(texts, splitter)
        self._hint(types)
        counts = np.bincount(ids)
        counts[[word in _SPECIAL for word in types]] = 0
        kept = np.argsort(-counts, kind="stable")  # stable: equal ones by first appearance
        limit = np.count_nonzero(counts)
        max_size = self._checked.max_size
        if max_size is not None:
            limit = min(limit, max_size - len(_SPECIAL))
        kept = kept[:limit]
        tokens = [SENTENCE_START, SENTENCE_END, *(types[k] for k in kept), UNKNOWN_TOKEN]
        index_of_id = np.full(len(types), len(tokens) - 1, np.int32)
        index_of_id[kept] = np.arange(2, 2 + len(kept))
        indices = np.take(index_of_id, ids, out=ids)
        counts = np.bincount(indices, minlength=len(tokens))
        counts[[_START, _END]] = len(lengths)
        self._set_learned(tokens, counts, len(types), splitter)
        return indices, lengths

    def _hint(self, types):
        """Say, in one line, that words were not found where a script has no spaces."""
        script = unspaced(types) if self._tokenizer_or_level in ("word", "whitespace") else None
        if script:
            logging.getLogger("fastrnn").warning(
                'the text looks %s, without spaces between words: whole phrases are one token; level="char" takes'
                " characters",
                script,
            )

    def _set_learned(self, tokens, counts, n_distinct, splitter):
        self.tokens_ = tokens
        self.index_ = {token: i for i, token in enumerate(tokens)}
        self.counts_ = counts.astype(np.int64, copy=False)
        self.n_sentences_ = int(counts[_START])
        self.n_tokens_ = int(counts[2:].sum())
        self.n_distinct_ = n_distinct
        self.coverage_ = float(counts[2:-1].sum() / self.n_tokens_)
        self._splitter = splitter
        self._tokenize = tokenizer(self._tokenizer_or_level)

    def _scan(self, texts, splitter):
        """Tokenise in one pass, 4 bytes a token: distinct tokens, ids (N,), lengths (B,)."""
        source, texts = texts, splitter.prepare(_checked(texts))
        found = TokenIds(splitter, self._tokenizer_or_level, self._checked.lowercase)
        with self._progress(source) as progress:
            found.read(texts, self._checked.n_jobs, progress)
        if not found.lengths:
            raise ValueError("texts: no sentence found, expected at least one word")
        return list(found.numbers), np.frombuffer(found.ids, np.intc), np.frombuffer(found.lengths, np.intc)

    def _index(self, word):
        unknown = len(self.tokens_) - 1
        return unknown if word in _SPECIAL else self.index_.get(word, unknown)

    def _progress(self, texts):
        return reading_bar(texts) if self._checked.verbose else nullcontext()

    @property
    def _tokenizer_or_level(self):
        return self._checked.tokenizer or self._checked.level

    @property
    def split_mode(self):
        """How texts are split into sentences: `sentence_split`, or its default for this level."""
        return self._checked.sentence_split or ("punkt" if self._checked.level == "word" else "line")

    def new_splitter(self):
        """A `SentenceSplitter` with these parameters; by default it finds out whether line ends end sentences."""
        automatic = self.split_mode == "punkt" and self._checked.sentence_split is None
        inner = self._tokenizer_or_level == "word"
        return SentenceSplitter(self.split_mode, None, None if automatic else False, inner, self._checked.language)


def _lower(token, lowercase):
    if not isinstance(token, str):
        raise TypeError(f"sentence must be a str or tokens, found {type(token).__name__}")
    return token.lower() if lowercase and token not in _SPECIAL else token


def _stored(arrays, name, dtype):
    """One of the arrays of `Vocabulary.to_arrays`."""
    array = np.asarray(arrays[name])
    if array.ndim != 1 or array.dtype != dtype:
        raise ValueError(f"found {name} {array.dtype}{array.shape}, expected one axis of {np.dtype(dtype)}")
    return array


def _stored_tokens(arrays):
    blob, lengths = _stored(arrays, "tokens", np.uint8).tobytes(), _stored(arrays, "token_lengths", np.int64)
    if len(lengths) <= len(_SPECIAL) or lengths.min() < 1 or lengths.max() > len(blob):
        raise ValueError("found lengths of tokens that are not possible")
    ends = np.cumsum(lengths).tolist()
    if ends[-1] != len(blob):
        raise ValueError(f"found {len(blob)} bytes of tokens, expected {ends[-1]}")
    tokens = [blob[start:stop].decode("utf-8", "surrogatepass") for start, stop in pairwise([0, *ends])]
    if len(set(tokens)) < len(tokens) or (*tokens[:2], tokens[-1]) != (SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN):
        raise ValueError("found tokens that are no vocabulary's")
    return tokens


def _checked(texts):
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a list of str, found a single {type(texts).__name__}; wrap it as [text]")
    check_no_table("texts", texts, "str")
    try:
        return _strings(iter(texts))
    except TypeError:
        raise TypeError(f"texts must be a list of str, found {type(texts).__name__}") from None


def _strings(texts):
    for i, text in enumerate(texts):
        if is_tokens(text):
            yield checked_tokens(text, f"texts[{i}]")
            continue
        if not isinstance(text, str):
            raise TypeError(f"texts[{i}] is {type(text).__name__}, expected str or a list of str")
        yield text


def _pair(indices, lengths):
    """x and y of sentences that lie end to end: indices int32 (N,), lengths (B,)."""
    offsets = np.concatenate([[0], np.cumsum(lengths + 1, dtype=np.int64)])
    x = np.full(offsets[-1], _START, np.int32)
    y = np.full(offsets[-1], _END, np.int32)
    is_word = np.ones(offsets[-1], bool)
    is_word[offsets[:-1]] = False
    x[is_word] = indices
    y[:-1][is_word[1:]] = indices
    return Ragged(x, offsets), Ragged(y, offsets)

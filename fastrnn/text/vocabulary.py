"""Words and their indices: the most frequent ones are kept, the others are UNKNOWN_TOKEN."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Estimator
from ..data.ragged import Ragged
from ..validation import (
    check_bool,
    check_callable,
    check_integer,
    check_list,
    check_no_table,
    check_path,
    check_str,
    check_verbose,
    choice,
    errors_named,
    integer,
    shown,
)
from . import vocabulary_file
from .custom_tokenizer import (
    FUNCTIONS,
    check_functions,
    checked_tokens,
    is_tokens,
    joined,
    log_other_functions,
    name_of,
)
from .given_tokens import check_special_tokens, check_tokens, check_word
from .languages import LANGUAGES
from .scripts import unspaced
from .sizes import reading_bar
from .special_tokens import END, SENTENCE_END, SENTENCE_START, START, UNKNOWN_TOKEN
from .token_ids import TokenIds
from .tokenize import LEVELS, SENTENCE_SPLITS, SentenceSplitter, join_words
from .truecase import check_forms
from .truecase import truecase as cased
from .whole_words import SentenceTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..typing import (
        Detokenizer,
        FilePath,
        IndexSequence,
        IntArray,
        Self,
        Text,
        Texts,
        Tokenizer,
        Unpack,
        VocabularyParameters,
    )

_SPECIAL = frozenset([SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN])
_PARAMETERS = ("max_size", "level", "lowercase", "sentence_split")
# Parameters that older files lack, and the values that were the only ones.
_NOT_IN_OLDER_FILES = {"language": "english", "min_count": 1, "special_tokens": (), "unknown_word": None}


class Vocabulary(Estimator):
    """The words of a text and their indices.

    SENTENCE_START has index 0 and SENTENCE_END 1; `special_tokens` follow, then the most frequent words, equal ones in
    order of first appearance; UNKNOWN_TOKEN, which stands for all other words, is the last.

    Parameters
    ----------
    max_size : int or None
        Largest number of indices, all special tokens among them; None keeps every word.
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
    min_count : int
        How often a word must occur to be kept.
    tokens : list of str, or mapping of str to int, optional
        The vocabulary itself, which `fit` then does not choose: the tokens in the order of their indices, or their
        indices, 2 for the first. `max_size` and `min_count` do not count. SENTENCE_START, SENTENCE_END and
        UNKNOWN_TOKEN may be left out.
    special_tokens : list of str
        Words such as "<sep>" that are one token wherever a text has them, whatever the level, in this case of letters,
        and always in the vocabulary.
    unknown_word : str, optional
        The word that stands for unknown words in texts, taken for UNKNOWN_TOKEN: "<unk>" in WikiText and the Penn
        Treebank.

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
    forms_ : dict of str to str
        Most frequent form of the words that are not lower case most of the time, {"english": "English"}: with
        `lowercase`, and where tokens are words.

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

    tokens_: list[str]
    index_: dict[str, int]
    counts_: NDArray[np.int64]
    n_sentences_: int
    n_tokens_: int
    n_distinct_: int
    coverage_: float
    forms_: dict[str, str]

    _checks = {
        "max_size": integer(len(_SPECIAL) + 1, none=True),
        "level": choice(LEVELS),
        "lowercase": check_bool,
        "sentence_split": choice(SENTENCE_SPLITS, none=True),
        "verbose": check_verbose,
        "n_jobs": integer(1, none=True),
        "language": choice(LANGUAGES),
        **dict.fromkeys(FUNCTIONS, check_callable),
        "min_count": integer(1),
        "tokens": check_tokens,
        "special_tokens": check_special_tokens,
        "unknown_word": partial(check_word, none=True),
    }

    def __init__(
        self,
        max_size: int | None = 8000,
        level: str = "word",
        lowercase: bool = True,
        sentence_split: str | None = None,
        verbose: int = 0,
        n_jobs: int | None = None,
        language: str = "english",
        tokenizer: Tokenizer | None = None,
        detokenizer: Detokenizer | None = None,
        min_count: int = 1,
        tokens: Sequence[str] | Mapping[str, int] | None = None,
        special_tokens: Sequence[str] = (),
        unknown_word: str | None = None,
    ) -> None:
        self.max_size = max_size
        self.level = level
        self.lowercase = lowercase
        self.sentence_split = sentence_split
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.language = language
        self.tokenizer = tokenizer
        self.detokenizer = detokenizer
        self.min_count = min_count
        self.tokens = tokens
        self.special_tokens = special_tokens
        self.unknown_word = unknown_word

    @classmethod
    def from_tokens(cls, tokens: Sequence[str] | Mapping[str, int], **parameters: Unpack[VocabularyParameters]) -> Self:
        """Make a vocabulary of one's own tokens that can be used at once, without `fit`.

        Its counts are 0; where sentences end is found out from the first texts that it is given.

        Parameters
        ----------
        tokens : list of str, or mapping of str to int
        **parameters
            The constructor's others.

        Returns
        -------
        Vocabulary

        Raises
        ------
        TypeError, ValueError
            `tokens` or a parameter is not possible.
        """
        if tokens is None:
            raise TypeError("tokens: found None, expected a list of tokens or a mapping of tokens to indices")
        vocabulary = cls(**parameters).set_params(tokens=tokens)
        vocabulary.check_parameters()
        tokens = vocabulary._with_special(())
        vocabulary._set_learned(tokens, np.zeros(len(tokens), np.int64), 0, vocabulary.new_splitter())
        return vocabulary

    def check_parameters(self) -> None:
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        super().check_parameters()
        unknown, special, tokens = self._checked.unknown_word, self._checked.special_tokens, self._checked.tokens
        if unknown is not None and unknown in (*special, *(tokens or ())):
            other = "special_tokens" if unknown in special else "tokens"
            raise ValueError(f"unknown_word: found {shown(unknown)}, which is one of {other}, too, expected another")
        least, size = len(_SPECIAL) + len(special) + 1, self._checked.max_size
        if tokens is None and size is not None and size < least:
            found = f"{len(special)} for {size} indices in all"
            raise ValueError(f"special_tokens: found {found}, expected {least} indices at least, for a word, too")

    def fit(self, texts: Texts) -> Self:
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

    def transform(self, texts: Texts) -> tuple[Ragged, Ragged]:
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
        types, ids, lengths, _ = self._scan(texts, self._splitter)
        return _pair(np.take(np.array([self._index(word) for word in types], np.int32), ids, out=ids), lengths)

    def fit_transform(self, texts: Texts) -> tuple[Ragged, Ragged]:
        """Do `fit` and `transform` in one pass over the texts: they are tokenised once."""
        return _pair(*self._learn(texts))

    def sentences(self, texts: Texts) -> Iterator[Text]:
        """Yield the sentences of texts as they stand there, split as `transform` splits them."""
        for found in self.sentences_by_text(texts):
            yield from found

    def sentences_by_text(self, texts: Texts) -> Iterator[list[Text]]:
        """Yield the list of the sentences of every text, which is empty for a blank text; tokens are one sentence."""
        self._check_fitted("tokens_")
        for text in self._splitter.prepare(_checked(texts)):
            yield list(self._splitter.split(text))

    def tokenize(self, sentence: Text) -> list[str]:
        """Return the tokens of one sentence as a list of str, whether the vocabulary has them or not.

        Text of several sentences has the tokens of each, one after the other. A list of tokens stays one, in lower case
        if `lowercase`.
        """
        self._check_fitted("tokens_")
        splitter = self._splitter
        if is_tokens(sentence):
            return self._tokenize.lower(checked_tokens(sentence, "sentence"))
        splitter.prepare([check_str("sentence", sentence)])
        return list(chain.from_iterable(map(self._tokenize, splitter.sentences(sentence))))

    def encode(self, sentence: str | Iterable[str]) -> IntArray:
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
            unknown, kept = len(self) - 1, {*_SPECIAL, *self._checked.special_tokens}
            lowercase, tokens = self._checked.lowercase, check_list("sentence", sentence, "tokens")
            indices = (self.index_.get(_lower(token, lowercase, kept), unknown) for token in tokens)
        return np.fromiter(indices, np.int32)

    def encode_prompt(self, text: Text) -> tuple[IntArray, list[str]]:
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
            Every word that is UNKNOWN_TOKEN among `indices`, once, but for `unknown_word`.

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
        meant, last = self._checked.unknown_word, len(self) - 1
        unknown = [w for w, i in zip(words, indices, strict=True) if i == last and w != meant]
        return np.array([START, *indices], np.int32), list(dict.fromkeys(unknown))

    def decode(self, indices: IndexSequence) -> list[str]:
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

    def detokenize(self, indices_or_tokens: IndexSequence | Sequence[str], *, truecase: bool = False) -> str:
        """Return indices or tokens as text to read; SENTENCE_START and SENTENCE_END are left out.

        Parameters
        ----------
        indices_or_tokens : sequence of int or sequence of str
        truecase : bool
            Write capitals where lower-case text has lost them: words in the forms of `forms_`, and a capital where a
            sentence starts. Of characters, only the latter.

        Returns
        -------
        str
        """
        truecase = check_bool("truecase", truecase)
        tokens = check_list("indices_or_tokens", indices_or_tokens, "int or str")
        if not all(isinstance(token, str) for token in tokens):
            with errors_named("indices_or_tokens"):
                tokens = self.decode(tokens)
        tokens = [token for token in tokens if token not in (SENTENCE_START, SENTENCE_END)]
        if truecase:
            tokens = cased(tokens, self.forms_)
        if self._checked.tokenizer or self._checked.detokenizer:
            return joined(self._checked.detokenizer, tokens)
        return "".join(tokens) if self._checked.level == "char" else join_words(tokens)

    def report(self) -> str:
        """Return a summary of the text and the vocabulary, one fact a line."""
        self._check_fitted("tokens_")
        if not self.n_tokens_:
            return f"Vocabulary size {len(self):,}, of tokens that were given"
        first = 2 + len(self._checked.special_tokens) if self._checked.tokens is None else 2
        last = len(self) - 2 - int(self.counts_[first:-1][::-1].argmin())
        count = self.counts_[last]
        return (
            f"{self.n_sentences_:,} sentences, {self.n_tokens_:,} tokens, "
            f"{self.n_distinct_:,} distinct\n"
            f"Vocabulary size {len(self):,}, covers {self.coverage_:.2%} of the tokens\n"
            f"The least frequent {'character' if self._checked.level == 'char' else 'word'} is "
            f"{self.tokens_[last]!r}, seen {_times(count)}"
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that `from_arrays` needs, as plain arrays to store.

        Returns
        -------
        dict of str to array
            ``tokens`` uint8: the tokens' UTF-8 bytes, end to end; ``token_lengths`` int64: bytes
            of each; ``counts`` int64; ``config`` uint8: JSON.
        """
        self._check_fitted("tokens_")
        encoded = [token.encode("utf-8", "surrogatepass") for token in self.tokens_]
        return {
            "tokens": np.frombuffer(b"".join(encoded), np.uint8),
            "token_lengths": np.array([len(token) for token in encoded], np.int64),
            "counts": self.counts_,
            "config": np.frombuffer(json.dumps(self._config()).encode(), np.uint8),
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        tokenizer: Tokenizer | None = None,
        detokenizer: Detokenizer | None = None,
    ) -> Self:
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
            vocabulary, splitter = cls._from_config(config, tokens, functions)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"arrays: the stored vocabulary is damaged: {str(error)[:200]!r}") from None
        intact = (
            counts.size == len(tokens)
            and (vocabulary.tokens is not None or len(tokens) <= (vocabulary.max_size or len(tokens)))
            and counts.min() >= 0
            and (vocabulary.tokens is not None or counts[2:].any())
            and counts.sum(dtype=np.float64) < 2**62
        )
        if not intact:
            raise ValueError("arrays: the stored vocabulary is damaged: its arrays do not fit together")
        log_other_functions(config, functions)
        vocabulary._set_learned(tokens, counts, config["n_distinct"], splitter, config.get("forms"))
        return vocabulary

    def save(self, path: FilePath) -> None:
        """Write the vocabulary to a text file that people can read and edit: one token a line, a tab, its count.

        Three lines of parameters come first. Lines may be edited, moved, left out and added, with or without a count.

        Parameters
        ----------
        path : str or path
            What is there stays whole until the new file is.

        Raises
        ------
        NotFittedError
            `fit` was not called.
        OSError
            It cannot be written.
        """
        self._check_fitted("tokens_")
        vocabulary_file.write(check_path("path", path), self._config(), self.tokens_, self.counts_.tolist())

    @classmethod
    def load(cls, path: FilePath, **parameters: Unpack[VocabularyParameters]) -> Self:
        """Read what `save` wrote, or any list of tokens in UTF-8, one a line.

        Parameters
        ----------
        path : str or path
        **parameters
            The `tokenizer` and `detokenizer` that the vocabulary was made with, if any: files hold their names only.
            For a list that `save` did not write: the constructor's, but for `tokens`, which are those of the file.

        Returns
        -------
        Vocabulary

        Raises
        ------
        OSError
            The file cannot be read.
        TypeError, ValueError
            It holds something else, the message names the line and what is wrong with it; or a parameter is not
            possible.
        """
        path = check_path("path", path)
        config, tokens, counts = vocabulary_file.read(path)
        if config is None:
            with errors_named(path):
                check_tokens("tokens", tokens)
            return cls.from_tokens(tokens, **parameters)
        functions = {name: parameters.pop(name, None) for name in FUNCTIONS}
        if parameters:
            raise TypeError(f"{next(iter(parameters))}: found one, expected none: {path} has its parameters")
        with errors_named(f"{path}: lines 2 and 3"):
            return cls._from_edited(config, dict(zip(tokens, counts, strict=True)), functions)

    @classmethod
    def _from_edited(cls, config, count_of, functions):
        """A fitted vocabulary from the contents of a file, whose special tokens may stand anywhere, or not."""
        check_functions(np.frombuffer(json.dumps(config).encode(), np.uint8), functions)
        log_other_functions(config, functions)
        ordinary = check_tokens("tokens", count_of.keys())
        tokens = [SENTENCE_START, SENTENCE_END, *ordinary, UNKNOWN_TOKEN]
        counts = np.array([count_of.get(token, 0) for token in tokens], np.int64)
        try:
            vocabulary, splitter = cls._from_config(config, tokens, functions)
        except (LookupError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"found parameters that are damaged: {error!r}") from None
        if not counts[2:].any():
            vocabulary.tokens = list(ordinary)  # no text has been counted
        if vocabulary.tokens is None and vocabulary.max_size is not None:
            vocabulary.max_size = max(vocabulary.max_size, len(tokens))  # lines may have been added
        vocabulary._set_learned(tokens, counts, config["n_distinct"], splitter, config.get("forms"))
        return vocabulary

    def _config(self):
        """What `to_arrays` and `save` store besides tokens and counts."""
        config = {name: getattr(self._checked, name) for name in (*_PARAMETERS, *_NOT_IN_OLDER_FILES)}
        config |= {"tokens_given": self._checked.tokens is not None}
        config |= {name: name_of(getattr(self._checked, name)) for name in FUNCTIONS}
        config |= {"n_distinct": self.n_distinct_, "punkt": self._splitter.learned, "forms": self.forms_}
        return config | {"line_ends": self._splitter.line_ends, "inner": self._splitter.inner}

    @classmethod
    def _from_config(cls, config, tokens, functions):
        """A vocabulary, not yet fitted, and its splitter, from what `to_arrays` has in JSON; raises if damaged."""
        parameters = _NOT_IN_OLDER_FILES | {n: config[n] for n in _NOT_IN_OLDER_FILES if n in config}
        parameters["special_tokens"] = tuple(parameters["special_tokens"])
        given = check_bool("tokens_given", config.get("tokens_given", False))
        parameters["tokens"] = list(tokens[2:-1]) if given else None
        vocabulary = cls(**{name: config[name] for name in _PARAMETERS}, **parameters, **functions)
        check_bool("lowercase", vocabulary.lowercase)
        vocabulary.check_parameters()
        if not set(vocabulary.special_tokens) <= set(tokens):
            raise ValueError("special_tokens: found one that is no token")
        check_integer("n_distinct", config["n_distinct"], 0)
        check_forms(config.get("forms", {}))
        # Older files lack both; there lines and texts were one sentence to the tokenizer.
        line_ends = config.get("line_ends", False)
        if line_ends is not None:  # of tokens that were given, without a text yet
            check_bool("line_ends", line_ends)
        inner = config.get("inner", vocabulary.level == "word" and vocabulary.split_mode == "punkt")
        inner = check_bool("inner", inner)
        return vocabulary, SentenceSplitter(
            vocabulary.split_mode, config["punkt"], line_ends, inner, vocabulary.language
        )

    def __len__(self) -> int:
        self._check_fitted("tokens_")
        return len(self.tokens_)

    def __contains__(self, token: object) -> bool:
        self._check_fitted("tokens_")
        return token in self.index_

    def _learn(self, texts):
        self.check_parameters()
        splitter = self.new_splitter()
        of_words = self._tokenizer_or_level in ("word", "whitespace")
        types, ids, lengths, case = self._scan(texts, splitter, self._checked.lowercase and of_words)
        self._hint(types)
        counts = np.bincount(ids)
        tokens = self._with_special(types, counts)
        last, index = len(tokens) - 1, {token: i for i, token in enumerate(tokens) if token not in _SPECIAL}
        index_of_id = np.fromiter((index.get(word, last) for word in types), np.int32, len(types))
        indices = np.take(index_of_id, ids, out=ids)
        counts = np.bincount(indices, minlength=len(tokens))
        counts[[START, END]] = len(lengths)
        self._set_learned(tokens, counts, len(types), splitter)
        if case:
            tokenize = SentenceTokenizer(self._checked.level, False, self._whole_words)
            self.forms_ = case.forms(dict(zip(tokens, counts.tolist(), strict=True)), tokenize)
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

    def _with_special(self, types, counts=()):
        """The tokens of all indices: those given, or the most frequent of distinct ones with their counts."""
        special, given = self._checked.special_tokens, self._checked.tokens
        if given is None:
            counts[[word in _SPECIAL or word in special or word == self.unknown_word for word in types]] = 0
            given = [types[k] for k in self._most_frequent(counts)]
        front = [token for token in special if token not in given] if self.tokens is not None else special
        return [SENTENCE_START, SENTENCE_END, *front, *given, UNKNOWN_TOKEN]

    def _most_frequent(self, counts):
        min_count, max_size = self._checked.min_count, self._checked.max_size
        kept = np.argsort(-counts, kind="stable")  # stable: equal ones by first appearance
        limit = np.count_nonzero(counts >= min_count)
        if not limit and min_count > 1:
            raise ValueError(
                f"min_count: found {min_count}, expected {max(1, counts.max())} at most: no word occurs more often"
            )
        if max_size is not None:
            limit = min(limit, max_size - len(_SPECIAL) - len(self._checked.special_tokens))
        return kept[:limit]

    def _set_learned(self, tokens, counts, n_distinct, splitter, forms=None):
        self.tokens_ = tokens
        self.index_ = {token: i for i, token in enumerate(tokens)}
        self.counts_ = counts.astype(np.int64, copy=False)
        self.n_sentences_ = int(counts[START])
        self.n_tokens_ = int(counts[2:].sum())
        self.n_distinct_ = n_distinct
        self.coverage_ = float(counts[2:-1].sum() / self.n_tokens_) if self.n_tokens_ else math.nan
        self.forms_ = forms or {}
        self._splitter = splitter
        self._tokenize = SentenceTokenizer(self._tokenizer_or_level, self._checked.lowercase, self._whole_words)

    def _scan(self, texts, splitter, count_case=False):
        """Tokenise in one pass, 4 bytes a token: distinct tokens, ids (N,), lengths (B,), CaseCounts if asked for."""
        source, texts = texts, splitter.prepare(_checked(texts))
        found = TokenIds(splitter, self._tokenizer_or_level, self._checked.lowercase, self._whole_words, count_case)
        with self._progress(source) as progress:
            found.read(texts, self._checked.n_jobs, progress)
        if not found.lengths:
            raise ValueError("texts: no sentence found, expected at least one word")
        ids, lengths = np.frombuffer(found.ids, np.intc), np.frombuffer(found.lengths, np.intc)
        return list(found.numbers), ids, lengths, found.case

    def _index(self, word):
        unknown = len(self.tokens_) - 1
        return unknown if word in _SPECIAL else self.index_.get(word, unknown)

    def _progress(self, texts):
        return reading_bar(texts) if self._checked.verbose else nullcontext()

    @property
    def _tokenizer_or_level(self):
        return self._checked.tokenizer or self._checked.level

    @property
    def _whole_words(self):
        """Words that are one token as they stand in a text."""
        unknown = self._checked.unknown_word
        return (*self._checked.special_tokens, *([] if unknown is None else [unknown]))

    @property
    def split_mode(self) -> str:
        """How texts are split into sentences: `sentence_split`, or its default for this level."""
        return self._checked.sentence_split or ("punkt" if self._checked.level == "word" else "line")

    def new_splitter(self):
        """A `SentenceSplitter` with these parameters; by default it finds out whether line ends end sentences."""
        automatic = self.split_mode == "punkt" and self._checked.sentence_split is None
        inner = self._tokenizer_or_level == "word"
        return SentenceSplitter(self.split_mode, None, None if automatic else False, inner, self._checked.language)


def _times(count):
    return "never" if count == 0 else "once" if count == 1 else f"{count:,} times"


def _lower(token, lowercase, kept):
    if not isinstance(token, str):
        raise TypeError(f"sentence must be a str or tokens, found {type(token).__name__}")
    return token.lower() if lowercase and token not in kept else token


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
    x = np.full(offsets[-1], START, np.int32)
    y = np.full(offsets[-1], END, np.int32)
    is_word = np.ones(offsets[-1], bool)
    is_word[offsets[:-1]] = False
    x[is_word] = indices
    y[:-1][is_word[1:]] = indices
    return Ragged(x, offsets), Ragged(y, offsets)

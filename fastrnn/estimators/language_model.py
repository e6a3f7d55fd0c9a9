"""`LanguageModel`: a `Vocabulary` and a `FastRNN` in one, from raw text to text."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from .. import storage
from ..base import Estimator
from ..text.custom_tokenizer import checked_tokens, is_tokens
from ..text.special_tokens import END, START, UNKNOWN_TOKEN
from ..text.vocabulary import Vocabulary
from ..validation import (
    check_bool,
    check_callable,
    check_choice,
    check_list,
    check_path,
    check_str,
    errors_named,
    shown,
)
from .fitting import restored_if_refused
from .model_file import arrays_of, header_of, read_model, read_vocabulary
from .parameters import LANGUAGE_MODEL, checks
from .rnn import FastRNN
from .weight_checks import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..typing import (
        Detokenizer,
        FastRNNParameters,
        FilePath,
        Float64Array,
        RandomState,
        Self,
        Text,
        Texts,
        Tokenizer,
        Unpack,
    )

_VOCABULARY_PARAMS = (
    "level", "lowercase", "sentence_split", "language", "tokenizer", "detokenizer", "min_count", "tokens",
    "special_tokens", "unknown_word",
)  # fmt: skip
_logger = logging.getLogger("fastrnn")


class LanguageModel(Estimator):
    """A language model of raw text.

    Parameters
    ----------
    vocab_size : int or None
        Largest number of different tokens, special ones included; rarer words become UNKNOWN_TOKEN. None keeps all.
    level : {"word", "char", "whitespace"}
        What a token is, see `Vocabulary`.
    lowercase : bool
    sentence_split : {"punkt", "line", "text"}, optional
        Where sentences end, see `Vocabulary`.
    language : str
        Whose abbreviations end no sentence: "english", "german", "french", ..., see `Vocabulary`.
    tokenizer, detokenizer : callable, optional
        Functions from str to list of str, and back, in place of `level`, see `Vocabulary`.
    min_count, tokens, special_tokens, unknown_word
        What the vocabulary holds, see `Vocabulary`.
    **parameters
        All further parameters of `FastRNN`: cell, hidden_dim, max_epochs, ...

    Attributes
    ----------
    vocabulary_ : Vocabulary
    model_ : FastRNN

    Examples
    --------
    >>> lm = LanguageModel(cell="gru", max_epochs=20).fit(texts)  # doctest: +SKIP
    >>> lm.generate(3, prompt="the statement")  # doctest: +SKIP
    """

    _checks, _further = checks(LANGUAGE_MODEL), FastRNN
    vocabulary_: Vocabulary
    model_: FastRNN
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the parameters, which `_store` sets

    def __init__(
        self,
        vocab_size: int | None = 8000,
        level: str = "word",
        lowercase: bool = True,
        sentence_split: str | None = None,
        language: str = "english",
        tokenizer: Tokenizer | None = None,
        detokenizer: Detokenizer | None = None,
        min_count: int = 1,
        tokens: Sequence[str] | Mapping[str, int] | None = None,
        special_tokens: Sequence[str] = (),
        unknown_word: str | None = None,
        **parameters: Unpack[FastRNNParameters],
    ) -> None:
        self._store(
            parameters, vocab_size=vocab_size, level=level, lowercase=lowercase, sentence_split=sentence_split,
            language=language, tokenizer=tokenizer, detokenizer=detokenizer, min_count=min_count, tokens=tokens,
            special_tokens=special_tokens, unknown_word=unknown_word,
        )  # fmt: skip

    def fit(
        self,
        texts: Texts,
        *,
        validation_texts: Texts | None = None,
        callback: Callable[[Self], object] | None = None,
        resume: FilePath | None = None,
    ) -> Self:
        """Learn the vocabulary and train from initial weights; with `warm_start`, in the vocabulary first learned.

        Parameters
        ----------
        texts : iterable of str or lists of str
            Raw texts of any number of sentences; a list of str is one sentence, tokenised already.
        validation_texts : iterable of str or lists of str, optional
            Measured after every epoch, in the vocabulary of `texts`.
        callback, resume
            As in `FastRNN.fit`; the callback gets this LanguageModel.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            The texts or a parameter are not usable.
        DivergenceError
            Losses were not finite, again and again; the last good weights are kept.
        """
        check_callable("callback", callback)
        resume = check_path("resume", resume, none=True)
        x, y, vocabulary, model = self._data(texts, self._checked.warm_start and resume is None)
        validation = None
        if validation_texts is not None:
            with errors_named("validation_texts"):
                validation = vocabulary.transform(validation_texts)
        called = None if callback is None else lambda _: callback(self)
        with restored_if_refused(self):
            self.vocabulary_, self.model_ = vocabulary, model
            model.fit(x, y, validation_data=validation, callback=called, resume=resume)
        return self

    def partial_fit(self, texts: Texts) -> Self:
        """Train one epoch more on texts, in the vocabulary first learned; the first call learns it."""
        x, y, vocabulary, model = self._data(texts, True)
        with restored_if_refused(self):
            self.vocabulary_, self.model_ = vocabulary, model
            model.partial_fit(x, y)
        return self

    def loss(self, texts: Texts) -> float:
        """Mean cross-entropy, nats per token; SENTENCE_END counts as a token, unknown words as UNKNOWN_TOKEN."""
        self._check_fitted("model_")
        return self.model_.loss(*self.vocabulary_.transform(texts))

    def score(self, texts: Texts, y: object = None) -> float:
        """Minus the loss. y is ignored: scikit-learn passes one."""
        return -self.loss(texts)

    def perplexity(self, texts: Texts) -> float:
        """exp(loss)."""
        return float(np.exp(self.loss(texts)))

    @overload
    def score_samples(self, texts: Texts, *, per_sentence: Literal[False] = False) -> Float64Array: ...

    @overload
    def score_samples(self, texts: Texts, *, per_sentence: Literal[True]) -> list[Float64Array]: ...

    def score_samples(self, texts: Texts, *, per_sentence: bool = False) -> Float64Array | list[Float64Array]:
        """ln p of every text: the sum of its sentences', nats.

        Parameters
        ----------
        texts : iterable of str or lists of str
        per_sentence : bool
            Return the sentences' own.

        Returns
        -------
        float64 array (texts,); with `per_sentence` a list, one per text, of float64 arrays (sentences,)
            NaN for a text without any sentence, which the logger "fastrnn" tells: 0, as the sum of none, would be more
            probable than any text.
        """
        self._check_fitted("model_")
        per_sentence, vocabulary = check_bool("per_sentence", per_sentence), self.vocabulary_
        sentences = list(vocabulary.sentences_by_text(texts))
        if not sentences:
            raise ValueError("texts: found none, expected at least one text")
        counts = np.array(list(map(len, sentences)))
        words = [vocabulary.encode_prompt(sentence)[0].tolist() for text in sentences for sentence in text]
        log_p = np.empty(0)
        if words:
            log_p = self.model_.score_samples(words, [[*row[1:], END] for row in words])
        if per_sentence:
            return np.split(log_p, np.cumsum(counts)[:-1])
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            _logger.warning(
                "score_samples: NaN for %d texts without any sentence, such as texts[%d]", len(empty), empty[0]
            )
        totals = np.zeros(len(counts))
        np.add.at(totals, np.repeat(np.arange(len(counts)), counts), log_p)
        totals[empty] = np.nan
        return totals

    @overload
    def generate(
        self, n: int = 1, *, prompt: Text = ..., temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, min_length: int = 0, max_length: int = 100, unknown: str = "error",
        truecase: bool = False,
        exclude: Sequence[str] = ..., random_state: RandomState = None, return_log_probs: Literal[False] = False,
    ) -> list[str]: ...  # fmt: skip

    @overload
    def generate(
        self, n: int = 1, *, prompt: Text = ..., temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, min_length: int = 0, max_length: int = 100, unknown: str = "error",
        truecase: bool = False,
        exclude: Sequence[str] = ..., random_state: RandomState = None, return_log_probs: Literal[True],
    ) -> tuple[list[str], list[Float64Array]]: ...  # fmt: skip

    def generate(
        self,
        n: int = 1,
        *,
        prompt: Text = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_length: int = 0,
        max_length: int = 100,
        exclude: Sequence[str] = (UNKNOWN_TOKEN,),
        unknown: str = "error",
        truecase: bool = False,
        random_state: RandomState = None,
        return_log_probs: bool = False,
    ) -> list[str] | tuple[list[str], list[Float64Array]]:
        """Write sentences.

        Parameters
        ----------
        n, temperature, top_k, top_p, min_length, max_length, random_state
            As in `FastRNN.generate`; lengths in tokens, the prompt's not counted, SENTENCE_END counted.
        prompt : str or list of str
            How every sentence begins; a list is tokens.
        exclude : sequence of str
            Tokens never to write; their probability is removed.  By default UNKNOWN_TOKEN.
        unknown : {"error", "token"}
            What a word of the prompt that the vocabulary lacks does: raise ValueError, or stand as
            UNKNOWN_TOKEN.
        truecase : bool
            Write capitals though the text was learned in lower case: words in their most frequent forms, and where a
            sentence starts, see `Vocabulary.detokenize`.
        return_log_probs : bool
            Return the log-probabilities too.

        Returns
        -------
        sentences : list of str
            Detokenised for people to read, by the `detokenizer` if there is one.
        log_probs : list of float64 arrays
            ln p under the model of each token written, nats; only with `return_log_probs`.
        """
        self._check_fitted("model_")
        check_choice("unknown", unknown, ("error", "token"))
        vocabulary = self.vocabulary_
        prompt = checked_tokens(prompt, "prompt") if is_tokens(prompt) else check_str("prompt", prompt)
        tokens, oov = vocabulary.encode_prompt(prompt)
        if oov and unknown == "error":
            raise ValueError(
                f'prompt: found {", ".join(map(repr, oov))}, expected words of the vocabulary; unknown="token"'
                " takes them for UNKNOWN_TOKEN"
            )
        exclude = [check_str("exclude", token) for token in check_list("exclude", exclude, "tokens")]
        missing = [token for token in exclude if token not in vocabulary]
        if missing:
            raise ValueError(f"exclude: found {shown(missing[0])}, expected tokens of the vocabulary")
        truecase = check_bool("truecase", truecase)
        return_log_probs = check_bool("return_log_probs", return_log_probs)
        sequences, log_probs = self.model_.generate(
            n, prompt=tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_length=min_length,
            max_length=max_length, exclude=[START, *(vocabulary.index_[token] for token in exclude)],
            random_state=random_state, return_log_probs=True,
        )  # fmt: skip
        sentences = [vocabulary.detokenize(sequence, truecase=truecase) for sequence in sequences]
        return (sentences, log_probs) if return_log_probs else sentences

    def save(self, path: FilePath) -> None:
        """Write vocabulary and model to one .npz file; as `FastRNN.save`."""
        self._check_fitted("model_")
        path = check_path("path", path)
        vocabulary = {f"vocabulary/{name}": array for name, array in self.vocabulary_.to_arrays().items()}
        header = {"kind": "LanguageModel"} | header_of(self.model_)
        storage.write(path, header, vocabulary | arrays_of(self.model_))

    @classmethod
    def load(
        cls,
        path: FilePath,
        *,
        device: str = "cpu",
        tokenizer: Tokenizer | None = None,
        detokenizer: Detokenizer | None = None,
    ) -> Self:
        """Read what `save` wrote, on whatever device; ValueError if the file is damaged or foreign.

        `tokenizer` and `detokenizer` are those of the vocabulary, if it was made with any: files hold their names only.
        """
        path = check_path("path", path)
        with storage.opened(path, "LanguageModel") as (header, arrays):
            vocabulary = read_vocabulary(path, arrays, "vocabulary/", tokenizer, detokenizer)
            model = read_model(FastRNN, path, header, arrays, device)
        if model.vocab_size_ != len(vocabulary):
            raise ValueError(f"{path}: damaged: {len(vocabulary)} tokens for {model.vocab_size_} indices")
        parameters = model.get_params() | {"vocab_size": vocabulary.max_size}
        language_model = cls(**parameters, **{name: getattr(vocabulary, name) for name in _VOCABULARY_PARAMS})
        language_model.vocabulary_, language_model.model_ = vocabulary, model
        return language_model

    def _build(self):
        """A `Vocabulary` and a `FastRNN` with these parameters, checked and not fitted."""
        super().check_parameters()  # under the names that they have here
        model = FastRNN(**{name: getattr(self, name) for name in FastRNN._parameter_defaults()})
        model.set_params(vocab_size=None).check_parameters()
        own = {name: getattr(self, name) for name in _VOCABULARY_PARAMS}
        vocabulary = Vocabulary(self.vocab_size, **own, verbose=self.verbose, n_jobs=self.n_threads)
        vocabulary.check_parameters()
        return vocabulary, model

    def check_parameters(self) -> None:
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        self._build()

    def _data(self, texts, warm):
        """(x, y, vocabulary, model), the latter two those of before if `warm` and there are any."""
        vocabulary, model = self._build()  # their checks come before the long reading of the texts
        if warm and hasattr(self, "model_"):
            for name, own in (("vocab_size", "max_size"), *((n, n) for n in _VOCABULARY_PARAMS)):
                check_same(name, getattr(self._checked, name), getattr(self.vocabulary_._checked, own))
            parameters = model.get_params() | {"vocab_size": self.model_.vocab_size_}
            return *self.vocabulary_.transform(texts), self.vocabulary_, self.model_.set_params(**parameters)
        x, y = vocabulary.fit_transform(texts)
        return x, y, vocabulary, model.set_params(vocab_size=len(vocabulary))

"""`Translator`: two vocabularies and a `Seq2Seq` in one, from raw text to text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .. import storage
from ..base import Estimator
from ..data.ragged import Ragged
from ..text.special_tokens import START
from ..text.unknown_words import UnknownWords
from ..text.vocabulary import Vocabulary
from ..validation import check_callable, check_choice, check_list, check_path, check_str, errors_named
from .bleu import bleu
from .ensemble import Ensemble
from .fitting import restored_if_refused
from .model_file import arrays_of, header_of, read_model, read_vocabulary
from .pair_texts import by_side, check_counts, check_one_each, check_texts, indices, listed
from .parameters import TRANSLATOR, checks
from .seq2seq import Seq2Seq
from .weight_checks import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..typing import (
        Detokenizer,
        FilePath,
        Float64Array,
        ScoreOptions,
        Self,
        Seq2SeqParameters,
        Text,
        Texts,
        Tokenizer,
        Unpack,
    )

_OF_SIDES = ("language", "tokenizer", "detokenizer")  # one for both sides, or a pair


class Translator(Estimator):
    """Texts to texts, one sentence or short text each: a `Seq2Seq` between two vocabularies.

    Parameters
    ----------
    source_vocab_size, target_vocab_size : int or None
        Largest numbers of different tokens of each side, special ones included; rarer words become UNKNOWN_TOKEN. None
        keeps all.
    level : {"word", "char", "whitespace"}
        What a token is, on both sides, see `Vocabulary`.
    lowercase : bool
        Of both sides.
    language : str or pair of str
        Whose abbreviations have their full stops, see `Vocabulary`: of both sides, or (of sources, of targets).
    tokenizer, detokenizer : callable or pair of callables, optional
        Functions from str to list of str, and back, in place of `level`, see `Vocabulary`; one for both sides, or a
        pair (for sources, for targets), either of which may be None.
    **parameters
        All further parameters of `Seq2Seq`: cell, hidden_dim, num_layers, reverse_source, max_epochs, ...

    Attributes
    ----------
    source_vocabulary_, target_vocabulary_ : Vocabulary
    model_ : Seq2Seq

    Examples
    --------
    >>> translator = Translator(max_epochs=10).fit(english, french)  # doctest: +SKIP
    >>> translator.translate(["i am hungry ."], beam_width=5)  # doctest: +SKIP
    """

    _checks, _further = checks(TRANSLATOR), Seq2Seq
    source_vocabulary_: Vocabulary
    target_vocabulary_: Vocabulary
    model_: Seq2Seq
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the parameters, which `_store` sets

    def __init__(
        self,
        source_vocab_size: int | None = 8000,
        target_vocab_size: int | None = 8000,
        level: str = "word",
        lowercase: bool = True,
        *,
        language: str | tuple[str, str] = "english",
        tokenizer: Tokenizer | tuple[Tokenizer | None, Tokenizer | None] | None = None,
        detokenizer: Detokenizer | tuple[Detokenizer | None, Detokenizer | None] | None = None,
        **parameters: Unpack[Seq2SeqParameters],
    ) -> None:
        self._store(
            parameters, source_vocab_size=source_vocab_size, target_vocab_size=target_vocab_size, level=level,
            lowercase=lowercase, language=language, tokenizer=tokenizer, detokenizer=detokenizer,
        )  # fmt: skip

    def fit(
        self,
        source_texts: Texts,
        target_texts: Texts,
        *,
        validation_texts: tuple[Texts, Texts] | None = None,
        callback: Callable[[Self], object] | None = None,
        resume: FilePath | None = None,
    ) -> Self:
        """Learn both vocabularies and train from initial weights; with `warm_start`, in the vocabularies first learned.

        Parameters
        ----------
        source_texts, target_texts : iterables of str or lists of str
            Text i of each is one sequence, and they belong together. A list of str is tokens.
        validation_texts : pair of such iterables, optional
            Sources and targets that are measured after every epoch.
        callback, resume
            As in `FastRNN.fit`; the callback gets this Translator.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Unlike numbers of texts, an empty text, or a parameter that is not usable.
        DivergenceError
            Losses were not finite, again and again; the last good weights are kept.
        """
        check_callable("callback", callback)
        resume = check_path("resume", resume, none=True)
        warm = self._checked.warm_start and resume is None and hasattr(self, "model_")
        vocabularies, model = self._build()  # their checks come before the long reading of the texts
        if warm:
            self._check_same_vocabularies()
            vocabularies, model = (self.source_vocabulary_, self.target_vocabulary_), self._refit_model(model)
        source, target = listed(source_texts, "source_texts"), listed(target_texts, "target_texts")
        check_counts(source, target)
        data = [
            indices(vocabulary.transform if warm else vocabulary.fit_transform, texts, name)
            for vocabulary, texts, name in zip(vocabularies, (source, target), ("source", "target"), strict=True)
        ]
        validation = None if validation_texts is None else self._validation(vocabularies, validation_texts)
        model.set_params(source_vocab_size=len(vocabularies[0]), target_vocab_size=len(vocabularies[1]))
        called = None if callback is None else lambda _: callback(self)
        with restored_if_refused(self):
            (self.source_vocabulary_, self.target_vocabulary_), self.model_ = vocabularies, model
            model.fit(*data, validation_data=validation, callback=called, resume=resume)
        return self

    @overload
    def translate(
        self, texts: Texts, *, beam_width: int = 5, n_best: None = None, min_length: int = 1, max_length: int = 100,
        length_penalty: float = 0.0, unknown: str = "token", ensemble: Sequence[Translator] = (),
    ) -> list[str]: ...  # fmt: skip

    @overload
    def translate(
        self, texts: Texts, *, beam_width: int = 5, n_best: int, min_length: int = 1, max_length: int = 100,
        length_penalty: float = 0.0, unknown: str = "token", ensemble: Sequence[Translator] = (),
    ) -> list[list[tuple[str, float]]]: ...  # fmt: skip

    def translate(
        self,
        texts: Texts,
        *,
        beam_width: int = 5,
        n_best: int | None = None,
        min_length: int = 1,
        max_length: int = 100,
        length_penalty: float = 0.0,
        unknown: str = "token",
        ensemble: Sequence[Translator] = (),
    ) -> list[str] | list[list[tuple[str, float]]]:
        """Translate texts.

        Parameters
        ----------
        texts : list of str or lists of str
            A list of str is tokens.
        beam_width, min_length, max_length, length_penalty
            As in `Seq2Seq.search`, lengths in tokens; a beam_width of 1 is greedy. UNKNOWN_TOKEN is never written.
        n_best : int, optional
            Return so many translations of every text, with their scores.
        unknown : {"token", "error"}
            What a word that the vocabulary lacks does: stand as UNKNOWN_TOKEN, and the logger "fastrnn" tells how many
            there were; or raise ValueError.
        ensemble : list of Translator
            Others of the same vocabularies, to search together with: the mean of all probabilities decides.

        Returns
        -------
        list of str; with `n_best` a list, one a text, of lists of (str, float)
            The float is ln p, nats, divided by length ** length_penalty; the best first.
        """
        source, oov = self.encode_sources(texts, "texts", unknown)
        oov.log()
        written = self.translate_encoded(
            source, beam_width=beam_width, n_best=n_best, min_length=min_length, max_length=max_length,
            length_penalty=length_penalty, ensemble=ensemble,
        )  # fmt: skip
        return [row[0][0] for row in written] if n_best is None else written

    def translate_encoded(
        self, source: Ragged, *, ensemble: Sequence[Translator] = (), **options: Any
    ) -> list[list[tuple[str, float]]]:
        """What `translate` returns with `n_best`, of what `encode_sources` returned; `options` as `search` has them."""
        options["exclude"] = (START, len(self.target_vocabulary_) - 1)
        found = self._searcher(ensemble).search(source, **options)
        return [[(self.target_vocabulary_.detokenize(h.tokens), h.score) for h in row] for row in found]

    def score(
        self,
        source_texts: Texts,
        references: Sequence[str] | Sequence[Sequence[Text]],
        *,
        beam_width: int = 1,
        unknown: str = "token",
        ensemble: Sequence[Translator] = (),
        **options: Unpack[ScoreOptions],
    ) -> float:
        """BLEU of the translations, from 0 to 100: higher is better.

        It is what sacrebleu computes of the tokens that the vocabulary makes of the references, with
        ``tokenize="none"``: comparable between models with the same `level` and `lowercase`, and with what others
        measured on the same tokens.

        Parameters
        ----------
        source_texts : list of str
        references : list, one per source, of str, or of lists of str where a text has several translations
            A translation that is tokens, a list of str, stands in such a list, too.
        beam_width, unknown, ensemble, **options
            As in `translate`.
        """
        source, oov = self.encode_sources(source_texts, "source_texts", unknown)
        vocabulary = self.target_vocabulary_
        references = [
            [row] if isinstance(row, str) else listed(row, f"references[{i}]")
            for i, row in enumerate(listed(references, "references"))
        ]
        for i, row in enumerate(references):
            check_texts(row, f"references[{i}]")
        options = {"exclude": (START, len(vocabulary) - 1)} | options
        check_one_each("references", references, source)
        oov.log()
        found = self._searcher(ensemble).predict(source, beam_width=beam_width, **options)
        wanted = [[vocabulary.tokenize(reference) for reference in row] for row in references]
        return bleu(wanted, [vocabulary.decode(tokens) for tokens in found])

    def score_samples(self, source_texts: Texts, target_texts: Texts) -> Float64Array:
        """ln p of every target text given its source, nats: float64 (B,); unknown words count as UNKNOWN_TOKEN."""
        return self.model_.score_samples(*self._encode_pair(source_texts, target_texts))

    def rescore(self, source_texts: Texts, candidates: Sequence[Texts]) -> list[Float64Array]:
        """ln p, nats, of given translations: a list, one a text, of float64 arrays, as `candidates` lists texts."""
        source, _ = self.encode_sources(source_texts, "source_texts")
        encode = self.target_vocabulary_.encode_prompt
        rows = [listed(row, f"candidates[{i}]") for i, row in enumerate(listed(candidates, "candidates"))]
        for i, row in enumerate(rows):
            if row:
                check_texts(row, f"candidates[{i}]")
        check_one_each("candidates", rows, source)
        return self.model_.rescore(source, [[encode(text)[0][1:] for text in row] for row in rows])

    def loss(self, source_texts: Texts, target_texts: Texts) -> float:
        """Mean cross-entropy per target token, SENTENCE_END included, nats."""
        return self.model_.loss(*self._encode_pair(source_texts, target_texts))

    def perplexity(self, source_texts: Texts, target_texts: Texts) -> float:
        """exp(loss)."""
        return self.model_.perplexity(*self._encode_pair(source_texts, target_texts))

    def save(self, path: FilePath) -> None:
        """Write vocabularies and model to one .npz file; as `FastRNN.save`."""
        self._check_fitted("model_")
        path = check_path("path", path)
        arrays = {
            f"{side}/{name}": array
            for side, vocabulary in (("source", self.source_vocabulary_), ("target", self.target_vocabulary_))
            for name, array in vocabulary.to_arrays().items()
        }
        storage.write(path, {"kind": "Translator"} | header_of(self.model_), arrays | arrays_of(self.model_))

    @classmethod
    def load(
        cls,
        path: FilePath,
        *,
        device: str = "cpu",
        tokenizer: Tokenizer | tuple[Tokenizer | None, Tokenizer | None] | None = None,
        detokenizer: Detokenizer | tuple[Detokenizer | None, Detokenizer | None] | None = None,
    ) -> Self:
        """Read what `save` wrote, on whatever device; ValueError if the file is damaged or foreign.

        `tokenizer` and `detokenizer`, each one or a pair, are those of the vocabularies, if they were made with any:
        files hold their names only.
        """
        path = check_path("path", path)
        functions = by_side({"tokenizer": tokenizer, "detokenizer": detokenizer})
        with storage.opened(path, "Translator") as (header, arrays):
            vocabularies = [
                read_vocabulary(path, arrays, f"{side}/", **given)
                for side, given in zip(("source", "target"), functions, strict=True)
            ]
            model = read_model(Seq2Seq, path, header, arrays, device)
        sizes = tuple(map(len, vocabularies))
        if model.network_.vocab_size != sizes:
            raise ValueError(f"{path}: damaged: {sizes} tokens for {model.network_.vocab_size} indices")
        own = {"level": vocabularies[0].level, "lowercase": vocabularies[0].lowercase}
        own |= {"source_vocab_size": vocabularies[0].max_size, "target_vocab_size": vocabularies[1].max_size}
        for name in _OF_SIDES:
            source, target = (getattr(vocabulary, name) for vocabulary in vocabularies)
            own[name] = source if source == target else (source, target)
        translator = cls(**model.get_params() | own)
        (translator.source_vocabulary_, translator.target_vocabulary_), translator.model_ = vocabularies, model
        return translator

    def encode_sources(self, texts: Texts, name: str = "texts", unknown: str = "token") -> tuple[Ragged, UnknownWords]:
        """Indices of source texts.

        Parameters
        ----------
        texts : list of str
        name : str
            What errors call them.
        unknown : {"token", "error"}
            As in `translate`, but nothing is logged.

        Returns
        -------
        Ragged, UnknownWords
        """
        self._check_fitted("model_")
        check_str("name", name)
        check_choice("unknown", unknown, ("token", "error"))
        texts, vocabulary = listed(texts, name), self.source_vocabulary_
        check_texts(texts, name)
        encoded, oov = [], UnknownWords()
        for i, text in enumerate(texts):
            indices, words = vocabulary.encode_prompt(text)
            if words and unknown == "error":
                raise ValueError(
                    f"{name}: found {', '.join(map(repr, words))} in text {i}, expected words of the vocabulary;"
                    ' unknown="token" takes them for UNKNOWN_TOKEN'
                )
            encoded.append(indices[1:])
            oov.add(vocabulary, encoded[-1], words)
        return Ragged.from_sequences(encoded, name), oov

    def _build(self):
        """Two `Vocabulary` and a `Seq2Seq` with these parameters, checked and not fitted."""
        super().check_parameters()  # under the names that they have here
        model = Seq2Seq(**{name: getattr(self, name) for name in Seq2Seq._parameter_defaults()})
        model.set_params(source_vocab_size=None, target_vocab_size=None).check_parameters()
        sizes = self.source_vocab_size, self.target_vocab_size
        sides = by_side({name: getattr(self._checked, name) for name in _OF_SIDES})
        vocabularies = (
            Vocabulary(size, self.level, self.lowercase, "text", **own) for size, own in zip(sizes, sides, strict=True)
        )
        return tuple(vocabularies), model

    def check_parameters(self) -> None:
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        self._build()

    def _check_same_vocabularies(self):
        """ValueError if a parameter of the vocabularies is another than that with which they were learned."""
        sides = by_side({name: getattr(self._checked, name) for name in _OF_SIDES})
        for own, vocabulary in zip(sides, (self.source_vocabulary_, self.target_vocabulary_), strict=True):
            for name, value in own.items():
                check_same(name, value, getattr(vocabulary._checked, name))
        for side, vocabulary in (("source", self.source_vocabulary_), ("target", self.target_vocabulary_)):
            for name, own in ((f"{side}_vocab_size", "max_size"), ("level", "level"), ("lowercase", "lowercase")):
                check_same(name, getattr(self._checked, name), getattr(vocabulary._checked, own))

    def _refit_model(self, model):
        """The fitted model with the parameters of a new one."""
        return self.model_.set_params(**model.get_params())

    def _searcher(self, ensemble):
        """What searches: the model, alone or with those of other Translators."""
        for i, other in enumerate(ensemble := check_list("ensemble", ensemble, "Translator")):
            check_same_vocabularies(self, other, f"ensemble[{i}]")
        return Ensemble([self.model_, *(other.model_ for other in ensemble)]) if ensemble else self.model_

    def _encode_pair(self, source_texts, target_texts):
        self._check_fitted("model_")
        source, target = listed(source_texts, "source_texts"), listed(target_texts, "target_texts")
        check_counts(source, target)
        return (
            indices(self.source_vocabulary_.transform, source, "source"),
            indices(self.target_vocabulary_.transform, target, "target"),
        )

    @staticmethod
    def _validation(vocabularies, texts):
        if not isinstance(texts, (tuple, list)) or len(texts) != 2:
            raise TypeError(f"validation_texts: found a {type(texts).__name__}, expected a pair (sources, targets)")
        source, target = (listed(side, "validation_texts") for side in texts)
        with errors_named("validation_texts"):
            check_counts(source, target)
        return tuple(
            indices(vocabulary.transform, side, "validation")
            for vocabulary, side in zip(vocabularies, (source, target), strict=True)
        )


def check_same_vocabularies(translator, other, name):
    """TypeError or ValueError, which name the other by `name`, unless both Translators read and write alike."""
    if not isinstance(other, Translator):
        raise TypeError(f"{name}: found a {type(other).__name__}, expected a Translator")
    other._check_fitted("model_")
    for side in ("source", "target"):
        wanted, found = (getattr(t, f"{side}_vocabulary_") for t in (translator, other))
        if (found.level, found.lowercase) != (wanted.level, wanted.lowercase):
            raise ValueError(
                f"{name}: found level {found.level!r} and lowercase {found.lowercase}, expected {wanted.level!r} and"
                f" {wanted.lowercase} as the first Translator has"
            )
        if found.tokens_ != wanted.tokens_:
            raise ValueError(
                f"{name}: found another {side} vocabulary ({len(found):,} tokens), expected that of the first"
                f" Translator ({len(wanted):,} tokens): train both on the same pairs"
            )

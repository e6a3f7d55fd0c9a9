"""`Ensemble`: several encoder-decoders that search together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text.special_tokens import START
from ..validation import check_list
from .searcher import Searcher
from .seq2seq import Seq2Seq

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..decoding.beam_search import Hypothesis
    from ..typing import Float64Array, IndexSequence, IntArray, ScoreOptions, SearchOptions, Sequences, Unpack


class Ensemble:
    """Several fitted `Seq2Seq` over the same vocabularies: the mean of their probabilities decides.

    It has `predict`, `search`, `score`, `score_samples`, `rescore`, `loss` and `perplexity` as `Seq2Seq` does.

    Parameters
    ----------
    models : list of Seq2Seq

    Raises
    ------
    ValueError
        There is none, one is not fitted, or their vocabularies have other sizes.
    """

    def __init__(self, models: Iterable[Seq2Seq]) -> None:
        self.models = check_list("models", models, "Seq2Seq")
        if not self.models:
            raise ValueError("models: found none, expected at least one Seq2Seq")
        for model in self.models:
            if not isinstance(model, Seq2Seq):
                raise TypeError(f"models: found a {type(model).__name__}, expected Seq2Seq")
            model._check_fitted("network_")
            network, first = model.network_, self.models[0].network_
            if network.vocab_size != first.vocab_size:
                raise ValueError(
                    f"models: found vocabularies of {network.vocab_size}, expected {first.vocab_size} as the first has"
                )
            if network.dtype != first.dtype:
                raise ValueError(f"models: found dtype {network.dtype}, expected {first.dtype} as the first has")

    def predict(
        self, source: Sequences, *, beam_width: int = 1, max_length: int = 100, **options: Unpack[SearchOptions]
    ) -> list[IntArray]:
        """As `Seq2Seq.predict`."""
        return self._searcher().predict(source, beam_width=beam_width, max_length=max_length, **options)

    def search(
        self,
        source: Sequences,
        *,
        beam_width: int = 5,
        n_best: int | None = None,
        min_length: int = 1,
        max_length: int = 100,
        length_penalty: float = 0.0,
        exclude: Sequence[int] = (START,),
    ) -> list[list[Hypothesis]]:
        """As `Seq2Seq.search`."""
        return self._searcher().search(
            source, beam_width=beam_width, n_best=n_best, min_length=min_length, max_length=max_length,
            length_penalty=length_penalty, exclude=exclude,
        )  # fmt: skip

    def score_samples(self, source: Sequences, target: Sequences) -> Float64Array:
        """As `Seq2Seq.score_samples`."""
        return self._searcher().score_samples(source, target)

    def rescore(self, source: Sequences, candidates: Sequence[Sequences]) -> list[Float64Array]:
        """As `Seq2Seq.rescore`."""
        return self._searcher().rescore(source, candidates)

    def score(
        self,
        source: Sequences,
        references: Sequence[IndexSequence] | Sequence[Sequence[IndexSequence]],
        *,
        beam_width: int = 1,
        **options: Unpack[ScoreOptions],
    ) -> float:
        """As `Seq2Seq.score`."""
        return self._searcher().score(source, references, beam_width=beam_width, **options)

    def loss(self, source: Sequences, target: Sequences) -> float:
        """As `Seq2Seq.loss`."""
        return self._searcher().loss(source, target)

    def perplexity(self, source: Sequences, target: Sequences) -> float:
        """exp(loss)."""
        return self._searcher().perplexity(source, target)

    def _searcher(self):
        return Searcher(self.models)

"""`Seq2Seq`: the encoder-decoder over index sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data.ragged import Ragged, between, reversed_sequences
from ..networks.devices import pair_network_class, resolve
from ..networks.encoder_decoder import Pairs
from ..text.special_tokens import END, START
from ..training.tasks import PairTask
from ..validation import check_integer
from .fitting import fit, partial_fit
from .parameters import SEQ2SEQ, checks
from .rnn import FastRNN
from .searcher import Searcher
from .trainable import Trainable
from .weight_checks import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..decoding.beam_search import Hypothesis
    from ..typing import (
        FilePath,
        Float64Array,
        FloatArray,
        IndexSequence,
        IntArray,
        NetworkParameters,
        ScoreOptions,
        SearchOptions,
        Self,
        Sequences,
        Unpack,
    )

_NAMES = ("source", "target", "validation_data: source", "validation_data: target")


def check_source_and_target(source, target):
    """Both as `Ragged`; TypeError or ValueError unless there is a target for every source."""
    source, target = Ragged.from_sequences(source, "source"), Ragged.from_sequences(target, "target")
    if len(source) != len(target):
        raise ValueError(f"target has {len(target)} sequences, expected {len(source)} as in source")
    return source, target


class Seq2Seq(Trainable):
    """An encoder-decoder: sequences to sequences (Sutskever et al. 2014, arXiv 1409.3215).

    The encoder reads the source; the decoder starts from the encoder's last state in every layer, reads the target word
    by word and predicts the next. Index 0 stands before every target, and 1 ends it, as `Vocabulary` numbers
    SENTENCE_START and SENTENCE_END; neither need be in the data.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    hidden_dim : int
        Units of every layer of both sides.
    reverse_source : bool
        Read the source from its end to its beginning: its first words are then near to the target's first.
    source_vocab_size, target_vocab_size : int, optional
        Numbers of indices; by default one more than the largest in the data first fitted.
    **parameters
        All further parameters of `FastRNN`, but vocab_size, bptt_truncate and chunk_len: num_layers, embedding_dim,
        dropout, max_epochs, ... They hold for both sides; `tie_weights` for the decoder, since the encoder has no
        output. Batches hold pairs of like length. The paper's recipe: ``Seq2Seq(num_layers=4, hidden_dim=1000,
        embedding_dim=1000, init_scale=0.08, optimizer="sgd", learning_rate=0.7, clip_norm=5, batch_size=128,
        lr_schedule="half-epochs", lr_decay_start=5, max_epochs=8)``.

    Attributes
    ----------
    params_ : mapping of str to array
        "encoder...." and "decoder....", each with the names of `FastRNN`; the encoder has no V and c.
    loss_curve_, validation_losses_, n_epochs_, learning_rate_
        As of `FastRNN`; losses are nats per target token, SENTENCE_END included.

    Examples
    --------
    >>> digits = [[2, 3, 4], [5, 3], [4, 4, 2, 5]]
    >>> model = Seq2Seq(hidden_dim=8, max_epochs=1, random_state=0).fit(digits, digits)
    >>> len(model.predict([[2, 3]], max_length=5))
    1
    """

    _checks, _further = checks(SEQ2SEQ), FastRNN
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the parameters, which `_store` sets

    def __init__(
        self,
        cell: str = "lstm",
        hidden_dim: int = 256,
        reverse_source: bool = True,
        source_vocab_size: int | None = None,
        target_vocab_size: int | None = None,
        **parameters: Unpack[NetworkParameters],
    ) -> None:
        self._store(
            parameters, cell=cell, hidden_dim=hidden_dim, reverse_source=reverse_source,
            source_vocab_size=source_vocab_size, target_vocab_size=target_vocab_size,
        )  # fmt: skip

    def fit(
        self,
        source: Sequences,
        target: Sequences,
        *,
        validation_data: tuple[Sequences, Sequences] | None = None,
        callback: Callable[[Self], object] | None = None,
        resume: FilePath | None = None,
    ) -> Self:
        """Train from initial weights, unless `warm_start` or `resume` say otherwise.

        Parameters
        ----------
        source, target : Ragged, or lists of sequences of int
            Sequence i of each belong together; lengths need not agree.
        validation_data : pair (source, target), optional
        callback, resume
            As in `FastRNN.fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Input, a parameter or the checkpoint is not usable; nothing has changed then.
        DivergenceError, OSError
            As in `FastRNN.fit`.
        """
        return fit(self, source, target, validation_data, callback, resume)

    def partial_fit(self, source: Sequences, target: Sequences) -> Self:
        """Train one epoch more, from where the model is; like `fit` the first time."""
        return partial_fit(self, source, target)

    def predict(
        self, source: Sequences, *, beam_width: int = 1, max_length: int = 100, **options: Unpack[SearchOptions]
    ) -> list[IntArray]:
        """The most probable target of every source: a list of int32 arrays, without SENTENCE_END.

        Parameters are those of `search`; a `beam_width` of 1 is greedy.
        """
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
        """Beam search (Sutskever et al. 2014, section 3.2).

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        beam_width : int
            Hypotheses that are kept at every step. One that ends leaves the beam, which is narrower then.
        n_best : int, optional
            Hypotheses to return of every source, at most; by default all, which are `beam_width`.
        min_length, max_length : int
            Tokens of a hypothesis, SENTENCE_END (1) included. What has not ended after max_length is returned as is.
        length_penalty : float
            Hypotheses are sorted by ln p / length ** length_penalty; 0 by ln p, 1 by ln p a token.
        exclude : sequence of int
            Indices never to write, by default SENTENCE_START (0); ln p counts them all the same.

        Returns
        -------
        list, one a source, of lists of Hypothesis, the best first
            Named tuples: `tokens` (int32 array, SENTENCE_END included if it was reached), `log_prob` (nats), `score`.
        """
        return self._searcher().search(
            source, beam_width=beam_width, n_best=n_best, min_length=min_length, max_length=max_length,
            length_penalty=length_penalty, exclude=exclude,
        )  # fmt: skip

    def score_samples(self, source: Sequences, target: Sequences) -> Float64Array:
        """ln p of every target given its source, SENTENCE_END included: float64 (B,), nats."""
        return self._searcher().score_samples(source, target)

    def rescore(self, source: Sequences, candidates: Sequence[Sequences]) -> list[Float64Array]:
        """ln p of given candidates, as of those of another system.

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        candidates : list, one a source, of lists of sequences of int

        Returns
        -------
        list, one a source, of float64 arrays, nats
        """
        return self._searcher().rescore(source, candidates)

    def score(
        self,
        source: Sequences,
        references: Sequence[IndexSequence] | Sequence[Sequence[IndexSequence]],
        *,
        beam_width: int = 1,
        **options: Unpack[ScoreOptions],
    ) -> float:
        """BLEU of what `predict` writes, from 0 to 100, as sacrebleu has it for these tokens: higher is better.

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        references : list, one a source
            Of sequences of int, or of lists of them where a source has several translations.
        beam_width, **options
            As in `predict`.
        """
        return self._searcher().score(source, references, beam_width=beam_width, **options)

    def loss(self, source: Sequences, target: Sequences) -> float:
        """Mean cross-entropy per target token, SENTENCE_END included, nats."""
        return self._searcher().loss(source, target)

    def perplexity(self, source: Sequences, target: Sequences) -> float:
        """exp(loss)."""
        return self._searcher().perplexity(source, target)

    def gradients(self, source: Sequences, target: Sequences) -> tuple[float, dict[str, FloatArray]]:
        """Loss, without dropout, and its gradient: (float, {name of `params_`: array})."""
        pairs = self._pairs(*self._check_pair(source, target))
        return self.network_.gradients(pairs, self._threads())

    _check_data = staticmethod(check_source_and_target)

    def _searcher(self):
        return Searcher([self])

    def _maybe_reverse(self, source):
        return reversed_sequences(source) if self._checked.reverse_source else source

    def _pairs(self, source, target):
        """As the network takes them."""
        return Pairs(self._maybe_reverse(source), *between(target, START, END))

    def _token_losses(self, source, target):
        return self.network_.token_losses(self._pairs(source, target), self._threads())

    def _check_side(self, sequences, name, side):
        """One side's sequences, checked against a fitted model."""
        self._ready_network()
        sequences = Ragged.from_sequences(sequences, name)
        sequences.check_below(self.network_.vocab_size[side], name)
        return sequences

    def _check_pair(self, source, target):
        self._ready_network()
        source, target = check_source_and_target(source, target)
        return self._check_side(source, "source", 0), self._check_side(target, "target", 1)

    def _check_indices(self, data, size):
        """The numbers of indices of both sides, checked."""
        sizes = []
        for side, name in enumerate(("source_vocab_size", "target_vocab_size")):
            asked = getattr(self._checked, name)
            if asked and size:
                check_same(name, asked, size[side])
            largest = max(int(ragged.values.max()) + 1 for ragged in data[side::2])
            sizes.append(size[side] if size else asked or max(largest, END + 1))
        for i, (ragged, name) in enumerate(zip(data, _NAMES, strict=False)):
            ragged.check_below(sizes[i % 2], name)
        return tuple(sizes)

    def _make_network(self, size, device=None, **options):
        checked = self._checked
        return pair_network_class(device or resolve(checked.device))(
            checked.cell, *size, checked.hidden_dim, checked.bias, checked.dtype, checked.num_layers,
            checked.embedding_dim, checked.tie_weights, peepholes=checked.peepholes, **options,
        )  # fmt: skip

    @staticmethod
    def _stored_size(size):
        source, target = size
        check_integer("vocab_size of the source", source, 1)
        check_integer("vocab_size of the target", target, 2)
        return source, target

    def _task(self, source, target, validation):
        validation = None if validation is None else self._pairs(*validation)
        return PairTask(
            self.network_, self._pairs(source, target), validation, batch_size=self._checked.batch_size,
            n_threads=self._threads(), dropout=self._checked.dropout > 0,
            n_sampled=self._n_sampled(self.network_.decoder.vocab_size),
        )  # fmt: skip

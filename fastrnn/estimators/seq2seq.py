"""`Seq2Seq`: the encoder-decoder over index sequences, and `Ensemble`: several of them that search together."""

import numbers

import numpy as np

from ..data.ragged import Ragged, between, reversed_sequences
from ..decoding.beam_search import beam_search
from ..networks.devices import pair_network_class, resolve
from ..networks.encoder_decoder import Pairs
from ..text.special_tokens import END, START
from ..training.tasks import PairTask
from ..validation import check_bool, check_integer, check_list, check_real, integer
from .bleu import bleu
from .rnn import FastRNN
from .trainable import Trainable, check_results, check_same

_NOT_OURS = ("vocab_size", "bptt_truncate", "chunk_len")
_NAMES = ("source", "target", "validation_data: source", "validation_data: target")


def check_sides(source, target):
    """Both as `Ragged`; TypeError or ValueError unless there is a target for every source."""
    source, target = Ragged.from_sequences(source, "source"), Ragged.from_sequences(target, "target")
    if len(source) != len(target):
        raise ValueError(f"target has {len(target)} sequences, expected {len(source)} as in source")
    return source, target


class Searching:
    """What one encoder-decoder and an ensemble have in common: search and rescoring over `_members()`."""

    def predict(self, source, *, beam_width=1, max_length=100, **options):
        """The most probable target of every source: a list of int32 arrays, without SENTENCE_END.

        Parameters are those of `search`; a `beam_width` of 1 is greedy.
        """
        found = self.search(source, beam_width=beam_width, max_length=max_length, **options)
        return [without_end(hypotheses[0].tokens) for hypotheses in found]

    def search(
        self, source, *, beam_width=5, n_best=None, min_length=1, max_length=100, length_penalty=0.0, exclude=(START,)
    ):
        """Beam search (Sutskever et al. 2014, section 3.2).

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        beam_width : int
            Hypotheses that are kept at every step. One that ends leaves the beam, which is narrower then.
        n_best : int, optional
            Hypotheses to return of every source, at most; by default all, which are `beam_width`.
        min_length, max_length : int
            Tokens of a hypothesis, SENTENCE_END (1) included. One that has not ended after max_length stands as it is.
        length_penalty : float
            Hypotheses are sorted by ln p / length ** length_penalty; 0 by ln p, 1 by ln p a token.
        exclude : sequence of int
            Indices never to write, by default SENTENCE_START (0); ln p counts them all the same.

        Returns
        -------
        list, one a source, of lists of Hypothesis, the best first
            Named tuples: `tokens` (int32 array, SENTENCE_END included if it was reached), `log_prob` (nats), `score`.
        """
        members = self._members()
        source = members[0]._side(source, "source", 0)
        beam_width, n_best = check_integer("beam_width", beam_width, 1), check_integer("n_best", n_best, 1, none=True)
        if n_best is not None and n_best > beam_width:
            raise ValueError(f"n_best: found {n_best}, expected at most beam_width {beam_width}")
        min_length = check_integer("min_length", min_length, 1)
        max_length = check_integer("max_length", max_length, min_length)
        length_penalty = check_real("length_penalty", length_penalty, 0, 30, low_open=False, high_open=False)
        exclude = self._excluded(exclude, min_length)
        threads = members[0]._threads()
        states = [model.network_.states(model._turned(source), threads) for model in members]
        found = beam_search(
            [model.network_.decoder for model in members], states, start=START, end=END, width=beam_width,
            min_length=min_length, max_length=max_length, exclude=np.array(exclude, np.int64),
            length_penalty=length_penalty, n_threads=threads,
        )  # fmt: skip
        check_results(members, [row[0].log_prob if row else np.nan for row in found])
        return [hypotheses[:n_best] for hypotheses in found]

    def score_samples(self, source, target):
        """ln p of every target given its source, SENTENCE_END included: float64 (B,), nats."""
        members = self._members()
        source, target = members[0]._both(source, target)
        losses = np.stack([model._token_losses(source, target) for model in members]).astype(np.float64)
        check_results(members, losses)
        # the mean of the probabilities, and not of their logarithms
        log_p = np.logaddexp.reduce(-losses, axis=0) - np.log(len(members))
        return np.add.reduceat(log_p, target.offsets[:-1] + np.arange(len(target)))

    def rescore(self, source, candidates):
        """ln p of given candidates, as of those of another system.

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        candidates : list, one a source, of lists of sequences of int

        Returns
        -------
        list, one a source, of float64 arrays, nats
        """
        source = self._members()[0]._side(source, "source", 0)
        candidates = [
            check_list(f"candidates[{i}]", row, "sequences of int")
            for i, row in enumerate(check_list("candidates", candidates, "lists of sequences"))
        ]
        if len(candidates) != len(source):
            raise ValueError(f"candidates: found {len(candidates)} lists, expected {len(source)}, one for every source")
        counts = [len(row) for row in candidates]
        flat = [candidate for row in candidates for candidate in row]
        if not flat:
            raise ValueError("candidates: found none, expected at least one")
        flat = Ragged.from_sequences(flat, "candidates")
        found = self.score_samples(source[np.repeat(np.arange(len(source)), counts)], flat)
        return np.split(found, np.cumsum(counts)[:-1])

    def score(self, source, references, *, beam_width=1, **options):
        """BLEU of what `predict` writes, from 0 to 100, as sacrebleu has it for these tokens: higher is better.

        Parameters
        ----------
        source : Ragged, or a list of sequences of int
        references : list, one a source
            Of sequences of int, or of lists of them where a source has several translations.
        beam_width, **options
            As in `predict`.
        """
        references = [_as_references(row, i) for i, row in enumerate(check_list("references", references, "sequences"))]
        found = self.predict(source, beam_width=beam_width, **options)
        if len(references) != len(found):
            raise ValueError(f"references: found {len(references)}, expected {len(found)}, one for every source")
        return bleu(references, [tokens.tolist() for tokens in found])

    def loss(self, source, target):
        """Mean cross-entropy a target token, SENTENCE_END included, nats."""
        source, target = self._members()[0]._both(source, target)
        return float(-self.score_samples(source, target).sum() / (len(target.values) + len(target)))

    def perplexity(self, source, target):
        """exp(loss)."""
        return float(np.exp(self.loss(source, target)))

    def _excluded(self, exclude, min_length):
        exclude, size = check_list("exclude", exclude, "int"), self._members()[0].network_.vocab_size[1]
        if exclude:
            Ragged.from_sequences([exclude], "exclude").check_below(size, "exclude")
        if END in exclude:
            raise ValueError(f"exclude: found {END}, SENTENCE_END, without which no hypothesis ends")
        if min_length > 1 and len({*exclude, END}) == size:
            raise ValueError("exclude: no index is left that could be written before SENTENCE_END")
        return exclude


class Seq2Seq(Searching, Trainable):
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
        As of `FastRNN`; losses are nats a target token, SENTENCE_END included.

    Examples
    --------
    >>> digits = [[2, 3, 4], [5, 3], [4, 4, 2, 5]]
    >>> model = Seq2Seq(hidden_dim=8, max_epochs=1, random_state=0).fit(digits, digits)
    >>> len(model.predict([[2, 3]], max_length=5))
    1
    """

    _checks = Trainable._checks | {
        "reverse_source": check_bool,
        "source_vocab_size": integer(1, none=True),
        "target_vocab_size": integer(2, none=True),
    }

    def __init__(
        self, cell="lstm", hidden_dim=256, reverse_source=True, source_vocab_size=None, target_vocab_size=None,
        **parameters,
    ):  # fmt: skip
        self.cell = cell
        self.hidden_dim = hidden_dim
        self.reverse_source = reverse_source
        self.source_vocab_size = source_vocab_size
        self.target_vocab_size = target_vocab_size
        defaults = self._parameter_defaults()
        for name in parameters:
            if name not in defaults:
                raise TypeError(f"no parameter {name!r}, expected one of {', '.join(defaults)}")
        for name in list(defaults)[5:]:
            setattr(self, name, parameters.get(name, defaults[name]))

    @classmethod
    def _parameter_defaults(cls):
        own = {
            "cell": "lstm", "hidden_dim": 256, "reverse_source": True, "source_vocab_size": None,
            "target_vocab_size": None,
        }  # fmt: skip
        shared = FastRNN._parameter_defaults().items()
        return own | {name: default for name, default in shared if name not in (*own, *_NOT_OURS)}

    def fit(self, source, target, *, validation_data=None, callback=None, resume=None):
        """Train from fresh weights, unless `warm_start` or `resume` say otherwise.

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
        return self._fit(source, target, validation_data, callback, resume)

    def partial_fit(self, source, target):
        """Train one epoch more, from where the model is; like `fit` the first time."""
        return self._partial_fit(source, target)

    def gradients(self, source, target):
        """Loss, without dropout, and its gradient: (float, {name of `params_`: array})."""
        pairs = self._pairs(*self._both(source, target))
        return self.network_.gradients(pairs, self._threads())

    _check_data = staticmethod(check_sides)

    def _members(self):
        self._check_fitted("network_")
        return [self]

    def _turned(self, source):
        return reversed_sequences(source) if self._checked.reverse_source else source

    def _pairs(self, source, target):
        """As the network takes them."""
        return Pairs(self._turned(source), *between(target, START, END))

    def _token_losses(self, source, target):
        return self.network_.token_losses(self._pairs(source, target), self._threads())

    def _side(self, sequences, name, side):
        """One side's sequences, checked against a fitted model."""
        self._check_fitted("network_")
        sequences = Ragged.from_sequences(sequences, name)
        sequences.check_below(self.network_.vocab_size[side], name)
        return sequences

    def _both(self, source, target):
        self._check_fitted("network_")
        source, target = check_sides(source, target)
        return self._side(source, "source", 0), self._side(target, "target", 1)

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


class Ensemble(Searching):
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

    def __init__(self, models):
        self.models = check_list("models", models, "Seq2Seq")
        if not self.models:
            raise ValueError("models: found none, expected at least one Seq2Seq")
        for model in self.models:
            if not isinstance(model, Seq2Seq):
                raise TypeError(f"models: found a {type(model).__name__}, expected Seq2Seq")
            sizes, first = model._members()[0].network_.vocab_size, self.models[0]._members()[0].network_
            if sizes != first.vocab_size:
                raise ValueError(f"models: found vocabularies of {sizes}, expected {first.vocab_size} as the first has")
            if model.network_.dtype != first.dtype:
                raise ValueError(f"models: found dtype {model.network_.dtype}, expected {first.dtype} as the first has")

    def _members(self):
        return self.models


def without_end(tokens):
    """The tokens before SENTENCE_END, if it is there."""
    return tokens[:-1] if len(tokens) and tokens[-1] == END else tokens


def _as_references(row, place):
    """A list of lists of int, from one reference or several."""
    name = f"references[{place}]"
    row = check_list(name, row, "int, or of lists of int")
    if not row:
        raise ValueError(f"{name}: found none, expected at least one")
    several = not isinstance(row[0], numbers.Number)
    return Ragged.from_sequences(row if several else [row], name).to_list()

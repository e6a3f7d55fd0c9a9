"""`Searcher`: beam search, rescoring and BLEU with one encoder-decoder or several, for `Seq2Seq` and `Ensemble`."""

import numbers

import numpy as np

from ..data.ragged import Ragged
from ..decoding.beam_search import beam_search
from ..text.special_tokens import END, START
from ..validation import check_integer, check_list, check_real
from .bleu import bleu
from .weight_checks import check_results


class Searcher:
    """Search and rescoring with encoder-decoders of the same vocabularies: the mean of their probabilities decides.

    `Seq2Seq` documents the methods, which are its own.

    Parameters
    ----------
    models : list of Seq2Seq
        Fitted, at least one.
    """

    def __init__(self, models):
        self.models = models
        for model in models:
            model._ready_network()

    def predict(self, source, **options):
        """See `Seq2Seq.predict`."""
        found = self.search(source, **options)
        return [_without_end(hypotheses[0].tokens) for hypotheses in found]

    def search(
        self, source, *, beam_width=5, n_best=None, min_length=1, max_length=100, length_penalty=0.0, exclude=(START,)
    ):
        """See `Seq2Seq.search`."""
        source = self._check_source(source)
        beam_width, n_best = check_integer("beam_width", beam_width, 1), check_integer("n_best", n_best, 1, none=True)
        if n_best is not None and n_best > beam_width:
            raise ValueError(f"n_best: found {n_best}, expected at most beam_width {beam_width}")
        min_length = check_integer("min_length", min_length, 1)
        max_length = check_integer("max_length", max_length, min_length)
        length_penalty = check_real("length_penalty", length_penalty, 0, 30, low_open=False, high_open=False)
        exclude = self._check_exclude(exclude, min_length)
        threads = self.models[0]._threads()
        states = [model.network_.states(model._maybe_reverse(source), threads) for model in self.models]
        found = beam_search(
            [model.network_.decoder for model in self.models], states, start=START, end=END, width=beam_width,
            min_length=min_length, max_length=max_length, exclude=np.array(exclude, np.int64),
            length_penalty=length_penalty, n_threads=threads,
        )  # fmt: skip
        check_results(self.models, [row[0].log_prob if row else np.nan for row in found])
        return [hypotheses[:n_best] for hypotheses in found]

    def score_samples(self, source, target):
        """See `Seq2Seq.score_samples`."""
        source, target = self.models[0]._check_pair(source, target)
        losses = np.stack([model._token_losses(source, target) for model in self.models]).astype(np.float64)
        check_results(self.models, losses)
        # the mean of the probabilities, and not of their logarithms
        log_p = np.logaddexp.reduce(-losses, axis=0) - np.log(len(self.models))
        return np.add.reduceat(log_p, target.offsets[:-1] + np.arange(len(target)))

    def rescore(self, source, candidates):
        """See `Seq2Seq.rescore`."""
        source = self._check_source(source)
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

    def score(self, source, references, **options):
        """See `Seq2Seq.score`."""
        references = [_as_references(row, i) for i, row in enumerate(check_list("references", references, "sequences"))]
        found = self.predict(source, **options)
        if len(references) != len(found):
            raise ValueError(f"references: found {len(references)}, expected {len(found)}, one for every source")
        return bleu(references, [tokens.tolist() for tokens in found])

    def loss(self, source, target):
        """See `Seq2Seq.loss`."""
        source, target = self.models[0]._check_pair(source, target)
        return float(-self.score_samples(source, target).sum() / (len(target.values) + len(target)))

    def perplexity(self, source, target):
        """See `Seq2Seq.perplexity`."""
        return float(np.exp(self.loss(source, target)))

    def _check_source(self, source):
        return self.models[0]._check_side(source, "source", 0)

    def _check_exclude(self, exclude, min_length):
        exclude, size = check_list("exclude", exclude, "int"), self.models[0].network_.vocab_size[1]
        if exclude:
            Ragged.from_sequences([exclude], "exclude").check_below(size, "exclude")
        if END in exclude:
            raise ValueError(f"exclude: found {END}, SENTENCE_END, without which no hypothesis ends")
        if min_length > 1 and len({*exclude, END}) == size:
            raise ValueError("exclude: no index is left that could be written before SENTENCE_END")
        return exclude


def _without_end(tokens):
    """The tokens before SENTENCE_END, if it is there."""
    return tokens[:-1] if len(tokens) and tokens[-1] == END else tokens


def _as_references(row, position):
    """A list of lists of int, from one reference or several."""
    name = f"references[{position}]"
    row = check_list(name, row, "int, or of lists of int")
    if not row:
        raise ValueError(f"{name}: found none, expected at least one")
    several = not isinstance(row[0], numbers.Number)
    return Ragged.from_sequences(row if several else [row], name).to_list()

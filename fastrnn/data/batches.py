"""Batches of sequences as the kernels take them: whole sequences, or chunks whose state is carried on."""

import itertools
from typing import NamedTuple

import numpy as np

from .readonly import kernel_view


class Segments(NamedTuple):
    """Segments of a corpus: segment s is x[begin[s] : begin[s] + length[s]], and y likewise."""

    x: np.ndarray  # int32[N]
    y: np.ndarray  # int32[N]
    begin: np.ndarray  # int64[B]
    length: np.ndarray  # int64[B], at least 1
    start: np.ndarray  # int8[batches]: what each batch's sequences start from: ZEROS, CARRIED or GIVEN


# What a batch's sequences start from: zeros, the last states of those of the batch before, what stands in
# States.initial.
ZEROS, CARRIED, GIVEN = range(3)


class Batches(NamedTuple):
    """Batches of segments of a corpus.

    Attributes
    ----------
    segments : Segments
        The segments; its `start` has a value for every batch.
    ids : int64 array
        Segments of all batches, each batch's longest first.
    bounds : int64 array (batches + 1,)
        Batch b has the segments ids[bounds[b]:bounds[b + 1]].
    """

    segments: Segments
    ids: np.ndarray
    bounds: np.ndarray

    @classmethod
    def whole(cls, x, y, order, bounds, given=False):
        """Sequences of x and y (`Ragged`) in the order of `ragged.minibatches`; `given`: from given states."""
        start = np.full(len(bounds) - 1, GIVEN if given else ZEROS, np.int8)
        begin = kernel_view(x.offsets[:-1])
        return cls(Segments(kernel_view(x.values), kernel_view(y.values), begin, x.lengths, start), order, bounds)

    @classmethod
    def chunked(cls, x, y, begin, length, order, bounds, chunk_len):
        """Streams of x and y, from `begin` on and of `length` each, in chunks of `chunk_len` steps.

        A batch of streams becomes as many batches as its longest has chunks, each of which goes on from the states
        that the one before ended in.
        """
        begins, lengths, sizes, start = [], [], [], []
        for first, last in itertools.pairwise(bounds):
            streams = order[first:last]
            for t in range(0, int(length[streams[0]]), chunk_len):
                active = streams[length[streams] > t]
                begins.append(begin[active] + t)
                lengths.append(np.minimum(length[active] - t, chunk_len))
                sizes.append(len(active))
                start.append(CARRIED if t else ZEROS)
        begin, length, start = np.concatenate(begins), np.concatenate(lengths), np.array(start, np.int8)
        segments = Segments(kernel_view(x.values), kernel_view(y.values), begin, length, start)
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(segments, np.arange(bounds[-1]), bounds)

    def chunk(self, t, steps):
        """The same sequences from step t on, and at most so many steps of them."""
        segments = self.segments
        length = np.minimum(segments.length - t, steps)
        return self._replace(segments=segments._replace(begin=segments.begin + t, length=length))

    def __getitem__(self, key):
        """Some batches, by a slice of step 1."""
        first, last, _ = key.indices(len(self.bounds) - 1)
        segments = self.segments._replace(start=self.segments.start[first:last])
        return Batches(segments, self.ids, self.bounds[first : last + 1])

    @property
    def count(self):
        """Number of batches."""
        return len(self.bounds) - 1

    @property
    def tokens(self):
        """Tokens of every batch: int64 array."""
        return np.add.reduceat(self.segments.length[self.ids], self.bounds[:-1])

    def words(self, batch):
        """The indices that occur in the inputs of a batch, ascending."""
        segments = self.segments
        chosen = self.ids[self.bounds[batch] : self.bounds[batch + 1]]
        return np.unique(np.concatenate([
            segments.x[begin : begin + length]
            for begin, length in zip(segments.begin[chosen], segments.length[chosen], strict=True)
        ]))  # fmt: skip

    def sizes(self):
        """The most tokens, steps and sequences of a batch."""
        lengths = self.segments.length[self.ids]
        return {
            "tokens": int(self.tokens.max()), "steps": int(lengths.max()), "sequences": int(np.diff(self.bounds).max())
        }  # fmt: skip

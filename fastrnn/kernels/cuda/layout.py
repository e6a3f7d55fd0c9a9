"""From batches of sequences to the rows that the kernels go over: worked out by the host, and uploaded."""

import itertools

import numpy as np

from .driver import Upload
from .workspace import Batch, RowLayout

# Batches that share an upload, at most. The first are fewer: the GPU works on them while the host lays out the next.
MAX_GROUP = 16


class BatchLayouts:
    """The rows of some batches, laid out as they are iterated over, a few batches ahead.

    It must be kept until the kernels that read the rows are done, and may be iterated over once.

    Parameters
    ----------
    segments, ids, bounds
        As `fastrnn.data.batches.Batches` has them: each batch's longest segment first.
    """

    def __init__(self, segments, ids, bounds):
        self._segments, self._ids, self._bounds = segments, ids, bounds
        used = ids[bounds[0] : bounds[-1]]
        # Of each batch four numbers a token, as many words at most and where their rows begin, and where steps do.
        most = 6 * int(segments.length[used].sum()) + int(segments.length[ids[bounds[:-1]]].sum()) + 2 * len(bounds)
        self._upload = Upload(most, np.int32)

    def __iter__(self):
        """Yields `workspace.Batch`."""
        first, size, count = 0, 1, len(self._bounds) - 1
        while first < count:
            last = min(first + size, count)
            yield from self._group(self._bounds[first : last + 1])
            first, size = last, min(2 * size, MAX_GROUP)

    def _group(self, bounds):
        """Some batches, which share one layout."""
        parts = [_rows(self._segments, self._ids[first:last]) for first, last in itertools.pairwise(bounds)]
        fields = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        ends = np.cumsum([len(field) for field in fields])
        uploaded = self._upload.put(np.concatenate(fields))
        layout = RowLayout(*(uploaded[end - len(field) : end] for field, end in zip(fields, ends, strict=True)))
        batches, row0, step0, word0, mark0 = [], 0, 0, 0, 0
        for b, (tokens, _, _, starts, _, words, marks) in enumerate(parts):
            batches.append(Batch(
                layout, row0, step0, word0, mark0, len(tokens), len(starts) - 1, int(bounds[b + 1] - bounds[b]),
                len(words),
            ))  # fmt: skip
            row0, step0, word0, mark0 = row0 + len(tokens), step0 + len(starts), word0 + len(words), mark0 + len(marks)
        return batches


def _rows(segments, ids):
    """The fields of `RowLayout` of one batch."""
    begin, length = segments.begin[ids], segments.length[ids]
    t = np.arange(length[0])[:, None]
    origin = (begin + t)[length > t]  # step after step, within a step sequence after sequence
    tokens, targets = segments.x[origin], segments.y[origin]
    starts = np.zeros(len(t) + 1, np.int64)
    np.cumsum(np.add.reduce(length > t, axis=1), out=starts[1:])
    by_word = np.argsort(tokens, kind="stable")
    ordered = tokens[by_word]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    return tokens, targets, origin, starts, by_word, ordered[first], np.append(first, len(tokens))

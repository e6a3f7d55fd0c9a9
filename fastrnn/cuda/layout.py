"""From batches of sequences to the rows that the kernels go over: worked out by the host, uploaded in one piece."""

import numpy as np

from .driver import to_device
from .workspace import Batch, Layout


def lay_out(segments, ids, bounds):
    """The rows of some batches.

    Parameters
    ----------
    segments, ids, bounds
        As `fastrnn.batches.Batches` has them: each batch's longest piece first.

    Returns
    -------
    list of Batch, which share one layout
    """
    parts = [_rows(segments, ids[first:last]) for first, last in zip(bounds[:-1], bounds[1:], strict=True)]
    fields = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    ends = np.cumsum([len(field) for field in fields])
    uploaded = to_device(np.concatenate(fields).astype(np.int32))
    layout = Layout(*(uploaded[end - len(field) : end] for field, end in zip(fields, ends, strict=True)))
    batches, row0, step0, word0, mark0 = [], 0, 0, 0, 0
    for b, (tokens, _, _, starts, _, words, marks) in enumerate(parts):
        batches.append(Batch(
            layout, row0, step0, word0, mark0, len(tokens), len(starts) - 1, int(bounds[b + 1] - bounds[b]), len(words)
        ))  # fmt: skip
        row0, step0, word0, mark0 = row0 + len(tokens), step0 + len(starts), word0 + len(words), mark0 + len(marks)
    return batches


def _rows(segments, ids):
    """The fields of `Layout` of one batch."""
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

"""Sequences of unlike length in two flat arrays: the only file that knows this format.

`values` holds all sequences end to end; sequence ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..validation import check_integer, check_str, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ..typing import IntArray, Sequences

_INT32_MAX = np.iinfo(np.int32).max
_POOL_BATCHES = 50  # batches sorted by length together: near-equal lengths, still well shuffled
_WRAP = "wrap a single sentence as [sentence]"


class Ragged:
    """A list of index sequences of unlike length, without padding.

    Parameters
    ----------
    values : array of int32, shape (N,)
        All sequences, one after the other. Not copied if it is C-contiguous int32 already.
    offsets : array of int64, shape (B + 1,)
        Sequence ``i`` is ``values[offsets[i]:offsets[i + 1]]``. Not copied if it is int64 already.

    Raises
    ------
    TypeError
        An argument does not hold integers.
    ValueError
        An argument is not one-dimensional, a value does not fit int32, or the offsets do not run
        from 0 to N without decreasing.

    Examples
    --------
    >>> Ragged.from_sequences([[0, 5, 2], [0, 7]])
    Ragged(2 sequences, 5 tokens)
    """

    __slots__ = ("offsets", "values")
    __hash__ = None

    values: IntArray
    offsets: NDArray[np.int64]

    def __init__(self, values: ArrayLike, offsets: ArrayLike) -> None:
        self.values = _as_vector(values, np.int32, "values")
        self.offsets = _as_vector(offsets, np.int64, "offsets")
        if self.offsets.size == 0 or self.offsets[0] != 0:
            raise ValueError("offsets must start at 0")
        if (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must not decrease")
        if self.offsets[-1] != self.values.size:
            raise ValueError(f"offsets end at {self.offsets[-1]}, expected {self.values.size}, the number of values")

    @classmethod
    def from_sequences(cls, sequences: Sequences, name: str = "x") -> Ragged:
        """Build from whatever holds sequences of int indices.

        Parameters
        ----------
        sequences : Ragged, iterable of sequences, object array, or int array of shape (B, T)
            A Ragged is checked and returned as it is, without a copy.
        name : str
            What the error messages call it.

        Returns
        -------
        Ragged

        Raises
        ------
        TypeError
            Not a list of sequences of ints: a flat list, floats, strings, None, bools, nested
            deeper.
        ValueError
            No sequence, an empty sequence, a negative index or one beyond int32.
        """
        check_str("name", name)
        if isinstance(sequences, cls):
            ragged = sequences
        else:
            rows = _as_rows(sequences, name)
            values, offsets = _flatten(rows, name)
            ragged = cls(values, offsets)
        ragged._check_usable(name)
        return ragged

    def check_below(self, vocab_size: int, name: str = "x") -> None:
        """Raise ValueError, naming the place, unless every index is in [0, `vocab_size`)."""
        check_str("name", name)
        values, vocab_size = self.values, check_integer("vocab_size", vocab_size, 0)
        if values.size and (values.max() >= vocab_size or values.min() < 0):
            wrong = np.argmax((values < 0) | (values >= vocab_size))
            raise ValueError(
                f"{name}: {self._position_of(wrong)} is {values[wrong]}, expected 0 <= index < {vocab_size}"
            )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every sequence: array of int64, shape (B,)."""
        return np.diff(self.offsets)

    def to_list(self) -> list[list[int]]:
        """Return the sequences as a list of lists of int."""
        return [sequence.tolist() for sequence in self]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __iter__(self) -> Iterator[IntArray]:
        return (self.values[start:stop] for start, stop in pairwise(self.offsets.tolist()))

    @overload
    def __getitem__(self, key: int) -> IntArray: ...

    @overload
    def __getitem__(self, key: slice | Sequence[int] | NDArray[Any]) -> Ragged: ...

    def __getitem__(self, key: int | slice | Sequence[int] | NDArray[Any]) -> IntArray | Ragged:
        """One sequence (an int32 view) by int; a Ragged by slice, integer or boolean array."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
            key = np.arange(start, stop, step)
        key = np.asarray(key) if np.size(key) else np.empty(0, np.int64)
        if key.ndim > 1 or key.dtype.kind not in ("iu" if key.ndim == 0 else "iub"):
            raise TypeError("a Ragged is indexed by an int, a slice, or an int or bool array")
        if key.ndim == 0:
            i = range(len(self))[int(key)]  # range knows negative ints and IndexError
            return self.values[self.offsets[i] : self.offsets[i + 1]]
        return self._take(np.arange(len(self))[key])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.values, other.values)

    def __repr__(self) -> str:
        return f"Ragged({len(self):,} sequences, {self.values.size:,} tokens)"

    def _between(self, start, stop):
        bounds = self.offsets[start : stop + 1]
        return Ragged(self.values[bounds[0] : bounds[-1]], bounds - bounds[0])

    def _take(self, ids):
        lengths = self.lengths[ids]
        offsets = _offsets(lengths)
        return Ragged(self.values[_spans(self.offsets[ids], lengths)], offsets)

    def _position_of(self, position):
        sequence = np.searchsorted(self.offsets, position, side="right") - 1
        return f"sequence {sequence}, position {position - self.offsets[sequence]}"

    def _check_usable(self, name):
        if len(self) == 0:
            raise ValueError(f"{name} is empty, expected at least one sequence")
        lengths = self.lengths
        if lengths.min() == 0:
            raise ValueError(f"{name}: sequence {lengths.argmin()} is empty, expected at least one index")
        if self.values.min() < 0:
            wrong = np.argmax(self.values < 0)
            raise ValueError(f"{name}: {self._position_of(wrong)} is {self.values[wrong]}, expected an index >= 0")


def check_pair(x, y):
    """Convert inputs and targets, and check that they match sequence by sequence.

    Parameters
    ----------
    x, y : Ragged or anything that `Ragged.from_sequences` takes

    Returns
    -------
    x, y : Ragged

    Raises
    ------
    TypeError, ValueError
        As `Ragged.from_sequences`; ValueError if the numbers of sequences or their lengths differ.
    """
    x, y = Ragged.from_sequences(x, "x"), Ragged.from_sequences(y, "y")
    if len(x) != len(y):
        raise ValueError(f"y has {len(y)} sequences, expected {len(x)} as in x")
    differs = x.lengths != y.lengths
    if differs.any():
        i = int(differs.argmax())
        raise ValueError(f"y: sequence {i} has {y[i].size} tokens, expected {x[i].size} as in x")
    return x, y


def minibatches(lengths, batch_size, rng=None):
    """Cut sequences into batches of similar length.

    Parameters
    ----------
    lengths : array of int, shape (B,)
        Length of every sequence.
    batch_size : int
        Sequences in a batch; the one batch that is left over may be smaller.
    rng : numpy.random.Generator, optional
        Shuffles: sequences are drawn in random order, sorted by length within pools of fifty
        batches, and the batches are shuffled. Without it everything is sorted by length.

    Returns
    -------
    order : array of int64, shape (B,)
        Sequence ids; within a batch the longest comes first.
    bounds : array of int64, shape (n_batches + 1,)
        Batch ``k`` is ``order[bounds[k]:bounds[k + 1]]``.

    Raises
    ------
    ValueError
        `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected an int >= 1")
    lengths = np.asarray(lengths, np.int64)
    starts = np.arange(0, lengths.size, batch_size)
    sizes = np.minimum(batch_size, lengths.size - starts)
    if rng is None:
        order = np.argsort(-lengths, kind="stable")
    else:
        order = rng.permutation(lengths.size)
        if batch_size > 1:
            pool = np.arange(lengths.size) // (_POOL_BATCHES * batch_size)
            order = order[np.lexsort((-lengths[order], pool))]  # stable: ties stay random
            shuffled = rng.permutation(starts.size)
            starts, sizes = starts[shuffled], sizes[shuffled]
            order = order[_spans(starts, sizes)]
    return order.astype(np.int64, copy=False), _offsets(sizes)


def reversed_sequences(x):
    """A `Ragged` of the same sequences, each from its end to its beginning."""
    ends = np.repeat(x.offsets[1:] + x.offsets[:-1] - 1, x.lengths)
    return Ragged(x.values[ends - np.arange(x.values.size)], x.offsets)


def between(x, start, end):
    """Inputs and targets of a language model of x: every sequence after `start`, and before `end`; two `Ragged`."""
    offsets = x.offsets + np.arange(len(x) + 1)
    inputs = np.insert(x.values, x.offsets[:-1], start)
    targets = np.insert(x.values, x.offsets[1:], end)
    return Ragged(inputs, offsets), Ragged(targets, offsets)


def without_first(x):
    """The same sequences without the first index of each, which must not be all that one has."""
    return Ragged(np.delete(x.values, x.offsets[:-1]), x.offsets - np.arange(len(x) + 1))


def streams(offsets, count, least):
    """Cut sequences into streams, so that there are at least about `count`: long ones into equal parts.

    Parameters
    ----------
    offsets : int64 array (B + 1,)
        Of a `Ragged`.
    count : int
        Streams wanted; B or more of them leave every sequence whole.
    least : int
        No part is shorter, unless its sequence is.

    Returns
    -------
    begin, length : int64 arrays
        Where each stream begins among the values, and how many it has.
    """
    lengths = np.diff(offsets)
    if len(lengths) >= count:
        return offsets[:-1], lengths
    share = max(least, -(-int(lengths.sum()) // count))
    parts = np.maximum(1, np.round(lengths / share).astype(np.int64))
    cuts = [np.linspace(first, last, n + 1).astype(np.int64)
            for first, last, n in zip(offsets[:-1], offsets[1:], parts, strict=True)]  # fmt: skip
    begin = np.concatenate([cut[:-1] for cut in cuts])
    return begin, np.concatenate([np.diff(cut) for cut in cuts])


def _offsets(lengths):
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _spans(starts, lengths):
    """Positions start, start + 1, ..., start + length - 1 of every span, end to end."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)


def _as_vector(array, dtype, name):
    try:
        array = np.asarray(array)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be an array of int, found {shown(array)}") from None
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an array of int, found {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, found {array.ndim}")
    if array.size and not np.can_cast(array.dtype, dtype):
        limits = np.iinfo(dtype)
        if array.max() > limits.max or array.min() < limits.min:
            raise ValueError(f"{name} must fit {dtype.__name__}, found {array.max()}")
    return np.ascontiguousarray(array, dtype)


def _as_rows(sequences, name):
    """The sequences as a list, each one a list, tuple, range or array."""
    if hasattr(sequences, "__array__"):
        sequences = np.asarray(sequences)
        if sequences.ndim == 0:
            raise _type_error(name, f"a single {_kind(sequences.item())}")
        if sequences.ndim == 1 and sequences.dtype != object:
            raise _type_error(name, f"a flat array of {sequences.dtype}", _WRAP)
    elif isinstance(sequences, (str, bytes, dict, set, frozenset)) or not isinstance(sequences, Iterable):
        raise _type_error(name, f"a single {_kind(sequences)}")
    try:
        rows = list(sequences)
    except TypeError:
        raise _type_error(name, f"a single {_kind(sequences)}") from None
    if not {type(row) for row in rows} <= {list, tuple, range, np.ndarray}:
        rows = [np.asarray(row) if hasattr(row, "__array__") else row for row in rows]
        _check_row_types(rows, name)
    return rows


def _flatten(rows, name):
    """Values (whatever ints they are, all fit int32) and offsets of a list of rows."""
    values = None
    if rows and all(type(row) is np.ndarray and row.dtype.kind in "iu" for row in rows):
        if all(row.ndim == 1 for row in rows):
            values = np.concatenate(rows)
    if values is None or values.dtype.kind == "f":  # int64 and uint64 concatenate to float64
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
        _check_row_types(rows, name)
        if not all(map(_is_int, set(map(type, chain.from_iterable(rows))))):
            _raise_first_wrong_item(rows, name)
        try:
            values = np.fromiter(chain.from_iterable(rows), np.int64)
        except OverflowError:
            _raise_first_out_of_range(rows, name)
    if values.size and (values.max() > _INT32_MAX or values.min() < 0):
        _raise_first_out_of_range(rows, name)
    return values, _offsets([len(row) for row in rows])


def _check_row_types(rows, name):
    for i, row in enumerate(rows):
        if isinstance(row, (list, tuple, range, np.ndarray)):
            continue
        if i == 0 and isinstance(row, (int, float, np.number)):
            raise _type_error(name, f"a flat list of {_kind(row)}", _WRAP)
        raise _type_error(name, f"{_kind(row)} as sequence {i}")


def _raise_first_wrong_item(rows, name):
    for i, row in enumerate(rows):
        for t, item in enumerate(row):
            if not _is_int(type(item)):
                raise _type_error(name, f"{_kind(item)} in sequence {i}, position {t}")


def _raise_first_out_of_range(rows, name):
    for i, row in enumerate(rows):
        for t, item in enumerate(row):
            if not 0 <= item <= _INT32_MAX:
                raise ValueError(f"{name}: sequence {i}, position {t} is {item}, expected 0 <= index <= {_INT32_MAX}")


def _is_int(kind):
    return issubclass(kind, (int, np.integer)) and kind is not bool


def _kind(item):
    missing = item is None or (isinstance(item, (float, np.floating)) and np.isnan(item))
    return str(item) if missing else type(item).__name__


def _type_error(name, found, advice=""):
    message = f"{name} must be a list of sequences of int indices, found {found}"
    return TypeError(f"{message}; {advice}" if advice else message)

"""The ragged format, its errors and its minibatches."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrnn.data.ragged import Ragged, check_pair, minibatches

SEQUENCES = [[0, 5, 2], [7], [3, 3]]
lists_of_ints = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1), min_size=1)


def object_array(rows):
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@pytest.mark.parametrize(
    "sequences",
    [
        SEQUENCES,
        tuple(map(tuple, SEQUENCES)),
        object_array(SEQUENCES),
        object_array([np.array(row) for row in SEQUENCES]),
        [np.array(row, np.uint8) for row in SEQUENCES],
        [np.array([0, 5, 2], np.uint64), np.array([7]), np.array([3, 3], np.int16)],
        [np.array([0, 5, 2]), [7], (3, np.int64(3))],
        (row for row in SEQUENCES),
        Ragged([0, 5, 2, 7, 3, 3], [0, 3, 4, 6]),
    ],
)
def test_every_container_gives_the_same(sequences):
    ragged = Ragged.from_sequences(sequences)
    assert ragged.to_list() == SEQUENCES
    assert ragged.values.dtype == np.int32 and ragged.values.flags.c_contiguous
    assert ragged.offsets.dtype == np.int64


def test_rows_of_a_matrix_are_sequences():
    assert Ragged.from_sequences(np.array([[1, 2], [3, 4]])[:, ::-1]).to_list() == [[2, 1], [4, 3]]


def test_something_with_array_is_converted():
    class Series:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    assert Ragged.from_sequences(Series(object_array(SEQUENCES))).to_list() == SEQUENCES
    assert Ragged.from_sequences([Series(np.array([1, 2])), [3]]).to_list() == [[1, 2], [3]]


@given(lists_of_ints)
@settings(deadline=None)
def test_lists_and_arrays_survive(sequences):
    assert Ragged.from_sequences(sequences).to_list() == sequences
    assert Ragged.from_sequences([np.array(row) for row in sequences]).to_list() == sequences


def test_nothing_is_copied_when_the_types_fit():
    values, offsets = np.arange(4, dtype=np.int32), np.array([0, 3, 4])
    ragged = Ragged(values, offsets)
    assert ragged.values is values and ragged.offsets is offsets
    assert Ragged.from_sequences(ragged) is ragged
    assert np.shares_memory(ragged[0], values)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 2], "found a flat list of int; wrap a single sentence as \\[sentence\\]"),
        ([1.5, 2], "found a flat list of float; wrap"),
        (range(3), "found a flat list of int"),
        (np.array([1, 2]), "found a flat array of int64; wrap"),
        (object_array([1, 2]), "found a flat list of int"),
        (np.array(3), "found a single int"),
        ([np.array(3)], "found a flat list of int"),
        (3, "found a single int"),
        (None, "found a single None"),
        ("abc", "found a single str"),
        ({1: [2]}, "found a single dict"),
        (["abc"], "found str as sequence 0"),
        ([[1], None], "found None as sequence 1"),
        ([[1], 2], "found int as sequence 1"),
        ([[1], [2, 1.0]], "found float in sequence 1, position 1"),
        ([[1, float("nan")]], "found nan in sequence 0, position 1"),
        (np.array([[1.0, 2.0]]), "found float in sequence 0, position 0"),
        ([np.array([1, np.nan])], "found float in sequence 0, position 0"),
        ([[True]], "found bool in sequence 0"),
        ([np.array([True])], "found bool in sequence 0"),
        ([[None]], "found None in sequence 0"),
        ([["a"]], "found str in sequence 0"),
        ([[[1]]], "found list in sequence 0"),
        (np.ones((1, 1, 1), int), "found list in sequence 0"),
    ],
)
def test_wrong_types_are_named(found, message):
    with pytest.raises(TypeError, match=f"^words must be a list of sequences.*{message}"):
        Ragged.from_sequences(found, "words")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "words is empty, expected at least one sequence"),
        (np.zeros((0, 3), int), "words is empty"),
        ([[1], []], "words: sequence 1 is empty, expected at least one index"),
        (Ragged([1], [0, 1, 1]), "words: sequence 1 is empty"),
        ([[1], [2, -1]], "words: sequence 1, position 1 is -1, expected 0 <= index"),
        (Ragged([1, 2, -3], [0, 1, 3]), "words: sequence 1, position 1 is -3"),
        ([[1, 2**31]], "position 1 is 2147483648, expected 0 <= index <= 2147483647"),
        ([np.array([2**40])], "position 0 is 1099511627776"),
        ([[1], [-(2**80)]], "sequence 1, position 0 is -1208925819614629174706176"),
    ],
)
def test_wrong_values_are_named(found, message):
    with pytest.raises(ValueError, match=message):
        Ragged.from_sequences(found, "words")


@pytest.mark.parametrize(
    ("values", "offsets", "error", "message"),
    [
        ([1.0], [0, 1], TypeError, "values must be an array of int, found float64"),
        ([1], [0.0, 1.0], TypeError, "offsets must be an array of int"),
        ([[1]], [0, 1], ValueError, "values must have one dimension, found 2"),
        ([2**31], [0, 1], ValueError, "values must fit int32, found 2147483648"),
        ([-(2**31) - 1], [0, 1], ValueError, "values must fit int32, found -2147483649"),
        ([1], [1, 1], ValueError, "offsets must start at 0"),
        ([], [], ValueError, "offsets must start at 0"),
        ([1, 2], [0, 2, 1, 2], ValueError, "offsets must not decrease"),
        ([1, 2], [0, 1], ValueError, "offsets end at 1, expected 2"),
    ],
)
def test_the_constructor_refuses_damage(values, offsets, error, message):
    with pytest.raises(error, match=message):
        Ragged(values, offsets)


def test_the_upper_bound():
    ragged = Ragged.from_sequences(SEQUENCES)
    ragged.check_below(8)
    with pytest.raises(ValueError, match="y: sequence 1, position 0 is 7, expected 0 <= index < 7"):
        ragged.check_below(7, "y")
    with pytest.raises(ValueError, match="x: sequence 0, position 1 is -4"):
        Ragged([3, -4], [0, 2]).check_below(9)
    Ragged([], [0]).check_below(1)


def test_indexing():
    ragged = Ragged.from_sequences(SEQUENCES)
    assert ragged[0].tolist() == [0, 5, 2]
    assert ragged[-1].tolist() == [3, 3]
    assert ragged[np.int64(1)].tolist() == [7]
    assert ragged[1:].to_list() == SEQUENCES[1:]
    assert ragged[2:1].to_list() == []
    assert ragged[::-1].to_list() == SEQUENCES[::-1]
    assert ragged[[2, 0, -2, 0]].to_list() == [SEQUENCES[i] for i in (2, 0, 1, 0)]
    assert ragged[np.array([True, False, True])].to_list() == [SEQUENCES[0], SEQUENCES[2]]
    assert ragged[[]].to_list() == []


@given(lists_of_ints, st.slices(6))
@settings(deadline=None)
def test_slices_are_those_of_a_list(sequences, key):
    assert Ragged.from_sequences(sequences)[key].to_list() == sequences[key]


@pytest.mark.parametrize("key", [3, -4, [3], np.array([-4])])
def test_index_out_of_range(key):
    with pytest.raises(IndexError):
        Ragged.from_sequences(SEQUENCES)[key]


@pytest.mark.parametrize("key", [1.0, "a", True, [[0]], None])
def test_index_of_a_wrong_type(key):
    with pytest.raises(TypeError, match="indexed by an int, a slice, or an int or bool array"):
        Ragged.from_sequences(SEQUENCES)[key]


def test_what_a_list_does():
    ragged = Ragged.from_sequences(SEQUENCES)
    assert len(ragged) == 3
    assert ragged.lengths.tolist() == [3, 1, 2] and ragged.lengths.dtype == np.int64
    assert [row.tolist() for row in ragged] == SEQUENCES
    assert pickle.loads(pickle.dumps(ragged)) == ragged
    assert repr(ragged) == "Ragged(3 sequences, 6 tokens)"
    assert repr(Ragged.from_sequences(np.ones((1234, 2), int))) == ("Ragged(1,234 sequences, 2,468 tokens)")


def test_equality():
    ragged = Ragged.from_sequences(SEQUENCES)
    assert ragged == Ragged.from_sequences(tuple(SEQUENCES))
    assert ragged != Ragged.from_sequences([[0, 5], [2, 7], [3, 3]])
    assert ragged != Ragged.from_sequences([[0, 5, 2], [7], [3, 4]])
    assert ragged != SEQUENCES
    with pytest.raises(TypeError, match="unhashable"):
        hash(ragged)


def test_a_pair_must_match():
    x, y = check_pair([[1, 2], [3]], [[4, 5], [6]])
    assert (x.to_list(), y.to_list()) == ([[1, 2], [3]], [[4, 5], [6]])
    with pytest.raises(ValueError, match="y has 1 sequences, expected 2 as in x"):
        check_pair([[1], [2]], [[1]])
    with pytest.raises(ValueError, match="y: sequence 1 has 3 tokens, expected 2 as in x"):
        check_pair([[1], [2, 3], [4]], [[1], [2, 3, 4], [4, 5]])
    with pytest.raises(ValueError, match="^y is empty"):
        check_pair([[1]], [])


@given(st.lists(st.integers(1, 30), max_size=300), st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_batches_hold_every_sequence_once(lengths, batch_size, shuffle):
    rng = np.random.default_rng(0) if shuffle else None
    order, bounds = minibatches(lengths, batch_size, rng)
    assert order.dtype == bounds.dtype == np.int64
    assert sorted(order.tolist()) == list(range(len(lengths)))
    sizes = np.diff(bounds)
    assert bounds[0] == 0 and bounds[-1] == len(lengths)
    assert sorted(sizes)[1:] == [batch_size] * (len(sizes) - 1) and all(sizes >= 1)
    for start, stop in itertools.pairwise(bounds):
        assert all(np.diff(np.array(lengths)[order[start:stop]]) <= 0)


def test_without_a_generator_the_longest_comes_first():
    order, bounds = minibatches([2, 5, 3, 5, 1], 2)
    assert order.tolist() == [1, 3, 2, 0, 4]
    assert bounds.tolist() == [0, 2, 4, 5]


def test_one_sequence_a_batch_is_a_plain_shuffle():
    order, bounds = minibatches(np.arange(1, 101), 1, np.random.default_rng(3))
    assert order.tolist() == np.random.default_rng(3).permutation(100).tolist()
    assert bounds.tolist() == list(range(101))


def test_shuffled_batches_are_random_but_of_similar_length():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    order, bounds = minibatches(lengths, 10, np.random.default_rng(1))
    other, _ = minibatches(lengths, 10, np.random.default_rng(2))
    assert order.tolist() != other.tolist()
    spread = [np.ptp(lengths[order[a:b]]) for a, b in itertools.pairwise(bounds)]
    assert np.mean(spread) < 5  # about 90 if they were not bucketed
    means = [lengths[order[a:b]].mean() for a, b in itertools.pairwise(bounds)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2  # batches are shuffled too
    first_pool = np.sort(order[:500])
    assert first_pool.tolist() != list(range(500))  # pools are not runs of the input


def test_an_impossible_batch_size():
    with pytest.raises(ValueError, match="batch_size is 0, expected an int >= 1"):
        minibatches([1], 0)

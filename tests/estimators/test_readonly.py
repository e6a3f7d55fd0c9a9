"""Models and data in memory that must not be written to: joblib's memory maps, pickle's out-of-band buffers."""

import copy
import pickle

import numpy as np
import pytest

from fastrnn import FastRNN, Ragged, Seq2Seq
from fastrnn.data.readonly import kernel_view

X, Y = [[0, 2, 3], [0, 3]] * 2, [[2, 3, 1], [3, 1]] * 2
SHARED = {"hidden_dim": 3, "max_epochs": 1, "n_threads": 1, "random_state": 0, "batch_size": 2}


def frozen(thing):
    """An equal one whose arrays are read-only, as a worker process of joblib has it."""
    buffers = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    assert buffers
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


def weights(model):
    return [network.model.dense for network in model.network_.networks]


def is_mapped(model):
    return all(network._read_only for network in model.network_.networks)


@pytest.fixture(scope="module", params=["FastRNN", "embedding", "Seq2Seq"])
def fitted(request):
    deep = {"embedding_dim": 3, "tie_weights": True} if request.param == "embedding" else {}
    return Seq2Seq("gru", **SHARED).fit(X, Y) if request.param == "Seq2Seq" else FastRNN(**SHARED, **deep).fit(X, Y)


def assert_same_weights(model, other):
    assert model.params_.keys() == other.params_.keys()
    for name, array in model.params_.items():
        np.testing.assert_array_equal(array, other.params_[name], err_msg=name)


def test_using_a_model_copies_nothing(fitted, tmp_path):
    model = frozen(fitted)
    before = [array.ctypes.data for array in weights(model)]
    np.testing.assert_array_equal(model.score_samples(X, Y), fitted.score_samples(X, Y))
    for found, expected in zip(model.predict(X), fitted.predict(X), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert model.gradients(X, Y)[0] == fitted.gradients(X, Y)[0]
    if isinstance(model, FastRNN):
        found, expected = (m.generate(2, random_state=0, max_length=5) for m in (model, fitted))
        assert [s.tolist() for s in found] == [s.tolist() for s in expected]
        np.testing.assert_array_equal(model.predict_proba(X)[0], fitted.predict_proba(X)[0])
    else:
        model.search(X, beam_width=2, max_length=3)
    model.save(tmp_path / "model.npz")
    assert is_mapped(model) and [array.ctypes.data for array in weights(model)] == before
    assert_same_weights(type(fitted).load(tmp_path / "model.npz"), fitted)


@pytest.mark.parametrize("parameters", [{}, {"warm_start": True}, {"warm_start": True, "weight_noise": 0.1}])
def test_training_goes_on_as_it_would_have(fitted, parameters):
    own, model = copy.deepcopy(fitted), frozen(fitted)
    for each in (own, model):
        each.set_params(**parameters)
        each.fit(X, Y) if parameters else each.partial_fit(X, Y)
    assert own.n_epochs_ == model.n_epochs_ == 2 and not is_mapped(model)
    assert_same_weights(model, own)
    assert model.learning_rate_ == own.learning_rate_ and model.n_updates_ == own.n_updates_


def test_weights_are_copied_when_they_are_assigned(fitted):
    model = frozen(fitted)
    name = next(iter(fitted.params_))
    model.params_[name] = np.zeros_like(fitted.params_[name])
    model.params_[name][0] = 1
    assert model.params_[name].sum() == model.params_[name][0].size and fitted.params_[name].any()
    again = frozen(model)
    again.set_params(device="cpu").params_[name][:] = 0
    assert not again.params_[name].any() and model.params_[name].any()


def test_read_only_sequences(fitted):
    x, y = (frozen(Ragged.from_sequences(sequences)) for sequences in (X, Y))
    assert not x.values.flags.writeable and not x.offsets.flags.writeable
    np.testing.assert_array_equal(fitted.score_samples(x, y), fitted.score_samples(X, Y))
    assert fitted.gradients(x, y)[0] == fitted.gradients(X, Y)[0]
    trained, expected = (copy.deepcopy(fitted).partial_fit(*data) for data in ((x, y), (X, Y)))
    assert_same_weights(trained, expected)
    values = np.arange(6, dtype=np.int32)
    values.flags.writeable = False
    assert np.shares_memory(Ragged(values, [0, 6]).values, values)


def test_a_kernel_s_view_is_the_same_memory(tmp_path):
    array = np.arange(6.0)
    assert kernel_view(array) is array
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    view = kernel_view(mapped)
    assert type(view) is np.ndarray and view.flags.writeable and view.ctypes.data == mapped.ctypes.data
    del mapped
    np.testing.assert_array_equal(view, array)  # it keeps the map alive


def test_copies_share_nothing(fitted):
    for other in (copy.deepcopy(fitted.network_), copy.copy(fitted.network_.networks[0])):
        networks = getattr(other, "networks", [other])
        for network, original in zip(networks, fitted.network_.networks, strict=False):
            assert not np.shares_memory(network.model.dense, original.model.dense)
            assert not np.shares_memory(network.U, original.U)
            np.testing.assert_array_equal(network.U, original.U)


@pytest.mark.parametrize("turn", [
    np.asfortranarray, lambda a: a.astype(np.float64), lambda a: a.astype(">f4"),
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
], ids=["fortran", "float64", "big-endian", "strided"])  # fmt: skip
def test_arrays_of_any_layout(turn):
    model = FastRNN(**SHARED).fit(X, Y)
    V = model.params_["V"].copy()
    model.params_["V"] = turn(V)
    np.testing.assert_array_equal(model.params_["V"], V)
    states = np.random.default_rng(0).normal(size=(1, len(X), 3)).astype(np.float32)
    given = turn(states)
    given.flags.writeable = False
    found, expected = (model.score_samples(X, Y, initial_state=s, return_state=True) for s in (given, states))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(given, states)
    _, gradients = model.gradients(X, Y, initial_state=given)
    np.testing.assert_array_equal(
        gradients["initial_state"], model.gradients(X, Y, initial_state=states)[1]["initial_state"]
    )
    numbers = turn(np.array([[0, 2, 3], [0, 3, 2]]).astype(np.int32)).astype(np.int64, order="K")
    np.testing.assert_array_equal(model.predict(numbers)[1], model.predict([[0, 2, 3], [0, 3, 2]])[1])

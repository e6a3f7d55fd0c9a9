"""The oracle's own proof: finite differences, examples worked by hand, and the conventions."""

import math

import numpy as np
import pytest
from reference import (
    STATES,
    count_layers,
    finite_difference,
    forward,
    gradients,
    init_params,
    log_probabilities,
    loss,
    windowed_loss,
)

CELLS = ["rnn", "lstm", "gru"]
VOCAB_SIZE, HIDDEN_DIM = 4, 2
X = [[0, 2, 1, 1, 2], [2, 0]]  # the word 3 is never read
Y = [[2, 1, 1, 2, 3], [0, 1]]


def make_params(cell, bias=True, seed=0, **model):
    return init_params(cell, VOCAB_SIZE, HIDDEN_DIM, bias, np.random.default_rng(seed), **model)


def logistic(a):
    return 1 / (1 + math.exp(-a))


def make_masks(params, x, rng, p=0.4):
    """Masks of a batch: for every sequence and connection (T, width) multipliers, 0 or 1/(1−p)."""
    widths = [params["embedding"].shape[1]] if "embedding" in params else []
    widths += [HIDDEN_DIM] * count_layers(params)
    return [[(rng.random((len(xs), width)) >= p) / (1 - p) for width in widths] for xs in x]


def make_initial(cell, params, x, rng):
    width = HIDDEN_DIM * len(STATES[cell])
    return rng.uniform(-1, 1, (count_layers(params), len(x), width))


def check_every_entry(function, point, grads):
    """Compare every entry of every gradient with the finite difference of function at the point."""
    assert grads.keys() == point.keys()
    for name, grad in grads.items():
        before = point[name].copy()
        assert grad.shape == before.shape
        expected = np.empty_like(grad)
        for index in np.ndindex(grad.shape):
            expected[index] = finite_difference(function, point, name, index)
        np.testing.assert_allclose(grad, expected, rtol=1e-8, atol=1e-9, err_msg=name)
        np.testing.assert_array_equal(point[name], before)


@pytest.mark.parametrize("bptt_truncate", [None, 0, 1, 3, 100])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_every_entry_of_every_gradient_is_the_finite_difference(cell, bias, bptt_truncate):
    params = make_params(cell, bias)
    frozen = {name: array.copy() for name, array in params.items()}

    def function(params):
        if bptt_truncate is None:
            return loss(cell, params, X, Y)
        return windowed_loss(cell, params, frozen, X, Y, bptt_truncate)

    value, grads = gradients(cell, params, X, Y, bptt_truncate)
    assert value == pytest.approx(function(params), rel=1e-14)
    check_every_entry(function, params, grads)
    for name, grad in grads.items():
        if name == "layer0.U":
            assert np.all(grad[:, 3] == 0)
            grad = grad[:, :3]
        assert np.all(np.abs(grad) > 1e-7), name


DEEP = {
    "one layer over an embedding": {"embedding_dim": 3},
    "one layer, tied": {"embedding_dim": 2, "tie_weights": True},
    "two layers": {"num_layers": 2},
    "two layers without bias, tied": {"num_layers": 2, "bias": False, "embedding_dim": 2, "tie_weights": True},
    "three layers over an embedding": {"num_layers": 3, "embedding_dim": 3},
    "three layers without bias": {"num_layers": 3, "bias": False},
}


@pytest.mark.parametrize("bptt_truncate", [None, 0, 2])
@pytest.mark.parametrize("model", DEEP)
@pytest.mark.parametrize("cell", CELLS)
def test_every_entry_in_deep_models_with_masks_from_given_states(cell, model, bptt_truncate):
    rng = np.random.default_rng(2)
    params = make_params(cell, **DEEP[model])
    masks, initial = make_masks(params, X, rng), make_initial(cell, params, X, rng)
    point = params | {"initial_state": initial}
    frozen, frozen_initial = {name: array.copy() for name, array in params.items()}, initial.copy()

    def function(point):
        params = {name: array for name, array in point.items() if name != "initial_state"}
        first = point["initial_state"]
        if bptt_truncate is None:
            return loss(cell, params, X, Y, masks, first)
        return windowed_loss(cell, params, frozen, X, Y, bptt_truncate, masks, first, frozen_initial)

    value, grads = gradients(cell, params, X, Y, bptt_truncate, masks, initial)
    assert value == pytest.approx(function(point), rel=1e-14)
    check_every_entry(function, point, grads)
    for name, grad in grads.items():
        assert np.any(grad != 0) or (name == "initial_state" and bptt_truncate == 0), name


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_hold_at_other_points_and_sizes(cell):
    rng = np.random.default_rng(1)
    x = [rng.integers(11, size=length) for length in (9, 4)]
    y = [rng.integers(11, size=length) for length in (9, 4)]

    def function(params):
        return loss(cell, params, x, y)

    for scale in (0.3, 3.0):
        params = init_params(cell, 11, 6, True, rng, scale)
        _, grads = gradients(cell, params, x, y)
        for name, grad in grads.items():
            assert np.any(grad != 0), name
            for index in rng.integers(grad.shape, size=(4, grad.ndim)):
                difference = finite_difference(function, params, name, tuple(index))
                assert grad[tuple(index)] == pytest.approx(difference, rel=1e-7, abs=2e-9), name


@pytest.mark.parametrize("cell", CELLS)
def test_a_window_as_long_as_the_sequence_is_full_propagation(cell):
    params = make_params(cell)
    _, full = gradients(cell, params, X, Y)
    longest = max(len(xs) for xs in X)
    for bptt_truncate in (longest - 1, longest, 100):
        _, truncated = gradients(cell, params, X, Y, bptt_truncate)
        for name in full:
            np.testing.assert_array_equal(truncated[name], full[name])


@pytest.mark.parametrize("cell", CELLS)
def test_every_shorter_window_gives_another_gradient(cell):
    params = make_params(cell)  # k = 4 would change no W: the state before step 0 is zero
    results = [gradients(cell, params, X, Y, bptt_truncate)[1] for bptt_truncate in range(4)]
    for shorter, longer in zip(results[:-1], results[1:], strict=True):
        for name in shorter:
            if name in ("V", "c"):  # the output layer has no past
                np.testing.assert_array_equal(shorter[name], longer[name])
            else:
                assert np.abs(shorter[name] - longer[name]).max() > 1e-6, name
    one_step = [[1], [3]]
    _, full = gradients(cell, params, one_step, one_step)
    _, truncated = gradients(cell, params, one_step, one_step, 0)
    for name in full:
        np.testing.assert_array_equal(truncated[name], full[name])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_shapes_and_count_of_parameters(cell, bias):
    params = init_params(cell, 7, 3, bias, np.random.default_rng(0))
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    shapes = {"layer0.U": (gates * 3, 7), "layer0.W": (gates * 3, 3), "V": (7, 3)}
    if cell == "lstm":
        shapes["layer0.p"] = (3, 3)
    if bias:
        shapes |= {"layer0.b": (gates * 3,), "c": (7,)}
    assert {name: array.shape for name, array in params.items()} == shapes
    if cell == "rnn" and not bias:
        assert sum(array.size for array in params.values()) == 2 * 3 * 7 + 3**2


@pytest.mark.parametrize("cell", CELLS)
def test_loss_of_zero_parameters_is_the_logarithm_of_the_vocabulary(cell):
    params = {name: np.zeros_like(array) for name, array in make_params(cell).items()}
    assert loss(cell, params, X, Y) == pytest.approx(math.log(VOCAB_SIZE), rel=1e-15)


@pytest.mark.parametrize("cell", CELLS)
def test_loss_weighs_tokens_not_sequences(cell):
    params = make_params(cell)
    scores = log_probabilities(cell, params, X, Y)
    assert scores.shape == (2,)
    assert loss(cell, params, X, Y) == pytest.approx(-scores.sum() / (5 + 2), rel=1e-15)
    for n in range(2):
        assert scores[n] == pytest.approx(-len(X[n]) * loss(cell, params, [X[n]], [Y[n]]))


@pytest.mark.parametrize("cell", CELLS)
def test_probabilities_of_all_sequences_of_one_length_sum_to_one(cell):
    params = make_params(cell)
    words = range(VOCAB_SIZE)
    y = [[a, b, c] for a in words for b in words for c in words]
    x = [[0, *ys[:-1]] for ys in y]
    assert np.exp(log_probabilities(cell, params, x, y)).sum() == pytest.approx(1, rel=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_a_record_is_the_state_to_go_on_from(cell):
    params = make_params(cell)
    records, logits = forward(cell, params, X[0])
    first, head = forward(cell, params, X[0][:2])
    second, tail = forward(cell, params, X[0][2:], state=first[-1])
    np.testing.assert_array_equal(np.concatenate([head, tail]), logits)
    np.testing.assert_array_equal(second[-1][0]["h"], records[-1][0]["h"])
    assert np.abs(forward(cell, params, X[0][2:])[1] - tail).max() > 1e-3
    assert forward(cell, params, [])[1].shape == (0, VOCAB_SIZE)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_parameters_are_computed_in_float64(cell):
    single = {name: array.astype(np.float32) for name, array in make_params(cell).items()}
    double = {name: array.astype(np.float64) for name, array in single.items()}
    value, grads = gradients(cell, single, X, Y)
    assert value == loss(cell, double, X, Y)
    for name, grad in gradients(cell, double, X, Y)[1].items():
        assert grads[name].dtype == np.float64
        np.testing.assert_array_equal(grads[name], grad)


@pytest.mark.parametrize("cell", CELLS)
def test_huge_parameters_give_finite_results(cell):
    params = {name: 1e4 * array for name, array in make_params(cell).items()}
    value, grads = gradients(cell, params, X, Y)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads.values())


def test_tanh_with_one_unit_worked_by_hand():
    params = {"layer0.U": np.array([[0.5, -1.0]]), "layer0.W": np.array([[2.0]]), "V": np.array([[1.0], [-1.0]])}
    x, y = [[0, 1]], [[0, 0]]
    h_0 = (math.e - 1) / (math.e + 1)  # tanh ½
    h_1 = math.tanh(-1 + 2 * h_0)
    records, logits = forward("rnn", params, x[0])
    np.testing.assert_allclose([record["h"][0] for (record,) in records], [h_0, h_1], rtol=1e-14)
    np.testing.assert_allclose(logits, [[h_0, -h_0], [h_1, -h_1]], rtol=1e-14)

    # Two words with logits ±h: the word 0 has probability σ(2h), so L = −½ Σ ln σ(2h_t).
    o_0, o_1 = logistic(2 * h_0), logistic(2 * h_1)
    dh_0, dh_1 = o_0 - 1, o_1 - 1  # ½ · 2 (o − 1)
    da_1 = dh_1 * (1 - h_1**2)
    for bptt_truncate, carried in [(None, 2 * da_1), (0, 0.0), (1, 2 * da_1)]:
        value, grads = gradients("rnn", params, x, y, bptt_truncate)
        assert value == pytest.approx(-(math.log(o_0) + math.log(o_1)) / 2, rel=1e-14)
        da_0 = (dh_0 + carried) * (1 - h_0**2)
        np.testing.assert_allclose(grads["layer0.U"], [[da_0, da_1]], rtol=1e-13)
        np.testing.assert_allclose(grads["layer0.W"], [[da_1 * h_0]], rtol=1e-13)  # h before 0 is 0
        dV = (dh_0 * h_0 + dh_1 * h_1) / 2
        np.testing.assert_allclose(grads["V"], [[dV], [-dV]], rtol=1e-13)


def test_lstm_with_zero_peepholes_is_the_plain_lstm():
    params = make_params("lstm")
    params["layer0.p"][:] = 0
    # Every gate is one row of one matrix applied to the one-hot word, the state and a 1.
    table = np.hstack([params["layer0.U"], params["layer0.W"], params["layer0.b"][:, np.newaxis]])
    h, c = [0.0, 0.0], [0.0, 0.0]
    records, _ = forward("lstm", params, X[0])
    for (record,), word in zip(records, X[0], strict=True):
        column = [float(word == j) for j in range(VOCAB_SIZE)] + h + [1.0]
        a = [math.fsum(w * v for w, v in zip(row, column, strict=True)) for row in table]
        for j in range(2):
            i, f, o, g = a[j], a[2 + j], a[4 + j], a[6 + j]
            c[j] = logistic(f) * c[j] + logistic(i) * math.tanh(g)
            h[j] = logistic(o) * math.tanh(c[j])
        np.testing.assert_allclose(record["h"], h, rtol=1e-13)
        np.testing.assert_allclose(record["c"], c, rtol=1e-13)


def test_lstm_peepholes_with_one_unit_worked_by_hand():
    params = {
        "layer0.U": np.array([[0.1], [0.2], [0.3], [0.4]]),
        "layer0.W": np.array([[0.5], [-0.6], [0.7], [-0.8]]),
        "layer0.p": np.array([[1.0], [-2.0], [3.0]]),
        "V": np.zeros((1, 1)),
    }
    c_0 = logistic(0.1) * math.tanh(0.4)  # the input gate sees the old c, which is 0
    h_0 = logistic(0.3 + 3 * c_0) * math.tanh(c_0)  # the output gate sees the new c
    i = logistic(0.1 + 0.5 * h_0 + 1 * c_0)
    f = logistic(0.2 - 0.6 * h_0 - 2 * c_0)
    c_1 = f * c_0 + i * math.tanh(0.4 - 0.8 * h_0)
    h_1 = logistic(0.3 + 0.7 * h_0 + 3 * c_1) * math.tanh(c_1)
    records, _ = forward("lstm", params, [0, 0])
    np.testing.assert_allclose([r["c"][0] for (r,) in records], [c_0, c_1], rtol=1e-14)
    np.testing.assert_allclose([r["h"][0] for (r,) in records], [h_0, h_1], rtol=1e-14)


def test_gru_update_gate_weighs_the_new_state():
    params = make_params("gru")
    z_rows = slice(0, HIDDEN_DIM)
    state = {"h": np.array([0.3, -0.7])}
    for saturation, expected in [(100.0, "g"), (-100.0, "previous")]:
        params["layer0.b"][z_rows] = saturation
        ((record,),), _ = forward("gru", params, [2], [state])
        h = record["g"] if expected == "g" else state["h"]
        np.testing.assert_allclose(record["h"], h, rtol=1e-14)


def test_gru_reset_gate_acts_before_the_product():
    params = make_params("gru")
    state = {"h": np.array([0.3, -0.7])}
    params["layer0.b"][:] = [100, 100, 100, -100, 0, 0]  # z = (1, 1), r = (1, 0)
    params["layer0.W"][4:] = [[0, 1], [1, 0]]  # W_g exchanges the units
    ((record,),), _ = forward("gru", params, [2], [state])
    a = params["layer0.U"][4:, 2]
    np.testing.assert_allclose(record["h"], np.tanh(a + [0, 0.3]), rtol=1e-14)


def test_gru_with_one_unit_worked_by_hand():
    params = {
        "layer0.U": np.array([[0.1], [-0.2], [0.9]]),
        "layer0.W": np.array([[0.5], [-0.6], [0.7]]),
        "V": np.zeros((1, 1)),
    }
    h_0 = logistic(0.1) * math.tanh(0.9)
    z, r = logistic(0.1 + 0.5 * h_0), logistic(-0.2 - 0.6 * h_0)
    h_1 = (1 - z) * h_0 + z * math.tanh(0.9 + 0.7 * r * h_0)
    records, _ = forward("gru", params, [0, 0])
    np.testing.assert_allclose([r["h"][0] for (r,) in records], [h_0, h_1], rtol=1e-14)


def test_finite_difference_of_a_known_function():
    params = {"V": np.array([[0.7]])}
    slope = finite_difference(lambda params: math.sin(params["V"][0, 0]), params, "V", (0, 0))
    assert slope == pytest.approx(math.cos(0.7), abs=1e-10)
    assert params["V"][0, 0] == 0.7

"""The reference's own proof: finite differences, examples worked by hand, and the conventions."""

import itertools
import math

import numpy as np
import pytest

from reference import (
    STATES,
    count_layers,
    final_states,
    finite_difference,
    forward,
    gradients,
    init_params,
    join_state,
    log_probabilities,
    loss,
    split_state,
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
    for shorter, longer in itertools.pairwise(results):
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


@pytest.mark.parametrize("cell", CELLS)
def test_deep_models_with_other_sizes(cell):
    """Widths that all differ: a product with the wrong side of a matrix would not fit."""
    rng = np.random.default_rng(4)
    x, y = ([rng.integers(11, size=length) for length in (7, 4)] for _ in "xy")
    params = init_params(cell, 11, 6, True, rng, num_layers=2, embedding_dim=5)

    def function(params):
        return loss(cell, params, x, y)

    _, grads = gradients(cell, params, x, y)
    for name, grad in grads.items():
        for index in rng.integers(grad.shape, size=(6, grad.ndim)):
            difference = finite_difference(function, params, name, tuple(index))
            assert grad[tuple(index)] == pytest.approx(difference, rel=1e-7, abs=2e-9), name


@pytest.mark.parametrize("cell", CELLS)
def test_only_windows_longer_than_their_past_reach_the_initial_state(cell):
    params = make_params(cell, num_layers=2)
    initial = make_initial(cell, params, X, np.random.default_rng(0))
    reached = [gradients(cell, params, X, Y, k, initial=initial)[1]["initial_state"] for k in range(7)]
    assert np.all(reached[0] == 0)
    for k in range(5):  # output t adds its share when k exceeds t
        for n in range(2):
            assert np.any(reached[k + 1][:, n] != reached[k][:, n]) == (k < len(X[n]))
    full = gradients(cell, params, X, Y, initial=initial)[1]["initial_state"]
    np.testing.assert_array_equal(reached[5], full)
    np.testing.assert_array_equal(reached[6], full)
    # From k = 1 only output 0 reaches it: as if the first step stood alone.
    tokens = sum(len(xs) for xs in X)
    alone = gradients(cell, params, [xs[:1] for xs in X], [ys[:1] for ys in Y], initial=initial)[1]["initial_state"]
    np.testing.assert_allclose(reached[1], alone * len(X) / tokens, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_sequences_in_chunks_carry_their_state(cell):
    params = make_params(cell, num_layers=3, embedding_dim=3)
    rng = np.random.default_rng(0)
    masks, initial = make_masks(params, X, rng), make_initial(cell, params, X, rng)
    whole = final_states(cell, params, X, initial, masks)
    assert whole.shape == initial.shape == (3, 2, HIDDEN_DIM * (2 if cell == "lstm" else 1))
    head, tail = [xs[:2] for xs in X], [xs[2:] for xs in X]
    carried = final_states(cell, params, head, initial, masks)
    tail_masks = [[mask[2:] for mask in sequence] for sequence in masks]
    np.testing.assert_array_equal(final_states(cell, params, tail, carried, tail_masks), whole)
    np.testing.assert_array_equal(final_states(cell, params, [[], []], initial), initial)
    np.testing.assert_array_equal(final_states(cell, params, [[], []]), 0 * initial)
    for n in range(2):
        records, _ = forward(cell, params, X[n], split_state(cell, initial[:, n]), masks[n])
        np.testing.assert_array_equal(join_state(cell, records[-1]), whole[:, n])
        np.testing.assert_array_equal(whole[:, n, :HIDDEN_DIM], [record["h"] for record in records[-1]])
    scores = log_probabilities(cell, params, X, Y, masks, initial)
    first = log_probabilities(cell, params, head, [ys[:2] for ys in Y], masks, initial)
    second = log_probabilities(cell, params, tail, [ys[2:] for ys in Y], tail_masks, carried)
    np.testing.assert_allclose(first + second, scores, rtol=1e-13)


@pytest.mark.parametrize("model", DEEP)
@pytest.mark.parametrize("cell", CELLS)
def test_no_masks_are_masks_of_ones_and_no_state_is_zeros(cell, model):
    params = make_params(cell, **DEEP[model])
    rng = np.random.default_rng(0)
    value, grads = gradients(cell, params, X, Y)
    ones, zeros = make_masks(params, X, rng, p=0), 0 * make_initial(cell, params, X, rng)
    same_value, same = gradients(cell, params, X, Y, masks=ones, initial=zeros)
    assert same_value == value and same.keys() == grads.keys() | {"initial_state"}
    for name in grads:
        np.testing.assert_array_equal(same[name], grads[name])


@pytest.mark.parametrize("cell", CELLS)
def test_masks_act_upwards_and_not_onwards(cell):
    params = make_params(cell, num_layers=2, embedding_dim=3)
    (ones,) = make_masks(params, X[:1], np.random.default_rng(0), p=0)
    records, logits = forward(cell, params, X[0], masks=ones)
    states = np.array([join_state(cell, step) for step in records])
    # Nothing goes over connection 0, 1, 2 at step 1: what reads it sees zeros; layers below do not notice.
    for connection in range(3):
        masks = [mask.copy() for mask in ones]
        masks[connection][1] = 0
        changed, changed_logits = forward(cell, params, X[0], masks=masks)
        changed_states = np.array([join_state(cell, step) for step in changed])
        np.testing.assert_array_equal(changed_states[:, :connection], states[:, :connection])
        np.testing.assert_array_equal(changed_states[0], states[0])
        if connection < 2:
            assert np.all(changed[1][connection]["x"] == 0)
            assert np.all(changed_states[1:, connection] != states[1:, connection])
        else:
            np.testing.assert_array_equal(changed_logits[1], params["c"])
            np.testing.assert_array_equal(np.delete(changed_logits, 1, 0), np.delete(logits, 1, 0))


@pytest.mark.parametrize("cell", CELLS)
def test_a_linear_embedding_is_part_of_the_first_layer(cell):
    params = make_params(cell, num_layers=2, embedding_dim=3)
    folded = {name: array for name, array in params.items() if name != "embedding"}
    folded["layer0.U"] = params["layer0.U"] @ params["embedding"].T
    value, grads = gradients(cell, params, X, Y, 2)
    folded_value, folded_grads = gradients(cell, folded, X, Y, 2)
    assert value == pytest.approx(folded_value, rel=1e-13)
    expected = folded_grads | {
        "embedding": folded_grads["layer0.U"].T @ params["layer0.U"],
        "layer0.U": folded_grads["layer0.U"] @ params["embedding"],
    }
    for name in grads:
        np.testing.assert_allclose(grads[name], expected[name], rtol=1e-10, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_of_tied_weights_is_the_sum_of_both_uses(cell):
    tied = make_params(cell, num_layers=2, embedding_dim=HIDDEN_DIM, tie_weights=True)
    untied = tied | {"V": tied["embedding"].copy()}
    value, grads = gradients(cell, tied, X, Y, 1)
    untied_value, untied_grads = gradients(cell, untied, X, Y, 1)
    assert value == untied_value
    np.testing.assert_allclose(
        grads["embedding"], untied_grads["embedding"] + untied_grads["V"], rtol=1e-12, atol=1e-15
    )
    for name in grads.keys() - {"embedding"}:
        np.testing.assert_array_equal(grads[name], untied_grads[name])


def test_two_layers_of_one_unit_worked_by_hand():
    params = {
        "embedding": np.array([[0.5], [-2.0]]),
        "layer0.U": np.array([[0.8]]),
        "layer0.W": np.array([[-0.3]]),
        "layer1.U": np.array([[1.5]]),
        "layer1.W": np.array([[0.7]]),
        "V": np.array([[1.0], [-1.0]]),
    }
    masks = [np.array([[2.0], [1.0]]), np.array([[4.0], [3.0]]), np.array([[0.5], [0.25]])]
    a_0 = math.tanh(0.8 * (2 * 0.5) + -0.3 * 0.1)
    b_0 = math.tanh(1.5 * (4 * a_0) + 0.7 * 0.2)
    a_1 = math.tanh(0.8 * -2.0 - 0.3 * a_0)
    b_1 = math.tanh(1.5 * (3 * a_1) + 0.7 * b_0)
    records, logits = forward("rnn", params, [0, 1], [{"h": np.array([0.1])}, {"h": np.array([0.2])}], masks)
    np.testing.assert_allclose([join_state("rnn", step)[:, 0] for step in records], [[a_0, b_0], [a_1, b_1]])
    np.testing.assert_allclose(logits, [[0.5 * b_0, -0.5 * b_0], [0.25 * b_1, -0.25 * b_1]], rtol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_names_and_shapes_of_deep_models(cell):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    params = make_params(cell, bias=False, num_layers=3)
    assert {n: a.shape for n, a in params.items() if n[-1] in "UWV"} == {
        "layer0.U": (gates * 2, 4), "layer1.U": (gates * 2, 2), "layer2.U": (gates * 2, 2),
        "layer0.W": (gates * 2, 2), "layer1.W": (gates * 2, 2), "layer2.W": (gates * 2, 2), "V": (4, 2),
    }  # fmt: skip
    assert {n for n in params if n[-1] == "p"} == ({f"layer{i}.p" for i in range(3)} if cell == "lstm" else set())
    embedded = make_params(cell, bias=False, num_layers=3, embedding_dim=5)
    assert embedded.keys() - params.keys() == {"embedding"}
    assert embedded["embedding"].shape == (4, 5) and embedded["layer0.U"].shape == (gates * 2, 5)
    tied = make_params(cell, bias=False, num_layers=3, embedding_dim=2, tie_weights=True)
    assert embedded.keys() - tied.keys() == {"V"}


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


@pytest.mark.parametrize("absent", [True, False])
def test_lstm_with_zero_peepholes_or_without_is_the_plain_lstm(absent):
    params = make_params("lstm", peepholes=not absent)
    if absent:
        assert "layer0.p" not in params
    else:
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
    np.testing.assert_allclose(record["h"], np.tanh(a + np.array([0, 0.3])), rtol=1e-14)


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

"""Gradients and steps of training, against the float64 reference, finite differences and formulas in plain NumPy."""

import copy
import itertools

import numpy as np
import pytest
import reference
from helpers import CELLS, COMPILED, DTYPES, KINDS, assert_arrays_close, examples, make_model, random_batch, weights
from hypothesis import example, given
from hypothesis import strategies as st

from fastrnn.data.ragged import minibatches
from fastrnn.networks.network import Network

# Where blocks and vectors end: 8 and 16 lanes, panels of 64 columns, blocks of 96 words and of 120 tokens.
EDGES = [1, 2, 7, 8, 9, 15, 16, 17, 25, 33, 47, 49, 63, 64, 65]
MANY_WORDS = [95, 96, 97, 127, 129, 191, 193, 300]
TRUNCATIONS = [None, 0, 1, 3, 1000]


def sizes(edges, most):
    return st.one_of(st.sampled_from([n for n in edges if n <= most]), st.integers(1, most))


@st.composite
def cases(draw):
    """C, H, lengths, bias, peepholes, k, threads and a seed. Small, or the reference takes too long."""
    if not COMPILED:
        C, H, count, longest = (draw(st.integers(1, most)) for most in (9, 4, 4, 4))
    else:
        C, H, count = draw(sizes(EDGES + MANY_WORDS, 300)), draw(sizes(EDGES, 70)), draw(sizes([1, 2, 64, 65], 70))
        longest = draw(st.integers(1, min(20, int((9000 / count) ** 0.5))))
    seed = draw(st.integers(0, 2**32 - 1))
    lengths = np.random.default_rng(seed).integers(1, longest + 1, count)
    lengths[0] = longest
    return {
        "C": C, "H": H, "lengths": lengths.tolist(), "bias": draw(st.booleans()),
        "peepholes": draw(st.booleans()), "k": draw(st.sampled_from(TRUNCATIONS)),
        "threads": draw(st.sampled_from([1, 2])), "seed": seed,
    }  # fmt: skip


def case(C, H, lengths, bias=True, peepholes=True, k=None, threads=2, seed=0):
    return dict(C=C, H=H, lengths=lengths, bias=bias, peepholes=peepholes, k=k, threads=threads, seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@examples(40)
@given(case=cases())
@example(case=case(5, 3, [1]))
@example(case=case(5, 3, [4, 1, 2], k=1))
@example(case=case(1, 1, [3, 1], threads=1))
@example(case=case(4, 2, [2], bias=False, threads=1))
@example(case=case(5, 3, [4, 1, 2], peepholes=False))
@example(case=case(5, 3, [4, 1, 2], peepholes=False, bias=False, k=1))
@example(case=case(4, 2, [4, 2], bias=False, k=0, threads=1))
def test_gradients_are_the_reference_s(cell, dtype, case):
    check_against_reference(cell, dtype, **case)


@pytest.mark.compiled
@pytest.mark.parametrize("k", [pytest.param(None, marks=pytest.mark.every_cpu), 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_several_blocks_of_tokens_and_words(cell, dtype, k):
    check_against_reference(cell, dtype, **case(193, 49, [20] * 3 + [9] * 8 + [2] * 20 + [1], k=k))
    check_against_reference(cell, dtype, **case(97, 17, [18], k=k, bias=False))
    check_against_reference(cell, dtype, **case(97, 49, [20] * 3 + [9] * 8 + [2] * 20, k=k, peepholes=False))


@pytest.mark.compiled
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_several_panels_of_units(cell, dtype, threads):
    check_against_reference(cell, dtype, **case(19, 130, [12] * 9 + [7] * 5, threads=threads))


@pytest.mark.compiled
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_that_lie_far_apart(dtype, threads, order):
    """What is subtracted from a token's logits is raised again and again, or far too large in the end."""
    C, (x, y) = 700, random_batch(700, [9] * 12 + [4] * 9, 0)
    model = make_model("rnn", C, 9, 0, dtype=dtype, n_threads=threads)
    model.params_["c"] = np.linspace(-400, 400, C)[::order]
    loss, found = model.gradients(x, y)
    expected_loss, expected = reference.gradients("rnn", weights(model), x, y)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert_arrays_close(found, expected, dtype, rtol=1e-4 if dtype == "float32" else 1e-11)
    probabilities = [
        np.exp(reference.log_softmax(z)) for xs in x for z in reference.forward("rnn", weights(model), xs)[1]
    ]
    np.testing.assert_allclose(np.concatenate(model.predict_proba(x)), probabilities, rtol=1e-3, atol=1e-30)


@pytest.mark.every_cpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_through_saturated_units(cell, dtype):
    """One step, each word at another place between the ends of tanh and of the gates: there nothing passes back."""
    C, H = 41, 6
    model = make_model(cell, C, H, 0, dtype=dtype)
    model.params_["layer0.U"][:] = np.linspace(-40, 40, C)
    x, y = random_batch(C, [1] * C, 0)
    x = np.arange(C)[:, None]
    loss, found = model.gradients(x, y)
    expected_loss, expected = reference.gradients(cell, weights(model), x, y)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    largest_dh = np.abs(model.params_["V"]).max() / C
    rtol, digits = {"float32": (1e-5, 2e-7), "float64": (1e-12, 4e-16)}[dtype]  # of 1 - y**2, where y is almost 1
    np.testing.assert_allclose(found["layer0.U"], expected["layer0.U"], rtol=rtol, atol=digits * largest_dh)
    if cell == "rnn":
        assert not found["layer0.U"][:, np.abs(np.linspace(-40, 40, C)) > 20].any()


def check_against_reference(cell, dtype, C, H, lengths, bias, peepholes, k, threads, seed):
    model = make_model(
        cell, C, H, seed, bias=bias, peepholes=peepholes, dtype=dtype, bptt_truncate=k, n_threads=threads
    )
    x, y = random_batch(C, lengths, seed)
    before = weights(model)
    expected_loss, expected = reference.gradients(cell, before, x, y, k)
    loss, found = model.gradients(x, y)
    rtol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert loss == pytest.approx(expected_loss, rel=rtol, abs=rtol)
    assert model.loss(x, y) == pytest.approx(expected_loss, rel=rtol, abs=rtol)
    assert all(array.dtype == dtype for array in found.values())
    assert_arrays_close(found, expected, dtype)
    # Where the reference is zero, and nowhere else.
    unread = np.setdiff1d(np.arange(C), np.concatenate(x))
    assert not found["layer0.U"][:, unread].any()
    if C > 1:
        far = max(lengths) > 1
        for name in found:
            only_far = name == "layer0.W"  # h before the first step is zero
            assert expected[name].any() == (far or not only_far), name
            if not expected[name].any():
                assert not found[name].any(), name
    for name, array in weights(model).items():
        np.testing.assert_array_equal(array, before[name], err_msg="gradients must not train")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell, peepholes", KINDS)
def test_gradients_are_finite_differences_of_the_loss(cell, peepholes, bias):
    model = make_model(cell, 6, 4, bias=bias, peepholes=peepholes, dtype="float64")
    x, y = random_batch(6, [5, 3, 1])
    _, gradients = model.gradients(x, y)
    compare_with_differences(gradients, model.params_, lambda params: model.loss(x, y))


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("cell, peepholes", KINDS)
def test_truncated_gradients_are_finite_differences_of_windows(cell, peepholes, k):
    model = make_model(cell, 5, 3, peepholes=peepholes, dtype="float64", bptt_truncate=k)
    x, y = random_batch(5, [6, 4])
    _, gradients = model.gradients(x, y)
    params, frozen = weights(model), weights(model)
    compare_with_differences(
        gradients, params, lambda params: reference.windowed_loss(cell, params, frozen, x, y, k), full=False
    )
    _, full = model.set_params(bptt_truncate=None).gradients(x, y)
    assert not np.allclose(full["layer0.W"], gradients["layer0.W"], rtol=1e-3)


def compare_with_differences(gradients, params, function, full=True):
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        entries = list(np.ndindex(gradient.shape))
        if not full or not COMPILED:
            entries = [entries[i] for i in rng.choice(len(entries), min(6, len(entries)), replace=False)]
        views = {name: params[name]}
        for index in entries:
            difference = reference.finite_difference(lambda _: function(params), views, name, index)
            assert gradient[index] == pytest.approx(difference, rel=1e-6, abs=1e-9), (name, index)
        assert gradient.any(), name


class TestCheckGradients:
    @pytest.mark.parametrize("cell", CELLS)
    def test_right_gradients_pass(self, cell):
        model = make_model(cell, 8, 6, dtype="float64", bptt_truncate=1)  # of full propagation all the same
        x, y = random_batch(8, [6, 3, 2])
        before = weights(model)
        errors = model.check_gradients(x, y)
        assert errors.keys() == model.params_.keys()
        assert max(errors.values()) < 1e-5
        assert any(error > 0 for error in errors.values())
        for name, array in weights(model).items():
            np.testing.assert_array_equal(array, before[name])

    def test_of_a_float32_model(self):
        model = make_model("gru", 8, 6, dtype="float32")
        assert max(model.check_gradients(*random_batch(8, [6, 3, 2])).values()) < 1e-5

    @pytest.mark.parametrize("wrong", ["layer0.U", "layer0.W", "layer0.b", "layer0.p", "V", "c"])
    def test_a_wrong_gradient_is_found(self, monkeypatch, wrong):
        right = Network.gradients

        def gradients(*args):
            loss, arrays = right(*args)
            return loss, arrays | {wrong: 1.01 * arrays[wrong]}

        monkeypatch.setattr(Network, "gradients", gradients)
        errors = make_model("lstm", 8, 6, dtype="float64").check_gradients(*random_batch(8, [6, 3, 2]))
        assert errors.pop(wrong) == pytest.approx(0.01 / 2.01, rel=1e-2)
        assert max(errors.values()) < 1e-5

    def test_a_gradient_of_zeros_is_found(self, monkeypatch):
        right = Network.gradients
        monkeypatch.setattr(
            Network, "gradients", lambda *args: (0.0, {n: np.zeros_like(a) for n, a in right(*args)[1].items()})
        )
        errors = make_model("gru", 8, 6, dtype="float64").check_gradients(*random_batch(8, [6, 3, 2]))
        assert errors == pytest.approx(dict.fromkeys(errors, 1.0))

    @pytest.mark.parametrize("bad", [{"n_entries": 0}, {"step": 0.0}, {"step": float("nan")}])
    def test_errors_name_the_argument(self, bad):
        with pytest.raises(ValueError, match=f"^{next(iter(bad))}: "):
            make_model().check_gradients([[1]], [[1]], **bad)


@pytest.mark.compiled
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_share_the_work(cell, k):
    x, y = random_batch(150, [15, 12, 12, 7, 6, 5, 5, 5, 3, 2, 1] * 2)
    model = make_model(cell, 150, 37, dtype="float64", bptt_truncate=k)
    loss, expected = model.gradients(x, y)
    for threads in (2, 3, 5):
        other_loss, found = model.set_params(n_threads=threads).gradients(x, y)
        assert other_loss == pytest.approx(loss, rel=1e-14)
        assert_arrays_close(found, expected, "float64", rtol=1e-13)


@pytest.mark.compiled
def test_more_threads_than_sequences():
    model = make_model("lstm", 9, 4, dtype="float64")
    x, y = random_batch(9, [5])
    _, expected = model.gradients(x, y)
    _, found = model.set_params(n_threads=6).gradients(x, y)
    assert_arrays_close(found, expected, "float64", rtol=1e-13)


@pytest.mark.parametrize("k", [None, 1])
@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_is_the_sum_of_its_sequences(cell, k):
    lengths = [7, 7, 5, 4, 3, 1]
    model = make_model(cell, 11, 6, dtype="float64", bptt_truncate=k)
    x, y = random_batch(11, lengths)
    _, found = model.gradients(x, y)
    expected = dict.fromkeys(found, 0.0)
    for i, length in enumerate(lengths):
        for name, array in model.gradients([x[i]], [y[i]])[1].items():
            expected[name] = expected[name] + array * length / sum(lengths)
    assert_arrays_close(found, expected, "float64", rtol=1e-12)


def reference_gradient(model, params, x, y):
    """The update's gradient: summed over the tokens, averaged over the batch's sequences."""
    loss, gradients = reference.gradients(model.cell, params, x, y, model.bptt_truncate)
    tokens = sum(map(len, x))
    return loss, {name: array * (tokens / len(x)) for name, array in gradients.items()}


# One batch: at most 120 tokens without clipping is the fused path, where V is updated inside the kernel.
FUSED = ([20, 20, 20, 20, 18, 12, 9, 1], None)
STEPS = {
    "fused": FUSED,
    "fused, one sentence": ([17], None),
    "more than 120 tokens": ([20, 20, 20, 20, 18, 12, 9, 2], None),
    "huge clip_norm": (FUSED[0], 1e9),
}


def small(lengths):
    """As plain Python, short sequences only."""
    return lengths if COMPILED else [min(length, 3) for length in lengths[:3]]


@pytest.mark.parametrize("way", STEPS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cell, dtype, bias, k", [
    ("rnn", "float32", False, 4),
    ("rnn", "float64", True, None),
    ("lstm", "float32", True, None),
    ("lstm", "float64", True, 2),
    ("gru", "float32", True, None),
    ("gru", "float64", False, None),
])  # fmt: skip
def test_one_step_of_gradient_descent(cell, dtype, bias, k, threads, way):
    lengths, clip_norm = STEPS[way]
    C, H, rate = (70, 19, 0.3) if COMPILED else (7, 3, 0.3)
    x, y = random_batch(C, small(lengths))
    model = make_model(
        cell, C, H, bias=bias, dtype=dtype, bptt_truncate=k, n_threads=threads, optimizer="sgd", learning_rate=rate,
        clip_norm=clip_norm, batch_size=len(x),
    )  # fmt: skip
    before = weights(model)
    loss, gradient = reference_gradient(model, before, x, y)
    model.partial_fit(x, y)
    after = weights(model)
    change = {name: (before[name] - after[name]) / rate for name in before}
    # A float32 weight holds its change only to the precision of the weight.
    floor = {"float32": 1.5e-7 / rate, "float64": 1e-15 / rate}[dtype]
    assert_arrays_close(change, gradient, dtype, floor=floor)
    assert model.loss_curve_ == pytest.approx([loss], rel=1e-5)
    still = np.setdiff1d(np.arange(C), np.concatenate(x))
    np.testing.assert_array_equal(after["layer0.U"][:, still], before["layer0.U"][:, still])


class Formula:
    """The optimisers in plain NumPy. Columns of U move, and their moments too, only when their word occurs.

    RMSProp and Adam move them at four times the rate, and Adam's first moment is the gradient there.
    """

    def __init__(self, name, rate, momentum):
        self.name, self.rate, self.momentum, self.step = name, rate, momentum, 0
        self.m, self.v = {}, {}

    def update(self, params, gradient, words):
        self.step += 1
        for name, p in params.items():
            m, v = self.m.setdefault(name, np.zeros_like(p)), self.v.setdefault(name, np.zeros_like(p))
            where = (slice(None), np.unique(words)) if name == "layer0.U" else ...
            g, rate, beta1 = gradient[name][where], self.rate, 0.9
            if name == "layer0.U" and self.name != "sgd":
                rate, beta1 = 4 * rate, 0.0
            if self.name == "sgd":
                m[where] = self.momentum * m[where] + g
                p[where] -= rate * m[where]
            elif self.name == "rmsprop":
                v[where] = 0.9 * v[where] + 0.1 * g**2
                p[where] -= rate * g / (np.sqrt(v[where]) + 1e-8)
            else:
                m[where] = beta1 * m[where] + (1 - beta1) * g
                v[where] = 0.999 * v[where] + 0.001 * g**2
                m_hat, v_hat = m[where] / (1 - beta1**self.step), v[where] / (1 - 0.999**self.step)
                p[where] -= rate * m_hat / (np.sqrt(v_hat) + 1e-8)


OPTIMIZERS = [("sgd", 0.0, 0.1), ("sgd", 0.9, 0.1), ("rmsprop", 0.0, 0.01), ("adam", 0.0, 0.01)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer, momentum, rate", OPTIMIZERS)
@pytest.mark.parametrize("cell, peepholes", KINDS)
def test_steps_of_every_optimizer(cell, peepholes, optimizer, momentum, rate, threads):
    C, H = (60, 18) if COMPILED else (9, 3)  # enough elements for two threads' shares
    model = make_model(
        cell, C, H, peepholes=peepholes, dtype="float64", optimizer=optimizer, momentum=momentum, learning_rate=rate,
        clip_norm=None, batch_size=8, n_threads=threads,
    )  # fmt: skip
    params, formula = weights(model), Formula(optimizer, rate, momentum)
    first_words = [np.array([2, 3, 2, 5]), np.array([4])]
    steps = [(first_words, [np.array([1, 0, 4, 4]), np.array([6])]), random_batch(6, small([5, 4, 3]), 1),
             ([np.array([1])], [np.array([2])])]  # fmt: skip
    for x, y in steps:
        untouched = weights(model)["layer0.U"]
        _, gradient = reference_gradient(model, params, x, y)
        words = np.concatenate(x)
        formula.update(params, gradient, words)
        model.partial_fit(x, y)
        found = weights(model)
        assert_arrays_close(found, params, "float64", rtol=1e-10)
        resting = np.setdiff1d(np.arange(C), words)
        np.testing.assert_array_equal(found["layer0.U"][:, resting], untouched[:, resting])
        assert not np.array_equal(found["layer0.U"][:, words], untouched[:, words])


@pytest.mark.parametrize("optimizer, momentum, rate", OPTIMIZERS)
def test_steps_in_float32(optimizer, momentum, rate):
    model = make_model(
        "gru", 40, 12, dtype="float32", optimizer=optimizer, momentum=momentum, learning_rate=rate, clip_norm=None
    )
    params, formula = weights(model), Formula(optimizer, rate, momentum)
    for seed in range(2):
        x, y = random_batch(40, small([6, 5, 3]), seed)
        formula.update(params, reference_gradient(model, params, x, y)[1], np.concatenate(x))
        model.partial_fit(x, y)
    # RMSProp and Adam divide by the gradient's size, so the signs of vanishing gradients are moved too.
    assert_arrays_close(weights(model), params, "float32", rtol=1e-3 if optimizer != "sgd" else 1e-5)


def norm(arrays):
    return np.sqrt(sum((array**2).sum() for array in arrays.values()))


@pytest.mark.parametrize("optimizer, momentum, rate", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("share", [0.25, 0.999, 1.001])
def test_clip_norm_limits_the_gradient(optimizer, momentum, rate, threads, share):
    C, H = (50, 18) if COMPILED else (9, 3)
    x, y = random_batch(C, small([9, 7, 4, 2]))
    model = make_model(
        "gru", C, H, dtype="float64", optimizer=optimizer, momentum=momentum, learning_rate=rate, n_threads=threads
    )
    params, formula = weights(model), Formula(optimizer, rate, momentum)
    start = weights(model)
    clip_norm = share * norm(reference_gradient(model, params, x, y)[1])
    model.set_params(clip_norm=clip_norm).fit(x, y)  # max_epochs is 0: a new optimiser, with this clip_norm
    for name, array in start.items():
        model.params_[name] = array
    for _ in range(2):
        _, gradient = reference_gradient(model, params, x, y)
        factor = min(1.0, clip_norm / norm(gradient))
        formula.update(params, {name: factor * array for name, array in gradient.items()}, np.concatenate(x))
        model.partial_fit(x, y)
    assert_arrays_close(weights(model), params, "float64", rtol=1e-10)
    if optimizer == "sgd" and momentum == 0:
        moved = norm({name: array - start[name] for name, array in weights(model).items()})
        assert moved <= 2 * rate * clip_norm * (1 + 1e-12)


@pytest.mark.parametrize("lengths, batch_size", [
    ([3, 1, 4, 1, 5, 2, 3], 1),
    ([3, 1, 4, 1, 5, 2, 3], 2),
    ([3, 1, 4, 1, 5, 2, 3], 3),
    ([40, 39, 38, 37, 3, 2, 2, 1] * 2, 4),  # more than 120 tokens, then fewer: the fused path after the other one
])  # fmt: skip
def test_batches_are_trained_in_their_order(lengths, batch_size):
    C = 8
    x, y = random_batch(C, lengths)
    model = make_model(
        "rnn", C, 4, dtype="float64", optimizer="sgd", learning_rate=0.5, clip_norm=None, batch_size=batch_size
    )
    params, rng = weights(model), copy.deepcopy(model.rng_)
    for _ in range(2):
        order, bounds = minibatches(np.array(lengths), batch_size, rng)
        summed = 0.0
        for first, last in itertools.pairwise(bounds):
            batch = [[s[i] for i in order[first:last]] for s in (x, y)]
            loss, gradient = reference_gradient(model, params, *batch)
            summed += loss * sum(map(len, batch[0]))
            params = {name: array - 0.5 * gradient[name] for name, array in params.items()}
        model.partial_fit(x, y)
        assert model.loss_curve_[-1] == pytest.approx(summed / sum(lengths), rel=1e-12)
    assert_arrays_close(weights(model), params, "float64", rtol=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_batches_in_one_call_are_batches_one_by_one(optimizer):
    """The state of the optimiser and of the scratch memory is carried from batch to batch in the kernel."""
    sequences = random_batch(9, [4] * 6)
    whole = make_model("lstm", 9, 5, dtype="float64", optimizer=optimizer, batch_size=2, learning_rate=0.05)
    parts = copy.deepcopy(whole)
    order, bounds = minibatches(np.full(6, 4), 2, copy.deepcopy(whole.rng_))
    whole.partial_fit(*sequences)
    for first, last in itertools.pairwise(bounds):
        parts.partial_fit(*[[s[i] for i in order[first:last]] for s in sequences])
    assert_arrays_close(weights(whole), weights(parts), "float64", rtol=1e-12)

"""The proof of the reference's second part: finite differences, exhaustive search, and the conventions."""

import itertools
import math

import numpy as np
import pytest

from reference import final_states, finite_difference, forward, log_softmax, split_state
from reference.pairs import (
    beam_search,
    decoder_batch,
    greedy,
    init_pair_params,
    join_sides,
    next_log_probabilities,
    pair_gradients,
    pair_log_probabilities,
    pair_loss,
    score,
    side_of,
)

CELLS = ["rnn", "lstm", "gru"]
SOURCE_SIZE, TARGET_SIZE, HIDDEN_DIM = 5, 4, 2
SOURCE = [[2, 4, 1, 1], [3], [0, 2]]
TARGET = [[3, 2], [2, 0, 3, 3], []]
MODELS = {
    "one layer": {},
    "one layer without bias, tied": {"bias": False, "embedding_dim": 2, "tie_weights": True},
    "two layers over an embedding": {"num_layers": 2, "embedding_dim": 3},
    "three layers without bias": {"bias": False, "num_layers": 3},
    "three layers, tied": {"num_layers": 3, "embedding_dim": 2, "tie_weights": True},
}


def make_params(cell, bias=True, seed=0, **model):
    return init_pair_params(cell, SOURCE_SIZE, TARGET_SIZE, HIDDEN_DIM, bias, np.random.default_rng(seed), **model)


def make_masks(x, model, rng, p=0.3):
    widths = [model["embedding_dim"]] if "embedding_dim" in model else []
    widths += [HIDDEN_DIM] * model.get("num_layers", 1)
    return [[(rng.random((len(xs), width)) >= p) / (1 - p) for width in widths] for xs in x]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_entry_of_every_gradient_is_the_finite_difference(cell, model, dropout):
    rng = np.random.default_rng(1)
    params, masks = make_params(cell, **MODELS[model]), ()
    if dropout:
        masks = [make_masks(x, MODELS[model], rng) for x in (SOURCE, decoder_batch(TARGET)[0])]

    def function(params):
        return pair_loss(cell, params, SOURCE, TARGET, *masks)

    value, grads = pair_gradients(cell, params, SOURCE, TARGET, *masks)
    assert value == pytest.approx(function(params), rel=1e-14)
    assert grads.keys() == params.keys()
    for name, grad in grads.items():
        expected = np.empty_like(params[name])
        for index in np.ndindex(expected.shape):
            expected[index] = finite_difference(function, params, name, index)
        np.testing.assert_allclose(grad, expected, rtol=1e-8, atol=1e-9, err_msg=name)
        assert np.any(np.abs(grad) > 1e-6), name


def test_names_and_shapes():
    params = make_params("lstm", num_layers=2, embedding_dim=2, tie_weights=True)
    layers = ["layer0.U", "layer0.W", "layer0.b", "layer0.p", "layer1.U", "layer1.W", "layer1.b", "layer1.p"]
    expected = [f"encoder.{name}" for name in ["embedding", *layers]]
    expected += [f"decoder.{name}" for name in ["embedding", *layers, "c"]]
    assert sorted(params) == sorted(expected)
    assert params["encoder.embedding"].shape == (SOURCE_SIZE, 2)
    assert params["decoder.embedding"].shape == (TARGET_SIZE, 2)
    assert sorted(set(make_params("gru")) - set(make_params("gru", bias=False))) == [
        "decoder.c", "decoder.layer0.b", "encoder.layer0.b"
    ]  # fmt: skip
    encoder, decoder = side_of(params, "encoder"), side_of(params, "decoder")
    joined = join_sides(encoder, decoder)
    assert joined.keys() == params.keys() and all(joined[name] is params[name] for name in params)


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_is_written_out_for_one_pair(cell):
    params = make_params(cell, num_layers=2)
    records, _ = forward_encoder(cell, params, [2, 4, 1])
    _, logits = forward(cell, side_of(params, "decoder"), [0, 3, 2], records[-1])
    log_p = sum(log_softmax(row)[word] for row, word in zip(logits, [3, 2, 1], strict=True))
    assert pair_log_probabilities(cell, params, [[2, 4, 1]], [[3, 2]]) == pytest.approx([log_p], rel=1e-14)
    assert pair_loss(cell, params, [[2, 4, 1]], [[3, 2]]) == pytest.approx(-log_p / 3, rel=1e-14)


def forward_encoder(cell, params, xs):
    """Run the encoder with any output layer, which its states do not know of."""
    encoder = side_of(params, "encoder")
    return forward(cell, encoder | {"V": np.zeros((1, HIDDEN_DIM))}, xs)


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_weighs_target_tokens_and_their_ends(cell):
    params = make_params(cell)
    scores = pair_log_probabilities(cell, params, SOURCE, TARGET)
    assert pair_loss(cell, params, SOURCE, TARGET) == pytest.approx(-scores.sum() / (3 + 5 + 1), rel=1e-14)
    for n in range(3):
        alone = pair_log_probabilities(cell, params, [SOURCE[n]], [TARGET[n]])
        assert alone == pytest.approx(scores[n : n + 1], rel=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_loss_of_zero_parameters_is_the_logarithm_of_the_target_s_vocabulary(cell):
    params = {name: np.zeros_like(array) for name, array in make_params(cell, num_layers=2).items()}
    assert pair_loss(cell, params, SOURCE, TARGET) == pytest.approx(math.log(TARGET_SIZE), rel=1e-14)


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("cell", CELLS)
def test_the_source_reaches_the_decoder_through_every_layer(cell, layer):
    params = make_params(cell, num_layers=3)
    states = final_states(cell, side_of(params, "encoder"), SOURCE[:2])
    state, other = split_state(cell, states[:, 0]), split_state(cell, states[:, 1])
    decoder = side_of(params, "decoder")
    _, logits = forward(cell, decoder, [0, 3], state)
    _, changed = forward(cell, decoder, [0, 3], [*state[:layer], other[layer], *state[layer + 1 :]])
    assert np.abs(logits - changed).max() > 1e-4


# Search.


def every_hypothesis(cell, params, source, max_length):
    """All sentences that end within max_length words, and all beginnings of max_length words, with their ln p."""
    inner = [word for word in range(TARGET_SIZE) if word != 1]
    found = []
    for length in range(max_length):
        for tokens in itertools.product(inner, repeat=length):
            found.append(([*tokens, 1], pair_log_probabilities(cell, params, [source], [tokens])[0]))
    for tokens in itertools.product(inner, repeat=max_length):
        log_p = sum(next_log_probabilities(cell, params, source, tokens[:t])[tokens[t]] for t in range(max_length))
        found.append((list(tokens), log_p))
    return found


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("cell", CELLS)
def test_a_beam_wide_enough_finds_every_hypothesis(cell, length_penalty):
    params = make_params(cell, num_layers=2)
    expected = every_hypothesis(cell, params, [2, 4, 1], 3)
    assert sum(math.exp(log_p) for _, log_p in expected) == pytest.approx(1, rel=1e-12)
    expected.sort(key=lambda hypothesis: -hypothesis[1] / len(hypothesis[0]) ** length_penalty)
    found = beam_search(cell, params, [2, 4, 1], 1000, 3, length_penalty)
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in expected], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", CELLS)
def test_a_beam_of_one_is_greedy(cell, seed):
    params = make_params(cell, seed=seed)
    for source in SOURCE:
        assert beam_search(cell, params, source, 1, 6) == [greedy(cell, params, source, 6)]


def by_table(table):
    """Parameters of a model whose word after another has the probabilities of that other's row."""
    size = len(table)
    # tanh 20 is 1, so h is one-hot: it says which word was read, and nothing of those before.
    encoder = {"layer0.U": np.zeros((size, 2)), "layer0.W": np.zeros((size, size))}
    decoder = {"layer0.U": 20 * np.eye(size), "layer0.W": np.zeros((size, size)), "V": np.log(np.transpose(table))}
    return join_sides(encoder, decoder)


# Words: start, end, a, b. Greedy starts with b; a is followed by the end, so it is better in the end.
TABLE = [[1e-9, 0.1, 0.35, 0.55], [0.25, 0.25, 0.25, 0.25], [1e-9, 0.9, 0.05, 0.05], [1e-9, 0.3, 0.5, 0.2]]


def test_the_beam_narrows_when_hypotheses_end():
    # Step 1: b 0.55, a 0.35. Step 2: "a end" 0.315 leaves, "b a" 0.275 stays, "b end" 0.165 is third.
    # The beam is one wide now. Step 3: "b a end" 0.2475 leaves, and "b a a" finds no place.
    params = by_table(TABLE)
    (first, log_p_first), (second, log_p_second) = beam_search("rnn", params, [0], 2, 10)
    assert (first, second) == ([2, 1], [3, 2, 1])
    np.testing.assert_allclose(np.exp([log_p_first, log_p_second]), [0.315, 0.2475], rtol=1e-6)
    tokens, log_p = greedy("rnn", params, [0], 10)
    assert tokens == [3, 2, 1] and math.exp(log_p) == pytest.approx(0.2475, rel=1e-6)


def test_length_penalty_prefers_the_longer():
    params = by_table(TABLE)
    for length_penalty, order in [(0.25, [[2, 1], [3, 2, 1]]), (0.5, [[3, 2, 1], [2, 1]]), (1.0, [[3, 2, 1], [2, 1]])]:
        found = beam_search("rnn", params, [0], 2, 10, length_penalty)
        assert [tokens for tokens, _ in found] == order
        expected = {2: math.log(0.315) / 2**length_penalty, 3: math.log(0.2475) / 3**length_penalty}
        for hypothesis in found:
            assert score(hypothesis, length_penalty) == pytest.approx(expected[len(hypothesis[0])], rel=1e-6)


def test_what_has_not_ended_at_the_maximum_length_is_returned_as_it_stands():
    params = by_table(TABLE)
    found = beam_search("rnn", params, [0], 2, 2)
    assert [tokens for tokens, _ in found] == [[2, 1], [3, 2]]
    np.testing.assert_allclose(np.exp([log_p for _, log_p in found]), [0.315, 0.275], rtol=1e-6)
    assert greedy("rnn", params, [0], 2)[0] == [3, 2]


@pytest.mark.parametrize("cell", CELLS)
def test_every_hypothesis_has_the_probability_that_the_model_gives_it(cell):
    params = make_params(cell, num_layers=2, embedding_dim=3)
    found = beam_search(cell, params, [2, 4], 5, 4)
    assert len(found) == 5
    assert len({tuple(tokens) for tokens, _ in found}) == 5
    assert any(tokens[-1] == 1 for tokens, _ in found)
    for tokens, log_p in found:
        if tokens[-1] == 1:
            assert pair_log_probabilities(cell, params, [[2, 4]], [tokens[:-1]]) == pytest.approx([log_p], rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_an_ensemble_averages_probabilities(cell):
    models = [make_params(cell, seed=seed) for seed in range(3)]
    p = [np.exp(next_log_probabilities(cell, model, [2], [3])) for model in models]
    averaged = np.exp(next_log_probabilities(cell, models, [2], [3]))
    np.testing.assert_allclose(averaged, np.mean(p, axis=0), rtol=1e-13)
    one, same = beam_search(cell, models[0], [2], 3, 4), beam_search(cell, [models[0]] * 2, [2], 3, 4)
    assert [tokens for tokens, _ in one] == [tokens for tokens, _ in same]
    np.testing.assert_allclose([log_p for _, log_p in one], [log_p for _, log_p in same], rtol=1e-13)

"""Encoder-decoders: gradients, steps and search, against the float64 reference."""

import numpy as np
import pytest
from helpers import CELLS, COMPILED, assert_arrays_close, examples
from hypothesis import given
from hypothesis import strategies as st
from reference import pairs as reference_pairs

from fastrnn.data.ragged import Ragged, between, reversed_sequences
from fastrnn.decoding.beam_search import beam_search
from fastrnn.networks.encoder_decoder import PairBatches, PairNetwork, Pairs

SHAPES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "embedding": {"embedding_dim": 3},
    "two layers without peepholes": {"num_layers": 2, "peepholes": False},
    "two tied layers": {"num_layers": 2, "embedding_dim": 5, "tie_weights": True},
}


def make_network(cell, sizes=(8, 9), hidden_dim=5, seed=0, bias=True, dtype="float64", scale=1.5, **shape):
    shape = {"num_layers": 1, "embedding_dim": None, "tie_weights": False, "peepholes": True} | shape
    network = PairNetwork(cell, *sizes, hidden_dim, bias, dtype, **shape)
    rng, tied = np.random.default_rng(seed), shape.pop("tie_weights")
    params = reference_pairs.init_pair_params(cell, *sizes, hidden_dim, bias, rng, scale=scale, **shape)
    for name in network.params:
        network.params[name] = params[name]
    assert tied or network.params.keys() == params.keys()
    return network


def weights(network):
    return {name: np.array(array, np.float64) for name, array in network.params.items()}


def make_pairs(sizes, lengths, seed=0):
    """Sources, targets, and both as the network takes them."""
    rng = np.random.default_rng(seed)
    source = [rng.integers(sizes[0], size=n).tolist() for n, _ in lengths]
    target = [rng.integers(2, max(3, sizes[1]), size=n).clip(0, sizes[1] - 1).tolist() for _, n in lengths]
    return source, target, Pairs(Ragged.from_sequences(source), *between(Ragged.from_sequences(target), 0, 1))


LENGTHS = [(3, 2), (1, 4), (5, 1), (2, 2), (4, 6)]


def check_gradients(cell, dtype, shape, sizes, H, lengths, bias, threads, seed):
    shape = shape | ({"embedding_dim": H} if shape.get("tie_weights") else {})
    network = make_network(cell, sizes, H, seed, bias, dtype, **shape)
    source, target, data = make_pairs(sizes, lengths, seed)
    expected_loss, expected = reference_pairs.pair_gradients(cell, weights(network), source, target)
    loss, found = network.gradients(data, threads)
    assert loss == pytest.approx(expected_loss, rel={"float32": 1e-5, "float64": 1e-12}[dtype], abs=1e-5)
    assert_arrays_close(found, expected, dtype, rtol={"float32": 2e-4, "float64": 1e-9}[dtype])
    nll = network.token_losses(data, threads)
    assert nll.mean(dtype=np.float64) == pytest.approx(expected_loss, rel=1e-5, abs=1e-5)
    return found


@st.composite
def cases(draw):
    source, target, H, count, longest = (
        draw(st.integers(low, most)) for low, most in zip((1, 2, 1, 1, 1), (150, 150, 70, 20, 9), strict=True)
    )  # fmt: skip
    if not COMPILED:
        source, target, H, count, longest = source % 9 + 1, target % 9 + 2, H % 5 + 1, count % 4 + 1, longest % 4 + 1
    lengths = np.random.default_rng(draw(st.integers(0, 99))).integers(1, longest + 1, (count, 2))
    return {
        "shape": draw(st.sampled_from(list(SHAPES.values()))), "sizes": (source, target), "H": H,
        "lengths": lengths.tolist(), "bias": draw(st.booleans()), "threads": draw(st.sampled_from([1, 2])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }  # fmt: skip


@pytest.mark.parametrize("cell, dtype", [*((cell, "float64") for cell in CELLS), ("lstm", "float32")])
@examples(15)
@given(case=cases())
def test_gradients_are_the_reference_s(cell, dtype, case):
    check_gradients(cell, dtype, **case)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_array_has_a_gradient_that_is_a_difference_quotient(cell, shape):
    found = check_gradients(cell, "float64", shape, (8, 9), 5, LENGTHS, True, 1, 0)
    network, data = make_network(cell, **shape), make_pairs((8, 9), LENGTHS)[2]
    rng = np.random.default_rng(0)
    for name, array in network.params.items():
        assert found[name].any(), name
        largest = abs(found[name]).max()
        for index in zip(*(rng.integers(n, size=6) for n in array.shape), strict=True):
            value, quotient = array[index], 0.0
            for move, weight in ((1e-5, 1), (-1e-5, -1)):
                array[index] = value + move
                quotient += weight * network.token_losses(data, 1).mean() / 2e-5
            array[index] = value
            assert found[name][index] == pytest.approx(quotient, rel=1e-5, abs=1e-6 * largest), name


def test_batches_are_of_like_length_and_keep_pairs_together():
    _, _, data = make_pairs((8, 9), np.random.default_rng(0).integers(1, 20, (200, 2)).tolist())
    batches = PairBatches.of(data, 16, np.random.default_rng(0))
    for first, last in zip(batches.decoder.bounds[:-1], batches.decoder.bounds[1:], strict=True):
        sources, targets = batches.encoder.ids[first:last], batches.decoder.ids[first:last]
        np.testing.assert_array_equal(sources[batches.source_slot[first:last]], targets)
        assert (np.diff(data.source.lengths[sources]) <= 0).all() and (np.diff(data.x.lengths[targets]) <= 0).all()
        assert np.ptp(data.x.lengths[targets]) <= 3
    assert sorted(batches.decoder.ids) == list(range(200))


def test_reversed_and_between():
    x = Ragged.from_sequences([[1, 2, 3], [4], [5, 6]])
    assert reversed_sequences(x).to_list() == [[3, 2, 1], [4], [6, 5]]
    inputs, targets = between(x, 0, 9)
    assert inputs.to_list() == [[0, 1, 2, 3], [0, 4], [0, 5, 6]]
    assert targets.to_list() == [[1, 2, 3, 9], [4, 9], [5, 6, 9]]


def search(networks, source, width, max_length, threads=1, **options):
    options = {"min_length": 0, "exclude": np.array([], np.int64), "length_penalty": 0.0} | options
    states = [network.states(Ragged.from_sequences(source), threads) for network in networks]
    decoders = [network.decoder for network in networks]
    return beam_search(
        decoders, states, start=0, end=1, width=width, max_length=max_length, n_threads=threads, **options
    )


def assert_same_hypotheses(found, expected):
    assert [hypothesis.tokens.tolist() for hypothesis in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([hypothesis.log_prob for hypothesis in found], [p for _, p in expected], rtol=1e-9)


def as_expected(hypotheses):
    return [(hypothesis.tokens.tolist(), hypothesis.log_prob) for hypothesis in hypotheses]


class TestSearch:
    @pytest.mark.parametrize("width", [1, 2, 5, 40])
    @pytest.mark.parametrize("cell", CELLS)
    def test_hypotheses_are_the_reference_s(self, cell, width):
        for seed, shape in enumerate(SHAPES.values()):
            network = make_network(cell, (8, 7), 5, seed, scale=3, **shape)
            source, _, _ = make_pairs((8, 7), LENGTHS, seed)
            for penalty in (0.0, 0.7):
                found = search([network], source, width, 6, threads=2, length_penalty=penalty)
                for sequence, hypotheses in zip(source, found, strict=True):
                    expected = reference_pairs.beam_search(cell, weights(network), sequence, width, 6, penalty)
                    assert_same_hypotheses(hypotheses, expected[: len(hypotheses)])
                    assert len(hypotheses) == len(expected)

    @pytest.mark.parametrize("width", [1, 4])
    def test_ensembles_average_probabilities(self, width):
        networks = [make_network("gru", (8, 7), 5, seed, scale=3) for seed in range(3)]
        source, _, _ = make_pairs((8, 7), LENGTHS)
        found = search(networks, source, width, 6, threads=2)
        for sequence, hypotheses in zip(source, found, strict=True):
            expected = reference_pairs.beam_search("gru", [weights(n) for n in networks], sequence, width, 6)
            assert_same_hypotheses(hypotheses, expected)

    @pytest.mark.parametrize("limits", [
        {"MAX_ROWS": 3}, {"MAX_ROWS": 7}, {"MAX_TOKENS": 48}, {"MIN_ROWS_PER_THREAD": 1}, {"MIN_ROWS_PER_THREAD": 1,
        "MAX_ROWS": 3},
        {"MIN_ROWS_PER_THREAD": 1000, "MAX_ROWS": 7},
    ], ids=str)  # fmt: skip
    def test_few_sentences_at_once_are_all_at_once(self, limits, monkeypatch):
        network, (source, _, _) = make_network("lstm", scale=3), make_pairs((8, 9), LENGTHS)
        expected = search([network], source, 3, 8)
        for name, value in limits.items():
            monkeypatch.setattr(f"fastrnn.decoding.beam_search.{name}", value)
        for threads in (1, 2):
            with monkeypatch.context() as context:
                context.setattr(
                    "fastrnn.decoding.beam_search.useful_threads", lambda network, rows, n_threads: n_threads
                )
                found = search([network], source, 3, 8, threads)
            for one, other in zip(found, expected, strict=True):
                assert_same_hypotheses(one, as_expected(other))

    def test_few_sentences_of_an_ensemble_at_once_are_all_at_once(self, monkeypatch):
        networks, (source, _, _) = [make_network("lstm", seed=seed) for seed in (0, 1)], make_pairs((8, 9), LENGTHS)
        expected = search(networks, source, 3, 8)
        monkeypatch.setattr("fastrnn.decoding.beam_search.MAX_LOGITS", 2 * 3 * 64)
        for one, other in zip(search(networks, source, 3, 8), expected, strict=True):
            assert_same_hypotheses(one, as_expected(other))

    @pytest.mark.parametrize("alone", [1, 1000])
    @pytest.mark.parametrize("width", [1, 5, 70])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_of_equals_the_earlier(self, dtype, width, alone, monkeypatch):
        """Words of `best` are all as probable, in several panels and shares; rows are equal too."""
        monkeypatch.setattr("fastrnn.decoding.beam_search.MIN_ROWS_PER_THREAD", alone)
        monkeypatch.setattr("fastrnn.decoding.beam_search.useful_threads", lambda network, rows, n_threads: n_threads)
        network, best = (
            make_network("rnn", (8, 300), 3, dtype=dtype),
            [1, 2, 63, 64, 66, 191, 192, 255, *range(270, 300)],
        )
        network.params["decoder.V"] = np.zeros((300, 3))
        network.params["decoder.c"] = np.where(np.isin(np.arange(300), [5, *best]), 0.0, -50.0)
        beam, ended = [[]], []
        for _ in range(3):
            kept = [[*tokens, word] for tokens in beam for word in best][: width - len(ended)]
            beam, ended = [h for h in kept if h[-1] != 1], ended + [h for h in kept if h[-1] == 1]
        for hypotheses in search([network], [[2], [3], [4]], width, 3, 2, exclude=np.array([5])):
            assert [h.tokens.tolist() for h in hypotheses] == ended + beam
            for h in hypotheses:
                assert h.log_prob == pytest.approx(-len(h.tokens) * np.log(len(best) + 1), rel=1e-6)

    @pytest.mark.compiled
    @pytest.mark.parametrize("cell, shape", [("lstm", "embedding"), ("gru", "two tied layers")])
    def test_many_rows(self, cell, shape):
        network = make_network(cell, (8, 300), 5, scale=2, **SHAPES[shape])
        source, _, _ = make_pairs((8, 300), [(n % 7 + 1, 1) for n in range(80)])
        found = search([network], source, 5, 6, threads=2)
        for sequence, hypotheses in list(zip(source, found, strict=True))[::9]:
            expected = reference_pairs.beam_search(cell, weights(network), sequence, 5, 6)
            assert_same_hypotheses(hypotheses, expected)
        for sequence, hypotheses in zip(source, found, strict=True):
            (alone,) = search([network], [sequence], 5, 6, threads=2)
            assert_same_hypotheses(hypotheses, as_expected(alone))

    @pytest.mark.compiled
    def test_in_float32_as_in_float64(self):
        single, double = (make_network("lstm", (8, 300), 9, dtype=dtype, scale=2) for dtype in ("float32", "float64"))
        source, _, _ = make_pairs((8, 300), LENGTHS)
        for one, other in zip(search([single], source, 4, 5), search([double], source, 4, 5), strict=True):
            assert [h.tokens.tolist() for h in one] == [h.tokens.tolist() for h in other]
            np.testing.assert_allclose([h.log_prob for h in one], [h.log_prob for h in other], rtol=1e-4)

    def test_lengths_and_exclusions(self):
        network, (source, _, _) = make_network("lstm", scale=3), make_pairs((8, 9), LENGTHS)
        for hypotheses in search([network], source, 4, 7, min_length=4, exclude=np.array([0, 3])):
            for hypothesis in hypotheses:
                tokens = hypothesis.tokens.tolist()
                assert 4 <= len(tokens) <= 7 and not {0, 3} & set(tokens) and 1 not in tokens[:-1]
                assert tokens[-1] == 1 or len(tokens) == 7

    @pytest.mark.compiled
    def test_many_words_and_a_wide_beam(self):
        network, (source, _, _) = make_network("gru", (8, 300), 9, scale=3), make_pairs((8, 300), LENGTHS)
        for sequence, hypotheses in zip(source, search([network], source, 12, 5, threads=2), strict=True):
            expected = reference_pairs.beam_search("gru", weights(network), sequence, 12, 5)
            assert_same_hypotheses(hypotheses, expected)

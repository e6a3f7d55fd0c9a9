"""Drawing sequences: what may be drawn, how often, and with what log-probability."""

import numpy as np
import pytest
import reference
from helpers import CELLS, COMPILED, DTYPES, examples, make_model, weights
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.decoding import sampling
from fastrnn.decoding.sampling import STREAMS, Decoder, make_sampling_params
from fastrnn.kernels.threads import ThreadTeam

PROBABILITIES = np.array([0.05, 0.1, 0.4, 0.25, 0.15, 0.05])
MANY = 20_000 if COMPILED else 2_000


def constant_model(probabilities=PROBABILITIES, **parameters):
    """A model that gives every next index the same probabilities, whatever came before."""
    model = make_model("rnn", len(probabilities), 2, **{"dtype": "float64"} | parameters)
    model.params_["V"] = np.zeros((len(probabilities), 2))
    model.params_["c"] = np.log(probabilities)
    return model


def frequencies(model, draws=MANY, **options):
    """How often each index is drawn."""
    options = {"prompt": [2], "end": None, "exclude": (), "random_state": 0, "max_length": 100} | options
    sequences = model.generate(draws // options["max_length"], **options)
    return np.bincount(np.concatenate([s[1:] for s in sequences]), minlength=model.vocab_size_)


def assert_frequencies(counts, expected):
    """Chi-square: six standard deviations above its mean; nothing that has no probability."""
    expected = np.asarray(expected) / np.sum(expected) * counts.sum()
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = max(1, len(counts) - 1)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 6 * (2 * freedom) ** 0.5, (counts, expected)


class TestFrequencies:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
    def test_are_those_of_the_softmax_at_a_temperature(self, temperature):
        counts = frequencies(constant_model(), temperature=temperature)
        assert_frequencies(counts, PROBABILITIES ** (1 / temperature))
        with pytest.raises(AssertionError):  # the test can fail
            assert_frequencies(counts, PROBABILITIES ** (2 / temperature))

    def test_follow_the_state(self):
        model = make_model("gru", 6, 4, dtype="float64")
        for prompt in ([0, 3, 1], [0, 3, 2]):
            counts = frequencies(model, 4000 if COMPILED else 400, prompt=prompt, max_length=1)
            counts -= np.bincount(prompt[1:], minlength=6) * counts.sum() // len(prompt)  # the prompt's own
            logits = reference.forward("gru", weights(model), prompt)[1][-1]
            assert_frequencies(counts, np.exp(reference.log_softmax(logits)))

    def test_two_steps_are_the_product(self):
        """The second index, given the first: streams keep their own states."""
        model = make_model("rnn", 4, 3, dtype="float64")
        n = 6000 if COMPILED else 300
        sequences = model.generate(n, prompt=[2], end=None, exclude=(), random_state=1, max_length=2)
        counts, expected = np.zeros((4, 4)), np.zeros((4, 4))
        np.add.at(counts, tuple(np.array(sequences)[:, 1:].T), 1)
        for first in range(4):
            logits = reference.forward("rnn", weights(model), [2, first])[1]
            o = [np.exp(reference.log_softmax(row)) for row in logits]
            expected[first] = o[0][first] * o[1]
        assert_frequencies(counts.ravel(), expected.ravel())

    def test_excluded_probability_is_removed(self):
        """The others keep their ratios, and so must the steps after an excluded index would have come."""
        counts = frequencies(constant_model(), exclude=[2, 5])
        assert_frequencies(counts, PROBABILITIES * [1, 1, 0, 1, 1, 0])

    def test_default_excludes_the_start_and_the_unknown_word(self):
        counts = frequencies(constant_model(), exclude=None)
        assert_frequencies(counts, PROBABILITIES * [0, 1, 1, 1, 1, 0])

    @pytest.mark.parametrize("k, kept", [(1, [2]), (2, [2, 3]), (3, [2, 3, 4]), (5, range(6)), (6, range(6)),
                                         (100, range(6))])  # fmt: skip
    def test_top_k(self, k, kept):
        """Ties of the k-th stay: 0 and 5 are equal."""
        assert_frequencies(frequencies(constant_model(), top_k=k), PROBABILITIES * np.isin(range(6), list(kept)))

    @pytest.mark.parametrize("p, kept", [(1e-9, [2]), (0.39, [2]), (0.41, [2, 3]), (0.64, [2, 3]), (0.66, [2, 3, 4]),
                                         (0.85, [1, 2, 3, 4]), (0.93, range(6)), (1.0, range(6))])  # fmt: skip
    def test_top_p(self, p, kept):
        assert_frequencies(frequencies(constant_model(), top_p=p), PROBABILITIES * np.isin(range(6), list(kept)))

    def test_top_k_and_top_p_look_at_what_is_not_excluded(self):
        model = constant_model()
        assert_frequencies(frequencies(model, exclude=[2], top_k=2), PROBABILITIES * [0, 0, 0, 1, 1, 0])
        # Of the rest, 0.6, index 3 holds 0.417 and index 4 0.25.
        assert_frequencies(frequencies(model, exclude=[2], top_p=0.41), PROBABILITIES * [0, 0, 0, 1, 0, 0])
        assert_frequencies(frequencies(model, exclude=[2], top_p=0.5), PROBABILITIES * [0, 0, 0, 1, 1, 0])

    def test_both_keep_what_each_keeps(self):
        model = constant_model()
        for options in ({"top_k": 2, "top_p": 0.9}, {"top_k": 5, "top_p": 0.5}):
            assert_frequencies(frequencies(model, **options), PROBABILITIES * [0, 0, 1, 1, 0, 0])

    def test_top_p_is_of_the_tempered_probabilities(self):
        tempered = PROBABILITIES**2 / (PROBABILITIES**2).sum()  # index 2: 0.61
        counts = frequencies(constant_model(), top_p=0.55, temperature=0.5)
        assert_frequencies(counts, tempered * [0, 0, 1, 0, 0, 0])

    def test_float32(self):
        assert_frequencies(frequencies(constant_model(dtype="float32")), PROBABILITIES)

    def test_each_stream_draws_for_itself(self):
        sequences = constant_model().generate(
            2 * STREAMS + 2, prompt=[2], end=None, exclude=(), max_length=12, random_state=0
        )
        assert len({tuple(s) for s in sequences}) > 2 * STREAMS - 4


def greedy(model, prompt, length, exclude, end=1):
    """The most probable continuation, by the reference."""
    sequence = list(prompt)
    for _ in range(length):
        logits = reference.forward(model.cell, weights(model), sequence)[1][-1]
        logits[list(exclude)] = -np.inf
        sequence.append(int(logits.argmax()))
        if sequence[-1] == end:
            break
    return sequence


class TestGreedy:
    @pytest.mark.parametrize("n", [1, 9])  # few streams take another way through the output layer
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("cell", CELLS)
    def test_temperature_0_and_top_k_1(self, cell, dtype, bias, n):
        model = make_model(cell, 23, 7, dtype=dtype, bias=bias, seed=3)
        for prompt in ([0], [5, 2, 9, 4]):
            expected = greedy(model, prompt, 15, [0, 22])
            for options in ({"temperature": 0}, {"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-9}):
                for sequence in model.generate(n, prompt=prompt, max_length=15, **options):
                    assert sequence.tolist() == expected

    def test_exclusions(self):
        model = make_model("lstm", 9, 5, dtype="float64")
        for exclude in ((), [3], [2, 3, 4, 5]):
            expected = greedy(model, [0], 12, exclude)
            assert model.generate(1, temperature=0, exclude=exclude, max_length=12)[0].tolist() == expected

    def test_the_first_of_equals(self):
        model = constant_model(np.full(6, 1 / 6))
        assert model.generate(1, temperature=0, max_length=3, exclude=[0, 1])[0].tolist() == [0, 2, 2, 2]


class TestLogProbabilities:
    @pytest.mark.parametrize("options", [
        {}, {"temperature": 0.3}, {"top_k": 3}, {"top_p": 0.5}, {"exclude": [2, 3]}, {"exclude": ()},
        {"temperature": 0},
    ])  # fmt: skip
    @pytest.mark.parametrize("cell", CELLS)
    def test_are_the_model_s_whatever_the_options(self, cell, options):
        n = 2 * STREAMS + 2 if COMPILED else 9
        model = make_model(cell, 9, 6, dtype="float64")
        sequences, log_probs = model.generate(
            n, prompt=[0, 4], random_state=3, max_length=14, return_log_probs=True, **options
        )
        assert len(sequences) == len(log_probs) == n
        x, y = [s[:-1] for s in sequences], [s[1:] for s in sequences]
        losses, ragged = model.token_losses(x, y)
        for log_p, scored in zip(log_probs, np.split(losses, ragged.offsets[1:-1]), strict=True):
            assert log_p.dtype == np.float64
            np.testing.assert_allclose(log_p, -scored[1:], rtol=1e-10)  # the first is the prompt's own
        prompt_own = model.score_samples([[0]], [[4]])[0]
        summed = [log_p.sum() + prompt_own for log_p in log_probs]
        np.testing.assert_allclose(summed, model.score_samples(x, y), rtol=1e-10)

    def test_float32(self):
        model = make_model("gru", 9, 6, dtype="float32")
        sequences, log_probs = model.generate(6, random_state=3, max_length=14, return_log_probs=True)
        scores = model.score_samples([s[:-1] for s in sequences], [s[1:] for s in sequences])
        np.testing.assert_allclose([log_p.sum() for log_p in log_probs], scores, rtol=1e-5)

    def test_streams_of_unlike_length(self):
        """Some end soon: those that stay keep their own states."""
        sequences = constant_model().generate(40, prompt=[2], exclude=(), random_state=0, max_length=30)
        assert len({len(s) for s in sequences}) > 5


class TestLengths:
    @pytest.mark.parametrize("n", [1, 3, 7, 8, STREAMS, STREAMS + 1, 2 * STREAMS + 2])
    def test_number_prompt_and_type(self, n):
        sequences = make_model("gru", 9, 4).generate(n, prompt=np.array([3, 0, 8]), max_length=6, random_state=0)
        assert len(sequences) == n
        for sequence in sequences:
            assert sequence.dtype == np.int32 and sequence[:3].tolist() == [3, 0, 8]
            drawn = sequence[3:].tolist()
            assert 1 <= len(drawn) <= 6 and 1 not in drawn[:-1] and (drawn[-1] == 1 or len(drawn) == 6)
            assert not {0, 8} & set(drawn)

    def test_min_length_counts_the_end(self):
        model = constant_model(np.array([0.01, 0.9, 0.03, 0.03, 0.03]))
        for least, shortest in ((0, 1), (1, 1), (2, 2), (5, 5)):
            sequences = model.generate(60, min_length=least, max_length=8, random_state=0)
            assert min(len(s) - 1 for s in sequences) == shortest
            assert all(s[-1] == 1 for s in sequences if len(s) - 1 < 8)

    def test_end(self):
        model = constant_model()
        assert {len(s) for s in model.generate(9, end=None, max_length=30, exclude=())} == {31}
        assert {len(s) for s in model.generate(9, end=99, max_length=30, exclude=())} == {31}  # no index at all
        for sequence in model.generate(30, prompt=[3], end=3, max_length=30, exclude=(), random_state=0):
            drawn = sequence[1:].tolist()
            assert 3 not in drawn[:-1] and (drawn[-1] == 3 or len(drawn) == 30)

    def test_an_excluded_end_never_comes(self):
        assert {len(s) for s in constant_model().generate(9, exclude=[1], max_length=20)} == {21}

    def test_smallest_vocabularies(self):
        assert constant_model(np.ones(1)).generate(1, exclude=(), max_length=3)[0].tolist() == [0, 0, 0, 0]
        assert constant_model(np.ones(3) / 3).generate(1, max_length=3)[0].tolist() == [0, 1]  # the end alone is left


class TestSeeds:
    @pytest.mark.parametrize("n", [2, 130])
    def test_the_same_seed_draws_the_same(self, n):
        model = make_model("rnn", 9, 4)
        one, two = (model.generate(n, random_state=5, max_length=9) for _ in "12")
        assert [s.tolist() for s in one] == [s.tolist() for s in two]
        other = model.generate(n, random_state=6, max_length=9)
        assert [s.tolist() for s in one] != [s.tolist() for s in other]

    def test_a_generator_goes_on(self):
        model, rng = make_model("rnn", 9, 4), np.random.default_rng(5)
        one = model.generate(3, random_state=rng, max_length=9)
        assert [s.tolist() for s in one] == [s.tolist() for s in model.generate(3, random_state=5, max_length=9)]
        assert [s.tolist() for s in one] != [s.tolist() for s in model.generate(3, random_state=rng, max_length=9)]

    def test_generating_does_not_touch_the_model(self):
        model = make_model("lstm", 9, 4)
        before, state = weights(model), model.rng_.bit_generator.state
        model.generate(3, max_length=9)
        assert model.rng_.bit_generator.state == state
        for name, array in weights(model).items():
            np.testing.assert_array_equal(array, before[name])


def draw_with(model, uniforms, threads=1, prompt=(0,), **options):
    """What the given uniform numbers (steps, n) draw: tokens and ln p, both (n, steps)."""
    network, uniforms = model.network_, np.asarray(uniforms, np.float64)
    defaults = {"end": None, "min_length": 0, "exclude": [], "temperature": 1.0, "top_k": None, "top_p": None}
    rule = make_sampling_params(network, **defaults | options)
    steps, n = uniforms.shape
    drawn, log_p = np.full((n, steps), -1, np.int32), np.zeros((n, steps))
    with ThreadTeam(threads) as team:
        decoder = Decoder(network, team, 1)
        decoder.draw(rule, np.array(prompt, np.int32), np.empty((0, 1)), drawn, log_p)
        decoder.select(np.zeros(n, np.int64))
        decoder.draw(rule, np.empty(0, np.int32), uniforms, drawn, log_p)
    return drawn, log_p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uniform, expected", [(0.0, 1), (0.24, 1), (0.26, 2), (0.76, 4), (1 - 2**-53, 4)])
def test_a_uniform_number_picks_its_share(uniform, expected, dtype):
    """Also at the ends of the interval nothing is drawn that has no probability."""
    logits = np.array([0.2, 0.2, 0.4, 0.0001, 0.2 - 0.0001])
    drawn, log_p = draw_with(constant_model(logits, dtype=dtype), [[uniform]], exclude=[0, 3])
    assert drawn[0, 0] == expected
    assert log_p[0, 0] == pytest.approx(np.log(logits[expected]), abs=1e-12 if dtype == "float64" else 1e-6)


def kept_of(weights, top_k, top_p):
    """The naive filter: what top_k and top_p leave of weights, each by itself."""
    ordered = np.sort(weights)[::-1]
    lowest = ordered[top_k - 1] if top_k is not None and top_k < len(weights) else 0
    if top_p is not None:
        enough = np.flatnonzero(np.cumsum(ordered) >= top_p * ordered.sum())
        lowest = max(lowest, ordered[enough[0]] if len(enough) else 0)
    return (weights > 0) & (weights >= lowest)


@examples(60)
@given(st.data())
def test_what_is_drawn_against_numpy(data):
    """Every word by the inverse of the naive distribution function; ties, exclusions and block borders among them."""
    C = data.draw(st.sampled_from([1, 2, 5, 63, 64, 65, 129, 200]))
    # Whole numbers: many ties. Primes apart, so that no cumulative share meets top_p or a uniform number but by far.
    whole = np.array(data.draw(st.lists(st.integers(1, 9), min_size=C, max_size=C)), float)
    excluded = data.draw(st.lists(st.integers(0, C - 1), max_size=C - 1, unique=True).filter(lambda e: len(set(e)) < C))
    top_k = data.draw(st.none() | st.integers(1, C + 2))
    top_p = data.draw(st.none() | st.integers(0, 100).map(lambda i: (i + 0.497) / 101.01))
    temperature = data.draw(st.sampled_from([1.0, 0.5, 2.0]))
    weights = np.where(np.isin(np.arange(C), excluded), 0, whole ** (1 / temperature))
    shares = weights * kept_of(weights, top_k, top_p)
    borders = np.concatenate([[0], np.cumsum(shares)]) / shares.sum()
    words = np.flatnonzero(shares)
    uniforms = (borders[words] + borders[words + 1]) / 2  # the middle of each word's share
    threads = data.draw(st.sampled_from([1, 2, 3]))
    drawn, log_p = draw_with(
        constant_model(whole / whole.sum()), uniforms[:, None], threads, exclude=excluded, temperature=temperature,
        top_k=top_k, top_p=top_p,
    )  # fmt: skip
    assert drawn[0].tolist() == words.tolist()
    np.testing.assert_allclose(log_p[0], np.log(whole / whole.sum())[words], atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 4, 9])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_any_size_any_number_of_threads(cell, dtype, threads, n):
    """Drawn words and their ln p follow the reference's distribution function, word by word."""
    C, H = (203, 19) if COMPILED else (70, 5)
    model = make_model(cell, C, H, dtype=dtype)
    uniforms = np.random.default_rng(0).random((5, n))
    drawn, log_p = draw_with(model, uniforms, threads, prompt=[3, 1, 4], exclude=[0, C - 1])
    for stream in range(n):
        sequence = [3, 1, 4, *drawn[stream]]
        logits = reference.forward(cell, weights(model), sequence)[1][2:-1]
        for t, word in enumerate(drawn[stream]):
            p = np.exp(reference.log_softmax(logits[t]))
            assert log_p[stream, t] == pytest.approx(np.log(p[word]), abs=1e-12 if dtype == "float64" else 2e-5)
            p[[0, C - 1]] = 0
            upto = np.cumsum(p) / p.sum()
            slack = 1e-12 if dtype == "float64" else 1e-4
            assert upto[word - 1] - slack < uniforms[t, stream] < upto[word] + slack and p[word] > 0


@pytest.mark.parametrize("C", [1, 2, 63, 64, 65, 300])
@pytest.mark.parametrize("threads", [2, 4])
def test_fewer_words_than_the_team_would_share(C, threads):
    model = make_model("gru", C, 4, dtype="float64")
    uniforms = np.random.default_rng(2).random((8, 6))
    one, log_one = draw_with(model, uniforms, 1)
    many, log_many = draw_with(model, uniforms, threads)
    assert one.tolist() == many.tolist()
    np.testing.assert_allclose(log_one, log_many, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("threads, expected", [(1, 1), (2, 2), (3, 3), (9, 4)])
def test_n_threads_is_respected(threads, expected, monkeypatch):
    """And no thread is started for too little work: 4 shares of it here."""
    sizes = []
    monkeypatch.setattr(sampling, "ThreadTeam", lambda size: sizes.append(size) or ThreadTeam(size))
    monkeypatch.setattr(sampling, "MIN_FLOPS_PER_THREAD", 300 * 4)
    make_model("gru", 300, 4, n_threads=threads).generate(4, max_length=3)
    assert sizes == [expected]


@pytest.mark.parametrize("excluded_logit", [15.0, 30.0, 500.0])
def test_an_excluded_word_may_be_almost_certain(excluded_logit):
    """What is left keeps its ratios, and ln p stays the model's."""
    model = make_model("rnn", 4, 2, dtype="float32")
    model.params_["V"] = np.zeros((4, 2))
    model.params_["c"] = [0.0, excluded_logit, 0.0, np.log(3)]
    drawn, log_p = draw_with(model, (np.arange(100)[:, None] + 0.5) / 100, exclude=[0, 1])
    assert np.bincount(drawn[0], minlength=4).tolist() == [0, 0, 25, 75]
    np.testing.assert_allclose(log_p[0], np.where(drawn[0] == 2, 0, np.log(3)) - excluded_logit, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 5e-324, 1e-4, 1e300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_temperatures(dtype, temperature):
    probabilities = np.array([0.1, 0.2, 0.4, 0.3])
    uniforms = np.array([0.0, 0.3, 0.6, 1 - 2**-53])[:, None]
    drawn, log_p = draw_with(constant_model(probabilities, dtype=dtype), uniforms, temperature=temperature)
    assert drawn[0].tolist() == ([0, 1, 2, 3] if temperature > 1 else [2, 2, 2, 2])
    np.testing.assert_allclose(log_p[0], np.log(probabilities[drawn[0]]), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.5}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_not_numbers(dtype, options):
    """The error names them; what was drawn to find that out was something that may be drawn."""
    model = make_model("gru", 70, 4, dtype=dtype)
    model.params_["V"][:] = np.nan
    with pytest.raises(ValueError, match="^params_: found NaN or infinity in V, expected finite numbers"):
        model.generate(2, exclude=[0, 1], end=None, max_length=3, random_state=0, **options)


@pytest.mark.parametrize("n", [1, 5])
def test_pieces_make_no_difference(n, monkeypatch):
    """Neither to what is drawn nor to what is left of the generator."""
    model, found = make_model("lstm", 9, 5), []
    for first_steps, seconds in ((1, 0.0), (3, 1e9), (1000, 1e9)):
        monkeypatch.setattr(sampling, "FIRST_STEPS", first_steps)
        monkeypatch.setattr(sampling, "SECONDS_PER_RUN", seconds)
        rng = np.random.default_rng(4)
        sequences = model.generate(n, prompt=[0, 3, 2, 5, 4], max_length=40, random_state=rng)
        found.append(([s.tolist() for s in sequences], rng.random()))
    assert found[0] == found[1] == found[2]
    assert min(map(len, found[0][0])) < 45  # ends before the last piece would


@pytest.mark.parametrize("options, error, message", [
    ({"n": 0}, ValueError, "n: found 0"),
    ({"n": 1.5}, TypeError, "n: found 1.5"),
    ({"prompt": []}, ValueError, "prompt"),
    ({"prompt": [6]}, ValueError, "prompt: sequence 0, position 0 is 6"),
    ({"prompt": [-1]}, ValueError, "prompt: sequence 0, position 0 is -1"),
    ({"prompt": [0.5]}, TypeError, "prompt"),
    ({"prompt": "ab"}, TypeError, "prompt"),
    ({"prompt": 3}, TypeError, "prompt"),
    ({"temperature": -1}, ValueError, "temperature: found -1"),
    ({"temperature": float("nan")}, ValueError, "temperature: found nan"),
    ({"temperature": float("inf")}, ValueError, "temperature: found inf"),
    ({"temperature": None}, TypeError, "temperature: found None"),
    ({"top_k": 0}, ValueError, "top_k: found 0"),
    ({"top_k": 2.0}, TypeError, "top_k: found 2.0"),
    ({"top_p": 0}, ValueError, "top_p: found 0"),
    ({"top_p": 1.1}, ValueError, "top_p: found 1.1"),
    ({"min_length": -1}, ValueError, "min_length: found -1"),
    ({"max_length": 0}, ValueError, "max_length: found 0"),
    ({"min_length": 5, "max_length": 4}, ValueError, "max_length: found 4, expected an int >= 5"),
    ({"end": -1}, ValueError, "end: found -1"),
    ({"exclude": [6]}, ValueError, "exclude: sequence 0, position 0 is 6"),
    ({"exclude": [0.5]}, TypeError, "exclude"),
    ({"exclude": range(6)}, ValueError, "exclude: no index is left that could be drawn"),
    ({"exclude": [0, 2, 3, 4, 5], "min_length": 2}, ValueError, "exclude: no index is left that could be drawn"),
    ({"random_state": -1}, ValueError, "random_state: found -1"),
])  # fmt: skip
def test_errors_name_the_argument(options, error, message):
    with pytest.raises(error) as info:
        constant_model().generate(**options)
    assert str(info.value).startswith(message) and "\n" not in str(info.value)

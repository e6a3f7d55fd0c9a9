"""Drawing and ranking words on the GPU, against the kernels of the CPU: the same tokens for the same numbers."""

import numpy as np
import pytest
import reference
from helpers import CELLS, make_model, weights

from fastrnn.decoding.sampling import make_sampling_params, sample
from fastrnn.kernels.cpu.decoding import sampling as cpu_decode
from fastrnn.kernels.cpu.workspace import Model
from fastrnn.kernels.cuda.decoding.sampling import POLL_STEPS, choose
from fastrnn.kernels.cuda.decoding.step import Streams, draw
from fastrnn.kernels.cuda.decoding.top_k import average, best_words
from fastrnn.kernels.cuda.driver import THREADS, empty, to_device, to_host, zeros

pytestmark = pytest.mark.usefixtures("simulator")


ROUNDING = {"float32": 1e-5, "float64": 1e-12}


class Words:
    """What `make_sampling_params` asks of a network."""

    def __init__(self, C, dtype):
        self.vocab_size, self.dtype = C, np.dtype(dtype)


def rule_of(C, dtype="float64", end=None, exclude=(), **options):
    options = {"min_length": 0, "temperature": 1.0, "top_k": None, "top_p": None} | options
    exclude = np.array(exclude, np.int64)
    return make_sampling_params(Words(C, dtype), end, options.pop("min_length"), exclude, **options)


def choice_of_the_cpu(z, rule, uniform, may=1):
    """A word and its ln p, by the kernels of the CPU."""
    C, dtype, B = len(z), z.dtype, cpu_decode.BLOCK
    bound = np.empty((1, 1), dtype)
    words = cpu_decode.VocabBuffers(
        z[None], np.empty((1, C), dtype), np.empty((1, -(-C // B))), np.empty((1, 1)), np.empty((1, 1, 2), dtype),
        bound, bound.view(f"i{bound.itemsize}"),
    )  # fmt: skip
    cpu_decode.largest(z, rule.allowed[may], np.empty((2, B), dtype), words.top[0, 0])
    words.total[0, 0] = cpu_decode._tempered_weights(
        z, rule.allowed[may], words.top[:, 0], rule.temperature, rule.inverse, words.weights[0], words.sums[0]
    )
    return cpu_decode._choose(0, words, 0, rule.allowed[may], rule, uniform)


def chosen(z, rule, uniforms, step=0, tokens=None):
    """What the GPU chooses for every row of z: words and their ln p."""
    tokens = zeros((POLL_STEPS, len(z)), "i4") if tokens is None else to_device(tokens)
    log_p, rows = empty((POLL_STEPS, len(z)), "f8"), np.zeros((POLL_STEPS, len(z)))
    rows[step % POLL_STEPS] = uniforms
    choose(to_device(z), to_device(rule.allowed), step, rule, to_device(rows), tokens, log_p)
    return to_host(tokens)[step % POLL_STEPS], to_host(log_p)[step % POLL_STEPS]


OPTIONS = {
    "plain": {},
    "cold": {"temperature": 0.3},
    "hot": {"temperature": 3.0, "exclude": [0, 2]},
    "greedy": {"temperature": 0.0},
    "greedy_excluded": {"temperature": 0.0, "exclude": range(0, 60, 2)},
    "excluded": {"exclude": range(1, 60)},
    "top_1": {"top_k": 1},
    "top_k": {"top_k": 5, "temperature": 2.0},
    "top_k_all": {"top_k": 1000},
    "top_p": {"top_p": 0.6},
    "top_p_tiny": {"top_p": 1e-9},
    "both": {"top_k": 7, "top_p": 0.8, "exclude": [3, 4], "temperature": 0.7},
}


class TestChoose:
    @pytest.mark.parametrize("name, dtype", [
        *((name, "float64") for name in OPTIONS), *((name, "float32") for name in ("plain", "hot", "greedy", "both"))
    ])  # fmt: skip
    def test_is_that_of_the_cpu(self, name, dtype):
        rng, C = np.random.default_rng(len(name)), 61
        rule = rule_of(C, dtype, **OPTIONS[name])
        z = (3 * rng.standard_normal((3, C))).astype(dtype)
        z[:, 0] += 6  # what may be excluded is often the largest
        uniforms = np.array([0.0, 1 - 2.0**-53, rng.random()])
        words, log_p = chosen(z, rule, uniforms)
        for s, uniform in enumerate(uniforms):
            word, score = choice_of_the_cpu(z[s], rule, uniform)
            assert words[s] == word
            assert log_p[s] == pytest.approx(score, abs=ROUNDING[dtype])

    @pytest.mark.parametrize("C", [1, 2, 3, THREADS, THREADS + 1, 2 * cpu_decode.BLOCK + 3])
    def test_of_any_number_of_words(self, C):
        rng = np.random.default_rng(C)
        z, uniforms, rule = rng.standard_normal((5, C)), rng.random(5), rule_of(C)
        expected = [choice_of_the_cpu(row, rule, uniform) for row, uniform in zip(z, uniforms, strict=True)]
        found = chosen(z, rule, uniforms)
        np.testing.assert_array_equal(found[0], [word for word, _ in expected])
        np.testing.assert_allclose(found[1], [score for _, score in expected], rtol=0, atol=1e-12)

    def test_the_words_share_the_numbers_in_their_order(self):
        p = np.array([0.1, 0.2, 0.0, 0.4, 0.3])
        with np.errstate(divide="ignore"):
            z = np.tile(np.log(p), (8, 1))
        uniforms = np.array([0, 0.0999, 0.1001, 0.2999, 0.3001, 0.6999, 0.7001, 0.9999])
        words, log_p = chosen(z, rule_of(5), uniforms)
        assert words.tolist() == [0, 0, 1, 1, 3, 3, 4, 4]
        np.testing.assert_allclose(np.exp(log_p), p[words], rtol=1e-14)

    @pytest.mark.parametrize("options, kept", [
        ({"top_k": 1}, [2]), ({"top_k": 2}, [2, 3]), ({"top_k": 3}, [0, 2, 3, 5]), ({"top_k": 4}, [0, 2, 3, 5]),
        ({"top_k": 5}, [0, 1, 2, 3, 5]), ({"top_p": 0.29}, [2]), ({"top_p": 0.31}, [2, 3]),
        ({"top_p": 0.56}, [0, 2, 3, 5]), ({"top_p": 0.9}, [0, 1, 2, 3, 5]),
    ])  # fmt: skip
    def test_what_is_kept_and_ties_with_it(self, options, kept):
        p = np.array([0.15, 0.08, 0.3, 0.25, 0.07, 0.15])
        last = np.cumsum(p[kept]) / p[kept].sum()
        uniforms = last - p[kept] / p[kept].sum() / 2  # in the middle of each share
        words, _ = chosen(np.tile(np.log(p), (len(kept), 1)), rule_of(6, **options), uniforms)
        assert words.tolist() == kept

    def test_greedy_takes_the_first_of_equals(self):
        z = np.array([[1.0, 5, 3, 5, 5, 3], [2, 2, 2, 2, 2, 2]])
        assert chosen(z, rule_of(6, temperature=0.0), 0.9)[0].tolist() == [1, 0]
        assert chosen(z, rule_of(6, temperature=0.0, exclude=[0, 1]), 0.9)[0].tolist() == [3, 2]

    @pytest.mark.parametrize("options", [{}, {"top_p": 0.5}, {"top_k": 2}, {"temperature": 0.0}])
    def test_logits_that_are_no_numbers(self, options):
        """Something that may be drawn is, and its ln p tells."""
        words, log_p = chosen(np.full((2, 5), np.nan), rule_of(5, exclude=[0, 1], **options), 0.5)
        assert words.tolist() == [2, 2] and np.isnan(log_p).all()

    def test_the_end_waits_for_min_length(self):
        z = np.array([[0.0, 9.0, 1.0]])
        rule = rule_of(3, end=1, min_length=3, temperature=0.0)
        assert [chosen(z, rule, 0.5, step)[0][0] for step in range(4)] == [2, 2, 1, 1]

    @pytest.mark.parametrize("step", [1, POLL_STEPS - 1, POLL_STEPS])
    def test_an_ended_stream_stays_ended(self, step):
        z, tokens = np.tile([0.0, 1.0, 9.0], (3, 1)), np.zeros((POLL_STEPS, 3), np.int32)
        tokens[(step - 1) % POLL_STEPS] = [0, 1, 2]
        assert chosen(z, rule_of(3, end=1), 0.5, step, tokens)[0].tolist() == [2, 1, 2]
        assert chosen(z, rule_of(3), 0.5, step, tokens)[0].tolist() == [2, 2, 2]  # where nothing ends


class TestBestWords:
    @pytest.mark.parametrize("C, width", [(1, 1), (3, 5), (11, 4), (2 * THREADS + 1, 2 * THREADS + 1), (130, 12)])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_are_the_largest_of_equals_the_first(self, C, width, dtype):
        rng = np.random.default_rng(C)
        z = np.round(2 * rng.standard_normal((3, C))).astype(dtype)  # many are equal
        allowed = rng.random((2, C)) < 0.8
        found = empty((3, width), "f8"), empty((3, width), "i4")
        best_words(to_device(z), to_device(allowed), *found)
        values, words = map(to_host, found)
        for row in range(3):
            expected = [word for word in np.argsort(-z[row], kind="stable") if allowed[1, word]][:width]
            count = len(expected)
            assert words[row].tolist() == [*expected, *[-1] * (width - count)]
            log_p = reference.log_softmax(z[row].astype(np.float64))[expected]
            np.testing.assert_allclose(values[row, :count], log_p, rtol=0, atol=ROUNDING[dtype])

    def test_improbable_words_are_ranked_too(self):
        z = np.array([[-np.inf, 2.0, -np.inf, 1.0]])
        found = empty((1, 4), "f8"), empty((1, 4), "i4")
        best_words(to_device(z), to_device(np.array([[True, True, True, False]])), *found)
        assert to_host(found[1]).tolist() == [[1, 0, 2, -1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average(dtype):
    """The ln of the models' mean probability."""
    z = np.random.default_rng(0).standard_normal((3, 4, 2 * THREADS + 3)).astype(dtype) * 5
    total = empty(z.shape[1:], dtype)
    for i in range(3):
        average(to_device(z[i]), i == 0, i == 2, 3, total)
    expected = np.log(np.mean(np.exp([[reference.log_softmax(row) for row in rows] for rows in z]), axis=0))
    np.testing.assert_allclose(to_host(total), expected, rtol=0, atol=ROUNDING[dtype])
    z = np.array([[0.0, -np.inf]])
    average(to_device(z), True, True, 1, total := empty((1, 2), "f8"))
    assert to_host(total).tolist() == [[0, -np.inf]]


def on_device(network):
    """A network's parameters as the kernels of the GPU take them."""
    model = network.model
    cell = type(model.cell)(*map(to_device, model.cell))
    V = to_device(model.V)
    copy = Model(cell, to_device(model.inputs), V, to_device(model.c), zeros(1, model.V.dtype), 0)
    return copy, V if network.tie_weights else to_device(network.U)


def network_of(cell, **parameters):
    return make_model(cell, 7, 3, **{"dtype": "float64"} | parameters).network_


class TestStreams:
    @pytest.mark.parametrize("cell, parameters", [
        *((cell, {}) for cell in CELLS), ("lstm", {"num_layers": 2}), ("gru", {"embedding_dim": 2, "bias": False}),
        ("rnn", {"embedding_dim": 3, "tie_weights": True, "num_layers": 2}),
    ])  # fmt: skip
    def test_logits_are_the_reference_s(self, cell, parameters):
        model = make_model(cell, 7, 3, dtype="float64", **parameters)
        streams = Streams(*on_device(model.network_), 3)
        prompt, fed = [2, 5, 0, 1], [[4, 6, 0], [1, 1, 3]]

        def assert_logits(sequences):
            for found, sequence in zip(to_host(streams.logits), sequences, strict=True):
                expected = reference.forward(cell, weights(model), sequence)[1][-1]
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)

        streams.read(np.array(prompt, np.int32))
        assert_logits([prompt] * 3)
        streams.tokens.copy_to_device(np.array((fed * POLL_STEPS)[:POLL_STEPS], np.int32))
        streams.advance(0)
        assert_logits([[*prompt, word] for word in fed[0]])
        streams.advance(1, to_device(np.array([2, 0, 0], np.int32)))
        assert_logits([[*prompt, fed[0][parent], word] for parent, word in zip([2, 0, 0], fed[1], strict=True)])
        streams.start_from(streams.state, to_device(np.array([1, 1, 2], np.int32)))
        assert_logits([[*prompt, fed[0][p], fed[1][s]] for s, p in [(1, 0), (1, 0), (2, 0)]])


class TestDraw:
    @pytest.mark.parametrize("dtype, options", [
        ("float32", {}), ("float64", {}), ("float64", {"temperature": 0.0}), ("float64", {"min_length": 5, "top_k": 4}),
        ("float64", {"top_p": 0.7, "temperature": 1.5}), ("float32", {"end": None}),
    ])  # fmt: skip
    def test_is_that_of_the_cpu(self, dtype, options):
        """The same tokens, ln p and random numbers taken."""
        options = {"end": 1, "min_length": 0, "temperature": 1.0, "top_k": None, "top_p": None} | options
        network, prompt = network_of("gru", dtype=dtype), np.array([0, 3], np.int32)
        rngs, n, longest = [np.random.default_rng(3) for _ in "ab"], 3, POLL_STEPS + 3
        expected = sample(
            network, prompt, n, max_length=longest, exclude=[0, 6], rng=rngs[0], n_threads=1, **options
        )  # fmt: skip
        rule = make_sampling_params(network, exclude=[0, 6], **options)
        streams = Streams(*on_device(network), n)
        streams.read(prompt)
        tokens, log_p, lengths = draw(streams, longest, rule, rngs[1])
        for s in range(n):
            np.testing.assert_array_equal(tokens[s, : lengths[s]], expected[0][s])
            np.testing.assert_allclose(log_p[s, : lengths[s]], expected[1][s], rtol=0, atol=100 * ROUNDING[dtype])
            assert not tokens[s, lengths[s] :].any() and not log_p[s, lengths[s] :].any()
        assert rngs[0].random() == rngs[1].random()

    def test_goes_on_from_a_state(self):
        network, prompt = network_of("lstm"), np.array([2], np.int32)
        state = np.random.default_rng(0).standard_normal((1, 1, 6))
        options = {"end": None, "min_length": 0, "temperature": 1.0, "top_k": None, "top_p": None, "exclude": []}
        expected, _ = sample(
            network, prompt, 2, max_length=5, rng=np.random.default_rng(1), n_threads=1, state=state, **options
        )
        streams = Streams(*on_device(network), 2)
        streams.read(prompt, state)
        tokens, _, lengths = draw(streams, 5, make_sampling_params(network, **options), np.random.default_rng(1))
        assert lengths.tolist() == [5, 5]
        np.testing.assert_array_equal(tokens, expected)

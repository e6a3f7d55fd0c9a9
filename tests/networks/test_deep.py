"""Stacks of layers, embeddings, tied weights, dropout, carried states and chunks, against the float64 reference."""

import copy

import numpy as np
import pytest
import reference
from helpers import CELLS, COMPILED, DTYPES, assert_arrays_close, examples, make_model, random_batch, weights
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import FastRNN
from fastrnn.data.batches import Batches
from fastrnn.data.ragged import Ragged, minibatches, streams
from fastrnn.kernels.cpu.layers.dropout import batch_key, drop, row_key

SHAPES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "three layers": {"num_layers": 3},
    "embedding": {"embedding_dim": 3},
    "two layers over an embedding": {"num_layers": 2, "embedding_dim": 7},
    "two tied layers": {"num_layers": 2, "embedding_dim": 5, "tie_weights": True},
}


def make_states(model, sequences, seed=1):
    shape = (model.num_layers, sequences, model.network_.state_size)
    return np.random.default_rng(seed).uniform(-0.8, 0.8, shape).astype(model.dtype)


def check_gradients(cell, dtype, shape, C, H, lengths, bias, k, threads, given_state, seed):
    if shape.get("tie_weights"):
        shape = shape | {"embedding_dim": H}
    model = make_model(cell, C, H, seed, bias=bias, dtype=dtype, bptt_truncate=k, n_threads=threads, **shape)
    x, y = random_batch(C, lengths, seed)
    initial = make_states(model, len(x), seed) if given_state else None
    expected_loss, expected = reference.gradients(cell, weights(model), x, y, k, initial=initial)
    loss, found = model.gradients(x, y, initial_state=initial)
    accuracy = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert loss == pytest.approx(expected_loss, rel=accuracy, abs=accuracy)
    assert_arrays_close(found, expected, dtype, rtol={"float32": 2e-4, "float64": 1e-9}[dtype])
    if not given_state:
        assert model.loss(x, y) == pytest.approx(expected_loss, rel=1e-5, abs=1e-5)
    return found


@st.composite
def cases(draw):
    C, H, count, longest = (
        draw(st.integers(1, most)) for most in ((150, 70, 20, 9) if COMPILED else (9, 5, 4, 4))
    )  # fmt: skip
    lengths = np.random.default_rng(draw(st.integers(0, 99))).integers(1, longest + 1, count)
    return {
        "shape": draw(st.sampled_from(list(SHAPES.values()))), "C": C, "H": H, "lengths": lengths.tolist(),
        "bias": draw(st.booleans()), "k": draw(st.sampled_from([None, 0, 1, 2, 3, 8, 1000])),
        "threads": draw(st.sampled_from([1, 2])), "given_state": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@examples(20)
@given(case=cases())
def test_gradients_are_the_reference_s(cell, dtype, case):
    check_gradients(cell, dtype, **case)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_array_has_a_gradient(cell, k, shape):
    found = check_gradients(
        cell, "float64", shape, C=9, H=5, lengths=[5, 4, 2, 1], bias=True, k=k, threads=1, given_state=True, seed=0
    )
    assert all(array.any() for array in found.values())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_finite_differences(cell, shape):
    model = make_model(cell, 6, 5, dtype="float64", **shape)
    x, y = random_batch(6, [4, 3, 1])
    assert max(model.check_gradients(x, y).values()) < 1e-6


@pytest.mark.compiled
@pytest.mark.parametrize("cell", CELLS)
def test_several_panels_and_blocks(cell):
    for shape in ({"num_layers": 3}, {"num_layers": 2, "embedding_dim": 130}):
        check_gradients(
            cell, "float64", shape, C=130, H=70, lengths=[12] * 9 + [7] * 5, bias=True, k=None, threads=2,
            given_state=False, seed=3,
        )  # fmt: skip


class TestStates:
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    @pytest.mark.parametrize("cell", CELLS)
    def test_last_states_are_the_reference_s(self, cell, shape):
        model = make_model(cell, 8, 5, dtype="float64", **shape)
        x, y = random_batch(8, [3, 6, 1, 4])
        first = make_states(model, 4)
        for initial in (None, first):
            expected = reference.final_states(cell, weights(model), x, initial)
            for found in (
                model.predict(x, initial_state=initial, return_state=True),
                model.predict_proba(x, initial_state=initial, return_state=True),
                model.score_samples(x, y, initial_state=initial, return_state=True),
            ):
                np.testing.assert_allclose(found[1], expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(first, make_states(model, 4))

    @pytest.mark.parametrize("cell", CELLS)
    def test_a_sequence_in_two_parts_is_the_sequence(self, cell, monkeypatch):
        monkeypatch.setattr("fastrnn.networks.scoring.SCORE_STEPS", 3)  # so that the parts go in pieces too
        monkeypatch.setattr("fastrnn.networks.scoring.SCORE_SEQUENCES", 2)
        monkeypatch.setattr("fastrnn.networks.gradients.SEQUENCES", 2)
        model = make_model(cell, 8, 5, dtype="float64", num_layers=2)
        x, _ = random_batch(8, [9, 6, 7])
        whole, state = model.predict_proba(x, return_state=True)
        head, middle = model.predict_proba([s[:4] for s in x], return_state=True)
        tail, last = model.predict_proba([s[4:] for s in x], initial_state=middle, return_state=True)
        for all_steps, first, rest in zip(whole, head, tail, strict=True):
            np.testing.assert_allclose(np.concatenate([first, rest]), all_steps, rtol=1e-10)
        np.testing.assert_allclose(last, state, rtol=1e-10)

    @pytest.mark.parametrize("bad, error", [
        (np.zeros((1, 2, 5)), ValueError), (np.zeros((2, 1, 5)), ValueError), ("no", TypeError),
        (np.full((2, 2, 5), np.nan), ValueError),
    ])  # fmt: skip
    def test_errors_name_the_argument(self, bad, error):
        with pytest.raises(error, match="^initial_state: found"):
            make_model("gru", 7, 5, num_layers=2).predict([[1], [2]], initial_state=bad)


class TestWholeJob:
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    @pytest.mark.parametrize("cell", CELLS)
    def test_drawing_follows_the_reference(self, cell, shape):
        model = make_model(cell, 9, 5, dtype="float64", **shape)
        for n in (1, 9):
            drawn, log_p = model.generate(
                n, prompt=[0, 3], exclude=(), end=None, max_length=5, random_state=2, return_log_probs=True
            )
            for tokens, found in zip(drawn, log_p, strict=True):
                _, logits = reference.forward(cell, weights(model), tokens[:-1])
                expected = [reference.log_softmax(z)[token] for z, token in zip(logits[1:], tokens[2:], strict=True)]
                np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_drawing_goes_on_from_a_state(self):
        model = make_model("lstm", 9, 5, num_layers=2)
        _, state = model.predict([[0, 3, 2]], return_state=True)
        options = {"n": 3, "max_length": 8, "end": None, "random_state": 5}
        whole = model.generate(prompt=[0, 3, 2, 4], **options)
        parts = model.generate(prompt=[4], initial_state=state, **options)
        assert [drawn[4:].tolist() for drawn in whole] == [drawn[1:].tolist() for drawn in parts]

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_saved_and_loaded(self, shape, tmp_path):
        model = make_model("lstm", 9, 5, **shape)
        model.save(tmp_path / "m.npz")
        other = FastRNN.load(tmp_path / "m.npz")
        assert other.get_params() == model.get_params()
        for name, array in model.params_.items():
            np.testing.assert_array_equal(other.params_[name], array)
        assert weights(copy.deepcopy(model)).keys() == weights(model).keys()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("cell, names", [("rnn", ["h"]), ("gru", [*"hzrg"]), ("lstm", [*"hcifog"])])
    def test_activations_are_the_reference_s(self, cell, names, dtype):
        model = make_model(cell, 9, 5, dtype=dtype, num_layers=2)
        x, _ = random_batch(9, [4, 1, 40])
        found = model.activations(x)
        for sequence, layers in zip(x, found, strict=True):
            records, _ = reference.forward(cell, weights(model), sequence)
            assert len(layers) == 2
            for index, layer in enumerate(layers):
                assert list(layer) == names
                for name, array in layer.items():
                    assert array.shape == (len(sequence), 5) and array.dtype == dtype
                    expected = [step[index][name] for step in records]
                    np.testing.assert_allclose(array, expected, atol={"float32": 3e-5, "float64": 1e-12}[dtype])
        assert not np.shares_memory(found[0][0]["h"], found[2][0]["h"])

    @pytest.mark.parametrize("bad, name", [
        ({"num_layers": 0}, "num_layers"), ({"dropout": 1.0}, "dropout"), ({"embedding_dim": 0}, "embedding_dim"),
        ({"tie_weights": True}, "tie_weights"), ({"tie_weights": True, "embedding_dim": 3}, "tie_weights"),
        ({"chunk_len": 0}, "chunk_len"), ({"init_scale": 0.0}, "init_scale"),
    ])  # fmt: skip
    def test_impossible_parameters(self, bad, name):
        with pytest.raises(ValueError, match=f"^{name}: found"):
            FastRNN(hidden_dim=4, **bad).fit([[1]], [[1]])

    def test_init_scale_bounds_all_weights(self):
        model = FastRNN("lstm", 20, 30, num_layers=2, init_scale=0.08, max_epochs=0).fit([[0]], [[0]])
        for array in model.params_.values():
            assert 0.06 < np.abs(array).max() <= 0.08


def masks_of(model, x, update):
    """The masks of an update, as the reference takes them; x is the corpus, in order."""
    key, place = batch_key(model.optimizer_.seed, update), 0
    connections = model.num_layers + 1 if model.embedding_dim else model.num_layers
    masks = []
    for sequence in x:
        of_sequence = []
        for i in range(connections):
            layer = i if model.embedding_dim else i + 1
            width = model.embedding_dim if layer == 0 else model.hidden_dim
            mask = np.empty((len(sequence), width))
            for t in range(len(sequence)):
                drop(np.ones(width), mask[t], model.dropout, row_key(key, layer, place + t))
            of_sequence.append(mask)
        masks.append(of_sequence)
        place += len(sequence)
    return masks


class TestDropout:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("k", [None, 2])
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_a_step_is_the_reference_s(self, shape, k, threads):
        model = make_model(
            "gru", 9, 5, dtype="float64", dropout=0.4, optimizer="sgd", learning_rate=0.1, clip_norm=None,
            batch_size=8, n_threads=threads, bptt_truncate=k, **shape,
        )  # fmt: skip
        x, y = random_batch(9, [5, 4, 2])
        for update in range(2):
            before, masks = weights(model), masks_of(model, x, update)
            _, gradient = reference.gradients("gru", before, x, y, k, masks)
            model.partial_fit(x, y)
            change = {name: (before[name] - array) / 0.1 for name, array in weights(model).items()}
            expected = {name: array * (11 / 3) for name, array in gradient.items()}
            assert_arrays_close(change, expected, "float64", floor=1e-13)

    def test_share_and_independence(self):
        mask, rows = np.empty((400, 100)), np.ones(100)
        for t in range(400):
            drop(rows, mask[t], 0.3, row_key(batch_key(7, t // 40), t % 2, t))
        kept = mask > 0
        assert abs(kept.mean() - 0.7) < 0.01
        np.testing.assert_allclose(mask[kept], 1 / 0.7)
        spread = np.sqrt(0.7 * 0.3)
        assert abs(kept.mean(axis=0) - 0.7).max() < 5 * spread / 20
        assert abs(kept.mean(axis=1) - 0.7).max() < 5 * spread / 10
        assert abs(np.corrcoef(kept)[np.triu_indices(400, 1)]).max() < 0.6  # no two rows drop the same

    def test_off_at_prediction_and_other_with_every_seed(self):
        x, y = random_batch(9, [5, 4, 2])
        model = make_model("gru", 9, 5, dropout=0.5, num_layers=2)
        assert model.loss(x, y) == make_model("gru", 9, 5, num_layers=2).loss(x, y)
        found = [
            FastRNN("gru", 5, 9, dropout=0.5, n_threads=1, max_epochs=1, random_state=seed).fit(x, y)
            for seed in (0, 0, 1)
        ]
        assert found[0].loss(x, y) == found[1].loss(x, y) != found[2].loss(x, y)


class TestChunks:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("cell", CELLS)
    def test_every_chunk_is_a_step_from_the_carried_state(self, cell, threads):
        model = make_model(
            cell, 9, 5, dtype="float64", num_layers=2, chunk_len=3, optimizer="sgd", learning_rate=0.1, batch_size=4,
            clip_norm=None, n_threads=threads,
        )  # fmt: skip
        x, y = random_batch(9, [8, 7, 3, 2])
        params, summed = weights(model), 0.0
        state = np.zeros((2, 4, model.network_.state_size))
        for t in range(0, 8, 3):
            active = [i for i in range(4) if len(x[i]) > t]
            xs, ys = ([s[i][t : t + 3] for i in active] for s in (x, y))
            loss, gradient = reference.gradients(cell, params, xs, ys, initial=state[:, active])
            state[:, active] = reference.final_states(cell, params, xs, state[:, active])
            tokens = sum(map(len, xs))
            summed += loss * tokens
            params = {name: array - 0.1 * gradient[name] * tokens / len(xs) for name, array in params.items()}
        model.partial_fit(x, y)
        assert model.loss_curve_ == pytest.approx([summed / 20], rel=1e-12)
        assert_arrays_close(weights(model), params, "float64", rtol=1e-10)

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("cell", CELLS)
    def test_with_tied_weights_dropout_and_clipping(self, cell, threads):
        model = make_model(
            cell, 9, 5, dtype="float64", num_layers=2, embedding_dim=5, tie_weights=True, dropout=0.3, chunk_len=3,
            optimizer="sgd", learning_rate=0.1, clip_norm=1.0, batch_size=4, n_threads=threads,
        )  # fmt: skip
        x, y = random_batch(9, [8, 8, 8, 8])
        params, state, norms = weights(model), np.zeros((2, 4, model.network_.state_size)), []
        for update, t in enumerate(range(0, 8, 3)):
            masks = [[mask[t : t + 3] for mask in sequence] for sequence in masks_of(model, x, update)]
            xs, ys = ([sequence[t : t + 3] for sequence in side] for side in (x, y))
            _, gradient = reference.gradients(cell, params, xs, ys, None, masks, state)
            state = reference.final_states(cell, params, xs, state, masks)
            steps = {name: gradient[name] * len(xs[0]) for name in params}  # the embedding counts once, tied as it is
            norms.append(np.sqrt(sum((step**2).sum() for step in steps.values())))
            params = {name: array - 0.1 * min(1, 1 / norms[-1]) * steps[name] for name, array in params.items()}
        model.partial_fit(x, y)
        assert min(norms) > 1
        assert model.history_.mean_norms[-1] == pytest.approx(np.mean(norms), rel=1e-10)
        assert_arrays_close(weights(model), params, "float64", rtol=1e-10)

    def test_short_sequences_are_trained_as_without(self):
        x, y = random_batch(9, [8, 7, 3, 2, 8, 1])
        found = [FastRNN("gru", 5, 9, chunk_len=n, random_state=0, max_epochs=2).fit(x, y) for n in (None, 8)]
        assert found[0].loss(x, y) == pytest.approx(found[1].loss(x, y), rel=1e-6)

    def test_a_whole_file_is_cut_into_streams(self):
        begin, length = streams(np.array([0, 100]), 8, 5)
        np.testing.assert_array_equal(begin, np.cumsum([0, *length[:-1]]))
        assert len(length) == 8 and length.sum() == 100 and length.max() - length.min() <= 1
        assert len(streams(np.array([0, 100]), 50, 5)[0]) == 20
        begin, length = streams(np.array([0, 3, 100]), 8, 5)
        assert length[0] == 3 and length.sum() == 100 and (length[1:] >= 5).all()
        np.testing.assert_array_equal(streams(np.array([0, 3, 9]), 2, 5)[1], [3, 6])

    @given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), batch=st.integers(1, 6), n=st.integers(1, 9))
    def test_chunks_hold_every_token_once_and_in_order(self, lengths, batch, n):
        x = Ragged.from_sequences([list(range(length)) for length in lengths])
        order, bounds = minibatches(x.lengths, batch, np.random.default_rng(0))
        batches = Batches.chunked(x, x, x.offsets[:-1], x.lengths, order, bounds, n)
        begin, length = batches.segments.begin[batches.ids], batches.segments.length[batches.ids]
        places = np.concatenate([np.arange(b, b + m) for b, m in zip(begin, length, strict=True)])
        assert sorted(places) == list(range(len(x.values))) and length.max() <= n
        assert batches.tokens.sum() == len(x.values)
        for b in range(batches.count):
            first, last = batches.bounds[b], batches.bounds[b + 1]
            assert (np.diff(length[first:last]) <= 0).all()
            if batches.segments.start[b]:  # goes on where the batch before ended, row by row
                before = batches.bounds[b - 1]
                n_rows = last - first
                np.testing.assert_array_equal(
                    begin[first:last], begin[before : before + n_rows] + length[before : before + n_rows]
                )

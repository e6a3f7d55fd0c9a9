"""`FastRNN`'s losses, scores and probabilities, against the oracle's."""

import numpy as np
import pytest
import reference
from helpers import CELLS, COMPILED, make_model, random_batch, weights

from fastrnn import Ragged


class TestScores:
    # Longer than the pieces in which long sequences are scored, more sequences than are scored together.
    LENGTHS = [300, 1, 129, 128, 20, 257, 3] + [2] * 60 if COMPILED else [131, 1, 4]

    @pytest.mark.parametrize("cell, dtype", [*((cell, "float32") for cell in CELLS), ("gru", "float64")])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_all_scores_are_the_reference_s(self, cell, dtype, threads):
        C, H = (59, 17) if COMPILED else (4, 2)
        model = make_model(cell, C, H, dtype=dtype, n_threads=threads)
        x, y = random_batch(C, self.LENGTHS)
        tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
        params = weights(model)
        expected = reference.log_probabilities(cell, params, x, y)
        found = model.score_samples(x, y)
        assert found.dtype == np.float64 and found.shape == (len(x),)
        np.testing.assert_allclose(found, expected, rtol=tolerance)
        loss = -expected.sum() / sum(self.LENGTHS)
        assert model.loss(x, y) == pytest.approx(loss, rel=tolerance)
        assert model.score(x, y) == -model.loss(x, y)
        assert model.perplexity(x, y) == pytest.approx(np.exp(loss), rel=10 * tolerance)
        assert isinstance(model.loss(x, y), float) and isinstance(model.perplexity(x, y), float)

        probabilities, best = model.predict_proba(x), model.predict(x)
        assert len(probabilities) == len(best) == len(x)
        for xs, o, word in zip(x, probabilities, best, strict=True):
            assert o.shape == (len(xs), C) and o.dtype == dtype
            assert word.shape == (len(xs),) and word.dtype == np.int32
            logits = reference.forward(cell, params, xs)[1]
            expected = np.exp([reference.log_softmax(row) for row in logits])
            np.testing.assert_allclose(o, expected, rtol=20 * tolerance, atol=tolerance)
            np.testing.assert_allclose(o.sum(axis=1), 1, rtol=tolerance)
            np.testing.assert_array_equal(word, o.argmax(axis=1))

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_the_first_of_equals_is_predicted(self, threads):
        model = make_model("rnn", 150, 2, n_threads=threads)
        model.params_["V"], model.params_["c"] = np.zeros((150, 2)), np.zeros(150)
        assert model.predict([[5, 6], [7]])[0].tolist() == [0, 0]
        model.params_["c"][[70, 149, 141]] = 1
        assert model.predict([[5, 6], [7]])[1].tolist() == [70]

    def test_token_losses_stand_in_the_order_of_the_corpus(self):
        model = make_model("gru")
        x, y = random_batch(7, [2, 5, 1, 5])
        losses, ragged = model.token_losses(x, y)
        assert ragged == Ragged.from_sequences(x)
        expected = [
            -reference.log_softmax(row)[target]
            for xs, ys in zip(x, y, strict=True)
            for row, target in zip(reference.forward("gru", weights(model), xs)[1], ys, strict=True)
        ]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)

    def test_lists_arrays_and_ragged_are_the_same(self):
        model = make_model("gru")
        x, y = random_batch(7, [4, 4, 4])
        loss = model.loss(x, y)
        for convert in (Ragged.from_sequences, np.array, lambda s: [row.tolist() for row in s], tuple):
            assert model.loss(convert(x), convert(y)) == loss

    def test_scores_do_not_depend_on_what_stands_beside(self):
        model = make_model("lstm", dtype="float64")
        x, y = random_batch(7, [5, 3, 6])
        alone = [model.score_samples([xs], [ys])[0] for xs, ys in zip(x, y, strict=True)]
        np.testing.assert_allclose(model.score_samples(x, y), alone, rtol=1e-13)

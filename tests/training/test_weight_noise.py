"""Noise on the weights while gradients are taken."""

import numpy as np
import pytest
from helpers import same_weights
from training_helpers import DATA, small


class TestWeightNoise:
    @pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
    def test_the_gradient_is_that_at_noisy_weights_the_update_one_of_clean_ones(self, cell):
        parameters = dict(cell=cell, optimizer="sgd", clip_norm=None, learning_rate=0.25, batch_size=3, dtype="float64")
        x, y = [[1, 2, 1], [5, 2, 3], [2, 2, 7]], [[2, 1, 1], [2, 3, 8], [2, 7, 0]]
        start, noisy = (small(**parameters, max_epochs=0).fit(x, y) for _ in "ab")
        trained = small(**parameters, max_epochs=1, weight_noise=0.3).fit(x, y)
        rng = start.rng_
        rng.permutation(3), rng.permutation(1)  # the order of the sequences, and that of the batches
        words = np.unique(x)
        noisy.network_.model.dense[:] += 0.3 * rng.standard_normal(noisy.network_.model.dense.shape)
        noisy.network_.U[words] += 0.3 * rng.standard_normal(noisy.network_.U[words].shape)
        _, gradients = noisy.gradients(x, y)
        tokens_by_sequences = 9 / 3  # gradients are of the mean over tokens, updates of the mean over sequences
        for name, array in trained.params_.items():
            expected = start.params_[name] - 0.25 * tokens_by_sequences * gradients[name]
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12, err_msg=name)

    def test_it_is_seeded_and_changes_the_training(self):
        noisy = [small(weight_noise=0.1).fit(*DATA) for _ in "ab"]
        assert same_weights(*noisy) and not same_weights(noisy[0], small().fit(*DATA))
        assert noisy[0].loss(*DATA) < np.log(9)

    def test_nothing_is_left_of_it(self):
        network = small(max_epochs=0, dtype="float32").fit(*DATA).network_
        before = network.snapshot()
        with network.noise(np.array([1, 4]), 0.7, np.random.default_rng(0)):
            changed = [(a != b) for a, b in zip(before, network.snapshot(), strict=True)]
            assert changed[0].all() and changed[1][[1, 4]].all() and not changed[1][[0, 2, 3, 5, 6, 7, 8]].any()
        for array, now in zip(before, network.snapshot(), strict=True):
            np.testing.assert_array_equal(array, now)

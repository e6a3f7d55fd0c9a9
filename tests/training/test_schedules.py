"""Schedules of the learning rate."""

import math

import pytest
from helpers import same_weights
from training_helpers import DATA, HELD_OUT, losses_given, small

from fastrnn.networks.network import Network
from fastrnn.training.schedules import _at_plateau


class TestSchedules:
    def test_plateau_by_the_validation_loss(self, monkeypatch):
        losses_given(monkeypatch, [3.0, 2.0, 2.1, 2.0, 2.2, 1.9, 1.95, 1.95])
        model = small(
            max_epochs=8, lr_schedule="plateau", learning_rate=0.08, patience=2, early_stopping=False
        )  # fmt: skip
        model.fit(*DATA, validation_data=HELD_OUT)
        rates = [0.08, 0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.04]
        assert model.history_.learning_rates == rates and model.learning_rate_ == 0.02

    def test_plateau_by_the_training_loss(self):
        model = small(max_epochs=6, lr_schedule="plateau", learning_rate=0.08, tol=100.0, patience=3).fit(*DATA)
        # the first is an improvement on nothing, the next ones are not by 100 nats
        assert model.history_.learning_rates == [0.08] * 4 + [0.04] * 2
        goes_on = small(max_epochs=1, lr_schedule="plateau", learning_rate=0.08, tol=100.0, patience=3).fit(*DATA)
        for _ in range(5):
            goes_on.partial_fit(*DATA)
        assert same_weights(goes_on, model) and goes_on.learning_rate_ == model.learning_rate_

    @pytest.mark.parametrize("losses, at", [
        ([], False), ([5.0], False), ([5.0, 5.0], False), ([5.0, 5.0, 5.0], True), ([5.0, 5.0, 5.0, 5.0], False),
        ([5.0, 5.0, 5.0, 5.0, 5.0], True), ([5.0, 5.0, 4.0, 4.5], False), ([5.0, 5.0, math.nan], False),
        ([math.nan, 5.0, 5.1, 5.2], True),
    ])  # fmt: skip
    def test_at_plateau(self, losses, at):
        assert _at_plateau(losses, 0.0, 2) is at

    @pytest.mark.parametrize("count", [1, 5, 6])
    def test_half_epochs(self, count, monkeypatch):
        rates = {}

        def remember(network, team, batches, work, gradient, optimizer, truncate):
            for batch in range(batches.count):
                if optimizer.updates >= 0 and hasattr(optimizer, "learning_rate"):
                    rates[optimizer.updates + batch] = optimizer.learning_rate
            return original(network, team, batches, work, gradient, optimizer, truncate)

        original = Network.train
        monkeypatch.setattr(Network, "train", remember)
        x, y = (rows[:count] for rows in DATA)
        model = small(lr_schedule="half-epochs", lr_decay_start=1, learning_rate=0.64, batch_size=1).fit(x, y)
        half = count // 2
        expected = [0.64] * count
        expected += [0.32 if half else 0.16] * half + [0.16] * (count - half)
        expected += [0.08 if half else 0.04] * half + [0.04] * (count - half)
        assert [rates[update] for update in range(3 * count)] == expected
        assert model.history_.learning_rates == [0.64, 0.16, 0.04]

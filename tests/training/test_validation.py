"""Validation losses, what is held out for them, and early stopping."""

import numpy as np
import pytest
from helpers import raised, same_weights
from training_helpers import DATA, HELD_OUT, losses_given, small

from fastrnn.training.tasks import LanguageTask


def sizes_of_tasks(monkeypatch):
    """A list to which every run adds how many sequences it trains on, and how many are held out."""
    sizes, original = [], LanguageTask.__init__

    def remember(task, network, x, y, validation, **options):
        sizes.append((len(x), 0 if validation is None else len(validation[0])))
        original(task, network, x, y, validation, **options)

    monkeypatch.setattr(LanguageTask, "__init__", remember)
    return sizes


class TestValidation:
    def test_losses_of_given_data_are_those_after_each_epoch(self):
        model = small(early_stopping=False).fit(*DATA, validation_data=HELD_OUT)
        expected = [small(max_epochs=epochs).fit(*DATA).loss(*HELD_OUT) for epochs in (1, 2, 3)]
        assert model.validation_losses_ == expected
        assert same_weights(model, small().fit(*DATA))  # measuring changes nothing

    def test_the_fraction_is_held_out_and_the_rest_is_learned(self, monkeypatch):
        seen = {}

        def remember(task, network, x, y, validation, **options):
            seen["x"], seen["y"], seen["validation"] = x, y, validation
            original(task, network, x, y, validation, **options)

        original = LanguageTask.__init__
        monkeypatch.setattr(LanguageTask, "__init__", remember)
        x = [[i] * (i + 1) for i in range(9)]
        model = small(validation_fraction=0.35).fit(x, x)
        kept = [row[0] for row in seen["x"].to_list()]
        held_out = [row[0] for row in seen["validation"][0].to_list()]
        assert sorted(kept + held_out) == list(range(9)) and len(held_out) == 3
        assert seen["x"] == seen["y"] and seen["validation"][0] == seen["validation"][1]
        assert len(model.validation_losses_) == 3
        small(validation_fraction=0.35).fit(x, x)
        assert [row[0] for row in seen["validation"][0].to_list()] == held_out  # chosen by the random state
        small(validation_fraction=0.35, random_state=2).fit(x, x)
        assert [row[0] for row in seen["validation"][0].to_list()] != held_out
        model.set_params(warm_start=True).fit(x, x)
        assert [row[0] for row in seen["validation"][0].to_list()] == held_out

    def test_what_is_held_out(self, monkeypatch):
        sizes = sizes_of_tasks(monkeypatch)
        x = [[1, 2]] * 40
        small(max_epochs=1).fit(x, x)
        small(max_epochs=1, early_stopping=True).fit(x, x)
        small(max_epochs=1, early_stopping=True, validation_fraction=0.5).fit(x, x)
        small(max_epochs=1, early_stopping=True, validation_fraction=0.5).fit(x, x, validation_data=HELD_OUT)
        small(max_epochs=1, validation_fraction=0.99).fit(x, x)
        small(max_epochs=1, validation_fraction=1e-6).fit(x, x)
        assert sizes == [(40, 0), (38, 2), (20, 20), (40, 3), (1, 39), (39, 1)]

    def test_by_default_a_twentieth_if_there_are_enough_sequences(self, monkeypatch):
        sizes = sizes_of_tasks(monkeypatch)
        x = [[1, 2]] * 1000
        small(max_epochs=0).fit(x, x)
        small(max_epochs=0).fit(x[1:], x[1:])
        small(max_epochs=0).fit(x, x, validation_data=HELD_OUT)
        small(max_epochs=0, early_stopping=False).fit(x, x)
        small(max_epochs=0, validation_fraction=0.1).fit(x, x)
        small().partial_fit(x, x)
        assert sizes == [(950, 50), (999, 0), (1000, 3), (1000, 0), (900, 100), (1000, 0)]

    @pytest.mark.parametrize("data, error, message", [
        (3, TypeError, "validation_data: found a int, expected a pair"),
        (([[1]],), TypeError, "validation_data: found a tuple, expected a pair"),
        (([[1, 2]], [[1]]), ValueError, "validation_data: y: sequence 0 has 1 tokens, expected 2"),
        (([[1, 9]], [[1, 1]]), ValueError, "validation_data: x: sequence 0, position 1 is 9"),
        (([[1]], [[0.5]]), TypeError, "validation_data: y must be a list"),
    ])  # fmt: skip
    def test_unusable_data(self, data, error, message):
        model = small()
        assert raised(error, model.fit, *DATA, validation_data=data).startswith(message)
        assert not hasattr(model, "params_")

    def test_one_sequence_cannot_be_split(self):
        model = small(early_stopping=True)
        assert raised(ValueError, model.fit, [[1]], [[2]]).startswith("x: found 1 sequence, expected 2 at least")
        assert not hasattr(model, "params_")

    def test_the_vocabulary_covers_them(self):
        model = small(vocab_size=None, max_epochs=1).fit([[1]], [[2]], validation_data=([[1, 7]], [[3, 1]]))
        assert model.vocab_size_ == 8


class TestEarlyStopping:
    def test_the_best_weights_are_put_back(self, monkeypatch):
        losses_given(monkeypatch, [3.0, 2.5, 2.6, 2.7, 1.0])
        model = small(max_epochs=9, early_stopping=True, n_iter_no_change=2).fit(*DATA, validation_data=HELD_OUT)
        assert model.validation_losses_ == [3.0, 2.5, 2.6, 2.7] and model.n_epochs_ == 4
        assert model.history_.best_epoch == 2
        assert same_weights(model, small(max_epochs=2, early_stopping=False).fit(*DATA))

    def test_by_default_where_there_is_a_validation_loss(self, monkeypatch):
        losses_given(monkeypatch, [3.0, 2.5, *[2.6] * 20])
        model = small(max_epochs=20).fit(*DATA, validation_data=HELD_OUT)
        losses_given(monkeypatch, [3.0, 2.5, *[2.6] * 20])
        every = small(max_epochs=20, early_stopping=False).fit(*DATA, validation_data=HELD_OUT)
        monkeypatch.undo()
        assert model.n_epochs_ == 4 and same_weights(model, small(max_epochs=2).fit(*DATA))
        assert every.n_epochs_ == 20 and every.history_.best_epoch is None
        assert small(max_epochs=20).fit(*DATA).n_epochs_ == 20  # nothing to measure by

    def test_less_than_tol_is_no_improvement_but_better_weights(self, monkeypatch):
        losses_given(monkeypatch, [3.0, 2.95, 2.91, 2.80])
        early = dict(max_epochs=9, early_stopping=True, n_iter_no_change=2, tol=0.1)
        model = small(**early).fit(*DATA, validation_data=HELD_OUT)
        assert model.n_epochs_ == 3 and same_weights(model, small(max_epochs=3, early_stopping=False).fit(*DATA))

    def test_it_may_not_come_to_it(self):
        model = small(early_stopping=True, n_iter_no_change=50, max_epochs=2).fit(*DATA)
        assert model.n_epochs_ == 2 and len(model.validation_losses_) == 2

    def test_partial_fit_has_none(self):
        assert raised(ValueError, small(early_stopping=True).partial_fit, *DATA).startswith(
            "early_stopping: found True"
        )


def test_progress_shows_the_validation_loss(capsys):
    model = small(verbose=1, max_epochs=2).fit(*DATA, validation_data=HELD_OUT)
    assert f"validation {model.validation_losses_[-1]:.3f}" in capsys.readouterr().err


@pytest.mark.compiled
def test_early_stopping_keeps_from_overfitting():
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 8, 12) for _ in range(60)]
    y = [np.roll(row, -1) for row in x]
    model = small(max_epochs=200, hidden_dim=30, learning_rate=0.05, early_stopping=True, validation_fraction=0.3)
    model.fit(x, y)
    assert model.n_epochs_ < 200 and model.history_.best_epoch < model.n_epochs_
    assert min(model.validation_losses_) == model.validation_losses_[model.history_.best_epoch - 1]

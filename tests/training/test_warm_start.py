"""Fits that go on where the last one ended."""

import copy

import pytest
from helpers import raised, same_weights
from training_helpers import DATA, HELD_OUT, losses_given, small

from fastrnn import LanguageModel


class TestWarmStart:
    @pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
    def test_fit_goes_on(self, optimizer):
        model = small(warm_start=True, optimizer=optimizer, max_epochs=2).fit(*DATA)
        model.fit(*DATA)
        assert same_weights(model, small(optimizer=optimizer, max_epochs=4).fit(*DATA)) and model.n_epochs_ == 4

    def test_early_stopping_counts_anew(self, monkeypatch):
        losses_given(monkeypatch, [3.0, 4.0, 5.0, 4.0, 4.5, 3.5])
        model = small(warm_start=True, early_stopping=True, n_iter_no_change=2, max_epochs=3)
        model.fit(*DATA, validation_data=HELD_OUT).fit(*DATA, validation_data=HELD_OUT)
        assert model.n_epochs_ == 6 and model.history_.best_epoch == 6

    def test_another_rate_begins_another_optimizer(self):
        model = small(warm_start=True).fit(*DATA).set_params(learning_rate=0.5)
        assert model.fit(*DATA).learning_rate_ == 0.5 and model.n_updates_ == 36

    @pytest.mark.parametrize("change", [{"cell": "rnn"}, {"hidden_dim": 5}, {"bias": False}, {"dtype": "float64"},
                                        {"peepholes": False}])  # fmt: skip
    def test_another_network_is_refused(self, change):
        model = small(warm_start=True).fit(*DATA)
        before, name = copy.deepcopy(model), next(iter(change))
        message = raised(ValueError, model.set_params(**change).fit, *DATA)
        assert message.startswith(f"{name}: found {change[name]!r}, expected ")
        assert same_weights(model, before) and model.n_epochs_ == 3

    def test_raw_text_keeps_its_vocabulary(self):
        lm = LanguageModel(hidden_dim=4, max_epochs=1, warm_start=True, sentence_split="line", n_threads=1)
        tokens = lm.fit(["a b c\nb c"]).vocabulary_.tokens_
        lm.fit(["d e"])
        assert lm.vocabulary_.tokens_ == tokens and lm.model_.n_epochs_ == 2

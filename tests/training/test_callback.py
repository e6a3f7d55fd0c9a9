"""What fit calls after every epoch."""

import pytest
from helpers import raised, same_weights
from training_helpers import DATA, small

from fastrnn import LanguageModel


class TestCallback:
    def test_after_every_epoch_with_what_it_has_learned(self):
        seen = []
        model = small(verbose=0)
        assert model.fit(*DATA, callback=lambda m: seen.append((m, m.n_epochs_, m.loss(*DATA)))) is model
        assert [(m, n) for m, n, _ in seen] == [(model, 1), (model, 2), (model, 3)]
        assert [loss for *_, loss in seen] == [small(max_epochs=n).fit(*DATA).loss(*DATA) for n in (1, 2, 3)]

    def test_true_stops(self):
        model = small(max_epochs=9).fit(*DATA, callback=lambda model: model.n_epochs_ == 2)
        assert model.n_epochs_ == 2 and same_weights(model, small(max_epochs=2).fit(*DATA))

    def test_its_error_comes_through(self):
        model = small(max_epochs=9)
        with pytest.raises(KeyError, match="mine"):
            model.fit(*DATA, callback=lambda model: {}["mine"])
        assert model.n_epochs_ == 1 and same_weights(model, small(max_epochs=1).fit(*DATA))
        assert raised(TypeError, model.fit, *DATA, callback=3).startswith("callback: found 3, expected a function")

    def test_of_raw_text(self):
        seen = []
        lm = LanguageModel(hidden_dim=4, max_epochs=2, sentence_split="line", early_stopping=True, n_threads=1)
        lm.fit(["a b c"] * 9, validation_texts=["a b"], callback=lambda m: seen.append((m, m.perplexity(["a"]))))
        assert [m for m, _ in seen] == [lm, lm] and len(lm.model_.validation_losses_) == 2

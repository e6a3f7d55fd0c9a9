"""What is kept of a training: losses, rates, norms, seconds, tokens."""

import math

import numpy as np
import pytest
from training_helpers import DATA, HELD_OUT, small

from fastrnn import FastRNN
from fastrnn.training.history import History


class TestHistory:
    def test_by_epoch(self):
        model = small(early_stopping=False).fit(*DATA, validation_data=HELD_OUT)
        history = model.history_
        assert history.tokens == [44, 88, 132] and history.learning_rates == [0.005] * 3
        assert all(np.diff(history.seconds) > 0) and history.seconds[0] > 0
        assert all(0 < mean < largest for mean, largest in zip(history.mean_norms, history.max_norms, strict=True))
        assert model.n_updates_ == 18 and history.best_epoch is None
        assert all(math.isnan(norm) for norm in small(clip_norm=None).fit(*DATA).history_.mean_norms)

    def test_norms_are_those_of_the_gradient(self):
        x, y = [[1, 2, 1]], [[2, 1, 1]]
        model = small(max_epochs=0, dtype="float64").fit(x, y)
        _, gradients = model.gradients(x, y)
        norm = 3 * sum((array**2).sum() for array in gradients.values()) ** 0.5
        history = model.partial_fit(x, y).history_
        assert history.mean_norms == history.max_norms == [pytest.approx(norm)]

    def test_it_is_kept_in_files(self, tmp_path):
        model = small(early_stopping=True, lr_schedule="halve", evaluate_every=1).fit(*DATA)
        model.save(tmp_path / "model")
        again = FastRNN.load(tmp_path / "model")
        assert vars(again.history_) == vars(model.history_) and again.validation_losses_ == model.validation_losses_
        again.set_params(early_stopping=False).partial_fit(*DATA)
        assert again.history_.seconds[3] > again.history_.seconds[2] and again.history_.tokens[3] > 100

    def test_older_files_have_less(self):
        history = History.from_header({"losses": [2.0, 1.0], "evaluations": [[0, 2.5]]})
        assert history.losses == [2.0, 1.0] and history.evaluations == [(0, 2.5)]
        assert np.isnan(history.seconds).all() and len(history.seconds) == 2 and history.validation_losses == []
        facts = dict(learning_rates=0.1, mean_norms=1.0, max_norms=2.0, seconds=3.0, tokens=4)
        history.add(0.5, 0.75, **facts)
        assert history.last("tokens") == 4 and np.isnan(history.validation_losses[:2]).all()
        assert history.validation_losses[2] == 0.75
        with pytest.raises(ValueError, match="found 1 seconds, expected 2"):
            History.from_header({"losses": [2.0, 1.0], "evaluations": [], "seconds": [1.0]})

"""`FastRNN` in scikit-learn: clone, grid search, cross-validation."""

import numpy as np
import pytest
from helpers import COMPILED, fit_small, successor_sentences

from fastrnn import FastRNN, Ragged


class TestScikitLearn:
    def test_clone(self):
        sklearn_base = pytest.importorskip("sklearn.base")
        model, *_ = fit_small(cell="lstm", random_state=np.random.RandomState(0))
        twin = sklearn_base.clone(model)
        assert type(twin) is FastRNN and not hasattr(twin, "params_")
        assert twin.get_params().keys() == model.get_params().keys() and twin.cell == "lstm"

    @pytest.mark.parametrize("convert", [list, Ragged.from_sequences])
    def test_grid_search(self, convert):
        selection = pytest.importorskip("sklearn.model_selection")
        x, y = map(convert, successor_sentences(12 if COMPILED else 4, 10))
        model = FastRNN("gru", 4, 10, max_epochs=1, random_state=0, n_threads=1)
        grid = {"hidden_dim": [2, 5], "learning_rate": np.array([1e-5, 0.05])}
        search = selection.GridSearchCV(model, grid, cv=2, error_score="raise").fit(x, y)
        assert search.best_params_["learning_rate"] == 0.05  # the other one learns next to nothing
        assert search.best_score_ == search.cv_results_["mean_test_score"].max() > -np.log(10) - 1
        best = search.best_estimator_
        assert search.score(x, y) == best.score(x, y) == -best.loss(x, y)

    def test_cross_val_score(self):
        selection = pytest.importorskip("sklearn.model_selection")
        x, y = successor_sentences(6, 10)
        model = FastRNN("gru", 4, 10, max_epochs=0, random_state=0)
        scores = selection.cross_val_score(model, x, y, cv=selection.KFold(3))
        expected = [model.fit(x, y).score(x[i : i + 2], y[i : i + 2]) for i in (0, 2, 4)]
        assert scores.tolist() == expected

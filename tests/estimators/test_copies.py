"""Copies of a `FastRNN`, by copy and by pickle."""

import copy
import pickle

import pytest
from helpers import CELLS, fit_small, same_weights

from fastrnn import FastRNN


class TestCopies:
    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    @pytest.mark.parametrize("cell", CELLS)
    def test_copies_are_whole_and_their_own(self, cell, duplicate):
        model, x, y = fit_small(cell=cell)
        other = duplicate(model)
        assert other.get_params() == model.get_params()
        assert other.loss(x, y) == model.loss(x, y) and other.loss_curve_ == model.loss_curve_
        other.params_["V"][:] = 0  # a view into the copy's weights, not a copy of these
        assert other.loss(x, y) != model.loss(x, y)
        other = duplicate(model)
        other.partial_fit(x, y)
        assert not same_weights(other, model) and model.n_epochs_ == 2
        model.partial_fit(x, y)  # the same moments, and the same state of the random numbers
        assert same_weights(other, model) and other.loss_curve_ == model.loss_curve_

    def test_an_unfitted_model(self):
        assert not hasattr(copy.deepcopy(FastRNN("lstm")), "params_")

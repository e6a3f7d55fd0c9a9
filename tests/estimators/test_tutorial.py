"""`FastRNN` as the tutorial has it: numbers of parameters, first weights and losses, the learning rate."""

import numpy as np
import pytest
from helpers import CELLS, raised, random_batch, successor_sentences

from fastrnn import FastRNN
from fastrnn.networks.network import Network

TUTORIAL = dict(
    cell="rnn", hidden_dim=100, bptt_truncate=4, optimizer="sgd", learning_rate=0.005, batch_size=1, clip_norm=None,
    bias=False, init="tutorial",
)  # fmt: skip


class TestTutorial:
    def test_number_of_parameters(self):
        model = FastRNN(vocab_size=8000, max_epochs=0, **TUTORIAL).fit([[0]], [[1]])
        assert sum(array.size for array in model.params_.values()) == 1_610_000
        assert {name: array.shape for name, array in model.params_.items()} == {
            "layer0.U": (100, 8000), "layer0.W": (100, 100), "V": (8000, 100),
        }  # fmt: skip

    @pytest.mark.compiled
    @pytest.mark.parametrize("cell", CELLS)
    def test_initial_loss_is_about_ln_C(self, cell):
        x, y = random_batch(8000, [20] * 20)
        model = FastRNN(cell, vocab_size=8000, max_epochs=0, random_state=0).fit(x, y)
        assert model.loss(x, y) == pytest.approx(np.log(8000), abs=0.06)

    def test_initial_weights(self):
        model = FastRNN("lstm", 25, 400, max_epochs=0, random_state=0).fit([[0]], [[0]])
        for name, inputs in [("layer0.U", 1), ("layer0.W", 25), ("V", 25)]:
            array, bound = model.params_[name], inputs**-0.5
            assert 0.99 * bound < array.max() <= bound and -bound <= array.min() < -0.99 * bound
            assert abs(array.mean()) < 0.05 * bound
            assert array.std() == pytest.approx(bound / 3**0.5, rel=0.05)
        for name in ["layer0.b", "layer0.p", "c"]:
            assert not model.params_[name].any()

    @pytest.mark.parametrize("deep, name", [({}, "layer0.U"), ({"embedding_dim": 30}, "embedding")])
    def test_the_tutorial_counts_all_words_as_inputs(self, deep, name):
        parameters = dict(cell="gru", hidden_dim=25, vocab_size=400, max_epochs=0, random_state=0) | deep
        default, model = (FastRNN(init=init, **parameters).fit([[0]], [[0]]) for init in ("default", "tutorial"))
        assert 0.99 * 400**-0.5 < abs(model.params_[name]).max() <= 400**-0.5
        for other, array in default.params_.items():  # the same draws, to other bounds
            factor = 400**-0.5 if other == name else 1
            np.testing.assert_allclose(model.params_[other], factor * array, rtol=1e-6, err_msg=other)

    @pytest.mark.compiled
    def test_the_tutorial_s_first_loss(self):
        x, y = successor_sentences(100, 8000)
        model = FastRNN(vocab_size=8000, max_epochs=0, random_state=0, **TUTORIAL).fit(x, y)
        assert f"{model.loss(x, y):.3f}" == "8.987"
        wider = FastRNN(vocab_size=8000, max_epochs=0, random_state=0, **TUTORIAL | {"init": "default"}).fit(x, y)
        assert wider.loss(x, y) > 8.99

    def test_one_bound_for_all_stands_instead_of_the_rule(self):
        message = raised(ValueError, FastRNN(init="tutorial", init_scale=0.1).fit, [[0]], [[0]])
        assert message == "init_scale: found 0.1, expected None with init='tutorial'"

    @pytest.mark.compiled
    def test_ten_epochs_lower_the_loss_each_time(self):
        x, y = successor_sentences(100, 8000)
        model = FastRNN(vocab_size=8000, random_state=10, max_epochs=0, **TUTORIAL).fit(x, y)
        losses = [model.loss(x, y)]
        assert losses[0] == pytest.approx(np.log(8000), abs=5e-4)
        for _ in range(10):
            losses.append(model.partial_fit(x, y).loss(x, y))
        assert (np.diff(losses) < 0).all()
        assert losses[-1] < losses[0] - 1
        assert len(model.loss_curve_) == model.n_epochs_ == 10

    def test_learning_rate_is_halved_when_the_loss_rises(self, monkeypatch):
        evaluated = iter([3.0, 4.0, 3.5, 3.5, 3.6])
        monkeypatch.setattr(Network, "token_losses", lambda network, x, y, threads: np.full(4, next(evaluated)))
        rate = {"learning_rate": 0.08, "lr_schedule": "halve", "evaluate_every": 2}
        model = FastRNN("rnn", 3, optimizer="sgd", max_epochs=9, random_state=0, **rate).fit([[0, 2, 3]], [[2, 3, 1]])
        assert model.evaluations_ == [(0, 3.0), (2, 4.0), (4, 3.5), (6, 3.5), (8, 3.6)]
        assert model.learning_rate_ == 0.02
        assert model.learning_rate == 0.08

    def test_evaluations_are_losses_on_all_data(self):
        x, y = random_batch(6, [4, 3, 2])
        parameters = dict(cell="rnn", hidden_dim=3, optimizer="sgd", random_state=3, lr_schedule="halve", vocab_size=6)
        model = FastRNN(**parameters, evaluate_every=2, max_epochs=3).fit(x, y)
        for epochs, loss in model.evaluations_:
            assert FastRNN(**parameters, max_epochs=epochs).fit(x, y).loss(x, y) == loss
        assert [epochs for epochs, _ in model.evaluations_] == [0, 2]

    def test_max_epochs_zero_trains_nothing(self):
        x, y = random_batch(6, [4, 3])
        model = FastRNN("rnn", 3, max_epochs=0, random_state=5).fit(x, y)
        again = FastRNN("rnn", 3, max_epochs=0, random_state=5).fit(x[::-1], y[::-1])
        assert model.loss_curve_ == [] and model.n_epochs_ == 0
        for name, array in model.params_.items():
            np.testing.assert_array_equal(array, again.params_[name])

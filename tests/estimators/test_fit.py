"""`FastRNN.fit` and `partial_fit`: seeds, threads, Ctrl-C, what is told."""

import logging

import numpy as np
import pytest
from helpers import CELLS, COMPILED, fit_small, random_batch, same_weights, successor_sentences, weights

from fastrnn import FastRNN, Ragged
from fastrnn.networks.network import Network


class TestTraining:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    @pytest.mark.parametrize("cell", CELLS)
    def test_a_seed_reproduces_bit_for_bit(self, cell, optimizer, threads):
        one, *_ = fit_small(cell=cell, optimizer=optimizer, n_threads=threads)
        two, *_ = fit_small(cell=cell, optimizer=optimizer, n_threads=threads)
        assert same_weights(one, two) and one.loss_curve_ == two.loss_curve_
        other, *_ = fit_small(cell=cell, optimizer=optimizer, n_threads=threads, random_state=2)
        assert not same_weights(one, other)
        drawn = [model.generate(3, random_state=4, max_length=9) for model in (one, two)]
        assert [s.tolist() for s in drawn[0]] == [s.tolist() for s in drawn[1]]

    def test_refitting_starts_anew(self):
        model, x, y = fit_small()
        before = weights(model)
        model.fit(x, y)
        assert model.n_epochs_ == 2
        for name, array in weights(model).items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
    def test_generators_are_seeds_too(self, kind):
        one, *_ = fit_small(random_state=kind(3))
        two, *_ = fit_small(random_state=kind(3))
        assert same_weights(one, two)

    def test_threads_train_alike(self):
        one, *_ = fit_small(cell="lstm", dtype="float64")
        two, *_ = fit_small(cell="lstm", dtype="float64", n_threads=2)
        for name, array in one.params_.items():
            np.testing.assert_allclose(two.params_[name], array, rtol=1e-8, atol=1e-10)

    def test_partial_fit_continues(self):
        whole, x, y = fit_small(max_epochs=3)
        parts = FastRNN(**whole.get_params())
        curve = [parts.partial_fit(x, y).loss_curve_[-1] for _ in range(3)]
        assert curve == parts.loss_curve_ == whole.loss_curve_
        assert same_weights(parts, whole)
        assert whole.partial_fit(x, y) is whole and whole.n_epochs_ == 4
        assert whole.loss_curve_[-1] < whole.loss_curve_[0]

    @pytest.mark.parametrize("cell", CELLS)
    def test_one_sequence_of_one_token(self, cell):
        model = FastRNN(cell, 3, max_epochs=30, learning_rate=0.1, random_state=0).fit([[1]], [[4]])
        assert model.vocab_size_ == 5
        assert model.predict([[1]])[0].tolist() == [4]
        assert model.loss([[1]], [[4]]) < model.loss_curve_[0]

    def test_vocab_size_is_that_of_x_and_y(self):
        assert FastRNN("rnn", 2, max_epochs=0).fit([[0, 7]], [[3, 1]]).vocab_size_ == 8
        assert FastRNN("rnn", 2, max_epochs=0).fit([[0, 1]], [[3, 9]]).vocab_size_ == 10
        assert FastRNN("rnn", 2, 20, max_epochs=0).fit([[0, 1]], [[3, 9]]).vocab_size_ == 20

    def test_input_is_not_changed(self):
        x, y = random_batch(12, [5, 2, 4])
        ragged = Ragged.from_sequences(x), Ragged.from_sequences(y)
        copies = [r.values.copy() for r in ragged]
        FastRNN("gru", 4, 12, max_epochs=1).fit(*ragged)
        for r, before in zip(ragged, copies, strict=True):
            np.testing.assert_array_equal(r.values, before)

    def test_ctrl_c_keeps_what_was_learned(self, monkeypatch, caplog):
        model, x, y = fit_small(max_epochs=0, batch_size=1)
        before, train = weights(model), Network.train

        def interrupted(*args, **keywords):
            train(*args, **keywords)
            raise KeyboardInterrupt

        monkeypatch.setattr(Network, "train", interrupted)
        with caplog.at_level(logging.WARNING, "fastrnn"):
            model.partial_fit(x, y)
        assert "interrupted after 0 full epochs and 1 updates" in caplog.text
        assert not np.array_equal(weights(model)["V"], before["V"])
        assert np.isfinite(model.loss(x, y))

    def test_verbose_writes_to_standard_error(self, capsys):
        fit_small(verbose=1, max_epochs=2)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "epoch 2" in captured.err and "loss" in captured.err and "tokens" in captured.err
        fit_small(max_epochs=1)
        assert capsys.readouterr() == ("", "")

    def test_minus_the_loss_is_what_training_lowers(self):
        x, y = successor_sentences(30 if COMPILED else 5, 20)
        for optimizer in ("sgd", "rmsprop", "adam"):
            model = FastRNN("gru", 8, optimizer=optimizer, max_epochs=0, random_state=0, learning_rate=0.01).fit(x, y)
            before = model.score(x, y)
            for _ in range(3):
                model.partial_fit(x, y)
            assert model.score(x, y) > before

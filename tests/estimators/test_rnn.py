"""`FastRNN` as its users meet it: the tutorial's facts, scores, seeds, copies, errors, divergence, files."""

import copy
import inspect
import logging
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import reference
from helpers import CELLS, COMPILED, make_model, raised, random_batch, same_weights, weights

from fastrnn import DivergenceError, FastRNN, NotFittedError, Ragged, storage
from fastrnn.networks.network import Network

TUTORIAL = dict(
    cell="rnn", hidden_dim=100, bptt_truncate=4, optimizer="sgd", learning_rate=0.005, batch_size=1, clip_norm=None,
    bias=False, init="tutorial",
)  # fmt: skip


def successor_sentences(count, vocab_size, seed=0):
    """Sentences with something to learn: words nearly as frequent as Zipf says, each with a favourite successor."""
    rng = np.random.default_rng(seed)
    share = 1 / (10 + np.arange(vocab_size - 2))
    favourite = rng.choice(np.arange(2, vocab_size), vocab_size, p=share / share.sum())
    x, y = [], []
    for length in rng.integers(5, 25, count):
        drawn = rng.choice(np.arange(2, vocab_size), length, p=share / share.sum())
        sentence = [0]
        for word in drawn:
            sentence.append(int(favourite[sentence[-1]] if rng.random() < 0.5 else word))
        x.append(sentence)
        y.append([*sentence[1:], 1])
    return x, y


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


class TestScores:
    # Longer than the pieces in which long sequences are scored, more sequences than are scored together.
    LENGTHS = [300, 1, 129, 128, 20, 257, 3] + [2] * 60 if COMPILED else [131, 1, 4]

    @pytest.mark.parametrize("cell, dtype", [*((cell, "float32") for cell in CELLS), ("gru", "float64")])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_all_scores_are_the_reference_s(self, cell, dtype, threads):
        C, H = (59, 17) if COMPILED else (4, 2)
        model = make_model(cell, C, H, dtype=dtype, n_threads=threads)
        x, y = random_batch(C, self.LENGTHS)
        tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
        params = weights(model)
        expected = reference.log_probabilities(cell, params, x, y)
        found = model.score_samples(x, y)
        assert found.dtype == np.float64 and found.shape == (len(x),)
        np.testing.assert_allclose(found, expected, rtol=tolerance)
        loss = -expected.sum() / sum(self.LENGTHS)
        assert model.loss(x, y) == pytest.approx(loss, rel=tolerance)
        assert model.score(x, y) == -model.loss(x, y)
        assert model.perplexity(x, y) == pytest.approx(np.exp(loss), rel=10 * tolerance)
        assert isinstance(model.loss(x, y), float) and isinstance(model.perplexity(x, y), float)

        probabilities, best = model.predict_proba(x), model.predict(x)
        assert len(probabilities) == len(best) == len(x)
        for xs, o, word in zip(x, probabilities, best, strict=True):
            assert o.shape == (len(xs), C) and o.dtype == dtype
            assert word.shape == (len(xs),) and word.dtype == np.int32
            logits = reference.forward(cell, params, xs)[1]
            expected = np.exp([reference.log_softmax(row) for row in logits])
            np.testing.assert_allclose(o, expected, rtol=20 * tolerance, atol=tolerance)
            np.testing.assert_allclose(o.sum(axis=1), 1, rtol=tolerance)
            np.testing.assert_array_equal(word, o.argmax(axis=1))

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_the_first_of_equals_is_predicted(self, threads):
        model = make_model("rnn", 150, 2, n_threads=threads)
        model.params_["V"], model.params_["c"] = np.zeros((150, 2)), np.zeros(150)
        assert model.predict([[5, 6], [7]])[0].tolist() == [0, 0]
        model.params_["c"][[70, 149, 141]] = 1
        assert model.predict([[5, 6], [7]])[1].tolist() == [70]

    def test_token_losses_stand_in_the_order_of_the_corpus(self):
        model = make_model("gru")
        x, y = random_batch(7, [2, 5, 1, 5])
        losses, ragged = model.token_losses(x, y)
        assert ragged == Ragged.from_sequences(x)
        expected = [
            -reference.log_softmax(row)[target]
            for xs, ys in zip(x, y, strict=True)
            for row, target in zip(reference.forward("gru", weights(model), xs)[1], ys, strict=True)
        ]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)

    def test_lists_arrays_and_ragged_are_the_same(self):
        model = make_model("gru")
        x, y = random_batch(7, [4, 4, 4])
        loss = model.loss(x, y)
        for convert in (Ragged.from_sequences, np.array, lambda s: [row.tolist() for row in s], tuple):
            assert model.loss(convert(x), convert(y)) == loss

    def test_scores_do_not_depend_on_what_stands_beside(self):
        model = make_model("lstm", dtype="float64")
        x, y = random_batch(7, [5, 3, 6])
        alone = [model.score_samples([xs], [ys])[0] for xs, ys in zip(x, y, strict=True)]
        np.testing.assert_allclose(model.score_samples(x, y), alone, rtol=1e-13)


def fit_small(**parameters):
    x, y = random_batch(12, [6, 5, 4, 3, 3, 1] * (3 if COMPILED else 1))
    small = dict(hidden_dim=6, vocab_size=12, max_epochs=2, batch_size=4, random_state=1, n_threads=1, dtype="float32")
    return FastRNN(**small | parameters).fit(x, y), x, y


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


class TestParameters:
    def test_the_constructor_only_stores(self):
        thing = object()
        model = FastRNN(cell=thing, hidden_dim=thing, random_state=thing)
        assert model.cell is thing and model.hidden_dim is thing and model.get_params()["random_state"] is thing
        assert set(vars(model)) == set(inspect.signature(FastRNN).parameters)

    def test_get_and_set(self):
        model = FastRNN("lstm", 7)
        assert model.set_params(hidden_dim=9, bias=False) is model
        parameters = model.get_params()
        assert parameters["cell"] == "lstm" and parameters["hidden_dim"] == 9 and parameters["bias"] is False
        assert FastRNN(**parameters).get_params() == parameters
        assert repr(model) == "FastRNN(cell='lstm', hidden_dim=9, bias=False)"
        with pytest.raises(ValueError, match="no parameter 'hidden'"):
            model.set_params(hidden=3)

    def test_parameters_set_after_fit_wait_for_the_next(self, tmp_path):
        model, x, y = fit_small()
        loss = model.loss(x, y)
        model.set_params(hidden_dim=3, cell="rnn", bias=False, dtype="float64")
        assert model.loss(x, y) == loss
        assert max(model.check_gradients(x[:2], y[:2]).values()) < 1e-2
        model.save(tmp_path / "model")
        assert FastRNN.load(tmp_path / "model").loss(x, y) == loss
        assert model.fit(x, y).params_["layer0.W"].shape == (3, 3)

    @pytest.mark.parametrize("bad, error", [
        *[({"cell": value}, ValueError) for value in ("GRU", "transformer", None, 3)],
        *[({"hidden_dim": value}, error) for value, error in ((0, ValueError), (2.5, TypeError), (True, TypeError))],
        *[({"vocab_size": value}, error) for value, error in ((0, ValueError), ("8000", TypeError))],
        *[({name: value}, TypeError) for name in ("bias", "peepholes") for value in ("yes", 1, None)],
        *[({"init": value}, ValueError) for value in ("ones", None, 0.1)],
        *[({"early_stopping": value}, TypeError) for value in ("yes", None)],
        *[({"bptt_truncate": value}, error) for value, error in ((-1, ValueError), (4.0, TypeError))],
        *[({"optimizer": value}, ValueError) for value in ("adamw", None)],
        *[({"learning_rate": value}, ValueError) for value in (0, -1, float("nan"), float("inf"))],
        ({"learning_rate": "fast"}, TypeError),
        *[({"momentum": value}, error) for value, error in ((1.0, ValueError), (-0.1, ValueError), (None, TypeError))],
        *[({"batch_size": value}, error) for value, error in ((0, ValueError), (1.5, TypeError))],
        *[({"max_epochs": value}, error) for value, error in ((-1, ValueError), (None, TypeError))],
        *[({"clip_norm": value}, error) for value, error in ((0, ValueError), (-1, ValueError), ("5", TypeError))],
        ({"lr_schedule": "cosine"}, ValueError),
        ({"evaluate_every": 0}, ValueError),
        *[({name: 0}, ValueError) for name in ("patience", "n_iter_no_change", "validation_fraction")],
        *[({"lr_decay_start": value}, error) for value, error in ((-1, ValueError), (2.5, TypeError))],
        *[({"validation_fraction": value}, error) for value, error in ((1.0, ValueError), ("half", TypeError))],
        *[({name: -1e-9}, ValueError) for name in ("tol", "weight_noise", "checkpoint_minutes")],
        *[({name: 1}, TypeError) for name in ("early_stopping", "warm_start", "checkpoint")],
        *[({"dtype": value}, ValueError) for value in ("float16", "int32", "double precision", 3, None)],
        *[({"n_threads": value}, error) for value, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError))],
        *[({"random_state": value}, error) for value, error in ((-1, ValueError), ("seed", TypeError))],
    ])  # fmt: skip
    def test_impossible_parameters(self, bad, error):
        name = next(iter(bad))
        model, x, y = fit_small()
        before, curve = weights(model), list(model.loss_curve_)
        message = raised(error, model.set_params(**bad).fit, x, y)
        assert message.startswith(f"{name}: found {bad[name]!r}, expected ")
        assert same_weights_as(model, before) and model.loss_curve_ == curve
        fresh = FastRNN(**bad)
        assert raised(error, fresh.fit, x, y) == message
        assert not hasattr(fresh, "params_")
        fresh = FastRNN(**bad)
        assert raised(error, fresh.partial_fit, x, y) == message

    @pytest.mark.parametrize("same", [
        {"dtype": np.float64}, {"dtype": np.dtype("float32")}, {"hidden_dim": np.int64(6)},
        {"learning_rate": np.float32(0.5)}, {"bias": np.True_}, {"batch_size": np.int32(4)},
        {"random_state": np.int64(3)},
    ])  # fmt: skip
    def test_numpy_scalars_are_numbers(self, same, tmp_path):
        model, x, y = fit_small(**same, max_epochs=0)
        model.save(tmp_path / "model")
        again = FastRNN.load(tmp_path / "model")
        assert again.loss(x, y) == model.loss(x, y)
        name, value = next(iter(same.items()))
        assert again.get_params()[name] == (np.dtype(value).name if name == "dtype" else value)


def same_weights_as(model, before):
    return all(np.array_equal(array, before[name]) for name, array in weights(model).items())


METHODS = ["fit", "partial_fit", "loss", "score", "perplexity", "score_samples", "token_losses", "gradients",
           "check_gradients"]  # fmt: skip


class TestInput:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("x, y, error, message", [
        ([], [], ValueError, "x is empty"),
        ([[1], []], [[1], []], ValueError, "x: sequence 1 is empty"),
        ([[1, 2]], [[1]], ValueError, "y: sequence 0 has 1 tokens, expected 2 as in x"),
        ([[1, 2], [3]], [[1], [2, 3]], ValueError, "y: sequence 0 has 1 tokens, expected 2 as in x"),
        ([[1]], [[1], [2]], ValueError, "y has 2 sequences, expected 1 as in x"),
        ([[1, 12]], [[1, 2]], ValueError, "x: sequence 0, position 1 is 12, expected 0 <= index < 12"),
        ([[1], [2, 3]], [[1], [4, 99]], ValueError, "y: sequence 1, position 1 is 99, expected 0 <= index < 12"),
        ([[1, -1]], [[1, 2]], ValueError, "x: sequence 0, position 1 is -1"),
        ([[1, 2]], [[1, -2]], ValueError, "y: sequence 0, position 1 is -2"),
        ([[1, 2**31]], [[1, 2]], ValueError, "x: sequence 0, position 1 is 2147483648"),
        ([[1, 2.0]], [[1, 2]], TypeError, "x must be a list of sequences of int indices, found float in sequence 0"),
        ([[1, 2]], [[1, float("nan")]], TypeError, "y must be a list of sequences of int indices, found nan"),
        ([np.array([1.0, 2.0])], [[1, 2]], TypeError, "x must be a list"),
        ([np.array([True, False])], [[1, 2]], TypeError, "x must be a list"),
        ([["a", "b"]], [[1, 2]], TypeError, "x must be a list of sequences of int indices, found str"),
        ("text", [[1]], TypeError, "x must be a list of sequences of int indices, found a single str"),
        ([1, 2, 3], [[1]], TypeError, "x must be a list of sequences of int indices, found a flat list of int"),
        (None, [[1]], TypeError, "x must be a list of sequences of int indices, found a single None"),
        ([[1]], [None], TypeError, "y must be a list of sequences of int indices, found None"),
    ])  # fmt: skip
    def test_unusable_sequences(self, method, x, y, error, message):
        model = make_model("gru", 12, 4).set_params(vocab_size=12)
        before, state = weights(model), model.rng_.bit_generator.state
        assert raised(error, getattr(model, method), x, y).startswith(message)
        assert same_weights_as(model, before) and model.loss_curve_ == []
        assert model.rng_.bit_generator.state == state

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "activations"])
    def test_unusable_inputs_of_predict(self, method):
        predict = getattr(make_model("gru", 12, 4), method)
        assert raised(ValueError, predict, []).startswith("x is empty")
        assert raised(ValueError, predict, [[]]).startswith("x: sequence 0 is empty")
        assert raised(ValueError, predict, [[3, 12]]).startswith("x: sequence 0, position 1 is 12")
        assert raised(TypeError, predict, [[0.5]]).startswith("x must be a list")

    def test_partial_fit_keeps_its_vocabulary(self):
        model = FastRNN("rnn", 3, max_epochs=0).partial_fit([[1, 2]], [[2, 3]])
        assert raised(ValueError, model.partial_fit, [[4]], [[0]]).startswith("x: sequence 0, position 0 is 4")

    @pytest.mark.parametrize("method, args", [
        *[(method, ([[1]], [[1]])) for method in METHODS if "fit" not in method],
        ("predict", ([[1]],)), ("predict_proba", ([[1]],)), ("activations", ([[1]],)), ("generate", ()),
        ("save", ("never",)),
    ])  # fmt: skip
    def test_not_fitted(self, method, args):
        message = raised(NotFittedError, getattr(FastRNN(), method), *args)
        assert message.startswith("this FastRNN is not fitted yet")
        assert not os.path.exists("never")

    @pytest.mark.parametrize("name", ["params_", "vocab_size_", "loss_curve_", "evaluations_", "n_epochs_",
                                      "learning_rate_"])  # fmt: skip
    def test_what_fit_learns_is_absent_before(self, name):
        assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)
        assert not hasattr(FastRNN(), name)
        assert hasattr(make_model(), name)


class TestDivergence:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("rate, optimizer, clip_norm", [
        (1e30, "sgd", None), (1e36, "sgd", None), (1e38, "sgd", 5.0), (1e38, "adam", 5.0), (1e38, "rmsprop", None),
    ])  # fmt: skip
    @pytest.mark.parametrize("cell", CELLS)
    def test_weights_stay_finite(self, cell, rate, optimizer, clip_norm, threads):
        x, y = random_batch(9, [6, 5, 4, 3] * 5)
        with np.errstate(all="ignore"):  # NumPy warns where kernels run as plain Python
            model = FastRNN(cell, 5, 9, max_epochs=0, random_state=0, batch_size=2, n_threads=threads).fit(x, y)
            before = weights(model)
            model.set_params(learning_rate=rate, optimizer=optimizer, clip_norm=clip_norm, max_epochs=5)
            message = raised(DivergenceError, model.fit, x, y)
        assert "learning_rate" in message and "epoch 1" in message and f"{rate:g}" in message
        assert model.loss_curve_ == []
        assert same_weights_as(model, before)  # none were good since: the same seed's first
        assert np.isfinite(model.loss(x, y))
        assert issubclass(DivergenceError, FloatingPointError)

    def test_later_epochs_keep_what_was_learned(self):
        model, x, y = fit_small(optimizer="sgd", clip_norm=None, learning_rate=0.1, batch_size=1)
        x, y = x * 3, y * 3
        before, curve = weights(model), list(model.loss_curve_)
        model.optimizer_.learning_rate = 1e36
        with np.errstate(all="ignore"):
            assert "epoch 3" in raised(DivergenceError, model.partial_fit, x, y)
        assert same_weights_as(model, before) and model.loss_curve_ == curve
        model.optimizer_.learning_rate = 0.1
        assert np.isfinite(model.partial_fit(x, y).loss_curve_[-1])

    def test_gradients_at_weights_that_overflow_are_nan(self):
        model = make_model("rnn", 6, 4, dtype="float64")
        model.params_["V"] = np.full((6, 4), 1e308)
        model.params_["layer0.U"] = np.full((4, 6), 20.0)
        with np.errstate(all="ignore"):
            loss, gradients = model.gradients([[1, 2, 3]], [[2, 3, 4]])
        assert np.isnan(loss) and all(np.isnan(array).all() for array in gradients.values())


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


class TestWeights:
    def test_assignment_copies(self):
        model = make_model("lstm")
        array = np.arange(21.0).reshape(3, 7)[:, :5]
        model.params_["layer0.p"] = array
        np.testing.assert_array_equal(model.params_["layer0.p"], array)
        array[:] = 0
        assert model.params_["layer0.p"].any()
        model.params_["c"] = list(range(7))
        assert model.params_["c"].tolist() == list(range(7)) and model.params_["c"].dtype == np.float32

    def test_views_are_the_weights(self):
        model = make_model("gru", dtype="float64")
        x, y = random_batch(7, [4, 3])
        for name in list(model.params_):
            model.params_[name][...] *= 0.5
            expected = reference.loss("gru", weights(model), x, y)
            assert model.loss(x, y) == pytest.approx(expected, rel=1e-12), name

    @pytest.mark.parametrize("cell, bias, names", [
        ("rnn", False, ["layer0.U", "layer0.W", "V"]),
        ("rnn", True, ["layer0.U", "layer0.W", "layer0.b", "V", "c"]),
        ("gru", True, ["layer0.U", "layer0.W", "layer0.b", "V", "c"]),
        ("lstm", True, ["layer0.U", "layer0.W", "layer0.b", "layer0.p", "V", "c"]),
        ("lstm", False, ["layer0.U", "layer0.W", "layer0.p", "V"]),
    ])  # fmt: skip
    @pytest.mark.parametrize("peepholes", [True, False])
    def test_names_and_shapes(self, cell, bias, names, peepholes):
        params = make_model(cell, 7, 5, bias=bias, peepholes=peepholes).params_
        names = [name for name in names if peepholes or name != "layer0.p"]
        assert list(params) == names and len(params) == len(names)
        rng = np.random.default_rng(0)
        expected = reference.init_params(cell, 7, 5, bias, rng, peepholes=peepholes)
        assert {n: a.shape for n, a in params.items()} == {n: a.shape for n, a in expected.items()}
        assert "V: float32[7, 5]" in repr(params).replace("'", "")

    @pytest.mark.parametrize("name, value, error, message", [
        ("V", np.zeros((5, 7)), ValueError, r"V: found shape \(5, 7\), expected \(7, 5\)"),
        ("V", 0.0, ValueError, r"V: found shape \(\), expected \(7, 5\)"),
        ("V", np.full((7, 5), np.nan), ValueError, "V: found NaN or infinity"),
        ("V", np.full((7, 5), -np.inf), ValueError, "V: found NaN or infinity"),
        ("V", np.full((7, 5), 1e300), ValueError, "V: found NaN or infinity.*float32"),
        ("V", np.full((7, 5), "a"), TypeError, "V: found dtype <U1, expected numbers"),
        ("V", np.zeros((7, 5), complex), TypeError, "V: found dtype complex128, expected numbers"),
        ("V", np.zeros((7, 5), bool), TypeError, "V: found dtype bool, expected numbers"),
        ("W", np.zeros((5, 5)), KeyError, "no parameter 'W', expected one of layer0.U, "),
    ])  # fmt: skip
    def test_unusable_weights(self, name, value, error, message):
        model = make_model("rnn", dtype="float32")
        before = weights(model)
        with pytest.raises(error, match=message):
            model.params_[name] = value
        with pytest.raises(TypeError, match="cannot be removed"):
            del model.params_["V"]
        assert same_weights_as(model, before)


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


@pytest.fixture
def saved(tmp_path):
    """A fitted model and the file it was saved to."""
    model, x, y = fit_small(cell="gru", hidden_dim=2, lr_schedule="halve", evaluate_every=1)
    path = tmp_path / "model.npz"
    model.save(path)
    return model, path, x, y


class TestFiles:
    @pytest.mark.parametrize("cell, dtype, bias", [
        ("rnn", "float32", False), ("lstm", "float32", True), ("gru", "float32", True), ("gru", "float64", False),
    ])  # fmt: skip
    def test_a_loaded_model_is_the_same_bit_for_bit(self, tmp_path, cell, dtype, bias):
        model, x, y = fit_small(cell=cell, dtype=dtype, bias=bias, lr_schedule="halve", evaluate_every=1)
        model.save(str(tmp_path / "model.npz"))
        again = FastRNN.load(str(tmp_path / "model.npz"))
        assert again.get_params() == model.get_params()
        assert same_weights(again, model)
        for o, expected in zip(again.predict_proba(x), model.predict_proba(x), strict=True):
            np.testing.assert_array_equal(o, expected)
        assert again.loss_curve_ == model.loss_curve_ and again.evaluations_ == model.evaluations_
        assert again.learning_rate_ == model.learning_rate_ and again.vocab_size_ == model.vocab_size_
        assert np.isfinite(again.partial_fit(x, y).loss_curve_[-1]) and again.n_epochs_ == model.n_epochs_ + 1

    @pytest.mark.parametrize("name", ["model", "model.npz", "model.bin", "модель 1.npz"])
    def test_the_name_is_kept(self, tmp_path, name):
        make_model().save(tmp_path / name)
        assert os.listdir(tmp_path) == [name]

    def test_a_generator_is_not_saved(self, tmp_path):
        model, x, y = fit_small(random_state=np.random.default_rng(0))
        model.save(tmp_path / "model")
        again = FastRNN.load(tmp_path / "model")
        assert again.random_state is None and again.loss(x, y) == model.loss(x, y)

    @pytest.mark.skipif(sys.platform == "win32", reason="no umask on Windows")
    def test_the_file_is_as_readable_as_any(self, tmp_path):
        (tmp_path / "other").write_text("")
        make_model().save(tmp_path / "model")
        assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_truncated(self, saved):
        _, path, *_ = saved
        content = path.read_bytes()
        for length in [0, 1, 100, *range(200, len(content), 97), len(content) - 1]:
            path.write_bytes(content[:length])
            assert "model.npz: damaged or not a model" in raised(ValueError, FastRNN.load, path)

    def test_flipped_bytes_are_noticed_or_harmless(self, saved):
        model, path, *_ = saved
        content, noticed = path.read_bytes(), 0
        positions = np.random.default_rng(0).permutation(len(content))[:300]
        for position in positions:
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            path.write_bytes(flipped)
            try:
                again = FastRNN.load(path)
            except ValueError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                noticed += 1
            else:  # a date, say
                assert same_weights(again, model) and again.get_params() == model.get_params()
        assert noticed > len(positions) / 2

    def test_a_password_flag_is_damage_too(self, saved):
        _, path, *_ = saved
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(content)
        assert "damaged" in raised(ValueError, FastRNN.load, path)

    def test_foreign_files(self, tmp_path):
        path = tmp_path / "model"
        for write in (
            lambda: path.write_text("hello"),
            lambda: path.write_bytes(pickle.dumps({"format": "fastrnn model"})),
            lambda: np.savez(open(path, "wb"), a=np.arange(3)),
            lambda: np.savez(open(path, "wb"), header=np.arange(3)),
            lambda: np.savez(open(path, "wb"), header=np.frombuffer(b"[1]", np.uint8)),
            lambda: np.save(open(path, "wb"), np.arange(3)),
            lambda: zipfile.ZipFile(path, "w").writestr("header", "text"),
        ):
            keep_closed(write, path)
            message = raised(ValueError, FastRNN.load, path)
            assert str(path) in message and "not a model saved by fastrnn" in message

    def test_missing(self, tmp_path):
        assert str(tmp_path / "none") in raised(FileNotFoundError, FastRNN.load, tmp_path / "none")
        raised(FileNotFoundError, FastRNN.load, tmp_path)

    def test_another_kind_or_version(self, saved, monkeypatch):
        _, path, *_ = saved
        header, arrays = storage.read(path, "FastRNN")
        storage.write(path, header | {"kind": "LanguageModel"}, arrays)
        assert "found a LanguageModel, expected a FastRNN" in raised(ValueError, FastRNN.load, path)
        storage.write(path, header | {"version": 99}, arrays)
        assert "found format version 99" in raised(ValueError, FastRNN.load, path)

    @pytest.mark.parametrize("change", [
        lambda header, arrays: arrays.pop("params/V"),
        lambda header, arrays: arrays.update({"params/V": arrays["params/V"][:, :1]}),
        lambda header, arrays: arrays.update({"params/V": arrays["params/V"] * np.nan}),
        lambda header, arrays: arrays.update({"params/more": np.zeros(3)}),
        lambda header, arrays: header.pop("vocab_size"),
        lambda header, arrays: header.update(vocab_size=-1),
        lambda header, arrays: header.update(vocab_size="12"),
        lambda header, arrays: header.update(losses=None),
        lambda header, arrays: header.update(evaluations=[3]),
        lambda header, arrays: header.update(parameters=[1]),
        lambda header, arrays: header["parameters"].update(cell="transformer"),
        lambda header, arrays: header["parameters"].update(unheard_of=1),
        lambda header, arrays: header["parameters"].update(hidden_dim=3),
    ])  # fmt: skip
    def test_contents_that_do_not_match(self, saved, change):
        _, path, *_ = saved
        header, arrays = storage.read(path, "FastRNN")
        storage.write(path, header, arrays)
        FastRNN.load(path)
        change(header, arrays)
        storage.write(path, header, arrays)
        assert f"{path}: damaged: " in raised(ValueError, FastRNN.load, path)

    def test_nothing_is_executed(self, saved, tmp_path):
        _, path, *_ = saved
        _, arrays = storage.read(path, "FastRNN")
        trap = np.array([Trap(str(tmp_path / "sprung"))], object)
        header = np.load(path)
        header = header["header"], header.close()
        with open(path, "wb") as file:
            np.savez(file, header=header[0], **arrays | {"params/V": trap})
        assert "damaged" in raised(ValueError, FastRNN.load, path)
        assert not (tmp_path / "sprung").exists()
        pickle.loads(pickle.dumps(trap))  # the trap works
        assert (tmp_path / "sprung").exists()

    def test_a_failed_save_leaves_the_old_file(self, saved, monkeypatch):
        model, path, x, y = saved
        before = path.read_bytes()

        def fails(file, **arrays):
            file.write(b"half of a mod")
            raise OSError("disk full")

        model.partial_fit(x, y)
        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", fails)
            assert raised(OSError, model.save, path) == "disk full"
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
        model.save(path)
        assert path.read_bytes() != before and same_weights(FastRNN.load(path), model)


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def keep_closed(write, path):
    """Write to `path` and close whatever is left open (NumPy does not close files that it was given)."""
    opened, original = [], open

    def remember(*args):
        opened.append(original(*args))
        return opened[-1]

    globals()["open"] = remember
    try:
        write()
    finally:
        del globals()["open"]
        for file in opened:
            file.close()

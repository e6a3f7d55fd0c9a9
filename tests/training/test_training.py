"""The training loop: validation, early stopping, schedules, noise, history, setbacks, Ctrl-C, callbacks, warm start."""

import copy
import logging
import math
import re
import signal
import sys

import numpy as np
import pytest
from helpers import raised, random_batch, same_weights

from fastrnn import DivergenceError, FastRNN, LanguageModel, Ragged
from fastrnn.networks.network import Network
from fastrnn.training import loop
from fastrnn.training.history import History
from fastrnn.training.interruption import HeldInterrupts
from fastrnn.training.optimizer import Optimizer
from fastrnn.training.schedules import _at_plateau
from fastrnn.training.tasks import LanguageTask

DATA = random_batch(9, [6, 5, 4, 3, 3, 1] * 2)
HELD_OUT = random_batch(9, [4, 2, 5], seed=1)
SMALL = dict(hidden_dim=4, vocab_size=9, max_epochs=3, batch_size=2, random_state=1, n_threads=1)


def small(**parameters):
    return FastRNN(**SMALL | parameters)


def losses_given(monkeypatch, losses):
    """Let the validation losses be these."""
    given = iter(losses)
    monkeypatch.setattr(LanguageTask, "validation_loss", lambda task: next(given, None))


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


class TestWeightNoise:
    @pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
    def test_the_gradient_is_that_at_noisy_weights_the_update_one_of_clean_ones(self, cell):
        parameters = dict(cell=cell, optimizer="sgd", clip_norm=None, learning_rate=0.25, batch_size=3, dtype="float64")
        x, y = [[1, 2, 1], [5, 2, 3], [2, 2, 7]], [[2, 1, 1], [2, 3, 8], [2, 7, 0]]
        start, noisy = (small(**parameters, max_epochs=0).fit(x, y) for _ in "ab")
        trained = small(**parameters, max_epochs=1, weight_noise=0.3).fit(x, y)
        rng = start.rng_
        rng.permutation(3), rng.permutation(1)  # the order of the sequences, and that of the batches
        words = np.unique(x)
        noisy.network_.model.dense[:] += 0.3 * rng.standard_normal(noisy.network_.model.dense.shape)
        noisy.network_.U[words] += 0.3 * rng.standard_normal(noisy.network_.U[words].shape)
        _, gradients = noisy.gradients(x, y)
        tokens_by_sequences = 9 / 3  # gradients are of the mean over tokens, updates of the mean over sequences
        for name, array in trained.params_.items():
            expected = start.params_[name] - 0.25 * tokens_by_sequences * gradients[name]
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12, err_msg=name)

    def test_it_is_seeded_and_changes_the_training(self):
        noisy = [small(weight_noise=0.1).fit(*DATA) for _ in "ab"]
        assert same_weights(*noisy) and not same_weights(noisy[0], small().fit(*DATA))
        assert noisy[0].loss(*DATA) < np.log(9)

    def test_nothing_is_left_of_it(self):
        network = small(max_epochs=0, dtype="float32").fit(*DATA).network_
        before = network.snapshot()
        with network.noise(np.array([1, 4]), 0.7, np.random.default_rng(0)):
            changed = [(a != b) for a, b in zip(before, network.snapshot(), strict=True)]
            assert changed[0].all() and changed[1][[1, 4]].all() and not changed[1][[0, 2, 3, 5, 6, 7, 8]].any()
        for array, now in zip(before, network.snapshot(), strict=True):
            np.testing.assert_array_equal(array, now)


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


def diverging(monkeypatch, when):
    """Let the loss of these batches, counted from 0 over all, be no number."""
    counter, original = [0], LanguageTask.train

    def train(task, team, first, last, optimizer):
        losses, norms = original(task, team, first, last, optimizer)
        if not hasattr(optimizer, "learning_rate"):  # only looks
            return losses, norms
        for i in range(len(losses)):
            counter[0] += 1
            if counter[0] - 1 in when:
                return losses[:i], norms[:i]
        return losses, norms

    monkeypatch.setattr(LanguageTask, "train", train)
    monkeypatch.setattr(loop, "SECONDS_PER_RUN", 0.0)  # one batch a call


class TestSetbacks:
    def test_back_to_good_weights_at_half_the_rate(self, monkeypatch, caplog):
        start = small(max_epochs=0).fit(*DATA)
        diverging(monkeypatch, {3})
        model = small(max_epochs=1, learning_rate=0.08).fit(*DATA)
        assert caplog.messages == [
            "the loss or gradient of batch 4 of epoch 1 is not finite or absurd: training goes on from the last good"
            " weights, the learning rate halved to 0.04"
        ]
        assert model.learning_rate_ == 0.04 and model.n_epochs_ == 1
        # the same by hand: batches 5 and 6 at half the rate, from the first weights, without moments
        task = LanguageTask(
            start.network_, *map(Ragged.from_sequences, DATA), None, batch_size=2, chunk_len=None, truncate=-1,
            n_threads=1, dropout=False,
        )  # fmt: skip
        task.begin_epoch(start.rng_, 1)
        optimizer = Optimizer("adam", 0.04, 0.0, 5.0, [start.network_])
        with loop.ThreadTeam(1) as team:
            task.train(team, 4, 6, optimizer)
        assert same_weights(model, start)
        assert model.n_updates_ == 4 + 2 and model.history_.tokens[0] < 44

    def test_weights_of_the_middle_of_an_epoch_are_good_too(self, monkeypatch):
        monkeypatch.setattr(loop, "SNAPSHOT_EVERY", 2)
        snapshots, original = [], Network.snapshot
        monkeypatch.setattr(Network, "snapshot", lambda network: snapshots.append(original(network)) or snapshots[-1])
        restored, put_back = [], Network.restore
        monkeypatch.setattr(Network, "restore", lambda network, good: restored.append(good) or put_back(network, good))
        diverging(monkeypatch, {3})
        small(max_epochs=1).fit(*DATA)
        assert len(snapshots) == 3 and len(restored) == 1
        assert restored[0] is snapshots[1]  # of batch 2, shown good by that batch
        restored.clear(), snapshots.clear()
        diverging(monkeypatch, {2})  # weights at which the next batch diverges are not good
        small(max_epochs=1).fit(*DATA)
        assert restored[0] is snapshots[0]

    def test_it_gives_up(self, monkeypatch, caplog):
        diverging(monkeypatch, range(2, 100))
        model = small(learning_rate=0.08)
        message = raised(DivergenceError, model.fit, *DATA)
        assert message.startswith(
            "training diverged: the loss or gradient of batch 1 of epoch 2 is not finite or absurd"
        )
        assert "learning_rate (found 0.08)" in message and len(caplog.messages) == 4
        assert same_weights(model, small(max_epochs=0).fit(*DATA)) and model.n_epochs_ == 1

    def test_an_epoch_without_a_finite_batch_is_done_again(self, monkeypatch):
        diverging(monkeypatch, {0})
        x, y = (rows[:1] for rows in DATA)
        model = small(max_epochs=2).fit(x, y)
        assert model.n_epochs_ == 2 and np.isfinite(model.loss_curve_).all()

    def test_absurd_losses_count_from_their_batch_on_however_many_were_trained(self, monkeypatch):
        original = LanguageTask.train

        def absurd(task, team, first, last, optimizer):
            losses, norms = original(task, team, first, last, optimizer)
            if first <= 3 < last and len(model.loss_curve_) == 1:
                losses[3 - first] = 1e9
            return losses, norms

        monkeypatch.setattr(LanguageTask, "train", absurd)
        models = []
        for seconds in (0.0, 1e9):
            monkeypatch.setattr(loop, "SECONDS_PER_RUN", seconds)
            model = small()
            models.append(model.fit(*DATA))
        assert same_weights(*models) and models[0].loss_curve_ == models[1].loss_curve_
        assert models[0].n_updates_ == models[1].n_updates_ == 17 and models[0].learning_rate_ == 0.0025

    def test_a_weight_or_a_validation_loss(self, monkeypatch, caplog):
        finite = iter([True, False, *[True] * 9])
        with monkeypatch.context() as patch:
            patch.setattr(Network, "is_finite", lambda network: next(finite))
            small().fit(*DATA)
        assert caplog.messages[0].startswith("a weight of epoch 1 is not finite")
        caplog.clear()
        losses_given(monkeypatch, [2.0, math.nan, 2.5, 2.25])
        model = small(early_stopping=True).fit(*DATA)
        assert caplog.messages[0].startswith("the loss of the validation data of epoch 2 is not finite")
        assert model.validation_losses_ == [2.0, 2.5, 2.25] and model.history_.best_epoch == 1

    def test_the_last_weights_are_looked_at(self, caplog):
        with np.errstate(all="ignore"):
            model = small(max_epochs=1, learning_rate=1e30, optimizer="sgd", clip_norm=None, batch_size=99).fit(*DATA)
        assert "the loss or gradient at the end of epoch 1" in caplog.text
        assert same_weights(model, small(max_epochs=0).fit(*DATA))


class TestInterruption:
    def test_ctrl_c_waits_for_a_whole_batch(self, monkeypatch, caplog):
        original = LanguageTask.train

        def pressed(*args):
            if not model.n_epochs_:
                signal.raise_signal(signal.SIGINT)
            return original(*args)

        before = signal.getsignal(signal.SIGINT)
        model = small(max_epochs=0).fit(*DATA).set_params(max_epochs=3)
        monkeypatch.setattr(LanguageTask, "train", pressed)
        with caplog.at_level(logging.WARNING, "fastrnn"):
            model.fit(*DATA)
        assert "interrupted after 0 full epochs and 1 updates" in caplog.text
        assert signal.getsignal(signal.SIGINT) is before
        assert model.n_updates_ == 1 and np.isfinite(model.loss(*DATA))

    def test_with_early_stopping_the_best_weights_are_returned(self, monkeypatch):
        losses_given(monkeypatch, [2.0, 3.0, 4.0])
        model = small(early_stopping=True, max_epochs=9)
        stop = lambda model: model.n_epochs_ == 3 and signal.raise_signal(signal.SIGINT)  # noqa: E731
        model.fit(*DATA, validation_data=HELD_OUT, callback=stop)
        assert model.n_epochs_ == 3 and same_weights(model, small(max_epochs=1).fit(*DATA))

    def test_the_second_one_comes_through(self, monkeypatch, caplog):
        def pressed(*args):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not reached")

        monkeypatch.setattr(LanguageTask, "train", pressed)
        model = small().fit(*DATA)
        assert "interrupted after 0 full epochs and 0 updates" in caplog.text and np.isfinite(model.params_["V"]).all()

    def test_one_that_a_block_around_it_holds_back_ends_it(self, caplog):
        with HeldInterrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            model = small().fit(*DATA)
        assert model.n_updates_ == 0 and len(interrupts.received) == 1
        assert "interrupted after 0 full epochs and 0 updates" in caplog.text

    @pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
    def test_sigterm_is_left_to_the_program(self, monkeypatch):
        seen = []
        monkeypatch.setattr(LanguageTask, "is_finite", lambda _: seen.append(signal.getsignal(signal.SIGTERM)) or True)
        small().fit(*DATA)
        assert {*seen} == {signal.SIG_DFL}

    def test_its_line_does_not_go_on_where_the_bar_ends(self, monkeypatch, capsys):
        handler = logging.StreamHandler(sys.stderr)
        monkeypatch.setattr(logging.getLogger("fastrnn"), "handlers", [handler])
        small(verbose=1).fit(*DATA, callback=lambda model: signal.raise_signal(signal.SIGINT))
        assert re.search(r"^interrupted after 1 full epochs", capsys.readouterr().err, re.M)
        original = LanguageTask.train

        def pressed(*args):
            signal.raise_signal(signal.SIGINT)
            return original(*args)

        monkeypatch.setattr(LanguageTask, "train", pressed)
        small(verbose=1).fit(*DATA)  # within an epoch
        assert re.search(r"^interrupted after 0 full epochs", capsys.readouterr().err, re.M)


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

"""Training that diverges goes on from the last good weights, or gives up."""

import math

import numpy as np
from helpers import raised, same_weights
from training_helpers import DATA, losses_given, small

from fastrnn import DivergenceError, Ragged
from fastrnn.networks.network import Network
from fastrnn.training import loop
from fastrnn.training.optimizer import Optimizer
from fastrnn.training.tasks import LanguageTask


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

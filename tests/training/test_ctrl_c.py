"""Ctrl-C and SIGTERM while a model is fitted."""

import logging
import re
import signal
import sys

import numpy as np
import pytest
from helpers import same_weights
from training_helpers import DATA, HELD_OUT, losses_given, small

from fastrnn.training.interruption import HeldInterrupts
from fastrnn.training.tasks import LanguageTask


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

"""What training tells while it runs, and how long it says that it will take."""

import re

import pytest
from helpers import random_batch

from fastrnn import FastRNN
from fastrnn.training import progress
from fastrnn.training.progress import Forecast, Progress, duration

DATA = random_batch(9, [6, 5, 4, 3, 3, 1] * 2)
SMALL = dict(hidden_dim=4, vocab_size=9, max_epochs=3, batch_size=2, random_state=1, n_threads=1)


@pytest.mark.parametrize("seconds, words", [
    (61, "61 seconds"), (99.4, "99 seconds"), (100, "1.7 minutes"), (720, "12 minutes"), (5990, "100 minutes"),
    (6000, "1.7 hours"), (7200, "2 hours"), (36 * 3600, "36 hours"), (3 * 86400, "3 days"), (365 * 86400, "360 days"),
])  # fmt: skip
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_the_forecast_leaves_out_the_call_that_compiles():
    forecast = Forecast()
    forecast.add(10, 1000.0)
    assert not forecast.is_known()
    forecast.add(100, progress.MEASURED / 2)
    assert not forecast.is_known()
    forecast.add(300, progress.MEASURED / 2)
    assert forecast.is_known() and forecast.seconds(4000) == pytest.approx(10 * progress.MEASURED)


def told(capsys):
    return re.findall(r"(?:^|[\r\n])(about .*)\n", capsys.readouterr().err)


def test_it_is_told_once_and_only_if_it_is_long(capsys):
    for tokens, expected in ((1000, []), (100_000, ["about 33 minutes for 4 epochs, or so"])):
        shown = Progress(True)
        shown.begin("epoch 2", tokens, tokens // 2)
        shown.advance(5, 3.0, 2.0, 3, ", or so")
        for _ in range(4):
            shown.advance(500 if tokens > 1000 else 200, 2.8, 2.0, 3, ", or so")
        shown.close()
        assert told(capsys) == expected


def test_fit_tells_it_if_it_is_verbose(capsys, monkeypatch):
    FastRNN(**SMALL, verbose=1).fit(*DATA)
    assert not told(capsys)
    monkeypatch.setattr(progress, "MEASURED", 0.0)
    monkeypatch.setattr(progress, "WORTH_TELLING", 0.0)
    FastRNN(**SMALL, verbose=1).fit(*DATA)
    [line] = told(capsys)
    assert re.fullmatch(r"about [\d.e-]+ seconds for 3 epochs", line)
    FastRNN(**SMALL, verbose=1, early_stopping=True).fit(*DATA, validation_data=DATA)
    assert told(capsys)[0].endswith(" epochs, less if it stops early")
    FastRNN(**SMALL).fit(*DATA)
    assert capsys.readouterr().err == ""

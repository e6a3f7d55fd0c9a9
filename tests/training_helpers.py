"""Small models and data for tests of the training loop."""

from helpers import random_batch

from fastrnn import FastRNN
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

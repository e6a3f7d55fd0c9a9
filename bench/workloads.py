"""What is trained on: the workloads, their corpora, and our model of each. Imports no compiled kernel by itself."""

import dataclasses
import itertools

import numpy as np

from fastrnn.data.ragged import Ragged, minibatches

CELLS = ("rnn", "lstm", "gru")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
MEAN_LENGTH, SIGMA, LONGEST = 20, 0.5, 200
SEED = 0


@dataclasses.dataclass(frozen=True)
class Workload:
    """A shape of model and data.

    Parameters
    ----------
    key, title : str
    vocab_size, hidden_dim, batch_size : int
        C, H and sequences a batch.
    length : int or None
        Tokens of every sequence; None for log-normal lengths of 20 on average.
    learning_rate : float
        Of plain SGD.
    clip : float or None
        Largest norm of the gradient.
    tokens : int
        In an epoch, which is what is timed.
    targets : dict of str to float
        For each cell that is measured, the ratio to PyTorch that it should reach.
    """

    key: str
    title: str
    vocab_size: int
    hidden_dim: int
    batch_size: int
    length: int | None
    learning_rate: float
    clip: float | None
    tokens: int
    targets: dict

    def flops(self, cell, forward_only=False):
        """Operations a token, 2 a multiply-add: the output layer's products and the recurrence's (three of each)."""
        C, H = self.vocab_size, self.hidden_dim
        return (2 if forward_only else 6) * (C * H + self.recurrent(cell))

    def recurrent(self, cell):
        """Entries of W."""
        return GATES[cell] * self.hidden_dim**2

    def corpus(self, tokens=None, seed=SEED):
        """Inputs and targets of about `tokens` tokens, two Ragged; words are Zipf-distributed."""
        rng, tokens = np.random.default_rng(seed), tokens or self.tokens
        if self.length is None:
            lengths = rng.lognormal(np.log(MEAN_LENGTH) - SIGMA**2 / 2, SIGMA, 2 + 2 * tokens // MEAN_LENGTH)
            lengths = np.clip(np.rint(lengths), 1, LONGEST).astype(np.int64)
            lengths = lengths[: 1 + np.searchsorted(np.cumsum(lengths), tokens)]
        else:
            batch = self.batch_size * self.length
            lengths = np.full(self.batch_size * max(1, round(tokens / batch)), self.length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        p = 1 / np.arange(1, self.vocab_size + 1)
        x, y = rng.choice(self.vocab_size, (2, offsets[-1]), p=p / p.sum()).astype(np.int32)
        return Ragged(x, offsets), Ragged(y, offsets)

    def model(self, cell, threads, **parameters):
        """Our model, initialised and not trained."""
        from fastrnn import FastRNN

        recipe = {
            "optimizer": "sgd",
            "learning_rate": self.learning_rate,
            "clip_norm": self.clip,
            "batch_size": self.batch_size,
            "n_threads": threads,
            "random_state": SEED,
        }
        model = FastRNN(cell, self.hidden_dim, self.vocab_size, **recipe | parameters)
        return model.set_params(max_epochs=0).fit([[0]], [[0]])


SENTENCES = Workload(
    "sentences",
    "C = 8,000, H = 100, batch 32",
    vocab_size=8000,
    hidden_dim=100,
    batch_size=32,
    length=None,
    learning_rate=0.1,
    clip=5.0,
    tokens=20_000,
    targets={"rnn": 4, "lstm": 4, "gru": 4},
)
SINGLE = Workload(
    "single",
    "C = 8,000, H = 100, one sentence a step",
    vocab_size=8000,
    hidden_dim=100,
    batch_size=1,
    length=None,
    learning_rate=0.005,
    clip=None,
    tokens=10_000,
    targets={"rnn": 8, "lstm": 8, "gru": 8},
)
CHARACTERS = Workload(
    "characters",
    "C = 65, H = 512, batch 32, T = 50",
    vocab_size=65,
    hidden_dim=512,
    batch_size=32,
    length=50,
    learning_rate=0.1,
    clip=5.0,
    tokens=16_000,
    targets={"rnn": 2, "lstm": 4, "gru": 4},
)
WIKITEXT = Workload(
    "wikitext",
    "C = 33,000, H = 200, batch 20, T = 35",
    vocab_size=33_000,
    hidden_dim=200,
    batch_size=20,
    length=35,
    learning_rate=0.1,
    clip=5.0,
    tokens=7_000,
    targets={"lstm": 4},
)
WORKLOADS = (SENTENCES, SINGLE, CHARACTERS, WIKITEXT)


def batches(x, y, batch_size, rng=None):
    """Yield every minibatch as arrays: inputs, targets, rows a step, sequences; time before sequence.

    Inputs and targets lie as in a PackedSequence; rows a step is None where all lengths are equal, and
    inputs and targets are then (T, B).
    """
    order, bounds = minibatches(x.lengths, batch_size, rng)
    for first, last in itertools.pairwise(bounds):
        ids = order[first:last]
        lengths = x.lengths[ids]
        sizes = [int((lengths > t).sum()) for t in range(lengths[0])]
        rows = np.concatenate([x.offsets[ids[:n]] + t for t, n in enumerate(sizes)])
        equal = lengths[-1] == lengths[0]
        shape = (lengths[0], len(ids)) if equal else (-1,)
        values = [side.values[rows].astype(np.int64).reshape(shape) for side in (x, y)]
        yield (*values, None if equal else np.array(sizes), len(ids))

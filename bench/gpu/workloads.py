"""What is trained on a GPU, at real size and at a size for Numba's simulator."""

import dataclasses

import numpy as np

from fastrnn.data.ragged import Ragged

from ..workloads import SEED, Workload

CELLS = ("lstm", "gru", "rnn")  # in the order of what would be missed most


@dataclasses.dataclass(frozen=True)
class GpuWorkload(Workload):
    """A workload, trained with Adam, with the precision of its products."""

    precision: str = "float32"

    def model(self, cell, threads, **parameters):
        own = {"optimizer": "adam", "device": "cuda", "matmul_precision": self.precision}
        return super().model(cell, threads, **own | parameters)

    def batch(self, size=None):
        """One batch of the workload: inputs and targets, two Ragged."""
        mean = 20 if self.length is None else self.length
        x, y = self.corpus(2 * mean * self.batch_size)
        size = min(size or self.batch_size, len(x))
        return x[:size], y[:size]


class TinyWorkload(GpuWorkload):
    """The same for the simulator: five words, two units, two batches of a few tokens."""

    @classmethod
    def of(cls, workload):
        fields = dataclasses.asdict(workload) | {"vocab_size": 5, "hidden_dim": 2, "batch_size": 2}
        return cls(**fields | {"title": f"tiny, in place of {workload.title}"})

    def corpus(self, tokens=None, seed=SEED):
        lengths = [3, 1, 2] if self.length is None else [2, 2, 2]
        values = np.random.default_rng(seed).integers(0, self.vocab_size, (2, sum(lengths)), np.int32)
        return tuple(Ragged(side, np.cumsum([0, *lengths])) for side in values)


def words(batch_size, tokens):
    title = f"C = 8,000, H = 100, batch {batch_size:,}"
    return GpuWorkload(f"words-{batch_size}", title, 8000, 100, batch_size, None, 0.001, 5.0, tokens, {})


WORDS = words(32, 100_000), words(256, 400_000), words(1024, 800_000)
CHARACTERS = GpuWorkload("characters", "C = 65, H = 512, batch 128, T = 50", 65, 512, 128, 50, 0.001, 5.0, 128_000, {})
WIKITEXT = GpuWorkload("wikitext", "C = 33,000, H = 512, batch 32, T = 35", 33_000, 512, 32, 35, 0.001, 5.0, 56_000, {})
TRAINING = (*WORDS, CHARACTERS, WIKITEXT)
CORRECT = (*WORDS, CHARACTERS)


def either(real, simulated):
    """What is meant for a GPU, or for the simulator if that runs the kernels."""
    from fastrnn.kernels.cuda.driver import SIMULATED

    return simulated if SIMULATED else real


def cells():
    """The cells that are tried."""
    return either(CELLS, CELLS[:1])


def fitting(workloads):
    """The workloads, at a size for the simulator if that runs the kernels."""
    return either(workloads, tuple(map(TinyWorkload.of, (workloads[0], workloads[-1]))))


def tiny(cell, **parameters):
    """A model and one batch of four short sequences, but with so many tokens that sums over them are split."""
    from fastrnn import FastRNN

    rng = np.random.default_rng(SEED)
    x = [rng.integers(0, 11, length) for length in either((50, 40, 30, 20), (8, 5, 3, 1))]
    recipe = {"batch_size": 4, "max_epochs": 1, "random_state": SEED, "device": "cuda", "n_threads": 1}
    return FastRNN(cell, 6, 11, **recipe | parameters), x, [row[::-1].copy() for row in x]

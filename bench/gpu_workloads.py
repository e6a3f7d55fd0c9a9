"""What is trained and sampled on a GPU."""

import dataclasses

from .peers import peer_of
from .peers_gpu import DeviceModel
from .workloads import CELLS, GATES, Workload

QUICK_PART = 10


@dataclasses.dataclass(frozen=True)
class OnDevice(Workload):
    """A workload with the number of layers, the optimiser of both, and the device of ours."""

    layers: int = 1
    optimizer: str = "adam"
    device: str = "cuda"

    def recurrent(self, cell):
        """Entries of every W, and of U above the first layer."""
        return GATES[cell] * self.hidden_dim**2 * (2 * self.layers - 1)

    def model(self, cell, threads, **parameters):
        own = {"num_layers": self.layers, "optimizer": self.optimizer, "device": self.device}
        return super().model(cell, threads, **own | parameters)

    def peer(self, cell, device):
        """PyTorch's model."""
        return peer_of(self, cell, DeviceModel, optimizer=self.optimizer, layers=self.layers, device=device)


def each(cells, target):
    return dict.fromkeys(cells, target)


def sentences(batch, tokens, target):
    title = f"C = 8,000, H = 100, batch {batch:,}"
    return OnDevice(f"sentences-{batch}", title, 8000, 100, batch, None, 0.001, 5.0, tokens, each(CELLS, target))


def characters(layers):
    title = f"C = 65, H = 512, batch 128, T = 50, {layers} layer{'s' * (layers > 1)}"
    return OnDevice(f"characters-{layers}", title, 65, 512, 128, 50, 0.001, 5.0, 320_000, each(CELLS, 1), layers=layers)


TRAINING = (
    sentences(32, 200_000, 3), sentences(256, 400_000, 1.5), sentences(1024, 1_600_000, 1.5),
    characters(1), characters(2),
    OnDevice("wikitext", "C = 33,000, H = 512, batch 32, T = 35", 33_000, 512, 32, 35, 0.001, 5.0, 56_000, {"lstm": 1}),
)  # fmt: skip
SINGLE = OnDevice(
    "single", "one sentence a step", 8000, 100, 1, None, 0.005, None, 4_000, each(CELLS, None), optimizer="sgd"
)


def shorter(workload, quick):
    """The workload, with less to do in a smoke run."""
    return dataclasses.replace(workload, tokens=workload.tokens // QUICK_PART) if quick else workload


def tiny(workload):
    """The workload at a size for the simulator."""
    return dataclasses.replace(
        workload, vocab_size=7, hidden_dim=3, batch_size=min(workload.batch_size, 2), length=workload.length and 2,
        tokens=6, learning_rate=0.01,
    )  # fmt: skip

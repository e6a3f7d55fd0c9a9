"""PyTorch's model as people write it for a GPU: cuDNN's layers, a fused optimiser, no wait in an epoch."""

import numpy as np

from .torch_model import TorchModel, torch, torch_batches
from .translation import FUSED

NAMES = {"weight_ih": "U", "weight_hh": "W", "bias_ih": "b"}


class DeviceModel(TorchModel):
    """The model of `peers`, of any number of layers; what it returns of a loss stays on the device.

    Parameters
    ----------
    cell, vocab_size, hidden_dim, learning_rate, clip, embedding_dim
        As `TorchModel` takes them.
    optimizer : {"sgd", "adam"}
    layers : int
    device : {"cuda", "cpu"}
        The CPU is for trying it out.
    """

    def __init__(self, cell, vocab_size, hidden_dim, *, optimizer="adam", layers=1, device="cuda", **recipe):
        self.layers, self.device = layers, device
        with torch.device(device):
            super().__init__(cell, vocab_size, hidden_dim, **recipe)
        self.optimizer = FUSED[optimizer](self.parameters, lr=recipe["learning_rate"], fused=True)

    def _layer(self, cell, embedding_dim):
        module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        return module(embedding_dim, self.H, self.layers), embedding_dim

    def backward(self, inputs, targets, sizes, scale):
        loss = self.loss(self.hidden(inputs.to(self.device), sizes), targets.to(self.device))
        (loss * scale).backward()
        return loss.detach()

    def take(self, params, order):
        super().take(params, order)
        with torch.no_grad():
            for i in range(1, self.layers):
                for theirs, ours in self._names(i):
                    getattr(self.layer, theirs)[:] = params[ours][order]
                getattr(self.layer, f"bias_hh_l{i}").zero_()

    def gradients(self, order):
        named, ours = super().gradients(order), np.argsort(order)
        for i in range(1, self.layers):
            named |= {name: getattr(self.layer, theirs).grad.numpy(force=True)[ours] for theirs, name in self._names(i)}
        return named

    @staticmethod
    def _names(i):
        """[(PyTorch's name, ours)] of a layer's parameters."""
        return [(f"{theirs}_l{i}", f"layer{i}.{name}") for theirs, name in NAMES.items()]


def device_batches(x, y, batch_size, rng, device):
    """The batches of `peers.torch_batches` in a list, on the device but for the rows a step, as cuDNN wants them."""
    return [
        (inputs.to(device), targets.to(device), sizes, sequences)
        for inputs, targets, sizes, sequences in torch_batches(x, y, batch_size, rng)
    ]


def set_tf32(allowed):
    """Whether PyTorch's products and cuDNN may round what they multiply to 10 bits, for tensor cores."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed

"""PyTorch's model as people write it, its training, and the proof that it computes what ours does.

Embedding (C, H) -> nn.RNN, nn.LSTM or nn.GRU -> Linear (H, C) -> cross_entropy. Sequences of one length go in as
(T, B), others as a PackedSequence. The loss is summed over the tokens and averaged over the sequences, as ours is.
"""

import sys

import numpy as np

from ..workloads import GATES, batches

try:
    import torch
except ImportError:
    torch = None

TOLERANCE = 1e-4
GATE_ORDER = {"rnn": (0,), "lstm": (0, 1, 3, 2)}  # our gates in PyTorch's order: i, f, g, o
OPTIMIZERS = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
    "rmsprop": lambda parameters, rate: torch.optim.RMSprop(parameters, lr=rate, alpha=0.9),
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
}


class TorchModel:
    """The model, and what trains it.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    vocab_size, hidden_dim : int
    optimizer : {"sgd", "rmsprop", "adam"}
    learning_rate : float
    clip : float or None
        Largest norm of the gradient.
    embedding_dim : int, optional
        By default `hidden_dim`.
    """

    def __init__(self, cell, vocab_size, hidden_dim, optimizer="sgd", learning_rate=0.1, clip=None, embedding_dim=None):
        self.H, self.clip = hidden_dim, clip
        self.layer, embedding_dim = self._layer(cell, embedding_dim or hidden_dim)
        self.embedding = torch.nn.Embedding(vocab_size, embedding_dim)
        self.output = torch.nn.Linear(hidden_dim, vocab_size)
        torch.nn.init.uniform_(self.embedding.weight, -(vocab_size**-0.5), vocab_size**-0.5)
        self.parameters = [p for part in (self.embedding, self.layer, self.output) for p in part.parameters()]
        self.optimizer = OPTIMIZERS[optimizer](self.parameters, learning_rate)

    def _layer(self, cell, embedding_dim):
        """The recurrent layer, and what the embedding's size must be."""
        module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        return module(embedding_dim, self.H), embedding_dim

    def hidden(self, inputs, sizes):
        """h of every token, in the order of the batch: (N, H)."""
        embedded = self.embedding(inputs)
        if sizes is None:
            return self.layer(embedded)[0].flatten(0, 1)
        return self.layer(torch.nn.utils.rnn.PackedSequence(embedded, sizes))[0].data

    def logits(self, hidden):
        """(N, C) of every token."""
        return self.output(hidden)

    def loss(self, hidden, targets):
        return torch.nn.functional.cross_entropy(self.logits(hidden), targets.flatten(), reduction="sum")

    def backward(self, inputs, targets, sizes, scale):
        """Gradients of scale * the summed cross-entropy, which is returned."""
        loss = self.loss(self.hidden(inputs, sizes), targets)
        (loss * scale).backward()
        return loss.item()

    def epoch(self, data):
        """Train on all batches; returns the summed cross-entropy."""
        total = 0.0
        for inputs, targets, sizes, sequences in data:
            self.optimizer.zero_grad(set_to_none=True)
            total += self.backward(inputs, targets, sizes, 1 / sequences)
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
            self.optimizer.step()
        return total

    def score(self, data):
        """Summed cross-entropy of all batches."""
        with torch.inference_mode():
            return sum(self.loss(self.hidden(inputs, sizes), targets).item() for inputs, targets, sizes, _ in data)

    def take(self, params, order):
        """Take over our weights, whose gates in PyTorch's order are the rows `order`; W_ih becomes a permutation."""
        layer = self.layer
        with torch.no_grad():
            self.output.weight[:], self.output.bias[:] = params["V"], params["c"]
            self.embedding.weight[:], layer.weight_ih_l0[:] = params["layer0.U"].T, torch.eye(len(order))[order]
            layer.weight_hh_l0[:], layer.bias_ih_l0[:] = params["layer0.W"][order], params["layer0.b"][order]
            layer.bias_hh_l0[:] = 0

    def gradients(self, order):
        """Gradients in our names, shapes and order of gates, after `take` and `backward`."""
        ours, layer = np.argsort(order), self.layer
        named = {"layer0.U": self.embedding.weight.grad.T, "V": self.output.weight.grad, "c": self.output.bias.grad}
        named |= {"layer0.W": layer.weight_hh_l0.grad[ours], "layer0.b": layer.bias_ih_l0.grad[ours]}
        return {name: tensor.numpy(force=True) for name, tensor in named.items()}


def torch_batches(x, y, batch_size, rng=None):
    """Yield the batches of `workloads.batches` as tensors."""
    for inputs, targets, sizes, sequences in batches(x, y, batch_size, rng):
        sizes = None if sizes is None else torch.from_numpy(sizes)
        yield torch.from_numpy(inputs), torch.from_numpy(targets), sizes, sequences


def peer_of(workload, cell, kind=TorchModel, **sizes):
    """PyTorch's model of a workload."""
    return kind(
        cell,
        workload.vocab_size,
        workload.hidden_dim,
        learning_rate=workload.learning_rate,
        clip=workload.clip,
        **sizes,
    )


def check_same(workload, cell, threads, kinds=(TorchModel,), **sizes):
    """Largest relative difference of loss and gradients between ours and PyTorch's on equal weights; exits if large.

    Our LSTM's peepholes are zero. PyTorch's GRU resets after the product, ours before: they cannot be compared,
    and the result is None. `sizes` go to PyTorch's model.
    """
    if cell not in GATE_ORDER:
        return None
    x, y = workload.corpus()
    x, y = x[: workload.batch_size], y[: workload.batch_size]
    model, rng = workload.model(cell, threads), np.random.default_rng(0)
    for name in ("layer0.b", "c"):
        model.params_[name] = rng.normal(0, 0.3, model.params_[name].shape)
    params = {name: torch.tensor(np.array(value)) for name, value in model.params_.items()}
    order = (np.array(GATE_ORDER[cell])[:, None] * workload.hidden_dim + np.arange(workload.hidden_dim)).ravel()
    (batch,) = torch_batches(x, y, workload.batch_size)
    count = len(x.values)
    loss, wanted = model.gradients(x, y)
    errors = {}
    for kind in kinds:
        peer = peer_of(workload, cell, kind, embedding_dim=GATES[cell] * workload.hidden_dim, **sizes)
        peer.take(params, order)
        errors[kind.__name__, "loss"] = abs(float(peer.backward(*batch[:3], 1 / count)) / count - loss) / loss
        for name, found in peer.gradients(order).items():
            errors[kind.__name__, name] = float(np.abs(found - wanted[name]).max() / np.abs(wanted[name]).max())
    if not max(errors.values()) < TOLERANCE:
        sys.exit(f"{workload.title}, {cell}: ours and PyTorch's differ on equal weights: {errors}")
    return max(errors.values())

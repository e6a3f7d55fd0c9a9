"""PyTorch's model tuned by hand, in two forms that do less work or keep it in cache.

chunked  the output layer and its backward pass by CHUNK tokens, so that the logits stay in cache
direct   chunked, and the gates' inputs are looked up as ours are, without the product W_ih; nn.RNN, nn.LSTM and nn.GRU
         cannot be told to, so its steps are a loop in Python

Also tried, and slower or no faster: linear_cross_entropy with its options, log_softmax and gather, other CHUNKs,
fused SGD, a sparse gradient of the embedding.
"""

import numpy as np

from ..workloads import GATES
from .torch_model import TorchModel, torch

CHUNK = 128


def rnn_step(a, W, h):
    return (torch.tanh(torch.addmm(a, h[0], W)),)


def lstm_step(a, W, state):
    h, c = state
    i, f, g, o = torch.addmm(a, h, W).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(a, W, state):
    (h,), H = state, state[0].shape[1]
    product = h @ W
    r, z = torch.sigmoid(a[:, : 2 * H] + product[:, : 2 * H]).chunk(2, 1)
    n = torch.tanh(a[:, 2 * H :] + r * product[:, 2 * H :])
    return (n + z * (h - n),)


STEPS = {"rnn": (rnn_step, 1), "lstm": (lstm_step, 2), "gru": (gru_step, 1)}


class Chunked(TorchModel):
    """The output layer by CHUNK tokens."""

    def backward(self, inputs, targets, sizes, scale):
        hidden = self.hidden(inputs, sizes)
        total, leaf = 0.0, hidden.detach().requires_grad_()
        for rows, wanted in zip(leaf.split(CHUNK), targets.flatten().split(CHUNK), strict=True):
            loss = self.loss(rows, wanted)
            (loss * scale).backward()
            total += loss.item()
        hidden.backward(leaf.grad)
        return total


class Direct(Chunked):
    """Chunked, with the gates' inputs looked up in a table (C, G H)."""

    def _layer(self, cell, embedding_dim):
        self.step, self.states = STEPS[cell]
        width = GATES[cell] * self.H
        W = torch.empty(self.H, width).uniform_(-(self.H**-0.5), self.H**-0.5)
        return torch.nn.ParameterList([W, torch.zeros(width)]), width

    def hidden(self, inputs, sizes):
        embedded = (self.embedding(inputs.flatten()) + self.layer[1]).split(
            [inputs.shape[1]] * len(inputs) if sizes is None else sizes.tolist()
        )
        state = (embedded[0].new_zeros(len(embedded[0]), self.H),) * self.states
        out = []
        for a in embedded:
            state = self.step(a, self.layer[0], tuple(s[: len(a)] for s in state))
            out.append(state[0])
        return torch.cat(out)

    def take(self, params, order):
        with torch.no_grad():
            self.output.weight[:], self.output.bias[:] = params["V"], params["c"]
            self.embedding.weight[:] = params["layer0.U"][order].T
            self.layer[0][:], self.layer[1][:] = params["layer0.W"][order].T, params["layer0.b"][order]

    def gradients(self, order):
        ours, (W, b) = np.argsort(order), self.layer
        named = {"layer0.U": self.embedding.weight.grad.T[ours], "V": self.output.weight.grad}
        named |= {"c": self.output.bias.grad, "layer0.W": W.grad.T[ours], "layer0.b": b.grad[ours]}
        return {name: tensor.numpy() for name, tensor in named.items()}


FORMS = {"PyTorch, chunked": Chunked, "PyTorch, direct": Direct}

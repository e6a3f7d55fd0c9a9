"""Decoding: drawing sequences from a network, one step of state a token."""

import numpy as np

from .cpu.jit import jit
from .cpu.passes import advance

# Sequences that are drawn side by side.
STREAMS = 64


def sample(network, prompt, n, *, end, min_length, max_length, exclude, temperature, top_k, top_p, rng):
    """Draw sequences that continue a prompt.

    Parameters
    ----------
    prompt : int32 array (P,), P >= 1
        What every sequence starts with.
    n : int
        Number of sequences.
    end : int or None
        Index that ends a sequence.
    min_length, max_length : int
        Tokens to draw at least, and at most, `end` included.
    exclude : int array
        Indices never drawn: their probability is removed.
    temperature : float
        0 takes the most probable index.
    top_k : int or None
        Draw from the k most probable indices (and those as probable as the k-th).
    top_p : float or None
        Draw from the fewest most probable indices whose probabilities add up to p.
    rng : numpy.random.Generator

    Returns
    -------
    sequences : list of int32 arrays
        What was drawn, without the prompt.
    log_probabilities : list of float64 arrays
        ln p under the model of each index drawn, nats: untouched by temperature, top_k, top_p and exclusions.
    """
    drawn, scores = [], []
    for first in range(0, n, STREAMS):
        count = min(STREAMS, n - first)
        tokens, log_p, lengths = _sample_streams(
            network, prompt, count, end, min_length, max_length, exclude, (temperature, top_k, top_p), rng
        )
        drawn += [tokens[i, : lengths[i]].copy() for i in range(count)]
        scores += [log_p[i, : lengths[i]].copy() for i in range(count)]
    return drawn, scores


def _sample_streams(network, prompt, count, end, min_length, max_length, exclude, options, rng):
    temperature, top_k, top_p = options
    allowed = np.ones(network.vocab_size, np.bool_)
    allowed[exclude] = False
    allowed_early = allowed.copy()  # a token before min_length: not the end
    if end is not None and end < network.vocab_size:
        allowed_early[end] = False
    decoder = Decoder(network, 1)
    for token in prompt:
        decoder.step(np.array([token], np.int32))
    decoder.select(np.zeros(count, np.int64))
    tokens, log_p = np.zeros((count, max_length), np.int32), np.zeros((count, max_length))
    lengths, active = np.zeros(count, np.int64), np.arange(count)
    scratch = np.empty(network.vocab_size)
    for t in range(max_length):
        uniform = rng.random(count)[active]
        chosen, scores = np.empty(len(active), np.int32), np.empty(len(active))
        choose(
            decoder.logits, allowed_early if t + 1 < min_length else allowed, float(temperature), int(top_k or 0),
            float(top_p or 1.0), uniform, chosen, scores, scratch,
        )  # fmt: skip
        tokens[active, t], log_p[active, t] = chosen, scores
        lengths[active] += 1
        staying = np.flatnonzero(chosen != (-1 if end is None else end))
        if len(staying) == 0 or t == max_length - 1:
            break
        if len(staying) < len(active):
            active, chosen = active[staying], chosen[staying]
            decoder.select(staying)
        decoder.step(chosen)
    return tokens, log_p, lengths


class Decoder:
    """The state of `count` streams of tokens, and the logits of what may come next.

    Attributes
    ----------
    state : array (count, S*H)
    logits : array (count, C)
    """

    def __init__(self, network, count):
        self._network, self._cell = network, network.packed_cell()
        cell, C, H, dtype = network.cell_class, network.vocab_size, network.hidden_dim, network.dtype
        self.state = np.zeros((count, cell.STATES * H), dtype)
        self.logits = np.zeros((count, C), dtype)
        self._allocate(count)

    def _allocate(self, count):
        network = self._network
        cell, H, dtype = network.cell_class, network.hidden_dim, network.dtype
        self._previous = np.empty((count, cell.STATES * H), dtype)
        self._gates = np.empty((count, cell.GATES * H), dtype)
        self._aux = np.empty((count, cell.AUX * H), dtype)
        self._scratch = np.empty((network.vocab_size + H, count), dtype)

    def select(self, streams):
        """Go on with the named streams only; a stream may be named several times."""
        self.state, self.logits = self.state[streams], self.logits[streams]
        self._allocate(len(streams))

    def step(self, tokens):
        """Feed every stream its next token, int32 (count,)."""
        network = self._network
        self.state, self._previous = self._previous, self.state
        advance(
            self._cell, network.U, network.model.V, network.model.c, tokens, self._previous,
            self._gates, self._aux, self.state, self._scratch, self.logits,
        )  # fmt: skip


@jit
def choose(logits, allowed, temperature, top_k, top_p, uniform, chosen, scores, weights):
    """Draw an index for every row of logits (n, C).

    allowed bool (C,); top_k 0 and top_p 1 for none; uniform float64 (n,) in [0, 1). Overwrites chosen int32
    (n,), scores float64 (n,), the ln p of what was chosen, and weights, scratch of float64 (C,).
    """
    for row in range(len(logits)):
        z = logits[row]
        best = -1
        for i in range(len(z)):
            if allowed[i] and (best < 0 or z[i] > z[best]):
                best = i
        if temperature > 0:
            inverse, highest = 1.0 / temperature, np.float64(z[best])
            for i in range(len(z)):
                weights[i] = np.exp((np.float64(z[i]) - highest) * inverse) if allowed[i] else 0.0
            lowest = 0.0
            if top_k > 0:
                lowest = _kth_largest(weights, top_k)
            if top_p < 1:
                lowest = max(lowest, _nucleus(weights, top_p))
            total = 0.0
            for i in range(len(z)):
                if weights[i] < lowest:
                    weights[i] = 0.0
                total += weights[i]
            left = uniform[row] * total
            for i in range(len(z)):
                if weights[i] > 0:
                    best = i  # rounding may leave a crumb beyond the last: keep the last possible
                    left -= weights[i]
                    if left < 0:
                        break
        highest = np.float64(z.max())
        summed = 0.0
        for i in range(len(z)):
            summed += np.exp(np.float64(z[i]) - highest)
        chosen[row] = best
        scores[row] = np.float64(z[best]) - highest - np.log(summed)


@jit
def _kth_largest(weights, k):
    """The k-th largest weight, 0 if there are fewer."""
    ordered = np.sort(weights)
    return ordered[max(0, len(ordered) - k)]


@jit
def _nucleus(weights, p):
    """The smallest of the fewest largest weights that hold the share p of the total."""
    ordered = np.sort(weights)
    wanted = p * ordered.sum()
    i = len(ordered)
    while i > 0 and wanted > 0:
        i -= 1
        wanted -= ordered[i]
    return ordered[i] if i < len(ordered) else ordered[-1]

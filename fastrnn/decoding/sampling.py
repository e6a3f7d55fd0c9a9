"""Decoding: drawing sequences from a network, one step of state a token."""

import time
from functools import partial

import numpy as np

from ..kernels.cpu.decoding.sampling import GEMM_MIN_ROWS, SamplingParams, allocate, draw, packed_transpose
from ..kernels.linalg.gemm import PANEL_WIDTH
from ..kernels.threads import ThreadTeam

# Sequences that are drawn side by side.
STREAMS, GPU_STREAMS = 64, 1024
# Between two looks at Ctrl-C; steps before the first.
SECONDS_PER_RUN = 0.1
FIRST_STEPS = 128
# Multiply-adds of a step's logits for which another thread pays; the cell's step of one stream is not divided.
MIN_FLOPS_PER_THREAD = 1 << 16
# Of the temperature: makes anything but the largest logit improbable, and stays finite in float32.
LARGEST_INVERSE = 1e30


def sample(network, prompt, n, *, end, min_length, max_length, exclude, temperature, top_k, top_p, rng, n_threads,
           state=None):  # fmt: skip
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
    n_threads : int
        At most; fewer if there is little to divide.
    state : array (L, 1, S*H), optional
        What the prompt goes on from; None for zeros.

    Returns
    -------
    sequences : list of int32 arrays
        What was drawn, without the prompt.
    log_probabilities : list of float64 arrays
        ln p under the model of each index drawn, nats: untouched by temperature, top_k, top_p and exclusions.
    """
    params = make_sampling_params(network, end, min_length, exclude, temperature, top_k, top_p)
    drawn, scores = [], []
    most = STREAMS if network.device == "cpu" else GPU_STREAMS
    with ThreadTeam(useful_threads(network, min(n, most), n_threads)) as team:
        sample_streams = partial(_sample_streams, network, team) if network.device == "cpu" else network.draw
        for first in range(0, n, most):
            tokens, log_p, lengths = sample_streams(prompt, state, min(most, n - first), max_length, params, rng)
            drawn += [tokens[i, :length].copy() for i, length in enumerate(lengths)]
            scores += [log_p[i, :length].copy() for i, length in enumerate(lengths)]
    return drawn, scores


def useful_threads(network, streams, n_threads):
    """How many threads pay for so many streams: at most n_threads."""
    return max(1, min(n_threads, network.model.V.size * streams // MIN_FLOPS_PER_THREAD))


def make_sampling_params(network, end, min_length, exclude, temperature, top_k, top_p):
    """What is drawn, from the options of `sample`, as the kernels take it."""
    allowed = np.ones((2, network.vocab_size), np.bool_)
    allowed[:, exclude] = False
    if end is not None and end < network.vocab_size:
        allowed[0, end] = False
    inverse = min(1 / temperature, LARGEST_INVERSE) if temperature > LARGEST_INVERSE**-1 else LARGEST_INVERSE
    return SamplingParams(
        allowed, int(min_length), -1 if end is None else int(end), float(temperature), network.dtype.type(inverse),
        int(top_k or 0), float(top_p or 1.0),
    )  # fmt: skip


def _sample_streams(network, team, prompt, state, count, max_length, params, rng):
    """Tokens and their ln p, (count, max_length), and how many of them each stream has drawn."""
    tokens, log_p = np.zeros((count, max_length), np.int32), np.zeros((count, max_length))
    decoder = Decoder(network, team, 1)
    if state is not None:
        decoder.state[:] = state
    for chunk in interruptible_slices(len(prompt), FIRST_STEPS):
        decoder.draw(params, prompt[chunk], np.empty((0, 1)), tokens, log_p)
    decoder.select(np.zeros(count, np.int64))
    for chunk in interruptible_slices(max_length, FIRST_STEPS):
        before = rng.bit_generator.state
        uniforms = rng.random((chunk.stop - chunk.start, count))
        decoder.draw(params, prompt[:0], uniforms, tokens, log_p)
        if decoder.streams.ended.all():  # take no more numbers than steps were done, whatever the chunks were
            rng.bit_generator.state = before
            rng.random((decoder.streams.lengths.max() - chunk.start, count))
            break
    return tokens, log_p, decoder.streams.lengths


def interruptible_slices(length, steps):
    """Slices of 0...length, each of about SECONDS_PER_RUN of the caller's time: what Ctrl-C has to wait for.

    The first is of `steps`.
    """
    first = 0
    while first < length:
        last, start = min(length, first + steps), time.perf_counter()
        yield slice(first, last)
        steps = max(1, int((last - first) * min(4.0, SECONDS_PER_RUN / (time.perf_counter() - start))))
        first = last


class Decoder:
    """`count` streams of tokens, and what their steps need.

    Attributes
    ----------
    state : array (L, count, S*H)
    streams : fastrnn.kernels.cpu.decoding.sampling.Streams
    """

    def __init__(self, network, team, count):
        self._network, self._team = network, team
        self._model, self._VT = network.packed_model(), np.empty((0, PANEL_WIDTH), network.dtype)
        self._allocate(count)

    def _allocate(self, count):
        model = self._network.model
        if count >= GEMM_MIN_ROWS and not len(self._VT):
            self._VT = packed_transpose(model.V)
        self.streams, self._scratch = allocate(model, self._VT, self._team.n_threads, count)
        self.state = self.streams.state

    def select(self, streams):
        """Go on with the named streams only; a stream may be named several times."""
        state = self.state[:, streams]
        self._allocate(len(streams))
        self.state[:] = state

    def draw(self, params, prompt, uniforms, drawn, log_p):
        """Draw as many tokens for every stream as `uniforms` has rows, see `kernels.cpu.decoding.sampling.draw`."""
        self._team.run(
            draw, self._model, self._network.U, self.streams, self._scratch, params, prompt, uniforms, drawn, log_p
        )

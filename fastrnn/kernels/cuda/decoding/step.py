"""Decoding on the GPU: a group of streams, each fed one token a step, and drawing from them.

The host only launches: a stream that has ended goes on to "draw" its end, and every LOOK steps the host sees whether
all have.
"""

import numpy as np

from ..driver import THREADS, cuda, empty, kernel, to_device, to_host, zeros
from ..layers.stack import run_forward
from ..linalg.gemm import product, ravel
from ..workspace import Batch, RowLayout, States
from .sampling import POLL_STEPS, choose


class Streams:
    """The states of `count` streams of tokens, and the logits of what may come next.

    Parameters
    ----------
    model, U : Model and array (C, D)
        On the device.
    count : int

    Attributes
    ----------
    state : (L, count, S*H)
        After the last token.
    logits : (count, C)
    tokens : int32 (LOOK, count)
        The tokens of some steps: what is fed, or was drawn.
    """

    def __init__(self, model, U, count):
        self._model, self._U, self.count = model, U, count
        self._memory = _states(model, count, count)
        self._V, self.state = ravel(model.V), self._memory.final
        self.logits, self.tokens = empty((count, model.V.shape[0]), model.V.dtype), zeros((POLL_STEPS, count), "i4")
        self._z, self._batches = ravel(self.logits), _batches(self.tokens, 1)

    def read(self, tokens, state=None):
        """Feed tokens (int32 (P,), P >= 1, on the host) to a stream; all streams go on from where that has come.

        It starts from `state`, (L, 1, S*H) on the host, or from zeros.
        """
        states = _states(self._model, len(tokens), 1)
        first = np.zeros(states.initial.shape) if state is None else state
        states = states._replace(initial=to_device(np.ascontiguousarray(first, states.initial.dtype)))
        (batch,) = _batches(to_device(tokens.reshape(1, -1)), len(tokens))
        run_forward(self._model.cell, self._model.inputs, self._U, batch, states, 0.0, 0)
        self.start_from(states.final, zeros(self.count, "i4"))

    def start_from(self, state, parents):
        """Every stream goes on from the one of `state` (L, any, S*H) that `parents` (int32 (count,)) names."""
        self.gather_states(state, parents)
        self._predict()

    def feed(self, tokens, parents=None):
        """Feed every stream a token, int32 (count,) on the host; with `parents` it goes on from that stream's state."""
        self.tokens[0].copy_to_device(tokens)
        self.advance(0, parents)

    def advance(self, row=0, parents=None):
        """Feed every stream its token in this row of `tokens`; with `parents` it goes on from that stream's state."""
        if parents is not None:
            self.gather_states(self.state, parents)
        states = self._memory._replace(initial=self.state, final=self._other())
        run_forward(self._model.cell, self._model.inputs, self._U, self._batches[row], states, 0.0, 0)
        self.state = states.final
        self._predict()

    def _other(self):
        """Where the next states go."""
        return self._memory.initial if self.state is self._memory.final else self._memory.final

    def gather_states(self, source, parents):
        """Every stream gets the state of `source` (L, any, S*H) that `parents` (int32 (count,)) names."""
        target = self._other()
        _gather((self.count, source.shape[0]), THREADS, source, parents, target)
        self.state = target

    def _predict(self):
        """The logits that follow from the state."""
        c, (L, n, width), (C, H) = self._model.c, self.state.shape, self._model.V.shape
        product(
            self.state, (L - 1) * n * width, width, 1, self._V, 0, 1, H, self._z, 0, C, n, C, H,
            bias=c if c.size else None,
        )  # fmt: skip


def _states(model, tokens, sequences):
    """Memory of the layers for one batch of equally long sequences."""
    L, H, columns = model.cell.W.shape
    width, E, dtype = model.cell.STATES * H, model.inputs.shape[0] - (L - 1) * H, model.V.dtype

    def real(*shape):
        return empty(shape, dtype)

    return States(
        embeddings=real(tokens, E), prev=real(L, tokens, width), gates=real(L, tokens, columns),
        aux=real(L, tokens, model.cell.AUX * H), state=real(L, tokens, width), x=real(L - 1, tokens, H),
        initial=real(L, sequences, width), final=real(L, sequences, width),
    )  # fmt: skip


def _batches(tokens, steps):
    """A batch for every row of `tokens`, of so many steps."""
    rows, count = tokens.shape
    sequences = count // steps
    starts = to_device(np.arange(0, count + 1, sequences, dtype=np.int32))
    words = ravel(tokens)
    layout = RowLayout(words, words, words, starts, words, words, words)  # nothing is learned: the rest is not read
    return [Batch(layout, row * count, 0, 0, 0, count, steps, sequences, 0) for row in range(rows)]


@kernel
def _gather(source, parents, target):
    """target[layer, s] = source[layer, parents[s]]; a block for every stream and layer."""
    s, layer = cuda.blockIdx.x, cuda.blockIdx.y
    parent = parents[s]
    for j in range(cuda.threadIdx.x, source.shape[2], THREADS):
        target[layer, s, j] = source[layer, parent, j]


def draw(streams, max_length, params, rng):
    """Draw tokens for every stream until it ends.

    Parameters
    ----------
    streams : Streams
        What came before has been read.
    max_length : int
        Tokens to draw at most.
    params : cpu.decoding.sampling.SamplingParams
    rng : numpy.random.Generator
        Gives a uniform number a step and stream, for as many steps as the longest stream has.

    Returns
    -------
    tokens, log_p : int32 and float64 (count, max_length)
        What was drawn, and its ln p under the model, nats.
    lengths : int64 (count,)
        How many tokens of each are drawn.
    """
    n = streams.count
    allowed, log_p = to_device(params.allowed), empty((POLL_STEPS, n), "f8")
    tokens, scores, lengths = np.zeros((n, max_length), np.int32), np.zeros((n, max_length)), np.zeros(n, np.int64)
    ended = np.zeros(n, bool)
    for first in range(0, max_length, POLL_STEPS):
        steps, before = min(POLL_STEPS, max_length - first), rng.bit_generator.state
        uniforms = to_device(rng.random((steps, n)))
        for row in range(steps):
            choose(streams.logits, allowed, first + row, params, uniforms, streams.tokens, log_p)
            if first + row + 1 < max_length:
                streams.advance(row)
        drawn = to_host(streams.tokens)[:steps]
        # A stream's tokens are those before which it had not ended.
        had_ended = np.cumsum(np.vstack([ended, drawn[:-1] == params.end]), axis=0) > 0
        ended = had_ended[-1] | (drawn[-1] == params.end)
        lengths += (~had_ended).sum(axis=0)
        tokens[:, first : first + steps] = np.where(had_ended, 0, drawn).T
        scores[:, first : first + steps] = np.where(had_ended, 0, to_host(log_p)[:steps]).T
        if ended.all():
            rng.bit_generator.state = before
            rng.random((lengths.max() - first, n))
            break
    return tokens, scores, lengths

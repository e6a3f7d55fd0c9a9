"""Passes over batches: training, of one network or of encoder and decoder, scoring, predicting, running.

Counterparts of `cpu.passes` and `cpu.encoder_decoder`, as sequences of launches: the host goes ahead and never looks at
what comes out before the last batch of a call. When a loss or a gradient is not finite, a flag on the device keeps all
later batches from changing anything.
"""

from typing import NamedTuple

import numpy as np

from ...data.batches import CARRIED, GIVEN
from ..cpu.layers.dropout import batch_key
from ..cpu.optimizers import NONE
from ..cpu.workspace import Model
from .driver import SIMULATED, THREADS, cuda, kernel, to_device, to_host
from .layers.softmax import output_layer, probabilities, total_loss
from .layers.stack import run_backward, run_forward, weights_gradients
from .optimizers import apply_update, rows_gradient, squares
from .workspace import Workspace

# Blocks that go over any number of elements.
BLOCKS = 2 if SIMULATED else 1024


class NetworkArgs(NamedTuple):
    """What training needs of a network."""

    model: Model
    U: object  # (words, D)
    gradient: Model  # overwritten
    moments: tuple  # first and second moments of the dense parameters: flat arrays, empty where the rule has none
    moments_U: tuple  # those of U
    work: Workspace


class TrainingRun:
    """What goes on from batch to batch of a call, and what comes back from it.

    Parameters
    ----------
    optimizer : fastrnn.training.optimizer.Optimizer
    truncate : int
        k of truncated back-propagation, negative for none.
    scale : float
        Factor of the gradient of the summed cross-entropy; 0: one over the batch's sequences.
    batches : int
    """

    def __init__(self, optimizer, truncate, scale, batches):
        self.rule, self.hyper, self.rate = optimizer.rule, optimizer.hyper, float(optimizer.hyper.dropout)
        self.truncate, self._scale, self._optimizer = truncate, scale, optimizer
        self.clips = self.rule != NONE and self.hyper.clip_norm > 0
        self.losses, self.norms = (to_device(np.full(batches, np.nan)) for _ in "ln")
        self.status = to_device(np.zeros(2, np.int64))

    def step(self, index):
        """The number of a batch's update, from 1."""
        return self._optimizer.updates + index + 1

    def key(self, index, side=0):
        """Of dropout's masks in a batch; the encoder is side 1."""
        seed, update = self._optimizer.seed + side, self._optimizer.updates + index
        return batch_key(seed, update) if self.rate > 0 else 0

    def scale(self, batch, dtype):
        return dtype.type(self._scale or 1.0 / batch.sequences)

    def finish(self):
        """Wait for the device: losses and norms of the batches that are done, whose updates are counted."""
        losses, norms = to_host(self.losses), to_host(self.norms)
        finite = np.isfinite(losses)
        done = len(losses) if finite.all() else int(finite.argmin())
        if self.rule != NONE:  # a norm may not be finite either
            done = int(to_host(self.status)[0])
        self._optimizer.updates += done
        return losses[:done], norms[:done]


def train_pass(network, batches, start, run):
    """Train on batches, in order.

    Parameters
    ----------
    network : Side
        The parameters and moments are overwritten; the gradient is that of the last batch.
    batches : iterable of workspace.Batch
    start : int8 array, on the host
        What each batch's sequences start from, see `cpu.workspace`.
    run : Run
    """
    model, work = network.model, _sharing(network.work, run)
    states, deltas, top = work.states, work.deltas, _top(work.states, run.rate)
    for index, batch in enumerate(batches):
        key = run.key(index)
        _begin(start[index], states)
        run_forward(model.cell, model.inputs, network.U, batch, states, run.rate, key)
        _output(network, batch, work, top, run, index)
        run_backward(model.cell, model.inputs, run.truncate, batch, states, deltas, run.rate, key)
        _gradients(network, batch, work)
        parts = squares(network.gradient.dense, work.dU, batch.occurring, work.partial) if run.clips else 0
        _update(network, batch, work, parts, run, index, True)


def train_pairs(encoder, decoder, sources, targets, source_slot, run):
    """Train on batches of pairs, in order.

    Parameters
    ----------
    encoder, decoder : Side
    sources, targets : iterables of workspace.Batch
        Batch b of each has the same pairs.
    source_slot : int32 array, on the device
        Position, within the encoder's batch, of the source of each target, batch after batch.
    run : Run
    """
    source_work, target_work = _sharing(encoder.work, run), _sharing(decoder.work, run)
    source_work = source_work._replace(partial=target_work.partial)
    before, after = source_work.states, target_work.states
    top, first = _top(after, run.rate), 0
    for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
        source_key, target_key = run.key(index, 1), run.key(index)
        _fill(before.initial, 0)
        run_forward(encoder.model.cell, encoder.model.inputs, encoder.U, source, before, run.rate, source_key)
        _permute(before.final, after.initial, source_slot, first, target.sequences, True)
        run_forward(decoder.model.cell, decoder.model.inputs, decoder.U, target, after, run.rate, target_key)
        _output(decoder, target, target_work, top, run, index)
        run_backward(
            decoder.model.cell, decoder.model.inputs, -1, target, after, target_work.deltas, run.rate, target_key
        )
        _permute(target_work.deltas.initial, source_work.deltas.final, source_slot, first, target.sequences, False)
        _fill(source_work.deltas.dh, 0)
        run_backward(
            encoder.model.cell, encoder.model.inputs, -1, source, before, source_work.deltas, run.rate, source_key
        )
        _gradients(encoder, source, source_work)
        _gradients(decoder, target, target_work)
        parts = 0
        if run.clips:
            parts = squares(encoder.gradient.dense, source_work.dU, source.occurring, source_work.partial)
            parts = squares(decoder.gradient.dense, target_work.dU, target.occurring, target_work.partial, parts)
        _update(encoder, source, source_work, parts, run, index, False)
        _update(decoder, target, target_work, parts, run, index, True)
        first += target.sequences


def score_pass(model, U, batches, start, work, nll):
    """nll[t], nats: the cross-entropy of every token t of the corpus that the batches have."""
    top = _top(work.states, 0)
    for batch, begins in zip(batches, start, strict=True):
        _begin(begins, work.states)
        run_forward(model.cell, model.inputs, U, batch, work.states, 0.0, 0)
        targets = batch.layout.targets
        output_layer(model, batch.count, top, targets, batch.row0, work.softmax, None, None, nll.dtype.type(0), False)
        _scatter_all(_blocks(batch.count), THREADS, work.softmax.nll, batch.count, batch.layout.origin, batch.row0, nll)


def predict_pass(model, U, batches, start, work, best, proba):
    """best[t]: the most probable word after every token t; proba[t] (N or 0, C): all probabilities."""
    top, proba = _top(work.states, 0), proba if proba.size else None
    for batch, begins in zip(batches, start, strict=True):
        _begin(begins, work.states)
        run_forward(model.cell, model.inputs, U, batch, work.states, 0.0, 0)
        probabilities(model, batch.count, top, batch.layout.origin, batch.row0, work.softmax, best, proba)


def run_pass(model, U, batches, start, work):
    """Run the layers forward; the last states are in work.states.final."""
    for batch, begins in zip(batches, start, strict=True):
        _begin(begins, work.states)
        run_forward(model.cell, model.inputs, U, batch, work.states, 0.0, 0)


def is_finite(array):
    """Whether no element is NaN or infinite; waits for the answer."""
    found = to_device(np.zeros(1, np.int32))
    _look(_blocks(array.size), THREADS, array.reshape(array.size), found)
    return not to_host(found)[0]


def _sharing(work, run):
    return work._replace(status=run.status)


def _top(states, rate):
    """What enters the output layer."""
    return states.x[states.x.shape[0] - 1] if rate > 0 else states.state[states.state.shape[0] - 1]


def _begin(start, states):
    """What the sequences start from, where states are carried."""
    if start == GIVEN or states.initial.shape[1] == 0:
        return
    if start == CARRIED:
        states.initial.copy_to_device(states.final)
    else:
        _fill(states.initial, 0)


def _output(network, batch, work, top, run, index):
    softmax, deltas = work.softmax, work.deltas
    output_layer(
        network.model, batch.count, top, batch.layout.targets, batch.row0, softmax, network.gradient, deltas.dh[0],
        run.scale(batch, network.U.dtype), True,
    )  # fmt: skip
    total_loss(softmax, batch.count, run.losses, index, run.status)


def _gradients(network, batch, work):
    """Gradients of the layers' weights and of U."""
    states, deltas = work.states, work.deltas
    weights_gradients(network.model.cell, network.gradient, batch, states, deltas, work.softmax.part)
    tied = work.dU.shape[0] == 0
    rows = deltas.d_embeddings if deltas.d_embeddings.shape[1] > 0 else deltas.da[0]
    rows_gradient(batch, rows, network.gradient.V if tied else work.dU, tied)


def _update(network, batch, work, parts, run, index, counts):
    if run.rule != NONE:
        apply_update(
            run.rule, run.hyper, run.step(index), network.model, network.gradient, network.moments, network.U,
            network.moments_U,
            batch, work, parts, run.norms, index, counts,
        )  # fmt: skip


def _blocks(elements):
    return min(BLOCKS, -(-elements // THREADS))


def _fill(array, value):
    if array.size:
        _fill_all(_blocks(array.size), THREADS, array.reshape(array.size), array.dtype.type(value))


def _permute(source, target, source_slot, first, n, gather):
    """States (L, B, S*H) of n sequences: target[:, i] = source[:, source_slot[first + i]]; or the other way around."""
    layers, _, width = source.shape
    _permute_all((n, layers), min(THREADS, width), source, target, source_slot, first, gather)


@kernel
def _fill_all(array, value):
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        array[i] = value


@kernel
def _permute_all(source, target, source_slot, first, gather):
    i, layer = cuda.blockIdx.x, cuda.blockIdx.y
    slot = source_slot[first + i]
    for j in range(cuda.threadIdx.x, source.shape[2], cuda.blockDim.x):
        if gather:
            target[layer, i, j] = source[layer, slot, j]
        else:
            target[layer, slot, j] = source[layer, i, j]


@kernel
def _scatter_all(values, count, origin, row0, out):
    """out[origin] = values, row by row of a batch."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        out[origin[row0 + i]] = values[i]


@kernel
def _look(array, found):
    """found[0] = 1 if an element is not finite: its difference with itself is not 0 then."""
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        if array[i] - array[i] != array.dtype.type(0):
            found[0] = 1

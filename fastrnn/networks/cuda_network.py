"""Networks whose parameters are on a GPU while they are used there; `fastrnn.networks.network` says what they do."""

import math

import numpy as np

from ..kernels.cpu.optimizers import NONE
from ..kernels.cuda import passes, workspace
from ..kernels.cuda.decoding import beam
from ..kernels.cuda.decoding.step import Streams, draw
from ..kernels.cuda.driver import copy_of, empty, synchronize, to_device, to_host
from ..kernels.cuda.layout import BatchLayouts
from .device_copy import DeviceCopy
from .encoder_decoder import PairNetwork
from .network import Network


class CudaNetwork(Network):
    """A `Network` on the GPU.

    `model` and `U` are NumPy arrays for whoever asks, and brought up to date then; the kernels take `on_device()`.
    """

    device = "cuda"
    _passes = passes

    @property
    def model(self):
        self._device_copy.host()
        return self._host_model

    @model.setter
    def model(self, model):
        self._host_model, self._device_model, self._device_copy = model, None, DeviceCopy([model.dense])

    @property
    def U(self):
        self._device_copy.host()
        return self._host_U

    @U.setter
    def U(self, U):
        self._host_U = U
        if not self.tie_weights:
            self._device_copy = DeviceCopy([self._host_model.dense, U])

    def _set_weights(self, dense, U):
        """Have these arrays for weights; read-only ones are copied, since what the device writes comes back to them."""
        U = U if U is None else np.require(U, requirements="W")
        super()._set_weights(np.require(dense, requirements="W"), U)

    def on_device(self, write=False):
        """The `Model` and U on the device; with `write` the kernels may change them."""
        dense, *own = self._device_copy.device(write)
        if self._device_model is None:
            model = self.layout.model_of(dense, _device_view)
            self._device_model = model, own[0] if own else model.V
        return self._device_model

    def workspace(self, n_threads, reduced_precision=True, **sizes):
        """Memory for the kernels, of `fastrnn.kernels.cuda.workspace.Sizes`; `n_threads` does not matter here."""
        learn = sizes.get("learn") and not self.tie_weights
        words, tf32 = sizes["tokens"] if learn else 0, reduced_precision and self.matmul_precision == "tf32"
        return workspace.allocate(*self.on_device(), workspace.Sizes(**sizes, words=words, tf32=tf32))

    def snapshot(self):
        return tuple(map(copy_of, self._device_copy.device(write=True)))

    def on_host(self, snapshot):
        dense, *own = (array if isinstance(array, np.ndarray) else to_host(array) for array in snapshot)
        return dense, own[0] if own else self._host_model.V.copy()

    def restore(self, snapshot):
        for array, saved in zip(self._device_copy.device(write=True), snapshot, strict=False):
            if array.size:
                array.copy_to_device(saved)

    def is_finite(self):
        return all(passes.is_finite(array) for array in self._device_copy.device(write=True))

    def reads_finite(self, words):
        return self.is_finite()

    def train(self, team, batches, work, gradient, optimizer, truncate, scale=0.0):
        """Train on batches, see `fastrnn.kernels.cuda.passes.train_pass`; returns what `Network.train` does."""
        laid_out, start = BatchLayouts(*batches), batches.segments.start
        return self.train_laid_out(laid_out, start, work, gradient, optimizer, truncate, scale)

    def train_laid_out(self, laid_out, start, work, gradient, optimizer, truncate, scale=0.0):
        """The same of an iterable of `workspace.Batch`, and what the sequences of each start from."""
        model, U = self.on_device(write=optimizer.rule != NONE)
        args = passes.NetworkArgs(model, U, gradient, *moments_of(optimizer)[0], work)
        run = passes.TrainingRun(optimizer, truncate, scale, len(start))
        try:
            passes.train_pass(args, laid_out, start, run)
        finally:  # batches that were launched before a Ctrl-C count
            done = run.finish()
        return done

    def gradient_like(self):
        return self.layout.model_of(to_device(np.zeros(self.layout.size, self.dtype)), _device_view)

    def read_gradient(self, gradient, work, words):
        words = np.unique(words)  # the layout has them in this order
        return to_host(gradient.dense), words, to_host(work.dU)[: len(words)]

    def empty(self, shape, dtype):
        return empty(shape, dtype)

    def read(self, array):
        return to_host(array)

    def write_states(self, target, values, count):
        whole = np.zeros(target.shape, target.dtype)
        whole[:, :count] = values
        if whole.size:
            target.copy_to_device(whole)

    def copy_states(self, source, target):
        if source.size:
            target.copy_to_device(source)

    def run(self, team, kernel, batches, work, *out):
        laid_out = BatchLayouts(*batches)
        kernel(*self.on_device(), laid_out, batches.segments.start, work, *out)
        synchronize()  # before the rows may go

    def draw(self, prompt, state, count, max_length, params, rng):
        """Draw from `count` streams that continue a prompt, see `fastrnn.kernels.cuda.decoding.step.draw`."""
        streams = Streams(*self.on_device(), count)
        streams.read(prompt, state)
        return draw(streams, max_length, params, rng)

    @staticmethod
    def search(networks, states, params, width):
        """Beam search by one network or an ensemble, see `fastrnn.kernels.cuda.decoding.beam.search`."""
        moved = (n if n.device == "cuda" else n.clone_as(CudaNetwork) for n in networks)
        return beam.search([network.on_device() for network in moved], states, params, width)

    def activations(self, x):
        """As on the CPU, which does it: `Network.activations`."""
        return self.clone_as(Network).activations(x)


class CudaPairNetwork(PairNetwork):
    """A `PairNetwork` on the GPU."""

    device = "cuda"
    _network_class = CudaNetwork

    def train(self, team, batches, first, last, works, gradients, optimizer, scale=0.0):
        """Train on batches, see `fastrnn.kernels.cuda.passes.train_pairs`; returns what `PairNetwork.train` does."""
        bounds, write = batches.decoder.bounds[first : last + 1], optimizer.rule != NONE
        args, laid_out = [], []
        for network, gradient, moments, work, side in zip(
            self.networks, gradients, moments_of(optimizer), works, (batches.encoder, batches.decoder), strict=True
        ):
            args.append(passes.NetworkArgs(*network.on_device(write), gradient, *moments, work))
            laid_out.append(BatchLayouts(side.segments, side.ids, bounds))
        run = passes.TrainingRun(optimizer, -1, scale, last - first)
        source_slot = to_device(batches.source_slot[bounds[0] : bounds[-1]].astype(np.int32))
        try:
            passes.train_pairs(*args, *laid_out, source_slot, run)
        finally:
            done = run.finish()
        return done


def moments_of(optimizer):
    """The moments of every network on the device, as `Optimizer.moments` has them."""
    if optimizer.rule == NONE:
        return [((), ())] * 2
    arrays = iter(optimizer.on_device(DeviceCopy))
    return [((next(arrays), next(arrays)), (next(arrays), next(arrays))) for _ in range(optimizer.networks)]


def _device_view(dense, start, shape):
    """A part of a flat array on the device, in a shape."""
    return dense[start : start + math.prod(shape)].reshape(shape) if math.prod(shape) else empty(shape, dense.dtype)

"""Parameters of a network, and passes over data: losses, predictions, gradients, training batches."""

from contextlib import contextmanager

import numpy as np

from ..data.batches import CARRIED
from ..data.readonly import kernel_view
from ..kernels.cells import CELLS
from ..kernels.cpu import passes
from ..kernels.cpu.layers.stack import pack_forward
from ..kernels.cpu.workspace import Sizes, allocate, allocate_packed
from .gradients import mean_gradients
from .layout import Layout
from .parameters import Parameters
from .scoring import activations, run_in_chunks

# How weights start: see `Network.initialise`.
INITS = ("default", "tutorial")


def unallocated(shape, dtype):
    """Zeros of any shape that take no memory: a network of them has shapes, but cannot be written to."""
    return np.broadcast_to(np.zeros((), dtype), shape)


class Network:
    """Recurrent layers between words, or their embedding, and an output layer V.

    Parameters
    ----------
    cell : str
        Name of a cell, see `fastrnn.kernels.cells`.
    vocab_size, hidden_dim : int
        C and H.
    bias : bool
        With or without b and c.
    dtype : numpy dtype
        float32 or float64.
    num_layers : int
        L.
    embedding_dim : int or None
        E of an embedding below layer 0; None: a word's row of U enters the gates.
    tie_weights : bool
        The embedding is V; E must be H.
    output : bool
        With the output layer, or without: an encoder.
    peepholes : bool
        With the peepholes of a cell that can have them, or without.
    weights : pair of arrays, optional
        Taken as they are, not copied: all parameters but U in one flat array, and U (None if it is V). They may be
        read-only, as a process has them that maps a file into memory: they are copied before they are written to.
    zeros : callable
        Makes the arrays of the parameters, without `weights`, from a shape and a dtype.

    What a GPU does otherwise stands at the end of the class, and in `fastrnn.networks.cuda_network`.
    """

    device = "cpu"
    matmul_precision = "float32"  # of large products; or "bfloat16", on a GPU "tf32"
    _passes = passes

    def __init__(self, cell, vocab_size, hidden_dim, bias, dtype, num_layers=1, embedding_dim=None, tie_weights=False,
                 output=True, peepholes=True, weights=None, zeros=np.zeros):  # fmt: skip
        self._arguments = (
            cell, vocab_size, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights, output, peepholes
        )  # fmt: skip
        self.cell_class = CELLS[cell]
        self.vocab_size, self.hidden_dim, self.bias, self.dtype = (vocab_size, hidden_dim, bias, np.dtype(dtype))
        self.num_layers, self.embedding_dim, self.tie_weights, self.output, self.peepholes = (
            num_layers, embedding_dim, tie_weights, output, peepholes
        )  # fmt: skip
        self.layout = Layout(
            self.cell_class, vocab_size, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights, output,
            peepholes,
        )  # fmt: skip
        if weights is None:
            width = embedding_dim or self.cell_class.GATES * hidden_dim
            U = None if tie_weights else zeros((vocab_size, width), self.dtype)
            weights = zeros(self.layout.size, self.dtype), U
        self._set_weights(*weights)
        self.params = Parameters(lambda: self.writable().arrays())

    @property
    def networks(self):
        """Networks whose parameters are trained together: this one."""
        return [self]

    def constructor_params(self):
        """Parameters of the estimators with which it was made: {name: value}."""
        return {
            "cell": self.cell_class.NAME, "hidden_dim": self.hidden_dim, "bias": self.bias, "dtype": self.dtype.name,
            "num_layers": self.num_layers, "embedding_dim": self.embedding_dim, "tie_weights": self.tie_weights,
            "peepholes": self.peepholes,
        }  # fmt: skip

    def __getstate__(self):  # views do not survive a copy: rebuild them
        return {"arguments": self._arguments, "dense": self.model.dense, "U": None if self.tie_weights else self.U}

    def __setstate__(self, state):
        self.__init__(*state["arguments"], weights=(state["dense"], state["U"]))

    def __copy__(self):
        return self.clone_as(type(self))

    def _set_weights(self, dense, U):
        """Have these arrays, which the kernels read through views, for weights."""
        dense, U = (a if a is None or a.flags.aligned else a.copy() for a in (dense, U))
        self._read_only = not (dense.flags.writeable and (U is None or U.flags.writeable))
        self.model = self.layout.model_of(kernel_view(dense))
        self.U = self.model.V if U is None else kernel_view(U)

    def writable(self):
        """Itself, with weights that may be written to: they are copied first if they are read-only."""
        if self._read_only:
            self._set_weights(self.model.dense.copy(), None if self.tie_weights else self.U.copy())
        return self

    def arrays(self):
        """{public name: array}, to be read only; `params` are those that may be written to."""
        return self.layout.by_name(self.model, self.U)

    def zeros_like(self, dtype):
        """A network of zeros like this one, of another dtype."""
        cell, vocab_size, hidden_dim, bias, _, *others = self._arguments
        return type(self)(cell, vocab_size, hidden_dim, bias, dtype, *others)

    def clone_as(self, network_class):
        """A copy of another class: for another device."""
        copy = network_class(*self._arguments)
        copy.model.dense[:], copy.U[:] = self.model.dense, self.U
        return copy

    @property
    def state_size(self):
        """Numbers in the state of a layer: S*H, h first."""
        return self.cell_class.STATES * self.hidden_dim

    def dense_like(self):
        """A zeroed `Model`: all parameters but U, or their gradients."""
        return self.layout.model_of(np.zeros(self.layout.size, self.dtype))

    def initialise(self, rng, init="default", scale=None):
        """Draw the initial weights: every matrix uniform in ±1/sqrt(inputs), everything else zero.

        To U and an embedding, which read a one-hot x, "tutorial" counts all C inputs, as the WildML tutorial does;
        "default" counts the one that is not zero. Their bound of 1 makes words about as different at the gates as
        PyTorch's normal embedding does through its W_ih. With `scale` everything is uniform in ±scale (Sutskever et
        al. 2014: 0.08), whatever `init` is.
        """
        self.writable().model.dense[:] = 0
        if scale is not None:
            for array in self.params.values():
                array[:] = rng.uniform(-scale, scale, array.shape)
            return
        narrow, wide = self.hidden_dim**-0.5, 1.0 if init == "default" else self.vocab_size**-0.5
        if not self.tie_weights:
            self.U[:] = rng.uniform(-wide, wide, self.U.shape)
        for array in (self.model.cell.W, self.model.V):
            array[:] = rng.uniform(-narrow, narrow, array.shape)
        for layer in range(self.num_layers):
            matrix = self.layout.own_matrix(self.model, layer)
            if matrix.size:
                bound = len(matrix) ** -0.5
                matrix[:] = rng.uniform(-bound, bound, matrix.shape)

    def is_finite(self):
        """Whether no parameter is NaN or infinite."""
        return bool(np.isfinite(self.model.dense).all() and np.isfinite(self.U).all())

    def not_finite(self):
        """Public names of the parameters that hold NaN or infinity."""
        return [name for name, array in self.arrays().items() if not np.isfinite(array).all()]

    def reads_finite(self, words):
        """Whether no parameter is NaN or infinite but, perhaps, rows of U of other words than these (an array)."""
        U = self.U[words] if words.size < len(self.U) and not self.tie_weights else self.U
        with np.errstate(
            all="ignore"
        ):  # a sum of squares is made in one pass, without memory; finite ones may overflow
            quick = np.vdot(self.model.dense, self.model.dense) + (0 if self.tie_weights else np.vdot(U, U))
        return bool(np.isfinite(quick)) or bool(np.isfinite(self.model.dense).all() and np.isfinite(U).all())

    def snapshot(self):
        """A copy of all parameters, for `restore`."""
        return self.model.dense.copy(), self.U.copy()

    def on_host(self, snapshot):
        """A snapshot as NumPy arrays, which `restore` takes as well."""
        return snapshot

    def restore(self, snapshot):
        """Put back what `snapshot` returned."""
        self.writable().model.dense[:], self.U[:] = snapshot

    @contextmanager
    def noise(self, words, deviation, rng):
        """A context in which the weights have Gaussian noise; updates within it count, the noise goes again.

        Of U only the rows of `words` have it: no others are read.
        """
        dense, U = self.writable().model.dense, self.U
        words = words[:0] if self.tie_weights else words
        clean = dense.copy(), U[words]
        noisy = [array + deviation * rng.standard_normal(array.shape, array.dtype) for array in clean]
        dense[:], U[words] = noisy
        try:
            yield
        finally:
            dense, U = self.model.dense, self.U
            with np.errstate(all="ignore"):  # of weights that have diverged
                dense[:] = clean[0] + (dense - noisy[0])
                U[words] = clean[1] + (U[words] - noisy[1])

    def workspace(self, n_threads, reduced_precision=True, **sizes):
        """Memory for the kernels; `sizes` are those of `fastrnn.kernels.cpu.workspace.Sizes`.

        `reduced_precision`: allow large products in `matmul_precision`.
        """
        bfloat16 = reduced_precision and self.matmul_precision == "bfloat16"
        work = allocate(self.model, self.U, Sizes(n_threads, **sizes, bfloat16=bfloat16))
        if self.tie_weights:  # U's gradient joins V's
            work = work._replace(sparse=work.sparse._replace(dU=work.sparse.dU[:0]))
        return work

    def packed_model(self, reduced_precision=False):
        """The model with its weights packed in panels, as steps take it; `reduced_precision` as in `workspace`."""
        bfloat16 = reduced_precision and self.matmul_precision == "bfloat16"
        cell, inputs = allocate_packed(self.model, np.uint32 if bfloat16 else None)
        pack_forward(0, 1, self.model, cell, inputs)
        return self.model._replace(cell=cell, inputs=inputs)

    def token_losses(self, x, y, n_threads, states=None):
        """Cross-entropy of every token, nats, in the corpus' order: array (N,) of the network's dtype.

        `states` (L, B, S*H), here and in the other passes: what the sequences start from, overwritten with their
        last states; None for zeros.
        """
        nll = self.empty(len(x.values), self.dtype)
        run_in_chunks(self, self._passes.score_pass, x, y, n_threads, states, nll)
        return self.read(nll)

    def predictions(self, x, n_threads, states=None):
        """Most probable next index after every token: int32 (N,)."""
        best = self.empty(len(x.values), np.int32)
        nothing = self.empty((0, self.vocab_size), self.dtype)
        run_in_chunks(self, self._passes.predict_pass, x, x, n_threads, states, best, nothing, reduced_precision=False)
        return self.read(best)

    def probabilities(self, x, n_threads, states=None):
        """Probabilities of every index after every token: (N, C)."""
        best = self.empty(len(x.values), np.int32)
        proba = self.empty((len(x.values), self.vocab_size), self.dtype)
        run_in_chunks(self, self._passes.predict_pass, x, x, n_threads, states, best, proba, reduced_precision=False)
        return self.read(proba)

    def last_states(self, x, n_threads):
        """The states (L, B, S*H) that the layers end in, from zeros."""
        states = np.zeros((self.num_layers, len(x), self.state_size), self.dtype)
        run_in_chunks(self, self._passes.run_pass, x, x, n_threads, states)
        return states

    def activations(self, x):
        """States and gates after every token: for each sequence a list over the layers of {name: array (T, H)}."""
        return activations(self, x)

    def training_workspace(self, n_threads, batches, truncate, dropout=False, strata=None):
        """Memory for training on the given batches; with `strata` of words the output layer learns on a sample."""
        carried = batches.sizes()["sequences"] if (batches.segments.start == CARRIED).any() else 0
        sampled = {} if strata is None else {"strata": strata}
        return self.workspace(
            n_threads, **batches.sizes(), **sampled, learn=True, truncate=truncate, carried=carried, dropout=dropout
        )  # fmt: skip

    def train(self, team, batches, work, gradient, optimizer, truncate, scale=0.0):
        """Train on batches, see `fastrnn.kernels.cpu.passes.train_pass`.

        Returns
        -------
        losses, norms : float64 arrays
            Summed cross-entropy of each batch done, nats, and the norm of its gradient (NaN where none was
            needed). Shorter than the batches if a loss or gradient was not finite.
        """
        losses, norms = np.empty(batches.count), np.full(batches.count, np.nan)
        status = np.array([0, optimizer.updates, optimizer.seed], np.int64)
        try:
            team.run(
                passes.train_pass, self.model, self.U, gradient, *optimizer.moments[0], *batches,
                work, optimizer.rule, optimizer.hyper, truncate, float(scale), status, losses, norms,
            )  # fmt: skip
        finally:  # a Ctrl-C comes after the batches: they count
            done, optimizer.updates = int(status[0]), int(status[1])
        return losses[:done], norms[:done]

    def gradients(self, x, y, truncate, n_threads, states=None):
        """Mean cross-entropy per token, and its gradients: (float, {public name: array in its public shape}).

        With initial `states` (L, B, S*H), their gradient too, under the name "initial_state".
        """
        return mean_gradients(self, x, y, truncate, n_threads, states)

    def gradient_like(self):
        """A `Model` for the kernels to leave a gradient in."""
        return self.dense_like()

    def read_gradient(self, gradient, work, words):
        """What the last batch, in which `words` occurred, has left: dense (flat), words of U and their rows of dU."""
        occurring = len(np.unique(words))
        return gradient.dense, work.sparse.words[:occurring], work.sparse.dU[:occurring]

    def empty(self, shape, dtype):
        """Memory for what kernels write."""
        return np.empty(shape, dtype)

    def read(self, array):
        """What kernels have written, as a NumPy array."""
        return array

    def write_states(self, target, values, count):
        """Set the states (L, B, S*H) of the first `count` sequences."""
        target[:, :count] = values

    def copy_states(self, source, target):
        """target = source, states of as many sequences."""
        target[:] = source

    def run(self, team, kernel, batches, work, *out):
        """Run a pass over batches; `out` has memory from `empty`."""
        team.run(kernel, self.model, self.U, *batches, work, *out)

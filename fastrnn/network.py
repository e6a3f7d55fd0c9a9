"""Parameters of a network, and passes over data: losses, predictions, gradients, training batches.

The one place where arrays of the kernels (cpu/) meet the names and shapes of the public contract.
"""

from collections.abc import MutableMapping

import numpy as np

from .cells import CELLS
from .cpu import passes
from .cpu.gemm import PANEL, load_product, pack_weights, panel_rows
from .cpu.threads import Team
from .cpu.update import NONE
from .cpu.workspace import Model, Segments, allocate
from .ragged import minibatches

# Scoring and predicting go in batches of sequences and, with the state carried, in pieces of steps.
SCORE_SEQUENCES = 64
SCORE_STEPS = 128


class Network:
    """A recurrent layer between an embedding U and an output layer V.

    Parameters
    ----------
    cell : str
        Name of a cell, see `fastrnn.cells`.
    vocab_size, hidden_dim : int
        C and H.
    bias : bool
        With or without b and c.
    dtype : numpy dtype
        float32 or float64.
    """

    def __init__(self, cell, vocab_size, hidden_dim, bias, dtype):
        self.cell_class = CELLS[cell]
        self.vocab_size, self.hidden_dim, self.bias, self.dtype = (vocab_size, hidden_dim, bias, np.dtype(dtype))
        load_product(self.dtype.name)
        self.model = self.dense_like()
        self.U = np.zeros((vocab_size, self.cell_class.GATES * hidden_dim), self.dtype)
        self.params = Parameters(self)

    def __getstate__(self):  # views do not survive a copy: rebuild them
        return {
            "arguments": (self.cell_class.NAME, self.vocab_size, self.hidden_dim, self.bias, self.dtype),
            "dense": self.model.dense.copy(),
            "U": self.U,
        }

    def __setstate__(self, state):
        self.__init__(*state["arguments"])
        self.model.dense[:] = state["dense"]
        self.U[:] = state["U"]

    def dense_like(self):
        """A zeroed `Model`: all parameters but U, or their gradients."""
        C, H, G = self.vocab_size, self.hidden_dim, self.cell_class.GATES
        shapes = {"V": (C, H), "c": (C if self.bias else 0,)}
        shapes |= {"W": (H, G * H), "b": (G * H if self.bias else 0,)} | self.cell_class.own_shapes(H)
        line = 64 // self.dtype.itemsize  # arrays start on a cache line
        starts, end = {}, 0
        for name, shape in shapes.items():
            starts[name], end = end, end + -(-int(np.prod(shape)) // line) * line
        dense = np.zeros(end, self.dtype)
        view = {n: dense[starts[n] : starts[n] + int(np.prod(s))].reshape(s) for n, s in shapes.items()}
        cell = self.cell_class(**{field: view[field] for field in self.cell_class._fields})
        return Model(cell, view["V"], view["c"], dense, starts["W"])

    def initialise(self, rng):
        """U uniform in ±1, W and V in ±sqrt(1/H), everything else zero.

        The tutorial's rule is 1/sqrt(inputs). Of a one-hot x one input alone is not zero, so the bound of U is 1:
        it makes words about as different at the gates as PyTorch's normal embedding does through its W_ih.
        """
        self.model.dense[:] = 0
        for array, inputs in ((self.U, 1), (self.model.cell.W, self.hidden_dim), (self.model.V, self.hidden_dim)):
            bound = inputs**-0.5
            array[:] = rng.uniform(-bound, bound, array.shape)

    def layout(self, model, U):
        """{public name: array in the tutorial's orientation}, as views of `model` and `U`."""
        named = {"layer0.U": U.T}
        for field, array in zip(model.cell._fields, model.cell, strict=True):
            named[f"layer0.{field}"] = array.T if field == "W" else array
        named |= {"V": model.V, "c": model.c}
        return {name: array for name, array in named.items() if array.size}

    def is_finite(self):
        """Whether no parameter is NaN or infinite."""
        return bool(np.isfinite(self.model.dense).all() and np.isfinite(self.U).all())

    def snapshot(self):
        """A copy of all parameters, for `restore`."""
        return self.model.dense.copy(), self.U.copy()

    def restore(self, snapshot):
        """Put back what `snapshot` returned."""
        self.model.dense[:], self.U[:] = snapshot

    def workspace(self, members, **sizes):
        """Memory for the kernels, see `fastrnn.cpu.workspace.allocate`."""
        return allocate(self.model.cell, self.vocab_size, members=members, **sizes)

    def packed_cell(self):
        """The cell with W in panels, as its steps take it."""
        W = np.zeros((panel_rows(*self.model.cell.W.shape), PANEL), self.dtype)
        pack_weights(0, 1, self.model.cell.W, W)
        return self.model.cell._replace(W=W)

    def token_losses(self, x, y, n_threads):
        """Cross-entropy of every token, nats, in the corpus' order: array (N,) of the network's dtype."""
        nll = np.empty(len(x.values), self.dtype)
        self._in_pieces(passes.score_pass, x, y, n_threads, nll)
        return nll

    def predictions(self, x, n_threads):
        """Most probable next index after every token: int32 (N,)."""
        best = np.empty(len(x.values), np.int32)
        self._in_pieces(passes.predict_pass, x, x, n_threads, best, np.empty((0, self.vocab_size), self.dtype))
        return best

    def probabilities(self, x, n_threads):
        """Probabilities of every index after every token: (N, C)."""
        best = np.empty(len(x.values), np.int32)
        proba = np.empty((len(x.values), self.vocab_size), self.dtype)
        self._in_pieces(passes.predict_pass, x, x, n_threads, best, proba)
        return proba

    def activations(self, x, n_threads):
        """States and gates after every token: for each sequence a list over the layers of {name: array (T, H)}."""
        longest, best = int(x.lengths.max()), np.empty(len(x.values), np.int32)
        bounds, no_proba = np.array([0, 1]), np.empty((0, self.vocab_size), self.dtype)
        segments, found = Segments(x.values, x.values, x.offsets[:-1], x.lengths), []
        with Team(n_threads) as team:
            work = self.workspace(team.size, tokens=longest, steps=longest, sequences=1, learn=False)
            for sequence, length in enumerate(x.lengths):  # alone in its batch, so that its rows stand in order
                ids = np.array([sequence])
                team.run(passes.predict_pass, self.model, self.U, segments, ids, bounds, work, best, no_proba)
                found.append([self._named(work.states, length)])
        return found

    def _named(self, states, length):
        """Copies of the first rows of states and gates, by name."""
        parts = ((self.cell_class.STATE_NAMES, states.state), (self.cell_class.GATE_NAMES, states.gates))
        H = self.hidden_dim
        return {
            name: array[:length, k * H : (k + 1) * H].copy() for names, array in parts for k, name in enumerate(names)
        }

    def _in_pieces(self, kernel, x, y, n_threads, *out):
        """Run a pass that fills `out` over all of x: long sequences in pieces, so that memory stays bounded."""
        order, bounds = minibatches(x.lengths, SCORE_SEQUENCES)
        lengths = x.lengths[order]
        longest = int(lengths[0])
        steps, sequences = min(longest, SCORE_STEPS), min(len(order), SCORE_SEQUENCES)
        sizes = {"tokens": steps * sequences, "steps": steps, "sequences": sequences, "learn": False}
        with Team(n_threads) as team:
            work = self.workspace(team.size, states=sequences if longest > steps else 0, **sizes)
            if longest <= steps:
                segments = Segments(x.values, y.values, x.offsets[:-1], x.lengths)
                team.run(kernel, self.model, self.U, segments, order, bounds, work, *out)
                return
            for first, last in zip(bounds[:-1], bounds[1:], strict=True):
                work.states.initial[:] = 0
                for t in range(0, int(lengths[first]), steps):
                    active = order[first:last][lengths[first:last] > t]
                    pieces = Segments(x.values, y.values, x.offsets[:-1] + t, np.minimum(x.lengths - t, steps))
                    team.run(kernel, self.model, self.U, pieces, active, np.array([0, len(active)]), work, *out)
                    work.states.initial[:] = work.states.final

    def training_workspace(self, members, x, order, bounds, truncate):
        """Memory for training on the given batches."""
        lengths = x.lengths[order]
        return self.workspace(
            members, tokens=int(np.add.reduceat(lengths, bounds[:-1]).max()), steps=int(lengths.max()),
            sequences=int(np.diff(bounds).max()), learn=True, truncate=truncate,
        )  # fmt: skip

    def train(self, team, x, y, order, bounds, work, gradient, optimizer, truncate, scale=0.0):
        """Train on batches, see `fastrnn.cpu.passes.train_pass`.

        Returns
        -------
        losses, norms : float64 arrays
            Summed cross-entropy of each batch done, nats, and the norm of its gradient (NaN where none was
            needed). Shorter than the batches if a loss or gradient was not finite.
        """
        batches = len(bounds) - 1
        losses, norms = np.empty(batches), np.full(batches, np.nan)
        status = np.array([0, optimizer.updates], np.int64)
        segments = Segments(x.values, y.values, x.offsets[:-1], x.lengths)
        try:
            team.run(
                passes.train_pass, self.model, self.U, gradient, optimizer.moments, optimizer.moments_U, segments,
                order, bounds, work, optimizer.rule, optimizer.hyper, truncate, float(scale), status, losses, norms,
            )  # fmt: skip
        finally:  # a Ctrl-C comes after the batches: they count
            done, optimizer.updates = int(status[0]), int(status[1])
        return losses[:done], norms[:done]

    def gradients(self, x, y, truncate, n_threads):
        """Mean cross-entropy a token, and its gradients: (float, {public name: array in its public shape})."""
        order, bounds = minibatches(x.lengths, SCORE_SEQUENCES)
        gradient, total, dU, loss = self.dense_like(), self.dense_like(), np.zeros_like(self.U), 0.0
        nothing = NoOptimizer(self.dtype)
        with Team(n_threads) as team:
            work = self.training_workspace(team.size, x, order, bounds, truncate)
            for first, last in zip(bounds[:-1], bounds[1:], strict=True):
                batch = order[first:last]
                losses, _ = self.train(
                    team, x, y, batch, np.array([0, len(batch)]), work, gradient, nothing, truncate, 1 / len(x.values)
                )
                if len(losses) == 0:  # not finite, and so left off before the gradients
                    loss, total.dense[:], dU[:] = np.nan, np.nan, np.nan
                    break
                loss += losses.sum()
                total.dense[:] += gradient.dense
                occurring = len(np.unique(x[batch].values))
                dU[work.sparse.words[:occurring]] += work.sparse.dU[:occurring]
        named = self.layout(total, dU)
        return loss / len(x.values), {name: np.ascontiguousarray(array) for name, array in named.items()}


class NoOptimizer:
    """Stands where an optimizer does when only gradients are wanted."""

    def __init__(self, dtype):
        empty = np.empty(0, dtype)
        self.rule, self.hyper, self.updates = NONE, np.zeros(8), 0
        self.moments = self.moments_U = (empty, empty)


class Parameters(MutableMapping):
    """The parameters by name, in the tutorial's orientation: views that may be written to, or assigned.

    ``params["V"] = array`` copies, after a check of shape and of finiteness; names can be neither added nor
    removed.
    """

    def __init__(self, network):
        self._network = network

    def _arrays(self):
        return self._network.layout(self._network.model, self._network.U)

    def __getitem__(self, name):
        return self._arrays()[name]

    def __setitem__(self, name, value):
        arrays = self._arrays()
        if name not in arrays:
            raise KeyError(f"no parameter {name!r}, expected one of {', '.join(arrays)}")
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            raise TypeError(f"{name}: found dtype {value.dtype}, expected numbers")
        if value.shape != arrays[name].shape:
            raise ValueError(f"{name}: found shape {value.shape}, expected {arrays[name].shape}")
        with np.errstate(over="ignore"):
            value = value.astype(arrays[name].dtype)
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: found NaN or infinity, expected finite numbers of {value.dtype}")
        arrays[name][...] = value

    def __delitem__(self, name):
        raise TypeError("parameters cannot be removed")

    def __iter__(self):
        return iter(self._arrays())

    def __len__(self):
        return len(self._arrays())

    def __repr__(self):
        return "{" + ", ".join(f"{name!r}: {array.dtype}{list(array.shape)}" for name, array in self.items()) + "}"

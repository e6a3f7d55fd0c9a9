"""Where each parameter of a network lies, in the flat array of the kernels, and under which name users find it."""

import math

import numpy as np

from ..kernels.cpu.workspace import Model


def host_view(dense, start, shape):
    """A part of a flat NumPy array, in a shape."""
    return dense[start : start + math.prod(shape)].reshape(shape)


class Layout:
    """Offsets, shapes and public names of a network's parameters.

    Parameters
    ----------
    cell_class : type
        Of `fastrnn.kernels.cells.CELLS`.
    vocab_size, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights, output, peepholes
        As of `Network`.
    """

    def __init__(self, cell_class, vocab_size, hidden_dim, bias, dtype, num_layers, embedding_dim, tie_weights, output,
                 peepholes):  # fmt: skip
        self.cell_class, self.vocab_size, self.hidden_dim = cell_class, vocab_size, hidden_dim
        self.num_layers, self.embedding_dim, self.tie_weights = num_layers, embedding_dim, tie_weights
        self.offsets, self.size = self._offsets(bias, np.dtype(dtype), output, peepholes)

    def _offsets(self, bias, dtype, output, peepholes):
        """Where all parameters but U stand in one flat array: ({name: (start, shape)}, size of the array)."""
        L, H, G = self.num_layers, self.hidden_dim, self.cell_class.GATES
        C = self.vocab_size if output else 0
        own = {name: (L, *shape) for name, shape in self.cell_class.own_shapes(H, peepholes).items()}
        shapes = {"V": (C, H), "c": (C if bias else 0,)}
        shapes |= {"W": (L, H, G * H), "b": (L, G * H if bias else 0)} | own
        shapes["inputs"] = ((self.embedding_dim or 0) + (L - 1) * H, G * H)
        line = 64 // dtype.itemsize  # arrays start on a cache line
        offsets, end = {}, 0
        for name, shape in shapes.items():
            offsets[name] = end, shape
            end += -(-math.prod(shape) // line) * line
        return offsets, end

    def model_of(self, dense, view_of=host_view):
        """A `Model` whose arrays are views of one flat array, made by `view_of(dense, start, shape)`."""
        view = {name: view_of(dense, start, shape) for name, (start, shape) in self.offsets.items()}
        cell = self.cell_class(**{field: view[field] for field in self.cell_class._fields})
        return Model(cell, view["inputs"], view["V"], view["c"], dense, self.offsets["W"][0])

    def own_matrix(self, model, layer):
        """Layer layer's own matrix (E or H, G*H), which has no rows where a word's row of U enters the gates."""
        E, H = self.embedding_dim or 0, self.hidden_dim
        return model.inputs[:E] if layer == 0 else model.inputs[E + (layer - 1) * H : E + layer * H]

    def by_name(self, model, U):
        """{public name: array in the tutorial's orientation}, as views of `model` and `U`."""
        named = {"embedding": U} if self.embedding_dim else {"layer0.U": U.T}
        for layer in range(self.num_layers):
            matrix = self.own_matrix(model, layer)
            named |= {f"layer{layer}.U": matrix.T} if matrix.size else {}
            for field, array in zip(model.cell._fields, model.cell, strict=True):
                named[f"layer{layer}.{field}"] = array[layer].T if field == "W" else array[layer]
        named |= {"c": model.c} if self.tie_weights else {"V": model.V, "c": model.c}
        return {name: array for name, array in named.items() if array.size}

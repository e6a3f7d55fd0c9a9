"""What the time loops ask of a cell: one step forward, one step backward, the gradients of its own weights.

A cell is a NamedTuple of its recurrent parameters (see rnn.py, the shortest), of one layer, or of all with the
layers along the first axis of each array. The loops in cpu/ know no cell by name: they call the functions
below, and the type of the tuple decides, when a loop is compiled, whose code is called.

Letters, for one time step of n sequences; H units, G gates, S parts of the state (h first):

===========  ==========  =====================================================================================
array        shape       what
===========  ==========  =====================================================================================
prev         (n, S*H)    state before the step, [h, ...]
gates        (n, G*H)    in: x_t U + b; out: the gates after their nonlinearities
aux          (n, A*H)    out: what backward needs besides (A may be 0)
state        (n, S*H)    out: state after the step
dstate       (n, S*H)    in: dL/dstate; out: dL/dprev
da           (n, G*H)    out: dL/d(pre-activations of the gates)
cell.W, WT   panels      W and its transpose (G*H, H), as packing.packed_product takes them (W itself is (H, G*H))
scratch      flat        memory for packing.token_sum
===========  ==========  =====================================================================================

All are C-contiguous, of the model's dtype, owned by the caller.
"""

import numba

from ..compiler.jit import overload

_layer, _forward, _backward, _gradients = {}, {}, {}, {}


def layer_of(cell, index):
    """The parameters of one layer: views of those of all."""
    return _layer[type(cell)](cell, index)


def forward_step(cell, prev, gates, aux, state):
    """One step of n sequences; overwrites gates, aux and state."""
    _forward[type(cell)](cell, prev, gates, aux, state)


def backward_step(cell, WT, prev, gates, aux, state, dstate, da):
    """One step back of n sequences; overwrites dstate and da."""
    _backward[type(cell)](cell, WT, prev, gates, aux, state, dstate, da)


def weight_gradients(cell, gradient, prev, aux, state, da, first, last, scratch):
    """Columns first..last of the gates of dW (and of whatever else the cell owns), summed over all rows; overwritten.

    `gradient` is a tuple of the cell's own type that receives them.
    """
    _gradients[type(cell)](cell, gradient, prev, aux, state, da, first, last, scratch)


def implement(cell_class, layer, forward, backward, gradients):
    """Say which kernels do these things for `cell_class`."""
    _layer[cell_class] = layer
    _forward[cell_class], _backward[cell_class], _gradients[cell_class] = (forward, backward, gradients)
    if numba.config.DISABLE_JIT:
        return

    def ours(cell):
        return getattr(cell, "instance_class", None) is cell_class

    @overload(layer_of)
    def _(cell, index):
        return layer.py_func if ours(cell) else None

    @overload(forward_step)
    def _(cell, prev, gates, aux, state):
        return forward.py_func if ours(cell) else None

    @overload(backward_step)
    def _(cell, WT, prev, gates, aux, state, dstate, da):
        return backward.py_func if ours(cell) else None

    @overload(weight_gradients)
    def _(cell, gradient, prev, aux, state, da, first, last, scratch):
        return gradients.py_func if ours(cell) else None

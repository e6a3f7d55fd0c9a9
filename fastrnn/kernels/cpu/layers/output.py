"""What the passes of training ask of an output layer.

An output layer is a module with a named tuple for its memory, whose type decides, when a pass is compiled, whose code
is called (`implement`). Its parameters are V (C, H) and c (C,) or (0,), which begin the model's flat array.

A full softmax leaves its gradients in the model's flat gradient, which the passes sum up and update. A layer that
visits some rows of V has a gradient of its own: then the flat arrays are the passes' only from `first_dense` on, and
the layer is asked for the rest. Between `begin` and `free` lies one batch.

Scoring and predicting need probabilities of all words, and so a full softmax (softmax.py), whatever a model was trained
with.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba

from ...compiler.jit import overload

_functions = {}


class Functions(NamedTuple):
    """The functions of a layer: each is called as the one of its name below."""

    begin: Callable
    learn: Callable
    add_to_dV: Callable
    first_dense: Callable
    squares: Callable
    update: Callable
    free: Callable


def begin(memory, key, targets, tokens, count):
    """Choose what the batch needs of the layer: called by one thread, while others run the layers below.

    `key` is the batch's, for what is drawn; `targets` (at least `count`,) those of its tokens. `tokens` are its inputs
    if V is the embedding too, else empty.
    """
    _functions[type(memory)].begin(memory, key, targets, tokens, count)


def learn(thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add):
    """Losses of the tokens and their gradients, by all threads; the arguments are those of `softmax.output_layer`.

    Leaves memory.nll (count,), nats, and dh. Returns False if a loss is not finite. A layer with a gradient of its own
    leaves dV and dc alone, and is only called with a dh_scale of 1 and without `add`.
    """
    return _functions[type(memory)].learn(
        thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add
    )


def add_to_dV(memory, dV, word, d, first, last):
    """Add columns first..last of d (H,) to a word's row of the gradient of V: the model's, dV, or the layer's own."""
    _functions[type(memory)].add_to_dV(memory, dV, word, d, first, last)


def first_dense(memory, cell_start):
    """First element of the flat arrays that the passes themselves update; the layers below begin at `cell_start`."""
    return _functions[type(memory)].first_dense(memory, cell_start)


def squares(share, shares, memory):
    """A share of the squared norm of the layer's own gradient."""
    return _functions[type(memory)].squares(share, shares, memory)


def update(share, shares, rule, dense, moments, constants, memory):
    """A share of a step on the parameters before `first_dense`, which begin the flat array `dense`.

    `moments` are as flat as that; `rule` and `constants` as in `optimizers.update`.
    """
    _functions[type(memory)].update(share, shares, rule, dense, moments, constants, memory)


def free(share, shares, memory):
    """Forget a share of what `begin` chose."""
    _functions[type(memory)].free(share, shares, memory)


def implement(memory_class, functions):
    """Say which kernels do these things for memory of a class: `functions`, with arguments of the same names."""
    _functions[memory_class] = functions
    if numba.config.DISABLE_JIT:
        return

    def chosen(memory, name):
        return getattr(functions, name) if getattr(memory, "instance_class", None) is memory_class else None

    @overload(begin)
    def _(memory, key, targets, tokens, count):
        return chosen(memory, "begin")

    @overload(learn)
    def _(thread, n_threads, barrier, V, c, count, state, targets, memory, dV, dc, dh, dscale, dh_scale, add):
        return chosen(memory, "learn")

    @overload(add_to_dV)
    def _(memory, dV, word, d, first, last):
        return chosen(memory, "add_to_dV")

    @overload(first_dense)
    def _(memory, cell_start):
        return chosen(memory, "first_dense")

    @overload(squares)
    def _(share, shares, memory):
        return chosen(memory, "squares")

    @overload(update)
    def _(share, shares, rule, dense, moments, constants, memory):
        return chosen(memory, "update")

    @overload(free)
    def _(share, shares, memory):
        return chosen(memory, "free")

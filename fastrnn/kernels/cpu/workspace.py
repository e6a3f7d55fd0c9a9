"""What the kernels are given: the model, the data and the memory they work in, as named tuples of arrays."""

from typing import NamedTuple

import numpy as np

from ..linalg.gemm import PANEL_WIDTH
from ..linalg.packing import packed_rows, token_sum_size
from .layers.sampled_softmax import Strata, allocate_sampled
from .layers.softmax import allocate_softmax


class Model(NamedTuple):
    """Parameters of a network, or their gradients. C words, H units, G gates, L layers.

    E is the width of an embedding, or 0. `dense` is one flat array of which all others are views: V and c first, the
    rest from `cell_start` on. An encoder has no output layer, so C is 0 there. What a word names is not in it: U
    (words, D), whose rows enter the gates of layer 0, D = G*H, or are the embedding, D = E.
    """

    cell: tuple  # a cell's own tuple, of all layers: W (L, H, G*H), b (L, G*H) or (L, 0), ...
    inputs: np.ndarray  # (E + (L - 1) H, G*H): the layers' own matrices, see stack.py
    V: np.ndarray  # (C, H)
    c: np.ndarray  # (C,), or (0,) without bias
    dense: np.ndarray
    cell_start: int


# Rows are packed tokens (see recurrence.py): N tokens of a batch, M threads of the team, as many groups of sequences,
# P parts of the words, L layers, S parts of a state, A of aux, E numbers of an embedding, or 0.


class Rows(NamedTuple):
    """Where the packed rows come from."""

    origin: np.ndarray  # int64[N]: where the row's token stands in the corpus
    tokens: np.ndarray  # int32[N]
    targets: np.ndarray  # int32[N]
    starts: np.ndarray  # int64[M, steps + 1]: first row of each step of a group


class States(NamedTuple):
    """What the forward pass leaves behind."""

    embeddings: np.ndarray  # (N, E)
    prev: np.ndarray  # (L, N, S*H): state before the step
    gates: np.ndarray  # (L, N, G*H)
    aux: np.ndarray  # (L, N, A*H)
    state: np.ndarray  # (L, N, S*H): state after the step, h first
    x: np.ndarray  # (L - 1 or L, N, H): h of each layer as the one above sees it; the last one's only with dropout
    initial: np.ndarray  # (L, B or 0, S*H): states that the sequences start from
    final: np.ndarray  # (L, B or 0, S*H): states that they end in


class Deltas(NamedTuple):
    """Gradients of activations; no rows where nothing is learned. `slots`: a ring over the lags of truncated errors."""

    dh: np.ndarray  # (N, H): in: dL/dh from the output layer; overwritten with dL/dh of each lower layer in turn
    d_embeddings: np.ndarray  # (N, E): dL/d(embeddings)
    da: np.ndarray  # (L, N, G*H): dL/d(gates before their nonlinearities)
    WT: np.ndarray  # (L, rows, PANEL_WIDTH): W^T packed in panels; like packing uint32 in bfloat16
    inputsT: np.ndarray  # (rows, PANEL_WIDTH): the transposes of the layers' own matrices, likewise
    carry: np.ndarray  # (M, L, slots, rows, S*H): dL/dstate carried back through time, by lag
    scratch: np.ndarray  # (M, rows, G*H)
    dx: np.ndarray  # (M, rows, H)
    dx_embeddings: np.ndarray  # (M, rows, E)
    packing: np.ndarray  # (M, packing.token_sum_size(H or E, G*H))
    final: np.ndarray  # (L, B or 0, S*H): errors of the last states
    initial: np.ndarray  # (L, B or 0, S*H): those of the states that the sequences start from


class Sparse(NamedTuple):
    """The gradient of U, in the rows of the words that occur."""

    dU_row: np.ndarray  # int32[words]: a word's row of dU, -1 for none
    words: np.ndarray  # int32[<= N]: the words that occur, by row of dU
    dU: np.ndarray  # (<= N, D)


class Workspace(NamedTuple):
    """Scratch memory of the kernels, all overwritten. In small groups: every array passed on costs compile time."""

    cell: tuple  # the model's, with W packed in panels
    inputs: np.ndarray  # the model's, packed in panels
    rows: Rows
    states: States
    softmax: tuple  # memory of the output layer, see layers/output.py
    deltas: Deltas
    sparse: Sparse
    partial: np.ndarray  # float64[M, 8]: parts of a sum
    constants: np.ndarray  # (M, 2, 8): constants of the optimiser, for the dense parameters and for U


class Sizes(NamedTuple):
    """How much memory a network's kernels need."""

    n_threads: int
    tokens: int  # at most in a batch
    steps: int  # at most of a sequence
    sequences: int  # at most in a batch
    learn: bool  # gradients too
    truncate: int = -1
    carried: int = 0  # sequences that start from states, or whose last states are asked for
    carried_deltas: int = 0  # sequences whose states' errors come from elsewhere, or are asked for
    dropout: bool = False
    bfloat16: bool = False  # large products of such factors
    strata: Strata | None = None  # learn on words drawn from these


def allocate(model, U, sizes):
    """A `Workspace` for batches of at most the given sizes.

    The arrays of `model.cell` but W are shared, W and `model.inputs` are copied into panels by the kernels.
    """
    L, H, columns = model.cell.W.shape
    C, D, N, M, dtype = len(model.V), U.shape[1], sizes.tokens, sizes.n_threads, model.V.dtype
    S, A, E = model.cell.STATES, model.cell.AUX, len(model.inputs) - (L - 1) * H
    group, learn = -(-sizes.sequences // M), int(sizes.learn)  # learn times a size is that size, or 0
    slots = min(sizes.truncate + 1, sizes.steps) if sizes.truncate >= 0 else 1
    occurring = learn * min(N, len(U))

    def real(*shape):
        return np.empty(shape, dtype)

    rows = Rows(
        np.empty(N, np.int64), np.empty(N, np.int32), np.empty(N, np.int32), np.empty((M, sizes.steps + 1), np.int64)
    )
    states = States(
        embeddings=real(N, E), prev=real(L, N, S * H), gates=real(L, N, columns), aux=real(L, N, A * H),
        state=real(L, N, S * H), x=real(L - 1 + sizes.dropout, N, H), initial=real(L, sizes.carried, S * H),
        final=real(L, sizes.carried, S * H),
    )  # fmt: skip
    if sizes.strata is not None:
        softmax = allocate_sampled(model, sizes.strata, N, M, sizes.bfloat16)
    else:
        softmax = allocate_softmax(C, H, N, M, learn, dtype, sizes.bfloat16)
    packed_dtype = np.dtype(np.uint32) if sizes.bfloat16 else dtype
    inputs_T = packed_rows(columns, E, packed_dtype) + (L - 1) * packed_rows(columns, H, packed_dtype)
    deltas = Deltas(
        dh=real(learn * N, H), d_embeddings=real(learn * N, E), da=real(L, learn * N, columns),
        WT=np.empty((L, learn * packed_rows(columns, H, packed_dtype), PANEL_WIDTH), packed_dtype),
        inputsT=np.empty((learn * inputs_T, PANEL_WIDTH), packed_dtype),
        carry=real(learn * M, L, slots, group, S * H), scratch=real(learn * M, group, columns),
        dx=real(learn * M, group, H), dx_embeddings=real(learn * M, group, E),
        packing=np.empty((learn * M, token_sum_size(max(H, E), columns)), packed_dtype),
        final=real(L, sizes.carried_deltas, S * H), initial=real(L, sizes.carried_deltas, S * H),
    )  # fmt: skip
    sparse = Sparse(np.full(learn * len(U), -1, np.int32), np.empty(occurring, np.int32), real(occurring, D))
    cell, inputs = allocate_packed(model, packed_dtype)
    return Workspace(cell, inputs, rows, states, softmax, deltas, sparse, np.zeros((M, 8)), real(M, 2, 8))


def allocate_packed(model, dtype=None):
    """Memory for W, in a cell's tuple, and `inputs` packed in panels of the given dtype, by default the model's."""
    dtype = model.V.dtype if dtype is None else dtype
    L, H, columns = model.cell.W.shape
    W = np.empty((L, packed_rows(H, columns, dtype), PANEL_WIDTH), dtype)
    E = len(model.inputs) - (L - 1) * H
    rows = packed_rows(E, columns, dtype) + (L - 1) * packed_rows(H, columns, dtype)
    return model.cell._replace(W=W), np.empty((rows, PANEL_WIDTH), dtype)

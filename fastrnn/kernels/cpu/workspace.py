"""What the kernels are given: the model, the data and the memory they work in, as named tuples of arrays."""

from typing import NamedTuple

import numpy as np

from ..linalg.gemm import PANEL
from ..linalg.packing import panel_rows, token_sum_size
from .layers.softmax_blocks import TOKENS, WORDS, word_parts


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


# Rows are packed tokens (see recurrence.py): N tokens of a batch, M members of the team, as many groups of sequences,
# P parts of the words, L layers, S parts of a state, A of aux, E numbers of an embedding, or 0.


class Rows(NamedTuple):
    """Where the packed rows come from."""

    origin: np.ndarray  # int64[N]: where the row's token stands in the corpus
    tokens: np.ndarray  # int32[N]
    targets: np.ndarray  # int32[N]
    starts: np.ndarray  # int64[M, steps + 1]: first row of each step of a group


class States(NamedTuple):
    """What the forward pass leaves behind."""

    words: np.ndarray  # (N, E): embeddings
    prev: np.ndarray  # (L, N, S*H): state before the step
    gates: np.ndarray  # (L, N, G*H)
    aux: np.ndarray  # (L, N, A*H)
    state: np.ndarray  # (L, N, S*H): state after the step, h first
    x: np.ndarray  # (L - 1 or L, N, H): h of each layer as the one above sees it; the last one's only with dropout
    initial: np.ndarray  # (L, B or 0, S*H): states that the sequences start from
    final: np.ndarray  # (L, B or 0, S*H): states that they end in


class Softmax(NamedTuple):
    """The output layer's memory; of one block of tokens, but for nll."""

    nll: np.ndarray  # (N,): cross-entropy of each row, nats
    e: np.ndarray  # (C * TOKENS,): exponentials, in rows of softmax.row_length(tokens of the block)
    hT: np.ndarray  # (M, H * TOKENS): states, transposed
    reference: np.ndarray  # (P, TOKENS): what is subtracted from the logits of a part of the words
    total: np.ndarray  # (P, TOKENS): sum of its exponentials
    log_sum: np.ndarray  # (TOKENS,): ln sum exp(logit) over all words
    finite: np.ndarray  # int64[1]: whether all of log_sum were, in the last block
    target_logit: np.ndarray  # (TOKENS,)
    factor: np.ndarray  # (P, TOKENS): probability over exponential, times the gradient's scale
    scaled: np.ndarray  # (M, TOKENS, H): states times that
    part: np.ndarray  # (P, TOKENS or 0, H): each part of V^T e
    best: np.ndarray  # int32[P, TOKENS]: most probable of a part's words


class BFloat16Softmax(NamedTuple):
    """The same with factors in bfloat16, two in a uint32: of tokens 2 k and 2 k + 1, of units or words likewise."""

    nll: np.ndarray
    e: np.ndarray  # uint32[(C + 1) * TOKENS // 2]: exponentials, of two tokens
    hT: np.ndarray  # uint32[M, (H + 1) // 2 * TOKENS]: states, transposed, of two units
    reference: np.ndarray
    total: np.ndarray
    log_sum: np.ndarray
    finite: np.ndarray
    target_logit: np.ndarray
    factor: np.ndarray
    scaled: np.ndarray  # uint32[M, TOKENS // 2, H]: of two tokens
    part: np.ndarray
    V: np.ndarray  # uint32[C, (H + 1) // 2]: of two units
    V_words: np.ndarray  # uint32[(C + 1) // 2, H]: of two words
    z: np.ndarray  # (M, WORDS * TOKENS): logits of a sub-block
    e_words: np.ndarray  # uint32[M, WORDS // 2 * TOKENS]: its exponentials, of two words
    before: np.ndarray  # (M, TOKENS): sums before it
    factors: np.ndarray  # uint32[M, TOKENS // 2]: factor, of two tokens


class Errors(NamedTuple):
    """What the backward pass works in; no rows where nothing is learned. `slots` are the ages of truncated errors."""

    dh: np.ndarray  # (N, H): dL/dh as the output layer sees it, then as each layer above does
    dwords: np.ndarray  # (N, E): dL/d(embeddings)
    da: np.ndarray  # (L, N, G*H): dL/d(gates before their nonlinearities)
    WT: np.ndarray  # (L, rows, PANEL): W^T in panels; like packing uint32 in bfloat16
    inputsT: np.ndarray  # (rows, PANEL): the transposes of the layers' own matrices, likewise
    carry: np.ndarray  # (M, L, slots, rows, S*H): errors on their way back, by age
    scratch: np.ndarray  # (M, rows, G*H)
    dx: np.ndarray  # (M, rows, H)
    dx_words: np.ndarray  # (M, rows, E)
    packing: np.ndarray  # (M, panels.token_sum_size(H or E, G*H))
    final: np.ndarray  # (L, B or 0, S*H): errors of the last states
    initial: np.ndarray  # (L, B or 0, S*H): those of the states that the sequences start from


class Sparse(NamedTuple):
    """The gradient of U, in the rows of the words that occur."""

    slot: np.ndarray  # int32[words]: row of dU that belongs to a word, -1 for none
    words: np.ndarray  # int32[<= N]: the words that occur, by row of dU
    dU: np.ndarray  # (<= N, D)


class Work(NamedTuple):
    """Scratch memory of the kernels, all overwritten. In small groups: every array passed on costs compile time."""

    cell: tuple  # the model's, with W in panels
    inputs: np.ndarray  # the model's, in panels
    rows: Rows
    states: States
    softmax: Softmax  # or BFloat16Softmax
    errors: Errors
    sparse: Sparse
    partial: np.ndarray  # float64[M, 8]: parts of a sum
    constants: np.ndarray  # (M, 2, 8): constants of the optimiser, for the dense parameters and for U


class Sizes(NamedTuple):
    """How much memory a network's kernels need."""

    members: int
    tokens: int  # at most in a batch
    steps: int  # at most of a sequence
    sequences: int  # at most in a batch
    learn: bool  # gradients too
    truncate: int = -1
    carried: int = 0  # sequences that start from states, or whose last states are asked for
    carried_errors: int = 0  # sequences whose states' errors come from elsewhere, or are asked for
    dropout: bool = False
    bfloat16: bool = False  # large products of such factors


def allocate(model, U, sizes):
    """A `Work` for batches of at most the given sizes.

    The arrays of `model.cell` but W are shared, W and `model.inputs` are copied into panels by the kernels.
    """
    L, H, columns = model.cell.W.shape
    C, D, N, M, dtype = len(model.V), U.shape[1], sizes.tokens, sizes.members, model.V.dtype
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
        words=real(N, E), prev=real(L, N, S * H), gates=real(L, N, columns), aux=real(L, N, A * H),
        state=real(L, N, S * H), x=real(L - 1 + sizes.dropout, N, H), initial=real(L, sizes.carried, S * H),
        final=real(L, sizes.carried, S * H),
    )  # fmt: skip
    make_softmax = _bfloat16_softmax if sizes.bfloat16 else _softmax
    softmax = make_softmax(C, H, N, M, learn, real)
    packed = np.dtype(np.uint32) if sizes.bfloat16 else dtype
    inputs_T = panel_rows(columns, E, packed) + (L - 1) * panel_rows(columns, H, packed)
    errors = Errors(
        dh=real(learn * N, H), dwords=real(learn * N, E), da=real(L, learn * N, columns),
        WT=np.empty((L, learn * panel_rows(columns, H, packed), PANEL), packed),
        inputsT=np.empty((learn * inputs_T, PANEL), packed),
        carry=real(learn * M, L, slots, group, S * H), scratch=real(learn * M, group, columns),
        dx=real(learn * M, group, H), dx_words=real(learn * M, group, E),
        packing=np.empty((learn * M, token_sum_size(max(H, E), columns)), packed),
        final=real(L, sizes.carried_errors, S * H), initial=real(L, sizes.carried_errors, S * H),
    )  # fmt: skip
    sparse = Sparse(np.full(learn * len(U), -1, np.int32), np.empty(occurring, np.int32), real(occurring, D))
    cell, inputs = panels_like(model, packed)
    return Work(cell, inputs, rows, states, softmax, errors, sparse, np.zeros((M, 8)), real(M, 2, 8))


def _softmax(C, H, N, M, learn, real):
    P = word_parts(C, M)
    return Softmax(
        nll=real(N), e=real(C * TOKENS), hT=real(M, H * TOKENS), reference=real(P, TOKENS), total=real(P, TOKENS),
        log_sum=real(TOKENS), finite=np.ones(1, np.int64), target_logit=real(TOKENS), factor=real(P, TOKENS),
        scaled=real(learn * M, TOKENS, H), part=real(P, learn * TOKENS, H), best=np.empty((P, TOKENS), np.int32),
    )  # fmt: skip


def _bfloat16_softmax(C, H, N, M, learn, real):
    units, words, tokens, P = (H + 1) // 2, (C + 1) // 2, TOKENS // 2, word_parts(C, M)

    def twos(*shape):
        return np.empty(shape, np.uint32)

    return BFloat16Softmax(
        nll=real(N), e=twos((C + 1) * tokens), hT=twos(M, units * TOKENS), reference=real(P, TOKENS),
        total=real(P, TOKENS), log_sum=real(TOKENS), finite=np.ones(1, np.int64), target_logit=real(TOKENS),
        factor=real(P, TOKENS), scaled=twos(learn * M, tokens, H), part=real(P, learn * TOKENS, H),
        V=twos(C, units), V_words=twos(words, H), z=real(M, WORDS * TOKENS), e_words=twos(M, WORDS // 2 * TOKENS),
        before=real(M, TOKENS), factors=twos(M, tokens),
    )  # fmt: skip


def panels_like(model, dtype=None):
    """Memory for W, in a cell's tuple, and `inputs` in panels of the given dtype, by default the model's."""
    dtype = model.V.dtype if dtype is None else dtype
    L, H, columns = model.cell.W.shape
    W = np.empty((L, panel_rows(H, columns, dtype), PANEL), dtype)
    E = len(model.inputs) - (L - 1) * H
    rows = panel_rows(E, columns, dtype) + (L - 1) * panel_rows(H, columns, dtype)
    return model.cell._replace(W=W), np.empty((rows, PANEL), dtype)

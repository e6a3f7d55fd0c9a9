"""What the kernels are given: the model, the data and the memory they work in, as named tuples of arrays."""

from typing import NamedTuple

import numpy as np

from .gemm import PANEL, panel_rows, token_sum_size
from .output import TOKENS


class Model(NamedTuple):
    """Parameters of a network, or their gradients. C words, H units, G gates.

    `dense` is one flat array of which V, c and the cell's arrays are views: V and c first, the cell's from
    `cell_start` on.
    """

    cell: tuple  # a cell's own tuple: W (H, G*H), b, ...
    V: np.ndarray  # (C, H)
    c: np.ndarray  # (C,), or (0,) without bias
    dense: np.ndarray
    cell_start: int


class Segments(NamedTuple):
    """Pieces of a corpus: piece s is x[begin[s] : begin[s] + length[s]], and y likewise."""

    x: np.ndarray  # int32[N]
    y: np.ndarray  # int32[N]
    begin: np.ndarray  # int64[B]
    length: np.ndarray  # int64[B], at least 1


# Rows are packed tokens (see recurrence.py): N tokens of a batch, M members of the team, S parts of a state,
# A of aux.


class Rows(NamedTuple):
    """Where the packed rows come from."""

    origin: np.ndarray  # int64[N]: where the row's token stands in the corpus
    tokens: np.ndarray  # int32[N]
    targets: np.ndarray  # int32[N]
    starts: np.ndarray  # int64[M, steps + 1]: first row of each step of a member's group


class States(NamedTuple):
    """What the forward pass leaves behind."""

    prev: np.ndarray  # (N, S*H): state before the step
    gates: np.ndarray  # (N, G*H)
    aux: np.ndarray  # (N, A*H)
    state: np.ndarray  # (N, S*H): state after the step, h first
    initial: np.ndarray  # (B or 0, S*H): states that the sequences start from
    final: np.ndarray  # (B or 0, S*H): states that they end in


class Softmax(NamedTuple):
    """The output layer's memory; of one block of tokens, but for nll."""

    nll: np.ndarray  # (N,): cross-entropy of each row, nats
    e: np.ndarray  # (C * TOKENS,): exponentials, in rows of output.row_length(tokens of the block)
    hT: np.ndarray  # (M, H * TOKENS): states, transposed
    reference: np.ndarray  # (M, TOKENS): what a member subtracts from its logits
    total: np.ndarray  # (M, TOKENS): sum of its exponentials
    log_sum: np.ndarray  # (M, TOKENS)
    target_logit: np.ndarray  # (TOKENS,)
    factor: np.ndarray  # (M, TOKENS): probability over exponential, times the gradient's scale
    scaled: np.ndarray  # (M, TOKENS, H): states times that
    part: np.ndarray  # (M, TOKENS, H): each member's part of dh
    best: np.ndarray  # int32[M, TOKENS]: most probable of the member's words


class Errors(NamedTuple):
    """What the backward pass works in; no rows where nothing is learned."""

    dh: np.ndarray  # (N, H): dL/dh as the output layer sees it
    da: np.ndarray  # (N, G*H): dL/d(gates before their nonlinearities)
    WT: np.ndarray  # W^T in panels
    carry: np.ndarray  # (M, slots, rows, S*H): errors on their way back, by age
    scratch: np.ndarray  # (M, rows, G*H)
    packing: np.ndarray  # (M, gemm.token_sum_size(H, G*H))


class Sparse(NamedTuple):
    """The gradient of U, in the rows of the words that occur."""

    slot: np.ndarray  # int32[C]: row of dU that belongs to a word, -1 for none
    words: np.ndarray  # int32[<= N]: the words that occur, by row of dU
    dU: np.ndarray  # (<= N, G*H)


class Work(NamedTuple):
    """Scratch memory of the kernels, all overwritten. In small groups: every array passed on costs compile time."""

    cell: tuple  # the model's, with W in panels
    rows: Rows
    states: States
    softmax: Softmax
    errors: Errors
    sparse: Sparse
    partial: np.ndarray  # float64[M, 8]: each member's part of a sum
    constants: np.ndarray  # (M, 2, 8): constants of the optimiser, for the dense parameters and for U


def allocate(cell, vocab_size, *, members, tokens, steps, sequences, learn, truncate=-1, states=0):
    """Memory for batches of at most the given size, with `learn` for gradients too, and for `states` carried states.

    `cell` is the model's tuple: its W is copied into panels by the kernels, the rest is shared.
    """
    C, H, N, M, dtype = vocab_size, len(cell.W), tokens, members, cell.W.dtype
    G, S, A = cell.GATES, cell.STATES, cell.AUX
    group = -(-sequences // M)
    slots = min(truncate + 1, steps) if truncate >= 0 else 1
    # learn: 1 or 0 times a size
    occurring = learn * min(N, C)

    def real(*shape):
        return np.empty(shape, dtype)

    rows = Rows(np.empty(N, np.int64), np.empty(N, np.int32), np.empty(N, np.int32), np.empty((M, steps + 1), np.int64))
    flow = States(
        prev=real(N, S * H), gates=real(N, G * H), aux=real(N, A * H), state=real(N, S * H),
        initial=real(states, S * H), final=real(states, S * H),
    )  # fmt: skip
    softmax = Softmax(
        nll=real(N), e=real(C * TOKENS), hT=real(M, H * TOKENS), reference=real(M, TOKENS), total=real(M, TOKENS),
        log_sum=real(M, TOKENS), target_logit=real(TOKENS), factor=real(M, TOKENS), scaled=real(learn * M, TOKENS, H),
        part=real(learn * M, TOKENS, H), best=np.empty((M, TOKENS), np.int32),
    )  # fmt: skip
    errors = Errors(
        dh=real(learn * N, H), da=real(learn * N, G * H), WT=real(learn * panel_rows(G * H, H), PANEL),
        carry=real(learn * M, slots, group, S * H), scratch=real(learn * M, group, G * H),
        packing=real(learn * M, token_sum_size(H, G * H)),
    )  # fmt: skip
    sparse = Sparse(np.full(learn * C, -1, np.int32), np.empty(occurring, np.int32), real(occurring, G * H))
    packed = cell._replace(W=real(panel_rows(H, G * H), PANEL))
    return Work(packed, rows, flow, softmax, errors, sparse, np.zeros((M, 8)), real(M, 2, 8))

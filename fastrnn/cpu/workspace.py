"""What the kernels are given: the model, the data and the memory they work in, as named tuples of arrays."""

from typing import NamedTuple

import numpy as np

from .output import TOKENS, WORDS


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
    z: np.ndarray  # (C, TOKENS): logits
    hT: np.ndarray  # (M, H, TOKENS): states, transposed
    dhT: np.ndarray  # (M, H, TOKENS): each member's part of dh
    top: np.ndarray  # (M, TOKENS): largest logit of the member's words
    total: np.ndarray  # (M, TOKENS): sum of exp(logit - top)
    log_sum: np.ndarray  # (M, TOKENS)
    reference: np.ndarray  # (M, sub-blocks, TOKENS): what was subtracted in exp(logit - reference)
    target_logit: np.ndarray  # (TOKENS,)
    best: np.ndarray  # int32[M, TOKENS]: most probable of the member's words


class Errors(NamedTuple):
    """What the backward pass works in; no rows where nothing is learned."""

    dh: np.ndarray  # (N, H): dL/dh as the output layer sees it
    da: np.ndarray  # (N, G*H): dL/d(gates before their nonlinearities)
    WT: np.ndarray  # (G*H, H)
    carry: np.ndarray  # (M, slots, rows, S*H): errors on their way back, by age
    scratch: np.ndarray  # (M, rows, G*H)


class Sparse(NamedTuple):
    """The gradient of U, in the rows of the words that occur."""

    slot: np.ndarray  # int32[C]: row of dU that belongs to a word, -1 for none
    words: np.ndarray  # int32[<= N]: the words that occur, by row of dU
    dU: np.ndarray  # (<= N, G*H)


class Work(NamedTuple):
    """Scratch memory of the kernels, all overwritten. In small groups: every array passed on costs compile time."""

    rows: Rows
    states: States
    softmax: Softmax
    errors: Errors
    sparse: Sparse
    partial: np.ndarray  # float64[M, 8]: each member's part of a sum
    constants: np.ndarray  # (M, 8): constants of the optimiser


def allocate(
    cell_class, vocab_size, hidden_dim, dtype, *, members, tokens, steps, sequences, learn, truncate=-1, states=0
):
    """Memory for batches of at most the given size, with `learn` for gradients too, and for `states` carried states."""
    C, H, N, M = vocab_size, hidden_dim, tokens, members
    G, S, A = cell_class.GATES, cell_class.STATES, cell_class.AUX
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
        nll=real(N), z=real(C, TOKENS), hT=real(M, H, TOKENS), dhT=real(learn * M, H, TOKENS), top=real(M, TOKENS),
        total=real(M, TOKENS), log_sum=real(M, TOKENS), reference=real(M, -(-C // WORDS), TOKENS),
        target_logit=real(TOKENS), best=np.empty((M, TOKENS), np.int32),
    )  # fmt: skip
    errors = Errors(
        dh=real(learn * N, H), da=real(learn * N, G * H), WT=real(learn * G * H, H),
        carry=real(learn * M, slots, group, S * H), scratch=real(learn * M, group, G * H),
    )  # fmt: skip
    sparse = Sparse(np.full(learn * C, -1, np.int32), np.empty(occurring, np.int32), real(occurring, G * H))
    return Work(rows, flow, softmax, errors, sparse, np.zeros((M, 8)), real(M, 8))

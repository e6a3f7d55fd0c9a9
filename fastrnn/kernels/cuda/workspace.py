"""What the kernels are given: arrays on the device, as named tuples. The names are those of `cpu.workspace`.

N tokens of a batch stand in packed rows, step after step, within a step the longest sequence first; nothing is padded:

    rows of step t:  starts[t] ... starts[t+1] - 1;   sequence b of the batch at step t:  row starts[t] + b

All batches of a call lie one behind the other in the arrays of `RowLayout`, and a kernel is told where its batch
begins.
"""

from typing import NamedTuple

from .driver import empty
from .linalg.gemm import TILE, scratch_size


class RowLayout(NamedTuple):
    """The rows of several batches; all int32, on the device."""

    tokens: object  # (rows of all batches,): the word read at each row
    targets: object  # (rows,): the word to predict
    origin: object  # (rows,): where the row's token stands in the corpus
    starts: object  # (steps + 1 of every batch,): first row of each step, from 0 in every batch
    by_word: object  # (rows,): the batch's rows (from 0), sorted by their token, equal ones in order
    words: object  # (words that occur in each batch,): ascending
    word_starts: object  # (occurring + 1 of every batch,): where a word's rows begin in by_word, from 0 in every batch


class Batch(NamedTuple):
    """One batch: where it stands in the arrays of a layout, and its sizes, as Python ints."""

    layout: RowLayout
    row0: int  # into tokens, targets, origin, by_word
    step0: int  # into starts
    word0: int  # into words
    mark0: int  # into word_starts
    count: int  # N: tokens
    steps: int  # T: of its longest sequence
    sequences: int  # B
    occurring: int  # words that occur


class States(NamedTuple):
    """What the forward pass leaves behind; L layers, S parts of a state, A of aux, E numbers of an embedding or 0."""

    embeddings: object  # (N, E): after dropout
    prev: object  # (L, N, S*H): state before the step
    gates: object  # (L, N, G*H)
    aux: object  # (L, N, A*H)
    state: object  # (L, N, S*H): state after the step, h first
    x: object  # (L - 1 or L, N, H): h of each layer as the one above sees it; the last one's only with dropout
    initial: object  # (L, B or 0, S*H): states that the sequences start from
    final: object  # (L, B or 0, S*H): states that they end in
    tf32: bool = False  # of the layers' products over all tokens, forward and back, see `product`


class Deltas(NamedTuple):
    """Gradients of activations, of the backward pass; K lags of truncated errors, 1 where nothing is truncated."""

    dh: object  # (K, N, H): in: dL/dh from the output layer (lag 0); then that of each lower layer in turn, by lag
    d_embeddings: object  # (N, E): dL/d(embeddings)
    da: object  # (L, N, G*H): dL/d(gates before their nonlinearities), summed over lags
    by_lag: object  # (K, N, G*H), K = 0 where nothing is truncated: the same of one layer, by lag
    carry: object  # (K, B, S*H): errors on their way back through one layer
    final: object  # (L, B or 0, S*H): errors of the last states
    initial: object  # (L, B or 0, S*H): those of the states that the sequences start from


class Softmax(NamedTuple):
    """The output layer's memory; z is of one block of tokens."""

    nll: object  # (N,): cross-entropy of each row, nats
    z: object  # (tokens of a block, C): logits, then their errors
    part: object  # (n,): parts of sums over words or tokens, of one product at a time
    tf32: bool = False  # of all its products


class Workspace(NamedTuple):
    """Memory of the kernels, all overwritten."""

    states: States
    softmax: Softmax
    deltas: Deltas
    dU: object  # (at most N, D): gradient of U, in the order of the batch's words; no rows where U is V
    partial: object  # float64: parts of sums
    status: object  # int64[2]: batches done; whether a loss or gradient was not finite


class Sizes(NamedTuple):
    """How much memory a network's kernels need."""

    tokens: int  # at most in a batch
    steps: int  # at most of a sequence
    sequences: int  # at most in a batch
    learn: bool  # gradients too
    truncate: int = -1
    carried: int = 0  # sequences that start from states, or whose last states are asked for
    carried_deltas: int = 0  # sequences whose states' errors come from elsewhere, or are asked for
    dropout: bool = False
    words: int = 0  # at most that occur in a batch; 0 where nothing is learned
    tf32: bool = False  # products on tensor cores


# Numbers of z: 32 MB in float32, which stay in the cache of a large GPU.
BLOCK_LOGITS = 1 << 23
MAX_TOKENS = 4096  # of a block
PARTIALS = 1024  # parts of a sum, at most one a block


def block_tokens(C, tokens):
    """Tokens whose logits are held at a time."""
    return max(1, min(tokens, BLOCK_LOGITS // max(C, 1), MAX_TOKENS))


def _scratch(model, E, tokens, block):
    """Elements that the split sums of any of the products of training need: E is the width of an embedding, or 0."""
    (L, H, columns), C = model.cell.W.shape, model.V.shape[0]
    dh = [scratch_size(n, H, C) for n in (*range(TILE, block, TILE), block)]  # fewer rows are split into more parts
    sums = [(C, H, block, C)] + [(H, gates, tokens, gates) for gates in range(H, columns + 1, H)]
    sums += [(width, columns, tokens) for width in (E, H if L > 1 else 0) if width > 0]
    return max(*dh, *(scratch_size(*shape) for shape in sums))


def allocate(model, U, sizes):
    """A `Workspace` for batches of at most the given sizes; `model` and U are on the device."""
    L, H, columns = model.cell.W.shape
    C, D, N, B, dtype = model.V.shape[0], U.shape[1], sizes.tokens, sizes.sequences, model.V.dtype
    S, A, E = model.cell.STATES, model.cell.AUX, model.inputs.shape[0] - (L - 1) * H
    learn, truncated = int(sizes.learn), int(sizes.truncate >= 0)  # a size times one of them is that size, or 0
    lags = min(sizes.truncate + 1, sizes.steps) if truncated else 1
    block = block_tokens(C, N)

    def real(*shape):
        return empty(shape, dtype)

    states = States(
        embeddings=real(N, E), prev=real(L, N, S * H), gates=real(L, N, columns), aux=real(L, N, A * H),
        state=real(L, N, S * H), x=real(L - 1 + sizes.dropout, N, H), initial=real(L, sizes.carried, S * H),
        final=real(L, sizes.carried, S * H), tf32=sizes.tf32,
    )  # fmt: skip
    softmax = Softmax(
        nll=real(N), z=real(block, C), part=real(learn * _scratch(model, E, N, block)), tf32=sizes.tf32
    )  # fmt: skip
    deltas = Deltas(
        dh=real(lags, learn * N, H), d_embeddings=real(learn * N, E), da=real(L, learn * N, columns),
        by_lag=real(lags * truncated, learn * N, columns), carry=real(lags, learn * B, S * H),
        final=real(L, sizes.carried_deltas, S * H), initial=real(L, sizes.carried_deltas, S * H),
    )  # fmt: skip
    return Workspace(
        states, softmax, deltas, real(sizes.words, D), empty(PARTIALS, "f8"), empty(2, "i8")
    )  # fmt: skip

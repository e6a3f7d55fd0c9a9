"""Decoding: a group of streams, each fed one token a step, and the drawing of the tokens, all in compiled code.

The threads divide the words for all that is done once a word (logits, largest logit, exponentials) and the
streams for all that is done once a stream (the cell's step, the choice). Three barriers per step:

    logits of the thread's words, the largest of them      -> barrier
    weights exp((z - largest) / temperature), their sums   -> barrier
    choice, then the cell's step with what was chosen      -> barrier
"""

import math
from typing import NamedTuple

import numpy as np

from ...cells.interface import forward_step, layer_of
from ...compiler.jit import jit
from ...compiler.views import ravel
from ...linalg.bfloat16 import pack_bfloat16
from ...linalg.elementwise import exp
from ...linalg.gemm import PANEL_WIDTH
from ...linalg.gemv import matvec
from ...linalg.packing import packed_product
from ...threads import barrier_wait, partition
from ..layers.recurrence import copy, embed
from ..layers.stack import packed_range

# Words whose weights are summed together: the choice looks at the sums first, then into one block.
BLOCK = 64
# Streams below which the logits are sums along the units; more of them pay for a copy of V, transposed.
GEMM_MIN_ROWS = 8
# Words that are read for every one of few streams before the next words are: their rows of V stay in cache.
GEMV_BLOCK_WORDS = 512
# Weights relative to an excluded word's logit are used if the largest allowed one is at most this far below it.
MAX_LOGIT_GAP = 20
# Weights beside one of 1 that no uniform number can tell from 0; exp gives nothing less in float32.
MIN_WEIGHT = 1e-37
# Weights added up in the model's own dtype before their sum goes on in float64.
PARTIAL = 4096


class StreamStates(NamedTuple):
    """What a group of n streams carries from step to step."""

    state: np.ndarray  # (L, n, S*H): of every layer after the last token, h first
    token: np.ndarray  # int32[n]: the last token
    ended: np.ndarray  # bool[n]
    lengths: np.ndarray  # int64[n]: tokens drawn


# Memory of a step, all overwritten. M threads; row a is the a-th stream that has not ended.


class StepBuffers(NamedTuple):
    """What the steps of the cells work on, one layer after the other."""

    embeddings: np.ndarray  # (n, E)
    prev: np.ndarray  # (n, S*H)
    gates: np.ndarray  # (n, G*H)
    aux: np.ndarray  # (n, A*H)
    state: np.ndarray  # (n, S*H)


class VocabBuffers(NamedTuple):
    """Buffers with an element for every word, and their sums."""

    z: np.ndarray  # (n, C): logits
    weights: np.ndarray  # (n, C)
    sums: np.ndarray  # float64(n, blocks): of weights
    total: np.ndarray  # float64(M, n): sum of exp(z - largest logit) over the thread's words
    top: np.ndarray  # (M, n, 2): largest logit of the thread's words; of those that may be drawn
    bound: np.ndarray  # (M, 1): a weight
    bits: np.ndarray  # the same memory as integers


class SamplingBuffers(NamedTuple):
    """All memory of a step."""

    buffers: StepBuffers
    vocab: VocabBuffers
    active: np.ndarray  # int64[M, n]: streams that have not ended
    lanes: np.ndarray  # (M, 2, BLOCK): words.top on its way
    h: np.ndarray  # (M, n or 0, H): h of the streams, if they are many
    VT: np.ndarray  # V^T packed in panels, for many streams; no rows for few


class SamplingParams(NamedTuple):
    """How tokens are drawn."""

    allowed: np.ndarray  # bool(2, C): what may be drawn [0] before min_length is reached, [1] from there on
    min_length: int
    end: int  # index that ends a stream, -1 for none
    temperature: float
    inverse: np.floating  # 1 / temperature, of the model's dtype; finite
    top_k: int  # 0 for none
    top_p: float  # 1 for none


def allocate(model, VT, n_threads, n):
    """n new streams and the memory of their steps; VT is `packed_transpose` of V where n >= GEMM_MIN_ROWS."""
    C, M, dtype = len(model.V), n_threads, model.V.dtype
    L, H, S = len(model.cell.W), model.V.shape[1], model.cell.STATES

    def real(*shape):
        return np.empty(shape, dtype)

    bound = real(M, 1)
    streams = StreamStates(
        np.zeros((L, n, S * H), dtype), np.zeros(n, np.int32), np.zeros(n, np.bool_), np.zeros(n, np.int64)
    )
    vocab = VocabBuffers(
        z=real(n, C), weights=real(n, C), sums=np.empty((n, -(-C // BLOCK))),
        total=np.empty((M, n)), top=real(M, n, 2),
        bound=bound, bits=bound.view(f"i{bound.itemsize}"),
    )  # fmt: skip
    h = real(M, n if n >= GEMM_MIN_ROWS else 0, H)
    return streams, SamplingBuffers(
        allocate_step_buffers(model, n), vocab, np.empty((M, n), np.int64), real(M, 2, BLOCK), h, VT
    )


def allocate_step_buffers(model, n):
    """Memory for the steps of n rows."""
    L, H, columns = model.cell.W.shape
    S, A, E, dtype = model.cell.STATES, model.cell.AUX, len(model.inputs) - (L - 1) * H, model.V.dtype
    return StepBuffers(*(np.empty((n, width), dtype) for width in (E, S * H, columns, A * H, S * H)))


def packed_transpose(V, bfloat16=False):
    """V^T packed in panels, as `packing.pack_transposed` lays them; in NumPy, since it is done once a search."""
    C, H = V.shape
    padded = np.zeros((-(-C // PANEL_WIDTH) * PANEL_WIDTH, H + H % 2 if bfloat16 else H), V.dtype)
    padded[:C, :H] = V
    packed = padded.reshape(-1, PANEL_WIDTH, padded.shape[1]).transpose(0, 2, 1)
    packed = pack_bfloat16(packed[:, ::2], packed[:, 1::2]) if bfloat16 else packed
    return np.ascontiguousarray(packed).reshape(-1, PANEL_WIDTH)


@jit
def draw(thread, n_threads, barrier, model, U, streams, scratch, params, prompt, uniforms, drawn, log_p):
    """Feed a prompt to the first stream, then draw a token for every stream that has not ended, again and again.

    Parameters
    ----------
    prompt : int32[P]
        May be empty.
    uniforms : float64[steps, n]
        In [0, 1): what decides each stream's draw at each step.
    drawn, log_p : int32, float64 (n, longest)
        The tokens drawn and their ln p under the model, nats; written from streams.lengths on.
    """
    vocab, active = scratch.vocab, scratch.active[thread]
    if thread == 0:
        active[0] = 0
        for token in prompt:
            streams.token[0] = token
            step_rows(model, U, scratch.buffers, 0, streams.token, streams.state, active[:1], streams.state, active[:1])
    barrier_wait(barrier, n_threads)
    for step in range(len(uniforms)):
        n = _list_active(streams.ended, active)
        if n == 0:  # all threads see the same
            return
        allowed = params.allowed[0 if streams.lengths[active[0]] + 1 < params.min_length else 1]
        first, last = partition(thread, n_threads, len(model.V), BLOCK)
        _logits(
            model, scratch.VT, first, last, streams.state[len(streams.state) - 1], active[:n], vocab.z,
            scratch.h[thread],
        )  # fmt: skip
        for a in range(n):
            largest(vocab.z[a, first:last], allowed[first:last], scratch.lanes[thread], vocab.top[thread, a])
        barrier_wait(barrier, n_threads)
        for a in range(n):
            vocab.total[thread, a] = _tempered_weights(
                vocab.z[a, first:last], allowed[first:last], vocab.top[:, a], params.temperature, params.inverse,
                vocab.weights[a, first:last], vocab.sums[a, first // BLOCK :],
            )  # fmt: skip
        barrier_wait(barrier, n_threads)
        first, last = n * thread // n_threads, n * (thread + 1) // n_threads
        for a in range(first, last):
            s = active[a]
            token, score = _choose(thread, vocab, a, allowed, params, uniforms[step, s])
            streams.token[s] = token
            drawn[s, streams.lengths[s]], log_p[s, streams.lengths[s]] = token, score
            streams.lengths[s] += 1
            streams.ended[s] = token == params.end
        own = active[first:last]
        step_rows(model, U, scratch.buffers, first, streams.token, streams.state, own, streams.state, own)
        barrier_wait(barrier, n_threads)


@jit
def _list_active(ended, active):
    n = 0
    for s in range(len(ended)):
        if not ended[s]:
            active[n] = s
            n += 1
    return n


@jit
def step_rows(model, U, buffers, first, tokens, source, sources, target, targets):
    """All layers' steps of some rows, in the rows of `buffers` from `first` on; the weights are packed.

    Row i goes on from source[:, sources[i]] with the token tokens[targets[i]], and its states get to
    target[:, targets[i]]. source, target (L, any, S*H) may be the same if sources and targets are.
    """
    n, last = len(targets), first + len(targets)
    if n == 0:
        return
    L, columns, E, H = len(source), buffers.gates.shape[1], buffers.embeddings.shape[1], model.V.shape[1]
    prev, gates, state, width = buffers.prev, buffers.gates, buffers.state, buffers.state.shape[1]
    for layer in range(L):
        b = model.cell.b[layer]
        for i in range(n):
            row, token = first + i, tokens[targets[i]]
            copy(source[layer, sources[i]], prev[row])
            if layer > 0 or E > 0:
                if len(b) > 0:
                    copy(b, gates[row])
                if layer == 0:
                    copy(U[token], buffers.embeddings[row])
            else:
                embed(U, b, token, gates[row])
        if layer > 0 or E > 0:
            below, stride, depth = (ravel(state), width, H) if layer > 0 else (ravel(buffers.embeddings), E, E)
            start, end = packed_range(model.inputs, layer, E, H, columns)
            packed_product(
                below, first * stride, stride, model.inputs[start:end], depth, 0, depth, 0,
                columns, ravel(gates), first * columns, columns, n, len(b) > 0,
            )  # fmt: skip
        own = layer_of(model.cell, layer)
        forward_step(own, prev[first:last], gates[first:last], buffers.aux[first:last], state[first:last])
        for i in range(n):
            copy(state[first + i], target[layer, targets[i]])


@jit
def _logits(model, VT, first, last, state, active, z, h):
    """z of words first..last, for the active streams."""
    V, c, n, H, C = model.V, model.c, len(active), model.V.shape[1], z.shape[1]
    if n >= GEMM_MIN_ROWS:
        for a in range(n):
            copy(state[active[a]], h[a])
    step = GEMV_BLOCK_WORDS if n < GEMM_MIN_ROWS else PANEL_WIDTH
    for word in range(first, last, step):
        end = min(last, word + step)
        if n < GEMM_MIN_ROWS:
            for a in range(n):
                matvec(V[word:end], state[active[a]], z[a, word:end])
        else:
            packed_product(ravel(h), 0, H, VT, H, 0, H, word, end, ravel(z), word, C, n, False)
        if len(c) > 0:
            for a in range(n):
                row, bias = z[a, word:end], c[word:end]
                for i in range(end - word):
                    row[i] += bias[i]


@jit
def largest(z, allowed, lanes, top):
    """top = (the largest of z, the largest of those allowed). Lane by lane: a maximum of all would be scalar code."""
    every, possible = lanes[0], lanes[1]
    nothing = z.dtype.type(-np.inf)
    every[:], possible[:] = nothing, nothing
    for first in range(0, len(z), BLOCK):
        part, may = z[first : first + BLOCK], allowed[first : first + BLOCK]
        for i in range(len(part)):
            every[i] = max(every[i], part[i])
        for i in range(len(part)):
            possible[i] = max(possible[i], part[i] if may[i] else nothing)
    top[:] = nothing
    for i in range(BLOCK):
        top[0], top[1] = max(top[0], every[i]), max(top[1], possible[i])


@jit
def _tempered_weights(z, allowed, tops, temperature, inverse, weights, sums):
    """Weights of a thread's words of one stream, 0 where not allowed, and their sums by blocks.

    Returns the words' part of sum(exp(z - largest logit)), allowed or not and at temperature 1: what ln p needs.
    """
    top, possible, zero, least = tops[0, 0], tops[0, 1], z.dtype.type(0), z.dtype.type(MIN_WEIGHT)
    for other in range(1, len(tops)):
        top, possible = max(top, tops[other, 0]), max(possible, tops[other, 1])
    total, shared = 0.0, temperature == 1 and top < possible + MAX_LOGIT_GAP
    if temperature > 0:
        reference = top if shared else possible
        for i in range(len(z)):
            weights[i] = exp(min((z[i] - reference) * inverse, zero))  # above 0 only what is not allowed
        removed = zero
        for i in range(len(z)):
            removed += zero if allowed[i] else weights[i]
        for i in range(len(z)):
            weights[i] = weights[i] if allowed[i] and weights[i] > least else zero
        total = float(removed) + _sum_blocks(weights, sums)
    if not shared:
        total = 0.0
        for first in range(0, len(z), BLOCK):
            part, summed = z[first : first + BLOCK], zero
            for i in range(len(part)):
                summed += exp(part[i] - top)
            total += summed
    return total


@jit
def _sum_blocks(weights, sums):
    """The sums of every BLOCK weights, and of all."""
    total = 0.0
    for block, first in enumerate(range(0, len(weights), BLOCK)):
        part, summed = weights[first : first + BLOCK], weights.dtype.type(0)
        for i in range(len(part)):
            summed += part[i]
        sums[block] = summed
        total += summed
    return total


@jit
def _choose(thread, vocab, a, allowed, params, uniform):
    """The word drawn for row a, and its ln p under the model."""
    z, weights, sums = vocab.z[a], vocab.weights[a], vocab.sums[a]
    top, possible, total = vocab.top[0, a, 0], vocab.top[0, a, 1], 0.0
    for other in range(len(vocab.top)):
        top, possible = max(top, vocab.top[other, a, 0]), max(possible, vocab.top[other, a, 1])
        total += vocab.total[other, a]
    if params.temperature > 0:
        if params.top_k > 0 or params.top_p < 1:
            _truncate(weights, sums, params.top_k, params.top_p, vocab.bound[thread], vocab.bits[thread])
        word = _search(weights, sums, uniform)
    else:
        word = _first_equal(z, allowed, possible)
    if word < 0:  # the logits are not numbers: draw what may be drawn, its ln p is NaN
        for word in range(len(allowed)):
            if allowed[word]:
                break
    return word, float(z[word]) - float(top) - math.log(total)


@jit
def _first_equal(z, allowed, value):
    """The first allowed word with this logit, -1 if there is none."""
    for word in range(len(z)):
        if z[word] == value and allowed[word]:
            return word
    return -1


@jit
def _search(weights, sums, uniform):
    """The word in whose share of the weights' total the uniform number lies; -1 if no weight is positive."""
    total = 0.0
    for block in range(len(sums)):
        total += sums[block]
    left, found = uniform * total, -1
    for block in range(len(sums)):
        if sums[block] > 0:
            found = block
            if left < sums[block]:
                break
            left -= sums[block]
    if found < 0:
        return -1
    first, last, exact, word = found * BLOCK, min(len(weights), found * BLOCK + BLOCK), 0.0, -1
    for i in range(first, last):
        exact += weights[i]
    left *= exact / sums[found]  # the block's sum was rounded otherwise
    for i in range(first, last):
        if weights[i] > 0:
            word = i  # rounding may leave a crumb beyond the last: keep the last possible
            left -= weights[i]
            if left < 0:
                break
    return word


@jit
def _truncate(weights, sums, top_k, top_p, bound, bits):
    """Set to zero the weights below the k-th largest and those outside the nucleus; ties stay."""
    lowest = 0
    if top_k > 0:
        lowest = _lowest_weight_kept(weights, float(top_k), 0.0, bound, bits)
    if top_p < 1:
        total = 0.0
        for block in range(len(sums)):
            total += sums[block]
        lowest = max(lowest, _lowest_weight_kept(weights, 0.0, top_p * total, bound, bits))
    bits[0] = lowest
    least, zero = bound[0], weights.dtype.type(0)
    for i in range(len(weights)):
        weights[i] = weights[i] if weights[i] >= least else zero
    _sum_blocks(weights, sums)


@jit
def _lowest_weight_kept(weights, count, share, bound, bits):
    """The bits of a bound: the largest above which `count` weights lie at least, that add up to `share` at least.

    Floats that are not negative are ordered as their bits are as integers, so it is found by halving these; a bound
    with no weight between it and the true one will do.
    """
    low, high = 0, 1 << (8 * bits.itemsize - 2)  # the bits of 0 and of 2; no weight is larger than 1
    from_low, from_high = float(len(weights)), 0.0
    while from_low - from_high > 1 and high - low > 1:
        middle = low + (high - low) // 2
        bits[0] = middle
        counted, summed = _tail_sum(weights, bound[0])
        if counted >= count and summed >= share:
            low, from_low = middle, counted
        else:
            high, from_high = middle, counted
    return low


@jit
def _tail_sum(weights, bound):
    """Number and sum of the weights not below the bound. Four at once: each sum has to wait for the one before."""
    counted, summed, zero, one = 0.0, 0.0, weights.dtype.type(0), weights.dtype.type(1)
    for first in range(0, len(weights), PARTIAL):
        part = weights[first : first + PARTIAL]
        q = len(part) // 4
        a, b, c, d = part[:q], part[q : 2 * q], part[2 * q : 3 * q], part[3 * q : 4 * q]
        n0 = n1 = n2 = n3 = s0 = s1 = s2 = s3 = zero
        for i in range(q):
            n0 += one if a[i] >= bound else zero
            n1 += one if b[i] >= bound else zero
            n2 += one if c[i] >= bound else zero
            n3 += one if d[i] >= bound else zero
            s0 += a[i] if a[i] >= bound else zero
            s1 += b[i] if b[i] >= bound else zero
            s2 += c[i] if c[i] >= bound else zero
            s3 += d[i] if d[i] >= bound else zero
        for i in range(4 * q, len(part)):
            n0 += one if part[i] >= bound else zero
            s0 += part[i] if part[i] >= bound else zero
        counted += (n0 + n1) + (n2 + n3)
        summed += (s0 + s1) + (s2 + s3)
    return counted, summed

"""Beam search (Sutskever et al. 2014, section 3.2): many sentences at once, without ever holding all their logits.

A sentence has a beam of at most W live hypotheses. At each step every word is appended to each; of these the most
probable are kept, as many as the beam is wide. Those that end leave it, and it is narrower by their number.

There are slots for the beams of some sentences; as soon as one is done, another sentence takes its slot. A step is done
for the live hypotheses of all slots, which are packed rows: each goes on from its parent's row of the step before. Of
their logits only PANEL_WIDTH words of every row are held at a time, from which `candidates` takes what counts.

Either every thread searches sentences of its own without barriers, or, where there are few rows, all work
on the same ones: they divide the rows of the cell's step, the words, and the slots, with three barriers per step.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from ...compiler.jit import jit, overload
from ...compiler.views import ravel
from ...linalg.bfloat16 import pack_adjacent
from ...linalg.elementwise import exp
from ...linalg.gemm import PANEL_WIDTH, product
from ...linalg.gemv import matvec
from ...linalg.packing import packed_product
from ...threads import barrier_wait, partition
from ..layers.recurrence import copy
from . import top_k
from .sampling import GEMM_MIN_ROWS, StepBuffers, allocate_step_buffers, step_rows
from .top_k import Candidates, clear, log_sum_exp, update_top_k

ROW_BLOCK = 48  # rows that go through the cell's step together: their gates stay in cache


class BeamDecoder(NamedTuple):
    """One decoder; its words are padded up to a multiple of PANEL_WIDTH."""

    model: NamedTuple  # with its weights packed in panels
    U: np.ndarray
    VT: (
        np.ndarray
    )  # `sampling.packed_transpose` of V, uint32 if in bfloat16; no rows if never GEMM_MIN_ROWS are decoded
    bias: np.ndarray  # (padded C,): c, or 0; -inf for words that are none
    padding: np.ndarray  # (padded C,): 0; -inf for words that are none
    initial: np.ndarray  # (L, B, S*H): what each sentence starts from


class BeamParams(NamedTuple):
    """What hypotheses are."""

    start: int  # what is fed first
    end: int  # what ends one
    min_length: int
    max_length: int
    allowed: np.ndarray  # bool(2, padded C): what may be appended [0] before min_length is reached, [1] from there on


class Beams(NamedTuple):
    """Beams of K slots, of width W, over at most T steps."""

    sentence: np.ndarray  # int64[K]
    step: np.ndarray  # int64[K]: tokens of its live hypotheses
    row: np.ndarray  # int64[K]: of its first hypothesis in the last step
    live: np.ndarray  # int64[K]: hypotheses in the beam; none: the slot is free
    score: np.ndarray  # float64[K, 2, W]: their ln p, nats; [:, 1] is memory
    token: np.ndarray  # int32[K, T, W]: what was appended to them at each step
    parent: np.ndarray  # int64[K, T, W]: and to which of the step before
    ended: np.ndarray  # int64[K]: hypotheses that have ended
    final_score: np.ndarray  # float64[K, W]: their ln p
    final_length: np.ndarray  # int64[K, W]
    final_parent: np.ndarray  # int64[K, W]: to which the end was appended
    next_sentence: np.ndarray  # int64[owners of slots]: what takes a slot next


class Hypotheses(NamedTuple):
    """The hypotheses of B sentences, those that ended first, in the order in which they did."""

    count: np.ndarray  # int64[B]
    log_p: np.ndarray  # float64[B, W]
    length: np.ndarray  # int64[B, W]
    token: np.ndarray  # int32[B, W, T]


class BeamRows(NamedTuple):
    """The packed rows of a step, as every of M threads lists them; R are the rows of all slots."""

    first: np.ndarray  # int64[M, K]: of each slot
    target: np.ndarray  # int64[M, R]: the row numbers in the states
    source: np.ndarray  # int64[M, R]: where the state is from which each goes on
    token: np.ndarray  # int32[M, R]: what is fed, by row number
    slot: np.ndarray  # int64[M, R]


class BeamStates(NamedTuple):
    """The states of a model in the rows, and the memory of its steps."""

    state: np.ndarray  # (2, L, R + K, S*H): after this step and the one before; the last K are initial states
    turn: np.ndarray  # int64[M]: which of them was written last
    buffers: StepBuffers  # of ROW_BLOCK rows per thread


class BeamLogits(NamedTuple):
    """Logits of the rows, or what is made of them."""

    tile: np.ndarray  # (M or 1, R, PANEL_WIDTH): of a panel's words
    whole: np.ndarray  # (R, padded C): of one model of an ensemble; no columns for a single one
    total: np.ndarray  # the same: the sum of the models' probabilities, in the end ln of their mean
    h: np.ndarray  # uint32[M or 1, R, (H + 1) // 2 or 0]: the rows' h in bfloat16, two units in one, if VT is


class BeamBuffers(NamedTuple):
    """Memory of a step, all overwritten."""

    rows: BeamRows
    states: BeamStates
    logits: BeamLogits
    best: Candidates


def allocate_beams(slots, width, steps, owners):
    """Beams without sentences."""
    K, W, T = slots, width, steps
    return Beams(
        sentence=np.zeros(K, np.int64), step=np.zeros(K, np.int64), row=np.zeros(K, np.int64),
        live=np.zeros(K, np.int64), score=np.zeros((K, 2, W)), token=np.zeros((K, T, W), np.int32),
        parent=np.zeros((K, T, W), np.int64), ended=np.zeros(K, np.int64), final_score=np.zeros((K, W)),
        final_length=np.zeros((K, W), np.int64), final_parent=np.zeros((K, W), np.int64),
        next_sentence=np.arange(owners),
    )  # fmt: skip


def allocate_buffers(model, n_threads, together, beams, columns, bfloat16):
    """Memory for the steps of beams with a model; `together`: all threads work on the same rows.

    `columns`: padded C, if it is of an ensemble, else 0. `bfloat16`: so is VT.
    """
    (K, _, W), (L, H, _), M = beams.score.shape, model.cell.W.shape, n_threads
    R, dtype, parts = K * W, model.V.dtype, M if together else 1
    rows = BeamRows(
        np.zeros((M, K), np.int64), np.zeros((M, R), np.int64), np.zeros((M, R), np.int64),
        np.zeros((M, R), np.int32), np.zeros((M, R), np.int64),
    )  # fmt: skip
    states = BeamStates(
        np.zeros((2, L, R + K, model.cell.STATES * H), dtype),
        np.zeros(M, np.int64),
        allocate_step_buffers(model, M * ROW_BLOCK),
    )
    # Zeros: what stands beyond the last word is not written, and must not become NaN with a bias of -inf.
    h = np.zeros((parts, R, (H + 1) // 2 if bfloat16 else 0), np.uint32)
    logits = BeamLogits(np.zeros((parts, R, PANEL_WIDTH), dtype), *np.zeros((2, R, columns), dtype), h)
    return BeamBuffers(rows, states, logits, top_k.allocate(parts, R, W, dtype))


def allocate_hypotheses(sentences, width, steps):
    """Room for all hypotheses of some sentences."""
    B, W = sentences, width
    return Hypotheses(
        np.zeros(B, np.int64), np.zeros((B, W)), np.zeros((B, W), np.int64), np.empty((B, W, steps), np.int32)
    )


@jit
def search(thread, n_threads, barrier, decoder, params, beams, hypotheses, work, steps, turn, turns):
    """Go on with the search of all sentences of `decoder`, by `steps` steps at most; overwrites beams, found, work.

    For an ensemble of `turns` decoders this is one step of number `turn`, whose turn it is; the last one's ends it.
    """
    rows, K = work.rows, len(beams.live)
    own, last = _own_slots(thread, n_threads, K, len(beams.next_sentence))
    rank, n_workers = (thread, n_threads) if len(work.logits.tile) > 1 else (0, 1)
    for _ in range(steps):
        if turn == 0:
            _start(thread, own, last, params, beams, hypotheses)
        barrier_wait(barrier, n_workers)
        n = _list_rows(thread, 0 if n_workers > 1 else own, K if n_workers > 1 else last, params.start, beams, rows)
        if n == 0:  # all that work together see the same
            return
        _step(thread, n * rank // n_workers, n * (rank + 1) // n_workers, decoder, beams, rows, work.states)
        barrier_wait(barrier, n_workers)
        state = work.states.state[work.states.turn[thread], decoder.model.cell.W.shape[0] - 1]
        if turns > 1:
            _add_probabilities(thread, n_workers, barrier, n, decoder, state, work.logits, turn, turns)
            if turn + 1 < turns:
                return
        _find_candidates(thread, rank, n_workers, n, decoder, state, params, beams, rows, work.logits, work.best)
        barrier_wait(barrier, n_workers)
        for slot in range(own, last):
            if beams.live[slot] > 0:
                _choose(slot, rows.first[thread, slot], params.end, beams, work.best)


@jit
def _own_slots(thread, n_threads, count, owners):
    """First and last-plus-one of a thread's slots."""
    return (count * thread // owners, count * (thread + 1) // owners) if thread < owners else (0, 0)


@jit
def _start(thread, first, last, params, beams, hypotheses):
    """Hand over the hypotheses of the sentences that are done, and give their slots to the next."""
    for slot in range(first, last):
        if beams.live[slot] > 0 and beams.step[slot] < params.max_length:
            continue
        if beams.live[slot] + beams.ended[slot] > 0:
            _hand_over(slot, params.end, beams, hypotheses)
        sentence = beams.next_sentence[thread]
        beams.live[slot] = beams.ended[slot] = beams.step[slot] = 0
        if sentence < len(hypotheses.count):
            beams.next_sentence[thread] = sentence + len(beams.next_sentence)
            beams.sentence[slot], beams.live[slot], beams.score[slot, 0, 0] = sentence, 1, 0


@jit
def _hand_over(slot, end, beams, hypotheses):
    """All hypotheses of a slot's sentence."""
    sentence, ended, live = beams.sentence[slot], beams.ended[slot], beams.live[slot]
    hypotheses.count[sentence] = ended + live
    for i in range(ended + live):
        token, length = hypotheses.token[sentence, i], beams.step[slot]
        if i < ended:
            length, w = beams.final_length[slot, i], beams.final_parent[slot, i]
            hypotheses.log_p[sentence, i], token[length - 1] = beams.final_score[slot, i], end
            before = length - 1
        else:
            w, before = i - ended, length
            hypotheses.log_p[sentence, i] = beams.score[slot, 0, w]
        hypotheses.length[sentence, i] = length
        for step in range(before - 1, -1, -1):
            token[step], w = beams.token[slot, step, w], beams.parent[slot, step, w]


@jit
def _list_rows(thread, first, last, start, beams, rows):
    """Fill this thread's list of the rows of slots first..last; returns their number."""
    W, R, n = beams.score.shape[2], rows.target.shape[1], 0
    for slot in range(first, last):
        rows.first[thread, slot], step = first * W + n, beams.step[slot]
        for w in range(beams.live[slot]):
            at = first * W + n
            rows.target[thread, n], rows.slot[thread, n] = at, slot
            if step == 0:
                rows.source[thread, n], rows.token[thread, at] = R + slot, start
            else:
                rows.source[thread, n] = beams.row[slot] + beams.parent[slot, step - 1, w]
                rows.token[thread, at] = beams.token[slot, step - 1, w]
            n += 1
    return n


@jit
def _step(thread, first, last, decoder, beams, rows, states):
    """The step of rows first..last."""
    states.turn[thread] = 1 - states.turn[thread]
    before, after = states.state[1 - states.turn[thread]], states.state[states.turn[thread]]
    for a in range(first, last):
        slot = rows.slot[thread, a]
        if beams.step[slot] == 0:
            for layer in range(len(before)):
                copy(decoder.initial[layer, beams.sentence[slot]], before[layer, rows.source[thread, a]])
    for a in range(first, last, ROW_BLOCK):
        end = min(last, a + ROW_BLOCK)
        step_rows(
            decoder.model, decoder.U, states.buffers, thread * ROW_BLOCK, rows.token[thread],
            before, rows.source[thread, a:end], after, rows.target[thread, a:end],
        )  # fmt: skip


@jit
def _find_candidates(thread, rank, n_workers, n, decoder, state, params, beams, rows, logits, best):
    """The best of this thread's words, of every one of n rows, and the sums of their exponentials.

    Their logits are formed here, but for an ensemble, whose ln p are in logits.total.
    """
    W, given, base = beams.score.shape[2], logits.total.shape[1] > 0, rows.target[thread, 0]
    z, bias = logits.tile[rank], decoder.padding if given else decoder.bias
    for row in range(base, base + n):
        clear(rank, row, best)
    first, last = partition(rank, n_workers, len(bias), PANEL_WIDTH)
    if not given:
        round_states(decoder.VT, decoder.model.V.shape[1], state, base, n, logits.h[rank])
    for word in range(first, last, PANEL_WIDTH):
        if not given:
            _logits(decoder.model.V, decoder.VT, word, state, logits.h[rank], base, n, z, 0)
        for a in range(n):
            slot, row = rows.slot[thread, a], base + a
            may = params.allowed[0 if beams.step[slot] + 1 < params.min_length else 1]
            tile = logits.total[row, word : word + PANEL_WIDTH] if given else z[row]
            update_top_k(tile, bias, word, may, W - beams.ended[slot], rank, row, best)


@jit
def _logits(V, VT, word, state, h, base, n, z, at):
    """Of the words of a panel, for n rows of state (R, S*H), into those of z from column `at` on, less their bias."""
    if n < GEMM_MIN_ROWS:
        end = min(len(V), word + PANEL_WIDTH)
        for row in range(base, base + n):
            matvec(V[word:end], state[row], z[row, at : at + end - word])
    else:
        logit_tile(VT, V.shape[1], word, state, h, base, n, ravel(z), base * z.shape[1] + at, z.shape[1])


@jit
def _choose(slot, row, end, beams, best):
    """The hypotheses of one sentence that are kept; those before have the rows from `row` on."""
    score, later = beams.score[slot, 0], beams.score[slot, 1]
    before, step, ended, live = beams.live[slot], beams.step[slot], beams.ended[slot], 0
    for w in range(before):
        log_sum_exp(row + w, best)
    for _ in range(len(score) - ended):
        w, m, total = _most_probable(row, before, score, best)
        if w < 0:
            break
        word = best.word[m, row + w, best.taken[m, row + w]]
        best.taken[m, row + w] += 1
        if word == end:
            beams.final_score[slot, ended], beams.final_length[slot, ended] = total, step + 1
            beams.final_parent[slot, ended] = w
            ended += 1
        else:
            beams.token[slot, step, live], beams.parent[slot, step, live], later[live] = word, w, total
            live += 1
    for w in range(live):
        score[w] = later[w]
    beams.live[slot], beams.ended[slot], beams.step[slot], beams.row[slot] = live, ended, step + 1, row


@jit
def _most_probable(row, count, score, best):
    """Hypothesis (-1: none), part of the words and ln p of the best candidate left; of equals the earlier."""
    found, part, highest = -1, 0, -np.inf
    for w in range(count):
        for m in range(len(best.taken)):
            head = best.taken[m, row + w]
            if head < best.count[m, row + w]:
                total = score[w] + (float(best.value[m, row + w, head]) - best.log_sum[row + w])
                if found < 0 or total > highest:
                    found, part, highest = w, m, total
    return found, part, highest


@jit
def _add_probabilities(thread, n_threads, barrier, n, decoder, state, logits, turn, turns):
    """Those of one model of an ensemble, of n rows, to logits.total, which becomes ln of the mean in the last turn."""
    first, last, h = *partition(thread, n_threads, len(decoder.bias), PANEL_WIDTH), logits.h[thread]
    round_states(decoder.VT, decoder.model.V.shape[1], state, 0, n, h)
    for word in range(first, last, PANEL_WIDTH):
        _logits(decoder.model.V, decoder.VT, word, state, h, 0, n, logits.whole, word)
    barrier_wait(barrier, n_threads)
    for row in range(n * thread // n_threads, n * (thread + 1) // n_threads):
        _average(logits.whole[row], decoder.bias, turn, turns, logits.total[row])
    barrier_wait(barrier, n_threads)


@jit
def _average(z, bias, turn, turns, total):
    """Add the probabilities of one model of an ensemble, from its logits z less their bias, to `total`, in place."""
    for j in range(len(z)):
        z[j] += bias[j]
    high = z[0]
    for j in range(1, len(z)):
        high = max(high, z[j])
    summed = 0.0
    for first in range(0, len(z), PANEL_WIDTH):
        part, few = z[first : first + PANEL_WIDTH], z.dtype.type(0)
        for j in range(len(part)):
            few += exp(part[j] - high)
        summed += few
    scale = z.dtype.type(1 / (summed * turns))
    for j in range(len(z)):
        p = exp(z[j] - high) * scale
        total[j] = p if turn == 0 else total[j] + p
    if turn + 1 == turns:
        for j in range(len(z)):
            total[j] = math.log(total[j]) if total[j] > 0 else -np.inf


# ---- Products with V^T, whose dtype chooses their form


def round_states(VT, H, state, base, n, h):
    """h = n rows of `state`, in bfloat16, if VT is."""
    if VT.dtype == np.uint32:
        _round_states(VT, H, state, base, n, h)


def logit_tile(VT, H, word, state, h, base, n, z, z0, z_row):
    """The product of n rows of `state`, or of h, with the panel of VT that starts with `word`, into z from z0 on."""
    form = _bfloat16_logit_tile if VT.dtype == np.uint32 else _float_logit_tile
    form(VT, H, word, state, h, base, n, z, z0, z_row)


def _round_states(VT, H, state, base, n, h):
    for row in range(base, base + n):
        pack_adjacent(state[row, :H], h[row])


def _no_rounding(VT, H, state, base, n, h):
    pass


def _float_logit_tile(VT, H, word, state, h, base, n, z, z0, z_row):
    row = state.shape[1]
    packed_product(ravel(state), base * row, row, VT, H, 0, H, word, word + PANEL_WIDTH, z, z0, z_row, n, False)


def _bfloat16_logit_tile(VT, H, word, state, h, base, n, z, z0, z_row):
    units = h.shape[1]
    product(
        ravel(h), base * units, units, 1, ravel(VT), word * units, PANEL_WIDTH, z, z0, z_row, n, PANEL_WIDTH, units,
        False
    )  # fmt: skip


@overload(round_states)
def _round_states_of_dtype(VT, H, state, base, n, h):
    return _round_states if VT.dtype == types.uint32 else _no_rounding


@overload(logit_tile)
def _logit_tile_of_dtype(VT, H, word, state, h, base, n, z, z0, z_row):
    return _bfloat16_logit_tile if VT.dtype == types.uint32 else _float_logit_tile

"""Beam search (Sutskever et al. 2014, section 3.2): many sentences at once, without ever holding all their logits.

A sentence has a beam of at most W live hypotheses. At each step every word is appended to each; of these the most
probable are kept, as many as the beam is wide. Those that end leave it, and it is narrower by their number.

There are slots for the beams of some sentences; as soon as one is done, another sentence takes its slot. A step is done
for the live hypotheses of all slots, which are packed rows: each goes on from its parent's row of the step before. Of
their logits only PANEL words of every row are held at a time, from which `candidates` takes what counts.

Either every member of the team searches sentences of its own and never meets the others, or, where there are few rows,
all work on the same ones: they divide the rows of the cell's step, the words, and the slots, and meet thrice a step.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from ...compiler.jit import jit, overload
from ...compiler.views import flat
from ...linalg.bfloat16 import join_neighbours
from ...linalg.elementwise import exp
from ...linalg.gemm import PANEL, product
from ...linalg.gemv import matvec
from ...linalg.packing import panel_product
from ...threads import meet, share
from ..layers.recurrence import copy
from . import top_k
from .sampling import FEW, Flow, allocate_flow, feed
from .top_k import Candidates, clear, finish, visit

GROUP = 48  # rows that go through the cell's step together: their gates stay in cache


class Decoder(NamedTuple):
    """One decoder; its words are padded up to a multiple of PANEL."""

    model: NamedTuple  # with its weights in panels
    U: np.ndarray
    VT: np.ndarray  # `decode.transposed_panels` of V, of uint32 if in bfloat16; no rows if there are never FEW rows
    bias: np.ndarray  # (padded C,): c, or 0; -inf for words that are none
    padding: np.ndarray  # (padded C,): 0; -inf for words that are none
    initial: np.ndarray  # (L, B, S*H): what each sentence starts from


class Rule(NamedTuple):
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


class Found(NamedTuple):
    """The hypotheses of B sentences, those that ended first, in the order in which they did."""

    count: np.ndarray  # int64[B]
    log_p: np.ndarray  # float64[B, W]
    length: np.ndarray  # int64[B, W]
    token: np.ndarray  # int32[B, W, T]


class Rows(NamedTuple):
    """The packed rows of a step, as every of M members lists them; R are the rows of all slots."""

    first: np.ndarray  # int64[M, K]: of each slot
    target: np.ndarray  # int64[M, R]: the places of the rows
    source: np.ndarray  # int64[M, R]: where the state is from which each goes on
    token: np.ndarray  # int32[M, R]: what is fed, by place
    slot: np.ndarray  # int64[M, R]


class States(NamedTuple):
    """The states of a model in the rows, and the memory of its steps."""

    state: np.ndarray  # (2, L, R + K, S*H): after this step and the one before; the last K are initial states
    turn: np.ndarray  # int64[M]: which of them was written last
    flow: Flow  # of GROUP rows a member


class Logits(NamedTuple):
    """Logits of the rows, or what is made of them."""

    piece: np.ndarray  # (M or 1, R, PANEL): of a panel's words
    whole: np.ndarray  # (R, padded C): of one model of an ensemble; no columns for a single one
    total: np.ndarray  # the same: the sum of the models' probabilities, in the end ln of their mean
    h: np.ndarray  # uint32[M or 1, R, (H + 1) // 2 or 0]: the rows' h in bfloat16, two units in one, if VT is


class Work(NamedTuple):
    """Memory of a step, all overwritten."""

    rows: Rows
    states: States
    logits: Logits
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


def allocate_work(model, members, together, beams, columns, bfloat16):
    """Memory for the steps of beams with a model; `together`: all members work on the same rows.

    `columns`: padded C, if it is of an ensemble, else 0. `bfloat16`: so is VT.
    """
    (K, _, W), (L, H, _), M = beams.score.shape, model.cell.W.shape, members
    R, dtype, parts = K * W, model.V.dtype, M if together else 1
    rows = Rows(
        np.zeros((M, K), np.int64), np.zeros((M, R), np.int64), np.zeros((M, R), np.int64),
        np.zeros((M, R), np.int32), np.zeros((M, R), np.int64),
    )  # fmt: skip
    states = States(
        np.zeros((2, L, R + K, model.cell.STATES * H), dtype), np.zeros(M, np.int64), allocate_flow(model, M * GROUP)
    )
    # Zeros: what stands beyond the last word is not written, and must not become NaN with a bias of -inf.
    h = np.zeros((parts, R, (H + 1) // 2 if bfloat16 else 0), np.uint32)
    logits = Logits(np.zeros((parts, R, PANEL), dtype), *np.zeros((2, R, columns), dtype), h)
    return Work(rows, states, logits, top_k.allocate(parts, R, W, dtype))


def allocate_found(sentences, width, steps):
    """Room for all hypotheses of some sentences."""
    B, W = sentences, width
    return Found(np.zeros(B, np.int64), np.zeros((B, W)), np.zeros((B, W), np.int64), np.empty((B, W, steps), np.int32))


@jit
def search(member, size, barrier, decoder, rule, beams, found, work, steps, turn, turns):
    """Go on with the search of all sentences of `decoder`, by `steps` steps at most; overwrites beams, found, work.

    For an ensemble of `turns` decoders this is one step of number `turn`, whose turn it is; the last one's ends it.
    """
    rows, K = work.rows, len(beams.live)
    own, last = _own_slots(member, size, K, len(beams.next_sentence))
    place, members = (member, size) if len(work.logits.piece) > 1 else (0, 1)
    for _ in range(steps):
        if turn == 0:
            _start(member, own, last, rule, beams, found)
        meet(barrier, members)
        n = _list_rows(member, 0 if members > 1 else own, K if members > 1 else last, rule.start, beams, rows)
        if n == 0:  # all that work together see the same
            return
        _step(member, n * place // members, n * (place + 1) // members, decoder, beams, rows, work.states)
        meet(barrier, members)
        state = work.states.state[work.states.turn[member], decoder.model.cell.W.shape[0] - 1]
        if turns > 1:
            _add_probabilities(member, members, barrier, n, decoder, state, work.logits, turn, turns)
            if turn + 1 < turns:
                return
        _find_candidates(member, place, members, n, decoder, state, rule, beams, rows, work.logits, work.best)
        meet(barrier, members)
        for slot in range(own, last):
            if beams.live[slot] > 0:
                _choose(slot, rows.first[member, slot], rule.end, beams, work.best)


@jit
def _own_slots(member, size, count, owners):
    """First and last-plus-one of a member's slots."""
    return (count * member // owners, count * (member + 1) // owners) if member < owners else (0, 0)


@jit
def _start(member, first, last, rule, beams, found):
    """Hand over the hypotheses of the sentences that are done, and give their slots to the next."""
    for slot in range(first, last):
        if beams.live[slot] > 0 and beams.step[slot] < rule.max_length:
            continue
        if beams.live[slot] + beams.ended[slot] > 0:
            _hand_over(slot, rule.end, beams, found)
        sentence = beams.next_sentence[member]
        beams.live[slot] = beams.ended[slot] = beams.step[slot] = 0
        if sentence < len(found.count):
            beams.next_sentence[member] = sentence + len(beams.next_sentence)
            beams.sentence[slot], beams.live[slot], beams.score[slot, 0, 0] = sentence, 1, 0


@jit
def _hand_over(slot, end, beams, found):
    """All hypotheses of a slot's sentence."""
    sentence, ended, live = beams.sentence[slot], beams.ended[slot], beams.live[slot]
    found.count[sentence] = ended + live
    for i in range(ended + live):
        token, length = found.token[sentence, i], beams.step[slot]
        if i < ended:
            length, w = beams.final_length[slot, i], beams.final_parent[slot, i]
            found.log_p[sentence, i], token[length - 1] = beams.final_score[slot, i], end
            before = length - 1
        else:
            w, before = i - ended, length
            found.log_p[sentence, i] = beams.score[slot, 0, w]
        found.length[sentence, i] = length
        for step in range(before - 1, -1, -1):
            token[step], w = beams.token[slot, step, w], beams.parent[slot, step, w]


@jit
def _list_rows(member, first, last, start, beams, rows):
    """Fill this member's list of the rows of slots first..last; returns their number."""
    W, R, n = beams.score.shape[2], rows.target.shape[1], 0
    for slot in range(first, last):
        rows.first[member, slot], step = first * W + n, beams.step[slot]
        for w in range(beams.live[slot]):
            at = first * W + n
            rows.target[member, n], rows.slot[member, n] = at, slot
            if step == 0:
                rows.source[member, n], rows.token[member, at] = R + slot, start
            else:
                rows.source[member, n] = beams.row[slot] + beams.parent[slot, step - 1, w]
                rows.token[member, at] = beams.token[slot, step - 1, w]
            n += 1
    return n


@jit
def _step(member, first, last, decoder, beams, rows, states):
    """The step of rows first..last."""
    states.turn[member] = 1 - states.turn[member]
    before, after = states.state[1 - states.turn[member]], states.state[states.turn[member]]
    for a in range(first, last):
        slot = rows.slot[member, a]
        if beams.step[slot] == 0:
            for layer in range(len(before)):
                copy(decoder.initial[layer, beams.sentence[slot]], before[layer, rows.source[member, a]])
    for a in range(first, last, GROUP):
        end = min(last, a + GROUP)
        feed(
            decoder.model, decoder.U, states.flow, member * GROUP, rows.token[member],
            before, rows.source[member, a:end], after, rows.target[member, a:end],
        )  # fmt: skip


@jit
def _find_candidates(member, place, members, n, decoder, state, rule, beams, rows, logits, best):
    """The best of this member's words, of every one of n rows, and the sums of their exponentials.

    Their logits are formed here, but for an ensemble, whose ln p are in logits.total.
    """
    W, given, base = beams.score.shape[2], logits.total.shape[1] > 0, rows.target[member, 0]
    z, bias = logits.piece[place], decoder.padding if given else decoder.bias
    for row in range(base, base + n):
        clear(place, row, best)
    first, last = share(place, members, len(bias), PANEL)
    if not given:
        round_states(decoder.VT, decoder.model.V.shape[1], state, base, n, logits.h[place])
    for word in range(first, last, PANEL):
        if not given:
            _logits(decoder.model.V, decoder.VT, word, state, logits.h[place], base, n, z, 0)
        for a in range(n):
            slot, row = rows.slot[member, a], base + a
            may = rule.allowed[0 if beams.step[slot] + 1 < rule.min_length else 1]
            piece = logits.total[row, word : word + PANEL] if given else z[row]
            visit(piece, bias, word, may, W - beams.ended[slot], place, row, best)


@jit
def _logits(V, VT, word, state, h, base, n, z, at):
    """Of the words of a panel, for n rows of state (R, S*H), into those of z from column `at` on, less their bias."""
    if n < FEW:
        end = min(len(V), word + PANEL)
        for row in range(base, base + n):
            matvec(V[word:end], state[row], z[row, at : at + end - word])
    else:
        panel_of_logits(VT, V.shape[1], word, state, h, base, n, flat(z), base * z.shape[1] + at, z.shape[1])


@jit
def _choose(slot, row, end, beams, best):
    """The hypotheses of one sentence that are kept; those before have the rows from `row` on."""
    score, later = beams.score[slot, 0], beams.score[slot, 1]
    before, step, ended, live = beams.live[slot], beams.step[slot], beams.ended[slot], 0
    for w in range(before):
        finish(row + w, best)
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
def _add_probabilities(member, size, barrier, n, decoder, state, logits, turn, turns):
    """Those of one model of an ensemble, of n rows, to logits.total, which becomes ln of the mean in the last turn."""
    first, last, h = *share(member, size, len(decoder.bias), PANEL), logits.h[member]
    round_states(decoder.VT, decoder.model.V.shape[1], state, 0, n, h)
    for word in range(first, last, PANEL):
        _logits(decoder.model.V, decoder.VT, word, state, h, 0, n, logits.whole, word)
    meet(barrier, size)
    for row in range(n * member // size, n * (member + 1) // size):
        _average(logits.whole[row], decoder.bias, turn, turns, logits.total[row])
    meet(barrier, size)


@jit
def _average(z, bias, turn, turns, total):
    """Add the probabilities of one model of an ensemble, from its logits z less their bias, to `total`, in place."""
    for j in range(len(z)):
        z[j] += bias[j]
    high = z[0]
    for j in range(1, len(z)):
        high = max(high, z[j])
    summed = 0.0
    for first in range(0, len(z), PANEL):
        part, few = z[first : first + PANEL], z.dtype.type(0)
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


def panel_of_logits(VT, H, word, state, h, base, n, z, z0, z_row):
    """The product of n rows of `state`, or of h, with the panel of VT that starts with `word`, into z from z0 on."""
    form = _bfloat16_panel if VT.dtype == np.uint32 else _panel
    form(VT, H, word, state, h, base, n, z, z0, z_row)


def _round_states(VT, H, state, base, n, h):
    for row in range(base, base + n):
        join_neighbours(state[row, :H], h[row])


def _no_rounding(VT, H, state, base, n, h):
    pass


def _panel(VT, H, word, state, h, base, n, z, z0, z_row):
    row = state.shape[1]
    panel_product(flat(state), base * row, row, VT, H, 0, H, word, word + PANEL, z, z0, z_row, n, False)


def _bfloat16_panel(VT, H, word, state, h, base, n, z, z0, z_row):
    units = h.shape[1]
    product(
        flat(h), base * units, units, 1, flat(VT), word * units, PANEL, z, z0, z_row, n, PANEL, units, False
    )  # fmt: skip


@overload(round_states)
def _round_states_of_dtype(VT, H, state, base, n, h):
    return _round_states if VT.dtype == types.uint32 else _no_rounding


@overload(panel_of_logits)
def _panel_of_dtype(VT, H, word, state, h, base, n, z, z0, z_row):
    return _bfloat16_panel if VT.dtype == types.uint32 else _panel

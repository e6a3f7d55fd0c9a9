"""Greedy and beam search: the most probable sequences of decoders, one or an ensemble, from given states."""

from typing import NamedTuple

import numpy as np

from ..kernels.cpu.decoding.beam import (
    BeamDecoder,
    BeamParams,
    allocate_beams,
    allocate_buffers,
    allocate_hypotheses,
    search,
)
from ..kernels.cpu.decoding.sampling import GEMM_MIN_ROWS, packed_transpose
from ..kernels.linalg.gemm import PANEL_WIDTH
from ..kernels.threads import ThreadTeam
from .sampling import interruptible_slices, useful_threads

# Hypotheses that are searched side by side, by one thread; so many for each, threads search sentences of their own.
MAX_ROWS = 240
MIN_ROWS_PER_THREAD = 32
# Logits of a step that an ensemble holds at a time.
MAX_LOGITS = 1 << 23
# Tokens of all hypotheses for which there is room at a time.
MAX_TOKENS = 1 << 22


class Hypothesis(NamedTuple):
    """What a search has found.

    Attributes
    ----------
    tokens : int32 array
        `end` included, if it was reached.
    log_prob : float
        ln p of the tokens under the model, or the mean of an ensemble's probabilities, nats.
    score : float
        log_prob / len(tokens) ** length_penalty, by which hypotheses are sorted.
    """

    tokens: np.ndarray
    log_prob: float
    score: float


def beam_search(networks, states, *, start, end, width, min_length, max_length, exclude, length_penalty, n_threads):
    """Search the most probable continuations of states (Sutskever et al. 2014, section 3.2).

    Parameters
    ----------
    networks : list of Network
        One decoder, or an ensemble whose probabilities are averaged.
    states : list of arrays (L, B, S*H)
        For every network, what each of B sentences starts from.
    start, end : int
        What is fed first; what ends a hypothesis.
    width : int
        Of the beam; 1 is greedy search. A hypothesis that ends leaves the beam, which is narrower then.
    min_length, max_length : int
        Tokens at least and at most, `end` included; what is in the beam at the last step counts as it stands.
    exclude : int array
        Indices that are never written; ln p counts them all the same.
    length_penalty : float
        Hypotheses are sorted by ln p / length ** length_penalty.

    Returns
    -------
    list, one a sentence, of lists of at most `width` Hypothesis, the best first
    """
    limits = start, end, min_length, max_length, exclude
    if networks[0].device == "cpu":
        return _on_cpu(networks, states, width, limits, length_penalty, n_threads)
    params = _beam_params(networks[0], networks[0].vocab_size, *limits)
    return _on_gpu(networks, states, width, params, length_penalty)


def _on_cpu(networks, states, width, limits, length_penalty, n_threads):
    B, max_length = states[0].shape[1], limits[3]
    with ThreadTeam(useful_threads(networks[0], B * width, n_threads)) as team:
        part = max(1, MAX_TOKENS // (width * max_length))
        found = []
        decoders = [_decoder(network, min(B * width, GEMM_MIN_ROWS)) for network in networks]
        params = _beam_params(networks[0], len(decoders[0].bias), *limits)
        for first in range(0, B, part):
            some = [
                decoder._replace(initial=np.ascontiguousarray(state[:, first : first + part]))
                for decoder, state in zip(decoders, states, strict=True)
            ]
            found += _hypotheses(_search(team, networks, some, params, width), length_penalty)
    return found


def _on_gpu(networks, states, width, params, length_penalty):
    found = networks[0].search(networks, states, params, width)
    rows = [[Hypothesis(np.array(t, np.int32), p, p / len(t) ** length_penalty) for t, p in row] for row in found]
    return [sorted(row, key=lambda hypothesis: -hypothesis.score) for row in rows]


def _decoder(network, rows):
    """A network as the kernels take it, for steps of at least so many rows; without states to start from."""
    V, c, dtype = network.model.V, network.model.c, network.dtype
    bfloat16 = network.matmul_precision == "bfloat16"
    VT = packed_transpose(V if rows >= GEMM_MIN_ROWS else V[:0], bfloat16)
    padding = np.full(-(-len(V) // PANEL_WIDTH) * PANEL_WIDTH, -np.inf, dtype)
    padding[: len(V)] = 0
    bias = padding.copy()
    bias[: len(c)] = c
    return BeamDecoder(
        network.packed_model(reduced_precision=True), network.U, VT, bias, padding, np.empty((0, 0, 0), dtype)
    )


def _beam_params(network, words, start, end, min_length, max_length, exclude):
    """What is searched, for so many words with those that are none."""
    allowed = np.zeros((2, words), np.bool_)
    allowed[:, : network.vocab_size] = True
    allowed[:, exclude] = False
    allowed[0, end] = False
    return BeamParams(int(start), int(end), int(min_length), int(max_length), allowed)


def _search(team, networks, decoders, params, width):
    """What is found for the sentences from whose states the decoders start."""
    B, words, ensemble = decoders[0].initial.shape[1], len(decoders[0].bias), len(decoders) > 1
    together = ensemble or B * width < MIN_ROWS_PER_THREAD * team.n_threads or B < team.n_threads
    groups = 1 if together else team.n_threads
    slots = groups * min(-(-B // groups), max(1, (MAX_LOGITS // words if ensemble else MAX_ROWS) // width))
    beams = allocate_beams(slots, width, params.max_length, min(team.n_threads, slots))
    hypotheses = allocate_hypotheses(B, width, params.max_length)
    columns = words if ensemble else 0
    works = [
        allocate_buffers(
            network.model, team.n_threads, together, beams, columns, network.matmul_precision == "bfloat16"
        )
        for network in networks
    ]
    logits = works[0].logits  # of all, but h, which depends on a network's size and precision
    works = [work._replace(logits=logits._replace(h=work.logits.h)) for work in works]
    most_steps = B * params.max_length + 1  # a slot is never free
    for chunk in interruptible_slices(most_steps, 1):
        steps = 1 if ensemble else chunk.stop - chunk.start
        for _ in range(chunk.start, chunk.stop, steps):
            for turn, (decoder, work) in enumerate(zip(decoders, works, strict=True)):
                team.run(search, decoder, params, beams, hypotheses, work, steps, turn, len(works))
        if not (beams.live.any() or beams.ended.any() or (beams.next_sentence < B).any()):
            return hypotheses


def _hypotheses(found, length_penalty):
    """The hypotheses of all sentences, the best first; of equals the one that was found first."""
    scores = found.log_p / np.maximum(found.length, 1) ** length_penalty
    scores[np.arange(scores.shape[1]) >= found.count[:, None]] = np.nan  # what is not there comes last
    order = np.argsort(-scores, axis=1, kind="stable")
    length, log_p, score = (np.take_along_axis(a, order, 1).tolist() for a in (found.length, found.log_p, scores))
    return [
        [Hypothesis(found.token[s, order[s, i], : length[s][i]].copy(), log_p[s][i], score[s][i]) for i in range(count)]
        for s, count in enumerate(found.count.tolist())
    ]

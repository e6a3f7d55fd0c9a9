"""Greedy and beam search: the most probable sequences of decoders, one or an ensemble, from given states."""

from typing import NamedTuple

import numpy as np

from .cpu.beam import allocate, average, expand
from .cpu.decode import BLOCK
from .cpu.threads import Team
from .decoding import Decoder, team_size

# Sentences are searched together as long as they need no more logits than that.
MOST_LOGITS = 1 << 23


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
    C, B = networks[0].vocab_size, states[0].shape[1]
    allowed = np.ones((2, C), np.bool_)
    allowed[:, exclude] = False
    allowed[0, end] = False
    together = max(1, MOST_LOGITS // (width * C))
    found = []
    with Team(team_size(networks[0], min(B, together) * width, n_threads)) as team:
        decoders = [Decoder(network, team, 1) for network in networks]
        for first in range(0, B, together):
            part = [state[:, first : first + together] for state in states]
            beams = _search(team, decoders, part, start, end, width, min_length, max_length, allowed)
            found += [_hypotheses(beams, s, end, length_penalty) for s in range(len(beams.live))]
    return found


def _search(team, decoders, states, start, end, width, min_length, max_length, allowed):
    """The beams of some sentences after their last step."""
    S, dtype = states[0].shape[1], states[0].dtype
    for decoder, state in zip(decoders, states, strict=True):
        decoder.restart(S * width)
        decoder.state[:, ::width] = state
        decoder.streams.ended[:] = np.arange(S * width) % width != 0
    beams, candidates = allocate(S, width, max_length, team.size, dtype, BLOCK)
    streams, row_of = decoders[0].streams, np.zeros(S * width, np.int64)
    total = np.empty((S * width, len(allowed[0])) if len(decoders) > 1 else (0, 0), dtype)
    tokens, parents = np.full(S * width, start, np.int32), None
    for step in range(max_length):
        for i, decoder in enumerate(decoders):
            decoder.streams.ended[:] = streams.ended
            decoder.step(tokens, parents)
            if len(decoders) > 1:
                rows = int(len(streams.ended) - streams.ended.sum())
                team.run(average, decoder.logits, rows, i == 0, i == len(decoders) - 1, len(decoders), total)
        z = total if len(decoders) > 1 else decoders[0].logits
        may = allowed[0 if step + 1 < min_length else 1]
        team.run(expand, z, may, end, step, streams, beams, candidates, row_of)
        if streams.ended.all():
            break
        tokens, parents = beams.token[step].copy(), beams.parent[step]
    return beams


def _hypotheses(beams, sentence, end, length_penalty):
    """The hypotheses of a sentence, the best first; of equals the one that was found first."""
    width, found = beams.score.shape[1], []
    for i in range(beams.ended[sentence]):
        step = int(beams.final_step[sentence, i])
        path = _path(beams, step - 1, int(beams.final_parent[sentence, i]))
        found.append(([*path, end], float(beams.final_score[sentence, i])))
    for w in range(beams.live[sentence]):
        path = _path(beams, len(beams.token) - 1, sentence * width + w)
        found.append((path, float(beams.score[sentence, w])))
    found = [Hypothesis(np.array(path, np.int32), p, p / len(path) ** length_penalty) for path, p in found]
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def _path(beams, step, stream):
    """The tokens that lead to what a stream holds after a step."""
    tokens = []
    while step >= 0:
        tokens.append(int(beams.token[step, stream]))
        step, stream = step - 1, beams.parent[step, stream]
    return tokens[::-1]

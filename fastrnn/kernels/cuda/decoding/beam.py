"""Beam search on the GPU: the device ranks the words of every hypothesis, the host chooses among the few that are left.

The rules are those of `cpu.decoding.beam`. A sentence has `width` streams, of which those of hypotheses that are gone
idle.
"""

import numpy as np

from ..driver import empty, to_device, to_host
from .step import Streams
from .top_k import average, best_words

# Logits that are held at a time.
MAX_LOGITS = 1 << 26


class Beam:
    """The beam of one sentence: live hypotheses, and those that have ended, as (tokens, ln p) pairs.

    Attributes
    ----------
    live : list of (list of int, float, int)
        Tokens, ln p and the number of the stream that has read all tokens but the last.
    ended : list of (list of int, float)
    """

    def __init__(self):
        self.live, self.ended = [([], 0.0, 0)], []

    def step(self, value, word, end):
        """Append the most probable of `value` (ln p) and `word`, (width, width): a row for every live hypothesis."""
        width_left = len(value) - len(self.ended)
        n = len(self.live)
        total = np.array([log_p for _, log_p, _ in self.live])[:, None] + value[:n, :width_left]
        total[word[:n, :width_left] < 0] = -np.inf
        before, self.live = self.live, []
        for at in np.argsort(-total, axis=None, kind="stable")[:width_left]:  # of equals the earlier
            w, rank = divmod(int(at), total.shape[1])
            if not total[w, rank] > -np.inf:  # impossible words are none, nor are those of logits that are no numbers
                break
            tokens, log_p = [*before[w][0], int(word[w, rank])], float(total[w, rank])
            if tokens[-1] == end:
                self.ended.append((tokens, log_p))
            else:
                self.live.append((tokens, log_p, w))


def search(networks, states, params, width):
    """Search the most probable continuations of states.

    Parameters
    ----------
    networks : list of pairs
        `Model` and U on the device, of one decoder or of an ensemble whose probabilities are averaged.
    states : list of arrays (L, B, S*H), on the host
        For every network, what each of B sentences starts from.
    params : cpu.decoding.beam.BeamParams
    width : int
        Of the beam.

    Returns
    -------
    list, one a sentence, of lists of (tokens, ln p), those that ended first, in the order in which they did
    """
    C, B = networks[0][0].V.shape[0], states[0].shape[1]
    together, found = max(1, MAX_LOGITS // (width * C)), []
    for first in range(0, B, together):
        part = [np.ascontiguousarray(state[:, first : first + together]) for state in states]
        found += _search(networks, part, params, width)
    return found


def _search(networks, states, params, W):
    S, n = states[0].shape[1], states[0].shape[1] * W
    models = [Streams(model, U, n) for model, U in networks]
    of_sentence = to_device(np.repeat(np.arange(S, dtype=np.int32), W))
    for streams, state in zip(models, states, strict=True):
        streams.gather_states(to_device(state), of_sentence)
    dtype, C = states[0].dtype, networks[0][0].V.shape[0]
    total = empty((n, C), dtype) if len(models) > 1 else models[0].logits
    allowed = [to_device(np.ascontiguousarray(params.allowed[i : i + 1])) for i in range(2)]
    value, word, parents = empty((n, W), "f8"), empty((n, W), "i4"), None
    beams, tokens = [Beam() for _ in range(S)], np.full(n, params.start, np.int32)
    for step in range(params.max_length):
        for i, streams in enumerate(models):
            streams.feed(tokens, parents)
            if len(models) > 1:
                average(streams.logits, i == 0, i == len(models) - 1, len(models), total)
        best_words(total, allowed[step + 1 >= params.min_length], value, word)
        values, words = (to_host(array).reshape(S, W, W) for array in (value, word))
        for s, beam in enumerate(beams):
            if beam.live:
                beam.step(values[s], words[s], params.end)
        if not any(beam.live for beam in beams):
            break
        tokens, parents = _next(beams, W)
    return [[*beam.ended, *((tokens, log_p) for tokens, log_p, _ in beam.live)] for beam in beams]


def _next(beams, width):
    """What is fed to every stream, and from which it goes on; a stream without a hypothesis is fed what there is."""
    tokens, parents = np.zeros((len(beams), width), np.int32), np.zeros((len(beams), width), np.int32)
    for s, beam in enumerate(beams):
        parents[s] = s * width
        for w, (written, _, parent) in enumerate(beam.live):
            tokens[s, w], parents[s, w] = written[-1], s * width + parent
    return tokens.ravel(), to_device(parents.ravel())

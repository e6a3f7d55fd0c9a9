"""Decoding on the GPU: a group of streams, each fed one token a step, and what comes next: a draw, or the best words.

The rules of drawing are those of `cpu.decode`, and the words stand in the same order when a uniform number decides, so
both devices draw the same tokens, up to rounding. A stream is a block of threads. The host only launches: a stream that
has ended goes on to "draw" its end, and every LOOK steps the host sees whether all have.
"""

import math

import numpy as np

from .driver import SIMULATED, THREADS, cuda, device_function, empty, kernel, to_device, to_host, zeros
from .product import flat, product
from .stack import run_forward
from .workspace import Batch, Layout, States

# Steps between two looks at what was drawn, which wait for the device.
LOOK = 4 if SIMULATED else 16
# Neighbouring threads that add up a piece of the words together, and the number of pieces.
LANES = 2 if SIMULATED else 8
PIECES = THREADS // LANES
# Weights beside one of 1 that no uniform number can tell from 0, as in `cpu.decode`.
LEAST = 1e-37


class Streams:
    """The states of `count` streams of tokens, and the logits of what may come next.

    Parameters
    ----------
    model, U : Model and array (C, D)
        On the device.
    count : int

    Attributes
    ----------
    state : (L, count, S*H)
        After the last token.
    logits : (count, C)
    tokens : int32 (LOOK, count)
        The tokens of some steps: what is fed, or was drawn.
    """

    def __init__(self, model, U, count):
        self._model, self._U, self.count = model, U, count
        self._memory = _states(model, count, count)
        self._V, self.state = flat(model.V), self._memory.final
        self.logits, self.tokens = empty((count, model.V.shape[0]), model.V.dtype), zeros((LOOK, count), "i4")
        self._z, self._batches = flat(self.logits), _batches(self.tokens, 1)

    def read(self, tokens, state=None):
        """Feed tokens (int32 (P,), P >= 1, on the host) to a stream; all streams go on from where that has come.

        It starts from `state`, (L, 1, S*H) on the host, or from zeros.
        """
        states = _states(self._model, len(tokens), 1)
        first = np.zeros(states.initial.shape) if state is None else state
        states = states._replace(initial=to_device(np.ascontiguousarray(first, states.initial.dtype)))
        (batch,) = _batches(to_device(tokens.reshape(1, -1)), len(tokens))
        run_forward(self._model.cell, self._model.inputs, self._U, batch, states, 0.0, 0)
        self.follow(states.final, zeros(self.count, "i4"))

    def follow(self, state, parents):
        """Every stream goes on from the one of `state` (L, any, S*H) that `parents` (int32 (count,)) names."""
        self.take(state, parents)
        self._predict()

    def feed(self, tokens, parents=None):
        """Feed every stream a token, int32 (count,) on the host; with `parents` it goes on from that stream's state."""
        self.tokens[0].copy_to_device(tokens)
        self.advance(0, parents)

    def advance(self, row=0, parents=None):
        """Feed every stream its token in this row of `tokens`; with `parents` it goes on from that stream's state."""
        if parents is not None:
            self.take(self.state, parents)
        states = self._memory._replace(initial=self.state, final=self._other())
        run_forward(self._model.cell, self._model.inputs, self._U, self._batches[row], states, 0.0, 0)
        self.state = states.final
        self._predict()

    def _other(self):
        """Where the next states go."""
        return self._memory.initial if self.state is self._memory.final else self._memory.final

    def take(self, source, parents):
        """Every stream gets the state of `source` (L, any, S*H) that `parents` (int32 (count,)) names."""
        target = self._other()
        _gather((self.count, source.shape[0]), THREADS, source, parents, target)
        self.state = target

    def _predict(self):
        """The logits that follow from the state."""
        c, (L, n, width), (C, H) = self._model.c, self.state.shape, self._model.V.shape
        product(
            self.state, (L - 1) * n * width, width, 1, self._V, 0, 1, H, self._z, 0, C, n, C, H,
            bias=c if c.size else None,
        )  # fmt: skip


def _states(model, tokens, sequences):
    """Memory of the layers for one batch of equally long sequences."""
    L, H, columns = model.cell.W.shape
    width, E, dtype = model.cell.STATES * H, model.inputs.shape[0] - (L - 1) * H, model.V.dtype

    def real(*shape):
        return empty(shape, dtype)

    return States(
        words=real(tokens, E), prev=real(L, tokens, width), gates=real(L, tokens, columns),
        aux=real(L, tokens, model.cell.AUX * H), state=real(L, tokens, width), x=real(L - 1, tokens, H),
        initial=real(L, sequences, width), final=real(L, sequences, width),
    )  # fmt: skip


def _batches(tokens, steps):
    """A batch for every row of `tokens`, of so many steps."""
    rows, count = tokens.shape
    sequences = count // steps
    starts = to_device(np.arange(0, count + 1, sequences, dtype=np.int32))
    words = flat(tokens)
    layout = Layout(words, words, words, starts, words, words, words)  # nothing is learned: the rest is not read
    return [Batch(layout, row * count, 0, 0, 0, count, steps, sequences, 0) for row in range(rows)]


@kernel
def _gather(source, parents, target):
    """target[layer, s] = source[layer, parents[s]]; a block for every stream and layer."""
    s, layer = cuda.blockIdx.x, cuda.blockIdx.y
    parent = parents[s]
    for j in range(cuda.threadIdx.x, source.shape[2], THREADS):
        target[layer, s, j] = source[layer, parent, j]


def draw(streams, max_length, rule, rng):
    """Draw tokens for every stream until it ends.

    Parameters
    ----------
    streams : Streams
        What came before has been read.
    max_length : int
        Tokens to draw at most.
    rule : cpu.decode.Rule
    rng : numpy.random.Generator
        Gives a uniform number a step and stream, for as many steps as the longest stream has.

    Returns
    -------
    tokens, log_p : int32 and float64 (count, max_length)
        What was drawn, and its ln p under the model, nats.
    lengths : int64 (count,)
        How many tokens of each are drawn.
    """
    n = streams.count
    allowed, log_p = to_device(rule.allowed), empty((LOOK, n), "f8")
    tokens, scores, lengths = np.zeros((n, max_length), np.int32), np.zeros((n, max_length)), np.zeros(n, np.int64)
    ended = np.zeros(n, bool)
    for first in range(0, max_length, LOOK):
        steps, before = min(LOOK, max_length - first), rng.bit_generator.state
        uniforms = to_device(rng.random((steps, n)))
        for row in range(steps):
            choose(streams.logits, allowed, first + row, rule, uniforms, streams.tokens, log_p)
            if first + row + 1 < max_length:
                streams.advance(row)
        drawn = to_host(streams.tokens)[:steps]
        # A stream's tokens are those before which it had not ended.
        had_ended = np.cumsum(np.vstack([ended, drawn[:-1] == rule.end]), axis=0) > 0
        ended = had_ended[-1] | (drawn[-1] == rule.end)
        lengths += (~had_ended).sum(axis=0)
        tokens[:, first : first + steps] = np.where(had_ended, 0, drawn).T
        scores[:, first : first + steps] = np.where(had_ended, 0, to_host(log_p)[:steps]).T
        if ended.all():
            rng.bit_generator.state = before
            rng.random((lengths.max() - first, n))
            break
    return tokens, scores, lengths


def choose(z, allowed, step, rule, uniforms, tokens, log_p):
    """Draw a token for every stream that has not ended.

    Parameters
    ----------
    z : (n, C)
        Logits.
    allowed : boolean (2, C)
        rule.allowed, on the device.
    step : int
        Tokens that a stream has drawn before. Its row in the arrays below is step % LOOK.
    rule : cpu.decode.Rule
    uniforms : float64 (at least the row and 1, n)
        In [0, 1): what decides each stream's draw.
    tokens, log_p : int32 and float64 (LOOK, n)
        Overwritten in their row with the tokens drawn and their ln p under the model, nats. A stream whose token in
        the row before is rule.end has ended: it gets rule.end again, and no ln p.
    """
    row, before = step % LOOK, (step - 1) % LOOK if step > 0 else -1
    _choose(
        z.shape[0], THREADS, z, allowed, 0 if step + 1 < rule.min_length else 1, uniforms, tokens, log_p, row, before,
        rule.end, rule.temperature > 0, z.dtype.type(rule.inverse), rule.top_k, rule.top_p,
    )  # fmt: skip


@kernel
def _choose(
    z, allowed, may, uniforms, tokens, log_p, row, before, end, random, inverse, top_k, top_p
):  # fmt: skip
    """One stream a block. float64 are the sums over threads, what the uniform number is compared with, and ln p."""
    values = cuda.shared.array(THREADS, z.dtype)
    words = cuda.shared.array(THREADS, np.int32)
    sums = cuda.shared.array(THREADS, np.float64)
    thread, s, C, zero = cuda.threadIdx.x, cuda.blockIdx.x, z.shape[1], z.dtype.type(0)
    if before >= 0 and tokens[before, s] == end:
        if thread == 0:
            tokens[row, s] = end
        return
    values[thread] = _largest(z, s, thread)
    words[thread] = 0
    top, word = _best_of(values, words, thread)
    values[thread], words[thread] = _next_best(z, s, allowed, may, thread, top, -1)
    possible, word = _best_of(values, words, thread)
    every, weights = zero, zero
    for i in range(thread, C, THREADS):
        every += math.exp(z[s, i] - top)
        weights += _weight(z, s, allowed, may, i, possible, inverse, zero)
    total, shares = _sums_of(sums, words, every, 0, thread)[0], 0.0
    if random:
        bound = zero
        if top_k > 0:
            bound = _lowest_kept(z, s, allowed, may, possible, inverse, top_k, 0.0, sums, words, thread)
        if top_p < 1:
            shares = _sums_of(sums, words, weights, 0, thread)[0]
            lowest = _lowest_kept(z, s, allowed, may, possible, inverse, 0, top_p * shares, sums, words, thread)
            bound = max(bound, lowest)
        word = _search(z, s, allowed, may, possible, inverse, bound, uniforms[row, s], values, sums, words, thread)
    if thread == 0:
        if word < 0 or word >= C:  # the logits are not numbers: draw what may be drawn, its ln p is NaN
            word = 0
            while word < C - 1 and not allowed[may, word]:
                word += 1
        tokens[row, s] = word
        log_p[row, s] = float(z[s, word]) - float(top) - math.log(total)


@device_function
def _largest(z, s, thread):
    """The largest of the words that the thread looks at."""
    top = z.dtype.type(-np.inf)
    for i in range(thread, z.shape[1], THREADS):
        top = z[s, i] if z[s, i] > top else top
    return top


@device_function
def _next_best(z, s, allowed, may, thread, value, word):
    """Of the allowed words that a thread looks at the first that is largest, and its logit, after `word` of `value`.

    A word after another has a smaller logit, or the same and a larger index. (-inf, C) if there is none.
    """
    best, found = z.dtype.type(-np.inf), z.shape[1]
    for i in range(thread, z.shape[1], THREADS):
        x = z[s, i]
        if allowed[may, i] and (x < value or (x == value and i > word)) and (x > best or found == z.shape[1]):
            best, found = x, i
    return best, found


@device_function
def _best_of(values, words, thread):
    """The largest value that a thread has left, of equals that of the smallest word; both arrays are overwritten."""
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            value, word = values[thread + half], words[thread + half]
            if value > values[thread] or (value == values[thread] and word < words[thread]):
                values[thread], words[thread] = value, word
        cuda.syncthreads()
        half //= 2
    value, word = values[0], words[0]
    cuda.syncthreads()
    return value, word


@device_function
def _sums_of(sums, counts, value, count, thread):
    """The sums of the threads' values and counts; both arrays are memory of a number a thread."""
    sums[thread], counts[thread] = value, count
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
            counts[thread] += counts[thread + half]
        cuda.syncthreads()
        half //= 2
    total, counted = sums[0], counts[0]
    cuda.syncthreads()
    return total, counted


@device_function
def _weight(z, s, allowed, may, i, reference, inverse, bound):
    """exp((z - reference) / temperature) of a word; 0 if it is not allowed, below the bound, or next to nothing."""
    zero = z.dtype.type(0)
    if not allowed[may, i]:
        return zero
    weight = z.dtype.type(math.exp((z[s, i] - reference) * inverse))
    return weight if weight >= bound and weight > z.dtype.type(LEAST) else zero


@device_function
def _lowest_kept(z, s, allowed, may, reference, inverse, count, share, sums, counts, thread):
    """A bound: the largest above which `count` weights lie at least, that add up to `share` at least.

    Found by halving: first its logarithm, then itself, so as many times as a float has bits at most. A bound with no
    weight between it and the true one will do.
    """
    low, high = z.dtype.type(LEAST), z.dtype.type(2)
    from_low, from_high, summed = 0, 0, 0.0
    summed, from_low = _from_up(z, s, allowed, may, reference, inverse, low, sums, counts, thread)
    if from_low < count or summed < share:
        return z.dtype.type(0)
    while from_low - from_high > 1:
        if high > low + low:
            middle = z.dtype.type(math.sqrt(low) * math.sqrt(high))
        else:
            middle = low + (high - low) * z.dtype.type(0.5)
        if middle <= low or middle >= high:
            break
        summed, counted = _from_up(z, s, allowed, may, reference, inverse, middle, sums, counts, thread)
        if counted >= count and summed >= share:
            low, from_low = middle, counted
        else:
            high, from_high = middle, counted
    return low


@device_function
def _from_up(z, s, allowed, may, reference, inverse, bound, sums, counts, thread):
    """Sum and number of the weights that are not below the bound."""
    summed, counted = z.dtype.type(0), 0
    for i in range(thread, z.shape[1], THREADS):
        weight = _weight(z, s, allowed, may, i, reference, inverse, bound)
        summed += weight
        counted += 1 if weight > 0 else 0
    return _sums_of(sums, counts, summed, counted, thread)


@device_function
def _search(z, s, allowed, may, reference, inverse, bound, uniform, parts, sums, found, thread):
    """The word in whose share of the weights' total the uniform number lies; -1 if no weight is positive.

    The words are cut into PIECES, then the piece in which it lies, and so on; `parts`, `sums` and `found` are memory.
    """
    first, last, left, before, lane = 0, z.shape[1], uniform, 1.0, thread % LANES
    while last - first > 1:
        length = (last - first + PIECES - 1) // PIECES
        start = first + thread // LANES * length
        part = z.dtype.type(0)
        for i in range(start + lane, min(last, start + length), LANES):
            part += _weight(z, s, allowed, may, i, reference, inverse, bound)
        parts[thread] = part
        cuda.syncthreads()
        if lane == 0:
            summed = 0.0
            for other in range(LANES):
                summed += parts[thread + other]
            sums[thread // LANES] = summed
        cuda.syncthreads()
        if thread == 0:
            total, piece = 0.0, -1
            for k in range(PIECES):
                total += sums[k]
            left *= total / before  # the sum of what is cut was rounded otherwise
            for k in range(PIECES):
                if sums[k] > 0:
                    piece = k  # rounding may leave a crumb beyond the last: keep the last possible
                    if left < sums[k]:
                        break
                    left -= sums[k]
            before = sums[max(piece, 0)]
            found[0] = piece
        cuda.syncthreads()
        if found[0] < 0:
            return -1
        first += found[0] * length
        last = min(last, first + length)
    return first


def best_words(z, allowed, value, word):
    """The most probable allowed words of every row, as `cpu.beam` ranks them.

    Parameters
    ----------
    z : (rows, C)
        Logits, or ln p.
    allowed : boolean (1 or 2, C), on the device
        Its last row counts.
    value, word : float64 and int32 (rows, W)
        Overwritten with ln p and the words, the most probable first, of equals the one with the smaller index; -1 where
        there are fewer words.
    """
    _rank(z.shape[0], THREADS, z, allowed, value, word)


@kernel
def _rank(z, allowed, value, word):
    """One row a block. Every thread holds its best word; the one whose word is taken looks for its next."""
    values = cuda.shared.array(THREADS, z.dtype)
    words = cuda.shared.array(THREADS, np.int32)
    sums = cuda.shared.array(THREADS, np.float64)
    thread, s, C, may = cuda.threadIdx.x, cuda.blockIdx.x, z.shape[1], allowed.shape[0] - 1
    values[thread] = _largest(z, s, thread)
    words[thread] = 0
    top, _ = _best_of(values, words, thread)
    every = z.dtype.type(0)
    for i in range(thread, C, THREADS):
        every += math.exp(z[s, i] - top)
    total, _ = _sums_of(sums, words, every, 0, thread)
    log_sum = float(top) + math.log(total)
    own, own_word = _next_best(z, s, allowed, may, thread, top, -1)
    for k in range(value.shape[1]):
        values[thread], words[thread] = own, own_word
        best, best_word = _best_of(values, words, thread)
        if thread == 0:
            value[s, k] = float(best) - log_sum
            word[s, k] = best_word if best_word < C else -1
        if best_word < C and best_word == own_word:
            own, own_word = _next_best(z, s, allowed, may, thread, own, own_word)


def average(z, first, last, count, total):
    """Add the probabilities of one model of an ensemble, from its logits z (rows, C), to `total` (rows, C), in place.

    `first`: it is the first of `count` models, so `total` is overwritten; `last`: total becomes the ln of the mean.
    """
    _average(z.shape[0], THREADS, z, first, last, count, total)


@kernel
def _average(z, first, last, count, total):
    values = cuda.shared.array(THREADS, z.dtype)
    words = cuda.shared.array(THREADS, np.int32)
    sums = cuda.shared.array(THREADS, np.float64)
    thread, s, C = cuda.threadIdx.x, cuda.blockIdx.x, z.shape[1]
    values[thread] = _largest(z, s, thread)
    words[thread] = 0
    top, _ = _best_of(values, words, thread)
    every = z.dtype.type(0)
    for i in range(thread, C, THREADS):
        every += math.exp(z[s, i] - top)
    scale = z.dtype.type(1 / (_sums_of(sums, words, every, 0, thread)[0] * count))
    for i in range(thread, C, THREADS):
        p = math.exp(z[s, i] - top) * scale
        if not first:
            p += total[s, i]
        if last:
            p = math.log(p) if p > 0 else z.dtype.type(-np.inf)
        total[s, i] = p

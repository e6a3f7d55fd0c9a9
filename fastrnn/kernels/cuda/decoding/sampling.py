"""Which token a stream draws next: the rules of `cpu.decoding.sampling`, one block of threads a stream.

The words stand in the same order as on the CPU when a uniform number decides, so both draw the same tokens, up to
rounding.
"""

import math

import numpy as np

from ..driver import SIMULATED, THREADS, cuda, device_function, kernel
from ..layers.reductions import best_of, largest, next_best, sums_of

# Steps between two looks at what was drawn, which wait for the device.
POLL_STEPS = 4 if SIMULATED else 16
# Neighbouring threads that add up a chunk of the words together, and the number of chunks.
LANES = 2 if SIMULATED else 8
CHUNKS = THREADS // LANES
# Weights beside one of 1 that no uniform number can tell from 0, as in `cpu.decoding.sampling`.
MIN_WEIGHT = 1e-37


def choose(z, allowed, step, params, uniforms, tokens, log_p):
    """Draw a token for every stream that has not ended.

    Parameters
    ----------
    z : (n, C)
        Logits.
    allowed : boolean (2, C)
        params.allowed, on the device.
    step : int
        Tokens that a stream has drawn before. Its row in the arrays below is step % LOOK.
    params : cpu.decoding.sampling.SamplingParams
    uniforms : float64 (at least the row and 1, n)
        In [0, 1): what decides each stream's draw.
    tokens, log_p : int32 and float64 (LOOK, n)
        Overwritten in their row with the tokens drawn and their ln p under the model, nats. A stream whose token in
        the row before is params.end has ended: it gets params.end again, and no ln p.
    """
    row, before = step % POLL_STEPS, (step - 1) % POLL_STEPS if step > 0 else -1
    _choose(
        z.shape[0], THREADS, z, allowed, 0 if step + 1 < params.min_length else 1, uniforms, tokens, log_p, row, before,
        params.end, params.temperature > 0, z.dtype.type(params.inverse), params.top_k, params.top_p,
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
    values[thread] = largest(z, s, thread)
    words[thread] = 0
    top, word = best_of(values, words, thread)
    values[thread], words[thread] = next_best(z, s, allowed, may, thread, top, -1)
    possible, word = best_of(values, words, thread)
    every, weights = zero, zero
    for i in range(thread, C, THREADS):
        every += math.exp(z[s, i] - top)
        weights += _weight(z, s, allowed, may, i, possible, inverse, zero)
    total, shares = sums_of(sums, words, every, 0, thread)[0], 0.0
    if random:
        bound = zero
        if top_k > 0:
            bound = _lowest_weight_kept(z, s, allowed, may, possible, inverse, top_k, 0.0, sums, words, thread)
        if top_p < 1:
            shares = sums_of(sums, words, weights, 0, thread)[0]
            lowest = _lowest_weight_kept(z, s, allowed, may, possible, inverse, 0, top_p * shares, sums, words, thread)
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
def _weight(z, s, allowed, may, i, reference, inverse, bound):
    """exp((z - reference) / temperature) of a word; 0 if it is not allowed, below the bound, or next to nothing."""
    zero = z.dtype.type(0)
    if not allowed[may, i]:
        return zero
    weight = z.dtype.type(math.exp((z[s, i] - reference) * inverse))
    return weight if weight >= bound and weight > z.dtype.type(MIN_WEIGHT) else zero


@device_function
def _lowest_weight_kept(z, s, allowed, may, reference, inverse, count, share, sums, counts, thread):
    """A bound: the largest above which `count` weights lie at least, that add up to `share` at least.

    Found by halving: first its logarithm, then itself, so as many times as a float has bits at most. A bound with no
    weight between it and the true one will do.
    """
    low, high = z.dtype.type(MIN_WEIGHT), z.dtype.type(2)
    from_low, from_high, summed = 0, 0, 0.0
    summed, from_low = _tail_sum(z, s, allowed, may, reference, inverse, low, sums, counts, thread)
    if from_low < count or summed < share:
        return z.dtype.type(0)
    while from_low - from_high > 1:
        if high > low + low:
            middle = z.dtype.type(math.sqrt(low) * math.sqrt(high))
        else:
            middle = low + (high - low) * z.dtype.type(0.5)
        if middle <= low or middle >= high:
            break
        summed, counted = _tail_sum(z, s, allowed, may, reference, inverse, middle, sums, counts, thread)
        if counted >= count and summed >= share:
            low, from_low = middle, counted
        else:
            high, from_high = middle, counted
    return low


@device_function
def _tail_sum(z, s, allowed, may, reference, inverse, bound, sums, counts, thread):
    """Sum and number of the weights that are not below the bound."""
    summed, counted = z.dtype.type(0), 0
    for i in range(thread, z.shape[1], THREADS):
        weight = _weight(z, s, allowed, may, i, reference, inverse, bound)
        summed += weight
        counted += 1 if weight > 0 else 0
    return sums_of(sums, counts, summed, counted, thread)


@device_function
def _search(z, s, allowed, may, reference, inverse, bound, uniform, parts, sums, found, thread):
    """The word in whose share of the weights' total the uniform number lies; -1 if no weight is positive.

    The words are cut into CHUNKS, then the chunk in which it lies, and so on; `parts`, `sums` and `found` are memory.
    """
    first, last, left, before, lane = 0, z.shape[1], uniform, 1.0, thread % LANES
    while last - first > 1:
        length = (last - first + CHUNKS - 1) // CHUNKS
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
            total, chunk = 0.0, -1
            for k in range(CHUNKS):
                total += sums[k]
            left *= total / before  # the sum of what is cut was rounded otherwise
            for k in range(CHUNKS):
                if sums[k] > 0:
                    chunk = k  # rounding may leave a crumb beyond the last: keep the last possible
                    if left < sums[k]:
                        break
                    left -= sums[k]
            before = sums[max(chunk, 0)]
            found[0] = chunk
        cuda.syncthreads()
        if found[0] < 0:
            return -1
        first += found[0] * length
        last = min(last, first + length)
    return first

"""The output layer whose products are in bfloat16."""

import threading
import time

import numba
import numpy as np
import pytest
from bfloat16_helpers import ROUNDING, f4
from helpers import COMPILED, make_model

from fastrnn.kernels.cpu.layers import softmax, softmax_bfloat16
from fastrnn.kernels.linalg.bfloat16 import unpack_bfloat16_pairs

pytestmark = pytest.mark.usefixtures("bfloat16_on_any_cpu")


@numba.njit
def pairs_of_exponentials(z, length, words, c, c0, reference, total, e, e0, e_words):
    softmax_bfloat16.exponentials_in_pairs(z, length, words, c, c0, reference, total, e, e0, e_words)


@pytest.mark.every_cpu
@pytest.mark.parametrize("words", [1, 4, 7])
@pytest.mark.parametrize("biased", [True, False])
def test_pairs_of_exponentials(words, biased):
    rng, length = np.random.default_rng(0), 24
    z, c, reference = (
        rng.uniform(-size, size, n).astype(f4) for size, n in ((40, words * length), (1, 9), (2, length))
    )
    c = c if biased else c[:0]
    exact = np.exp(z.reshape(words, length).astype(float) + (c[2 : 2 + words, None] if biased else 0) - reference)
    total, even = np.ones(length, f4), words + words % 2
    e, e_words = np.zeros(5 + even * length // 2, np.uint32), np.zeros(even * length // 2, np.uint32)
    pairs_of_exponentials(z, length, words, c, 2, reference, total, e, 5, e_words)
    np.testing.assert_allclose(total, 1 + exact.sum(0), rtol=1e-5)
    of_tokens = np.stack(unpack_bfloat16_pairs(e[5:].reshape(even, -1)), 2).reshape(even, length)
    of_words = np.stack(unpack_bfloat16_pairs(e_words.reshape(-1, length)), 1).reshape(even, length)
    np.testing.assert_allclose(of_tokens[:words], exact, rtol=ROUNDING)
    np.testing.assert_array_equal(of_words[:words], of_tokens[:words])
    assert not of_words[words:].any() and not e[:5].any()


def output_layer_gradients(precision, tokens, n_threads=1, H=9, wider=0, C=13, running=None):
    """dV, dh and nll of the output layer, of states with `wider` more columns that are NaN.

    `running`: how many of the threads there are at all.
    """
    model = make_model("rnn", C, H, 0, dtype="float32", matmul_precision=precision).network_
    rng = np.random.default_rng(0)
    state = np.full((tokens, H + wider), np.nan, f4)
    state[:, :H] = rng.uniform(-1, 1, (tokens, H))
    targets = rng.integers(0, C, tokens).astype(np.int32)
    work = model.workspace(n_threads, tokens=tokens, steps=1, sequences=1, learn=True)
    V, c, dV, dc, dh = model.model.V, model.model.c, np.zeros((C, H), f4), np.zeros(C, f4), np.zeros((tokens, H), f4)

    def run(thread):
        softmax.output_layer(
            thread, n_threads, None, V, c, tokens, state, targets, work.softmax, dV, dc, dh, f4(1), f4(1), False
        )

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(running or n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dV, dh, work.softmax.nll


class Phases:
    """`next_part` and `end_phase` in plain Python, with a thread that is often late."""

    def __init__(self, n_threads, late):
        self.changed, self.own = threading.Condition(), [0] * n_threads
        self.phase, self.given, self.done, self.late = 0, 0, 0, late

    def next_part(self, thread, n_threads, barrier, parts, part):
        if thread == self.late:
            time.sleep(0.02)
        with self.changed:
            if part == parts:
                self.phase, self.given, self.done = self.phase + 1, 0, 0
                self.changed.notify_all()
                return -1
            if part >= 0:
                self.done += 1
                if self.done == parts:
                    return parts
            if self.phase != self.own[thread] or self.given == parts:
                return -1
            self.given += 1
            return self.given - 1

    def end_phase(self, thread, n_threads, barrier):
        with self.changed:
            assert self.changed.wait_for(lambda: self.phase > self.own[thread], 60)
            self.own[thread] += 1


@pytest.mark.skipif(COMPILED, reason="the output layer is called as plain Python")
class TestOutputLayer:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("late", [0, 1])
    def test_a_thread_that_is_late(self, precision, late, monkeypatch):
        """It changes nothing of what the others did without it, and gives what would come of one thread only."""
        tokens, results = 2 * softmax.TOKENS + 7, []
        for running in (1, 2):
            phases = Phases(2, late if running == 2 else None)
            monkeypatch.setattr(softmax, "next_part", phases.next_part)
            monkeypatch.setattr(softmax, "end_phase", phases.end_phase)
            results.append(output_layer_gradients(precision, tokens, 2, running=running))
        monkeypatch.undo()
        for alone, found, expected in zip(*results, output_layer_gradients(precision, tokens), strict=True):
            np.testing.assert_array_equal(found, alone)
            assert np.linalg.norm(found - expected) < ROUNDING * np.linalg.norm(expected)

    @pytest.mark.parametrize("H", [8, 9])
    def test_reads_no_part_of_the_state_but_h(self, H):
        found, expected = (output_layer_gradients("bfloat16", 5, H=H, wider=wider) for wider in (H, 0))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)

"""The best words of rows, piece by piece, beside a sort of all."""

import numpy as np
import pytest
from helpers import DTYPES

from fastrnn.kernels.cpu.decoding.top_k import allocate, clear, log_sum_exp, update_top_k
from fastrnn.kernels.linalg.gemm import PANEL_WIDTH

C = 300
PADDED = -(-C // PANEL_WIDTH) * PANEL_WIDTH


def found(logits, bias, allowed, k, dtype, parts=1):
    """Candidates (value, word) of a row, one list for each part of the words, and its log_sum."""
    best, row = allocate(parts, 3, k + 1, np.dtype(dtype)), 1
    z, padded = np.zeros(PADDED, dtype), np.full(PADDED, -np.inf, dtype)
    z[:C], padded[:C] = logits, bias
    may = np.concatenate([allowed, np.ones(PADDED - C, np.bool_)])
    for part in range(parts):
        clear(part, row, best)
    for panel, word in enumerate(range(0, PADDED, PANEL_WIDTH)):
        part = panel * parts * PANEL_WIDTH // PADDED
        update_top_k(z[word : word + PANEL_WIDTH], padded, word, may, k, part, row, best)
    log_sum_exp(row, best)
    lists = [
        [(best.value[m, row, i], best.word[m, row, i]) for i in range(best.count[m, row])] for m in range(parts)
    ]  # fmt: skip
    return lists, best.log_sum[row]


def expected(z, allowed, words, k):
    words = [word for word in words if allowed[word]]
    return [(z[word], word) for word in sorted(words, key=lambda word: -z[word])[:k]]


def expected_log_sum(z):
    z = z.astype(np.float64)
    return z.max() + np.log(np.exp(z - z.max()).sum())


@pytest.mark.parametrize("order", ["any", "rising", "falling", "few values", "far apart"])
@pytest.mark.parametrize("k", [1, 4, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_candidates_are_the_largest(dtype, k, order):
    rng = np.random.default_rng(k)
    z, bias, allowed = rng.normal(size=C) * 5, np.zeros(C), rng.random(C) < 0.8
    rising = np.sort(z)
    z = {"any": z, "rising": rising, "falling": -rising, "few values": np.round(z / 5), "far apart": rising * 40}[order]
    z = z.astype(dtype)
    for parts, shares in ((1, [range(C)]), (2, [range(192), range(192, C)])):
        lists, log_sum = found(z, bias, allowed, k, dtype, parts)
        assert lists == [expected(z, allowed, words, k) for words in shares]
        assert log_sum == pytest.approx(expected_log_sum(z), rel={"float32": 1e-6, "float64": 1e-13}[dtype], abs=1e-6)


@pytest.mark.every_cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bias_counts_and_what_is_not_allowed_does_in_the_sum(dtype):
    rng = np.random.default_rng(0)
    z, bias, allowed = rng.normal(size=C).astype(dtype), np.zeros(C, dtype), np.ones(C, np.bool_)
    bias[[7, 200]], allowed[200] = (20, 400), False
    (best,), log_sum = found(z, bias, allowed, 1, dtype)
    assert best == [(z[7] + bias[7], 7)]
    assert log_sum == pytest.approx(z[200] + 400, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_words_allowed_and_logits_that_are_not_numbers(dtype):
    z, allowed = np.linspace(-1, 1, C).astype(dtype), np.arange(C) == 299
    assert found(z, 0, allowed, 5, dtype)[0] == [[(z[299], 299)]]
    lists, log_sum = found(np.full(C, np.nan), 0, np.ones(C, np.bool_), 5, dtype)
    assert lists == [[]] and np.isnan(log_sum)

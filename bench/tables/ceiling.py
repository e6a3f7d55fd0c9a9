"""What the machine can do at most: multiply-adds in cache, bytes of memory; measured, the best of several tries."""

import functools
import time

import numba
import numpy as np

from fastrnn.kernels.linalg.gemm import product
from fastrnn.kernels.threads import ThreadTeam

from ..peers.torch_model import torch

BIG = 1 << 26  # elements of the arrays of the large copy: 256 MB


@numba.njit(nogil=True)
def _products(thread, n_threads, barrier, a, b, c, m, n, k, times):
    for _ in range(times):
        product(a[thread], 0, k, 1, b[thread], 0, n, c[thread], 0, n, m, n, k, False)


def product_rate(threads, m=240, n=64, k=256):
    """Gflop/s of our product on operands in cache."""
    a, b, c = (np.ones((threads, size), np.float32) for size in (m * k, k * n, m * n))
    with ThreadTeam(threads) as team:
        return best_rate(lambda times: team.run(_products, a, b, c, m, n, k, times)) * 2 * m * n * k * threads / 1e9


@numba.njit(nogil=True, fastmath=True)
def _scale(thread, n_threads, barrier, a, times):
    part = a[len(a) * thread // n_threads : len(a) * (thread + 1) // n_threads]
    for _ in range(times):
        for i in range(len(part)):
            part[i] *= np.float32(0.9999)


@numba.njit(nogil=True, fastmath=True)
def _sum(thread, n_threads, barrier, a, out, times):
    part = a[len(a) * thread // n_threads : len(a) * (thread + 1) // n_threads]
    for _ in range(times):
        total = np.float32(0)
        for i in range(len(part)):
            total += part[i]
        out[16 * thread] += total


@functools.cache
def update_rate(threads, elements):
    """GB/s, read and written, of visiting a float32 array again and again: the fastest an update can be."""
    a = np.ones(elements, np.float32)
    with ThreadTeam(threads) as team:
        return best_rate(lambda times: team.run(_scale, a, times)) * 8 * elements / 1e9


@functools.cache
def read_rate(threads, elements):
    """GB/s of reading a float32 array again and again."""
    a, out = np.ones(elements, np.float32), np.zeros(16 * threads, np.float32)
    with ThreadTeam(threads) as team:
        return best_rate(lambda times: team.run(_sum, a, out, times)) * 4 * elements / 1e9


def best_rate(run, seconds=0.05, repeats=10):
    """Most runs a second; `run(times)` repeats the work itself, as often as fills `seconds`."""
    rates, times = [], 1
    for _ in range(repeats + 5):  # the first compile, and settle the number of times
        start = time.perf_counter()
        run(times)
        passed = time.perf_counter() - start
        rates.append(times / passed)
        times = max(1, int(times * min(10, seconds / passed)))
    return max(rates)


def torch_product_rate(threads, size=1024, repeats=20):
    """Gflop/s of torch.mm."""
    torch.set_num_threads(threads)
    a, b, rates = torch.ones(size, size), torch.ones(size, size), []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
    return max(rates)


def ceilings(threads):
    """[{"what", "threads", "rate", "unit"}] of products, and of a large array read and written."""
    numbers = sorted({1, threads})
    rows = [("product, fastrnn", n, product_rate(n), "Gflop/s") for n in numbers]
    if torch is not None:
        rows += [("product, torch.mm, 1024 by 1024", n, torch_product_rate(n), "Gflop/s") for n in numbers]
        torch.set_num_threads(threads)
    rows += [("256 MB read and written", n, update_rate(n, BIG), "GB/s") for n in numbers]
    return [dict(zip(("what", "threads", "rate", "unit"), row, strict=True)) for row in rows]


def higher(rows, again):
    """The better of two measurements of `ceilings`: a busy machine hides its best."""
    return [a | {"rate": max(a["rate"], b["rate"])} for a, b in zip(rows, again, strict=True)]


def fma_ceiling(rows, threads):
    """Flop/s of our product on all threads."""
    return next(r["rate"] for r in rows if r["what"] == "product, fastrnn" and r["threads"] == threads) * 1e9

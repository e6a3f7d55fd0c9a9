"""Tokens a second of training, ours and PyTorch's, on the same batches in one run.

    python bench/throughput.py --output bench/RESULTS.md

fastrnn must be importable; without PyTorch it measures ours alone.  The comparison is of one epoch of plain
SGD with clipping on ragged batches: lengths log-normal about 20, words Zipf-distributed.  Ours goes through
the public API, all of `partial_fit` included.  PyTorch is measured in three forms, because the fastest
differs by machine; its batches are packed outside the clock:

usual    Embedding -> nn.RNN, nn.LSTM or nn.GRU on a PackedSequence -> Linear -> cross_entropy
chunked  the same; output layer and its backward pass by CHUNK tokens, so that the logits stay in cache
direct   chunked, and the gates' inputs are looked up as ours are, without the product W_ih; its steps are a Python loop

(Also tried, and slower or no faster: linear_cross_entropy with its options, log_softmax and gather, other CHUNKs, fused
SGD, a sparse gradient of the embedding.)
All are timed in turn, round after round, so that a machine that slows down slows all of them.
"""

import argparse
import copy
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np

from fastrnn import FastRNN
from fastrnn.cells import CELLS
from fastrnn.cpu.gemm import load_product, product
from fastrnn.cpu.threads import Team, available_cores
from fastrnn.ragged import Ragged, minibatches

try:
    torch = None
    if "--train-for-memory" not in sys.argv:  # PyTorch's own memory is not ours
        import torch
except ImportError:
    pass

MEAN_LENGTH, SIGMA, LONGEST = 20, 0.5, 200
LEARNING_RATE, CLIP = 0.1, 5.0
CHUNK = 128
TOLERANCE = 1e-4
MEMORY_TOKENS = (2_000, 200_000)
MEMORY_GROWTH = 0.1  # of the N x C array of logits that is not to be built
BUSY = 1.0
NOISY = ": **other processes ran: do not quote these figures** (threads waiting for one another cost most)"
FORMS = ("usual", "chunked", "direct")
GATE_ORDER = {"rnn": (0,), "lstm": (0, 1, 3, 2)}  # our gates in PyTorch's order: i, f, g, o


def corpus(tokens, vocab_size, seed):
    """Inputs and targets of about `tokens` tokens, two Ragged."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(np.log(MEAN_LENGTH) - SIGMA**2 / 2, SIGMA, 2 + 2 * tokens // MEAN_LENGTH)
    lengths = np.clip(np.rint(lengths), 1, LONGEST).astype(np.int64)
    lengths = lengths[: 1 + np.searchsorted(np.cumsum(lengths), tokens)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    p = 1 / np.arange(1, vocab_size + 1)
    x, y = rng.choice(vocab_size, (2, offsets[-1]), p=p / p.sum()).astype(np.int32)
    return Ragged(x, offsets), Ragged(y, offsets)


def flops_per_token(cell, C, H):
    """Of training: the output layer's three products and the recurrence's three, 2 flops a multiply-add."""
    return 6 * C * H + 6 * CELLS[cell].GATES * H * H


def our_model(cell, args):
    return FastRNN(
        cell, args.hidden_dim, args.vocab_size, optimizer="sgd", learning_rate=LEARNING_RATE, clip_norm=CLIP,
        batch_size=args.batch_size, n_threads=args.threads, random_state=args.seed,
    )  # fmt: skip


# ---- PyTorch


def packed_batches(x, y, order, bounds):
    """[(inputs, targets, batch_sizes, sequences)] as tensors, in the order of a PackedSequence."""
    batches = []
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        ids = order[first:last]
        lengths = x.lengths[ids]
        sizes = [int((lengths > t).sum()) for t in range(lengths[0])]
        rows = np.concatenate([x.offsets[ids[:n]] + t for t, n in enumerate(sizes)])
        tensors = [torch.from_numpy(side.values[rows].astype(np.int64)) for side in (x, y)]
        batches.append((*tensors, torch.tensor(sizes), len(ids)))
    return batches


def rnn_step(a, W, h):
    return (torch.tanh(torch.addmm(a, h[0], W)),)


def lstm_step(a, W, state):
    h, c = state
    i, f, g, o = torch.addmm(a, h, W).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(a, W, state):
    (h,), H = state, state[0].shape[1]
    product_ = h @ W
    r, z = torch.sigmoid(a[:, : 2 * H] + product_[:, : 2 * H]).chunk(2, 1)
    n = torch.tanh(a[:, 2 * H :] + r * product_[:, 2 * H :])
    return (n + z * (h - n),)


STEPS = {"rnn": (rnn_step, 1), "lstm": (lstm_step, 2), "gru": (gru_step, 1)}


class TorchTrainer:
    """PyTorch's model of a cell and its training; `form` is as described at the top of the file."""

    def __init__(self, cell, form, C, H, embedding_dim=None):
        gates = CELLS[cell].GATES
        self.form, self.H = form, H
        if form == "direct":
            (self.step, self.states), embedding_dim = STEPS[cell], gates * H
            W = torch.empty(H, gates * H).uniform_(-(H**-0.5), H**-0.5)
            self.layer = torch.nn.ParameterList([W, torch.zeros(gates * H)])
        else:
            embedding_dim = embedding_dim or H
            module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
            self.layer = module(embedding_dim, H)
        self.embedding, self.output = torch.nn.Embedding(C, embedding_dim), torch.nn.Linear(H, C)
        torch.nn.init.uniform_(self.embedding.weight, -(C**-0.5), C**-0.5)
        self.parameters = [p for part in (self.embedding, self.layer, self.output) for p in part.parameters()]
        self.optimizer = torch.optim.SGD(self.parameters, lr=LEARNING_RATE)

    def hidden(self, inputs, sizes):
        """h of every packed token: (N, H)."""
        embedded = self.embedding(inputs)
        if self.form != "direct":
            return self.layer(torch.nn.utils.rnn.PackedSequence(embedded, sizes))[0].data
        steps = (embedded + self.layer[1]).split(sizes.tolist())
        state = (embedded.new_zeros(len(steps[0]), self.H),) * self.states
        out = []
        for a in steps:
            state = self.step(a, self.layer[0], tuple(s[: len(a)] for s in state))
            out.append(state[0])
        return torch.cat(out)

    def loss(self, hidden, targets):
        return torch.nn.functional.cross_entropy(self.output(hidden), targets, reduction="sum")

    def backward(self, inputs, targets, sizes, scale):
        """Gradients of scale * the summed cross-entropy, which is returned."""
        hidden = self.hidden(inputs, sizes)
        if self.form == "usual":
            loss = self.loss(hidden, targets)
            (loss * scale).backward()
            return loss.item()
        total, leaf = 0.0, hidden.detach().requires_grad_()
        for rows, wanted in zip(leaf.split(CHUNK), targets.split(CHUNK), strict=True):
            loss = self.loss(rows, wanted)
            (loss * scale).backward()
            total += loss.item()
        hidden.backward(leaf.grad)
        return total

    def epoch(self, batches):
        """Train on all batches; returns the summed cross-entropy."""
        total = 0.0
        for inputs, targets, sizes, sequences in batches:
            self.optimizer.zero_grad(set_to_none=True)
            total += self.backward(inputs, targets, sizes, 1 / sequences)
            torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            self.optimizer.step()
        return total


def copy_weights(peer, params, order, H):
    """Give PyTorch's model our weights; its own W_ih becomes a permutation. Returns its parameters by our names."""
    layer, U = peer.layer, params["layer0.U"]
    with torch.no_grad():
        peer.output.weight[:], peer.output.bias[:] = params["V"], params["c"]
        if peer.form == "direct":
            peer.embedding.weight[:] = U[order].T
            layer[0][:], layer[1][:] = params["layer0.W"][order].T, params["layer0.b"][order]
            W, b = layer
        else:
            peer.embedding.weight[:], layer.weight_ih_l0[:] = U.T, torch.eye(len(order))[order]
            W, b = layer.weight_hh_l0, layer.bias_ih_l0
            W[:], b[:], layer.bias_hh_l0[:] = params["layer0.W"][order], params["layer0.b"][order], 0
    return {"U": peer.embedding.weight, "W": W, "b": b, "V": peer.output.weight, "c": peer.output.bias}


def check_same(cell, x, y, args):
    """Largest relative difference of loss and gradients between ours and PyTorch's on equal weights; exits if large.

    Our LSTM's peepholes are zero.  PyTorch's GRU resets after the product, ours before: they cannot be compared.
    """
    x, y = x[: args.batch_size], y[: args.batch_size]
    model, rng = our_model(cell, args).set_params(max_epochs=0).fit(x, y), np.random.default_rng(args.seed)
    for name in ("layer0.b", "c"):
        model.params_[name] = rng.normal(0, 0.3, model.params_[name].shape)
    C, H, gates = args.vocab_size, args.hidden_dim, CELLS[cell].GATES
    params = {name: torch.tensor(np.array(value)) for name, value in model.params_.items()}
    order = (np.array(GATE_ORDER[cell])[:, None] * H + np.arange(H)).ravel()
    (batch,) = packed_batches(x, y, *minibatches(x.lengths, args.batch_size))
    count = len(x.values)
    loss, gradients = model.gradients(x, y)
    ours = {"V": gradients["V"], "c": gradients["c"]}
    ours |= {name: gradients[f"layer0.{name}"][order] for name in ("W", "b")}
    errors = {}
    for form in FORMS:
        peer = TorchTrainer(cell, form, C, H, embedding_dim=gates * H)
        theirs = copy_weights(peer, params, order, H)
        errors[form, "loss"] = abs(peer.backward(*batch[:3], 1 / count) / count - loss) / loss
        U = gradients["layer0.U"]
        expected = ours | {"U": U[order].T if form == "direct" else U.T}
        for name, parameter in theirs.items():
            found = parameter.grad.numpy()
            found = found.T if form == "direct" and name == "W" else found
            errors[form, name] = float(np.abs(found - expected[name]).max() / np.abs(expected[name]).max())
    if not max(errors.values()) < TOLERANCE:
        sys.exit(f"{cell}: ours and PyTorch's differ on equal weights, so are not comparable: {errors}")
    return max(errors.values())


# ---- Measurements


def time_cell(cell, x, y, args):
    """{what: figures}: tokens a second and cores used of every round, mean cross-entropy of the last epoch."""
    C, H, tokens = args.vocab_size, args.hidden_dim, len(x.values)
    model = our_model(cell, args)
    peers = {}
    if torch is not None:
        torch.manual_seed(args.seed)
        peers = {form: TorchTrainer(cell, form, C, H) for form in FORMS}
    results = {name: {"rates": [], "cores": [], "loss": None} for name in ("fastrnn", *peers)}

    def timed(name, epoch):
        start, cpu = time.perf_counter(), time.process_time()
        loss = epoch()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        results[name]["rates"].append(tokens / seconds)
        results[name]["cores"].append(cpu / seconds)
        results[name]["loss"] = loss

    for turn in range(args.repeats + 1):  # the first warms up, and compiles
        # the batches of the epoch that comes; before the first, the model has no generator yet: any will do
        rng = copy.deepcopy(model.rng_) if turn else np.random.default_rng(args.seed)
        batches = packed_batches(x, y, *minibatches(x.lengths, args.batch_size, rng)) if peers else None
        timed("fastrnn", lambda: model.partial_fit(x, y).loss_curve_[-1])
        for form, peer in peers.items():
            timed(form, lambda peer=peer, batches=batches: peer.epoch(batches) / tokens)
    for result in results.values():
        del result["rates"][0], result["cores"][0]
    return results


@numba.njit(nogil=True)
def product_again(member, size, barrier, a, b, c, m, n, k, times):
    for _ in range(times):
        product(a[member], 0, k, 1, b[member], 0, n, c[member], 0, n, m, n, k, False)


def product_rate(threads, m=240, n=64, k=256, seconds=0.1, repeats=15):
    """Gflop/s of our product on operands in cache, the best of several."""
    load_product("float32")
    a, b, c = (np.ones((threads, size), np.float32) for size in (m * k, k * n, m * n))
    rates, flops, times = [], 2 * m * n * k * threads, 10
    with Team(threads) as team:
        for _ in range(repeats + 5):  # the first settle the number of times
            start = time.perf_counter()
            team.run(product_again, a, b, c, m, n, k, times)
            passed = time.perf_counter() - start
            rates.append(times * flops / passed / 1e9)
            times = max(1, int(times * min(10, seconds / passed)))
    return max(rates)


def torch_product_rate(threads, size=1024, repeats=20):
    """Gflop/s of torch.mm, the best of several."""
    torch.set_num_threads(threads)
    a, b, rates = torch.ones(size, size), torch.ones(size, size), []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
    return max(rates)


def ceilings(threads):
    """{(whose, threads): Gflop/s}"""
    numbers = sorted({1, threads})
    rates = {("fastrnn", n): product_rate(n) for n in numbers}
    if torch is not None:
        rates |= {("torch.mm", n): torch_product_rate(n) for n in reversed(numbers)}
        torch.set_num_threads(threads)
    return rates


def peak_memory():
    """Largest resident memory of this process so far, MB."""
    try:  # Linux's ru_maxrss would include the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def train_for_memory(args):
    """What the process started by `memory` does."""
    x, y = corpus(args.tokens, args.vocab_size, args.seed)
    our_model(args.cells[0], args).partial_fit(x, y)
    print(peak_memory())


def memory(args):
    """{tokens: peak memory in MB of a fresh process that trains one epoch}; exits if it grows as tokens x words."""
    peaks = {}
    for tokens in (MEMORY_TOKENS[0], *MEMORY_TOKENS):  # the first compiles, which takes memory too
        command = [sys.executable, __file__, "--train-for-memory", "--cells", args.cells[0]]
        command += ["--tokens", str(tokens)]
        for name in ("vocab_size", "hidden_dim", "batch_size", "threads", "seed"):
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peaks[tokens] = float(done.stdout)
    (few, before), (many, after) = sorted(peaks.items())
    logits = (many - few) * args.vocab_size * 4 / 2**20
    if after - before > MEMORY_GROWTH * logits:
        sys.exit(f"memory grew by {after - before:.0f} MB from {few} to {many} tokens")
    return peaks


# ---- Report


def machine(args):
    """{what: value} of everything a figure depends on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = ("numpy", "numba", "llvmlite", "torch")
    versions = [f"{p} {importlib.metadata.version(p)}" for p in packages if p != "torch" or torch is not None]
    settings = ("OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
    cpu = numba.core.codegen.ll.get_host_cpu_name()
    facts = {
        "date": f"{datetime.date.today()}",
        "CPU": f"{name} ({cpu}), {available_cores()} cores available",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(versions),
        "environment": ", ".join(f"{s}={os.environ.get(s, '(unset)')}" for s in settings),
        "workload": f"C = {args.vocab_size}, H = {args.hidden_dim}, batches of {args.batch_size} sequences of"
        f" {MEAN_LENGTH} tokens on average, {args.tokens} tokens an epoch, float32, threads for both: {args.threads},"
        f" SGD, clipping at {CLIP:g}, seed {args.seed}",
    }
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        facts["load average at the start"] = f"{load:.2f}" + (NOISY if load > BUSY else "")
    return facts


def spread(values, form="{:,.0f}"):
    """ "median (lowest to highest)"."""
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def ratios(ours, theirs):
    return [a / b for a, b in zip(ours["rates"], theirs["rates"], strict=True)]


def cell_lines(cell, results, ceiling, args):
    """A cell's rows of the table."""
    ours, lines = results["fastrnn"], []
    peers = [name for name in results if name != "fastrnn"]
    fastest = max(peers, key=lambda name: statistics.median(results[name]["rates"]), default=None)
    for name, result in results.items():
        rate = statistics.median(result["rates"])
        share = rate * flops_per_token(cell, args.vocab_size, args.hidden_dim) / 1e9 / ceiling
        ratio = spread(ratios(ours, result), "{:.2f}") if name != "fastrnn" else ""
        what = name if name == "fastrnn" else f"PyTorch, {name}{', its fastest' if name == fastest else ''}"
        figures = f"{spread(result['rates'])} | {ratio} | {share:.0%} | {statistics.median(result['cores']):.1f}"
        lines.append(f"| {cell} | {what} | {figures} | {result['loss']:.3f} |")
    return lines


ABOUT_PEER = """
PyTorch's forms: **usual** is Embedding (C, H), nn.RNN, nn.LSTM or nn.GRU on a PackedSequence, Linear,
cross_entropy summed over the tokens and divided by the sequences, clip_grad_norm_, SGD. The embedding before
W_ih is the standard way to write it, and costs a product more, of E by G H a token (E = H). **chunked** takes
the output layer by {chunk} tokens. **direct** is chunked without W_ih: it looks up the gates' inputs in a
table (C, G H), as ours does; nn.RNN, nn.LSTM and nn.GRU cannot be told to, so its steps are a loop in Python.
fastrnn's time is that of `partial_fit`, with its checks and the forming of the batches; PyTorch's batches are
packed beforehand.

The computation is the same: on equal weights the loss and every gradient agree in all forms; the largest
difference, relative to the largest entry of its array, is {same}. Our LSTM has peepholes, zero in this check
and trained in the timing. PyTorch's GRU resets after the product and ours before it: alike in work, not
comparable in value.
"""


def report(facts, cells, same, rates, peaks, args):
    """The results as Markdown."""
    C, H, ceiling = args.vocab_size, args.hidden_dim, rates["fastrnn", args.threads]
    mflops = ", ".join(f"{cell} {flops_per_token(cell, C, H) / 1e6:.2f}" for cell in cells)
    lines = ["# Throughput of training", "", "Written by `bench/throughput.py`; do not edit.", ""]
    lines += [f"- {what}: {value}" for what, value in facts.items()]
    lines += [
        "",
        f"Medians of {args.repeats} rounds (lowest to highest). A round times every row of a cell in turn, on the",
        "same batches; a ratio is of fastrnn's tokens a second and the row's, taken within a round. *Cores* is",
        "processor time over time on the clock: below the number of threads, something else ran.",
        "",
        "| cell | what | tokens/s | fastrnn is faster by | of the ceiling | cores | last loss |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for cell, results in cells.items():
        lines += cell_lines(cell, results, ceiling, args)
    lines += ["", f"Counted for all alike, Mflop a token: 6 C H + 6 G H² (G gates): {mflops}."]
    if torch is None:
        lines += ["", "PyTorch is not installed here: ours only."]
    else:
        compared = " and ".join(f"{error:.0e} ({cell})" for cell, error in same.items()) or "not looked at"
        lines += ABOUT_PEER.format(chunk=CHUNK, same=compared).splitlines()
    lines += ["", "| product, float32 | threads | Gflop/s, best |", "|---|---:|---:|"]
    lines += [f"| {whose} | {threads} | {rate:.0f} |" for (whose, threads), rate in sorted(rates.items())]
    lines += [
        "",
        "The ceiling is that of fastrnn's product on operands in cache, on all threads; torch.mm is of 1024 by 1024.",
        "",
        f"Peak memory of a process that trains one epoch ({args.cells[0]}), its imports and loaded kernels included:",
        "",
        "| tokens N | peak, MB | an N by C array of logits, MB |",
        "|---:|---:|---:|",
    ]
    lines += [f"| {n:,} | {peak:.0f} | {n * C * 4 / 2**20:,.0f} |" for n, peak in peaks.items()]
    return "\n".join(lines) + "\n"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--hidden-dim", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32, help="sequences")
    parser.add_argument("--tokens", type=int, default=20_000, help="in an epoch, which is what is timed")
    parser.add_argument("--cells", nargs="+", choices=tuple(CELLS), default=[c for c in CELLS if c in STEPS])
    parser.add_argument("--threads", type=int, default=available_cores(), help="of both; default: all cores")
    parser.add_argument("--repeats", type=int, default=7, help="rounds after the warm-up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there, as Markdown")
    parser.add_argument("--train-for-memory", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse()
    if args.train_for_memory:
        return train_for_memory(args)
    facts = machine(args)
    peaks = memory(args)
    rates = ceilings(args.threads)
    x, y = corpus(args.tokens, args.vocab_size, args.seed)
    same, cells = {}, {}
    for cell in args.cells:
        if torch is not None and cell in GATE_ORDER:
            same[cell] = check_same(cell, x, y, args)
        cells[cell] = time_cell(cell, x, y, args)
        print("\n".join(cell_lines(cell, cells[cell], rates["fastrnn", args.threads], args)), file=sys.stderr)
    for key, rate in ceilings(args.threads).items():  # once more: a noisy machine hides its best
        rates[key] = max(rate, rates[key])
    text = report(facts, cells, same, rates, peaks, args)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    if args.json:
        gflops = [{"whose": w, "threads": n, "gflops": rate} for (w, n), rate in rates.items()]
        figures = {"machine": facts, "cells": cells, "same": same, "products": gflops, "peak_mb": peaks}
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

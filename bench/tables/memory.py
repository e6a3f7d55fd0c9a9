"""Table `memory`: peak memory of a process that trains or scores, ours and PyTorch's, each in a fresh one.

Run as a program, `python -m bench.tables.memory TASK`, it is that process.
"""

import json
import sys

from ..machine import resident_memory, run_child
from ..workloads import CELLS, SENTENCES, WORKLOADS

TITLE = "Memory"
BATCHES = 4
GROWTH = (2_000, 200_000)
MB = 2**20


def measure(options):
    """All figures of the table."""
    from ..peers.torch_model import torch

    cells = CELLS[:1] if options.quick else CELLS
    tasks = [(w, cell, True) for w in WORKLOADS for cell in w.targets if cell in cells or len(w.targets) == 1]
    tasks += [(SENTENCES, cell, False) for cell in cells]
    rows = []
    for workload, cell, learn in tasks:
        row = {"workload": workload.key, "title": workload.title, "cell": cell, "learn": learn}
        tokens = workload.batch_size * BATCHES * (workload.length or 20)
        row["fastrnn"] = ours(row, tokens, options)
        if torch is not None:
            row["PyTorch"] = child(row | {"who": "PyTorch", "tokens": tokens, "threads": options.threads})
        rows.append(row)
        print(f"{row['title']}, {cell}: {row['fastrnn']['peak']:.0f} MB", file=sys.stderr)
    small, large = GROWTH[0], GROWTH[1] // (10 if options.quick else 1)
    task = {"workload": SENTENCES.key, "cell": "rnn", "learn": True}
    growth = [{"tokens": tokens, **ours(task, tokens, options)} for tokens in (small, large)]
    return {"threads": options.threads, "rows": rows, "growth": growth}


def ours(task, tokens, options):
    """Our process, twice: the first compiles, which takes memory too."""
    task = task | {"who": "fastrnn", "tokens": tokens, "threads": options.threads}
    child(task)
    return child(task)


def child(task):
    return json.loads(run_child(["-m", "bench.tables.memory", json.dumps(task)]))


# ---- The process that is measured


def main():
    task = json.loads(sys.argv[1])
    workload = next(w for w in WORKLOADS if w.key == task["workload"])
    run = run_fastrnn if task["who"] == "fastrnn" else run_torch
    imported, needed = run(workload, task)
    print(json.dumps({"imports": imported, "needed": needed, "peak": resident_memory()[1]}))


def run_fastrnn(workload, task):
    """Train or score; returns MB after the imports, and MB of parameters, gradients and corpus."""
    from fastrnn import FastRNN

    FastRNN()  # loads everything that is imported late
    imported = resident_memory()[0]
    x, y = workload.corpus(task["tokens"])
    model = workload.model(task["cell"], task["threads"])
    if task["learn"]:
        model.partial_fit(x, y)
    else:
        model.loss(x, y)
    parameters = {name: array.nbytes for name, array in model.params_.items()}
    gradients = sum(parameters.values()) - parameters["layer0.U"] if task["learn"] else 0  # U's: only rows that occur
    return imported, (sum(parameters.values()) + gradients + x.values.nbytes + y.values.nbytes) / MB


def run_torch(workload, task):
    """The same with PyTorch; batches are formed one by one, so that its corpus is int32 too."""
    from ..peers.torch_model import peer_of, torch, torch_batches

    torch.set_num_threads(task["threads"])
    imported = resident_memory()[0]
    x, y = workload.corpus(task["tokens"])
    peer = peer_of(workload, task["cell"])
    data = torch_batches(x, y, workload.batch_size)
    peer.epoch(data) if task["learn"] else peer.score(data)
    parameters = sum(p.nbytes for p in peer.parameters)
    return imported, (parameters * (1 + task["learn"]) + x.values.nbytes + y.values.nbytes) / MB


# ---- Report

ABOUT = """
Resident memory in MB of a fresh process at its peak: {batches} batches of training with SGD, or of scoring. *Imports*
is what the process holds before it has data; *needed* is parameters, their gradients (of fastrnn's U only the rows of
words that occur have one, which is not counted) and the corpus as int32; SGD keeps no state. *The rest* is what remains
of the peak: loaded kernels, the copy of the weights to go back to when training diverges, states of one batch, logits.
fastrnn's U (C, G H) holds the gates' inputs, which PyTorch multiplies out of an embedding (C, H) and W_ih.
""".strip()

HEAD = """
| workload | cell | fastrnn, peak | imports | needed | the rest | PyTorch, peak | imports | needed | the rest | below |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    out = [*ABOUT.format(batches=BATCHES).splitlines(), "", *HEAD.splitlines()]
    for row in figures["rows"]:
        theirs, below = " | | | ", ""
        if "PyTorch" in row:
            theirs = parts(row["PyTorch"])
            below = "yes" if row["fastrnn"]["peak"] < row["PyTorch"]["peak"] else "**no**"
        out.append(f"| {label(row)} | {row['cell']} | {parts(row['fastrnn'])} | {theirs} | {below} |")
    return [*out, "", *growth_lines(*figures["growth"])]


def growth_lines(few, many):
    """A paragraph about a larger corpus."""
    more = {name: many[name] - few[name] for name in ("tokens", "peak", "needed")}
    logits = more["tokens"] * SENTENCES.vocab_size * 4 / MB
    return [
        f"A corpus {many['tokens'] / few['tokens']:.0f} times as large ({many['tokens']:,} tokens, first workload,"
        f" rnn) takes {many['peak']:.0f} MB instead of {few['peak']:.0f}:",
        f"{more['peak']:.1f} MB more, of which the corpus itself is {more['needed']:.1f} MB;"
        f" an array of all logits would take {logits:,.0f} MB more.",
    ]


def label(row):
    return row["title"] + ("" if row["learn"] else ", scoring")


def parts(sizes):
    """Peak and what it is made of."""
    rest = sizes["peak"] - sizes["imports"] - sizes["needed"]
    return " | ".join(f"{size:.0f}" for size in (sizes["peak"], sizes["imports"], sizes["needed"], rest))


def draw(figures, plots):
    """[(file, what it shows)]"""
    rows = [(f"{row['cell']}, {label(row)}", row["fastrnn"], row.get("PyTorch")) for row in figures["rows"]]
    plots.memory_bars("memory.svg", "Peak memory of a process, MB", rows)
    return [("memory.svg", "Peak memory of fastrnn and PyTorch, by workload")]


if __name__ == "__main__":
    main()

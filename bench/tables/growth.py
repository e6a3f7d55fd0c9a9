"""Table `growth`: how the time a token grows with the corpus, the vocabulary and the units."""

import dataclasses
import statistics
import sys

from ..measure import rounds
from ..report import exponent
from ..workloads import SENTENCES

TITLE = "Growth"
REPEATS = 3  # at most; the largest sizes take seconds
SWEEPS = {  # what grows: title, cells, sizes, largest exponent
    "tokens": ("tokens N of the corpus", ("lstm",), (4_000, 40_000, 400_000), 0),
    "vocab_size": ("words C", ("rnn", "lstm"), (1000, 2000, 4000, 8000, 16_000, 32_000, 64_000), 1),
    "hidden_dim": ("units H", ("rnn", "lstm"), (50, 100, 200, 400, 800), 2),
}
TOKENS = 6_000
QUICK_PART = 10


def measure(options):
    """All figures of the table."""
    repeats = min(options.repeats, REPEATS)
    rows = []
    for what, (_, cells, sizes, _) in SWEEPS.items():
        for cell in cells:
            rows.append(sweep(what, cell, sizes[:3:2] if options.quick else sizes, repeats, options))
            print(f"{what}, {cell}: done", file=sys.stderr)
    return {"threads": options.threads, "repeats": repeats, "rows": rows}


def sweep(what, cell, sizes, repeats, options):
    """Microseconds a token for every size, timed in turn."""
    contestants = {}
    for size in sizes:
        tokens = TOKENS
        if what == "tokens":
            workload, tokens = SENTENCES, size
        else:
            workload = dataclasses.replace(SENTENCES, **{what: size})
        x, y = workload.corpus(tokens // (QUICK_PART if options.quick else 1))
        contestants[size] = epoch(workload.model(cell, options.threads), x, y)
    results = rounds(contestants, repeats)
    times = [[1e6 / rate for rate in results[size]["rates"]] for size in sizes]
    return {"what": what, "cell": cell, "sizes": list(sizes), "microseconds": times}


def epoch(model, x, y):
    """The work of training once on x and y."""
    return lambda: (len(x.values), model.partial_fit(x, y).loss_curve_[-1])


# ---- Report

ABOUT = """
Microseconds a token of training: SGD with clipping, batches of 32 sentences, float32, {threads} threads; medians of
{repeats} rounds, all sizes timed in turn. C = 8,000 and H = 100 where they do not grow. *Exponent* is the slope of a
straight line through the logarithms; *at the end*, of the last two sizes. The corpus should cost nothing (the smallest
also bears the fixed cost of an epoch), C an exponent of at most 1, H of at most 2.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    out = ABOUT.format(**figures).splitlines()
    for what, (title, *_, allowed) in SWEEPS.items():
        rows = [row for row in figures["rows"] if row["what"] == what]
        if rows:
            sizes = " | ".join(f"{size:,}" for size in rows[0]["sizes"])
            out += ["", f"| cell, {title} | {sizes} | exponent | at the end | at most |"]
            out += ["|---|" + "---:|" * (len(rows[0]["sizes"]) + 3)]
            out += [row_line(row, allowed) for row in rows]
    return out


def row_line(row, allowed):
    """A row of the table."""
    middle = medians(row)
    overall, end = exponent(row["sizes"], middle), exponent(row["sizes"][-2:], middle[-2:])
    times = " | ".join(f"{time:.1f}" for time in middle)
    return f"| {row['cell']} | {times} | {overall:.2f} | {end:.2f} | {allowed} |"


def medians(row):
    return [statistics.median(times) for times in row["microseconds"]]


def draw(figures, plots):
    """[(file, what it shows)]"""
    panels = []
    for what, (title, *_, allowed) in SWEEPS.items():
        rows = [row for row in figures["rows"] if row["what"] == what]
        curves = [(row["cell"], row["sizes"], medians(row), exponent(row["sizes"], medians(row))) for row in rows]
        panels.append((title, curves, allowed))
    plots.growth("growth.svg", "Time a token of training in microseconds, and the exponent of its growth", panels)
    return [("growth.svg", "Time a token against corpus, vocabulary and units")]

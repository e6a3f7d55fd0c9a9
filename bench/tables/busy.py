"""Table `busy`: training beside other programs that use the cores, and with more threads than cores."""

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

from ..measure import rounds
from ..workloads import SENTENCES

TITLE = "Beside other programs"
CELL = "gru"
OTHERS = (0, 1, 2)  # busy programs
MANY = 64  # threads
TOKENS = 8_000
QUICK_PART = 10
SETTLING = 0.3  # seconds for the scheduler to spread them


def measure(options):
    """All figures of the table."""
    x, y = SENTENCES.corpus(TOKENS // (QUICK_PART if options.quick else 1))
    threads = sorted({1, options.threads, MANY})
    contestants = {f"{n}": epoch(SENTENCES.model(CELL, n), x, y) for n in threads}
    rows = []
    for others in OTHERS:
        with busy(others):
            results = rounds(contestants, options.repeats)
        rows.append({"others": others, "rates": {name: result["rates"] for name, result in results.items()}})
        print(f"beside {others}: done", file=sys.stderr)
    return {"threads": threads, "repeats": options.repeats, "rows": rows}


def epoch(model, x, y):
    """The work of training once on x and y."""
    return lambda: (len(x.values), model.partial_fit(x, y).loss_curve_[-1])


@contextmanager
def busy(count):
    """So many programs that do nothing but use a core each."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        time.sleep(SETTLING)
        yield


# ---- Report

ABOUT = """
Tokens a second of training ({cell}, SGD with clipping, C = 8,000, H = 100, batches of 32 sentences, float32) while so
many other programs do nothing but use a core each; medians of {repeats} rounds, the numbers of threads in turn. As
many threads as cores should nowhere be slower than one.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    threads = figures["threads"]
    out = ABOUT.format(cell=CELL.upper(), **figures).splitlines()
    out += ["", "| other programs | " + " | ".join(f"{n} thread{'s' * (n > 1)}" for n in threads) + " |"]
    out += ["|---|" + "---:|" * len(threads)]
    for row in figures["rows"]:
        rates = (f"{statistics.median(row['rates'][str(n)]):,.0f}" for n in threads)
        out.append(f"| {row['others']} | " + " | ".join(rates) + " |")
    return out

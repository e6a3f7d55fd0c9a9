"""Table `start`: seconds of imports, of the first fit in an empty cache, of the next process; by kernel."""

import json
import statistics
import sys
import tempfile
import time

from ..machine import run_child
from ..measure import spread
from ..workloads import CELLS

TITLE = "The first second"
IMPORTS = ("import numba", "import fastrnn", "from fastrnn import FastRNN")
IMPORT_TARGET, FIRST_TARGET, FIRST_AIM, NEXT_TARGET = 0.1, 10, 6, 1.5
FORM = "{:.2f}"
LARGEST = 12  # kernels named in the table


def measure(options):
    """All figures of the table."""
    imports = {statement: [] for statement in IMPORTS}
    for _ in range(options.repeats):
        for statement, seconds in imports.items():
            seconds.append(import_time(statement))
    cells = []
    for cell in CELLS[:1] if options.quick else CELLS:
        with tempfile.TemporaryDirectory() as cache:
            first = fit(cell, cache, options, kernels=True)
            following = [fit(cell, cache, options) for _ in range(options.repeats)]
        cells.append({"cell": cell, "first": first, "next": following})
        print(f"{cell}: first {first['process']:.1f} s", file=sys.stderr)
    return {"imports": imports, "cells": cells}


def import_time(statement):
    """Seconds of an import in a fresh process."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(run_child(["-c", code]))


def fit(cell, cache, options, kernels=False):
    """A process that trains one step, see start_child.py; "process": seconds until it had ended."""
    start = time.time()
    task = {"cell": cell, "threads": options.threads, "kernels": kernels, "start": start}
    done = json.loads(run_child(["-m", "bench.tables.start_child", json.dumps(task)], {"NUMBA_CACHE_DIR": cache}))
    return done | {"process": time.time() - start}


# ---- Report

ABOUT = """
Seconds, each in a fresh process. **First** is in an empty cache: kernels are compiled and written; **next** finds them
there. The fit is of one step, on one batch of 32 sentences, C = 8,000, H = 100. *Until the first step* counts from the
start of the process, Python's own start and all imports included. Medians (lowest to highest) of {repeats} processes,
but for the first. Targets: an import at most {imports} s above numba's, the first fit at most {first} s (aim {aim}), a
later process' first step within {next} s.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    targets = {"imports": IMPORT_TARGET, "first": FIRST_TARGET, "aim": FIRST_AIM, "next": NEXT_TARGET}
    targets["repeats"] = len(figures["imports"][IMPORTS[0]])
    out = ABOUT.format(**targets).splitlines()
    out += ["", "| import | seconds | above numba's |", "|---|---:|---:|"]
    base = statistics.median(figures["imports"][IMPORTS[0]])
    for statement, seconds in figures["imports"].items():
        more = statistics.median(seconds) - base
        out.append(f"| `{statement}` | {spread(seconds, FORM)} | {'' if statement == IMPORTS[0] else f'{more:+.2f}'} |")
    out += [
        "",
        "| cell | first: fit | first: whole process | next: fit | next: until the first step |",
        "|---|" + "---:|" * 4,
    ]
    for row in figures["cells"]:
        later = [spread([done[name] for done in row["next"]], FORM) for name in ("fit", "trained")]
        first = row["first"]
        out.append(f"| {row['cell']} | {first['fit']:.1f} | {first['process']:.1f} | {' | '.join(later)} |")
    return [*out, "", *kernel_lines(figures["cells"])]


def kernel_lines(cells):
    """Seconds of compiling each kernel, those that it calls not counted."""
    total = {}
    for row in cells:
        for name, seconds in row["first"]["kernels"]:
            total[name] = max(total.get(name, 0), seconds)
    named = sorted(total, key=total.get, reverse=True)[:LARGEST]
    columns = [dict(row["first"]["kernels"]) for row in cells]
    out = [
        "Where the first fit's time goes: seconds of compiling each kernel, those that it calls not counted. Meanwhile",
        "a second process compiles the output layer, the way back and the product, which are not in the table.",
        "",
    ]
    out += [f"| kernel | {' | '.join(row['cell'] for row in cells)} |", "|---|" + "---:|" * len(cells)]
    for name in named:
        out.append(f"| {name} | {' | '.join(f'{column[name]:.2f}' if name in column else '' for column in columns)} |")
    others = [sum(s for name, s in column.items() if name not in named) for column in columns]
    counts = [len(column) - sum(name in named for name in column) for column in columns]
    cells_of = " | ".join(f"{s:.2f}" for s in others)
    out.append(f"| {max(counts)} others | {cells_of} |")
    rest = [row["first"]["fit"] - sum(column.values()) for row, column in zip(cells, columns, strict=True)]
    return [*out, f"| not compiling | {' | '.join(f'{s:.2f}' for s in rest)} |"]

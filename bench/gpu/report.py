"""What the rows say: a summary in plain text, and the section of RESULTS.md."""

import statistics
import sys
from pathlib import Path

from ..measure import Skipped, ratios, spread
from . import results

TITLE = "Training and decoding on a GPU"
FOLDER = Path(__file__).resolve().parents[1]
SIMULATED = "NUMBA'S SIMULATOR, NO GPU: the times mean nothing."
ABOUT = """
{gpu}. A round times every contestant of a row in turn and waits for the device; figures are medians of its rounds
(lowest to highest), tokens a second. All train with Adam at 0.001 and clipping at 5. **fastrnn** and **tf32** lay the
batches out and upload them meanwhile; **laid out** has them on the device beforehand, as PyTorch has. PyTorch:
Embedding (C, H), cuDNN's layer, Linear, cross_entropy, fused Adam, which updates the whole embedding; **TF32** lets it
round the factors of products. Ratios are taken within a round: fastrnn, which lays out meanwhile, over PyTorch.
""".strip()
COLUMNS = (
    ("fastrnn", "fastrnn"),
    ("fastrnn, laid out", "laid out"),
    ("fastrnn, tf32", "tf32"),
    ("fastrnn, tf32, laid out", "tf32, laid out"),
    ("PyTorch", "PyTorch"),
    ("PyTorch, TF32", "PyTorch, TF32"),
)


# ---- Plain text


def summary(rows):
    """All that was found, as plain text."""
    steps, out = results.by_step(rows), []
    if any(row.get("simulated") for row in rows):
        out += [SIMULATED, ""]
    for step, found in steps.items():
        ended = results.how_it_ended(found)
        seconds = next((f", {row['seconds']} s" for row in found if "seconds" in row and results.ENDED in row), "")
        out.append(f"== {step}: {ended}{seconds}")
        out += [line for row in found if results.ENDED not in row for line in _LINES.get(step, _plain)(row)]
    return "\n".join(out)


def _plain(row):
    return [f"  {name}: {value}" for name, value in row.items() if name not in ("step", "at")]


def _mark(row):
    return "ok " if row["ok"] else "BAD"


def _correct(row):
    plan = "chosen" if row["plan"] is None else f"{row['plan'][0]} rows, {('global', 'shared')[row['plan'][1]]}"
    words = [f"  {_mark(row)} {row['workload']:<11} {row['cell']:<4} {row['precision']:<7} {plan:<15}"]
    words += [f"loss {row['loss']:.0e} gradient {row['gradient']:.0e} ({row['worst']}) Adam {row['adam']:.0e}"]
    return [" ".join([*words, "same bits" if row["same_bits"] else "OTHER BITS"])]


def _sanitizer(row):
    return [f"  {_mark(row)} {row['tool']:<10} {row['cell']:<4} {row['says']}"]


def _launches(row):
    out = [
        f"  {row['workload']:<11} {row['cell']:<4} a batch: {row['batch_us']:,.0f} us; {row['launches']:.1f} launches "
        f"of {row['launch_us']:.1f} us, host {row['host_us']:,.0f} us, device {row['device_us']:,.0f} us"
    ]
    by_time = sorted(row["kernels"].items(), key=lambda item: -item[1][0] * item[1][1])
    return out + [f"      {name:<36} {count:6.1f} x {each:9.1f} us" for name, (count, each) in by_time]


def _training(row):
    if "rates" not in row and "same" not in row:
        return _plain(row)
    if "same" in row:
        return [f"  {row['cell']}: largest relative difference from PyTorch on equal weights {row['same']}"]
    rates = {name: statistics.median(rates) for name, rates in row["rates"].items()}
    out = [f"  {row['workload']:<11} {row['cell']:<4} " + "; ".join(f"{n} {rate:,.0f}" for n, rate in rates.items())]
    if "PyTorch" in rates:
        ratio = f"ratio {rates['fastrnn'] / rates['PyTorch']:.2f}, "
        out[0] += f"; {ratio}TF32 {rates['fastrnn, tf32'] / rates['PyTorch, TF32']:.2f}"
    return out


def _decoding(row):
    rates = "; ".join(f"{name} {statistics.median(rates):,.0f}" for name, rates in row["rates"].items())
    return [f"  {row['title']}: {rates} tokens/s" + ("" if row["same"] is None else f"; {row['same']:.1%} the same")]


_LINES = {
    "correct": _correct,
    "sanitizer": _sanitizer,
    "launches": _launches,
    "training": _training,
    "decoding": _decoding,
}


# ---- RESULTS.md


def section(rows):
    """The section of RESULTS.md, as lines of Markdown."""
    steps = results.by_step(rows)
    trained = [row for row in steps.get("training", []) if "rates" in row]
    out = ABOUT.format(gpu=_gpu(steps.get("machine", []))).splitlines()
    for title in dict.fromkeys(row["title"] for row in trained):
        out += ["", f"**{title}**", "", f"| cell | {' | '.join(head for _, head in COLUMNS)} | ratio | TF32 |"]
        out.append("|---|" + "---:|" * (len(COLUMNS) + 2))
        out += [_training_line(row) for row in trained if row["title"] == title]
    out += ["", "**The GPU beside this machine's CPU**, tokens a second.", "", "| work | GPU | CPU | GPU over CPU |"]
    out.append("|---|---:|---:|---:|")
    for row in steps.get("decoding", []):
        if "rates" in row:
            gpu, cpu = row["rates"]["GPU"], row["rates"]["CPU"]
            out.append(f"| {row['title']} | {spread(gpu)} | {spread(cpu)} | {_ratio(gpu, cpu)} |")
    checked = [row for row in steps.get("correct", []) if "ok" in row]
    good = sum(row["ok"] for row in checked)
    return [*out, "", f"Compared with the CPU, loss, gradients, a step of Adam: {good} of {len(checked)} cases agree."]


def _training_line(row):
    rates = row["rates"]
    cells = [spread(rates[name]) if name in rates else "" for name, _ in COLUMNS]
    pairs = (("fastrnn", "PyTorch"), ("fastrnn, tf32", "PyTorch, TF32"))
    cells += [_ratio(rates[a], rates[b]) if b in rates else "" for a, b in pairs]
    return f"| {row['cell']} | {' | '.join(cells)} |"


def _ratio(ours, theirs):
    return spread(ratios({"rates": ours}, {"rates": theirs}), "{:.2f}")


def _gpu(rows):
    """The GPU and what runs on it, in words."""
    facts = {name: value for row in rows for name, value in row.items()}
    if facts.get("simulated"):
        return SIMULATED
    if "gpu" not in facts:
        return "No usable GPU"
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    capability = ".".join(map(str, facts["capability"]))
    return (
        f"{facts['gpu']}, {facts['memory'] / 2**30:.0f} GiB, {facts['multiprocessors']} multiprocessors, compute "
        f"capability {capability}; {facts['driver']}; {packages}; commit {facts['commit']}"
    )


# ---- As a table of `python -m bench`


def publish(rows):
    """Write the section into RESULTS.md; returns the exit code. What the simulator says is not published."""
    if not any(row.get("simulated") is False for row in rows):
        print("not published: these rows are of no GPU", file=sys.stderr)
        return 1
    from .. import report
    from ..__main__ import TABLES

    report.save(FOLDER, report.load(FOLDER) | {"gpu": {"machine": None, "figures": rows}})
    report.write(FOLDER, TABLES)
    return 0


def measure(options):
    """Not measured with the other tables."""
    raise Skipped("it is a command of its own: python -m bench gpu --output FOLDER")


def lines(figures):
    return section(figures)

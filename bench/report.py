"""What was measured, kept in results.json, and the pages made of it: RESULTS.md and the plots."""

import json
import statistics
from pathlib import Path

NOISY = "**Other programs ran at the start (load {load}): do not quote these figures.**"
ALONE = "PyTorch was not installed: fastrnn alone."
QUICK = "**A smoke run with `--quick`: the figures mean nothing.**"


def load(folder):
    """{table: {"machine": facts, "figures": figures}} as it stands there."""
    path = Path(folder) / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(folder, results):
    """Write what was measured; figures rounded to what they are worth."""
    text = json.dumps(_rounded(results), indent=1)
    (Path(folder) / "results.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write(folder, tables):
    """Make RESULTS.md and the plots anew from results.json; returns why there are no plots, or None."""
    results, folder = load(folder), Path(folder)
    plots, missing = _plots(folder / "plots")
    out = ["# Results of the benchmark", "", "Written by `python -m bench`; do not edit.", ""]
    for name, table in tables.items():
        out += [f"## {table.TITLE}", ""]
        if name not in results:
            out += [f"Not measured: `python -m bench {name}`.", ""]
            continue
        figures = results[name]["figures"]
        if results[name]["machine"] is not None:  # else the table says it
            out += [machine_line(results[name]["machine"]), ""]
        if plots is not None and hasattr(table, "draw"):
            for file, shows in table.draw(figures, plots):
                out += [f"![{shows}](plots/{file})", ""]
        out += [*table.lines(figures), ""]
    (folder / "RESULTS.md").write_text("\n".join(out).rstrip() + "\n", encoding="utf-8")
    return missing


def _plots(folder):
    from . import plots

    try:
        return plots.Plots(folder), None
    except ImportError as error:
        return None, f"no plots: {error}"


def machine_line(machine):
    """The machine and its state, in one line."""
    words = [machine[name] for name in ("date", "CPU", "system", "versions", "settings")]
    words.append(f"threads for both: {machine['threads']}")
    if machine["load"] is not None:
        words.append(f"cores in use before the start {machine['load']}")
    warnings = [QUICK] if machine["quick"] else []
    if "torch" not in machine["versions"]:
        warnings.append(ALONE)
    if machine["busy"]:
        warnings.append(NOISY.format(**machine))
    return " ".join([*warnings, " · ".join(words)])


def exponent(sizes, values):
    """Slope of a straight line through the logarithms."""
    return statistics.linear_regression(*_logs(sizes, values)).slope


def _logs(*columns):
    import math

    return [[math.log(value) for value in column] for column in columns]

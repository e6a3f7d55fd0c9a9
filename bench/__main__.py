"""Measure fastrnn, beside PyTorch where it is installed, and write bench/RESULTS.md.

    python -m bench                     all tables (quality, deep and translation only with --data; not gpu)
    python -m bench training decoding   these tables; the others in RESULTS.md stay as they are
    python -m bench all --quick         a smoke run of everything; writes nothing unless --output says where
    python -m bench --render            measure nothing, write RESULTS.md and the plots anew from results.json
    python -m bench gpu --output FOLDER all that there is to learn on a GPU, in eight minutes; see bench/gpu/__init__.py

Run it from the repository's root, with fastrnn importable, on a machine that does nothing else.
"""

import sys

if __name__ == "__main__" and sys.argv[1:2] == ["gpu"]:  # before anything that is not the standard library
    from .gpu.runner import main

    sys.exit(main(sys.argv[2:]))

import argparse
import time
from pathlib import Path

from . import machine, report
from .gpu import report as gpu
from .measure import Skipped
from .peers.torch_model import OPTIMIZERS, torch
from .tables import busy, decoding, deep, growth, memory, outputs, quality, start, text, training, translation
from .workloads import CELLS

TABLES = {
    "training": training,
    "outputs": outputs,
    "decoding": decoding,
    "growth": growth,
    "busy": busy,
    "memory": memory,
    "start": start,
    "text": text,
    "quality": quality,
    "deep": deep,
    "translation": translation,
    "gpu": gpu,
}


def parse():
    from fastrnn.kernels.cores import available_cores

    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"all, or of: {', '.join(TABLES)}")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of both; default: all cores")
    parser.add_argument("--repeats", type=int, help="rounds after the warm-up; default: 7, 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a smoke run: little work, no figures worth having")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the texts are, each in a folder of its own")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: bench/, with --quick nowhere")
    parser.add_argument("--render", action="store_true", help="measure nothing, only write the pages anew")
    recipe = parser.add_argument_group("of the table quality, by default FastRNN's own")
    recipe.add_argument("--epochs", type=int, default=4)
    recipe.add_argument("--seeds", type=int, nargs="+", default=[0])
    recipe.add_argument("--cell", choices=CELLS)
    recipe.add_argument("--hidden-dim", type=int)
    recipe.add_argument("--optimizer", choices=tuple(OPTIMIZERS))
    recipe.add_argument("--equal-start", action="store_true", help="PyTorch's embedding starts uniform in ±sqrt(1/C)")
    options = parser.parse_args()
    unknown = set(options.tables) - {*TABLES, "all"}
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}, expected all or of: {', '.join(TABLES)}")
    if not options.tables or "all" in options.tables:
        options.tables = list(TABLES)
    options.repeats = options.repeats or (1 if options.quick else 7)
    if options.output is None and not options.quick:
        options.output = Path(__file__).parent
    return options


def main():
    options = parse()
    facts = machine.facts(options, torch is not None)
    if torch is None:
        print("PyTorch is not installed: fastrnn alone is measured", file=sys.stderr)
    else:
        torch.set_num_threads(options.threads)
    for name in options.tables if not options.render else []:
        measure(name, facts, options)
    if options.output is not None:
        missing = report.write(options.output, TABLES)
        if missing:
            print(missing, file=sys.stderr)


def measure(name, facts, options):
    """Measure one table, print it, and put its figures with the others'."""
    start = time.perf_counter()
    print(f"{name} ...", file=sys.stderr)
    try:
        figures = TABLES[name].measure(options)
    except Skipped as reason:
        print(f"{name} is skipped: {reason}", file=sys.stderr)
        return
    seconds = time.perf_counter() - start
    entry = {"machine": facts | {"seconds": seconds}, "figures": figures}
    print(f"## {TABLES[name].TITLE}", "", report.machine_line(facts), "", *TABLES[name].lines(figures), "", sep="\n")
    print(f"{name}: {seconds:.0f} s", file=sys.stderr)
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        report.save(options.output, report.load(options.output) | {name: entry})


if __name__ == "__main__":
    main()

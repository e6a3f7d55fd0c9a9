"""Table `training`: tokens a second of training, ours and PyTorch's, on the same batches in one run."""

import copy
import sys

from ..machine import has_bfloat16
from ..measure import BFLOAT16, median, ratios, rounds, spread
from ..peers.bfloat16 import WHAT, BFloat16Model
from ..peers.torch_model import TorchModel, check_same, peer_of, torch, torch_batches
from ..peers.tutorial_numpy import TutorialRNN
from ..workloads import SENTENCES, SINGLE, WORKLOADS
from .ceiling import ceilings, fma_ceiling, higher, update_rate

TITLE = "Training"
SCALING_TARGET = 1.8
OURS, ONE, USUAL, NUMPY = "fastrnn", "fastrnn, 1 thread", "PyTorch", "NumPy"
ROUNDED = {name: name + BFLOAT16 for name in (OURS, USUAL)}
IN_BFLOAT16 = "lstm"  # the cell that is measured in it too
TUTORIAL_SENTENCES = 10
QUICK_PART = 20


def measure(options):
    """All figures of the table."""
    limits, rows = ceilings(options.threads), []
    for workload in WORKLOADS:
        for cell in workload.targets:
            rows.append(measure_cell(workload, cell, options))
            rates = {name: f"{median(result):,.0f}" for name, result in rows[-1]["timings"].items()}
            print(f"{workload.title}, {cell}: {rates}", file=sys.stderr)
    limits = higher(limits, ceilings(options.threads))
    for row in rows:
        row["floor_operations"] = fma_ceiling(limits, options.threads) / row["flops"]
    return {"threads": options.threads, "repeats": options.repeats, "ceilings": limits, "rows": rows}


def measure_cell(workload, cell, options):
    """Figures of one row: a workload and a cell."""
    forms = {USUAL: TorchModel} if torch is not None else {}
    if forms and workload is SENTENCES:
        from ..peers.tuned import FORMS

        forms |= FORMS
    same = check_same(workload, cell, options.threads, forms.values()) if forms else None
    if forms and cell == IN_BFLOAT16 and has_bfloat16():
        forms[ROUNDED[USUAL]] = BFloat16Model
    x, y = workload.corpus(workload.tokens // (QUICK_PART if options.quick else 1))
    contestants, prepare = contest(workload, cell, x, y, forms, options.threads)
    timings = rounds(contestants, options.repeats, prepare)
    dense = workload.vocab_size * workload.hidden_dim + workload.recurrent(cell)  # of U only the words that occur
    steps = len(x.values) / -(-len(x) // workload.batch_size)
    return {
        "workload": workload.key,
        "title": workload.title,
        "cell": cell,
        "target": workload.targets[cell],
        "tokens": len(x.values),
        "flops": workload.flops(cell),
        "same": same,
        "timings": timings,
        "floor_bytes": steps * update_rate(options.threads, dense) * 1e9 / (8 * dense),
    }


def contest(workload, cell, x, y, forms, threads):
    """{name: work of one epoch}, and what forms PyTorch's batches before every round."""
    tokens, data = len(x.values), []
    model = workload.model(cell, threads)

    def ours(model):
        return lambda: (tokens, model.partial_fit(x, y).loss_curve_[-1])

    def theirs(peer):
        return lambda: (tokens, peer.epoch(data) / tokens)

    def prepare():
        if forms:  # the batches of the epoch that comes, in its order
            data[:] = torch_batches(x, y, workload.batch_size, copy.deepcopy(model.rng_))

    contestants = {OURS: ours(model)}
    if workload is SENTENCES and threads > 1:
        contestants[ONE] = ours(workload.model(cell, 1))
    if cell == IN_BFLOAT16 and has_bfloat16():
        contestants[ROUNDED[OURS]] = ours(workload.model(cell, threads, matmul_precision="bfloat16"))
    if forms:
        torch.manual_seed(0)
    contestants |= {name: theirs(peer_of(workload, cell, kind)) for name, kind in forms.items()}
    if workload is SINGLE and cell == "rnn":
        contestants[NUMPY] = tutorial(workload, x, y)
    return contestants, prepare


def tutorial(workload, x, y):
    """The work of the tutorial's NumPy: a few sentences, since it is slow."""
    model = TutorialRNN(workload.vocab_size, workload.hidden_dim)
    x, y = x[:TUTORIAL_SENTENCES], y[:TUTORIAL_SENTENCES]

    def work():
        loss = sum(model.sgd_step(x[i], y[i], workload.learning_rate) for i in range(len(x)))
        return len(x.values), loss / len(x.values)

    return work


# ---- Report

HEAD = """
| cell | fastrnn, tokens/s | PyTorch, tokens/s | ratio | target | floor, operations | floor, bytes | of the floor |
|---|---:|---:|---:|---:|---:|---:|---:|
""".strip()

ABOUT = """
A round times every contestant of a row in turn, on the same batches; the figures are medians of {repeats} rounds
(lowest to highest), a ratio is taken within a round. All is plain SGD in float32, but where bfloat16 is named, on
{threads} threads for both, with clipping at 5 but for the single sentences. fastrnn's time is that of `partial_fit`,
its checks and the forming of the batches included; PyTorch's batches are formed beforehand.

**PyTorch** is its usual form: Embedding (C, H), nn.RNN, nn.LSTM or nn.GRU, Linear, cross_entropy; sequences of equal
lengths as (T, B), others as a PackedSequence. **Floor, operations:** tokens a second if all operations, counted for all
alike as 6 C H + 6 G H² a token (G gates), ran at the multiply-add rate of fastrnn's product on operands in cache.
**Floor, bytes:** if all that a batch cost were reading and writing V and W once, at the rate measured on an array of
their size. **Of the floor** is fastrnn's share of the former.
""".strip()

ABOUT_SAME = """
The computation is the same: on equal weights the loss and every gradient of tanh network and LSTM agree, in all forms
and workloads; the largest difference, relative to the largest entry of its array, is {same:.0e}. Our LSTM has
peepholes, zero in this check and trained in the timing. PyTorch's GRU resets after the product and ours before it:
alike in work, not comparable in value.
""".strip()

ABOUT_BFLOAT16 = """
{what}
The LSTM, in the same rounds: *ratio* is to PyTorch in bfloat16, *to float32* to PyTorch in float32; a gain is over
one's own float32.
""".strip()

ABOUT_TUNED = """
**Against PyTorch tuned by hand**, on the first workload. **chunked** takes the output layer and its backward pass by
128 tokens, so that the logits stay in cache. **direct** is chunked and looks up the gates' inputs in a table (C, G H),
as ours does, instead of multiplying an embedding by W_ih; nn.RNN, nn.LSTM and nn.GRU cannot be told to, so its steps
are a loop in Python. *Cores* is processor time over time on the clock: below the number of threads, something else ran.
Two threads should be at least {scaling} times one.
""".strip()


def cell_line(row):
    """A cell's row of the table."""
    timings, floor = row["timings"], row["floor_operations"]
    ours, theirs, ratio = timings[OURS], "", ""
    if USUAL in timings:
        theirs, ratio = spread(timings[USUAL]["rates"]), spread(ratios(ours, timings[USUAL]), "{:.2f}")
    floors = f"{floor:,.0f} | {row['floor_bytes']:,.0f} | {median(ours) / floor:.0%}"
    return f"| {row['cell']} | {spread(ours['rates'])} | {theirs} | {ratio} | {row['target']:g} | {floors} |"


def lines(figures):
    """The section as lines of Markdown."""
    rows = figures["rows"]
    out = ABOUT.format(**figures).splitlines()
    for key in dict.fromkeys(row["workload"] for row in rows):
        group = [row for row in rows if row["workload"] == key]
        out += ["", f"**{group[0]['title']}**", "", *HEAD.splitlines()]
        out += map(cell_line, group)
        for row in group:
            if NUMPY in row["timings"]:
                out += ["", *numpy_lines(row)]
    out += bfloat16_lines(rows)
    compared = [row["same"] for row in rows if row["same"] is not None]
    if compared:
        out += ["", *ABOUT_SAME.format(same=max(compared)).splitlines()]
    out += ["", *tuned_lines(rows), "", "| what | threads | best rate |", "|---|---:|---:|"]
    out += [f"| {r['what']} | {r['threads']} | {r['rate']:,.0f} {r['unit']} |" for r in figures["ceilings"]]
    return out


def numpy_lines(row):
    """A paragraph about the tutorial's NumPy."""
    timings = row["timings"]
    found = spread(ratios(timings[OURS], timings[NUMPY]), "{:.0f}")
    return [
        "The tutorial's network in NumPy (`bench/peers/tutorial_numpy.py`: truncated at 4 steps, no biases, float64):",
        f"{spread(timings[NUMPY]['rates'])} tokens/s; fastrnn's ratio to it is {found}.",
    ]


def bfloat16_lines(rows):
    """The table of what was measured in bfloat16 too, if anything was."""
    rows = [row for row in rows if ROUNDED[OURS] in row["timings"]]
    if not rows:
        return []
    names = ("workload", "fastrnn, tokens/s", "PyTorch, tokens/s", "ratio", "to float32", "our gain", "PyTorch's gain")
    about = ABOUT_BFLOAT16.format(what=WHAT).splitlines()
    out = ["", *about, "", f"| {' | '.join(names)} |", "|---" + "|---:" * (len(names) - 1) + "|"]
    for row in rows:
        timings, ours, theirs = row["timings"], ROUNDED[OURS], ROUNDED[USUAL]
        rates = [spread(timings[name]["rates"]) if name in timings else "" for name in (ours, theirs)]
        pairs = ((ours, theirs), (ours, USUAL), (ours, OURS), (theirs, USUAL))
        found = [
            spread(ratios(timings[a], timings[b]), "{:.2f}") if a in timings and b in timings else "" for a, b in pairs
        ]
        out.append(f"| {' | '.join([row['title'], *rates, *found])} |")
    return out


def tuned_lines(rows):
    """The second table: one thread, and PyTorch's other forms."""
    out = []
    for row in rows:
        timings = row["timings"]
        if row["workload"] != SENTENCES.key:
            continue
        for name, result in timings.items():
            found = "" if name == OURS else spread(ratios(timings[OURS], result), "{:.2f}")
            cores = spread(result["cores"], "{:.1f}").split()[0]
            out.append(
                f"| {row['cell']} | {name} | {spread(result['rates'])} | {found} | {cores} | {result['value']:.3f} |"
            )
    head = ["| cell | what | tokens/s | ratio to it | cores | last loss |", "|---|---|---:|---:|---:|---:|"]
    return [*ABOUT_TUNED.format(scaling=SCALING_TARGET).splitlines(), "", *head, *out]


def bars(figures):
    """[(label, ratios, target)] for the plot of ratios."""
    return [
        (f"{row['cell']}, {row['title']}{kind}", ratios(row["timings"][ours], row["timings"][theirs]), row["target"])
        for row in figures["rows"]
        for kind, ours, theirs in (("", OURS, USUAL), (BFLOAT16, ROUNDED[OURS], ROUNDED[USUAL]))
        if theirs in row["timings"]
    ]


def draw(figures, plots):
    """[(file, what it shows)]"""
    found = bars(figures)
    if not found:
        return []
    plots.ratio_bars("training.svg", "Training, tokens a second: fastrnn over PyTorch", found)
    return [("training.svg", "Ratio of fastrnn's and PyTorch's training throughput, by workload")]

"""Table `decoding`: tokens a second of sampling and of scoring, ours and PyTorch's."""

import sys

import numpy as np

from ..machine import has_bfloat16
from ..measure import BFLOAT16, median, ratios, rounds, spread
from ..peers.bfloat16 import BFloat16Model
from ..peers.torch_model import TorchModel, check_same, peer_of, torch, torch_batches
from ..workloads import CELLS, SEED, SENTENCES
from .ceiling import product_rate, read_rate

TITLE = "Sampling and scoring"
OURS, USUAL = "fastrnn", "PyTorch"
STREAMS = {1: ("sampling one stream", 1000, 6), 64: ("sampling 64 streams", 50, None)}  # title, steps, target
SCORING = ("scoring, batches of 32", 4)
QUICK_PART = 10


def measure(options):
    """All figures of the table."""
    part, rows = QUICK_PART if options.quick else 1, []
    precisions = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    for cell in CELLS:
        if torch is not None:
            check_same(SENTENCES, cell, options.threads)
        rows += [measure_sampling(cell, streams, part, options) for streams in STREAMS]
        rows += [measure_scoring(cell, precision, part, options) for precision in precisions]
        for row in rows[-len(STREAMS) - len(precisions) :]:
            rates = {name: f"{median(result):,.0f}" for name, result in row["timings"].items()}
            print(f"{row['title']}, {cell}: {rates}", file=sys.stderr)
    ceiling = product_rate(options.threads) * 1e9
    for row in rows:
        row["floor_operations"] = ceiling / row["flops"]
    return {"threads": options.threads, "repeats": options.repeats, "rows": rows}


def measure_sampling(cell, streams, part, options):
    """Streams of sampled tokens, all of one length."""
    title, steps, target = STREAMS[streams]
    steps //= part
    model, rng = SENTENCES.model(cell, options.threads), np.random.default_rng(SEED)

    def ours():
        drawn = model.generate(streams, min_length=steps, max_length=steps, random_state=rng)
        return sum(map(len, drawn)) - streams, None  # the prompt of one token is not drawn

    contestants = {OURS: ours}
    if torch is not None:
        torch.manual_seed(SEED)
        for form in (TorchCells, TorchModule):
            contestants[form.__name__] = form(cell).sampler(streams, steps)
    return figures_of(cell, title, target, streams, rounds(contestants, options.repeats), options.threads)


def measure_scoring(cell, precision, part, options):
    """The mean cross-entropy of a corpus, both with products in one precision."""
    (title, target), form = SCORING, TorchModel
    if precision == "bfloat16":
        title, form = title + BFLOAT16, BFloat16Model
    x, y = SENTENCES.corpus(SENTENCES.tokens // part)
    model, tokens = SENTENCES.model(cell, options.threads, matmul_precision=precision), len(x.values)
    contestants = {OURS: lambda: (tokens, model.loss(x, y))}
    if torch is not None:
        peer, data = peer_of(SENTENCES, cell, form), list(torch_batches(x, y, SENTENCES.batch_size))
        contestants[USUAL] = lambda: (tokens, peer.score(data) / tokens)
    steps = tokens // -(-len(x) // SENTENCES.batch_size)
    return figures_of(cell, title, target, steps, rounds(contestants, options.repeats), options.threads)


def figures_of(cell, title, target, tokens_a_visit, timings, threads):
    """A row; PyTorch's faster form of sampling becomes its only one."""
    forms = {name: result for name, result in timings.items() if name != OURS}
    best = max(forms, key=lambda name: median(forms[name]), default=None)
    timings = {OURS: timings[OURS]} | ({USUAL: forms[best]} if forms else {})
    weights = SENTENCES.vocab_size * SENTENCES.hidden_dim + SENTENCES.recurrent(cell)
    return {
        "cell": cell,
        "title": title,
        "target": target,
        "form": best,
        "timings": timings,
        "flops": SENTENCES.flops(cell, forward_only=True),
        "floor_bytes": tokens_a_visit * read_rate(threads, weights) * 1e9 / (4 * weights),
    }


class TorchCells:
    """Sampling with nn.RNNCell, nn.LSTMCell or nn.GRUCell, a step a token."""

    KINDS = {"rnn": "RNNCell", "lstm": "LSTMCell", "gru": "GRUCell"}

    def __init__(self, cell, workload=SENTENCES, device="cpu"):
        C, H, self.device = workload.vocab_size, workload.hidden_dim, device
        with torch.device(device):
            self.embedding, self.output = torch.nn.Embedding(C, H), torch.nn.Linear(H, C)
            self.layer = getattr(torch.nn, self.KINDS[cell])(H, H)
        torch.nn.init.uniform_(self.embedding.weight, -(C**-0.5), C**-0.5)

    def step(self, embedded, state):
        """h (streams, H) after one token, and the state."""
        state = self.layer(embedded, state)
        return (state[0] if isinstance(state, tuple) else state), state

    def sampler(self, streams, steps):
        """The work of drawing `streams` sequences of `steps` tokens."""

        def work():
            with torch.inference_mode():
                tokens, state, drawn = torch.zeros(streams, dtype=torch.long, device=self.device), None, []
                for _ in range(steps):
                    h, state = self.step(self.embedding(tokens), state)
                    tokens = torch.multinomial(torch.softmax(self.output(h), 1), 1)[:, 0]
                    drawn.append(tokens)
                return torch.stack(drawn, 1).cpu().numel(), None

        return work


class TorchModule(TorchCells):
    """The same with nn.RNN, nn.LSTM or nn.GRU on sequences of one step."""

    KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}

    def step(self, embedded, state):
        h, state = self.layer(embedded[None], state)
        return h[0], state


# ---- Report

ABOUT = """
C = 8,000, H = 100, float32 but where bfloat16 is named (of both, see training; PyTorch's loss is then one too),
{threads} threads for both; medians of {repeats} rounds (lowest to highest), ratios taken within a round. fastrnn
samples by `generate` and scores by `loss`. PyTorch samples under inference_mode: Embedding, one step, Linear, softmax,
multinomial, with the faster of nn.RNNCell, nn.LSTMCell or nn.GRUCell (*cell*) and nn.RNN, nn.LSTM or nn.GRU on one
step (*module*); it scores sorted batches of sentences, formed beforehand. **Floor, operations:** 2 C H + 2 G H² a
token at the rate of fastrnn's product. **Floor, bytes:** V and W read once a step (scoring: once a batch) at the rate
measured on an array of their size.
""".strip()

HEAD = """
| cell | fastrnn, tokens/s | PyTorch, tokens/s | form | ratio | target | floor, operations | bytes | of the nearer |
|---|---:|---:|---|---:|---:|---:|---:|---:|
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    out = ABOUT.format(**figures).splitlines()
    for title in dict.fromkeys(row["title"] for row in figures["rows"]):
        out += ["", f"**{title}**", "", *HEAD.splitlines()]
        out += [row_line(row) for row in figures["rows"] if row["title"] == title]
    return out


def row_line(row):
    """A row of the table."""
    timings, floors = row["timings"], [row["floor_operations"], row["floor_bytes"]]
    ours, theirs, ratio, form = timings[OURS], "", "", ""
    if USUAL in timings:
        theirs, ratio = spread(timings[USUAL]["rates"]), spread(ratios(ours, timings[USUAL]), "{:.2f}")
        form = {"TorchCells": "cell", "TorchModule": "module"}.get(row["form"], "module")
    target = "" if row["target"] is None else f"{row['target']:g}"
    floor = f"{floors[0]:,.0f} | {floors[1]:,.0f} | {median(ours) / min(floors):.0%}"
    if row["title"].endswith(BFLOAT16):
        floor = " | | "  # they are those of float32
    return f"| {row['cell']} | {spread(ours['rates'])} | {theirs} | {form} | {ratio} | {target} | {floor} |"


def draw(figures, plots):
    """[(file, what it shows)]"""
    found = [
        (f"{row['cell']}, {row['title']}", ratios(row["timings"][OURS], row["timings"][USUAL]), row["target"])
        for title in dict.fromkeys(row["title"] for row in figures["rows"])
        for row in figures["rows"]
        if row["title"] == title and USUAL in row["timings"]
    ]
    if not found:
        return []
    plots.ratio_bars("decoding.svg", "Sampling and scoring, tokens a second: fastrnn over PyTorch", found)
    return [("decoding.svg", "Ratio of fastrnn's and PyTorch's throughput of sampling and scoring")]

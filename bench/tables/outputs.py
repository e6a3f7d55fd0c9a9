"""Table `outputs`: training with a full and with a sampled softmax: speed by vocabulary, and quality for time."""

import gzip
import sys
import time

import numpy as np

from ..machine import has_bfloat16
from ..measure import BFLOAT16, Skipped, ratios, rounds, spread
from ..peers.torch_model import TorchModel, peer_of, torch, torch_batches
from ..workloads import SEED, Workload
from .quality import FILES, peer_like, read_reviews, split

TITLE = "Output layers"
# C, H, and the tokens of an epoch that is timed.
SIZES = ((1500, 100, 40_000), (8000, 100, 40_000), (33_000, 200, 40_000), (80_000, 200, 20_000))
WANTED = {8000: 150_000, 33_000: 40_000}  # tokens/s of the sampled layer
LAYERS = {"full": {}, "sampled": {"output": "sampled"}}
PARTS, QUICK_PART = 4, 20  # evaluations an epoch; share of the work of a smoke run
WIKITEXT = "wikitext-2/train.txt.gz"
MORE_WORDS = 33_000
EPOCHS = 2


def measure(options):
    """All figures of the table; without the texts those of the speed only."""
    speed = [measure_speed(*size, options) for size in SIZES]
    return {"threads": options.threads, "repeats": options.repeats, "speed": speed, "quality": measure_quality(options)}


def contestants_of(threads):
    """{name: parameters of ours}."""
    precisions = {"": {}, BFLOAT16: {"matmul_precision": "bfloat16"}} if has_bfloat16() else {"": {}}
    return {
        layer + suffix: {"n_threads": threads} | own | precision
        for layer, own in LAYERS.items()
        for suffix, precision in precisions.items()
    }


def measure_speed(C, H, tokens, options):
    """Tokens a second of training, of all forms in turn: a GRU, Adam, batches of 32 sentences."""
    tokens //= QUICK_PART if options.quick else 1
    workload = Workload(f"C{C}", f"C = {C:,}, H = {H}", C, H, 32, None, 0.005, 5.0, tokens, {})
    x, y = workload.corpus()
    data, works = [], {}

    def ours(model):
        return lambda: (len(x.values), model.partial_fit(x, y).loss_curve_[-1])

    for name, parameters in contestants_of(options.threads).items():
        works[name] = ours(workload.model("gru", optimizer="adam", threads=parameters.pop("n_threads"), **parameters))
    if torch is not None:
        peer = peer_of(workload, "gru", TorchModel)
        peer.optimizer = torch.optim.Adam(peer.parameters, lr=0.005)
        works["PyTorch"] = lambda: (len(x.values), peer.epoch(data))
        data[:] = torch_batches(x, y, 32, np.random.default_rng(SEED))
    timings = rounds(works, options.repeats)
    print(f"C = {C}: " + ", ".join(f"{n} {spread(t['rates'])}" for n, t in timings.items()), file=sys.stderr)
    return {"C": C, "H": H, "tokens": len(x.values), "timings": timings}


def measure_quality(options):
    """Curves of perplexity over seconds; none without the texts."""
    rows = []
    for corpus, file, read, H in (
        ("movie_reviews", FILES["movie_reviews"], read_reviews, 100),
        ("wikitext-2", WIKITEXT, read_wikitext, 200),
    ):
        if options.data is None or not (options.data / file).exists():
            continue
        size, parts = read(options.data / file, 1 / QUICK_PART if options.quick else 1)
        rows.append({"corpus": corpus, "C": size, "H": H} | race(size, H, parts, options))
    if not rows and options.data is not None:
        raise Skipped(f"no {FILES['movie_reviews']} and no {WIKITEXT} in {options.data}")
    return rows


def read_wikitext(path, share):
    """(words C, (x, y) of each part): one paragraph a line, words as they stand there between blanks."""
    from fastrnn import Vocabulary

    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    vocabulary = Vocabulary(MORE_WORDS, level="whitespace", sentence_split="line")
    learned, *held_out = split(lines[: round(share * len(lines))])
    parts = [vocabulary.fit_transform(learned), *map(vocabulary.transform, held_out)]
    return len(vocabulary), parts


def race(C, H, parts, options):
    """Train all by turns on the same quarters of an epoch; the validation loss is outside the clock."""
    from fastrnn import FastRNN

    (x, y), validation, _ = parts
    quarters = np.array_split(np.random.default_rng(SEED).permutation(len(x)), PARTS)
    shared = {"hidden_dim": H, "vocab_size": C, "random_state": SEED, "max_epochs": 0}
    models = {name: FastRNN(**shared | own) for name, own in contestants_of(options.threads).items()}
    for model in models.values():
        model.fit([[0]], [[0]]).partial_fit(x[:64], y[:64])  # compiles: table `start` counts that
        model.fit([[0]], [[0]])
    runners = {name: (model.partial_fit, lambda m=model: m.loss(*validation)) for name, model in models.items()}
    if torch is not None:
        torch.manual_seed(SEED)
        peer, rng = peer_like(models["full"], C, options), np.random.default_rng(SEED)
        scored = list(torch_batches(*validation, 64))
        runners["PyTorch"] = (
            lambda x, y: peer.epoch(list(torch_batches(x, y, 32, rng))),
            lambda: peer.score(scored) / len(validation[0].values),
        )
    curves = {name: [] for name in runners}
    for _ in range(EPOCHS):
        for quarter in quarters:
            for name, (run, loss) in runners.items():
                start = time.perf_counter()
                run(x[quarter], y[quarter])
                seconds = time.perf_counter() - start + (curves[name][-1]["seconds"] if curves[name] else 0)
                curves[name].append({"seconds": seconds, "perplexity": float(np.exp(loss()))})
        print(
            {name: (round(c[-1]["seconds"], 1), round(c[-1]["perplexity"], 2)) for name, c in curves.items()},
            file=sys.stderr,
        )
    return {"tokens": len(x.values), "held_out": len(validation[0].values), "curves": curves}


# ---- Report

ABOUT = """
Training of a GRU with Adam, batches of 32 sentences, {threads} threads; output="sampled" with its default of 9 sqrt(C)
words at each update. PyTorch: its usual model, full softmax, float32. Speeds are medians of {repeats} rounds (lowest to
highest), a ratio is taken within a round; wanted is a speed of the sampled layer.
""".strip()

ABOUT_QUALITY = """
Perplexity of held-out text, which is always that of all words, after quarters of an epoch; the validation and the
compilation are outside the clock, as is nothing else of ours; the forming of PyTorch's batches is within it. *Reached
after* is the time until the perplexity that the full softmax in float32 has after one epoch.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    out = [*ABOUT.format(**figures).splitlines(), "", "| C | H | what | tokens/s | to full | to PyTorch | wanted |"]
    out += ["|---:|---:|---|---:|---:|---:|---:|"]
    for row in figures["speed"]:
        timings = row["timings"]
        for name, timing in timings.items():
            to_full = spread(ratios(timing, timings["full"]), "{:.2f}")
            to_peer = spread(ratios(timing, timings["PyTorch"]), "{:.2f}") if "PyTorch" in timings else ""
            wanted = f"{WANTED[row['C']]:,}" if name == "sampled" and row["C"] in WANTED else ""
            out.append(
                f"| {row['C']:,} | {row['H']} | {name} | {spread(timing['rates'])} | {to_full} | {to_peer} | {wanted} |"
            )
    if not figures["quality"]:
        return out
    out += ["", *ABOUT_QUALITY.splitlines(), ""]
    out += ["| corpus | C | what | seconds an epoch | perplexity after a quarter | one epoch | two | reached after |"]
    out += ["|---|---:|---|---:|---:|---:|---:|---:|"]
    for row in figures["quality"]:
        goal = row["curves"]["full"][PARTS - 1]["perplexity"]
        for name, curve in row["curves"].items():
            found = [at["seconds"] for at in curve if at["perplexity"] <= goal]
            marks = " | ".join(f"{curve[k]['perplexity']:.1f}" for k in (0, PARTS - 1, -1))
            reached = f"{found[0]:.1f} s" if found else "not in two epochs"
            seconds = curve[-1]["seconds"] / EPOCHS
            out.append(f"| {row['corpus']} | {row['C']:,} | {name} | {seconds:.1f} | {marks} | {reached} |")
    return out


def draw(figures, plots):
    """[(file, what it shows)]"""
    if not figures["quality"]:
        return []
    plots.curves(
        "outputs.svg",
        "Perplexity of held-out text, after every quarter of an epoch",
        {f"{row['corpus']}, {row['C']:,} words": [row["curves"]] for row in figures["quality"]},
        PARTS,
    )
    return [("outputs.svg", "Held-out perplexity over seconds of training, full and sampled softmax, and PyTorch")]

"""Table `quality`: perplexity of held-out text against training time, ours and PyTorch's, with one recipe."""

import copy
import sys
import time
import zipfile

import numpy as np

from ..measure import Skipped
from ..peers.torch_model import GATE_ORDER, TorchModel, torch, torch_batches

TITLE = "Quality for time"
SPLIT_SEED = 0
SHARES = (0.9, 0.05, 0.05)  # training, validation, test
WORDS, PIECE = 8000, 100
QUICK_PART, QUICK_EPOCHS = 0.05, 2
AFTER = 3  # epochs of PyTorch, whose perplexity is to be reached
TARGET = 0.25  # of its time
STARTS = {False: "as PyTorch starts it, normal with variance 1", True: "uniform in ±sqrt(1/C)"}
FILES = {"movie_reviews": "movie_reviews/movie_reviews.zip", "tinyshakespeare": "tinyshakespeare/input.txt"}


def measure(options):
    """All figures of the table; Skipped without the texts."""
    missing = [name for name in FILES.values() if options.data is None or not (options.data / name).exists()]
    if missing:
        raise Skipped(f"no {' and no '.join(missing)} in {options.data or 'any folder: --data says where'}")
    epochs = min(options.epochs, QUICK_EPOCHS) if options.quick else options.epochs
    rows = []
    for name, read in (("movie_reviews", read_reviews), ("tinyshakespeare", read_shakespeare)):
        size, parts = read(options.data / FILES[name], QUICK_PART if options.quick else 1)
        for seed in options.seeds:
            rows.append({"corpus": name, "seed": seed} | race(size, parts, epochs, seed, options))
    return {
        "threads": options.threads,
        "epochs": epochs,
        "split_seed": SPLIT_SEED,
        "equal_start": options.equal_start,
        "rows": rows,
    }


def read_reviews(path, share):
    """(words C, (x, y) of each part): one sentence a line, whole reviews in one part."""
    from fastrnn import Vocabulary

    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        names = np.random.default_rng(SPLIT_SEED).permutation(names)[: round(share * len(names))]
        texts = [archive.read(name).decode("latin-1") for name in names]
    vocabulary = Vocabulary(WORDS, level="whitespace", sentence_split="line")
    learned, *held_out = split(texts)
    parts = [vocabulary.fit_transform(learned), *map(vocabulary.transform, held_out)]
    return len(vocabulary), parts


def read_shakespeare(path, share):
    """(characters C, (x, y) of each part): pieces of 100 characters, the parts by position."""
    from fastrnn import Ragged, Vocabulary

    text = path.read_text(encoding="utf-8")
    texts = split(text[: round(share * len(text))])
    vocabulary = Vocabulary(None, level="char", lowercase=False, sentence_split="text").fit(texts[:1])

    def pieces(text):
        indices = vocabulary.encode(text)
        offsets = np.append(np.arange(0, len(indices) - 1, PIECE), len(indices) - 1)
        return Ragged(indices[:-1], offsets), Ragged(indices[1:], offsets)

    return len(vocabulary), [pieces(part) for part in texts]


def split(whole):
    """Three consecutive parts of a list or text."""
    first, second = (round(len(whole) * share) for share in np.cumsum(SHARES)[:2])
    return whole[:first], whole[first:second], whole[second:]


def race(size, parts, epochs, seed, options):
    """Train both by turns, epoch by epoch, from the same start; validation is outside the clock."""
    (x, y), validation, test = parts
    model = our_model(size, seed, options)
    our_model(size, seed, options).partial_fit(x[:64], y[:64])  # compiles: table `start` counts that
    runners = {"fastrnn": lambda _: model.partial_fit(x, y)}
    losses = {"fastrnn": lambda part: model.loss(*part)}
    if torch is not None:
        torch.manual_seed(seed)
        peer = peer_like(model, size, options)
        scored = {id(part): list(torch_batches(*part, 64)) for part in (validation, test)}
        runners["PyTorch"] = peer.epoch
        losses["PyTorch"] = lambda part: peer.score(scored[id(part)]) / len(part[0].values)
    curves = {name: [] for name in runners}
    for _ in range(epochs):
        data = list(torch_batches(x, y, model.batch_size, copy.deepcopy(model.rng_))) if torch is not None else None
        for name, run in runners.items():
            start = time.perf_counter()
            run(data)
            seconds = time.perf_counter() - start + (curves[name][-1]["seconds"] if curves[name] else 0)
            curves[name].append({"seconds": seconds, "perplexity": float(np.exp(losses[name](validation)))})
            print(f"{name}: {seconds:.1f} s, perplexity {curves[name][-1]['perplexity']:.2f}", file=sys.stderr)
    return {
        "size": size,
        "tokens": [len(part[0].values) for part in parts],
        "recipe": recipe(model),
        "curves": curves,
        "test": {name: float(np.exp(loss(test))) for name, loss in losses.items()},
    }


def our_model(size, seed, options):
    """FastRNN's defaults, but for what the command line asks for; initialised, not trained."""
    from fastrnn import FastRNN

    asked = {name: getattr(options, name) for name in ("cell", "hidden_dim", "optimizer")}
    asked = {name: value for name, value in asked.items() if value is not None}
    model = FastRNN(vocab_size=size, n_threads=options.threads, random_state=seed, max_epochs=0, **asked)
    return model.fit([[0]], [[0]])


def recipe(model):
    """What both are trained with."""
    names = ("cell", "hidden_dim", "optimizer", "batch_size", "clip_norm")
    return {name: getattr(model, name) for name in names} | {"learning_rate": model.learning_rate_}


def peer_like(model, size, options):
    """PyTorch's usual model with our recipe and our start: biases, V, and W where the cells agree, are the same.

    Its embedding starts as PyTorch's does, which is its better start, unless an equal one is asked for.
    """
    learning = (model.optimizer, model.learning_rate_, model.clip_norm)
    peer, params = TorchModel(model.cell, size, model.hidden_dim, *learning), model.params_
    with torch.no_grad():
        if not options.equal_start:
            torch.nn.init.normal_(peer.embedding.weight)
        peer.output.weight[:] = torch.from_numpy(np.array(params["V"]))
        for bias in (peer.output.bias, peer.layer.bias_ih_l0, peer.layer.bias_hh_l0):
            bias.zero_()
        if model.cell in GATE_ORDER:
            W = np.split(np.array(params["layer0.W"]), len(GATE_ORDER[model.cell]))
            peer.layer.weight_hh_l0[:] = torch.from_numpy(np.concatenate([W[i] for i in GATE_ORDER[model.cell]]))
    return peer


# ---- Report

ABOUT = """
Perplexity of held-out text against seconds of training on {threads} threads; outside the clock are validation,
compilation (see the first second) and the forming of PyTorch's batches. **movie_reviews:** one sentence a line, words
as they stand there between blanks, a vocabulary of 8,000 from the training part, whole reviews split 90/5/5 after a
shuffle with seed {split_seed}. **tinyshakespeare:** characters, pieces of {piece}, split 90/5/5 by position. Both train
on the same batches with the same recipe:
{recipe}.
PyTorch's model is Embedding (C, H), its cell, Linear; V, biases and, where the cells are the same, W start equal. Its
embedding starts {start}.
It has a matrix more, W_ih, where our U holds the gates' inputs themselves, starts in ±1 and is moved by Adam at four
times the rate, without a first moment. Our LSTM has peepholes and our GRU resets
before the product, which PyTorch's do not.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    used = ", ".join(f"{name} {value}" for name, value in figures["rows"][0]["recipe"].items())
    start = STARTS[figures["equal_start"]]
    out = ABOUT.format(piece=PIECE, recipe=used, start=start, **figures).splitlines()
    after = min(AFTER, figures["epochs"])
    reached = [reached_line(row, after) for row in figures["rows"] if "PyTorch" in row["curves"]]
    if reached:
        columns = f"PyTorch after {after} epochs | seconds | fastrnn reaches it after | of the time | at most"
        out += ["", f"| corpus | seed | {columns} |", "|---|---:|---:|---:|---:|---:|---:|", *reached]
    out += ["", f"| corpus | seed | what | seconds of {figures['epochs']} epochs | perplexity, validation | test |"]
    out += ["|---|---:|---|---:|---:|---:|"]
    for row in figures["rows"]:
        for name, curve in row["curves"].items():
            last = f"{curve[-1]['seconds']:.0f} | {curve[-1]['perplexity']:.2f} | {row['test'][name]:.2f}"
            out.append(f"| {row['corpus']} | {row['seed']} | {name} | {last} |")
    sizes = {row["corpus"]: "{:,} / {:,} / {:,}".format(*row["tokens"]) for row in figures["rows"]}
    return [*out, "", "Tokens of the parts: " + "; ".join(f"{name} {tokens}" for name, tokens in sizes.items()) + "."]


def reached_line(row, after):
    """When ours has reached PyTorch's perplexity after some epochs: at the end of the first epoch that has."""
    goal = row["curves"]["PyTorch"][after - 1]
    hits = [at["seconds"] for at in row["curves"]["fastrnn"] if at["perplexity"] <= goal["perplexity"]]
    found = f"{hits[0]:.1f} s | {hits[0] / goal['seconds']:.2f}" if hits else "not reached | "
    goal = f"{goal['perplexity']:.2f} | {goal['seconds']:.1f}"
    return f"| {row['corpus']} | {row['seed']} | {goal} | {found} | {TARGET} |"


def draw(figures, plots):
    """[(file, what it shows)]"""
    after = min(AFTER, figures["epochs"])
    panels = {}
    for row in figures["rows"]:
        panels.setdefault(row["corpus"], []).append(row["curves"])
    plots.curves("quality.svg", "Perplexity of held-out text, after every epoch", panels, after)
    return [("quality.svg", "Validation perplexity of fastrnn and PyTorch against seconds of training")]

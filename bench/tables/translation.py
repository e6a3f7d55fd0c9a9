"""Table `translation`: English to French, our Seq2Seq and PyTorch's encoder-decoder of the same sizes and recipe.

**Text.** The pairs `English<TAB>French` of fra-eng/fra.txt, made lower case, ’ read as ', cut into tokens by TOKEN:
words with an elision's apostrophe (l', don'), numbers, and single marks. Pairs of more than LONGEST tokens in
English, or twice that in French, are left out.

**Split.** By the English sentence, so that one sentence with all its translations is in one part only: its words
(without marks, joined by blanks, UTF-8) are hashed by BLAKE2b to 8 bytes, a big-endian integer; divided by 2^64 it is
below 0.015 for the test part, below 0.03 for validation, and the rest is for training. No random generator, no order
of lines. Training and validation loss take every pair; BLEU takes every English sentence once, with all its
translations as references, and compares words: an unknown one is never right.
"""

import hashlib
import re
import statistics
import sys
import time
import zipfile

import numpy as np

from ..machine import has_bfloat16
from ..measure import BFLOAT16, Skipped, rounds, spread
from ..peers.bfloat16 import WHAT, BFloat16Seq2Seq
from ..peers.torch_model import torch
from ..peers.translation import TorchSeq2Seq

TITLE = "Translation"
OURS, USUAL = "fastrnn", "PyTorch"
RIVALS = {USUAL: "ratio", USUAL + BFLOAT16: "ratio, bfloat16"}  # and the columns of what is compared with them
FILE = "fra-eng/fra-eng.zip"
TOKEN = re.compile(r"\w+'?|[^\w\s]")
LONGEST = 8
SHARES = (0.015, 0.03)  # ends of the test part and of the validation part
ENGLISH, FRENCH = 5000, 7000  # words
EPOCHS, BEAM, SEED = 3, 5, 0
RECIPE = {
    "hidden_dim": 128,
    "num_layers": 1,
    "embedding_dim": 128,
    "dropout": 0.0,
    "init_scale": 0.08,
    "optimizer": "adam",
    "learning_rate": 0.003,
    "clip_norm": 5.0,
    "batch_size": 32,
}
# What our users have by default, and PyTorch has no twin of: a word's own row of U, started in ±1, no embedding.
DEFAULTS = {"embedding_dim": None, "init_scale": None, "learning_rate": None}
SEARCHES = {"greedy": 1, f"beam of {BEAM}": BEAM}
TARGET = 3  # times as fast, in training and with a beam
READ = {True: "reversed", False: "as it stands"}
QUICK_PART, QUICK_EPOCHS = 0.02, 1


# ---- The text


def tokenize(text):
    """The tokens of a sentence."""
    return TOKEN.findall(text.lower().replace("’", "'"))


def place(english):
    """Where a sentence, given as tokens, stands in [0, 1); below 0.015 is test, below 0.03 validation."""
    words = " ".join(token for token in english if token[0].isalnum())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") / 2**64


class Corpus:
    """The parts as Ragged, both vocabularies, and the references.

    Parameters
    ----------
    path : Path
        The archive.
    share : float
        Of the sentences, for a smoke run.

    Attributes
    ----------
    vocabularies : (Vocabulary, Vocabulary)
        English and French, of the training part.
    training, validation : (Ragged, Ragged)
        All pairs.
    questions : dict of str to (Ragged, list of list of list of str)
        Of "validation" and "test": the English sentences, and the translations of each.
    """

    def __init__(self, path, share=1.0):
        from fastrnn import Vocabulary

        parts = {"test": {}, "validation": {}, "training": {}}
        for english, french in read(path):
            if (at := place(english)) < SHARES[1] or at < SHARES[1] + share:
                name = ("test", "validation", "training")[np.searchsorted(SHARES, at, side="right")]
                parts[name].setdefault(english, []).append(french)
        sides, part = both_sides(parts["training"]), min(1.0, 10 * share)  # some words are always unknown
        self.vocabularies = [
            Vocabulary(round(part * size), level="whitespace", sentence_split="line").fit(map(" ".join, side))
            for size, side in zip((ENGLISH, FRENCH), sides, strict=True)
        ]
        self.training, self.validation = (
            tuple(map(self._ragged, (0, 1), both_sides(parts[name]))) for name in ("training", "validation")
        )
        self.questions = {
            name: (self._ragged(0, parts[name]), list(parts[name].values())) for name in ("validation", "test")
        }

    def _ragged(self, side, sentences):
        from fastrnn import Ragged

        return Ragged.from_sequences([self.vocabularies[side].encode(tokens) for tokens in sentences])

    def bleu(self, name, found):
        """BLEU, 0 to 100, of index sequences found for the questions of a part."""
        from fastrnn.estimators.bleu import bleu

        return bleu(
            self.questions[name][1], [self.vocabularies[1].decode(np.asarray(words, np.int64)) for words in found]
        )


def both_sides(part):
    """The pairs of {english: [french]} as two lists."""
    pairs = [(english, french) for english, translations in part.items() for french in translations]
    return [english for english, _ in pairs], [french for _, french in pairs]


def read(path):
    """The pairs, as tuples of tokens, each once."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("fra.txt").decode("utf-8").splitlines()
    pairs = (tuple(tuple(tokenize(side)) for side in line.split("\t")) for line in lines)
    return dict.fromkeys((e, f) for e, f in pairs if 0 < len(e) <= LONGEST and 0 < len(f) <= 2 * LONGEST)


# ---- The race


class Ours:
    """Seq2Seq, initialised and compiled."""

    recipe = RECIPE

    def __init__(self, corpus, reverse, options):
        self.corpus = corpus
        self._model(reverse, options).partial_fit(*(side[:256] for side in corpus.training))
        self.model = self._model(reverse, options)

    def _model(self, reverse, options):
        from fastrnn import Seq2Seq

        model = Seq2Seq("lstm", reverse_source=reverse, n_threads=options.threads, random_state=SEED, **self.recipe)
        return model.set_params(max_epochs=0).fit(*self.corpus.training)

    def prepare(self):
        """Nothing: the forming of the batches is in our time."""

    def train(self):
        self.model.partial_fit(*self.corpus.training)

    def loss(self):
        return self.model.loss(*self.corpus.validation)

    def predict(self, source, beam_width):
        return self.model.predict(source, beam_width=beam_width)


class InBFloat16(Ours):
    """The same with large products in bfloat16."""

    recipe = RECIPE | {"matmul_precision": "bfloat16"}


class Defaults(Ours):
    """The same with our defaults in place of the shared embedding, start and learning rate."""

    recipe = RECIPE | DEFAULTS


class Theirs:
    """PyTorch's model; its batches are formed outside the clock."""

    kind = TorchSeq2Seq

    def __init__(self, corpus, reverse, options):
        sizes = map(len, corpus.vocabularies)
        self.model = self.kind(*sizes, reverse_source=reverse, seed=SEED, **RECIPE)
        self.corpus, self.scored = corpus, self.model.batches(*corpus.validation)
        self.predict = self.model.predict

    def prepare(self):
        self.batches = self.model.batches(*self.corpus.training, self.model.rng)

    def train(self):
        self.model.epoch(self.batches)

    def loss(self):
        return self.model.score(self.scored)


class TheirsInBFloat16(Theirs):
    """PyTorch's model under autocast."""

    kind = BFloat16Seq2Seq


def contest(reverse):
    """{name: kind of runner}; all for the reversed source, for the other only two: an epoch takes a minute."""
    kinds = {OURS: Ours, USUAL: Theirs}
    if reverse and has_bfloat16():
        kinds |= {OURS + BFLOAT16: InBFloat16, USUAL + BFLOAT16: TheirsInBFloat16}
    if reverse:
        kinds["fastrnn, our defaults"] = Defaults
    return {name: kind for name, kind in kinds.items() if torch is not None or not issubclass(kind, Theirs)}


def measure(options):
    """All figures of the table; Skipped without the text."""
    if options.data is None or not (options.data / FILE).exists():
        raise Skipped(f"no {FILE} in {options.data or 'any folder: --data says where'}")
    corpus = Corpus(options.data / FILE, QUICK_PART if options.quick else 1)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    rows = [race(corpus, contest(reverse), reverse, epochs, options) for reverse in READ]
    return {
        "threads": options.threads,
        "repeats": options.repeats,
        "epochs": epochs,
        "recipe": RECIPE,
        "rows": rows,
        "words": [len(vocabulary) for vocabulary in corpus.vocabularies],
        "coverage": [vocabulary.coverage_ for vocabulary in corpus.vocabularies],
        "pairs": len(corpus.training[0]),
        "tokens": len(corpus.training[1].values) + len(corpus.training[1]),
        "bleu": "as sacrebleu computes it",
        "sentences": {name: len(references) for name, (_, references) in corpus.questions.items()},
    }


def race(corpus, kinds, reverse, epochs, options):
    """Train all by turns, epoch by epoch; then search for the test part's translations by turns."""
    runners = {name: kind(corpus, reverse, options) for name, kind in kinds.items()}
    curves = {name: [] for name in runners}
    for _ in range(epochs):
        for name, runner in runners.items():
            runner.prepare()
            start = time.perf_counter()
            runner.train()
            epoch = time.perf_counter() - start
            bleu = corpus.bleu("validation", runner.predict(corpus.questions["validation"][0], beam_width=1))
            seconds = epoch + (curves[name][-1]["seconds"] if curves[name] else 0)
            curves[name].append({"seconds": seconds, "epoch": epoch, "loss": float(runner.loss()), "bleu": bleu})
            print(f"{READ[reverse]}, {name}: {curves[name][-1]}", file=sys.stderr)
    source, searches = corpus.questions["test"][0], {}
    for search, width in SEARCHES.items():
        works = {name: searching(runner, source, width) for name, runner in runners.items()}
        searches[search] = rounds(works, options.repeats)
        for result in searches[search].values():
            result["bleu"] = corpus.bleu("test", result.pop("value"))
    return {"reversed": reverse, "curves": curves, "searches": searches}


def searching(runner, source, width):
    """The work of translating all sources."""
    return lambda: (len(source), runner.predict(source, beam_width=width))


# ---- Report

ABOUT = """
English to French, sentences of at most {longest} tokens: {pairs:,} pairs for training, {validation:,} and {test:,}
English sentences with all their translations for validation and test, split by a hash of the English sentence (see
the head of `bench/tables/translation.py`). Vocabularies of {words[0]:,} and {words[1]:,} words of the training part
cover {coverage[0]:.1%} and {coverage[1]:.1%} of it. LSTM encoder and decoder without attention, {epochs} epochs of
{tokens:,} target tokens, both with one recipe:
{recipe}; everything starts uniform in ±init_scale.
Seconds are those of training on {threads} threads; outside the clock are validation, compilation (see the first second)
and the forming of PyTorch's batches. PyTorch's encoder sees sources of one length, its decoder is padded, and only
real tokens reach its output layer; its Adam is the fused one; its search keeps unfinished sentences only. Our LSTM has
peepholes, which PyTorch's does not. "Our defaults" are the same sizes without an embedding: a word has a row of U for
each side, started in ±1, and the learning rate is Adam's default. **BLEU** {bleu} on lower-case tokens,
all translations as references; validation greedy, test with both searches. Sentences/s: medians of {repeats} rounds
(lowest to highest).
""".strip()

ABOUT_BFLOAT16 = """
{what}
The first ratio is to PyTorch in float32, the second to PyTorch in bfloat16; a target is meant for equal precision.
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    rivals = {name: title for name, title in RIVALS.items() if any(name in row["curves"] for row in figures["rows"])}
    titles, rules = "".join(f" {title} |" for title in rivals.values()), "---:|" * len(rivals)
    used = ", ".join(f"{name} {value}" for name, value in figures["recipe"].items())
    earlier = {"bleu": "by NLTK's corpus_bleu"}  # figures that do not say
    words = earlier | figures | figures["sentences"] | {"recipe": used, "longest": LONGEST}
    out = ABOUT.format(**words).splitlines()
    if USUAL + BFLOAT16 in rivals:
        out += ["", *ABOUT_BFLOAT16.format(what=WHAT).splitlines()]
    out += ["", f"| source | what | seconds | tokens/s |{titles} target | loss, validation | BLEU, validation |"]
    out += [f"|---|---|---:|---:|{rules}---:|---:|---:|"]
    for row in figures["rows"]:
        out += [training_line(row, name, rivals, figures["tokens"]) for name in row["curves"]]
    out += ["", f"| source | search | what | BLEU, test | sentences/s |{titles} target |"]
    out += [f"|---|---|---|---:|---:|{rules}---:|"]
    for row in figures["rows"]:
        out += [search_line(row, search, name, rivals) for search, found in row["searches"].items() for name in found]
    return out


def training_line(row, name, rivals, tokens):
    """Of one model: its last epoch, and its ratios to PyTorch's, epoch by epoch."""
    curve, source = row["curves"][name], READ[row["reversed"]]
    rates = {who: [tokens / at["epoch"] for at in other] for who, other in row["curves"].items()}
    last = f"{curve[-1]['loss']:.3f} | {curve[-1]['bleu']:.1f}"
    first = f"| {source} | {name} | {curve[-1]['seconds']:.0f} | {statistics.median(rates[name]):,.0f} |"
    return first + compared(rates, name, rivals) + f" {last} |"


def search_line(row, search, name, rivals):
    """Of one model and search."""
    found, target = row["searches"][search], TARGET if SEARCHES[search] > 1 else ""
    rates = {who: result["rates"] for who, result in found.items()}
    first = f"| {READ[row['reversed']]} | {search} | {name} | {found[name]['bleu']:.1f} | {spread(rates[name])} |"
    return first + compared(rates, name, rivals, target)


def compared(rates, name, rivals, target=TARGET):
    """Cells: ratios of a contestant's rates to those of its rivals that ran beside it, and what ours should reach."""
    against = [] if name == USUAL else [rival for rival in rivals if rival in rates and rival != name]
    pairs = {rival: [a / b for a, b in zip(rates[name], rates[rival], strict=True)] for rival in against}
    cells = [spread(pairs[rival], "{:.2f}") if rival in pairs else "" for rival in rivals]
    return "".join(f" {cell} |" for cell in [*cells, target if pairs and name not in RIVALS else ""])


def draw(figures, plots):
    """[(file, what it shows)]"""
    panels = {f"source {READ[row['reversed']]}": [row["curves"]] for row in figures["rows"]}
    title = "BLEU of validation sentences, searched greedily, after every epoch"
    title += "; dashed: bfloat16" if USUAL + BFLOAT16 in figures["rows"][0]["curves"] else ""
    plots.curves("translation.svg", title, panels, 0, "bleu")
    return [("translation.svg", "Validation BLEU of fastrnn and PyTorch against seconds of training")]

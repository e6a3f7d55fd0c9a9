"""Table `text`: speed and peak memory of tokenising: ours, NLTK's, a plain split's and Hugging Face's on the same text.

Run as a program, `python -m bench.tables.text TASK`, it is one process whose memory is measured.
"""

import importlib.metadata
import json
import random
import re
import sys
import time
from collections import Counter

from ..machine import resident_memory, run_child
from ..measure import median, rounds, spread

TITLE = "Text"
MB = 1e6
SIZES = {"prose": 20.0, "short lines": 5.0}  # MB of text
QUICK_PART = 20
WORDS = 30_000  # distinct made-up words, beside the manual's own
TARGET = 5  # MB/s of the word tokenizer
BYTES = 6  # of memory for each of text, beyond the imports
OURS = "fastrnn"
OTHERS = ("NLTK", "plain split", "Hugging Face")


def measure(options):
    """All figures of the table."""
    rows = []
    present = contestants()
    for kind, size in SIZES.items():
        size = size / QUICK_PART if options.quick else size
        texts = corpus(kind, size)
        timed = rounds({name: timed_work(name, texts) for name in present}, min(options.repeats, 3))
        for name in present:
            task = json.dumps({"who": name, "kind": kind, "size": size})
            memory = json.loads(run_child(["-m", "bench.tables.text", task]))
            rows.append({"text": kind, "size": size, "who": name, "rates": timed[name]["rates"], **memory})
            print(f"{kind}, {name}: {median(timed[name]):.2f} MB/s, {memory['peak']:.0f} MB", file=sys.stderr)
    return {"rows": rows, "versions": {name: version(name) for name in ("nltk", "tokenizers")}}


def contestants():
    return [OURS, *(name for name in OTHERS if name != "Hugging Face" or version("tokenizers"))]


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def corpus(kind, size):
    """Texts of `size` MB together: the manual's sentences, a sixth of whose words are replaced by rarer ones."""
    from fastrnn import python_manual

    rng = random.Random(0)
    sentences = re.findall(r"\S.*?[.?!](?=\s|$)", " ".join(python_manual()))
    ranks = [1 / (rank + 10) for rank in range(WORDS)]
    made_up = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(3, 10))) for _ in range(WORDS)]
    texts, left = [], size * MB
    while left > 0:
        words = " ".join(rng.choices(sentences, k=20)).split(" ")
        rare = iter(rng.choices(made_up, ranks, k=len(words)))
        words = [next(rare) if word.isalpha() and rng.random() < 1 / 6 else word for word in words]
        if kind == "short lines":
            texts += [" ".join(words[i : i + 4]) for i in range(0, len(words), 4)]
        else:
            texts.append(" ".join(words))
        left -= sum(map(len, words)) + len(words)
    return ["\n".join(texts) if kind == "short lines" else "\n\n".join(texts)]


def timed_work(name, texts):
    """The work of one contestant, for `rounds`: MB read, and nothing to keep."""
    size = sum(map(len, texts)) / MB
    return lambda: (size, work(name, texts) and None)


def work(name, texts):
    """From raw text to the index of every token, and the vocabulary; returns what is kept of it."""
    if name == OURS:
        from fastrnn import Vocabulary

        vocabulary = Vocabulary(n_jobs=1)
        return vocabulary, *vocabulary.fit_transform(texts)
    if name == "Hugging Face":
        return hugging_face(texts)
    split = nltk_sentences() if name == "NLTK" else lambda text: map(str.split, text.lower().split("\n"))
    sentences = [tokens for text in texts for tokens in split(text)]
    counts = Counter(token for tokens in sentences for token in tokens)
    index = {token: i for i, (token, _) in enumerate(counts.most_common(7997))}
    return index, [[index.get(token, len(index)) for token in tokens] for tokens in sentences]


def nltk_sentences():
    """The tutorial's way: `sent_tokenize` and `word_tokenize`, with a Punkt model trained on the head where none is."""
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTokenizer

    words = NLTKWordTokenizer().tokenize

    def split(text):
        try:
            punkt = PunktTokenizer("english")
        except LookupError:
            punkt = PunktSentenceTokenizer(text[:1_000_000])
        for paragraph in text.split("\n\n"):
            for sentence in punkt.tokenize(paragraph):
                yield words(sentence.lower())

    return split


def hugging_face(texts):
    """A word-level model of the same size, its white space and punctuation rule."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    lines = [line for text in texts for line in text.split("\n") if line]
    tokenizer.train_from_iterator(
        lines, trainers.WordLevelTrainer(vocab_size=8000, special_tokens=["[UNK]"], show_progress=False)
    )
    return tokenizer, [encoding.ids for encoding in tokenizer.encode_batch(lines)]


# ---- The process that is measured


def main():
    task = json.loads(sys.argv[1])
    work(task["who"], ["A first text. It loads what is imported late."])
    texts = corpus(task["kind"], task["size"])
    imported = resident_memory()[0] - sum(map(len, texts)) / 2**20
    start = time.process_time()
    work(task["who"], texts)
    seconds = time.process_time() - start
    print(json.dumps({"imports": imported, "peak": resident_memory()[1], "cpu": seconds}))


# ---- Report

ABOUT = """
From raw text to the index of every token and a vocabulary of 8,000, in one process: sentences and words of the manual,
a sixth of the words made up ({words:,} distinct). Medians, and lowest to highest, of rounds in turn. NLTK is
`sent_tokenize` and `word_tokenize`, whose tokens ours are; the plain split is `str.split` of lines; Hugging Face's is a
word-level model of `tokenizers`{version}. Where NLTK's `punkt_tab` is not installed, fastrnn and NLTK also train a
Punkt model on the first million characters, which the time includes. Memory is the largest of a fresh process; *a byte*
is what it holds beyond the imports for each byte of text, the text among it. fastrnn should reach {target} MB/s, and
{bytes} bytes a byte at most.
""".strip()

HEAD = """
| text | what | MB/s | times NLTK | peak, MB | a byte |
|---|---|---:|---:|---:|---:|
""".strip()


def lines(figures):
    """The section as lines of Markdown."""
    found = figures["versions"]["tokenizers"]
    about = ABOUT.format(words=WORDS, version=f" {found}" if found else " (not installed)", target=TARGET, bytes=BYTES)
    out = [*about.splitlines(), "", *HEAD.splitlines()]
    for row in figures["rows"]:
        nltk = next(other for other in figures["rows"] if (other["text"], other["who"]) == (row["text"], "NLTK"))
        times = median(row) / median(nltk)
        each = (row["peak"] - row["imports"]) * 2**20 / (row["size"] * MB)
        title, rates = f"{row['text']}, {row['size']:g} MB", spread(row["rates"], "{:,.2f}")
        out.append(f"| {title} | {row['who']} | {rates} | {times:.1f} | {row['peak']:,.0f} | {each:.1f} |")
    return out


if __name__ == "__main__":
    main()

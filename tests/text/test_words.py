"""Word tokens and sentences are NLTK's, however they are found."""

import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer, PunktTrainer

from fastrnn.text import tokenize as text_module
from fastrnn.text import words as words_module
from fastrnn.text.corpora import python_manual
from fastrnn.text.punkt import FastPunkt, trained
from fastrnn.text.tokenize import SentenceSplitter
from fastrnn.text.words import WordTokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SPACES = [" ", " ", " ", " ", "\n", "\t", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028"]
MARKS = [*list("«“‘„`\"'([{<:,;@#$%&‒–—―?!])}>*»”’.-_"), "''", "``", "--", "...", "?!"]
WORDS = (
    "a b I s t m d re ve ll n't N'T 's 'S 'll 'RE can not cannot d'ye gimme gonna gotta lemme more'n wanna 'tis 'twas"
    " 1 23 4.5 é ß ı İ Σ ² ½ x́ \x00 \u200b 中文 Mr. U.S. e.g. The the"
).split(" ")


def texts_of(*fragments):
    return st.lists(st.sampled_from([f for group in fragments for f in group]), max_size=20).map("".join)


@given(texts_of(SPACES, SPACES, MARKS, WORDS))
@settings(deadline=None, max_examples=400)
def test_tokens_of_any_sentence(sentence):
    tokenize = WordTokenizer()
    assert tokenize(sentence) == NLTKWordTokenizer().tokenize(sentence)
    assert tokenize(sentence) == NLTKWordTokenizer().tokenize(sentence)  # what is remembered is right, too


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=200)
def test_tokens_of_any_characters(sentence):
    assert WordTokenizer()(sentence) == NLTKWordTokenizer().tokenize(sentence)


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ('"Stop!" he said.', ["``", "Stop", "!", "''", "he", "said", "."]),
        ('he said "stop."', ["he", "said", "``", "stop", ".", "''"]),
        ('he said\n"stop"', ["he", "said", "''", "stop", "''"]),
        ("he left. ) '", ["he", "left", ".", ")", "'"]),
        ("Mr. X left.", ["Mr.", "X", "left", "."]),
        ("wait...", ["wait", "..."]),
        ("I wanna, we cannot", ["I", "wan", "na", ",", "we", "can", "not"]),
        ("x's' y", ["x", "'s", "'", "y"]),
        ("x's'\ny", ["x's", "'", "y"]),
        ("a\x1cb.", ["a", "b", "."]),
    ],
)
def test_what_is_beside_a_chunk(sentence, tokens):
    assert WordTokenizer()(sentence) == tokens == NLTKWordTokenizer().tokenize(sentence)


def test_rules_that_are_new_to_us_are_tried(monkeypatch):
    import re

    monkeypatch.setattr(NLTKWordTokenizer, "ENDING_QUOTES", [(re.compile("(x)(?=y)"), r"\1 ")])
    assert WordTokenizer()("a(xy") == ["a", "(", "x", "y"]


def test_chunks_are_encoded_once_and_in_order():
    calls = []
    tokenize = WordTokenizer(lambda tokens: calls.append(list(tokens)) or [len(token) for token in tokens])
    assert tokenize("one three, one.") == [3, 5, 1, 3, 1]
    assert tokenize('"One" three, one.') == [2, 3, 2, 5, 1, 3, 1]
    assert calls == [["one"], ["three", ","], ["one", "."], ["``", "One", "''"]]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(words_module, "_MOST_CHUNKS", 3)
    tokenize = WordTokenizer()
    assert tokenize("a b c d e f a b c g") == list("abcdefabcg")
    assert len(tokenize._chunks) <= 3


def parameters():
    punkt = PunktParameters()
    punkt.abbrev_types = {"dr", "u.s", "e.g", "ab", "x"}
    punkt.collocations = {("ab", "cd"), ("##number##", "cd"), ("word", "go")}
    punkt.sent_starters = {"the", "cd"}
    punkt.ortho_context.update({"the": 34, "go": 34, "cd": 16, "x": 126, "ab": 4, "it": 66})
    return punkt


PUNKT_WORDS = (
    "The the Go go cd Cd ab Ab. word Word x x. 1 23 4. U.S. u.s. e.g. Dr. Mr. it It ΛΟΣ. éà. İ. ß. -ab. ab-cd. a.b.c."
).split(" ")


@given(
    texts_of(SPACES, SPACES, list(".?!.?!.?!\"'()[]{}:;,*-‘’“”«»…"), ["...", ". . .", "--", '."', "!'"], PUNKT_WORDS)
)
@settings(deadline=None, max_examples=400)
def test_sentences_of_any_text(text):
    fast, nltk = FastPunkt(parameters()), PunktSentenceTokenizer(parameters())
    for realign in (True, False):
        assert list(fast.span_tokenize(text, realign)) == list(nltk.span_tokenize(text, realign))
    assert fast.tokenize(text) == nltk.tokenize(text)


def test_decisions_are_remembered_within_bounds(monkeypatch):
    from fastrnn.text import punkt

    monkeypatch.setattr(punkt, "_MOST_DECISIONS", 2)
    fast = FastPunkt(parameters())
    text = "Dr. A came. Dr. B came. Dr. C came. Dr. A left."
    assert fast.tokenize(text) == PunktSentenceTokenizer(parameters()).tokenize(text)
    assert len(fast._decisions) <= 2


def test_what_is_learned_of_a_text():
    text = "\n\n".join(python_manual()[:100]) + " In 1. 2 ... 3.5 e.g. A.B. went. ...Then 3 lbs. of it. 4 lbs. more."
    found, nltk = trained(text), PunktTrainer(text).get_params()
    assert vars(found) == vars(nltk)
    assert found.ortho_context and found.abbrev_types


# Real text


def check_same(text):
    """Sentences and tokens, as the text is and in lower case, are those of NLTK's own classes."""
    splitter, tokenize, nltk = SentenceSplitter(), WordTokenizer(), NLTKWordTokenizer()
    splitter.prepare([text])
    punkt = splitter._punkt
    for paragraph in text_module._paragraphs(text):
        spans = list(punkt.span_tokenize(paragraph))
        assert spans == list(PunktSentenceTokenizer.span_tokenize(punkt, paragraph))
        for start, stop in spans:
            sentence = paragraph[start:stop]
            assert tokenize(sentence) == nltk.tokenize(sentence)
            assert tokenize(sentence.lower()) == nltk.tokenize(sentence.lower())


@pytest.mark.parametrize("split", [SentenceSplitter.split, lambda splitter, text: text.splitlines()])
def test_the_manual(split):
    text = "\n".join(python_manual()[:150])
    tokenize, nltk, splitter = WordTokenizer(), NLTKWordTokenizer(), SentenceSplitter()
    splitter.prepare([text])
    check_same(text)
    for sentence in split(splitter, text):
        assert tokenize(sentence) == nltk.tokenize(sentence)


def movie_reviews(path):
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))[::10]
        return "\n\n".join(archive.read(name).decode("latin-1") for name in names)


def sentence_pairs(path):
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.startswith("fra"))
        return archive.read(name).decode("utf-8")[-500_000:]


REAL = {
    "movie_reviews/movie_reviews.zip": movie_reviews,
    "fra-eng/fra-eng.zip": sentence_pairs,
    "tinyshakespeare/input.txt": lambda path: path.read_text(encoding="utf-8"),
    "wikitext-2/test.txt.gz": lambda path: gzip.decompress(path.read_bytes()).decode("utf-8"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_text(name):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    check_same(REAL[name](DATA / name))

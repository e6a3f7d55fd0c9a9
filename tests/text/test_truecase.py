"""Capitals for what was learned in lower case."""

import json
import logging

import numpy as np
import pytest

from fastrnn import Vocabulary
from fastrnn.text import token_ids
from fastrnn.text.truecase import CaseCounts, truecase

TEXT = (
    "The English cat of Mr. Smith sat. English is what the U.S. cat likes, and English only. Cats, said NASA, are cats."
    " May I go? You may. It's May: May the cat sit? Yes, it may, and it may not. I don't know iPhones."
)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("fastrnn").setLevel(logging.ERROR)
    yield
    logging.getLogger("fastrnn").setLevel(logging.NOTSET)


def test_forms_are_the_most_frequent_ones_within_sentences():
    vocabulary = Vocabulary().fit([TEXT])
    assert vocabulary.forms_ == {
        "english": "English",
        "mr.": "Mr.",
        "smith": "Smith",
        "u.s.": "U.S.",
        "nasa": "NASA",
        "i": "I",
        "iphones": "iPhones",
    }


def test_sentences_are_as_they_were():
    vocabulary = Vocabulary(special_tokens=["<Sep>"]).fit([TEXT + ' "No" <Sep>'])
    for sentence in ("Mr. Smith sat, <Sep> and the U.S. may.", '"Yes, I may," said NASA.', "The cat sat?"):
        assert vocabulary.detokenize(vocabulary.encode(sentence), truecase=True) == sentence
        assert vocabulary.detokenize(vocabulary.tokenize(sentence)) == sentence.lower().replace("<sep>", "<Sep>")


def test_words_that_only_begin_sentences_have_no_form():
    assert Vocabulary().fit(["Why not? Why me? Not Bob."]).forms_ == {"bob": "Bob"}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("`` why ? '' he asked .", "`` Why ? '' he asked ."),
        ("( it sat . ) it ran !", "( It sat . ) It ran !"),
        ("5 cats ran ... away", "5 cats ran ... away"),
        ("'t is iphone", "'T is iPhone"),
        ("iphone sat . ß ǆ", "iPhone sat . Ss ǆ"),
        ("- - .", "- - ."),
        ("", ""),
    ],
)
def test_sentences_start_with_a_capital(tokens, expected):
    assert truecase(tokens.split(), {"iphone": "iPhone"}) == expected.split()


@pytest.mark.parametrize("parameters", [{"lowercase": False}, {"level": "char"}])
def test_without_lower_case_words_there_are_no_forms(parameters):
    vocabulary = Vocabulary(**parameters).fit(["a Bob. Bob Bob"])
    assert vocabulary.forms_ == {}
    assert vocabulary.detokenize(["a", "b"], truecase=True)[0] == "A"


def test_forms_are_stored(tmp_path):
    vocabulary = Vocabulary().fit([TEXT])
    vocabulary.save(tmp_path / "words.txt")
    assert Vocabulary.load(tmp_path / "words.txt").forms_ == vocabulary.forms_
    arrays = vocabulary.to_arrays()
    assert Vocabulary.from_arrays(arrays).forms_ == vocabulary.forms_
    config = json.loads(arrays["config"].tobytes())
    del config["forms"]
    arrays["config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
    assert Vocabulary.from_arrays(arrays).forms_ == {}
    for forms in (["Bob"], {"bob": 1}, {"bob": "Bill"}):
        arrays["config"] = np.frombuffer(json.dumps(config | {"forms": forms}).encode(), np.uint8)
        with pytest.raises(ValueError, match="damaged.*forms"):
            Vocabulary.from_arrays(arrays)


def test_processes_change_nothing(monkeypatch):
    monkeypatch.setattr(token_ids, "_BATCH", 100)
    monkeypatch.setattr(token_ids, "_MUCH", 200)
    texts = [TEXT] * 6
    assert Vocabulary(n_jobs=2).fit(texts).forms_ == Vocabulary(n_jobs=1).fit(texts).forms_


def test_chunks_without_capitals_are_dropped():
    counts = CaseCounts()
    counts.add(["The cat saw Bob's cat", ""])
    counts.drop_lower()
    assert (dict(counts.first), dict(counts.all)) == ({"The": 1}, {"The": 1, "Bob's": 1})


def test_chunks_without_capitals_are_not_kept(monkeypatch):
    monkeypatch.setattr("fastrnn.text.truecase._MOST_CHUNKS", 2)
    counts = CaseCounts()
    counts.add(["The cat 1 saw Bob", "a cat 2 saw 3 , Bob , NASA"])
    assert counts.all == {"The": 1, "Bob": 2, "NASA": 1}
    assert counts.first == {"The": 1}
    counts.add(["4 5 Ann"])
    assert counts.all["Ann"] == 1 and counts.all["5"] == 1  # as many again, before they are looked through
    assert counts.drop_lower().all.keys() == {"The", "Bob", "NASA", "Ann"}


def test_forms_do_not_depend_on_how_often_lower_case_is_forgotten(monkeypatch):
    expected = Vocabulary().fit([TEXT] * 3).forms_
    monkeypatch.setattr("fastrnn.text.truecase._MOST_CHUNKS", 1)
    assert Vocabulary().fit([TEXT] * 3).forms_ == expected != {}

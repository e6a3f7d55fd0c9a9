"""Texts to numbers of tokens: in parts, in several processes, with their size told."""

import numpy as np
import pytest

from fastrnn import Vocabulary
from fastrnn.text import sizes, token_ids
from fastrnn.text.corpora import python_manual
from fastrnn.text.sizes import utf8_size
from fastrnn.text.token_ids import TokenIds
from fastrnn.text.tokenize import SentenceSplitter


def read(texts, mode, level="word", **options):
    splitter = SentenceSplitter(mode, inner=level == "word")
    found = TokenIds(splitter, level, True)
    found.read(splitter.prepare(texts), **options)
    return list(found.numbers), found.ids.tolist(), found.lengths.tolist()


def test_tokens_are_numbered_by_first_appearance():
    tokens, ids, lengths = read(["The cat sat. A dog,", "cat's (the)."], "line")
    assert tokens == ["the", "cat", "sat", ".", "a", "dog", ",", "'s", "(", ")"]
    assert ids == [0, 1, 2, 3, 4, 5, 6, 1, 7, 8, 0, 9, 3]
    assert lengths == [7, 6]


@pytest.mark.parametrize("mode", ["punkt", "line", "text"])
@pytest.mark.parametrize("level", ["word", "char", "whitespace"])
def test_parts_change_nothing(monkeypatch, mode, level):
    texts = ["\n\n".join(python_manual()[:10]), "One.\nTwo. Three\n\nfour", "", "é"]
    whole = read(texts, mode, level, n_jobs=1)
    monkeypatch.setattr(token_ids, "_BATCH", 300)
    if mode == "line":
        monkeypatch.setattr("fastrnn.text.tokenize._BLOCK", 500)
    sizes = []
    assert read(texts, mode, level, progress=sizes.append) == whole
    assert sum(sizes) == sum(len(text.encode()) for text in texts)
    assert len(sizes) > 1 and min(sizes) >= 0


def test_processes_change_nothing(monkeypatch):
    texts = python_manual()[:60]
    vocabulary = Vocabulary(max_size=500, n_jobs=1)
    x, y = vocabulary.fit_transform(texts)
    monkeypatch.setattr(token_ids, "_BATCH", 2_000)
    monkeypatch.setattr(token_ids, "_MUCH", 4_000)
    used = []
    append = TokenIds._append
    monkeypatch.setattr(TokenIds, "_append", lambda self, *found: used.append(found) or append(self, *found))
    several = Vocabulary(max_size=500, n_jobs=2)
    assert several.fit_transform(iter(texts)) == (x, y)
    assert len(used) > 2
    assert several.tokens_ == vocabulary.tokens_
    assert np.array_equal(several.counts_, vocabulary.counts_)
    assert several.transform(texts) == (x, y)


def test_bytes_of_a_text(monkeypatch):
    assert utf8_size("abc") == 3
    monkeypatch.setattr(sizes, "_SLICE", 2)
    assert utf8_size("aé中\U0001f600\ud800") == 1 + 2 + 3 + 4 + 3

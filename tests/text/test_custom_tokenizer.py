"""Tokenizers of others, and texts that are tokens already."""

import functools
import json

import numpy as np
import pytest

from fastrnn import Vocabulary
from fastrnn.text import token_ids
from fastrnn.text import tokenize as text_module
from fastrnn.text.custom_tokenizer import name_of


@pytest.fixture(autouse=True)
def no_punkt_tab(monkeypatch):
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)


def halves(sentence):
    """Subwords: every word as its two halves, the first with a mark."""
    return [half for w in sentence.split() for half in ("_" + w[: len(w) // 2], w[len(w) // 2 :]) if half]


def whole(tokens):
    return "".join(tokens).replace("_", " ").strip()


class Tokenizer:
    def __call__(self, sentence):
        return tuple(sentence.split())

    def encode(self, sentence):
        return np.array(sentence.split())


# Texts of tokens


@pytest.mark.parametrize("level", ["word", "whitespace", "char"])
def test_tokens_stay_as_they_are(level, caplog):
    vocabulary = Vocabulary(level=level)
    x, y = vocabulary.fit_transform([["New York", "isn't", "big. No"], (), ["Big"]])
    assert vocabulary.tokens_[2:-1] == ["new york", "isn't", "big. no", "big"]
    assert x.to_list() == [[0, 2, 3, 4], [0, 5]] and y.to_list() == [[2, 3, 4, 1], [5, 1]]
    assert not caplog.records


def test_tokens_and_strings_may_be_mixed():
    texts = [["a b", "c"], "The sea. The sky.", ["d"]]
    x, _ = (vocabulary := Vocabulary(lowercase=False)).fit_transform(texts)
    rows = [vocabulary.decode(row[1:]) for row in x.to_list()]
    assert rows == [["a b", "c"], ["The", "sea", "."], ["The", "sky", "."], ["d"]]
    assert list(vocabulary.sentences_by_text(texts)) == [[["a b", "c"]], ["The sea.", "The sky."], [["d"]]]
    assert vocabulary.tokenize(["a b", "C"]) == ["a b", "C"]
    indices, unknown = vocabulary.encode_prompt(["a b", "zz", "SENTENCE_END"])
    last = len(vocabulary) - 1
    assert unknown == ["zz", "SENTENCE_END"] and indices.tolist() == [0, vocabulary.index_["a b"], last, last]
    assert vocabulary.encode_prompt([])[0].tolist() == [0]


def test_strings_after_tokens_only():
    """Punkt is there, though no text was there to train it on."""
    vocabulary = Vocabulary().fit([["mr", "x", "."]])
    assert len(vocabulary.transform(["Mr. X came. He left."])[0]) == 2


def test_names_of_special_tokens_are_unknown_words():
    x, _ = Vocabulary(lowercase=False).fit_transform([["a", "SENTENCE_END", "a"]])
    assert x.to_list() == [[0, 2, 3, 2]]


def test_tokens_and_the_same_text_in_processes(monkeypatch):
    monkeypatch.setattr(token_ids, "_BATCH", 20)
    texts = [["ab", "cd", "ef"], "gh ij"] * 20
    one, two = (Vocabulary(n_jobs=n).fit_transform(texts)[0].to_list() for n in (1, 2))
    monkeypatch.setattr(token_ids, "_MUCH", 50)
    assert Vocabulary(n_jobs=2).fit_transform(texts)[0].to_list() == one == two


def test_progress_counts_tokens(monkeypatch):
    told = []
    ids = token_ids.TokenIds(Vocabulary(level="char").new_splitter(), "char", False)
    ids.read([["ab", "ü"], "ab"], 1, told.append)
    assert sum(told) == 6 + 2


# Tokenizers


def test_a_tokenizer_takes_the_place_of_the_level():
    vocabulary = Vocabulary(tokenizer=halves, detokenizer=whole)
    x, _ = vocabulary.fit_transform(["Hello big world. Bye world."])
    assert [vocabulary.decode(row[1:]) for row in x.to_list()] == [
        ["_he", "llo", "_b", "ig", "_wor", "ld."],
        ["_b", "ye", "_wor", "ld."],
    ]
    assert vocabulary.detokenize(x.to_list()[0]) == "hello big world."
    assert vocabulary.tokenize("Hello.") == ["_hel", "lo."]
    assert vocabulary.encode("hello").tolist() == [vocabulary.index_["_he"], vocabulary.index_["llo"]]


def test_without_a_detokenizer_there_are_spaces():
    vocabulary = Vocabulary(level="char", tokenizer=str.split).fit(["( a , b )"])
    assert vocabulary.detokenize(vocabulary.encode("( a , b )")) == "( a , b )"


def test_a_detokenizer_alone():
    vocabulary = Vocabulary(detokenizer="-".join).fit([["a", "b"]])
    assert vocabulary.detokenize(["SENTENCE_START", "a", "b"]) == "a-b"


def test_tokenizers_of_many_kinds():
    for tokenizer in (Tokenizer(), Tokenizer().encode, functools.partial(str.split), lambda text: text.split()):
        assert Vocabulary(tokenizer=tokenizer).fit(["a b"]).tokens_[2:-1] == ["a", "b"]


def test_sentences_without_tokens_are_left_out():
    x, _ = Vocabulary(tokenizer=lambda s: s.replace("-", "").split(), sentence_split="line").fit_transform(["a\n-\nb"])
    assert len(x) == 2


def test_a_tokenizer_is_called_in_this_process_only(monkeypatch):
    monkeypatch.setattr(token_ids, "_MUCH", 1)
    monkeypatch.setattr(token_ids, "_BATCH", 1)
    seen = []
    Vocabulary(tokenizer=lambda s: seen.append(s) or s.split(), n_jobs=2).fit(["a", "b", "c"])
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (None, TypeError, "tokenizer: found None for 'a b', expected a list of str"),
        ("a b", TypeError, "tokenizer: found 'a b' for 'a b', expected a list of str"),
        ([1, 2], TypeError, "tokenizer: for 'a b': token 0 is int, expected str"),
        (["a", ""], ValueError, "tokenizer: for 'a b': token 1 is empty"),
    ],
)
def test_what_is_no_tokenizer(result, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(tokenizer=lambda _: result).fit(["A b"])


def test_what_is_no_detokenizer():
    with pytest.raises(TypeError, match="detokenizer: found 3, expected a str"):
        Vocabulary(detokenizer=lambda _: 3).fit(["a"]).detokenize(["a"])
    for name in ("tokenizer", "detokenizer"):
        with pytest.raises(TypeError, match=f"^{name}: found 'x', expected a function or None"):
            Vocabulary(**{name: "x"}).fit(["a"])


# Stored vocabularies


def test_arrays_hold_names_and_ask_for_the_functions(caplog):
    vocabulary = Vocabulary(tokenizer=halves, detokenizer=whole).fit(["hello world"])
    arrays = vocabulary.to_arrays()
    config = json.loads(arrays["config"].tobytes())
    assert config["tokenizer"] == f"{__name__}.halves" and config["detokenizer"] == f"{__name__}.whole"
    again = Vocabulary.from_arrays(arrays, tokenizer=halves, detokenizer=whole)
    assert again.encode("world hello").tolist() == vocabulary.encode("world hello").tolist()
    assert again.detokenize(again.encode("world")) == "world" and "made with" not in caplog.text
    with pytest.raises(ValueError, match=r"^tokenizer: found None, expected .*halves'.*give it as tokenizer=\.\.\."):
        Vocabulary.from_arrays(arrays, detokenizer=whole)
    with pytest.raises(ValueError, match="^detokenizer: found None, expected .*whole'"):
        Vocabulary.from_arrays(arrays, tokenizer=halves)
    Vocabulary.from_arrays(arrays, tokenizer=str.split, detokenizer=whole)
    assert "tokenizer: found builtins.str.split, but the vocabulary was made with" in caplog.text


def test_a_vocabulary_without_a_tokenizer_takes_none():
    arrays = Vocabulary().fit(["a"]).to_arrays()
    with pytest.raises(ValueError, match="^tokenizer: found .*halves.*, expected None"):
        Vocabulary.from_arrays(arrays, tokenizer=halves)
    assert Vocabulary.from_arrays(arrays, detokenizer="-".join).detokenize(["a", "b"]) == "a-b"


def test_files_of_before_have_no_tokenizer():
    arrays = Vocabulary().fit(["a"]).to_arrays()
    config = json.loads(arrays["config"].tobytes())
    arrays["config"] = np.frombuffer(
        json.dumps({k: v for k, v in config.items() if "tokenizer" not in k}).encode(), np.uint8
    )
    assert Vocabulary.from_arrays(arrays).tokenizer is None


def test_names():
    assert name_of(None) is None and name_of(halves).endswith(".halves")
    assert name_of(Tokenizer()).endswith(".Tokenizer") and name_of(Tokenizer().encode).endswith(".Tokenizer.encode")
    assert name_of(functools.partial(halves)) == "functools.partial"
    assert name_of("-".join) == "builtins.str.join"

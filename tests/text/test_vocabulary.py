"""The vocabulary: its indices, its pairs of sentences, its report and its arrays."""

import json
import logging
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrnn.data.ragged import Ragged
from fastrnn.errors import NotFittedError
from fastrnn.text import tokenize as text_module
from fastrnn.text.vocabulary import SENTENCE_END, SENTENCE_START, UNKNOWN_TOKEN, Vocabulary

TEXT = "the cat sat. the dog sat. the cat ran. a bird sang!"


@pytest.fixture(autouse=True)
def no_punkt_tab(monkeypatch):
    """The same sentences on every machine, whether NLTK's model is installed or not."""
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)
    logging.getLogger("fastrnn").setLevel(logging.ERROR)
    yield
    logging.getLogger("fastrnn").setLevel(logging.NOTSET)


def test_the_tutorials_pair():
    sentence = "What aren't you understanding about this?!"
    vocabulary = Vocabulary()
    x, y = vocabulary.fit_transform([sentence])
    words = ["what", "are", "n't", "you", "understanding", "about", "this", "?", "!"]
    assert isinstance(x, Ragged) and len(x) == len(y) == 1
    assert vocabulary.decode(x[0]) == [SENTENCE_START, *words]
    assert vocabulary.decode(y[0]) == [*words, SENTENCE_END]
    assert x.values[1:].tolist() == y.values[:-1].tolist()


def test_indices():
    vocabulary = Vocabulary().fit([TEXT])
    assert vocabulary.tokens_[:2] == [SENTENCE_START, SENTENCE_END]
    assert vocabulary.tokens_[-1] == UNKNOWN_TOKEN
    # the, . three times, cat and sat twice; equal ones by first appearance
    assert vocabulary.tokens_[2:6] == ["the", ".", "cat", "sat"]
    assert vocabulary.tokens_[6:-1] == ["dog", "ran", "a", "bird", "sang", "!"]
    assert vocabulary.index_ == {token: i for i, token in enumerate(vocabulary.tokens_)}
    assert vocabulary.counts_.tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0]
    assert (vocabulary.n_sentences_, vocabulary.n_tokens_, vocabulary.n_distinct_) == (4, 16, 10)
    assert vocabulary.coverage_ == 1.0
    assert len(vocabulary) == 13
    assert "cat" in vocabulary and "Cat" not in vocabulary and SENTENCE_END in vocabulary


@pytest.mark.parametrize("max_size", [7, np.int64(7)])
def test_the_size_counts_the_special_tokens(max_size):
    vocabulary = Vocabulary(max_size)
    x, y = vocabulary.fit_transform([TEXT])
    assert vocabulary.tokens_ == ["SENTENCE_START", "SENTENCE_END", *"the . cat sat".split(), "UNKNOWN_TOKEN"]
    assert vocabulary.coverage_ == 10 / 16
    assert vocabulary.counts_[-1] == 6
    assert x.to_list() == [[0, 2, 4, 5, 3], [0, 2, 6, 5, 3], [0, 2, 4, 6, 3], [0, 6, 6, 6, 6]]
    assert y.to_list() == [[2, 4, 5, 3, 1], [2, 6, 5, 3, 1], [2, 4, 6, 3, 1], [6, 6, 6, 6, 1]]
    assert len(Vocabulary(None).fit([TEXT])) == 13


def test_fit_transform_is_fit_and_transform():
    texts = [TEXT, "the cow sat.\n\nno end"]
    x, y = Vocabulary(8).fit_transform(iter(texts))
    vocabulary = Vocabulary(8)
    assert vocabulary.fit(texts) is vocabulary
    assert vocabulary.transform(tuple(texts)) == (x, y)
    assert vocabulary.tokens_[2:7] == ["the", ".", "sat", "cat", "dog"]
    assert vocabulary.transform(["the zebra sat."])[0].to_list() == [[0, 2, 7, 4, 3]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
@settings(deadline=None)
def test_characters_come_back(texts):
    vocabulary = Vocabulary(None, level="char", lowercase=False, sentence_split="text")
    texts = [text for text in texts if text.strip()]
    if texts:
        x, y = vocabulary.fit_transform(texts)
        assert [vocabulary.detokenize(row) for row in x] == texts
        assert [vocabulary.detokenize(row) for row in y] == texts
        restored = Vocabulary.from_arrays(vocabulary.to_arrays())
        assert restored.tokens_ == vocabulary.tokens_


def test_levels():
    x, _ = Vocabulary(level="char").fit_transform(["Ab\nBa"])
    assert x.to_list() == [[0, 2, 3], [0, 3, 2]]
    vocabulary = Vocabulary(level="whitespace", lowercase=False)
    x, _ = vocabulary.fit_transform(["I can't , <unk>\nnow"])
    assert [vocabulary.decode(row[1:]) for row in x] == [["I", "can't", ",", "<unk>"], ["now"]]


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_special_name_in_the_text_is_an_unknown_word(lowercase):
    text = "SENTENCE_START is not SENTENCE_END or UNKNOWN_TOKEN"
    vocabulary = Vocabulary(lowercase=lowercase)
    x, _ = vocabulary.fit_transform([text])
    assert len(set(vocabulary.tokens_)) == len(vocabulary) == (9 if lowercase else 6)
    if not lowercase:
        assert x.to_list() == [[0, 5, 2, 3, 5, 4, 5]]
        assert vocabulary.transform([text])[0] == x
        assert vocabulary.encode(text).tolist() == [5, 2, 3, 5, 4, 5]
        assert vocabulary.encode_prompt(text)[1] == [SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN]


@pytest.mark.parametrize("mode", ["punkt", "line", "text"])
def test_a_text_has_the_same_tokens_however_it_comes_in(mode):
    text = 'The cat sat. "The dog ran!" Dr. Who sat again.'
    tokens = "the cat sat . `` the dog ran ! '' dr. who sat again .".split()
    vocabulary = Vocabulary(sentence_split=mode)
    _, y = vocabulary.fit_transform([text])
    assert len(y) == (3 if mode == "punkt" else 1)
    assert [token for row in y for token in vocabulary.decode(row) if token != SENTENCE_END] == tokens
    assert vocabulary.tokenize(text) == tokens
    assert vocabulary.decode(vocabulary.encode(text)) == tokens
    indices, unknown = vocabulary.encode_prompt(text)
    assert vocabulary.decode(indices[1:]) == tokens and not unknown
    restored = Vocabulary.from_arrays(vocabulary.to_arrays())
    assert restored.tokenize(text) == tokens and restored.transform([text])[1] == y


def test_paragraphs_within_a_text_are_paragraphs():
    vocabulary = Vocabulary(sentence_split="text")
    x, _ = vocabulary.fit_transform(['One two.\n\n"Three" four.\n'])
    assert [vocabulary.decode(row[1:]) for row in x] == ["one two . `` three '' four .".split()]
    assert vocabulary.tokenize(" \n") == []


def test_levels_that_do_not_split_full_stops_off():
    vocabulary = Vocabulary(level="whitespace")
    assert vocabulary.fit(["a b. c d."]).tokenize("a b. c d.") == ["a", "b.", "c", "d."]
    assert vocabulary._splitter.learned is None  # and learn no sentences


def test_a_vocabulary_of_before_has_the_tokens_of_before():
    def of_before(mode):
        arrays = Vocabulary(sentence_split=mode).fit(["Ab cd. Ef gh."]).to_arrays()
        config = json.loads(arrays["config"].tobytes())
        del config["inner"]
        arrays["config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
        return Vocabulary.from_arrays(arrays)

    assert of_before("punkt").tokenize("Ab cd. Ef gh.") == ["ab", "cd", ".", "ef", "gh", "."]
    for mode in ("line", "text"):
        vocabulary = of_before(mode)
        assert vocabulary.tokenize("Ab cd. Ef gh.") == ["ab", "cd.", "ef", "gh", "."]
        assert Vocabulary.from_arrays(vocabulary.to_arrays()).tokenize("Ab cd. Ef gh.") == [
            "ab",
            "cd.",
            "ef",
            "gh",
            ".",
        ]


def test_encode_and_decode():
    vocabulary = Vocabulary(7).fit([TEXT])
    assert vocabulary.encode("The cat sat.").tolist() == [2, 4, 5, 3]
    assert vocabulary.encode("The cow").dtype == np.int32
    tokens = [SENTENCE_START, "The", "cow", UNKNOWN_TOKEN, SENTENCE_END]
    assert vocabulary.encode(tokens).tolist() == [0, 2, 6, 6, 1]
    assert vocabulary.decode([0, 2, 6, 1]) == ["SENTENCE_START", "the", "UNKNOWN_TOKEN", "SENTENCE_END"]
    assert vocabulary.decode([]) == []
    with pytest.raises(TypeError, match="sentence must be a str or tokens, found int"):
        vocabulary.encode([1])


def test_a_prompt_starts_a_sentence_and_names_unknown_words():
    vocabulary = Vocabulary(7).fit([TEXT])
    indices, unknown = vocabulary.encode_prompt("The cow, the dog, the cow")
    assert indices.tolist() == [0, 2, 6, 6, 2, 6, 6, 2, 6] and indices.dtype == np.int32
    assert unknown == ["cow", ",", "dog"]
    assert vocabulary.encode_prompt("")[0].tolist() == [0]
    with pytest.raises(TypeError, match="text: found None, expected a str"):
        vocabulary.encode_prompt(None)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0, 7], ValueError, "index 7 found among indices, expected 0 <= index < 7"),
        ([-1], ValueError, "index -1 found"),
        ([1.0], TypeError, "indices must be a sequence of int"),
        ([[1]], TypeError, "indices must be a sequence of int"),
        (3, TypeError, "indices must be a sequence of int"),
        (["the"], TypeError, "indices must be a sequence of int"),
    ],
)
def test_wrong_indices(indices, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(7).fit([TEXT]).decode(indices)


def test_detokenize():
    vocabulary = Vocabulary()
    x, y = vocabulary.fit_transform(['He said "you don\'t ($5) ... do you?"'])
    assert vocabulary.detokenize(x[0]) == 'he said "you don\'t ($5)... do you?"'
    assert vocabulary.detokenize(y[0].tolist()) == vocabulary.detokenize(x[0])
    assert vocabulary.detokenize([SENTENCE_START, "He", "left", "!", SENTENCE_END]) == "He left!"
    assert vocabulary.detokenize([]) == ""


def test_report():
    assert Vocabulary(7).fit([TEXT]).report() == (
        "4 sentences, 16 tokens, 10 distinct\n"
        "Vocabulary size 7, covers 62.50% of the tokens\n"
        "The least frequent word is 'sat', seen 2 times"
    )
    assert "least frequent character is 'b', seen once" in (Vocabulary(level="char").fit(["aab"]).report())


def test_repr():
    assert repr(Vocabulary(None, level="char")) == "Vocabulary(max_size=None, level='char')"


@pytest.mark.parametrize(
    "use",
    [
        len,
        Vocabulary.report,
        Vocabulary.to_arrays,
        lambda v: "a" in v,
        lambda v: v.transform(["a"]),
        lambda v: v.encode("a"),
        lambda v: v.encode_prompt("a"),
        lambda v: v.decode([0]),
    ],
)
def test_use_before_fit(use):
    with pytest.raises(NotFittedError, match="call fit, or load"):
        use(Vocabulary())


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("a text", TypeError, "found a single str; wrap it as \\[text\\]"),
        (b"a text", TypeError, "found a single bytes"),
        (None, TypeError, "texts must be a list of str, found NoneType"),
        (["a", 3], TypeError, "texts\\[1\\] is int, expected str"),
        ([["a", 3]], TypeError, "texts\\[0\\]: token 1 is int, expected str"),
        ([["a", ""]], ValueError, "texts\\[0\\]: token 1 is empty"),
        ([{"a"}], TypeError, "texts\\[0\\] is set, expected str"),
        ([], ValueError, "texts: no sentence found"),
        (["", " \n\n "], ValueError, "texts: no sentence found"),
    ],
)
@pytest.mark.parametrize("level", ["word", "char"])
def test_wrong_texts(texts, error, message, level):
    with pytest.raises(error, match=message):
        Vocabulary(level=level).fit(texts)
    with pytest.raises(error, match=message):
        Vocabulary(level=level).fit(["a"]).transform(texts)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_size": 3}, "max_size: found 3, expected an int >= 4 or None"),
        ({"max_size": True}, "max_size: found True"),
        ({"max_size": 10.0}, "max_size: found 10.0"),
        ({"level": "byte"}, "level: found 'byte'"),
        ({"sentence_split": "page"}, "sentence_split: found 'page'"),
        ({"lowercase": -1}, "lowercase: found -1, expected True or False"),
        ({"lowercase": "no"}, "lowercase: found 'no'"),
        ({"verbose": -1}, "verbose: found -1"),
    ],
)
def test_impossible_parameters(parameters, message):
    vocabulary = Vocabulary(**parameters)  # the constructor only stores
    with pytest.raises((TypeError, ValueError), match=message):
        vocabulary.fit([TEXT])


def test_a_failed_fit_changes_nothing():
    vocabulary = Vocabulary().fit([TEXT])
    before = vocabulary.to_arrays()
    with pytest.raises(ValueError, match="no sentence found"):
        vocabulary.fit([""])
    assert all(np.array_equal(before[k], v) for k, v in vocabulary.to_arrays().items())


def test_arrays_restore_everything(tmp_path):
    text = "Dr. Smith left. " * 3 + TEXT
    vocabulary = Vocabulary(max_size=9, lowercase=False)
    x, y = vocabulary.fit_transform([text])
    np.savez(tmp_path / "v.npz", **vocabulary.to_arrays())
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        restored = Vocabulary.from_arrays(arrays)
    assert repr(restored) == repr(vocabulary)
    assert restored.report() == vocabulary.report()
    assert restored.tokens_ == vocabulary.tokens_
    assert restored.counts_.tolist() == vocabulary.counts_.tolist()
    assert restored.transform([text]) == (x, y)
    assert pickle.loads(pickle.dumps(vocabulary)).transform([text]) == (x, y)


def test_any_character_can_be_stored():
    text = "a\0b\x1f\ud800é\U0001f600"
    vocabulary = Vocabulary(level="char", sentence_split="text").fit([text])
    restored = Vocabulary.from_arrays(vocabulary.to_arrays())
    assert restored.detokenize(restored.encode(text)) == text


def edit_config(arrays, **changes):
    config = json.loads(arrays["config"].tobytes()) | changes
    arrays["config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a.pop("tokens"),
        lambda a: a.pop("config"),
        lambda a: a.update(tokens=a["tokens"][:-1]),
        lambda a: a.update(tokens=np.r_[a["tokens"], 65]),
        lambda a: a.update(tokens=np.full_like(a["tokens"], 255)),
        lambda a: a.update(tokens=a["tokens"][::-1]),
        lambda a: a.update(token_lengths=a["token_lengths"][:-1]),
        lambda a: a.update(token_lengths=a["token_lengths"][:0]),
        lambda a: a.update(token_lengths=a["token_lengths"] - 5),
        lambda a: a.update(counts=a["counts"][1:]),
        lambda a: a.update(counts=-a["counts"]),
        lambda a: a.update(counts=a["counts"] * 0),
        lambda a: a.update(config=a["config"][:-1]),
        lambda a: a.update(config=np.frombuffer(b"[]", np.uint8)),
        lambda a: edit_config(a, max_size=-1),
        lambda a: edit_config(a, level="byte"),
        lambda a: edit_config(a, sentence_split="page"),
        lambda a: edit_config(a, punkt={}),
        lambda a: edit_config(a, punkt=3),
        lambda a: edit_config(a, n_distinct="many"),
        lambda a: edit_config(a, inner="yes"),
    ],
)
def test_damaged_arrays_are_refused(damage):
    arrays = Vocabulary().fit([TEXT]).to_arrays()
    damage(arrays)
    with pytest.raises(ValueError, match="the stored vocabulary is damaged"):
        Vocabulary.from_arrays(arrays)


def test_progress_is_shown_on_standard_error(capsys):
    quiet = Vocabulary().fit_transform([TEXT])
    assert capsys.readouterr() == ("", "")
    assert Vocabulary(verbose=1).fit_transform([TEXT]) == quiet
    out, err = capsys.readouterr()
    assert out == "" and f"{len(TEXT)}.0/{len(TEXT)}.0" in err
    assert Vocabulary(verbose=1).fit_transform(iter([TEXT])) == quiet  # of an iterator the total is not known
    assert f"{len(TEXT)}.0B" in capsys.readouterr().err


def test_a_text_of_one_word():
    x, y = Vocabulary().fit_transform(["Word"])
    assert (x.to_list(), y.to_list()) == ([[0, 2]], [[2, 1]])

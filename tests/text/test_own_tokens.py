"""Vocabularies of one's own tokens, of frequent words only, with special tokens and a word for unknown ones."""

import logging

import numpy as np
import pytest

from fastrnn import Vocabulary
from fastrnn.text.vocabulary import SENTENCE_END, SENTENCE_START, UNKNOWN_TOKEN
from fastrnn.text.whole_words import SentenceTokenizer

LINES = {"level": "whitespace"}
SPECIAL = [SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN]


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("fastrnn").setLevel(logging.ERROR)
    yield
    logging.getLogger("fastrnn").setLevel(logging.NOTSET)


def restored(vocabulary):
    return Vocabulary.from_arrays(vocabulary.to_arrays())


def test_min_count():
    vocabulary = Vocabulary(min_count=2, **LINES).fit(["a b a c", "b d"])
    assert vocabulary.tokens_ == [SENTENCE_START, SENTENCE_END, "a", "b", UNKNOWN_TOKEN]
    assert vocabulary.counts_.tolist() == [2, 2, 2, 2, 2]
    assert Vocabulary(4, min_count=2, **LINES).fit(["a b a c", "b d"]).tokens_[2:-1] == ["a"]
    assert restored(vocabulary).min_count == 2


def test_min_count_that_no_word_reaches():
    with pytest.raises(ValueError, match="min_count: found 3, expected 2 at most"):
        Vocabulary(min_count=3, **LINES).fit(["a b a c"])


@pytest.mark.parametrize("tokens", [["c", "a"], {"a": 3, "c": 2}, ["c", "a", *SPECIAL], np.array(["c", "a"])])
def test_own_tokens_keep_their_order(tokens):
    vocabulary = Vocabulary.from_tokens(tokens, **LINES)
    assert vocabulary.tokens_ == [SENTENCE_START, SENTENCE_END, "c", "a", UNKNOWN_TOKEN]
    assert vocabulary.encode("a b c").tolist() == [3, 4, 2]
    assert vocabulary.report() == "Vocabulary size 5, of tokens that were given"


def test_a_mapping_with_special_tokens():
    mapping = {SENTENCE_START: 0, "b": 2, SENTENCE_END: 1, "a": 3, UNKNOWN_TOKEN: 4}
    assert Vocabulary.from_tokens(mapping).index_ == mapping


def test_fit_counts_own_tokens():
    vocabulary = Vocabulary(max_size=4, min_count=9, tokens=["c", "a", "z"], **LINES)
    x, _ = vocabulary.fit_transform(["a b a", "c"])
    assert vocabulary.tokens_[2:-1] == ["c", "a", "z"]
    assert vocabulary.counts_.tolist() == [2, 2, 1, 2, 0, 1]
    assert x.to_list() == [[0, 3, 5, 3], [0, 2]]
    assert "'z', seen never" in vocabulary.report()
    again = restored(vocabulary)
    assert again.tokens == ["c", "a", "z"] and again.transform(["a b a", "c"])[0] == x


def test_tokens_without_a_text_can_be_stored():
    vocabulary = restored(Vocabulary.from_tokens(["the", "cat", "."]))
    assert vocabulary.transform(["The cat. The dog."])[0].to_list() == [[0, 2, 3, 4], [0, 2, 5, 4]]


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ({"a": 0, "b": 1}, ValueError, "tokens: found index 0 of 'a'.*expected 2: .*sorted"),
        ({"a": 2, "b": 2}, ValueError, "tokens: found index 2 of 'b'.*expected 3"),
        ({"a": 2, UNKNOWN_TOKEN: 1}, ValueError, "tokens: found index 1 of 'UNKNOWN_TOKEN'"),
        ({"a": 2.0}, TypeError, "tokens: found 2.0, expected an int"),
        (["a", "b", "a"], ValueError, "tokens: found 'a' twice"),
        (SPECIAL, ValueError, "tokens: found .* expected one token at least"),
        (["a", ""], ValueError, "tokens: found an empty token"),
        (["a" * 1001], ValueError, "tokens: found a token of 1001 characters"),
        (["a", 1], TypeError, "tokens: found 1, expected a str"),
        (iter(["a"]), TypeError, "tokens: found .* expected a list"),
        ({"a"}, TypeError, "tokens: found {'a'}, expected a list"),
        ("abc", TypeError, "tokens: found 'abc', expected a list of tokens"),
        (None, TypeError, "tokens: found None"),
    ],
)
def test_impossible_tokens(tokens, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.from_tokens(tokens)


@pytest.mark.parametrize(
    ("level", "tokens"),
    [("word", ["he", "left", "<SEP>", "she", "did", "n't", "."]), ("char", [*"he left", "<SEP>", *"she didn't."])],
)
def test_special_tokens_are_found_as_they_stand(level, tokens):
    vocabulary = Vocabulary(7, level, special_tokens=["<SEP>", "<eot>"]).fit(["He left<SEP>She didn't."])
    assert vocabulary.tokenize("He left<SEP>She didn't.") == tokens
    assert vocabulary.tokens_[2:4] == ["<SEP>", "<eot>"]
    assert vocabulary.counts_[2:4].tolist() == [1, 0]
    assert vocabulary.encode(["<SEP>"]).tolist() == [2]
    assert restored(vocabulary).tokenize("He left<SEP>She didn't.") == tokens


def test_special_tokens_among_own_ones():
    vocabulary = Vocabulary.from_tokens(["a", "<sep>"], special_tokens=["<sep>", "<eot>"])
    assert vocabulary.tokens_[2:-1] == ["<eot>", "a", "<sep>"]


@pytest.mark.parametrize("level", ["word", "whitespace"])
def test_the_word_for_unknown_words(level):
    text = 'The <unk> of " <unk> " ran . <unk> sat'
    vocabulary = Vocabulary(level=level, sentence_split="line", unknown_word="<unk>")
    x, _ = vocabulary.fit_transform([text])
    last = len(vocabulary) - 1
    assert "<unk>" not in vocabulary and "<" not in vocabulary
    assert (x[0] == last).sum() == 3 == vocabulary.counts_[-1]
    indices, unknown = vocabulary.encode_prompt("the <unk> fox")
    assert indices.tolist() == [0, vocabulary.index_["the"], last, last]
    assert unknown == ["fox"]
    again = restored(vocabulary)
    assert again.unknown_word == "<unk>" and again.transform([text])[0] == x


def test_without_that_word_it_is_text():
    assert Vocabulary().fit(["the <unk> ran."]).tokenize("the <unk> ran") == ["the", "<", "unk", ">", "ran"]


def test_the_full_stop_before_a_special_word_stays():
    vocabulary = Vocabulary(unknown_word="<unk>").fit(["a"])
    assert vocabulary.tokenize("Mr. <unk> left.") == ["mr.", "<unk>", "left", "."]


@pytest.mark.parametrize("word", ["a b", "", " ", UNKNOWN_TOKEN, "x\n"])
@pytest.mark.parametrize("name", ["special_tokens", "unknown_word"])
def test_impossible_words(name, word):
    with pytest.raises(ValueError, match=f"{name}: found"):
        Vocabulary(**{name: [word] if name == "special_tokens" else word}).fit(["a"])


def test_a_word_has_one_meaning():
    with pytest.raises(ValueError, match="unknown_word: found '<s>', which is one of special_tokens"):
        Vocabulary(special_tokens=["<s>"], unknown_word="<s>").fit(["a"])
    with pytest.raises(ValueError, match="unknown_word: found '<s>', which is one of tokens"):
        Vocabulary.from_tokens(["<s>"], unknown_word="<s>")
    with pytest.raises(ValueError, match="special_tokens: found 1 for 4 indices in all, expected 5"):
        Vocabulary(4, special_tokens=["<s>"]).fit(["a"])


def test_words_within_words_are_left_alone():
    tokenize = SentenceTokenizer("word", True, ["unk", "<b>", "<b>c"])
    assert tokenize("Drunk unk <b>cd <b>c") == ["drunk", "unk", "<b>", "cd", "<b>c"]
    assert SentenceTokenizer("whitespace", False, ["<b>"])("<b> a<b>") == ["<b>", "a<b>"]


def test_characters_of_private_use_are_no_special_words():
    assert SentenceTokenizer("char", False, ["<b>"])("\U000f0000<b>") == ["\ufffd", "<b>"]
    assert SentenceTokenizer("char", False)("\U000f0000") == ["\U000f0000"]


def test_older_arrays_lack_the_new_parameters():
    import json

    vocabulary = Vocabulary().fit(["a b. c d."])
    arrays = vocabulary.to_arrays()
    config = json.loads(arrays["config"].tobytes())
    for name in ("min_count", "special_tokens", "unknown_word", "tokens_given"):
        del config[name]
    arrays["config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
    assert Vocabulary.from_arrays(arrays).get_params() == vocabulary.get_params()


def test_with_a_tokenizer_of_ones_own(tmp_path):
    def in_twos(text):
        return [text[i : i + 2] for i in range(0, len(text), 2)]

    vocabulary = Vocabulary(tokenizer=in_twos, special_tokens=["<Sep>"], unknown_word="<unk>", min_count=2)
    vocabulary.fit(["ABAB<Sep>cdcd <unk>", "ababx"])
    assert vocabulary.tokenize("ABAB<Sep>cdc") == ["ab", "ab", "<Sep>", "cd", "c"]
    assert vocabulary.tokens_[2:-1] == ["<Sep>", "ab", "cd"] and vocabulary.forms_ == {}
    vocabulary.save(tmp_path / "words.txt")
    assert Vocabulary.load(tmp_path / "words.txt", tokenizer=in_twos).encode("abcd").tolist() == [3, 4]
    with pytest.raises(ValueError, match="tokenizer: found None, expected the function"):
        Vocabulary.load(tmp_path / "words.txt")


def test_texts_that_are_tokens_already():
    vocabulary = Vocabulary(special_tokens=["<Sep>"], unknown_word="<unk>")
    x, _ = vocabulary.fit_transform([["The", "Cat", "<Sep>", "a", "Cat", "<unk>"]])
    assert vocabulary.tokens_[2:-1] == ["<Sep>", "cat", "the", "a"]
    assert x.to_list() == [[0, 4, 3, 2, 5, 3, 6]]
    assert vocabulary.detokenize(x[0][:4], truecase=True) == "The Cat <Sep>"
    assert vocabulary.tokenize(["A", "<Sep>"]) == ["a", "<Sep>"]

"""Vocabularies in text files that people edit."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import Vocabulary
from fastrnn.text import vocabulary_file


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("fastrnn").setLevel(logging.ERROR)
    yield
    logging.getLogger("fastrnn").setLevel(logging.NOTSET)


@pytest.fixture
def saved(tmp_path):
    """A file, and what was saved there."""
    vocabulary = Vocabulary(20, special_tokens=["<sep>"], unknown_word="<unk>")
    vocabulary.fit(["Mr. Smith sat <sep> ran. The <unk> sat."])
    vocabulary.save(tmp_path / "words.txt")
    return tmp_path / "words.txt", vocabulary


def test_what_is_saved_is_read(saved):
    path, vocabulary = saved
    again = Vocabulary.load(path)
    assert again.tokens_ == vocabulary.tokens_ and np.array_equal(again.counts_, vocabulary.counts_)
    assert again.report() == vocabulary.report()
    text = ["Mr. Smith ran <sep> The fox. <unk>"]
    assert again.transform(text) == vocabulary.transform(text)
    again.save(path.with_name("again.txt"))
    assert path.with_name("again.txt").read_bytes() == path.read_bytes()


def test_it_is_readable(saved):
    lines = saved[0].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# fastrnn vocabulary 1" and lines[1].startswith('# {"max_size": 20, "level": "word"')
    assert lines[3:6] == ["SENTENCE_START\t2", "SENTENCE_END\t2", "<sep>\t1"]
    assert "sat\t2" in lines


@given(st.lists(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=5), min_size=1, unique=True))
def test_any_tokens(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("any") / "words.txt"
    tokens = [token for token in tokens if "_" not in token] or ["a"]
    vocabulary = Vocabulary.from_tokens(tokens, level="whitespace")
    vocabulary.save(path)
    assert Vocabulary.load(path).tokens_ == vocabulary.tokens_


def test_edited_lines(saved):
    path, vocabulary = saved
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.remove("sat\t2")
    lines.remove("SENTENCE_START\t2")
    path.write_text("\r\n".join([*lines, "", "fox", "back\\\\slash\t3", ""]), encoding="utf-8")
    again = Vocabulary.load(path)
    assert "sat" not in again and again.tokens_[-3:] == ["fox", "back\\slash", "UNKNOWN_TOKEN"]
    assert again.counts_[-3:].tolist() == [0, 3, vocabulary.counts_[-1]]
    path.write_text("\n".join([*lines, *(f"word{i}" for i in range(30))]), encoding="utf-8")
    assert len(Vocabulary.from_arrays(Vocabulary.load(path).to_arrays())) > 30 > vocabulary.max_size


def test_a_plain_list(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\ufeffthe\n#\n\\n\n\ncat\n", encoding="utf-8")
    vocabulary = Vocabulary.load(path, level="whitespace", unknown_word="<unk>")
    assert vocabulary.tokens_[2:-1] == ["the", "#", "\\n", "cat"]
    assert (vocabulary.level, vocabulary.unknown_word) == ("whitespace", "<unk>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n\na\n", "line 4: found 'a' again, which is on line 1"),
        ("", "line 1: found no token"),
        (b"a\n\xff\n", "line 2: found bytes that are no UTF-8"),
        ("# fastrnn vocabulary 2\n", "line 1: found .* expected # fastrnn vocabulary 1; upgrade fastrnn"),
        ("# fastrnn vocabulary 1\n# {\n# {}\na\n", "line 2: found '# {', expected # and a JSON object"),
        ("# fastrnn vocabulary 1\n# {}\n# 3\na\n", "line 3: found '# 3', expected # and a JSON object"),
        ("# fastrnn vocabulary 1", "line 2: found ''"),
        ("# fastrnn vocabulary 1\n# {}\n# {}\na\n", "lines 2 and 3: .*'max_size'"),
        ("HEAD\na\tx\n", "line 4: found the count 'x', expected digits"),
        ("HEAD\na\t1\t2\n", "line 4: found the count"),
        ("HEAD\na\t9999999999999999\n", "line 4: found the count"),
        ("HEAD\n\t1\n", "line 4: found no token before the tab"),
        ("HEAD\nb\na\\z\t1\n", "line 5: found a backslash"),
        ("HEAD\n\\Uffffffff\n", "line 4: found .* expected escapes of characters that there are"),
        ("HEAD\nSENTENCE_START\n<sep>\n", None),
        ("HEAD\nSENTENCE_START\n", "tokens: found .* expected one token at least"),
        ("HEAD\na\n", "special_tokens: found one that is no token"),
    ],
)
def test_faults_are_named_with_their_lines(saved, content, message):
    path, _ = saved
    head = "\n".join(path.read_text(encoding="utf-8").splitlines()[:3])
    content = content if isinstance(content, bytes) else content.replace("HEAD", head).encode()
    path.write_bytes(content)
    if message is None:
        assert Vocabulary.load(path).tokens_[2:-1] == ["<sep>"]
        return
    with pytest.raises(ValueError, match=f"words.txt: {message}|words.txt: lines 2 and 3: {message}"):
        Vocabulary.load(path)


def test_parameters_of_the_file_are_not_given_again(saved):
    with pytest.raises(TypeError, match="level: found one, expected none"):
        Vocabulary.load(saved[0], level="char")


def test_what_was_there_stays_if_writing_fails(saved, monkeypatch):
    path, vocabulary = saved
    before = path.read_bytes()
    monkeypatch.setattr(vocabulary_file, "_escape", lambda token: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        vocabulary.save(path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]

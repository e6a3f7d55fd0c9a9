"""Reading texts, splitting them into sentences and tokens, putting tokens together."""

import csv
import gzip
import io
import logging
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrnn.text import tokenize as text_module
from fastrnn.text.corpora import python_manual
from fastrnn.text.files import read_texts
from fastrnn.text.tokenize import SentenceSplitter, join_words, tokenizer

DOCTOR = "Dr. Smith came. He left! Was it e.g. Friday?\nIt was.\n\na new paragraph"


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def split(text, mode="punkt"):
    splitter = SentenceSplitter(mode)
    return [s for t in splitter.prepare([text]) for s in splitter.split(t)]


@pytest.fixture
def no_punkt_tab(monkeypatch):
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)


# Reading


def test_a_text_file_is_one_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne.\r\nTwo\rétwo.\n\nThree.".encode())
    assert list(read_texts(path)) == ["One.\nTwo\nétwo.\n\nThree."]
    assert list(read_texts(str(path))) == list(read_texts(path))


def test_gzip_and_other_encodings(tmp_path):
    (tmp_path / "a.log.gz").write_bytes(gzip.compress("naïve".encode("latin-1")))
    assert list(read_texts(tmp_path / "a.log.gz", encoding="latin-1")) == ["naïve"]
    (tmp_path / "b").write_bytes("wide".encode("utf-16"))
    assert list(read_texts(tmp_path / "b", encoding="utf-16")) == ["wide"]


def test_the_tutorials_csv(tmp_path):
    comments = ['He said "no".\nReally, he did!', "plain", 'a "b", c', "", "long " * 50_000]
    path = write_csv(tmp_path / "comments.CSV", ["body"], [[c] for c in comments])
    limit = csv.field_size_limit()
    assert list(read_texts(path)) == [c for c in comments if c]
    assert list(read_texts(path, column="body")) == list(read_texts(path))
    assert csv.field_size_limit() == limit


def test_one_column_of_several(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["id", "body"], [["1", "one\r\ntwo"], [], ["2", "three"]])
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    assert list(read_texts(path, "body")) == ["one\ntwo", "three"]
    assert list(read_texts(packed, "id")) == ["1", "2"]


def test_a_directory_is_read_in_sorted_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("second")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"third"))
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    write_csv(tmp_path / "d.csv", ["body"], [["fourth"]])
    assert list(read_texts(tmp_path)) == ["first", "second", "third", "fourth"]


def test_standard_input(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    give("naïve\n".encode())
    assert list(read_texts("-")) == ["naïve\n"]
    give(b'id,body\n1,"a\nb"\n')
    assert list(read_texts("-", column="body")) == ["a\nb"]
    give(b"")
    with pytest.raises(ValueError, match="^standard input: no text found"):
        list(read_texts("-"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b" \n\n", "a.txt: no text found, expected at least one sentence"),
        ("a.csv", b"", "a.csv: no text found"),
        ("a.csv", b"body\n", "a.csv: no text found"),
        ("a.txt", b"\x89PNG\r\n\0\xff", "a.txt: NUL bytes found, expected a text file in utf-8"),
        ("a.txt", b"a\0b", "a.txt: NUL bytes found"),
        ("a.txt", b"one\ntwo\n\xe9t\xe9", "a.txt: not utf-8 at byte 8, line 3; give its encoding"),
        ("a.txt.gz", b"not gzip", "a.txt.gz: broken gzip file"),
        ("a.txt.gz", gzip.compress(b"some text")[:-9], "a.txt.gz: broken gzip file"),
        ("a.txt.gz", gzip.compress(b"some text")[:10] + b"?" * 9, "a.txt.gz: broken gzip file"),
        ("a.csv", b"id,body\n1,a\n", "a.csv: name the column of the text, one of 'id', 'body'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        list(read_texts(tmp_path / name))
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_column_that_is_not_there(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["id", "body"], [["1", "one"], ["2"]])
    with pytest.raises(ValueError, match=r"a\.csv: no column 'text', found 'id', 'body'"):
        list(read_texts(path, "text"))
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="column 'body' was asked for, expected one of .csv"):
        read_texts(tmp_path / "a.txt", "body")


def test_paths_are_checked_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.txt: no such file or directory"):
        read_texts(tmp_path / "a.txt")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    with pytest.raises(ValueError, match="no text files found, found 1 .png; expected .txt"):
        read_texts(tmp_path)


def test_an_unknown_encoding(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="encoding: found 'utf-99', expected one that Python knows"):
        list(read_texts(tmp_path / "a.txt", encoding="utf-99"))


# Sentences


def test_punkt_learned_here_splits_sentences_and_says_so_once(no_punkt_tab, caplog):
    splitter = SentenceSplitter()
    texts = list(splitter.prepare([DOCTOR, "Next."]))
    assert texts == [DOCTOR, "Next."]
    sentences = ["Dr. Smith came.", "He left!", "Was it e.g. Friday?", "It was.", "a new paragraph"]
    assert list(splitter.split(DOCTOR)) == sentences
    assert list(splitter.prepare(["more"])) == ["more"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "punkt_tab is not installed" in caplog.text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("About this?!", ["About this?!"]),
        ("Wow!!! Really ? ! We wait . . .", ["Wow!!!", "Really ? !", "We wait . . ."]),
        ("Nice. :)\n\n--\n\n... and so on.", ["Nice. :)", "--", "... and so on."]),
    ],
)
def test_no_sentence_is_punctuation_only(no_punkt_tab, text, sentences):
    assert split(text) == sentences


def test_punkt_that_is_installed_is_used(monkeypatch, caplog):
    class Model:
        def span_tokenize(self, text):
            return [(0, 2), (2, 4)]

    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: Model())
    assert split("a.b.\n\nc?d!") == ["a.", "b.", "c?", "d!"]
    assert not caplog.records


def test_the_lookup_of_the_installed_model(monkeypatch, tmp_path):
    from nltk import data

    monkeypatch.setattr(data, "path", [str(tmp_path)])
    assert text_module._installed_punkt() is None
    model = tmp_path / "tokenizers" / "punkt_tab" / "english"
    model.mkdir(parents=True)
    files = {"abbrev_types.txt": "capt", "collocations.tab": "", "sent_starters.txt": "", "ortho_context.tab": ""}
    for name, content in files.items():
        (model / name).write_text(content)
    punkt = text_module._installed_punkt()
    text = "So said capt. Hook. He left."
    assert [text[start:stop] for start, stop in punkt.span_tokenize(text)] == ["So said capt. Hook.", "He left."]


def test_abbreviations_are_learned_with_care(no_punkt_tab):
    text = "We met at approximtly. three. " + "It weighs 3 lbz. or more in the sun. He ran. " * 10
    splitter = SentenceSplitter()
    splitter.prepare([text])
    assert "lbz" in splitter.learned["abbreviations"]
    assert not {"sun", "ran", "approximtly"} & set(splitter.learned["abbreviations"])
    assert split("the cat sat. a dog ran. " * 50) == ["the cat sat.", "a dog ran."] * 50


def test_a_learned_model_can_be_stored(no_punkt_tab, caplog):
    splitter = SentenceSplitter()
    manual = "\n\n".join(python_manual())
    list(splitter.prepare([manual]))
    again = SentenceSplitter(learned=splitter.learned)
    list(again.prepare(["unseen"]))
    assert again.learned is splitter.learned
    pickled = pickle.loads(pickle.dumps(splitter))
    list(pickled.prepare([]))
    for other in (again, pickled):
        assert list(other.split(manual)) == list(splitter.split(manual))
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="a Punkt model has"):
        SentenceSplitter(learned={"abbreviations": []})


def test_training_reads_only_the_head(no_punkt_tab, monkeypatch):
    monkeypatch.setattr(text_module, "_BLOCK", 100)
    read = []
    sizes = []
    train = text_module._train_punkt
    monkeypatch.setattr(text_module, "_train_punkt", lambda s, *_: sizes.append(len(s)) or train(s))
    texts = (read.append(i) or "A short text. " * 3 for i in range(10))
    rest = SentenceSplitter().prepare(texts)
    assert read == [0, 1, 2] and sizes == [100]
    assert len(list(rest)) == 10


@pytest.mark.parametrize("gap", [" ", "\n", ""])
def test_a_long_paragraph_is_cut_at_white_space(monkeypatch, gap):
    monkeypatch.setattr(text_module, "_BLOCK", 10)
    text = gap.join(["abcd"] * 20)
    pieces = list(text_module._paragraphs("one\n \ntwo\n\n" + text))
    assert pieces[:2] == ["one", "two"]
    assert all(len(piece) <= 10 for piece in pieces)
    assert "".join(pieces[2:]) == text
    if gap:
        assert {word for piece in pieces[2:] for word in piece.split()} == {"abcd"}


def test_lines_and_whole_texts():
    assert split("one. two\r\n\n \nthree", "line") == ["one. two", "three"]
    assert split("one. two\n\nthree", "text") == ["one. two\n\nthree"]
    assert split(" \n", "text") == []
    with pytest.raises(ValueError, match="sentence_split is 'page', expected one of"):
        SentenceSplitter("page")


@given(st.text(st.sampled_from("ab.A !?'\"\n1,M"), max_size=80))
@settings(deadline=None)
def test_no_character_is_lost(text):
    splitter = SentenceSplitter(
        learned={
            "abbreviations": ["a"],
            "collocations": [["a", "b"]],
            "sentence_starters": ["m"],
            "orthography": {"a": 34},
        }
    )
    splitter.prepare([])
    assert "".join("".join(splitter.split(text)).split()) == "".join(text.split())


# Tokens


def test_words_are_those_of_nltk():
    from nltk.tokenize import word_tokenize

    words = tokenizer("word")
    assert words("He left!") == ["He", "left", "!"]
    for sentence in ["He left!", 'I can\'t (really) pay "$5", don’t ask...', "Mr. X's dog, i.e. Rex."]:
        assert words(sentence) == word_tokenize(sentence, preserve_line=True)


def test_other_levels():
    assert tokenizer("char")("a b") == ["a", " ", "b"]
    assert tokenizer("whitespace")("I can't , <unk>") == ["I", "can't", ",", "<unk>"]
    with pytest.raises(ValueError, match="level is 'byte', expected one of"):
        tokenizer("byte")


@pytest.mark.parametrize(
    "sentence",
    [
        "He left!",
        "What aren't you understanding about this?!",
        'He said "normal" things (really), didn\'t he?',
        "I can't, won't, I'd've; gonna cannot.",
        "It costs $5.00 -- 10% off... wait, what?!",
        "'Hello there,' he said, 'cats.'",
        "The dogs' tails, the cat's, and the '90s.",
        "Don’t “quote” [it’s] {b} ‘x’…",
        "See http://example.org/a at 10:30, U.S. time: #1.",
        "'tis gimme, lemme, wanna go.",
        "Whether 'twere better to send 'em o' the road and ha' done, for 'tis late.",
        "'It was 'em,' he said.",
        "The target(s) and class(es) (s) of it.",
        "'",
        "",
    ],
)
def test_words_are_put_together_as_they_were(sentence):
    assert join_words(tokenizer("word")(sentence)) == sentence


def test_quotes_of_any_kind_are_paired():
    assert join_words(["a", "``", "b", "``", "c", '"', "d", '"', "''", "e"]) == 'a "b" c "d"" e'


@given(st.lists(st.text(st.sampled_from("ab'\"`.,($’n t"), max_size=4)))
@settings(deadline=None)
def test_only_spaces_and_quotes_change(tokens):
    def bare(text):
        return [c for c in text if c not in " \"`'"]

    assert bare(join_words(tokens)) == bare("".join(tokens))


def test_importing_does_not_import_nltk():
    code = "import sys, fastrnn.text, fastrnn.text.vocabulary; print('nltk' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# The built-in text


def test_the_manual_is_prose():
    paragraphs = python_manual()
    assert sum(map(len, paragraphs)) > 120_000
    assert len(set(paragraphs)) == len(paragraphs)
    for paragraph in paragraphs:
        assert paragraph[0].isupper() and paragraph[-1] in ".?!", paragraph
        assert not set(paragraph) & set('\n*`"|={}[]<>\0'), paragraph
    text = " ".join(paragraphs)
    assert "Assignments to __debug__ are illegal." in text
    assert "::=" not in text and "://" not in text

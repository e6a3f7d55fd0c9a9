"""Where line ends end sentences by default, and where they do not."""

import random
import textwrap

import numpy as np
import pytest

from fastrnn import Vocabulary, python_manual
from fastrnn.text.line_ends import end_sentences

SONNET = """\
So are you to my thoughts as food to life,
Or as sweet-season'd showers are to the ground;
And for the peace of you I hold such strife
As 'twixt a miser and his wealth is found.
Now proud as an enjoyer, and anon
Doubting the filching age will steal his treasure;"""
LINES = ["hey", "what's up?", "not much, you", "lol ok", "I went to the store.", "bring the cat then, see you", "yes"]


def made(line, n=60):
    rng = random.Random(0)
    return "".join(line(i, rng) + "\n" for i in range(n))


@pytest.mark.parametrize(
    "text",
    [
        made(lambda i, rng: " ".join(rng.choice(["bab", "cet", "dul"]) for _ in range(4))),  # lines of one length
        made(lambda i, rng: rng.choice(LINES)),
        made(lambda i, rng: f"{rng.choice(['ann', 'bob'])}: {rng.choice(LINES)}"),
        made(lambda i, rng: f"2024-01-01 10:00:{i:02d} INFO worker {i} started after {i * i} ms"),
        made(lambda i, rng: f"{i}\n00:00:{i:02d},000 --> 00:00:{i:02d},900\nWell, what is\nit now?\n"),
        SONNET,
        SONNET.replace("\n", "\r\n"),
        "red fox jumps\nblue dog\nold cat sleeps here\na mouse\nthe end",
        "第一章の題\n猫の話\n犬と鳥の物語\n終わりの章\n付録",
    ],
    ids=["titles", "chat", "names", "log", "subtitles", "verse", "CRLF", "few", "Japanese"],
)
def test_lines_that_are_sentences(text):
    assert end_sentences(text)


def wrapped(width, **options):
    return "\n\n".join(textwrap.fill(paragraph, width, **options) for paragraph in python_manual()[:150])


@pytest.mark.parametrize(
    "text",
    [
        wrapped(40),
        wrapped(72),
        wrapped(72).lower(),
        wrapped(72).upper(),
        wrapped(72).replace("\n\n", "\n"),
        wrapped(60) + wrapped(75),
        wrapped(70, initial_indent="> ", subsequent_indent="> "),
        "\n".join(python_manual()[:150]),  # a paragraph a line
        "It rains\nand pours",
        "",
        "\n\n",
        "One.",
        "***\n" * 9 + "a. " * 20,
        "\n".join("これは長い文章で、折り返されている。次の文もある。" * 9 for _ in range(3)),
    ],
    ids=range(14),
)
def test_lines_that_go_on(text):
    assert not end_sentences(text)


def sentences(text, **parameters):
    vocabulary = Vocabulary(**parameters).fit([text])
    return vocabulary, list(vocabulary.sentences([text]))


def test_the_default_sees_it_says_so_and_remembers(caplog):
    text = "red fox jumps\nblue dog\n\nold cat sleeps here. It snores\na mouse\na bird\nthe end"
    vocabulary, found = sentences(text)
    assert found == ["red fox jumps", "blue dog", "old cat sleeps here.", "It snores", "a mouse", "a bird", "the end"]
    assert vocabulary.n_sentences_ == 7
    [line] = [r.getMessage() for r in caplog.records if "punkt_tab" not in r.getMessage()]
    assert "every line end ends a sentence" in line and 'sentence_split="punkt"' in line
    again = Vocabulary.from_arrays(vocabulary.to_arrays())
    assert list(again.sentences(["a mouse\na dog"])) == ["a mouse", "a dog"]  # which alone would not tell
    assert len(again.transform(["a mouse\na dog"])[0]) == 2
    caplog.clear()
    assert sentences(text, sentence_split="punkt")[1][0].startswith("red fox jumps\nblue dog")
    assert not any("line end" in r.getMessage() for r in caplog.records)
    fitted_on_prose, found = sentences(wrapped(72))
    assert sum("\n" in sentence for sentence in found) > 100
    assert list(fitted_on_prose.sentences(["a mouse\na dog"])) == ["a mouse\na dog"]


def test_a_vocabulary_that_was_stored_before_line_ends_counted():
    arrays = Vocabulary().fit(["One cat.\nTwo cats"]).to_arrays()
    config = bytes(arrays["config"])
    assert b', "line_ends": false' in config
    older = arrays | {"config": np.frombuffer(config.replace(b', "line_ends": false', b""), np.uint8)}
    assert list(Vocabulary.from_arrays(older).sentences(["a\nb"])) == ["a\nb"]
    for wrong in (b"3", b'"yes"'):
        broken = arrays | {"config": np.frombuffer(config.replace(b'ends": false', b'ends": ' + wrong), np.uint8)}
        with pytest.raises(ValueError, match="damaged: .*line_ends"):
            Vocabulary.from_arrays(broken)


def test_only_line_ends_end_lines():
    text = "one\fstill\nnext\u2028line\x85still\r\nthird\rlast"
    expected = ["one\fstill", "next\u2028line\x85still", "third", "last"]
    for level in ("whitespace", "char"):
        assert sentences(text, level=level)[1] == expected
    assert sentences(text, sentence_split="line")[1] == expected

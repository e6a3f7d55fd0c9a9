"""What is held out of a text, and what is left of it."""

import pytest

from fastrnn import Vocabulary
from fastrnn.text.hold_out import HoldOut


@pytest.mark.parametrize("text, split, unit, parts", [
    ("A cat. A dog.", "punkt", "line", ["A cat. A dog."]),
    ("a\n\nb\n \nc", "punkt", "paragraph", ["a", "b", "c"]),
    ("One line.\nAnd one more.\nAnd a third\nwhich goes on.", "punkt", "line",
     ["One line.", "And one more.", "And a third\nwhich goes on."]),
    ("one\ntwo\r\nthree\u2028four", "line", "line", ["one", "two", "three\u2028four"]),
    ("one\ntwo", "text", "text", ["one\ntwo"]),
    ("a b\nc\nd e f\ng h\ni", None, "line", ["a b", "c", "d e f", "g h", "i"]),
])  # fmt: skip
def test_what_is_held_out_and_what_is_not_make_up_the_text(text, split, unit, parts):
    hold_out = HoldOut(0.3, Vocabulary(sentence_split=split).new_splitter())
    rest = list(hold_out.rest([text] * 20))
    separator = {"paragraph": "\n\n", "line": "\n", "text": "\0"}[unit]
    found, expected = [*separator.join(rest).split(separator), *hold_out.kept], parts * 20
    assert sorted(separator.join(found).split(separator)) == sorted(separator.join(expected).split(separator))
    assert hold_out.found == {unit: 20 * len(parts)} and len(hold_out.kept) == int(0.3 * 20 * len(parts))
    assert list(HoldOut(0, hold_out.splitter).rest([text, " "])) == [text]

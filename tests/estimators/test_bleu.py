"""BLEU: the numbers are those of sacrebleu 2.6.0, `BLEU(tokenize="none", force=True).corpus_score`."""

import pytest

from fastrnn.estimators.bleu import bleu, signature

HYPOTHESES = ["the cat sat on the mat .", "it is cold", "yes", "a dog and a cat ran home quickly ."]
REFERENCES = [
    ["the cat is on the mat .", "there is a cat on the mat ."], ["it is very cold ."], ["no", "yes ."],
    ["a dog and a cat were running home .", "two animals ran home"],
]  # fmt: skip


def split(texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize("hypotheses, references, expected", [
    (HYPOTHESES, REFERENCES, 45.67075174475174),
    (HYPOTHESES, [row[:1] for row in REFERENCES], 43.19273023946612),  # shorter than the references
    (HYPOTHESES[1:3], REFERENCES[1:3], 0.0),  # no sequence of four tokens
    ([HYPOTHESES[0], "a b c d e f"], [REFERENCES[0], ["a c b e f g"]], 33.24137843441003),
    (["a b c d e"], [["a c e b d"]], 15.97357760615681),  # no order but the first has a match
    (["a b c d"], [["e f g h"]], 0.0),
    (["a a a a a"], [["a b c d e", "a a"]], 21.3643503198117),  # matches are those of one reference
    (HYPOTHESES, [[text] for text in HYPOTHESES], 100.0),
])  # fmt: skip
def test_bleu_is_sacrebleu_s(hypotheses, references, expected):
    assert bleu([split(row) for row in references], split(hypotheses)) == pytest.approx(expected, rel=1e-12)


def test_tokens_may_be_indices():
    assert bleu([[[5, 6, 7, 8, 9]]], [[5, 6, 7, 8, 9]]) == pytest.approx(100)


def test_the_signature_says_what_was_measured():
    assert signature([["a"], ["b"]], True) == "nrefs:1|case:lc|eff:no|tok:none|smooth:exp"
    assert signature([["a"], ["b", "c"]], False) == "nrefs:var|case:mixed|eff:no|tok:none|smooth:exp"

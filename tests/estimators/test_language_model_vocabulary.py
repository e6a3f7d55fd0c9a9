"""`LanguageModel` with a vocabulary of one's own, and capitals in what it writes."""

import pytest

from fastrnn import LanguageModel, Vocabulary

TEXTS = ["the English cat sat <sep> I saw <unk> , the cat"] * 3
SMALL = {"level": "whitespace", "hidden_dim": 4, "max_epochs": 1, "random_state": 0, "n_threads": 1}
OWN = {"tokens": ["cat", "the", "english"], "special_tokens": ["<sep>"], "unknown_word": "<unk>"}


@pytest.mark.parametrize("own", [{"min_count": 4, "special_tokens": ["<sep>"], "unknown_word": "<unk>"}, OWN])
def test_parameters_reach_the_vocabulary_and_the_file(tmp_path, own):
    model = LanguageModel(**SMALL, **own).fit(TEXTS)
    vocabulary = Vocabulary(level="whitespace", **own).fit(TEXTS)
    assert model.vocabulary_.tokens_ == vocabulary.tokens_
    model.save(tmp_path / "m.npz")
    again = LanguageModel.load(tmp_path / "m.npz")
    assert again.vocabulary_.tokens_ == vocabulary.tokens_
    assert (again.special_tokens, again.unknown_word) == (("<sep>",), "<unk>")
    assert (again.tokens is None) == ("tokens" not in own) and again.min_count == own.get("min_count", 1)
    assert again.loss(TEXTS) == model.loss(TEXTS)
    again.set_params(warm_start=True, max_epochs=2).fit(TEXTS)
    assert again.vocabulary_.tokens_ == vocabulary.tokens_
    again.set_params(unknown_word="the_unknown")
    with pytest.raises(ValueError, match="unknown_word: found 'the_unknown', expected '<unk>'"):
        again.fit(TEXTS)


def test_tokens_and_texts_that_do_not_fit():
    with pytest.raises(ValueError, match="tokens: found 'a' twice"):
        LanguageModel(tokens=["a", "a"]).check_parameters()
    with pytest.raises(ValueError, match="unknown_word: found 'a', which is one of tokens"):
        LanguageModel(tokens=["a"], unknown_word="a").check_parameters()


def test_the_word_for_unknown_words_in_a_prompt():
    model = LanguageModel(**SMALL, **OWN).fit(TEXTS)
    assert model.generate(prompt="the <unk>", random_state=0)[0].startswith("the UNKNOWN_TOKEN")
    with pytest.raises(ValueError, match="prompt: found 'dog', expected"):
        model.generate(prompt="the <unk> dog")


def test_capitals():
    model = LanguageModel(**SMALL, special_tokens=["<sep>"]).fit(TEXTS)
    prompt = "the english cat <sep> i"
    plain, cased = (model.generate(prompt=prompt, truecase=on, random_state=0)[0] for on in (False, True))
    assert plain.startswith(prompt) and cased.startswith("The English cat <sep> I")
    assert cased.lower() == plain.lower()

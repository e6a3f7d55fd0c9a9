"""`LanguageModel` and `Translator` with tokenizers of others, and on texts that are tokens already."""

import numpy as np
import pytest

from fastrnn import LanguageModel, Translator
from fastrnn.text import tokenize as text_module

SMALL = {"hidden_dim": 3, "max_epochs": 1, "n_threads": 1, "random_state": 0}
TOKENS = [["the", "new york", "cat"], ["a", "cat", "sat"], ["the", "cat"]]


@pytest.fixture(autouse=True)
def no_punkt_tab(monkeypatch):
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)


def split(text):
    return text.split("-")


def join(tokens):
    return "-".join(tokens)


def test_language_model_of_tokens(tmp_path):
    lm = LanguageModel(**SMALL, detokenizer=join).fit(TOKENS, validation_texts=TOKENS[:1])
    assert "new york" in lm.vocabulary_
    as_text = LanguageModel(**SMALL, tokenizer=split).fit(["-".join(tokens) for tokens in TOKENS])
    assert lm.loss(TOKENS) == as_text.loss(["-".join(tokens) for tokens in TOKENS])
    scores = lm.score_samples([*TOKENS, TOKENS[0]])
    assert scores.shape == (4,) and scores[0] == scores[3]
    [[sentence]] = lm.score_samples(TOKENS[:1], per_sentence=True)
    assert sentence == scores[0] == pytest.approx(-lm.loss(TOKENS[:1]) * 4, rel=1e-5)
    [text] = lm.generate(prompt=["the", "new york"], random_state=0, max_length=3)
    assert text.startswith("the-new york")
    assert np.isfinite(lm.score_samples([["cat", "SENTENCE_END", "unheard of"]])).all()
    with pytest.raises(ValueError, match="prompt: found 'new'"):
        lm.generate(prompt=["new", "york"])
    with pytest.raises(TypeError, match="^prompt: token 0 is int"):
        lm.generate(prompt=[3])


def test_language_model_asks_for_its_tokenizer(tmp_path):
    path = tmp_path / "lm.npz"
    lm = LanguageModel(**SMALL, tokenizer=split, detokenizer=join, language="german").fit(["a-b-c", "b-c"])
    assert set(lm.vocabulary_.tokens_) >= {"a", "b", "c"}
    lm.save(path)
    with pytest.raises(ValueError, match=r"lm\.npz: tokenizer: found None, expected .*test_tokenizers\.split'"):
        LanguageModel.load(path)
    with pytest.raises(ValueError, match=r"lm\.npz: detokenizer: found None, expected .*test_tokenizers\.join'"):
        LanguageModel.load(path, tokenizer=split)
    again = LanguageModel.load(path, tokenizer=split, detokenizer=join)
    assert again.get_params()["tokenizer"] is split and again.language == "german"
    assert again.loss(["c-b-a"]) == lm.loss(["c-b-a"])
    assert again.generate(3, random_state=0) == lm.generate(3, random_state=0)


def test_another_tokenizer_is_told_once(tmp_path, caplog):
    path = tmp_path / "lm.npz"
    LanguageModel(**SMALL, tokenizer=split).fit(["a-b"]).save(path)
    LanguageModel.load(path, tokenizer=str.split)
    assert sum("made with" in message for message in caplog.messages) == 1


def test_warm_start_keeps_the_tokenizer():
    lm = LanguageModel(**SMALL, tokenizer=split, warm_start=True).fit(["a-b"])
    with pytest.raises(ValueError, match="^tokenizer: found None, expected .*with which"):
        lm.set_params(tokenizer=None).fit(["a-b"])


def test_translator_of_tokens():
    targets = [[token.upper() for token in tokens] for tokens in TOKENS]
    translator = Translator(**SMALL, lowercase=False, detokenizer=join).fit(TOKENS, targets)
    assert "NEW YORK" in translator.target_vocabulary_
    as_text = Translator(**SMALL, lowercase=False, tokenizer=split)
    as_text.fit(["-".join(tokens) for tokens in TOKENS], ["-".join(tokens) for tokens in targets])
    assert translator.loss(TOKENS, targets) == as_text.loss(
        ["-".join(t) for t in TOKENS], ["-".join(t) for t in targets]
    )
    found = translator.translate(TOKENS, max_length=4, min_length=3)
    assert all("-" in text for text in found)
    [row] = translator.rescore(TOKENS[:1], [targets[:2]])
    assert row.shape == (2,)
    assert row[0] == pytest.approx(translator.score_samples(TOKENS[:1], targets[:1])[0], rel=1e-5)
    assert 0 <= translator.score(TOKENS, [[target] for target in targets]) <= 100
    with pytest.raises(ValueError, match="^source_texts: text 1 is empty"):
        translator.fit([["a"], []], [["b"], ["c"]])
    with pytest.raises(TypeError, match="^texts: text 0: token 1 is int"):
        translator.translate([["a", 3]])


def test_translator_asks_for_its_tokenizers(tmp_path):
    path = tmp_path / "t.npz"
    translator = Translator(**SMALL, tokenizer=(split, str.split), detokenizer=(None, " ".join))
    translator.fit(["a-b", "b-a"], ["c d", "d-e c"])
    assert {"a", "b"} <= set(translator.source_vocabulary_.tokens_)
    assert {"c", "d-e"} <= set(translator.target_vocabulary_.tokens_)
    translator.save(path)
    with pytest.raises(ValueError, match=r"t\.npz: tokenizer: found None, expected .*split'"):
        Translator.load(path)
    again = Translator.load(path, tokenizer=(split, str.split), detokenizer=(None, " ".join))
    assert again.tokenizer == (split, str.split)
    assert again.translate(["a-b"]) == translator.translate(["a-b"])


def test_translator_by_languages(tmp_path):
    path = tmp_path / "t.npz"
    texts = ["Viele Tiere, z.B. Hunde, bellen."], ["Many animals, e.g. dogs, bark."]
    translator = Translator(**SMALL, language=("german", "english")).fit(*texts)
    assert "z.b." in translator.source_vocabulary_
    translator.save(path)
    assert Translator.load(path).language == ("german", "english")
    Translator(**SMALL, language="german").fit(*texts).save(path)
    assert Translator.load(path).language == "german"
    with pytest.raises(ValueError, match="^language: found 'klingon', expected one of"):
        Translator(language=("german", "klingon")).check_parameters()
    with pytest.raises(ValueError, match="^language: "):
        Translator(language=("german",)).check_parameters()

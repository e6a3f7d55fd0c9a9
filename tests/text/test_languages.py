"""Sentences of several languages: their abbreviations and ordinal numbers end none."""

import json

import numpy as np
import pytest

from fastrnn import LanguageModel, Vocabulary
from fastrnn.text import tokenize as text_module
from fastrnn.text.languages import LANGUAGES, abbreviations, collocations
from fastrnn.text.tokenize import SentenceSplitter

# Two sentences each, the first with a full stop within.
TWO_SENTENCES = {
    "english": "Dr. Smith left. The house was empty.",
    "german": "Viele Tiere, z.B. Hunde, bellen am 3. Oktober bzw. später. Das weiß Frau Dr. Maier.",
    "french": "Hier Mme. Dupont et M. Durand sont partis, c.-à-d. en retard. La maison était vide.",
    "spanish": "El Sr. García vive en EE. UU. desde ayer. La casa estaba vacía.",
    "italian": "Ieri il sig. Rossi e la dott.ssa Bianchi sono partiti. La casa era vuota.",
    "portuguese": "Ontem o sr. Silva e a dra. Costa saíram. A casa estava vazia.",
    "dutch": "Gisteren ging dhr. Jansen met o.a. Piet weg. Het huis was leeg.",
    "swedish": "Han såg bl.a. Anna och t.ex. Erik. Huset var tomt.",
    "danish": "Han så bl.a. Anna den 3. oktober og f.eks. Erik. Huset var tomt.",
    "norwegian": "Han så bl.a. Anna den 3. oktober og f.eks. Erik. Huset var tomt.",
    "finnish": "Siellä olivat mm. Anna ja esim. Erkki. Talo oli tyhjä.",
    "polish": "Przyszli m.in. Anna i prof. Nowak. Dom był pusty.",
    "czech": "Přišli např. Anna a prof. Novák dne 3. října. Dům byl prázdný.",
    "russian": "Там живёт проф. Иванов на ул. Ленина. Дом был пуст.",
    "greek": "Ήρθαν π.χ. Άννα και καθ. Παπάς. Το σπίτι ήταν άδειο.",
    "turkish": "Dün Prof. Yılmaz ve Doç. Kaya geldi. Ev boştu.",
    "estonian": "Tulid nt. Anna ja prof. Tamm. Maja oli tühi.",
    "slovene": "Prišli so npr. Ana in prof. Novak. Hiša je bila prazna.",
}


@pytest.fixture
def no_punkt_tab(monkeypatch):
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)


def sentences(text, language):
    splitter = SentenceSplitter("punkt", language=language)
    [text] = splitter.prepare([text])
    return list(splitter.split(text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_abbreviations_end_no_sentence(language, no_punkt_tab):
    text = TWO_SENTENCES[language]
    found = sentences(text, language)
    assert len(found) == 2 and " ".join(found) == text
    assert language == "english" or len(sentences(text, "english")) > 2 or language == "russian"


@pytest.mark.parametrize("language", LANGUAGES)
def test_lists_are_as_punkt_has_words(language):
    for word in abbreviations(language):
        assert word == word.lower() and not word.endswith(".")
    assert all(first == "##number##" and word == word.lower() for first, word in collocations(language))


def test_a_number_that_is_no_ordinal_ends_a_sentence(no_punkt_tab):
    assert len(sentences("Er hat 3. Hunde bellen.", "german")) == 2


def test_an_installed_model_knows_our_abbreviations_too(monkeypatch, tmp_path):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    model = tmp_path / "tokenizers" / "punkt_tab" / "spanish"
    model.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
        (model / name).write_text("")
    (model / "abbrev_types.txt").write_text("xyz\n")
    splitter = SentenceSplitter("punkt", language="spanish")
    list(splitter.prepare([]))
    assert splitter.learned is None
    assert list(splitter.split("Vive en EE. UU. con xyz. Pérez. Es así.")) == [
        "Vive en EE. UU. con xyz. Pérez.",
        "Es así.",
    ]
    assert text_module._installed_punkt("german") is None


def test_a_missing_model_of_another_language_is_told(no_punkt_tab, caplog):
    sentences("Ein Satz.", "german")
    assert "punkt_tab (german) is not installed" in caplog.text


def test_the_language_is_stored(no_punkt_tab):
    text = TWO_SENTENCES["german"]
    vocabulary = Vocabulary(language="german").fit([text])
    again = Vocabulary.from_arrays(vocabulary.to_arrays())
    assert again.language == "german" and len(again.transform([text])[0]) == 2
    assert "z.b" in again.tokenize("z.B. so")[0]


def test_files_of_before_are_english(no_punkt_tab):
    arrays = Vocabulary(language="german").fit(["Ein Satz."]).to_arrays()
    config = json.loads(arrays["config"].tobytes())
    del config["language"]
    arrays["config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
    assert Vocabulary.from_arrays(arrays).language == "english"


def test_an_unknown_language():
    with pytest.raises(ValueError, match="language: found 'klingon', expected one of 'english', 'german'"):
        Vocabulary(language="klingon").fit(["a"])
    with pytest.raises(ValueError, match="language: found 3"):
        LanguageModel(language=3).check_parameters()

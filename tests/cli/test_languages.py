"""Commands that read texts: the bar that knows their size, languages, files that need a tokenizer."""

import re

import pytest

from fastrnn import LanguageModel, Translator
from fastrnn.cli import main
from fastrnn.estimators.load import load
from fastrnn.text import tokenize as text_module

TINY = "--epochs 0 --hidden-dim 2 --threads 1 --held-out 0".split()
GERMAN = "Viele Tiere, z.B. Hunde, bellen am 3. Oktober."


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "_installed_punkt", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(f"{GERMAN}\n" * 10, encoding="utf-8")
    (tmp_path / "b.txt").write_text("Über Hunde.\n" * 10, encoding="utf-8")


def test_the_bar_knows_the_bytes_of_all_files(capsys):
    assert main.main(["train", "a.txt", "b.txt", "-o", "o.npz", *TINY]) == 0
    total = 10 * (len(GERMAN) + 1) + 10 * 13
    assert re.search(rf"Reading: 100%.*{total}/{total}", capsys.readouterr().err)


def test_the_language_of_a_text():
    assert main.main(["train", "a.txt", "-o", "o.npz", "--quiet", "--language", "german", *TINY]) == 0
    lm = LanguageModel.load("o.npz")
    assert lm.language == "german" and lm.vocabulary_.n_sentences_ == 10
    assert main.main(["train", "a.txt", "-o", "o.npz", "--quiet", *TINY]) == 0
    assert LanguageModel.load("o.npz").vocabulary_.n_sentences_ > 10


def test_the_language_of_pairs(tmp_path):
    (tmp_path / "p.tsv").write_text(f"{GERMAN}\t{GERMAN}\n" * 3, encoding="utf-8")
    command = ["translate-train", "p.tsv", "-o", "t.npz", "--quiet"]
    assert main.main([*command, "--language", "german", *TINY]) == 0
    assert "z.b." in Translator.load("t.npz").source_vocabulary_
    assert Translator.load("t.npz").language == "german"
    assert main.main([*command, "--language", "german,english", *TINY]) == 0
    translator = Translator.load("t.npz")
    assert translator.language == ("german", "english") and "z.b." not in translator.target_vocabulary_


def test_an_unknown_language(capsys):
    assert main.main(["train", "a.txt", "-o", "o.npz", "--language", "klingon", *TINY]) != 0
    assert "error: --language: found 'klingon', expected one of 'english'" in capsys.readouterr().err


def test_help_lists_the_languages(capsys):
    with pytest.raises(SystemExit):
        main.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "english, german, french" in text and "(default: english)" in text


def test_a_script_without_spaces_names_the_option(tmp_path, capsys):
    (tmp_path / "c.txt").write_text("今天天气很好我们去公园散步\n昨天在北京买了一本新书\n", encoding="utf-8")
    assert main.main(["train", "c.txt", "-o", "o.npz", *TINY]) == 0
    assert "without spaces between words: whole phrases are one token; --level char takes" in capsys.readouterr().err


def test_a_model_with_a_tokenizer_is_for_python(capsys):
    LanguageModel(tokenizer=str.split, hidden_dim=2, max_epochs=0).fit(["a b"]).save("lm.npz")
    assert main.main(["generate", "lm.npz"]) != 0
    assert "lm.npz: tokenizer: found None, expected the function" in capsys.readouterr().err
    assert load("lm.npz", tokenizer=str.split).tokenizer is str.split

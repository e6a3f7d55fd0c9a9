"""Options of `fastrnn train` for vocabularies, and of `generate` for capitals."""

import pytest

from fastrnn import LanguageModel, Vocabulary
from fastrnn.cli import main

TINY = ["--hidden-dim", "4", "--epochs", "1", "--threads", "1", "--seed", "0", "--held-out", "0", "--quiet"]


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the Cat sat <unk> .\na Cat ran <sep> .\nthe Cat sat .\n", encoding="utf-8")
    return tmp_path


def run(capsys, *args, status=0):
    assert main.main(list(args)) == status
    return capsys.readouterr()


def test_options_reach_the_vocabulary(text, capsys):
    options = ["--level", "whitespace", "--min-count", "2", "--special-token", "<sep>", "--special-token", "<eot>"]
    run(capsys, "train", "text.txt", "-o", "m.npz", *options, "--unknown-word", "<unk>", *TINY)
    vocabulary = LanguageModel.load("m.npz").vocabulary_
    assert vocabulary.tokens_[2:-1] == ["<sep>", "<eot>", "cat", ".", "the", "sat"]
    out = run(capsys, "info", "m.npz").out
    assert "min_count=2" in out and "unknown_word='<unk>'" in out and "special_tokens=('<sep>', '<eot>')" in out
    out = run(capsys, "generate", "m.npz", "--prompt", "the cat", "--truecase", "--seed", "0").out
    assert all(line.startswith("The Cat") for line in out.splitlines())


def test_a_vocabulary_file(text, capsys):
    Vocabulary.from_tokens(["sat", "Cat"], level="whitespace", lowercase=False).save("words.txt")
    run(capsys, "train", "text.txt", "-o", "m.npz", "--vocabulary", "words.txt", *TINY)
    model = LanguageModel.load("m.npz")
    assert model.vocabulary_.tokens_[2:-1] == ["sat", "Cat"]
    assert (model.level, model.lowercase) == ("whitespace", False)
    (text / "list.txt").write_text("sat\ncat\n" + "".join(f"word{i}\n" for i in range(99)), encoding="utf-8")
    run(capsys, "train", "text.txt", "-o", "m.npz", "--vocabulary", "list.txt", *TINY)
    assert LanguageModel.load("m.npz").vocabulary_.encode("the cat").tolist() == [103, 3]
    out = run(capsys, "info", "m.npz").out
    assert "tokens=['sat', 'cat'," in out and "word50" not in out


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a\na\n", [], "words.txt: line 2: found 'a' again, which is on line 1"),
        (None, [], "No such file or directory"),
        ("a\n", ["-o", "words.txt"], "--output"),
        ("a\n", ["--unknown-word", "a"], "--unknown-word: found 'a', which is one of tokens"),
        ("a\n", ["--min-count", "0"], "--min-count: found 0, expected an int >= 1"),
    ],
)
def test_errors(text, capsys, content, options, said):
    if content is not None:
        (text / "words.txt").write_text(content, encoding="utf-8")
    args = ["train", "text.txt", "-o", "m.npz", "--vocabulary", "words.txt", *options, *TINY]
    err = run(capsys, *args, status=2).err
    assert said in err and err.count("\n") == 1
    assert content is None or (text / "words.txt").read_text(encoding="utf-8") == content

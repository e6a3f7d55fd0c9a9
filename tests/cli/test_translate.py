"""The commands `translate-train` and `translate`, and what the other commands do with a Translator's file."""

import gzip
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fastrnn import FastRNN, Seq2Seq, Translator
from fastrnn.cli import main, translate
from fastrnn.errors import DivergenceError
from fastrnn.text.files import read_pairs
from fastrnn.text.hold_out import hold_out_pairs
from fastrnn.training.history import History

TINY = ["--hidden-dim", "6", "--epochs", "2", "--threads", "1", "--seed", "0", "--learning-rate", "0.05"]
PAIRS = [
    (f"{who} {verb} {what}.", f"{wer} {tut} {was}.")
    for who, wer in (("The cat", "Le chat"), ("The dog", "Le chien"), ("A mouse", "Une souris"))
    for verb, tut in (("sees", "voit"), ("hears", "entend"), ("likes", "aime"))
    for what, was in (("it", "cela"), ("me", "moi"))
]


def write_pairs(path, pairs, tail=""):
    Path(path).write_text("".join(f"{s}\t{t}{tail}\n" for s, t in pairs), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pairs.tsv, with fr.npz and two.npz, trained on it, and models of all other kinds."""
    folder = tmp_path_factory.mktemp("translate")
    write_pairs(folder / "pairs.tsv", [*PAIRS, *((s, f"{t} !") for s, t in PAIRS[::4])])
    common = ["translate-train", str(folder / "pairs.tsv"), "--quiet", "--held-out", "0.2", *TINY]
    assert main.main([*common, "-o", str(folder / "fr.npz"), "--checkpoint", str(folder / "fr.ckpt")]) == 0
    assert main.main([*common, "-o", str(folder / "two.npz"), "--seed", "2"]) == 0
    write_pairs(folder / "short.tsv", PAIRS[:4])
    assert main.main([common[0], str(folder / "short.tsv"), "-o", str(folder / "short.npz"), *common[2:]]) == 0
    (folder / "text.txt").write_text("A cat sees.\nA dog hears!\n")
    text = ["train", str(folder / "text.txt"), "--quiet", "--held-out", "0", *TINY, "--epochs", "1"]
    assert main.main([*text, "-o", str(folder / "lm.npz")]) == 0
    small = {"hidden_dim": 2, "max_epochs": 1, "n_threads": 1}
    FastRNN(**small).fit([[0, 2]], [[2, 1]]).save(folder / "plain.npz")
    Seq2Seq(**small).fit([[2, 3]], [[2]]).save(folder / "plain2.npz")
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def set_stdin(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


# Training


def test_training_tells_vocabularies_losses_and_bleu(here, tmp_path, capsys):
    assert main.main(["translate-train", "pairs.tsv", "-o", str(tmp_path / "o.npz"), "--held-out", "0.2", *TINY]) == 0
    out = capsys.readouterr().out
    learned, kept = hold_out_pairs(read_pairs("pairs.tsv"), 0.2, True)
    translator = Translator.load(tmp_path / "o.npz")
    assert f"{len(learned)} pairs to learn from\n" in out and f"({len(kept)} pairs, " in out
    for side in ("source", "target"):
        report = getattr(translator, f"{side}_vocabulary_").report().splitlines()
        assert re.search(rf"^{side.capitalize()}: {re.escape(report[0])}\n +{re.escape(report[1])}$", out, re.M)
    assert f"{sum(a.size for a in translator.model_.params_.values()):,} weights to learn\n" in out
    before, after = (float(p) for p in re.findall(r"^Held out, .*, perplexity ([\d.]+) ", out, re.M))
    assert before == pytest.approx(len(translator.target_vocabulary_), rel=0.1) and after < before
    assert after == pytest.approx(translator.perplexity(*zip(*kept, strict=True)), abs=0.06)
    references = {}
    for source, target in kept:
        references.setdefault(source, []).append(target)
    bleu = translator.score(list(references), list(references.values()))
    assert max(map(len, references.values())) == 2
    assert bleu > 1 and f"BLEU {bleu:.1f} of 100 ({len(references)} sources, {len(kept)} references; nrefs:var|" in out
    assert f"Saved {tmp_path / 'o.npz'} after 2 epochs" in out
    assert out.splitlines()[-1].endswith(f'translate {tmp_path / "o.npz"} --text "{kept[0][0]}"')
    assert translator.verbose == 0 and translator.model_.n_epochs_ == 2


def test_no_source_is_learned_and_held_out():
    pairs = [(f"{i % 30} {'Word' if i % 2 else 'word '}", str(i)) for i in range(60)] + [("0 \tword", "more")]
    learned, kept = hold_out_pairs(pairs, 0.1, True)
    assert {s.split()[0] for s, _ in kept} == {"9", "19", "29"} and len(kept) == 6
    assert sorted(learned + kept) == sorted(pairs)
    assert hold_out_pairs(pairs, 0, True) == (pairs, [])
    assert len(hold_out_pairs([("A", "1"), ("a", "2")], 0.5, False)[1]) == 1
    assert len(hold_out_pairs([("A", "1"), ("a", "2")], 0.5, True)[1]) == 0


def test_pairs_come_from_files_of_all_sorts(here, tmp_path, monkeypatch):
    write_pairs(tmp_path / "more.tsv", PAIRS, "\tfurther\tcolumns")
    text = (tmp_path / "more.tsv").read_text(encoding="utf-8").replace("\n", "\r\n\n", 1)
    (tmp_path / "p.tsv.gz").write_bytes(gzip.compress(text.encode()))
    for side, name in enumerate(("s.txt", "t.txt")):
        (tmp_path / name).write_text("\n" + "\n".join(pair[side] for pair in PAIRS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    set_stdin(monkeypatch, text)
    found = []
    for arguments in (["more.tsv"], ["p.tsv.gz"], ["-"], ["--source", "s.txt", "--target", "t.txt"]):
        assert main.main(["translate-train", *arguments, "-o", "o.npz", "--quiet", *TINY]) == 0
        found.append(Translator.load("o.npz").model_.params_["encoder.layer0.W"])
        Path("o.npz").unlink()
    assert all(np.array_equal(array, found[0]) for array in found)


def test_options_reach_the_parameters(here, tmp_path):
    more = "--cell gru --layers 2 --source-vocab-size 9 --target-vocab-size 8 --no-reverse --no-lowercase --dropout 0.1"
    more += " --optimizer sgd --batch-size 4 --early-stopping --level whitespace --init-scale 0.08"
    command = ["translate-train", "pairs.tsv", "-o", str(tmp_path / "o.npz"), "--quiet", *TINY, *more.split()]
    assert main.main([*command, "--epochs", "0"]) == 0
    expected = {"cell": "gru", "num_layers": 2, "source_vocab_size": 9, "target_vocab_size": 8, "dropout": 0.1}
    expected |= {"reverse_source": False, "lowercase": False, "optimizer": "sgd", "batch_size": 4, "hidden_dim": 6}
    expected |= {"early_stopping": True, "level": "whitespace", "init_scale": 0.08, "random_state": 0, "max_epochs": 0}
    assert Translator.load(tmp_path / "o.npz").get_params().items() >= expected.items()


def test_early_stopping_is_told_by_what_is_held_out(here, tmp_path):
    command = ["translate-train", "pairs.tsv", "-o", str(tmp_path / "o.npz"), "--held-out", "0.2", "--quiet", *TINY]
    assert main.main([*command, "--early-stopping"]) == 0
    translator = Translator.load(tmp_path / "o.npz")
    _, kept = hold_out_pairs(read_pairs("pairs.tsv"), 0.2, True)
    losses = translator.model_.validation_losses_
    assert min(losses) == pytest.approx(translator.loss(*zip(*kept, strict=True)), abs=1e-6)


def test_a_run_goes_on_from_its_checkpoint(here, tmp_path):
    command = ["translate-train", "pairs.tsv", "--held-out", "0.2", "--quiet", *TINY, "-o"]
    checkpoint, output = str(tmp_path / "run.ckpt"), str(tmp_path / "o.npz")
    assert main.main([*command, output, "--epochs", "1", "--checkpoint", checkpoint]) == 0
    once = Translator.load(output).model_.params_["decoder.V"]
    assert main.main([*command, output, "--resume", checkpoint]) == 0
    whole = Translator.load("fr.npz").model_.params_["decoder.V"]
    assert np.array_equal(Translator.load(output).model_.params_["decoder.V"], whole)
    assert not np.array_equal(once, whole)


@pytest.mark.parametrize("epochs", [0, 1])
def test_divergence_and_ctrl_c_are_told_as_by_train(here, tmp_path, monkeypatch, capsys, epochs):
    def fit(self, source, target, **options):
        original(self, source, target)
        if options:
            self.history_ = self.history_ if epochs else History()
            raise DivergenceError("training diverged")
        return self

    original, output = Seq2Seq.fit, tmp_path / "o.npz"
    monkeypatch.setattr(Seq2Seq, "fit", fit)
    assert main.main(["translate-train", "pairs.tsv", "-o", str(output), *TINY]) == 1
    out, err = capsys.readouterr()
    assert "fastrnn: error: training diverged" in err and "BLEU" not in out and "Let it" not in out
    assert output.exists() == bool(epochs)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Seq2Seq, "fit", interrupt)
    assert main.main(["translate-train", "pairs.tsv", "-o", str(output), *TINY]) == 130


# Translating


def test_a_line_gives_a_line(here, tmp_path, capsys, monkeypatch):
    lines = ["The cat sees me.", "", "A mouse hears it.", "   ", "the dog"]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n\n")
    translator = Translator.load("fr.npz")
    lengths = ["--min-length", "3", "--max-length", "6"]
    expected = [line.strip() and translator.translate([line], min_length=3, max_length=6)[0] for line in lines]
    assert main.main(["translate", "fr.npz", *lengths, str(tmp_path / "in.txt")]) == 0
    out, err = capsys.readouterr()
    assert out == "\n".join([*expected, "", ""]) and err == "" and any(expected)
    set_stdin(monkeypatch, "The cat sees me.\r\n\r\nA mouse hears it.")
    assert main.main(["translate", "fr.npz", "-", "--text", "the dog", *lengths]) == 0
    assert capsys.readouterr().out.split("\n") == [expected[4], *expected[:3], ""]


def test_blocks_are_joined(here, capsys, monkeypatch):
    monkeypatch.setattr(translate, "_LINES_AT_ONCE", 2)
    texts = [part for s, _ in PAIRS[:5] for part in ("--text", s)]
    assert main.main(["translate", "fr.npz", *texts, "--n-best", "1"]) == 0
    assert [row.split("\t")[0] for row in capsys.readouterr().out.splitlines()] == list("12345")


def test_scores_and_n_best(here, capsys):
    options, text = {"beam_width": 3, "max_length": 5, "length_penalty": 0.6, "min_length": 2}, "The cat sees it."
    [expected] = Translator.load("fr.npz").translate([text], n_best=2, **options)
    command = "--beam 3 --max-length 5 --length-penalty 0.6 --min-length 2".split()
    command = ["translate", "fr.npz", "--text", "", "--text", text, *command]
    assert main.main([*command, "--n-best", "2"]) == 0
    blank, *rows = capsys.readouterr().out.splitlines()
    assert blank == "" and rows == [f"2\t{score:.4f}\t{translation}" for translation, score in expected]
    assert main.main([*command, "--scores"]) == 0
    assert capsys.readouterr().out == f"\n{expected[0][1]:.4f}\t{expected[0][0]}\n"


def test_unknown_words_are_told_once(here, capsys, monkeypatch):
    texts = ["--text", "the zebra sees a gnu", "--text", "a zebra", "--text", "b c d e"]
    monkeypatch.setattr(translate, "_LINES_AT_ONCE", 2)
    assert main.main(["translate", "fr.npz", *texts]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 3
    told = "7 of 11 source tokens are unknown, taken for UNKNOWN_TOKEN: 'zebra', 'gnu', 'b', 'c', 'd', ..."
    assert err == f"fastrnn: {told}\n"
    assert main.main(["translate", "fr.npz", "--text", "me", *texts, "--unknown", "error"]) == 2
    assert "--text 2: found 'zebra', 'gnu', expected words of the vocabulary" in capsys.readouterr().err


def test_an_ensemble_translates_together(here, capsys):
    first, second = Translator.load("fr.npz"), Translator.load("two.npz")
    [[expected]] = first.translate(["A mouse sees me."], n_best=1, ensemble=[second])
    assert main.main(["translate", "fr.npz", "--ensemble", "two.npz", "--text", "A mouse sees me.", "--scores"]) == 0
    assert capsys.readouterr().out == f"{expected[1]:.4f}\t{expected[0]}\n"
    assert expected[1] not in [t.translate(["A mouse sees me."], n_best=1)[0][0][1] for t in (first, second)]
    assert main.main(["translate", "fr.npz", "--ensemble", "two.npz", "--ensemble", "short.npz", "--text", "me"]) == 2
    assert "error: short.npz: found another source vocabulary" in capsys.readouterr().err


# Files of all kinds


def test_info_of_every_kind(here, capsys):
    for name, kind in (("fr", "Translator"), ("lm", "LanguageModel"), ("plain", "FastRNN"), ("plain2", "Seq2Seq")):
        assert main.main(["info", f"{name}.npz"]) == 0
        out = capsys.readouterr().out
        assert f"\nkind        {kind}" in out and "last loss" in out
        assert ("without a vocabulary" in out) == name.startswith("plain")
    assert main.main(["info", "fr.npz", "--all"]) == 0
    out, translator = capsys.readouterr().out, Translator.load("fr.npz")
    for side in ("source", "target"):
        head, *_ = getattr(translator, f"{side}_vocabulary_").report().splitlines()
        assert re.search(rf"^{side} +level word\n +{re.escape(head)}$", out, re.M)
    assert "decoder.V" in out and all(f"{n}={v!r}\n" in out for n, v in translator.get_params().items())


def test_losses_of_every_kind_are_drawn(here, tmp_path, capsys):
    files = ["fr.npz", "lm.npz", "plain.npz", "plain2.npz"]
    assert main.main(["plot", "losses", *files, "-o", str(tmp_path / "p.svg")]) == 0
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


# Errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("translate-train -o o.npz", "found no pairs, expected a file PAIRS, or --source FILE and --target FILE"),
        ("translate-train -o o.npz --source a.txt", "--target FILE"),
        ("translate-train pairs.tsv -o o.npz --source a.txt", "one or the other"),
        ("translate-train pairs.tsv", "-o"),
        ("translate-train pairs.tsv -o nowhere/o.npz", "nowhere"),
        ("translate-train pairs.tsv -o pairs.tsv", "--output: found pairs.tsv, which is an input as well"),
        (
            "translate-train pairs.tsv -o o.npz --checkpoint pairs.tsv",
            "--checkpoint: found pairs.tsv, which is an input",
        ),
        ("translate-train --source a.txt --target b.txt -o a.txt", "--output: found a.txt, which is an input as well"),
        ("translate-train --source a.txt --target b.txt -o o.npz --checkpoint b.txt", "--checkpoint: found b.txt"),
        ("translate-train pairs.tsv -o o.npz --checkpoint nowhere/c", "nowhere"),
        ("translate-train pairs.tsv -o o.npz --resume nothing", "nothing: no such file"),
        (
            "translate-train pairs.tsv -o o.npz --resume lm.npz",
            "lm.npz: found a LanguageModel, expected a Seq2Seq checkpoint",
        ),
        ("translate-train pairs.tsv -o o.npz --vocab-size 9", "unrecognized arguments: --vocab-size"),
        ("translate-train pairs.tsv -o o.npz --cell gruu", "cell: found 'gruu'"),
        ("translate-train pairs.tsv -o o.npz --held-out 1", "error: --held-out: found 1"),
        ("translate-train nothing.tsv -o o.npz", "nothing.tsv"),
        ("translate-train notab.tsv -o o.npz", "notab.tsv: line 3 has no tab"),
        ("translate-train half.tsv -o o.npz", "half.tsv: line 1 has a blank target"),
        ("translate-train empty.tsv -o o.npz", "empty.tsv: no pairs found"),
        ("translate-train - -o o.npz", "standard input: no pairs found"),
        ("translate-train -o o.npz --source a.txt --target b.txt", "a.txt has 3 lines and b.txt has 2"),
        ("translate-train -o o.npz --source a.txt --target c.txt", "c.txt: line 2 is blank, but that of a.txt is not"),
        ("translate-train -o o.npz --source d.txt --target d.txt", "d.txt: no text found"),
        ("translate fr.npz", "nothing to translate"),
        ("translate fr.npz nothing.txt", "nothing.txt"),
        ("translate fr.npz --text me --unknown maybe", "unknown: found 'maybe'"),
        ("translate fr.npz --text me --n-best 9", "error: --n-best: found 9"),
        ("translate fr.npz --text me --n-best 0", "error: --n-best: found 0"),
        ("translate fr.npz --text me --beam 0", "error: --beam: found 0"),
        ("translate fr.npz --text me --ensemble lm.npz", "lm.npz: found a LanguageModel, expected a Translator"),
        ("translate lm.npz --text me", "expected a Translator; fastrnn generate, score and plot read it"),
        ("translate fr.ckpt --text me", "found a Seq2Seq checkpoint, expected a Translator; fastrnn translate-train"),
        ("translate plain2.npz --text me", "found a Seq2Seq, expected a Translator; Seq2Seq.load in Python"),
        ("generate fr.npz", "fr.npz: found a Translator, expected a LanguageModel; fastrnn translate reads it"),
        ("score fr.npz --text me", "found a Translator, expected a LanguageModel"),
        ("plot surprisal fr.npz --text me", "found a Translator, expected a LanguageModel"),
        ("plot hidden fr.npz --text me -o p.png", "found a Translator, expected a LanguageModel"),
        ("info fr.ckpt", "found a Seq2Seq checkpoint, expected a LanguageModel or a Translator or a FastRNN"),
    ],
)
def test_an_error_is_one_line(here, wrong_files, capsys, monkeypatch, arguments, said):
    set_stdin(monkeypatch, "")
    try:
        status = main.main(arguments.split())
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and err.count("\n") == 1 and err.startswith("fastrnn: error: "), (out, err)
    assert said in err and not Path("o.npz").exists() and not Path("p.png").exists()


@pytest.fixture(scope="module")
def wrong_files(folder):
    for name, text in {
        "notab.tsv": "a\tb\n\nalone\n",
        "half.tsv": "a\t \n",
        "empty.tsv": "\n \n",
        "a.txt": "a\nb\nc\n",
        "b.txt": "a\nb\n",
        "c.txt": "a\n\nc",
        "d.txt": "\n\n",
    }.items():
        (folder / name).write_text(text)


def test_only_ends_of_lines_separate_lines(tmp_path):
    (tmp_path / "s.tsv").write_text("a\u2028b\x0bc\td\n", encoding="utf-8")
    assert read_pairs(tmp_path / "s.tsv") == [("a\u2028b\x0bc", "d")]

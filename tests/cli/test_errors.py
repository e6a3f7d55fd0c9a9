"""Errors of the command: one line, and status 2."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from cli_helpers import failure

from fastrnn.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "COMMAND"),
        ("train", "INPUT"),
        ("train text.txt -o o.npz --epochs many", "--epochs"),
        ("train text.txt -o o.npz --epoch 3", "unrecognized arguments: --epoch 3"),
        ("info m.npz m.npz", "unrecognized"),
        ("train text.txt -o o.npz --cell gruu", "cell: found 'gruu'"),
        ("train text.txt -o o.npz --learning-rate nan", "error: --learning-rate: found nan"),
        ("train text.txt -o o.npz --sentence-split maybe", "error: --sentence-split: found 'maybe'"),
        ("train text.txt -o o.npz --held-out 1", "error: --held-out: found 1"),
        ("train text.txt -o nowhere/o.npz", "nowhere"),
        ("train text.txt -o .", "directory"),
        ("train text.txt -o o.npz --checkpoint nowhere/run.ckpt", "nowhere"),
        ("train text.txt -o o.npz --resume nothing.ckpt", "nothing.ckpt: no such file"),
        ("train text.txt -o o.npz --resume m.npz", "found a LanguageModel, expected a FastRNN checkpoint"),
        ("train text.txt -o o.npz --patience 0", "patience: found 0"),
        ("train text.txt nothing.txt -o o.npz", "nothing.txt"),
        ("train binary.txt -o o.npz", "NUL"),
        ("train latin.txt -o o.npz", "not utf-8 at byte 2, line 1; give its encoding, as in --encoding latin-1"),
        ("train u16.txt -o o.npz", "begins with the byte order mark of utf-16, expected --encoding utf-16"),
        ("train m.npz -o o.npz", "m.npz: found a model, or another .npz file, expected a text"),
        ("train text.txt -o o.npz --vocab-size 3", "error: --vocab-size: found 3, expected an int >= 4"),
        ("train table.csv -o o.npz --delimiter xx", "error: --delimiter: found 'xx'"),
        ("generate text.txt", "text.txt: found a text, not a model saved by fastrnn"),
        ("generate m.npz -n 1000000000000000000000000", "error: -n: found 1000000000000000000000000"),
        ("generate m.npz --top-k 10000000000000000000000", "error: --top-k: found 10000000000000000000000"),
        ("generate m.npz --max-length 1000000000000000000000000", "error: --max-length: found 1000000"),
        ("train latin.txt -o o.npz --encoding klingon", "klingon"),
        ("train empty.txt -o o.npz", "no text"),
        ("train - -o o.npz", "standard input: no text"),
        ("train table.csv -o o.npz", "the text, one of 'a', 'b'; if that row is no header, --column 0 is the first"),
        ("train table.csv -o o.npz --column text", "no column 'text'"),
        ("generate nothing.npz", "no such file"),
        ("generate damaged.npz", "damaged"),
        ("generate foreign.npz", "not a model"),
        ("generate m.npz -n 0", "n: found 0"),
        ("generate m.npz --exclude zebra", "zebra"),
        ("generate m.npz --prompt zebra", "--prompt: found 'zebra', expected words of the vocabulary"),
        ("generate m.npz --prompt zebra", "; --unknown-prompt token takes them for UNKNOWN_TOKEN"),
        ("score m.npz", "nothing to score"),
        ("score m.npz latin.txt", "not utf-8"),
        ("plot", "PICTURE"),
        ("plot losses m.npz", "-o"),
        ("plot losses m.npz -o p.gif", "found 'p.gif', expected a file name that ends in .png, .svg, .pdf"),
        ("plot losses m.npz -o nowhere/p.png", "nowhere"),
        ("plot losses m.npz nothing.npz -o p.png", "nothing.npz"),
        ("plot losses m.npz -o p.png --by hours", "by: found 'hours'"),
        ("plot losses m.npz -o p.png --by seconds --bye", "unrecognized arguments: --bye"),
        ("plot surprisal m.npz", "--text"),
        ("plot surprisal m.npz --text=", "text: found ''"),
        ("plot surprisal text.txt --text cat", "not a model"),
        ("plot hidden m.npz --text cat -o p.png --layer 1", "layer: found 1"),
        ("plot gates m.npz --text cat -o p.png --units 0", "units: found 0"),
        ("info text.txt", "not a model"),
        ("info .", "no such file"),
    ],
)
def test_an_error_is_one_line(wrong_files, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(wrong_files)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    with sys.stdin:
        try:
            status = main.main(arguments.split())
        except SystemExit as error:
            status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and err.count("\n") == 1 and err.startswith("fastrnn: error: "), (out, err)
    assert said in err and not Path("o.npz").exists() and not [*Path().glob("**/p.*")]


@pytest.mark.parametrize("arguments, option", [("train '' -o o.npz", "INPUT"), ("score m.npz ''", "INPUT")])
def test_an_unset_variable_is_no_input(wrong_files, capsys, monkeypatch, arguments, option):
    monkeypatch.chdir(wrong_files)
    assert main.main(shlex.split(arguments)) == 2
    assert capsys.readouterr().err.startswith(f"fastrnn: error: {option}: found '', expected a path")


def test_closed_standard_input_is_one_line(wrong_files, capsys, monkeypatch):
    monkeypatch.chdir(wrong_files)
    monkeypatch.setattr(sys, "stdin", None)
    for command in ("train - -o o.npz", "score m.npz -", "train - -o o.npz --column a"):
        assert main.main(command.split()) == 2
        assert capsys.readouterr().err == "fastrnn: error: standard input: is closed, expected a text\n"


def test_errors_of_real_processes(wrong_files):
    assert "'gruu'" in failure(wrong_files, "train", "text.txt", "-o", "o.npz", "--cell", "gruu")
    assert "no column" in failure(wrong_files, "train", "-", "-o", "o.npz", "--column", "text", stdin="a,b\n1,2")
    assert "damaged" in failure(wrong_files, "generate", "damaged.npz")
    assert "required" in failure(wrong_files, "train")

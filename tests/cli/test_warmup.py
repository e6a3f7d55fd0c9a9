"""`fastrnn warmup`."""

import re

from helpers import COMPILED

from fastrnn.cli import main


def test_warmup_tells_what_it_did(tiny, capsys, monkeypatch):
    capsys.readouterr()
    assert main.main(["warmup", "--cell", "rnn", "--dtype", "float32"]) == 0
    out, err = capsys.readouterr()
    steps = re.findall(r"^rnn +float32 +(\w+) +[\d.]+ s  (?:compiled|ready)$", out, re.M)
    assert steps == ["training", "scoring", "predicting", "generating", "pairs", "sampled"]
    kept = "Kept in .+" if COMPILED else "Not kept: NUMBA_DISABLE_JIT is set"
    assert re.search(rf"^\d of 6 compiled, [\d.]+ s in all\n{kept}\n\Z", out, re.M)
    assert "rnn float32 training: 0 of 6 done" in err and "rnn float32 sampled: 6 of 6 done" in err
    monkeypatch.setattr("fastrnn.kernels.compiler.cache_folder.PROBLEM", "/home/ann: read-only")
    assert main.main(["warmup", "--cell", "rnn"]) == 0
    assert capsys.readouterr().out.endswith("\nNot kept: /home/ann: read-only\n")
    assert main.main(["warmup", "--cell", "elman"]) == 2
    assert "expected one of 'rnn', 'lstm', 'gru'" in capsys.readouterr().err

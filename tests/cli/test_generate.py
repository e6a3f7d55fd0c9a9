"""`fastrnn generate`."""

import re

import numpy as np
from cli_helpers import run

from fastrnn import LanguageModel
from fastrnn.cli import main


def test_generate_a_sentence_a_line_reproducibly(folder):
    command = ["generate", "m.npz", "-n", 4, "--seed", 3, "--prompt", "The cat", "--temperature", 0.5]
    command += ["--top-k", 9, "--top-p", 0.9, "--min-length", 2, "--max-length", 6, "--exclude", "dog", "mouse"]
    out, err = run(folder, *command)
    assert not err or err.startswith("Compiling the kernels")
    assert run(folder, *command) == (out, "")
    options = {"temperature": 0.5, "top_k": 9, "top_p": 0.9, "min_length": 2, "max_length": 6, "prompt": "The cat"}
    expected, log_probs = LanguageModel.load(folder / "m.npz").generate(
        4, random_state=3, return_log_probs=True, exclude=["UNKNOWN_TOKEN", "dog", "mouse"], **options
    )
    assert out.splitlines() == expected
    rows = [line.split("\t") for line in run(folder, *command, "--log-probs")[0].splitlines()]
    assert [sentence for _, sentence in rows] == expected
    assert np.allclose([float(log_p) for log_p, _ in rows], [p.sum() for p in log_probs], atol=1e-3)


def test_generate_in_this_process(tiny, capsys):
    assert main.main(["generate", "tiny.npz", "--seed", "1", "--max-length", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    command = ["generate", "tiny.npz", "--prompt", "a zebra", "-n", "1"]
    assert main.main(command) == 2
    assert capsys.readouterr().err.startswith("fastrnn: error: --prompt: found 'zebra'")
    assert main.main([*command, "--unknown-prompt", "token", "--allow-unknown", "--log-probs"]) == 0
    assert re.match(r"-[\d.]+\ta UNKNOWN_TOKEN", capsys.readouterr().out)

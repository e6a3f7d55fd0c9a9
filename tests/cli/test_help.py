"""`fastrnn --help` and `--version`: examples, defaults, and no wait for Numba."""

import re
import subprocess
import sys

import pytest
from cli_helpers import environment, run

from fastrnn import LanguageModel
from fastrnn.cli import main


@pytest.mark.parametrize("command", [
    "", "demo", "train", "generate", "score", "translate-train", "translate", "info", "plot", "plot hidden", "warmup"
])  # fmt: skip
def test_help_has_an_example_and_the_classes_defaults(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        caught.value.code == 0
        and f"fastrnn {command or 'demo'}" in text.split("Begin with" if not command else "Example")[1]
    )
    if command == "train":
        epochs = LanguageModel().max_epochs
        assert f"passes over the text (default: {epochs})" in text
        assert "recurrent cell: rnn, lstm, gru (default: gru)" in text


def test_version_and_usage_errors_come_at_once(folder):
    assert re.fullmatch(r"fastrnn \d[\w.]*\n", run(folder, "--version")[0])
    code = (
        "import sys\nfrom fastrnn.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: print('numba' in sys.modules)"
    )
    for words in (["--help"], ["train"], ["score"], ["plot", "losses", "m.npz"], ["generate", "m.npz", "-n", "many"]):
        done = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True)
        assert done.stdout.decode().split()[-1] == "False"

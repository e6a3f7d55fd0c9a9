"""`fastrnn info`."""

import re

from cli_helpers import TINY, run

from fastrnn import LanguageModel
from fastrnn.cli import main


def test_info(folder):
    out, err = run(folder, "info", "m.npz")
    model = LanguageModel.load(folder / "m.npz")
    assert err == ""
    lines = ["hidden_dim=8", "max_epochs=3", "n_threads=2", "random_state=0"]
    parameters = [f"{name}={value!r}" for name, value in model.get_params().items()]
    assert f"\nparameters  {f'{chr(10):<13}'.join(sorted(lines, key=parameters.index))}" in out
    assert f"\n            and {len(parameters) - 4} defaults, which --all lists\n" in out and "cell=" not in out
    shown = run(folder, "info", "m.npz", "--all")[0].partition("\nparameters  ")[2].splitlines()[: len(parameters)]
    assert {line.strip() for line in shown[:4]} == {*lines} and {line.strip() for line in shown} == {*parameters}
    for name, array in model.model_.params_.items():
        assert f"{name} {array.shape} float32\n" in out
    for fact in ("m.npz, format version 1", model.vocabulary_.report().splitlines()[0], "level word"):
        assert fact in out
    assert re.search(r"epochs +3\n", out)
    assert f"last loss   {model.model_.loss_curve_[-1]:.4f} nats" in out


def test_info_of_a_model_that_has_not_trained(tiny, capsys):
    assert main.main(["train", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "0"]) == 0
    assert main.main(["info", "o.npz"]) == 0
    assert "last loss" not in capsys.readouterr().out

"""Options of the commands, and parameters of the estimators."""

import re

import pytest
from cli_helpers import TINY

from fastrnn import LanguageModel, Translator
from fastrnn.cli import arguments, main
from fastrnn.cli.parameter_options import option_of
from fastrnn.cli.parser import in_options
from fastrnn.estimators.parameters import LANGUAGE_MODEL, TRANSLATOR


@pytest.mark.parametrize("command, kind", [("train", LanguageModel), ("translate-train", Translator)])
def test_every_parameter_has_its_option(command, kind, capsys):
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    told = {*re.findall(r"^  (?:-o FILE, )?(--[\w-]+)", capsys.readouterr().out, re.M)}
    options = {name: option_of(name) for name in LANGUAGE_MODEL.keys() | TRANSLATOR.keys()}
    # --quiet stands for verbose; no process has a model to go on from; a command line has no functions
    pointless = {"verbose", "warm_start", "tokenizer", "detokenizer"}
    assert told & {*options.values()} == {options[name] for name in kind().get_params() if name not in pointless}


def test_options_reach_the_parameters(tiny):
    arguments = "--cell rnn --no-bias --no-lowercase --level char --vocab-size 9 --clip-norm none --dtype float64"
    more = "--optimizer sgd --learning-rate 0.01 --momentum 0.5 --bptt-truncate 2 --lr-schedule halve --batch-size 1"
    more += " --patience 4 --lr-decay-start 6 --early-stopping --n-iter-no-change 7 --tol 0.5 --validation-fraction 0.3"
    more += " --output-layer sampled --n-sampled 3"
    more += " --language german --weight-noise 0.25 --checkpoint run.ckpt --checkpoint-minutes 1.5"
    more += " --layers 2 --embedding-dim 4 --tie-weights --dropout 0.25 --chunk-len 9 --init-scale 0.1 --no-peepholes"
    more += " --min-count 2 --special-token <s> --unknown-word <unk>"
    command = ["train", "tiny.txt", "tiny.txt", "-o", "o.npz", *TINY, "--epochs", "0"]
    command += [*arguments.split(), *more.split()]
    assert main.main([*command, "--evaluate-every", "1", "--sentence-split", "text", "--quiet"]) == 0
    parameters = LanguageModel.load("o.npz").get_params()
    expected = {"cell": "rnn", "bias": False, "lowercase": False, "level": "char", "vocab_size": 9, "clip_norm": None}
    expected |= {"dtype": "float64", "optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 1}
    expected |= {"bptt_truncate": 2, "lr_schedule": "halve", "evaluate_every": 1, "sentence_split": "text"}
    expected |= {"hidden_dim": 4, "max_epochs": 0, "n_threads": 1, "random_state": 0, "verbose": 0}
    expected |= {"patience": 4, "lr_decay_start": 6, "early_stopping": True, "n_iter_no_change": 7, "tol": 0.5}
    expected |= {"validation_fraction": 0.3, "weight_noise": 0.25, "checkpoint": "run.ckpt", "checkpoint_minutes": 1.5}
    expected |= {"warm_start": False, "num_layers": 2, "embedding_dim": 4, "tie_weights": True, "dropout": 0.25}
    expected |= {"output": "sampled", "n_sampled": 3}
    expected |= {"peepholes": False, "init": "default", "language": "german", "tokenizer": None, "detokenizer": None}
    expected |= {"chunk_len": 9, "init_scale": 0.1, "device": "cpu", "matmul_precision": "float32"}
    expected |= {"min_count": 2, "tokens": None, "special_tokens": ("<s>",), "unknown_word": "<unk>"}
    assert parameters == expected


@pytest.mark.parametrize("command, message, expected", [
    ("train", "hidden_dim: found 0", "--hidden-dim: found 0"),
    ("train", "a with hidden_dim=8, expected max_epochs=9.", "a with --hidden-dim 8, expected --epochs 9."),
    ("train", "hidden_dim.txt: no hidden_dim, as 'hidden_dim'", "hidden_dim.txt: no --hidden-dim, as 'hidden_dim'"),
    ("train", "/tmp/n_threads/x: n_threads=2", "/tmp/n_threads/x: --threads 2"),
    ("train", "embedding_dim must be hidden_dim with tie_weights=True",
     "--embedding-dim must be --hidden-dim with --tie-weights"),
    ("train", 'give sentence_split="punkt"; cell is a word', "give --sentence-split punkt; cell is a word"),
    ("train", "path: found '', random_state: x", "INPUT: found '', --seed: x"),
    ("train", "top_k: found 3, top_k=3", "top_k: found 3, top_k=3"),  # which this command has not
    ("generate", "n: found 0, top_k=3, unknown='token'", "-n: found 0, --top-k 3, --unknown-prompt token"),
    ("generate", "exclude: found 'x'", "--exclude: found 'x'"),
])  # fmt: skip
def test_messages_name_what_was_typed(command, message, expected):
    words = {"train": ["train", "a", "-o", "b"], "generate": ["generate", "m"]}[command]
    assert in_options(message, arguments.parse(words, main._COMMANDS).parser) == expected

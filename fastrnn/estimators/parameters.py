"""What the constructors' parameters are: one description of each, from which checks and the command's options follow.

Choices that modules with kernels define are imported when they are first asked for: a command's usage errors come at
once. Defaults are in the constructors' signatures, the long explanation in their docstrings;
`tests/estimators/test_descriptions.py` holds that all agree.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..text.vocabulary import Vocabulary
from ..training.schedules import SCHEDULES
from ..validation import (
    LARGEST_FLOAT32,
    check_bool,
    check_dtype,
    check_path,
    check_random_state,
    check_verbose,
    choice,
    integer,
    one_or_pair,
    real,
    shown,
)

DTYPES = ("float32", "float64")


class Parameter(NamedTuple):
    """A parameter of a constructor.

    Attributes
    ----------
    check : callable
        Of its name and value; returns the value as Python's own type, or raises TypeError or ValueError.
    help : str or None
        One line, for the command's option; None if it has none.
    group : str
        Under which heading the command's help lists it.
    """

    check: Callable[[str, Any], Any]
    help: str | None
    group: str


def cells():
    """Names of the recurrent cells."""
    from ..kernels.cells import CELLS

    return tuple(CELLS)


def outputs():
    """How an output layer can learn."""
    from ..training.tasks import OUTPUTS

    return OUTPUTS


def inits():
    """Rules by which weights start."""
    from ..networks.network import INITS

    return INITS


def optimizers():
    """Names of the optimisers."""
    from ..training.optimizer import OPTIMIZERS

    return OPTIMIZERS


def devices():
    """What a device can be."""
    from ..networks.devices import DEVICES

    return DEVICES


def matmul_precisions():
    """Precisions that large products may have."""
    from ..networks.devices import MATMUL_PRECISIONS

    return MATMUL_PRECISIONS


def check_early_stopping(name, value):
    """Return True, False or "auto"."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str) and value == "auto":
        return value
    raise TypeError(f"{name}: found {shown(value)}, expected True, False or 'auto'")


def _group(title, rows):
    return {name: Parameter(*row, title) for name, row in rows.items()}


def _of_vocabulary(name, text):
    return Vocabulary._checks[name], text


NETWORK = _group("network", {
    "cell": (choice(cells), "recurrent cell"),
    "hidden_dim": (integer(1), "units of the recurrent layer"),
    "num_layers": (integer(1), "recurrent layers"),
    "embedding_dim": (integer(1, none=True), "width of an embedding below the first layer (default: none)"),
    "tie_weights": (check_bool, "the embedding serves as output weights too"),
    "output": (choice(outputs), "how the output layer learns: sampled, on some words per update, is faster"),
    "n_sampled": (integer(2, none=True), "words of a sample (default: 9 times the root of their number)"),
    "dropout": (real(0, 1, low_open=False), "share dropped between layers and before the output, in training"),
    "peepholes": (check_bool, "an LSTM whose gates do not see its cells, as other libraries have it"),
    "bias": (check_bool, "without biases, as the tutorial has it"),
    "init": (choice(inits), "how weights start"),
    "init_scale": (
        real(0, LARGEST_FLOAT32, none=True),
        "initial weights are uniform in ± this (default: as --init says)",
    ),
    "dtype": (partial(check_dtype, choices=DTYPES), "of the weights"),
})  # fmt: skip

TRAINING = _group("training", {
    "max_epochs": (integer(0), "passes over the text"),
    "batch_size": (integer(1), "sentences between two updates"),
    "optimizer": (choice(optimizers), "rule of the updates"),
    "learning_rate": (real(0, none=True), "step of the updates (default: the optimizer's)"),
    "momentum": (real(0, 1, low_open=False), "of sgd"),
    "clip_norm": (real(0, none=True), "longest gradient; 0 or none switches it off"),
    "lr_schedule": (choice(SCHEDULES), "how the learning rate goes on"),
    "evaluate_every": (integer(1), "epochs between the looks at the loss of the schedule halve"),
    "patience": (integer(1), "epochs without improvement that the schedule plateau waits"),
    "lr_decay_start": (integer(0), "epochs before the schedule half-epochs begins to halve"),
    "weight_noise": (real(0, LARGEST_FLOAT32 / 100, low_open=False), "deviation of the noise on the weights"),
    "random_state": (check_random_state, "same seed, machine and threads: same model"),
    "warm_start": (check_bool, None),
})  # fmt: skip

STOPPING = _group("early stopping and checkpoints", {
    "early_stopping": (
        check_early_stopping,
        "stop when the loss of what is held out no longer falls; the best weights count (default: if anything is)",
    ),
    "n_iter_no_change": (integer(1), "epochs without improvement before that"),
    "tol": (real(0, low_open=False), "nats by which a loss must fall to be an improvement"),
    "validation_fraction": (
        real(0, 1, none=True),
        "share of sentences to hold out for that, instead of --held-out's",
    ),
    "checkpoint": (partial(check_path, none=True), "file to keep up to date, for --resume"),
    "checkpoint_minutes": (real(0, none=True), "write it that often, too (default: after every epoch)"),
})  # fmt: skip

COMPUTATION = _group("computation", {
    "device": (choice(devices), "what does the work"),
    "matmul_precision": (
        choice(matmul_precisions),
        "least that large products may have; tf32 is faster on a GPU, bfloat16 on some CPUs",
    ),
    "n_threads": (integer(1, none=True), "(default: all cores)"),
    "verbose": (check_verbose, None),
})  # fmt: skip

OF_ALL = NETWORK | TRAINING | STOPPING | COMPUTATION

FAST_RNN = (
    OF_ALL
    | _group("network", {"vocab_size": (integer(1, none=True), None)})
    | _group("training", {
        "chunk_len": (integer(1, none=True), "train long sequences in chunks of so many steps (default: whole)"),
        "bptt_truncate": (integer(0, none=True), "steps that an error goes back (default: all)"),
    })
)  # fmt: skip

SEQ2SEQ = OF_ALL | _group("network", {
    "reverse_source": (check_bool, "read sources from their first word on, not from their last"),
    "source_vocab_size": (integer(1, none=True), None),
    "target_vocab_size": (integer(2, none=True), None),
})  # fmt: skip

LANGUAGE_MODEL = FAST_RNN | _group("vocabulary", {
    "level": _of_vocabulary("level", "what a token is"),
    "sentence_split": _of_vocabulary(
        "sentence_split",
        "where sentences end (default: punkt for words, and line ends if they seem to mean it; or else line)",
    ),
    "language": _of_vocabulary("language", "whose abbreviations end no sentence"),
    "lowercase": _of_vocabulary("lowercase", "keep capital letters"),
    "vocab_size": _of_vocabulary("max_size", "most tokens to know; all others are one UNKNOWN_TOKEN"),
    "min_count": _of_vocabulary("min_count", "how often a word must occur to be known"),
    "tokens": _of_vocabulary("tokens", "tokens to know, one a line, instead of the text's most frequent ones"),
    "special_tokens": _of_vocabulary(
        "special_tokens", "a word such as <sep> that stays one token; may be repeated"
    ),
    "unknown_word": _of_vocabulary("unknown_word", "what stands for unknown words in the text, such as <unk>"),
    "tokenizer": _of_vocabulary("tokenizer", None),
    "detokenizer": _of_vocabulary("detokenizer", None),
})  # fmt: skip

TRANSLATOR = SEQ2SEQ | _group("vocabularies", {
    "level": _of_vocabulary("level", "what a token is"),
    "language": (
        one_or_pair(Vocabulary._checks["language"]),
        "whose abbreviations end no sentence; SOURCE,TARGET if they differ",
    ),
    "lowercase": _of_vocabulary("lowercase", "keep capital letters"),
    "source_vocab_size": _of_vocabulary("max_size", "most tokens to know of sources; all others are one UNKNOWN_TOKEN"),
    "target_vocab_size": _of_vocabulary("max_size", "most tokens of targets"),
    "tokenizer": (one_or_pair(Vocabulary._checks["tokenizer"]), None),
    "detokenizer": (one_or_pair(Vocabulary._checks["detokenizer"]), None),
})  # fmt: skip


def checks(parameters):
    """{name: check} of a table of parameters, as `Estimator._checks` has them."""
    return {name: parameter.check for name, parameter in parameters.items()}

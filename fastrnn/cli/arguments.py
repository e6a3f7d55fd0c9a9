"""The arguments of the command `fastrnn`.

An option that stands for a parameter has its name and no default of its own: defaults, and what may be chosen, are read
from the classes when help is asked for.
"""

import argparse
import inspect
import re

from .. import __version__

ERROR = 2  # exit status after a usage error

_QUOTES = "'\""

# Parameters of the demo, chosen by the perplexity of held-out paragraphs, which further epochs raise: the network
# learns the manual by heart. Words that occur only once are left out of the vocabulary.
DEMO = {"vocab_size": 1500, "hidden_dim": 200, "learning_rate": 0.004, "max_epochs": 4}


class _Parser(argparse.ArgumentParser):
    """Errors are one line; `--help` tells the defaults and choices that the classes have."""

    defaults = staticmethod(dict)  # returns {name of a parameter: (default, choices)}

    def error(self, message):
        self.exit(ERROR, f"fastrnn: error: {message}; see {self.prog} --help\n")

    def format_help(self):
        told = self.defaults()
        for action in self._actions:
            default, choices = told.pop(action.dest, (None, ()))
            if choices:
                action.help += f": {', '.join(choices)}"
            if default is not None and action.nargs != 0:
                action.help += f" (default: {default})"
        return super().format_help()


def parse(argv, commands):
    """The parsed arguments, with `run` the function of the command; `commands` has them by name.

    Inputs may also follow options, which argparse does not see.
    """
    parser = _parser(commands)
    args, rest = parser.parse_known_args(argv)
    if rest and ("input" not in args or any(word.startswith("-") and word != "-" for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.input = [*args.input, *rest]
    return args


def in_options(message, parser):
    """An error or remark of the library in the words of the command line: parameters become their options.

    Parameters
    ----------
    message : str
    parser : _Parser
        That of the command.
    """
    actions = {action.dest: action for action in parser._actions}
    names = {dest: (action.option_strings or [action.metavar])[-1] for dest, action in actions.items()}
    if "input" in names:
        names["path"] = names["input"]

    def with_value(match):
        name, value = match[1], match[2]
        if name not in actions:
            return match[0]
        return names[name] if actions[name].nargs == 0 else f"{names[name]} {value.strip(_QUOTES)}"

    message = re.sub(r"""(?<![\w./-])(\w+)=("[^"]*"|'[^']*'|[\w.+-]*\w)""", with_value, message)
    message = re.sub(r"^(\w+)(?=: )", lambda match: names.get(match[1], match[1]), message)
    # Elsewhere a word may be only a word, but for those that none uses in prose; nor is a part of a path replaced.
    return re.sub(
        r"""(?<![\w./\\'"-])(\w+_\w+)(?![\w/\\'"-]|\.\w)""", lambda match: names.get(match[1], match[1]), message
    )


def _parser(runs):
    parser = _Parser(
        prog="fastrnn", description="Recurrent networks: train one on your text, let it write, score and translate.",
        epilog="Begin with: fastrnn demo", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"fastrnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, add in {
        "demo": _add_demo, "train": _add_train, "generate": _add_generate, "score": _add_score,
        "translate-train": _add_translate_train, "translate": _add_translate, "info": _add_info, "plot": _add_plot,
        "warmup": _add_warmup,
    }.items():  # fmt: skip
        add(commands).set_defaults(run=runs[name])
    return parser


def _add_command(commands, name, summary, example):
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"Example: {example}",
        argument_default=argparse.SUPPRESS, allow_abbrev=False,
    )  # fmt: skip
    parser.set_defaults(parser=parser)
    return parser


def _add_demo(commands):
    parser = _add_command(
        commands, "demo", "learn Python's own manual in about a minute and make up sentences like it",
        "fastrnn demo",
    )  # fmt: skip
    parser.defaults = lambda: _language_model_told() | {"max_epochs": (DEMO["max_epochs"], ())}
    parser.add_argument(
        "-o", "--output", dest="output_file", default="demo.npz", metavar="FILE", help="model file (default: demo.npz)"
    )
    _add_parameters(parser, ("cell", "max_epochs", "device", "n_threads"))
    parser.add_argument("--seed", dest="random_state", type=int, default=0, metavar="N", help="(default: 0)")
    return parser


def _add_train(commands):
    parser = _add_command(
        commands, "train", "train a language model on text and save it",
        "fastrnn train comments.csv --column body --output comments.npz --epochs 20",
    )  # fmt: skip
    parser.defaults = _language_model_told
    _add_input(parser, "+")
    _add_training(parser, "share of the text kept for measuring: every 20th paragraph for 0.05, the default")
    _add_parameters(parser, (name for name in PARAMETERS if name not in _OF_TRANSLATOR))
    return parser


def _add_training(parser, held_out):
    """What all training commands understand besides parameters."""
    add = parser.add_argument
    add("-o", "--output", dest="output_file", required=True, metavar="FILE", help="where to save the model")
    add("--held-out", type=float, default=0.05, metavar="SHARE", help=f"{held_out}; 0 for none")
    add(
        "--resume", default=None, metavar="FILE",
        help="go on from a checkpoint, of a run with the same text and options; --epochs may be more",
    )  # fmt: skip
    add("--quiet", action="store_true", default=False, help="show errors and warnings only")


def _add_generate(commands):
    parser = _add_command(
        commands, "generate", "write sentences, one a line",
        'fastrnn generate demo.npz -n 10 --prompt "the statement" --temperature 0.7',
    )  # fmt: skip
    parser.defaults = _generation_told
    parser.add_argument("model", metavar="MODEL", help="file that was saved by train or demo")
    add = parser.add_argument
    add("-n", type=int, default=5, metavar="N", help="number of sentences (default: 5)")
    add("--prompt", metavar="TEXT", help="how every sentence begins")
    add("--temperature", type=float, metavar="T", help="below 1 the probable, above 1 the improbable, 0 the best")
    add("--top-k", type=int, metavar="K", help="draw from the K most probable tokens only")
    add("--top-p", type=float, metavar="P", help="draw from the fewest tokens that have the probability P together")
    add("--min-length", type=int, metavar="N", help="tokens at least, without the prompt")
    add("--max-length", type=int, metavar="N", help="tokens at most")
    add("--exclude", nargs="+", action="extend", default=[], metavar="WORD", help="tokens never to write")
    add("--allow-unknown", action="store_true", default=False, help="UNKNOWN_TOKEN may be written too")
    add("--unknown-prompt", dest="unknown", metavar="DO", help="what an unknown word of the prompt is: error or token")
    add("--truecase", action="store_true", help="write capitals, though the text was learned in lower case")
    add("--seed", dest="random_state", type=int, metavar="N", help="same seed, same sentences")
    add("--log-probs", action="store_true", default=False, help="first the sentence's ln p in nats, and a tab")
    _add_device(parser)
    return parser


def _add_score(commands):
    parser = _add_command(
        commands, "score", "tell how probable sentences are: nats, tokens, perplexity; and the total",
        'fastrnn score demo.npz --text "It is an int." --text "It an is int." --sort',
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="file that was saved by train or demo")
    _add_input(parser, "*")
    add = parser.add_argument
    add("--text", action="append", default=[], metavar="SENTENCE", help="a sentence to score; may be repeated")
    add("--lines", action="store_true", default=False, help="every line of the input is one sentence")
    add("--sort", action="store_true", default=False, help="the most probable first")
    _add_device(parser)
    return parser


def _add_translate_train(commands):
    parser = _add_command(
        commands, "translate-train", "train a translator on pairs of texts and save it",
        "fastrnn translate-train pairs.tsv --output fr.npz --epochs 12",
    )  # fmt: skip
    parser.defaults = _translator_told
    add = parser.add_argument
    add(
        "input", nargs="*", default=[], metavar="PAIRS",
        help="files of lines: a source, a tab, its target; .gz, .bz2, .xz, .zst too, - for standard input",
    )  # fmt: skip
    add("--source", default=None, metavar="FILE", help="instead of PAIRS: the sources, one a line")
    add("--target", default=None, metavar="FILE", help="and the targets, line i that of source i")
    add("--encoding", default="utf-8", metavar="NAME", help="of the files (default: utf-8)")
    _add_training(parser, "share kept for measuring: every 20th source, with all its targets, for 0.05, the default")
    _add_parameters(parser, (name for name in PARAMETERS if name not in _OF_LANGUAGE_MODEL))
    return parser


def _add_translate(commands):
    parser = _add_command(
        commands, "translate", "translate texts, one a line", 'fastrnn translate fr.npz --text "I am hungry."'
    )
    parser.defaults = _translation_told
    add = parser.add_argument
    add("model", metavar="MODEL", help="file that was saved by translate-train")
    add(
        "input", nargs="*", default=[], metavar="INPUT",
        help="files of one text a line, .gz, .bz2, .xz, .zst too, - for standard input; blank lines stay blank",
    )  # fmt: skip
    add("--text", action="append", default=[], metavar="TEXT", help="a text to translate; may be repeated")
    add("--encoding", default="utf-8", metavar="NAME", help="of the files (default: utf-8)")
    add(
        "--ensemble", action="append", default=[], metavar="MODEL",
        help="one more file of the same vocabularies; their probabilities are averaged; may be repeated",
    )  # fmt: skip
    add("--beam", dest="beam_width", type=int, metavar="N", help="hypotheses kept at every step, 1 is greedy")
    add("--n-best", type=int, metavar="N", help="so many translations each: the line's number, score, text, by tabs")
    add("--scores", action="store_true", default=False, help="first the score, ln p in nats, and a tab")
    add("--length-penalty", type=float, metavar="A", help="scores are ln p / length ** A")
    add("--min-length", type=int, metavar="N", help="tokens at least")
    add("--max-length", type=int, metavar="N", help="tokens at most")
    add("--unknown", default="token", metavar="DO", help="what an unknown word is: error or token (default: token)")
    _add_device(parser)
    return parser


def _add_info(commands):
    parser = _add_command(
        commands, "info", "show a model's parameters, vocabulary, weights and last loss", "fastrnn info demo.npz"
    )
    parser.add_argument("model", metavar="MODEL", help="any model file")
    parser.add_argument("--all", action="store_true", default=False, help="parameters that have their defaults, too")
    return parser


def _add_plot(commands):
    """A command of its own commands, one a picture; `picture` is its name."""
    parser = _add_command(
        commands, "plot", "draw pictures of training, and of what a model does with a text",
        'fastrnn plot surprisal demo.npz --text "The value is an integer."',
    )  # fmt: skip
    pictures = parser.add_subparsers(metavar="PICTURE", required=True, dest="picture")

    losses = _add_command(
        pictures, "losses", "draw the loss curves of several runs", "fastrnn plot losses a.npz b.npz -o losses.svg"
    )
    losses.add_argument("input", nargs="+", default=[], metavar="MODEL", help="any model files")
    losses.add_argument("--by", default="epoch", metavar="NAME", help="epoch (default), tokens or seconds")
    _add_picture_output(losses, required=True)

    text = '--text "The value is an integer."'
    for name, summary, what in (
        ("surprisal", "colour the words of a text by how unexpected they are, in nats", ""),
        ("hidden", "draw what the hidden units do over a text", "so many, those that vary most (default: 24)"),
        ("gates", "draw how open the gates are over a text", "so many, instead of the mean of all"),
    ):
        output = " -o picture.png" if what else ""
        picture = _add_command(pictures, name, summary, f"fastrnn plot {name} demo.npz {text}{output}")
        picture.add_argument("model", metavar="MODEL", help="file that was saved by train or demo")
        picture.add_argument("--text", required=True, metavar="TEXT", help="one sentence or several")
        if what:
            picture.add_argument("--layer", type=int, metavar="N", help="from below, 0 the first (default: the last)")
            picture.add_argument("--units", type=int, metavar="N", help=what)
        _add_device(picture)
        _add_picture_output(picture, required=bool(what))
    return parser


def _add_picture_output(parser, required):
    text = "picture to save, as its ending says: .png, .svg or .pdf" + ("" if required else " (default: shown here)")
    parser.add_argument(
        "-o", "--output", dest="output_file", required=required, default=None, metavar="FILE", help=text
    )


def _add_warmup(commands):
    parser = _add_command(
        commands, "warmup", "compile the kernels ahead, for images and continuous integration", "fastrnn warmup"
    )
    add = parser.add_argument
    add("--cell", action="append", default=[], metavar="NAME", help="only this cell; may be repeated")
    add("--dtype", action="append", default=[], metavar="NAME", help="of the weights (default: float32); likewise")
    add("--matmul-precision", default="float32", metavar="NAME", help="of the models' products (default: %(default)s)")
    _add_device(parser)
    return parser


def _add_input(parser, nargs):
    parser.add_argument(
        "input",
        nargs=nargs,
        default=[],
        metavar="INPUT",
        help="text, .csv, .tsv, .jsonl files, .gz, .bz2, .xz, .zst too, directories, patterns, - for standard input",
    )
    add = parser.add_argument
    add("--column", default=None, metavar="NAME", help="column of the text in tables; its number if no header names it")
    add("--delimiter", default=None, metavar="C", help="what separates columns of CSV files (default: found out)")
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help="of the files (default: utf-8)")


def _add_device(parser):
    """What runs a model that is read from a file."""
    parser.add_argument(
        "--device", default="cpu", metavar="NAME", help="cpu (default), cuda, or auto: that if it is there"
    )


def number_or_none(text):
    """A number; None, which is no clipping, for 0 and none."""
    return None if text.lower() == "none" else float(text) or None


def one_or_pair(text):
    """A name, or a pair of them with a comma between."""
    return tuple(text.split(",")) if "," in text else text


# Parameter of LanguageModel or Translator: option, type ("on", "off" and, with --no- too, "either" are switches), help.
PARAMETERS = {
    "cell": ("--cell", str, "recurrent cell"),
    "hidden_dim": ("--hidden-dim", int, "units of the recurrent layer"),
    "num_layers": ("--layers", int, "recurrent layers"),
    "embedding_dim": ("--embedding-dim", int, "width of an embedding below the first layer (default: none)"),
    "tie_weights": ("--tie-weights", "on", "the embedding serves as output weights too"),
    "output": ("--output-layer", str, "how it learns; on some words at each update, sampled, is faster"),
    "n_sampled": ("--n-sampled", int, "words of a sample (default: 9 times the root of their number)"),
    "dropout": ("--dropout", float, "share dropped between layers and before the output, in training"),
    "chunk_len": ("--chunk-len", int, "train long sequences in chunks of so many steps (default: whole)"),
    "peepholes": ("--no-peepholes", "off", "an LSTM whose gates do not see its cells, as other libraries have it"),
    "init": ("--init", str, "how weights start"),
    "init_scale": ("--init-scale", float, "initial weights are uniform in ± this (default: as --init says)"),
    "max_epochs": ("--epochs", int, "passes over the text"),
    "batch_size": ("--batch-size", int, "sentences between two updates"),
    "optimizer": ("--optimizer", str, "rule of the updates"),
    "learning_rate": ("--learning-rate", float, "step of the updates (default: the optimizer's)"),
    "momentum": ("--momentum", float, "of sgd"),
    "clip_norm": ("--clip-norm", number_or_none, "longest gradient; 0 or none switches it off"),
    "bptt_truncate": ("--bptt-truncate", int, "steps that an error goes back (default: all)"),
    "lr_schedule": ("--lr-schedule", str, "how the learning rate goes on"),
    "evaluate_every": ("--evaluate-every", int, "epochs between the looks at the loss of the schedule halve"),
    "patience": ("--patience", int, "epochs without improvement that the schedule plateau waits"),
    "lr_decay_start": ("--lr-decay-start", int, "epochs before the schedule half-epochs begins to halve"),
    "early_stopping": (
        "--early-stopping",
        "either",
        "stop when the loss of what is held out no longer falls; the best weights count (default: if anything is)",
    ),
    "n_iter_no_change": ("--n-iter-no-change", int, "epochs without improvement before that"),
    "tol": ("--tol", float, "nats by which a loss must fall to be an improvement"),
    "validation_fraction": (
        "--validation-fraction",
        float,
        "share of sentences to hold out for that, instead of --held-out's",
    ),
    "weight_noise": ("--weight-noise", float, "deviation of the noise on the weights"),
    "checkpoint": ("--checkpoint", str, "file to keep up to date, for --resume"),
    "checkpoint_minutes": ("--checkpoint-minutes", float, "write it that often, too (default: after every epoch)"),
    "bias": ("--no-bias", "off", "without biases, as the tutorial has it"),
    "dtype": ("--dtype", str, "of the weights"),
    "device": ("--device", str, "what does the work"),
    "matmul_precision": (
        "--matmul-precision",
        str,
        "least that large products may have; tf32 is faster on a GPU, bfloat16 on some CPUs",
    ),
    "n_threads": ("--threads", int, "(default: all cores)"),
    "random_state": ("--seed", int, "same seed, machine and threads: same model"),
    "level": ("--level", str, "what a token is"),
    "sentence_split": (
        "--sentence-split",
        str,
        "where sentences end (default: punkt for words, and line ends if they seem to mean it; or else line)",
    ),
    "language": (
        "--language",
        one_or_pair,
        "whose abbreviations end no sentence; SOURCE,TARGET of a translator's pairs",
    ),
    "lowercase": ("--no-lowercase", "off", "keep capital letters"),
    "vocab_size": ("--vocab-size", int, "most tokens to know; all others are one UNKNOWN_TOKEN"),
    "min_count": ("--min-count", int, "how often a word must occur to be known"),
    "tokens": ("--vocabulary", "file", "tokens to know, one a line, instead of the text's most frequent ones"),
    "special_tokens": ("--special-token", "list", "a word such as <sep> that stays one token; may be repeated"),
    "unknown_word": ("--unknown-word", "word", "what stands for unknown words in the text, such as <unk>"),
    "source_vocab_size": (
        "--source-vocab-size",
        int,
        "most tokens to know of sources; all others are one UNKNOWN_TOKEN",
    ),
    "target_vocab_size": ("--target-vocab-size", int, "most tokens of targets"),
    "reverse_source": ("--no-reverse", "off", "read sources from their first word on, not from their last"),
}
_OF_LANGUAGE_MODEL = {
    "chunk_len", "bptt_truncate", "sentence_split", "vocab_size", "min_count", "tokens", "special_tokens",
    "unknown_word",
}  # fmt: skip
_OF_TRANSLATOR = {"source_vocab_size", "target_vocab_size", "reverse_source"}


def _add_parameters(parser, names):
    for name in names:
        option, kind, text = PARAMETERS[name]
        if kind == "either":
            parser.add_argument(option, dest=name, action=argparse.BooleanOptionalAction).help = text
        elif kind in ("on", "off"):
            parser.add_argument(option, dest=name, action=f"store_{kind == 'on'}".lower(), help=text)
        elif kind in ("list", "word", "file"):
            action, metavar = ("append" if kind == "list" else "store"), ("FILE" if kind == "file" else "WORD")
            parser.add_argument(option, dest=name, action=action, metavar=metavar, help=text)
        else:
            metavar = {int: "N", str: "NAME", one_or_pair: "NAME"}.get(kind, "X")
            parser.add_argument(option, dest=name, type=kind, metavar=metavar, help=text)


def _language_model_told():
    from ..estimators.language_model import LanguageModel

    return _parameters_told(LanguageModel)


def _translator_told():
    from ..estimators.translator import Translator

    return _parameters_told(Translator)


def _parameters_told(kind):
    from ..estimators.trainable import DTYPES
    from ..kernels.cells import CELLS
    from ..networks.devices import DEVICES, MATMUL_PRECISIONS
    from ..networks.network import INITS
    from ..text.languages import LANGUAGES
    from ..text.tokenize import LEVELS, SENTENCE_SPLITS
    from ..training.optimizer import OPTIMIZERS
    from ..training.schedules import SCHEDULES
    from ..training.tasks import OUTPUTS

    choices = {
        "cell": CELLS, "optimizer": OPTIMIZERS, "lr_schedule": SCHEDULES, "dtype": DTYPES, "level": LEVELS,
        "sentence_split": SENTENCE_SPLITS, "language": LANGUAGES, "device": DEVICES, "init": INITS,
        "matmul_precision": MATMUL_PRECISIONS, "output": OUTPUTS,
    }  # fmt: skip
    return {name: (value, choices.get(name, ())) for name, value in kind().get_params().items()}


def _generation_told():
    from ..estimators.language_model import LanguageModel

    return _options_told(LanguageModel.generate, ("n", "exclude"))


def _translation_told():
    from ..estimators.translator import Translator

    return _options_told(Translator.translate, ("unknown", "ensemble"))


def _options_told(method, own):
    """Defaults of a method's arguments, but for those that have others here."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: (None if p.default in (None, "") else p.default, ()) for p in parameters if p.name not in own}


def given(args, names):
    return {name: value for name, value in vars(args).items() if name in names}


def given_parameters(args):
    return given(args, PARAMETERS)

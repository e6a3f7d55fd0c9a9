"""The arguments of the command `fastrnn`.

An option that stands for a parameter has its name and no default of its own: defaults, and what may be chosen, are read
from the classes when help is asked for.
"""

import argparse

from .. import __version__
from ..estimators.parameters import LANGUAGE_MODEL, TRANSLATOR
from .parameter_options import (
    add_parameters,
    generation_defaults,
    language_model_defaults,
    translation_defaults,
    translator_defaults,
)
from .parser import Parser

# Parameters of the demo, chosen by the perplexity of held-out paragraphs, which further epochs raise: the network
# learns the manual by heart. Words that occur only once are left out of the vocabulary.
DEMO = {"vocab_size": 1500, "hidden_dim": 200, "learning_rate": 0.004, "max_epochs": 4}


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


def _parser(runs):
    parser = Parser(
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
    parser.defaults = lambda: language_model_defaults() | {"max_epochs": (DEMO["max_epochs"], ())}
    parser.add_argument(
        "-o", "--output", dest="output_file", default="demo.npz", metavar="FILE", help="model file (default: demo.npz)"
    )
    add_parameters(parser, LANGUAGE_MODEL, ("cell", "max_epochs", "device", "n_threads"))
    parser.add_argument("--seed", dest="random_state", type=int, default=0, metavar="N", help="(default: 0)")
    return parser


def _add_train(commands):
    parser = _add_command(
        commands, "train", "train a language model on text and save it",
        "fastrnn train comments.csv --column body --output comments.npz --epochs 20",
    )  # fmt: skip
    parser.defaults = language_model_defaults
    _add_input(parser, "+")
    _add_training(parser, "share of the text kept for measuring: every 20th paragraph for 0.05, the default")
    add_parameters(parser, LANGUAGE_MODEL)
    return parser


def _add_training(parser, held_out):
    """What all training commands understand besides parameters."""
    add = parser.add_argument
    add("-o", "--output", dest="output_file", required=True, metavar="FILE", help="where to save the model")
    add("--held-out", type=float, default=0.05, metavar="SHARE", help=f"{held_out}; 0 for none")
    add(
        "--resume", default=None, metavar="FILE",
        help="resume from a checkpoint, of a run with the same text and options; --epochs may be more",
    )  # fmt: skip
    add("--quiet", action="store_true", default=False, help="show errors and warnings only")


def _add_generate(commands):
    parser = _add_command(
        commands, "generate", "write sentences, one a line",
        'fastrnn generate demo.npz -n 10 --prompt "the statement" --temperature 0.7',
    )  # fmt: skip
    parser.defaults = generation_defaults
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
    parser.defaults = translator_defaults
    add = parser.add_argument
    add(
        "input", nargs="*", default=[], metavar="PAIRS",
        help="files of lines: a source, a tab, its target; .gz, .bz2, .xz, .zst too, - for standard input",
    )  # fmt: skip
    add("--source", default=None, metavar="FILE", help="instead of PAIRS: the sources, one a line")
    add("--target", default=None, metavar="FILE", help="and the targets, line i that of source i")
    add("--encoding", default="utf-8", metavar="NAME", help="of the files (default: utf-8)")
    _add_training(parser, "share kept for measuring: every 20th source, with all its targets, for 0.05, the default")
    add_parameters(parser, TRANSLATOR)
    return parser


def _add_translate(commands):
    parser = _add_command(
        commands, "translate", "translate texts, one a line", 'fastrnn translate fr.npz --text "I am hungry."'
    )
    parser.defaults = translation_defaults
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

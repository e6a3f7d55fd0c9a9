"""The command `fastrnn`: train, generate and score without a line of Python.

Results go to standard output, progress and remarks to standard error. Modules that take a while to import
are imported inside the functions, so that usage errors come at once. The defaults of parameters, and what
may be chosen, are read from the classes when help is asked for; they are not repeated here.
"""

import argparse
import inspect
import logging
import math
import os
import re
import sys
import tempfile
from itertools import chain, islice
from pathlib import Path

from . import __version__

# Exit statuses; the last two as shells have them, 128 and the signal.
OK, DIVERGED, ERROR, INTERRUPTED, CUT_OFF = 0, 1, 2, 130, 141

# Chosen by the perplexity of held-out paragraphs, which further epochs raise: the network learns the manual
# by heart. Words that occur only once are left out of the vocabulary.
_DEMO = {"vocab_size": 1500, "hidden_dim": 200, "learning_rate": 0.004, "max_epochs": 9}
_DEMO_STYLE = {"temperature": 0.6, "top_p": 0.95, "min_length": 8, "max_length": 40}
_DEMO_HELD_OUT = 0.05

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_FULL_LINE = re.compile(r"(?<=[.!?])\n")
_SENTENCES_AT_ONCE = 256


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name; by default those of this process.

    Returns
    -------
    int
        Exit status: 0; 1 if training diverged; 2 after an error, told in one line on standard error; 130
        after Ctrl-C, and 141 if the reader of standard output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console may lack some of the letters
    logger, remarks = logging.getLogger("fastrnn"), logging.StreamHandler()
    remarks.setFormatter(logging.Formatter("fastrnn: %(message)s"))
    logger.addHandler(remarks)
    try:
        args = _parse(argv)
        status = args.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `fastrnn ... | head`: nothing more to write to, not even at Python's exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (ValueError, TypeError, OSError, MemoryError) as error:
        return _fail(f"error: {_reason(error)}", ERROR)
    finally:
        logger.removeHandler(remarks)


# The commands. Each takes the parsed arguments and returns the exit status.


def _demo(args):
    from .corpora import python_manual

    output = _writable(args.output)
    _remark("A language model of Python's own manual: about a minute on two cores")
    language_model, status = _learn(_DEMO | _given_parameters(args), python_manual(), _DEMO_HELD_OUT, output)
    if status != OK:
        return status
    print("\nSentences that it makes up:\n")
    for sentence in language_model.generate(8, random_state=args.random_state, **_DEMO_STYLE):
        print(f"  {sentence}")
    print(
        f"""
Try next:
  fastrnn generate {output} --prompt "the statement"
  fastrnn score {output} --text "The value is an integer." --text "Integer an is value the."
  fastrnn info {output}
  fastrnn train your_text.txt --output your_model.npz"""
    )
    return OK


def _train(args):
    output = _writable(args.output)
    _, status = _learn(_given_parameters(args), _read_inputs(args), args.held_out, output, args.quiet)
    if status == OK and not args.quiet:
        print(f"Let it write: fastrnn generate {output}")
    return status


def _generate(args):
    from .language_model import LanguageModel
    from .vocabulary import UNKNOWN_TOKEN

    language_model = LanguageModel.load(args.model)
    _announce_compilation(language_model.cell)
    options = _given(args, inspect.signature(LanguageModel.generate).parameters)
    options["exclude"] = [*args.exclude, *([] if args.allow_unknown else [UNKNOWN_TOKEN])]
    sentences, log_probs = language_model.generate(**options, return_log_probs=True)
    for sentence, log_p in zip(sentences, log_probs, strict=True):
        print(f"{log_p.sum():.4f}\t{sentence}" if args.log_probs else sentence)
    return OK


def _score(args):
    from .language_model import LanguageModel

    if not args.input and not args.text:
        raise ValueError("found nothing to score, expected an INPUT or --text SENTENCE")
    language_model = LanguageModel.load(args.model)
    texts = _read_inputs(args)
    _announce_compilation(language_model.cell)
    total = {"sentences": 0, "tokens": 0, "unknown": 0, "nats": 0.0}
    rows = _scored(language_model, _sentences(language_model.vocabulary_, texts, args), total)
    rows = iter(sorted(rows, key=lambda row: row[0]) if args.sort else rows)
    first = next(rows)  # an error comes before the table's head
    print("nats\ttokens\tperplexity\tsentence")
    for nats, tokens, sentence in chain([first], rows):
        print(f"{nats:.4f}\t{tokens}\t{_perplexity(nats / tokens):.2f}\t{' '.join(sentence.split())}")
    loss = total["nats"] / total["tokens"]
    print(f"# {_count(total['sentences'], 'sentence')}, {_count(total['tokens'], 'token')}, {total['unknown']} unknown")
    print(f"# {loss:.4f} nats a token, perplexity {_perplexity(loss):.2f}")
    return OK


def _info(args):
    from .language_model import LanguageModel
    from .storage import VERSION

    language_model = LanguageModel.load(args.model)
    vocabulary, model = language_model.vocabulary_, language_model.model_
    weights = [f"{name} {array.shape} {array.dtype}" for name, array in model.params_.items()]
    parameters = [f"{name}={value!r}" for name, value in language_model.get_params().items()]
    facts = {
        "file": [f"{args.model}, format version {VERSION}"],
        "parameters": parameters,
        "vocabulary": [f"level {vocabulary.level}", *vocabulary.report().splitlines()],
        "weights": [*weights, f"{_count_weights(model):,} in all"],
        "epochs": [f"{model.n_epochs_}"],
    }
    if model.loss_curve_:
        loss = model.loss_curve_[-1]
        facts["last loss"] = [f"{loss:.4f} nats a token in training, perplexity {_perplexity(loss):.2f}"]
    for name, lines in facts.items():
        print(f"{name:<12}" + f"\n{'':12}".join(lines))
    return OK


# Training


def _learn(parameters, texts, held_out, output, quiet=False):
    """Learn from texts, save, and tell how it goes. Returns a LanguageModel and the exit status."""
    from .base import check_real

    check_real("held_out", held_out, 0, 1, low_open=False)
    language_model = _untrained(parameters | {"verbose": 0 if quiet else 1})
    model, vocabulary, say = language_model.model_, language_model.vocabulary_, _silence if quiet else _say
    kept = []
    mode = vocabulary._new_splitter().mode
    x, y = vocabulary.fit_transform(_hold_out(texts, held_out, mode, kept))
    say(vocabulary.report())
    if held_out and not kept:
        _remark("nothing is held out: the text has too few paragraphs or lines")
    if not quiet:
        _announce_compilation(model.cell)
    epochs = model.max_epochs
    model.set_params(vocab_size=len(vocabulary), max_epochs=0).fit(x, y)
    say(f"{_count_weights(model):,} weights to learn")
    measured = vocabulary.set_params(verbose=0).transform(kept) if kept else None
    _tell_loss(say, "before training", model, measured)
    status = _fit(model.set_params(max_epochs=epochs), x, y)
    model.set_params(verbose=0)
    if status == DIVERGED and model.n_epochs_ == 0:
        _remark("fastrnn: nothing was learned, so nothing is saved")
        return language_model, status
    language_model.save(output)
    say(f"Saved {output} after {_count(model.n_epochs_, 'epoch')} ({_count(model.optimizer_.updates, 'update')})")
    _tell_loss(say, "after training", model, measured)
    return language_model, status


def _untrained(parameters):
    """A LanguageModel whose two parts are there, with checked parameters, and have learned nothing yet."""
    from .estimator import FastRNN
    from .language_model import LanguageModel
    from .vocabulary import Vocabulary

    language_model = LanguageModel(**parameters)
    values = language_model.get_params()
    own = ("vocab_size", "level", "lowercase", "sentence_split")
    model = FastRNN(**{name: value for name, value in values.items() if name not in own})
    model._check_parameters()
    vocabulary = Vocabulary(*(values[name] for name in own), verbose=language_model.verbose)
    vocabulary._check_parameters()
    language_model.model_, language_model.vocabulary_ = model, vocabulary
    return language_model


def _fit(model, x, y):
    """Train; returns the exit status. KeyboardInterrupt if it was pressed before anything was learned."""
    from .errors import DivergenceError

    try:
        model.fit(x, y)  # after Ctrl-C it keeps what was learned, and returns
    except DivergenceError as error:
        return _fail(f"error: {_reason(error)}", DIVERGED)
    if model.n_epochs_ < model.max_epochs and model.optimizer_.updates == 0:
        raise KeyboardInterrupt
    return OK


def _hold_out(texts, share, mode, kept):
    """Yield the texts, cut where a sentence ends in any case; every 1/share-th piece goes into `kept` instead."""
    count = 0
    for text in texts:
        for piece in _pieces(text, mode) if share else [text]:
            if piece and not piece.isspace():
                count += 1
                if int(count * share) > int((count - 1) * share):
                    kept.append(piece)
                else:
                    yield piece


def _pieces(text, mode):
    """Paragraphs where sentences are found by Punkt; otherwise the sentences themselves."""
    if mode == "text":
        yield text
    elif mode == "line":
        yield from text.splitlines()
    else:
        cut, start = _BLANK_LINE if _BLANK_LINE.search(text) else _FULL_LINE, 0
        for match in cut.finditer(text):
            yield text[start : match.start()]
            start = match.end()
        yield text[start:]


def _tell_loss(say, when, model, measured):
    if measured is not None:
        x, y = measured
        loss, unknown = model.loss(x, y), (y.values == model.vocab_size_ - 1).mean()
        say(
            f"Held out, {when}: {loss:.3f} nats a token, perplexity {_perplexity(loss):.1f}"
            f" ({_count(len(x), 'sentence')}, {_count(y.values.size, 'token')}, {unknown:.1%} unknown)"
        )


# Scoring


def _sentences(vocabulary, texts, args):
    """Yield the sentences to score."""
    for sentence in args.text:
        if not sentence.strip():
            raise ValueError("--text: found an empty sentence")
        yield sentence
    if args.lines:
        yield from (line for text in texts for line in text.splitlines() if line.strip())
    else:
        splitter = vocabulary._splitter
        yield from (sentence for text in splitter.prepare(texts) for sentence in splitter.split(text))


def _scored(language_model, sentences, total):
    """Yield (-ln p, tokens, sentence) of every sentence; adds up the total on the way."""
    vocabulary = language_model.vocabulary_
    start, end, unknown = 0, 1, len(vocabulary) - 1
    sentences = iter(sentences)
    while block := list(islice(sentences, _SENTENCES_AT_ONCE)):
        indices = [vocabulary.encode(sentence) for sentence in block]
        x, y = [[start, *words] for words in indices], [[*words, end] for words in indices]
        nats = -language_model.model_.score_samples(x, y)
        total["sentences"] += len(block)
        total["tokens"] += sum(map(len, y))
        total["unknown"] += int(sum((words == unknown).sum() for words in indices))
        total["nats"] += float(nats.sum())
        yield from zip(nats.tolist(), map(len, y), block, strict=True)


# Input and output


def _read_inputs(args):
    """Texts of all inputs, read as they are asked for; missing files are told now."""
    from .text import read_texts

    return chain.from_iterable([read_texts(path, args.column, args.encoding) for path in args.input])


def _writable(output):
    """The path of a file that can be written: better known before the training than after it."""
    path = Path(output)
    if path.is_dir():
        raise ValueError(f"{path}: found a directory, expected a file to write")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such directory, {path.name} cannot be saved there")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise ValueError(f"{path.parent}: {path.name} cannot be saved there ({_reason(error)})") from None


def _announce_compilation(cell):
    """Say what takes so long, if this cell's kernels are not on disk yet."""
    from .cpu.jit import CACHE_FOLDER

    if CACHE_FOLDER is None or not any(CACHE_FOLDER.rglob(f"{cell}.*.nbi")):
        _remark("The first run compiles the kernels, for some 20 seconds; later ones find them on disk")


def _say(line):
    print(line, flush=True)


def _silence(line):
    pass


def _remark(line):
    print(line, file=sys.stderr, flush=True)


def _fail(message, status):
    _remark(f"fastrnn: {message}")
    return status


def _reason(error):
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _count(n, thing):
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def _count_weights(model):
    return sum(array.size for array in model.params_.values())


def _perplexity(loss):
    return math.exp(loss) if loss < 700 else math.inf


# Arguments. An option that stands for a parameter has its name and no default: the class has one.


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


def _parse(argv):
    """The parsed arguments; inputs may also follow options, which argparse does not see."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and ("input" not in args or any(word.startswith("-") and word != "-" for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.input = [*args.input, *rest]
    return args


def _parser():
    parser = _Parser(
        prog="fastrnn", description="Recurrent language models: train one on your text, let it write and score.",
        epilog="Begin with: fastrnn demo", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"fastrnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_train(commands)
    _add_generate(commands)
    _add_score(commands)
    _add_info(commands)
    return parser


def _add_command(commands, name, run, summary, example):
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"Example: {example}",
        argument_default=argparse.SUPPRESS, allow_abbrev=False,
    )  # fmt: skip
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands):
    parser = _add_command(
        commands, "demo", _demo, "learn Python's own manual in about a minute and make up sentences like it",
        "fastrnn demo",
    )  # fmt: skip
    parser.defaults = lambda: _parameters_told() | {"max_epochs": (_DEMO["max_epochs"], ())}
    parser.add_argument("-o", "--output", default="demo.npz", metavar="FILE", help="model file (default: demo.npz)")
    _add_parameters(parser, ("cell", "max_epochs", "n_threads"))
    parser.add_argument("--seed", dest="random_state", type=int, default=0, metavar="N", help="(default: 0)")


def _add_train(commands):
    parser = _add_command(
        commands, "train", _train, "train a language model on text and save it",
        "fastrnn train comments.csv --column body --output comments.npz --epochs 20",
    )  # fmt: skip
    parser.defaults = _parameters_told
    _add_input(parser, "+")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to save the model")
    parser.add_argument(
        "--held-out", type=float, default=0.05, metavar="SHARE",
        help="share of the text kept for measuring: every 20th paragraph for 0.05, the default; 0 for none",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", default=False, help="show errors and warnings only")
    _add_parameters(parser, _PARAMETERS)


def _add_generate(commands):
    parser = _add_command(
        commands, "generate", _generate, "write sentences, one a line",
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
    add("--seed", dest="random_state", type=int, metavar="N", help="same seed, same sentences")
    add("--log-probs", action="store_true", default=False, help="first the sentence's ln p in nats, and a tab")


def _add_score(commands):
    parser = _add_command(
        commands, "score", _score, "tell how probable sentences are: nats, tokens, perplexity; and the total",
        'fastrnn score demo.npz --text "It is an int." --text "It an is int." --sort',
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="file that was saved by train or demo")
    _add_input(parser, "*")
    add = parser.add_argument
    add("--text", action="append", default=[], metavar="SENTENCE", help="a sentence to score; may be repeated")
    add("--lines", action="store_true", default=False, help="every line of the input is one sentence")
    add("--sort", action="store_true", default=False, help="the most probable first")


def _add_info(commands):
    parser = _add_command(
        commands, "info", _info, "show a model's parameters, vocabulary, weights and last loss", "fastrnn info demo.npz"
    )
    parser.add_argument("model", metavar="MODEL", help="file that was saved by train or demo")


def _add_input(parser, nargs):
    parser.add_argument(
        "input",
        nargs=nargs,
        default=[],
        metavar="INPUT",
        help="text or CSV files, .gz too, directories, - for standard input",
    )
    parser.add_argument("--column", default=None, metavar="NAME", help="column of the CSV files that has the text")
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help="of the files (default: utf-8)")


def number_or_none(text):
    """A number; None, which is no clipping, for 0 and none."""
    return None if text.lower() == "none" else float(text) or None


# Parameter of LanguageModel: option, type ("off" if it switches off), help.
_PARAMETERS = {
    "cell": ("--cell", str, "recurrent cell"),
    "hidden_dim": ("--hidden-dim", int, "units of the recurrent layer"),
    "max_epochs": ("--epochs", int, "passes over the text"),
    "batch_size": ("--batch-size", int, "sentences between two updates"),
    "optimizer": ("--optimizer", str, "rule of the updates"),
    "learning_rate": ("--learning-rate", float, "step of the updates (default: the optimizer's)"),
    "momentum": ("--momentum", float, "of sgd"),
    "clip_norm": ("--clip-norm", number_or_none, "longest gradient; 0 or none switches it off"),
    "bptt_truncate": ("--bptt-truncate", int, "steps that an error goes back (default: all)"),
    "lr_schedule": ("--lr-schedule", str, "how the learning rate goes on"),
    "evaluate_every": ("--evaluate-every", int, "epochs between the schedule's looks at the loss"),
    "bias": ("--no-bias", "off", "without biases, as the tutorial has it"),
    "dtype": ("--dtype", str, "of the weights"),
    "n_threads": ("--threads", int, "(default: all cores)"),
    "random_state": ("--seed", int, "same seed, machine and threads: same model"),
    "level": ("--level", str, "what a token is"),
    "sentence_split": ("--sentence-split", str, "where sentences end (default: punkt for words, or else line)"),
    "lowercase": ("--no-lowercase", "off", "keep capital letters"),
    "vocab_size": ("--vocab-size", int, "most tokens to know; all others are one UNKNOWN_TOKEN"),
}


def _add_parameters(parser, names):
    for name in names:
        option, kind, text = _PARAMETERS[name]
        if kind == "off":
            parser.add_argument(option, dest=name, action="store_false", default=argparse.SUPPRESS, help=text)
        else:
            metavar = {int: "N", str: "NAME"}.get(kind, "X")
            parser.add_argument(option, dest=name, type=kind, metavar=metavar, help=text)


def _parameters_told():
    from .cells import CELLS
    from .estimator import DTYPES
    from .language_model import LanguageModel
    from .text import LEVELS, SENTENCE_SPLITS
    from .training import OPTIMIZERS, SCHEDULES

    choices = {
        "cell": CELLS, "optimizer": OPTIMIZERS, "lr_schedule": SCHEDULES, "dtype": DTYPES, "level": LEVELS,
        "sentence_split": SENTENCE_SPLITS,
    }  # fmt: skip
    return {name: (value, choices.get(name, ())) for name, value in LanguageModel().get_params().items()}


def _generation_told():
    from .language_model import LanguageModel

    parameters = inspect.signature(LanguageModel.generate).parameters.values()
    return {p.name: (p.default or None, ()) for p in parameters if p.name not in ("n", "exclude", "self")}


def _given(args, names):
    return {name: value for name, value in vars(args).items() if name in names}


def _given_parameters(args):
    from .language_model import LanguageModel

    return _given(args, LanguageModel().get_params())

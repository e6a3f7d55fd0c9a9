"""The command `fastrnn`: train, generate, score and translate without a line of Python.

Results go to standard output, progress and log lines to standard error. Modules that take a while to import
are imported inside the functions, so that usage errors come at once.
"""

import inspect
import logging
import os
import sys
import time
from functools import partial
from itertools import chain, islice

from ..errors import DeviceError
from ..text.special_tokens import END, START
from ..training.interruption import Terminated
from ..validation import shown
from .arguments import parse
from .console import (
    EXIT_SIGPIPE,
    INTERRUPTED,
    OK,
    TERMINATED,
    best,
    check_writable,
    count,
    count_weights,
    fail,
    format_error,
    is_closed_pipe,
    log_line,
    perplexity,
    print_result,
)
from .output_paths import refuse_overwriting
from .parameter_options import given
from .parser import ERROR, in_options
from .streams import encoded_output
from .train import demo, train
from .translate import translate, translate_train

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
        Exit status: 0; 1 if training diverged; 2 after an error, in one line on standard error; 130
        after Ctrl-C, 141 if the reader of standard output has gone, and 143 after SIGTERM.
    """
    logger, handler = logging.getLogger("fastrnn"), _LogHandler()
    logger.addHandler(handler)
    try:
        with encoded_output():
            return _status(argv, handler)
    finally:
        logger.removeHandler(handler)


def _status(argv, handler):
    try:
        args = parse(argv, _COMMANDS)
        handler.parser = args.parser
        with _compilation_announced(args):
            status = args.run(args)
        sys.stdout.flush()
        return status
    except Terminated:
        return fail("terminated", TERMINATED)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except (ValueError, TypeError, OSError, MemoryError, ImportError, DeviceError) as error:
        if isinstance(error, OSError) and is_closed_pipe(error):
            # `fastrnn ... | head`: nothing more to write to, not even at Python's exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_SIGPIPE
        return fail(f"error: {handler.in_options(format_error(error))}", ERROR)


class _LogHandler(logging.Handler):
    """Log lines as `log_line` prints them."""

    parser = None  # of the command, as soon as that is known

    def emit(self, record):
        log_line(f"fastrnn: {self.in_options(self.format(record))}")

    def in_options(self, line):
        return in_options(line, self.parser) if self.parser else line


# The commands. Each takes the parsed arguments and returns the exit status.


def _generate(args):
    from ..estimators.language_model import LanguageModel
    from ..estimators.load import load
    from ..text.special_tokens import UNKNOWN_TOKEN

    language_model = load(args.model, "LanguageModel", device=args.device)
    options = given(args, inspect.signature(LanguageModel.generate).parameters)
    options["exclude"] = [*args.exclude, *([] if args.allow_unknown else [UNKNOWN_TOKEN])]
    sentences, log_probs = language_model.generate(**options, return_log_probs=True)
    for sentence, log_p in zip(sentences, log_probs, strict=True):
        print(f"{log_p.sum():.4f}\t{sentence}" if args.log_probs else sentence)
    return OK


def _score(args):
    from ..estimators.load import load
    from ..text.files import read_inputs

    if not args.input and not args.text:
        raise ValueError("found nothing to score, expected an INPUT or --text SENTENCE")
    language_model = load(args.model, "LanguageModel", device=args.device)
    texts = read_inputs(args.input, args.column, args.encoding, args.delimiter)
    total = {"sentences": 0, "tokens": 0, "unknown": 0, "nats": 0.0}
    rows = _scored(language_model, _sentences(language_model.vocabulary_, texts, args), total)
    rows = iter(sorted(rows, key=lambda row: row[0]) if args.sort else rows)
    first = next(rows)  # an error comes before the table's head
    print("nats\ttokens\tperplexity\tsentence")
    for nats, tokens, sentence in chain([first], rows):
        print(f"{nats:.4f}\t{tokens}\t{perplexity(nats / tokens):.2f}\t{' '.join(sentence.split())}")
    loss = total["nats"] / total["tokens"]
    print(f"# {count(total['sentences'], 'sentence')}, {count(total['tokens'], 'token')}, {total['unknown']} unknown")
    print(f"# {loss:.4f} nats per token, perplexity {perplexity(loss):.2f}")
    return OK


def _info(args):
    from ..estimators.load import load
    from ..storage import VERSION

    whole = load(args.model)
    model, kind = getattr(whole, "model_", whole), type(whole).__name__
    weights = [f"{name} {array.shape} {array.dtype}" for name, array in model.params_.items()]
    facts = {
        "file": [f"{args.model}, format version {VERSION}"],
        "kind": [kind if whole is not model else f"{kind}, of indices: without a vocabulary"],
        "parameters": _parameters(whole, args.all),
    }
    for name in ("vocabulary", "source_vocabulary", "target_vocabulary"):
        if vocabulary := getattr(whole, f"{name}_", None):
            side = name.removesuffix("_vocabulary")
            facts[side] = [f"level {vocabulary.level}", *vocabulary.report().splitlines()]
    facts |= {"weights": [*weights, f"{count_weights(model):,} in all"], "epochs": [f"{model.n_epochs_}"]}
    if model.loss_curve_:
        loss = model.loss_curve_[-1]
        facts["last loss"] = [f"{loss:.4f} nats per token in training, perplexity {perplexity(loss):.2f}"]
    if model.validation_losses_:
        loss = model.validation_losses_[(model.history_.best_epoch or 0) - 1]
        facts["validation"] = [f"{loss:.4f} nats per token, perplexity {perplexity(loss):.2f}{best(model)}"]
    for name, lines in facts.items():
        print(f"{name:<12}" + f"\n{'':12}".join(lines))
    return OK


def _parameters(model, all_of_them):
    """Lines of a model's parameters: those that differ from the defaults, and after them the others if asked for."""
    parameters, changed = model.get_params(), model.changed_params()
    rest = {name: value for name, value in parameters.items() if name not in changed}
    listed = changed | rest if all_of_them else changed
    lines = [f"{name}={shown(value) if name == 'tokens' else repr(value)}" for name, value in listed.items()]
    return lines if all_of_them else [*lines, f"and {len(rest)} defaults, which --all lists"]


def _plot(args):
    from .plot import checked_ending, draw

    output = None if args.output_file is None else check_writable(checked_ending(args.output_file))
    if output is not None:
        models = args.input if args.picture == "losses" else [args.model]
        refuse_overwriting("--output", output, [("a model to read", path) for path in models])
    for line in draw(args, output):
        print(line)
    if output is not None:
        print(f"Saved {output}")
    return OK


def _warmup(args):
    from ..estimators.warmup import warmup
    from ..kernels.compiler.cache_folder import FOLDER, PROBLEM

    start = time.perf_counter()
    names = {name: value for name, value in (("cells", args.cell), ("dtypes", args.dtype)) if value}
    done = warmup(**names, device=args.device, matmul_precision=args.matmul_precision, verbose=1)
    for step in done:
        how = "compiled" if step.compiled else "ready"
        print_result(f"{step.cell:<5} {step.dtype}  {step.task:<11}{step.seconds:6.1f} s  {how}")
    compiled = sum(step.compiled for step in done)
    print_result(f"{compiled} of {len(done)} compiled, {time.perf_counter() - start:.1f} s in all")
    kept = FOLDER is not None and PROBLEM is None
    print_result(f"Kept in {FOLDER}" if kept else f"Not kept: {PROBLEM or 'NUMBA_DISABLE_JIT is set'}")
    return OK


# Scoring


def _sentences(vocabulary, texts, args):
    """Yield the sentences to score."""
    for sentence in args.text:
        if not sentence.strip():
            raise ValueError("--text: found an empty sentence")
        yield sentence
    if args.lines:
        yield from (line for text in texts for line in text.split("\n") if line.strip())
    else:
        yield from vocabulary.sentences(texts)


def _scored(language_model, sentences, total):
    """Yield (-ln p, tokens, sentence) of every sentence; adds up the total on the way."""
    vocabulary = language_model.vocabulary_
    unknown = len(vocabulary) - 1
    sentences = iter(sentences)
    while block := list(islice(sentences, _SENTENCES_AT_ONCE)):
        indices = [vocabulary.encode(sentence) for sentence in block]
        x, y = [[START, *words] for words in indices], [[*words, END] for words in indices]
        nats = -language_model.model_.score_samples(x, y)
        total["sentences"] += len(block)
        total["tokens"] += sum(map(len, y))
        total["unknown"] += int(sum((words == unknown).sum() for words in indices))
        total["nats"] += float(nats.sum())
        yield from zip(nats.tolist(), map(len, y), block, strict=True)


def _compilation_announced(args):
    """A context that says what takes so long, should a kernel not be on disk yet."""
    from ..kernels.compiler.cache_folder import PROBLEM
    from ..kernels.compiler.jit import compilations

    later = "" if PROBLEM else "; later runs find them on disk"
    words = f"Compiling the kernels, for some ten seconds{later}"
    return compilations(None if args.run is _warmup or getattr(args, "quiet", False) else partial(log_line, words))


_COMMANDS = {
    "demo": demo, "train": train, "generate": _generate, "score": _score, "translate-train": translate_train,
    "translate": translate, "info": _info, "plot": _plot, "warmup": _warmup,
}  # fmt: skip

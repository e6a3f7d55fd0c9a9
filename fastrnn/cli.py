"""The command `fastrnn`: train, generate and score without a line of Python.

Results go to standard output, progress and remarks to standard error. Modules that take a while to import
are imported inside the functions, so that usage errors come at once.
"""

import inspect
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from itertools import chain, islice
from pathlib import Path

from .arguments import DEMO, ERROR, given, given_parameters, parse

# Exit statuses besides ERROR; the last two as shells have them, 128 and the signal.
OK, DIVERGED, INTERRUPTED, CUT_OFF = 0, 1, 130, 141

_DEMO_STYLE = {"temperature": 0.6, "top_p": 0.95, "min_length": 8, "max_length": 40}
_DEMO_HELD_OUT = 0.05

_SENTENCES_AT_ONCE = 256
# What makes a FastRNN one whose weights are those before training.
_UNTRAINED = {"max_epochs": 0, "checkpoint": None, "early_stopping": False, "validation_fraction": None}


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
        args = parse(argv, _COMMANDS)
        with _compilation_announced(args):
            status = args.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `fastrnn ... | head`: nothing more to write to, not even at Python's exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        return _fail(f"error: {_reason(error)}", ERROR)
    finally:
        logger.removeHandler(remarks)


# The commands. Each takes the parsed arguments and returns the exit status.


def _demo(args):
    from .corpora import python_manual

    output = _writable(args.output)
    _remark("A language model of Python's own manual: about a minute on two cores")
    language_model, status = _learn(DEMO | given_parameters(args), python_manual(), _DEMO_HELD_OUT, output)
    if status != OK:
        return status
    print("\nSentences that it makes up:\n")
    for sentence in language_model.generate(8, random_state=args.random_state, **_DEMO_STYLE):
        print(f"  {sentence}")
    command = _command()
    print(
        f"""
Try next:
  {command} generate {output} --prompt "the statement"
  {command} score {output} --text "The value is an integer." --text "Integer an is value the."
  {command} info {output}
  {command} train your_text.txt --output your_model.npz"""
    )
    return OK


def _train(args):
    from .storage import read

    output, parameters = _writable(args.output), given_parameters(args)
    if parameters.get("checkpoint") is not None:
        _writable(parameters["checkpoint"])
    if args.resume is not None:
        read(args.resume, "FastRNN checkpoint")  # whether it is one at all is better known before the texts are read
    _, status = _learn(parameters, _read_inputs(args), args.held_out, output, args.quiet, args.resume)
    if status == OK and not args.quiet:
        print(f"Let it write: {_command()} generate {output}")
    return status


def _generate(args):
    from .language_model import LanguageModel
    from .vocabulary import UNKNOWN_TOKEN

    language_model = LanguageModel.load(args.model)
    options = given(args, inspect.signature(LanguageModel.generate).parameters)
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
    if model.validation_losses_:
        loss = model.validation_losses_[(model.history_.best_epoch or 0) - 1]
        facts["validation"] = [f"{loss:.4f} nats a token, perplexity {_perplexity(loss):.2f}{_best(model)}"]
    for name, lines in facts.items():
        print(f"{name:<12}" + f"\n{'':12}".join(lines))
    return OK


def _plot(args):
    from .pictures import checked_ending, draw

    output = None if args.output is None else _writable(checked_ending(args.output))
    for line in draw(args, output):
        print(line)
    if output is not None:
        print(f"Saved {output}")
    return OK


def _warmup(args):
    from .compilation import warmup
    from .cpu.jit import CACHE_FOLDER

    start, done = time.perf_counter(), []
    names = {name: value for name, value in (("cells", args.cell), ("dtypes", args.dtype)) if value}
    for step in warmup(**names):
        done.append(step)
        how = "compiled" if step.compiled else "ready"
        _say(f"{step.cell:<5} {step.dtype}  {step.task:<11}{step.seconds:6.1f} s  {how}")
    compiled = sum(step.compiled for step in done)
    _say(f"{compiled} of {len(done)} compiled, {time.perf_counter() - start:.1f} s in all")
    _say(f"Kept in {CACHE_FOLDER}" if CACHE_FOLDER else "No folder can be written: every process will compile anew")
    return OK


# Training


def _learn(parameters, texts, held_out, output, quiet=False, resume=None):
    """Learn from texts, save, and tell how it goes. Returns a LanguageModel and the exit status."""
    from .base import check_real
    from .text import hold_out

    check_real("held_out", held_out, 0, 1, low_open=False)
    from .estimator import FastRNN
    from .language_model import LanguageModel

    language_model, say = LanguageModel(**parameters, verbose=int(not quiet)), _silence if quiet else _say
    vocabulary, model = language_model.vocabulary_, language_model.model_ = language_model.new_parts()
    kept = []
    x, y = vocabulary.fit_transform(hold_out(texts, held_out, vocabulary.split_mode, kept))
    say(vocabulary.report())
    if held_out and not kept:
        _remark("nothing is held out: the text has too few paragraphs or lines")
    model.set_params(vocab_size=len(vocabulary))
    untrained = FastRNN(**model.get_params() | _UNTRAINED).fit(x, y)
    say(f"{_count_weights(untrained):,} weights to learn")
    measured = vocabulary.set_params(verbose=0).transform(kept) if kept else None
    if resume is None:
        _tell_loss(say, "before training", untrained, measured)
    status = _fit(model, x, y, measured, resume)
    model.set_params(verbose=0)
    if status == DIVERGED and model.n_epochs_ == 0:
        _remark("fastrnn: nothing was learned, so nothing is saved")
        return language_model, status
    language_model.save(output)
    say(f"Saved {output} after {_count(model.n_epochs_, 'epoch')} ({_count(model.n_updates_, 'update')}){_best(model)}")
    _tell_loss(say, "after training", model, measured)
    return language_model, status


def _fit(model, x, y, measured, resume):
    """Train; returns the exit status. KeyboardInterrupt if it was pressed before anything was learned."""
    from .errors import DivergenceError

    asked = model.validation_fraction is None and (model.early_stopping or model.lr_schedule == "plateau")
    try:
        # after Ctrl-C it keeps what was learned, and returns
        model.fit(x, y, validation_data=measured if asked else None, resume=resume)
    except DivergenceError as error:
        return _fail(f"error: {_reason(error)}", DIVERGED)
    if model.n_epochs_ < model.max_epochs and model.n_updates_ == 0:
        raise KeyboardInterrupt
    return OK


def _best(model):
    epoch = model.history_.best_epoch
    return "" if epoch in (None, model.n_epochs_) else f", as it was after {_count(epoch, 'epoch')}"


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
        yield from vocabulary.sentences(texts)


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
    from .files import read_texts

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


def _compilation_announced(args):
    """A context that says what takes so long, should a kernel not be on disk yet."""
    from .cpu.jit import compilations

    remark = "Compiling the kernels, for some ten seconds; later runs find them on disk"
    return compilations(None if args.run is _warmup or getattr(args, "quiet", False) else partial(_remark, remark))


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


def _command():
    """What this process was called as: `fastrnn`, a path to it, or `python -m fastrnn`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{Path(sys.executable).name} -m fastrnn"
    return "fastrnn" if called.stem != "fastrnn" or shutil.which("fastrnn") == str(called.resolve()) else str(called)


def _count(n, thing):
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def _count_weights(model):
    return sum(array.size for array in model.params_.values())


def _perplexity(loss):
    return math.exp(loss) if loss < 700 else math.inf


_COMMANDS = {
    "demo": _demo, "train": _train, "generate": _generate, "score": _score, "info": _info, "plot": _plot,
    "warmup": _warmup,
}  # fmt: skip

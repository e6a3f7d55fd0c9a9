"""The commands `demo` and `train`, and what all training commands do: learn, save, report how it goes."""

import signal
from typing import Any, NamedTuple

from ..training.interruption import HeldInterrupts, sigterm_interrupts
from .arguments import DEMO
from .console import (
    DIVERGED,
    OK,
    best,
    check_writable,
    count,
    count_weights,
    fail,
    format_error,
    log_line,
    perplexity,
    print_nothing,
    print_result,
    program_name,
)  # fmt: skip
from .output_paths import log_replaced, refuse_overwriting
from .parameter_options import given_parameters

_DEMO_STYLE = {"temperature": 0.6, "top_p": 0.95, "min_length": 8, "max_length": 40}
_DEMO_HELD_OUT = 0.05

_IN_VOCABULARY_FILES = ("level", "lowercase", "sentence_split", "special_tokens", "unknown_word")

# What makes a model one whose weights are those before training.
_UNTRAINED = {"max_epochs": 0, "checkpoint": None, "early_stopping": False, "validation_fraction": None}


class HeldOut(NamedTuple):
    """What was held out: `data` as the model's `loss` takes them, and how much it is, in words."""

    data: tuple[Any, Any]
    described: str


@sigterm_interrupts()
def demo(args):
    from ..text.corpora import python_manual

    output = check_writable(args.output_file)
    log_replaced(output)
    log_line("A language model of Python's own manual: about a minute on two cores")
    language_model, status = _learn_texts(DEMO | given_parameters(args), python_manual(), _DEMO_HELD_OUT, output)
    if status != OK:
        return status
    print("\nSentences that it makes up:\n")
    for sentence in language_model.generate(8, random_state=args.random_state, **_DEMO_STYLE):
        print(f"  {sentence}")
    command = program_name()
    print(
        f"""
Try next:
  {command} generate {output} --prompt "the statement"
  {command} score {output} --text "The value is an integer." --text "Integer an is value the."
  {command} info {output}
  {command} train your_text.txt --output your_model.npz"""
    )
    return OK


@sigterm_interrupts()
def train(args):
    from ..text.files import read_inputs

    output, parameters = checked_output(args, "FastRNN checkpoint"), _with_vocabulary(training_parameters(args))
    texts = read_inputs(args.input, args.column, args.encoding, args.delimiter)
    _, status = _learn_texts(parameters, texts, args.held_out, output, args.quiet, args.resume)
    if status == OK and not args.quiet:
        print(f"Let it write: {program_name()} generate {output}")
    return status


def checked_output(args, checkpoint):
    """Where a training command saves the model.

    What is wrong with that, with the checkpoint's file, or with the one to resume from, which must be of the kind
    `checkpoint`, is better known before the texts are read. Model and checkpoint must be files of their own, though a
    run may keep the checkpoint up to date that it resumes.
    """
    from ..storage import read
    from ..validation import check_real

    check_real("held_out", args.held_out, 0, 1, low_open=False)
    others = (getattr(args, name, None) for name in ("source", "target", "tokens"))
    inputs = [("an input", path) for path in (*args.input, *others)]
    output, to_update = check_writable(args.output_file), getattr(args, "checkpoint", None)
    if to_update is not None:
        check_writable(to_update)
        refuse_overwriting("--checkpoint", to_update, inputs)
    refuse_overwriting(
        "--output", output, [*inputs, ("the file of --checkpoint", to_update), ("the file of --resume", args.resume)]
    )
    if args.resume is not None:
        read(args.resume, checkpoint)
    if not args.quiet:
        log_replaced(output)
        if to_update is not None and args.resume is None:
            log_replaced(to_update)
    return output


def training_parameters(args):
    """The parameters that were asked for. Where nothing is to be held out, early stopping must be asked for, too."""
    parameters = given_parameters(args)
    if args.held_out == 0 and "validation_fraction" not in parameters:
        return {"early_stopping": False} | parameters
    return parameters


def _with_vocabulary(parameters):
    """The parameters with the tokens of the file of --vocabulary, and what else it says, unless that was asked for."""
    from ..text.vocabulary import Vocabulary

    if "tokens" not in parameters:
        return parameters
    vocabulary = Vocabulary.load(parameters["tokens"])
    stored = {name: value for name, value in vocabulary.changed_params().items() if name in _IN_VOCABULARY_FILES}
    return stored | parameters | {"tokens": vocabulary.tokens_}


def learn(whole, data, held_out, output, report, resume=None):
    """Train `whole.model_`, save `whole`, and report how it goes.

    Parameters
    ----------
    whole : LanguageModel or Translator
        With its vocabularies, fitted, and its model, not fitted.
    data : pair of Ragged
        What the model's `fit` takes.
    held_out : HeldOut or None
    output : path
    report : callable
        Prints a line, or nothing.
    resume : str, optional
        Checkpoint to resume from.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C or SIGTERM came before anything was learned, or, after which the model is saved, SIGTERM in training,
        or either of them while it was saved.
    """
    from ..estimators.fitting import held_out_fraction

    model = whole.model_
    untrained = type(model)(**model.get_params() | _UNTRAINED).fit(*data)
    report(f"{count_weights(untrained):,} weights to learn")
    validation = _validation(model, held_out)
    if model.early_stopping and (validation is not None or held_out_fraction(model, len(data[0]))):
        report("Early stopping: the weights kept are those of the best epoch on held-out text")
    if resume is None:
        _print_loss(report, "before training", untrained, held_out)
    with HeldInterrupts() as interrupts:  # none comes between the training and the saved model
        status = _fit(model, data, validation, resume)
        n_in_training = len(interrupts.received)
        if status == OK and model.n_epochs_ < model.max_epochs and model.n_updates_ == 0:
            interrupts.raise_received()
        model.set_params(verbose=0)
        if status == DIVERGED and model.n_epochs_ == 0:
            log_line("fastrnn: nothing was learned, so nothing is saved")
            return status
        whole.save(output)
        report(
            f"Saved {output} after {count(model.n_epochs_, 'epoch')} ({count(model.n_updates_, 'update')}){best(model)}"
        )
    if signal.SIGTERM in interrupts.received or len(interrupts.received) > n_in_training:
        interrupts.raise_received()
    _print_loss(report, "after training", model, held_out)
    return status


def _learn_texts(parameters, texts, share, output, quiet=False, resume=None):
    """Learn from texts, but for a share held out. Returns a LanguageModel and the exit status."""
    from ..estimators.language_model import LanguageModel
    from ..text.hold_out import HoldOut

    language_model = LanguageModel(**parameters, verbose=int(not quiet))
    report = print_nothing if quiet else print_result
    vocabulary, model = language_model.vocabulary_, language_model.model_ = language_model._build()
    hold_out = HoldOut(share, vocabulary.new_splitter())
    data, kept = vocabulary.fit_transform(hold_out.rest(texts)), hold_out.kept
    report(vocabulary.report())
    if share and not kept:
        log_line(hold_out.shortage())
    model.set_params(vocab_size=len(vocabulary))
    held_out = None
    if kept:
        x, y = vocabulary.set_params(verbose=0).transform(kept)
        unknown = (y.values == len(vocabulary) - 1).mean()
        words = f"{count(len(x), 'sentence')}, {count(y.values.size, 'token')}, {unknown:.1%} unknown"
        held_out = HeldOut((x, y), words)
    return language_model, learn(language_model, data, held_out, output, report, resume)


def _validation(model, held_out):
    """What `fit` is to measure after every epoch: what is held out, where that is of use; None for nothing."""
    used = model.validation_fraction is None and (model.early_stopping or model.lr_schedule == "plateau")
    return held_out.data if used and held_out else None


def _fit(model, data, validation, resume):
    """Train; returns the exit status."""
    from ..errors import DivergenceError

    try:
        # after Ctrl-C it keeps what was learned, and returns
        model.fit(*data, validation_data=validation, resume=resume)
    except DivergenceError as error:
        return fail(f"error: {format_error(error)}", DIVERGED)
    except KeyboardInterrupt:  # a second Ctrl-C, while it was about to return
        if not hasattr(model, "network_"):
            raise
    return OK


def _print_loss(report, when, model, held_out):
    if held_out is not None:
        loss = model.loss(*held_out.data)
        measured = f"{loss:.3f} nats per token, perplexity {perplexity(loss):.1f}"
        report(f"Held out, {when}: {measured} ({held_out.described})")

"""Constructors' parameters: signature, description and docstring agree."""

import inspect
import re

import pytest

from fastrnn import FastRNN, LanguageModel, Seq2Seq, Translator
from fastrnn.estimators import parameters
from fastrnn.validation import choices_of

TABLES = {
    FastRNN: parameters.FAST_RNN, Seq2Seq: parameters.SEQ2SEQ, LanguageModel: parameters.LANGUAGE_MODEL,
    Translator: parameters.TRANSLATOR,
}  # fmt: skip
ESTIMATORS = pytest.mark.parametrize("estimator", TABLES)


def documented(estimator):
    """{name: what its docstring says that it is}, in order."""
    section = re.search(r"\nParameters\n-+\n(.*?)\n\n\w+\n-+\n", inspect.getdoc(estimator), re.S)[1]
    found = {}
    for line in re.findall(r"^[*\w].*", section, re.M):
        names, _, kind = line.partition(" : ")
        found |= dict.fromkeys(names.split(", "), kind)
    return found


def takes(estimator, name, value):
    try:
        estimator._checks[name](name, value)
    except (TypeError, ValueError):
        return False
    return True


@ESTIMATORS
def test_every_parameter_is_described_and_documented(estimator):
    assert estimator._parameter_defaults().keys() == TABLES[estimator].keys()
    signature = [p.name for p in list(inspect.signature(estimator).parameters.values())]
    assert {name.lstrip("*") for name in documented(estimator)} == {*signature}
    further = "parameters" in signature
    assert further == (estimator._further is not None)
    if further:
        doc = " ".join(inspect.getdoc(estimator).split())
        assert f"All further parameters of `{estimator._further.__name__}`" in doc


@ESTIMATORS
def test_docstrings_say_what_is_taken(estimator):
    for name, kind in documented(estimator).items():
        if not kind:  # described together, elsewhere
            continue
        choices = set(choices_of(TABLES[estimator][name].check))
        if named := re.search(r"\{(.*?)\}", kind):
            assert choices == {choice.strip(' "') for choice in named[1].split(",")}, name
        optional = bool(re.search(r"\boptional\b|\bNone\b", kind))
        if name != "random_state":  # which numpydoc's own type names
            assert optional == takes(estimator, name, None), name


@ESTIMATORS
def test_what_has_an_option_has_help(estimator):
    for name, parameter in TABLES[estimator].items():
        assert parameter.help is None or (parameter.help and "\n" not in parameter.help), name
        assert parameter.group


def test_choices():
    check = parameters.TRANSLATOR["language"].check
    assert "german" in choices_of(check) and check("language", ["german", "english"]) == ("german", "english")
    assert choices_of(parameters.FAST_RNN["cell"].check) == parameters.cells()
    assert choices_of(parameters.FAST_RNN["hidden_dim"].check) == ()

"""Every argument of every public class, method and function: what it does not take is an error that names it.

The callables are found by introspection, so a new one is tested as soon as it exists; what it takes is then
to be said in `GOOD`.
"""

import inspect
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st

import fastrnn
from fastrnn import Ensemble, FastRNN, LanguageModel, Ragged, Seq2Seq, Translator, Vocabulary
from fastrnn.base import Estimator
from fastrnn.plotting import plots

pytest.importorskip("matplotlib").use("Agg")
PAIRS = [[2, 3], [3]]
TEXTS = ["ab ba.", "abba"]

# What the arguments take that have no default, by the class (or "" for functions and all classes) and name.
GOOD = {
    ("", "x"): PAIRS, ("", "y"): PAIRS, ("", "source"): PAIRS, ("", "target"): PAIRS, ("", "texts"): TEXTS,
    ("", "source_texts"): TEXTS, ("", "target_texts"): TEXTS, ("", "path"): "file.npz", ("", "vocab_size"): 9,
    ("Ragged", "values"): [0, 1], ("Ragged", "offsets"): [0, 2], ("Ragged", "sequences"): PAIRS,
    ("Vocabulary", "sentence"): "abba", ("Vocabulary", "text"): "abba", ("Vocabulary", "indices"): [2],
    ("Vocabulary", "indices_or_tokens"): [2], ("Vocabulary", "tokens"): ["a", "b"],
    ("Seq2Seq", "candidates"): [PAIRS, PAIRS], ("Seq2Seq", "references"): PAIRS,
    ("Ensemble", "candidates"): [PAIRS, PAIRS], ("Ensemble", "references"): PAIRS,
    ("Translator", "candidates"): [TEXTS, TEXTS], ("Translator", "references"): TEXTS,
    ("", "text"): "ab",
}  # fmt: skip
# Arguments that are ignored, and those of which everything is taken.
IGNORED = {"LanguageModel.score: y"}  # and get_params' `deep`: scikit-learn passes both
# Names of files may be fine and the file not there, or a folder.
PATHS = {"path", "checkpoint", "resume"}


class Opaque:
    """Nothing that any argument takes, and whose repr fails."""

    def __repr__(self):
        raise RuntimeError("no repr")


class Faulty:
    """Promises to be anything, and keeps nothing."""

    def __index__(self):
        raise TypeError("no index")

    def __float__(self):
        raise OverflowError("no float")

    def __iter__(self):
        raise TypeError("no iteration")


def bad_values():
    """Values that most arguments do not take. Ints are tiny or beyond all bounds: nothing here is merely large."""
    return [
        None, True, np.True_, -1, 0, 1, 2, 2**31, 2**63, 2**64, 10**400, -(10**5000), 0.5, -0.5, float("nan"),
        float("inf"), 1e308, Fraction(1, 3), Fraction(10**400), Decimal("sNaN"), 1j, "x", "", "a\0b", "\ud800", b"x",
        object(), int, Opaque(), Faulty(), [], [[]], [None], [[None]], [[[2]]], [-1], [[-1], [2]], [2**40],
        [[2**40], [2]], [10**400], [[10**400], [2]], [[0.5], [2]], ["x"], [["x"], ["y"]], [[2], [2, 3]], [2], {},
        {"a": 1}, {2}, range(2, 4), iter([[2], [3]]), NotImplemented, np.int8(1), np.array(1), np.array(np.nan),
        np.array([np.nan]), np.full((1, 2, 2), np.nan), np.array([None]), np.zeros((2, 2)), np.datetime64("2020"),
        (1, 2), ((), ()), [b"a", b"b"], lambda: None,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """{name of a class: a function that returns an object to call methods of}; files lie in the working directory."""
    folder = tmp_path_factory.mktemp("arguments")
    shared = {"hidden_dim": 2, "max_epochs": 0, "n_threads": 1, "random_state": 0}
    ragged, vocabulary = Ragged.from_sequences(PAIRS), Vocabulary(level="char").fit(TEXTS)
    estimators = [
        FastRNN(**shared | {"max_epochs": 1}).fit(PAIRS, PAIRS), LanguageModel(level="char", **shared).fit(TEXTS),
        Seq2Seq("gru", **shared).fit(PAIRS, PAIRS), Translator(level="char", cell="gru", **shared).fit(TEXTS, TEXTS),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for estimator in (vocabulary, *estimators):
            estimator.save(f"{type(estimator).__name__}.npz")
        objects = {type(thing).__name__: thing for thing in (ragged, vocabulary, *estimators)}
        objects["Ensemble"] = Ensemble([objects["Seq2Seq"]])
        yield objects


def subjects():
    """Every public callable: its name, and class (None for functions)."""
    for name in fastrnn.__all__:
        thing = getattr(fastrnn, name)
        if not inspect.isclass(thing):
            yield name, None
        elif not issubclass(thing, BaseException):
            yield name, thing
            for method, found in inspect.getmembers(thing, callable):
                if not method.startswith("_") and not inspect.isclass(found):
                    yield f"{name}.{method}", thing
    for name in plots.__all__:
        yield f"plotting.{name}", None


def arguments():
    """(name of a public callable, its class or None, argument)."""
    for name, owner in subjects():
        if owner is not None and "." not in name and issubclass(owner, Estimator):
            yield from ((name, owner, argument) for argument in owner._parameter_defaults())
            continue
        thing = plots if name.startswith("plotting.") else fastrnn
        for part in name.removeprefix("plotting.").split("."):
            thing = getattr(thing, part)
        for argument, parameter in inspect.signature(thing).parameters.items():
            if argument != "self" and parameter.kind is not parameter.VAR_KEYWORD:
                yield name, owner, argument


ALL = [(f"{name}: {argument}", owner) for name, owner, argument in arguments()]


def call(fitted, subject, owner, value):
    """Call with a value for the argument, and whatever is right for the others."""
    name, argument = subject.split(": ")
    if subject == "warmup: cells" and value is None:
        return None  # it is taken, and compiles all cells: minutes
    if owner is not None and "." not in name and issubclass(owner, Estimator):
        return owner(**{argument: value}).check_parameters()
    if owner is not None and "." in name:
        thing = fitted[owner.__name__]
        if name.endswith(("fit", "fit_transform")) and issubclass(owner, Estimator):  # never goes on from the last time
            thing = owner(**thing.get_params() | ({} if owner is Vocabulary else {"max_epochs": 0}))
        function = getattr(thing, name.partition(".")[2])
    else:
        function = getattr(plots, name.removeprefix("plotting.")) if "plotting" in name else getattr(fastrnn, name)
    given = {}
    for other, parameter in inspect.signature(function).parameters.items():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            given[other] = good(fitted, owner, name, other)
    if name == "warmup":
        given |= {"cells": []}  # compiles nothing
    if name.endswith("check_gradients"):
        given |= {"n_entries": 1}
    if "max_length" in inspect.signature(function).parameters:
        given["max_length"] = 3
    result = function(**given | {argument: value})
    return list(result) if isinstance(result, Iterator) else result


def good(fitted, owner, name, argument):
    own = owner.__name__ if owner else ""
    if name.endswith(".load"):
        return f"{own}.npz"
    if argument == "arrays":
        return fitted["Vocabulary"].to_arrays()
    if argument == "models":
        return [fitted["Seq2Seq"]]
    if argument == "language_model":
        return fitted["LanguageModel"]
    if argument == "models_or_histories":
        return [fitted["FastRNN"]]
    if name == "read_texts":
        return __file__
    return GOOD[own, argument] if (own, argument) in GOOD else GOOD["", argument]


def check_refusal(fitted, subject, owner, value):
    """Whether the value is refused; fails if that is not by an error that names the argument."""
    argument = subject.split(": ")[1]
    try:
        call(fitted, subject, owner, value)
    except (TypeError, ValueError) as error:
        names = argument
        if subject in ("Ragged.from_sequences: sequences", "Ragged.check_below: vocab_size"):
            names = f"{argument}|x"  # the default of their argument `name`
        paths = [value, *(value if isinstance(value, (list, tuple)) else [])] if argument in PATHS else []
        named = re.search(rf"\b({names})\b", str(error)) or any(str(error).startswith(f"{path}: ") for path in paths)
        assert named, f"{type(error).__name__}: {error}"
        return True
    except OSError:
        assert argument in PATHS
        return True
    finally:
        if subject.startswith("plotting"):
            plots.pyplot().close("all")
    return False


@pytest.mark.parametrize(("subject", "owner"), ALL, ids=[subject for subject, _ in ALL])
def test_bad_values(subject, owner, fitted):
    refused = sum(check_refusal(fitted, subject, owner, value) for value in bad_values())
    if subject not in IGNORED and not subject.endswith("get_params: deep"):
        assert refused > 10
        assert check_refusal(fitted, subject, owner, Opaque()), "took what nothing takes"


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 3), st.integers(2**31, 2**70), st.floats(),
    st.text(st.characters(blacklist_characters="./\\-~"), max_size=4), st.binary(max_size=3),
)  # fmt: skip


@given(
    subject=st.sampled_from(ALL),
    value=st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner)),
)
@examples(300, 100)
def test_any_values(subject, value, fitted):
    check_refusal(fitted, *subject, value)

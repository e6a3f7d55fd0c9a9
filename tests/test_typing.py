"""Type hints: all that is public has them, and the program that mypy checks uses all of it."""

import ast
import inspect
import typing
from pathlib import Path

import pytest

import fastrnn
from fastrnn import typing as hints
from fastrnn.estimators import parameters
from fastrnn.plotting import plots

PROGRAM = Path(__file__).with_name("typing") / "everything.py"
NOT_FOR_USERS = {"new_splitter", "to_arrays", "from_arrays", "encode_sources", "translate_encoded", "split_mode"}


def public():
    """(name, function) of all that users call."""
    for name in fastrnn.__all__:
        thing = getattr(fastrnn, name)
        if not inspect.isclass(thing):
            yield name, thing
        elif not issubclass(thing, BaseException):
            yield name, thing.__init__
            for method, found in inspect.getmembers(thing):
                function = found.fget if isinstance(found, property) else found
                if not method.startswith("_") and inspect.isroutine(function) and method not in NOT_FOR_USERS:
                    yield f"{name}.{method}", function
    for name in plots.__all__:
        yield f"plotting.{name}", getattr(plots, name)


@pytest.mark.parametrize("name, function", [pytest.param(*found, id=found[0]) for found in public()])
def test_every_argument_has_a_hint(name, function):
    function = getattr(function, "__func__", function)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for argument, parameter in signature.parameters.items():
        assert argument in ("self", "cls") or parameter.annotation is not inspect.Parameter.empty, argument


def test_the_program_uses_all_of_it():
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {name.rpartition(".")[2] for name, _ in public()}
    assert len(names) > 50
    assert names <= used


def test_keywords_are_those_of_the_constructors():
    network = hints.NetworkParameters.__annotations__.keys()
    assert network | {"cell", "hidden_dim"} == parameters.OF_ALL.keys()
    for keywords, table, own in (
        (hints.FastRNNParameters, parameters.FAST_RNN, {"vocab_size"}),
        (hints.Seq2SeqParameters, parameters.SEQ2SEQ, {"source_vocab_size", "target_vocab_size"}),
    ):
        assert keywords.__annotations__.keys() | network | own == table.keys()
    search = inspect.signature(fastrnn.Seq2Seq.search).parameters.keys() - {"self", "source", "beam_width"}
    assert hints.ScoreOptions.__required_keys__ | hints.ScoreOptions.__optional_keys__ == search
    vocabulary = hints.VocabularyParameters.__annotations__.keys() | {"tokens"}
    assert vocabulary == fastrnn.Vocabulary._parameter_defaults().keys()


def test_type_checkers_find_the_hints():
    assert Path(fastrnn.__file__).with_name("py.typed").is_file()
    assert not typing.TYPE_CHECKING

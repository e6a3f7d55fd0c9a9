"""The layout of the package: who may import whom, who may name what, and what an import costs."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn

PACKAGE = Path(fastrnn.__file__).parent

# Packages, and modules that are in none of these: each imports only from itself and from those before it.
ORDER = [
    "errors", "typing", "validation", "base", "output_files", "storage", "data", "text", "kernels.compiler",
    "kernels.cores", "kernels.threads", "kernels.linalg", "kernels.cells", "kernels.cpu", "kernels.cuda", "networks",
    "decoding", "training", "estimators", "plotting", "cli",
]  # fmt: skip


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def own_imports(name, tree=None):
    """Modules of the package that a module imports, functions' inner imports among them."""
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(TREES[name] if tree is None else tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("fastrnn").lstrip(".") for alias in node.names if is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and (node.level or is_ours(node.module)):
            if node.level:
                base = package.split(".") if package else []
                base = base[: len(base) - (node.level - 1)]
                base = ".".join([*base, node.module] if node.module else base)
            else:
                base = node.module.removeprefix("fastrnn").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in SOURCES else base or inner)
    return found - {"__version__"}


def is_ours(name):
    return name == "fastrnn" or name.startswith("fastrnn.")


def other_imports(name):
    """Top-level names of foreign packages that a module imports."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - {"fastrnn"}


def package_of(name):
    """The entry of ORDER that a module belongs to."""
    (package,) = [entry for entry in ORDER if name == entry or name.startswith(f"{entry}.")] or [None]
    return package


def test_every_module_is_in_the_order():
    assert {name for name in SOURCES if package_of(name) is None} == {"", "__main__", "kernels"}
    assert {package_of(name) for name in SOURCES} == {None, *ORDER}


@pytest.mark.parametrize("name", [name for name in SOURCES if package_of(name) is not None])
def test_imports_go_downwards(name):
    allowed = ORDER[: ORDER.index(package_of(name)) + 1]
    assert {package_of(imported) for imported in own_imports(name)} <= set(allowed)


def test_the_imports_are_found():
    assert own_imports("estimators.rnn") >= {"validation", "networks.devices", "estimators.trainable", "training.tasks"}
    assert own_imports("kernels.cells.rnn") == {
        "kernels.compiler.jit", "kernels.compiler.views", "kernels.linalg.elementwise", "kernels.linalg.packing",
        "kernels.cells.interface",
    }  # fmt: skip
    assert "kernels.cpu.passes" in own_imports("networks.network")
    assert "data.ragged" in own_imports("text.vocabulary")
    inner = ast.parse("def f():\n    from ..kernels.cpu import passes\n    import fastrnn.text")
    assert own_imports("networks.network", inner) == {"kernels.cpu.passes", "text"}


def test_storage_stands_alone():
    assert own_imports("storage") == {"output_files"}
    assert own_imports("output_files") == set()
    assert own_imports("errors") == set()


def test_only_the_cells_name_a_cell():
    from fastrnn.kernels.cells import CELLS

    classes = {cell.__name__ for cell in CELLS.values()}
    assert classes >= {"RNN", "LSTM", "GRU"}
    for name, tree in TREES.items():
        if "cells" not in name.split("."):
            assert not classes & identifiers(tree), name
    assert "RNN" in identifiers(TREES["kernels.cells.rnn"])


def identifiers(tree):
    """Every name, attribute, imported name and definition in a module."""
    found = set()
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


def test_nothing_is_executed_from_files():
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for name, tree in TREES.items():
        processes = {"joblib"} if name == "text.token_ids" else set()  # what it unpickles comes from its own processes
        assert not forbidden & other_imports(name) - processes, name
        assert not {"eval", "exec", "allow_pickle_true"} & identifiers(tree), name
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                if getattr(node.func.value, "id", None) == "np":
                    assert any(keyword.arg == "allow_pickle" for keyword in node.keywords), name
        assert "allow_pickle=True" not in SOURCES[name].read_text(encoding="utf-8"), name


def test_kernels_are_compiled_in_one_way():
    """numba's decorators are used in kernels/compiler/jit.py alone: flags and cache are the same everywhere."""
    for name, tree in TREES.items():
        if name != "kernels.compiler.jit":
            assert not {"njit", "vectorize", "guvectorize", "prange"} & identifiers(tree), name
    for name in TREES:
        in_cuda = name.startswith("kernels.cuda.") and name != "kernels.cuda.driver"
        if not name.startswith("kernels.") or in_cuda:
            assert not {"numba", "llvmlite"} & other_imports(name), name


def test_the_gpu_s_packages_are_imported_in_one_file():
    for name in TREES:
        if name != "kernels.cuda.driver":
            assert "cuda" not in other_imports(name), name
    assert {"numba", "cuda"} <= other_imports("kernels.cuda.driver")


def test_what_is_imported_of_others():
    """Hard dependencies are few; the others are imported where they are used, by who asks for them."""
    allowed = {"numpy", "numba", "llvmlite", "nltk", "tqdm", "joblib", "sklearn", "matplotlib", "pydoc_data", "cuda"}
    allowed |= {"typing_extensions"}  # for type checkers only
    allowed |= {"zstandard", "compression"}
    for name in TREES:
        foreign = other_imports(name) - set(sys.stdlib_module_names)
        assert foreign <= allowed, name
        top = {
            alias
            for node in TREES[name].body
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
            for alias in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        late = {"nltk", "joblib", "sklearn", "matplotlib", "tqdm"} - ({"nltk"} if name == "text.punkt" else set())
        assert not late & {alias.partition(".")[0] for alias in top}, name


def modules_after(statement):
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("statement, absent", [
    ("import fastrnn", {"numba", "llvmlite", "nltk", "tqdm", "numpy", "sklearn"}),
    ("from fastrnn import Vocabulary, Ragged, read_texts, python_manual", {"numba", "llvmlite", "nltk", "tqdm"}),
    ("from fastrnn import FastRNN; FastRNN()", {"nltk", "sklearn", "matplotlib"}),
    ("from fastrnn import LanguageModel; LanguageModel()", {"nltk", "sklearn", "matplotlib"}),
    ("from fastrnn import plotting, cli", {"numba", "nltk", "matplotlib"}),
])  # fmt: skip
def test_what_an_import_costs(statement, absent):
    loaded = modules_after(statement)
    assert "fastrnn" in loaded
    assert not absent & loaded


def test_public_names():
    contract = {"FastRNN", "LanguageModel", "Vocabulary", "Ragged", "NotFittedError", "DivergenceError"}
    assert contract <= set(fastrnn.__all__)
    for name in fastrnn.__all__:
        thing = getattr(fastrnn, name)
        assert thing.__doc__ and thing.__name__ == name
        assert importlib.import_module(thing.__module__).__name__.startswith("fastrnn.")
    assert sorted(dir(fastrnn)) == sorted(fastrnn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fastrnn.nothing


def test_the_package_under_test_is_this_one():
    assert importlib.util.find_spec("fastrnn").origin == str(PACKAGE / "__init__.py")

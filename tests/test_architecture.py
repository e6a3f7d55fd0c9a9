"""The layout of the package: who may import whom, who may name what, and what an import costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn

PACKAGE = Path(fastrnn.__file__).parent

# A module imports only from those before it.
ORDER = [
    "errors", "validation", "base", "ragged", "files", "punkt", "words", "text", "token_ids", "vocabulary", "corpora",
    "cpu", "cpu.aliases", "cpu.separate", "cpu.linking", "cpu.jit", "cpu.vector", "cpu.bfloat16", "cpu.mathfun",
    "cpu.gemm", "cpu.panels", "cpu.gemv", "cpu.threads", "cells.interface", "cells.rnn", "cells.lstm", "cells.gru",
    "cells", "cpu.dropout", "cpu.recurrence", "cpu.stack", "cpu.softmax", "cpu.output_bfloat16", "cpu.output",
    "cpu.update", "cpu.workspace", "cpu.passes", "cpu.decode", "cpu.pairs", "cpu.candidates", "cpu.beam", "batches",
    "parameters", "network", "second_process", "pair_network", "cuda", "cuda.driver", "cuda.workspace", "cuda.mirror",
    "cuda.layout", "cuda.instructions", "cuda.tensor", "cuda.product", "cuda.dropout", "cuda.mathfun", "cuda.block",
    "cuda.cells.rnn", "cuda.cells.lstm", "cuda.cells.gru", "cuda.cells", "cuda.recurrence", "cuda.stack",
    "cuda.output", "cuda.update", "cuda.passes", "cuda.rows", "cuda.choice", "cuda.candidates", "cuda.decode",
    "cuda.beam", "cuda.network", "devices", "output_files", "storage", "optimizer", "history", "schedules",
    "checkpoint", "checkpoint_lock", "interruption", "progress", "tasks", "training", "trainable", "decoding",
    "beam_search", "estimator", "bleu", "seq2seq", "unknown_words", "translator", "compilation", "language_model",
    "surprisal", "drawing", "plotting", "arguments", "console", "output_paths", "streams", "model_files", "pictures",
    "cli_train", "cli_translate", "cli",
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


def test_every_module_has_its_place():
    modules = set(SOURCES) - {"", "__main__"}
    assert modules == set(ORDER), "a new module: give it its place in ORDER"


@pytest.mark.parametrize("name", [name for name in ORDER if name in SOURCES])
def test_imports_go_upwards(name):
    above = set(ORDER[: ORDER.index(name)])
    if name == "cells":
        assert own_imports(name) == {"cells.rnn", "cells.lstm", "cells.gru"}
    assert own_imports(name) <= above


def test_the_imports_are_found():
    assert own_imports("estimator") >= {"validation", "decoding", "devices", "trainable"}
    assert own_imports("cells.rnn") == {"cpu.jit", "cpu.linking", "cpu.mathfun", "cpu.panels", "cells.interface"}
    assert "cpu.passes" in own_imports("network")
    assert "ragged" in own_imports("vocabulary")
    inner = ast.parse("def f():\n    from .cpu import passes\n    import fastrnn.text")
    assert own_imports("network", inner) == {"cpu.passes", "text"}


def test_storage_stands_alone():
    assert own_imports("storage") == {"output_files"}
    assert own_imports("output_files") == set()
    assert own_imports("errors") == set()


def test_only_the_cells_name_a_cell():
    from fastrnn.cells import CELLS

    classes = {cell.__name__ for cell in CELLS.values()}
    assert classes >= {"RNN", "LSTM", "GRU"}
    for name, tree in TREES.items():
        if not name.removeprefix("cuda.").startswith("cells"):
            assert not classes & identifiers(tree), name
    assert "RNN" in identifiers(TREES["cells.rnn"])


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
        processes = {"joblib"} if name == "token_ids" else set()  # what it unpickles comes from its own processes
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
    """numba's decorators are used in cpu/jit.py alone: flags and cache are the same everywhere."""
    for name, tree in TREES.items():
        if name != "cpu.jit":
            assert not {"njit", "vectorize", "guvectorize", "prange"} & identifiers(tree), name
    for name in TREES:
        if name.partition(".")[0] not in ("cpu", "cells") and name != "cuda.driver":
            assert not {"numba", "llvmlite"} & other_imports(name), name


def test_the_gpu_s_packages_are_imported_in_one_file():
    for name in TREES:
        if name != "cuda.driver":
            assert "cuda" not in other_imports(name), name
    assert {"numba", "cuda"} <= other_imports("cuda.driver")


def test_what_is_imported_of_others():
    """Hard dependencies are few; the others are imported where they are used, by who asks for them."""
    allowed = {"numpy", "numba", "llvmlite", "nltk", "tqdm", "joblib", "sklearn", "matplotlib"}
    allowed |= {"pydoc_data", "cuda"}
    for name in TREES:
        foreign = other_imports(name) - set(sys.stdlib_module_names)
        assert foreign <= allowed, name
        top = {
            alias
            for node in TREES[name].body
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
            for alias in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        late = {"nltk", "joblib", "sklearn", "matplotlib", "tqdm"} - ({"nltk"} if name == "punkt" else set())
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

"""Code in the README and in docs/: finding it, and running it as it stands, with fewer epochs.

A page's `python` and `pycon` blocks are run in order, in one process; results in `pycon` blocks are compared. Lines of
`sh` blocks that begin with `fastrnn` are commands. `console` and `text` blocks are not run.

    python tests/pages.py PAGE    runs the Python of a page
"""

import csv
import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

from fastrnn.cli import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What is made smaller, so that it takes seconds.
_SMALLER = [(r"max_epochs=(?!0\b)\d+", "max_epochs=1"), (r"hidden_dim=256", "hidden_dim=16")]

_SENTENCES = ["The movie was good, and the actors were good.", "A bad movie!", "I liked it: good text of yours."]


def blocks(page, *languages):
    """Pairs (language, code) of a page's blocks in these languages, with less to compute."""
    found = []
    for language, code in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            for pattern, smaller in _SMALLER:
                code = re.sub(pattern, smaller, code)
            found.append((language, code))
    return found


def commands(page):
    """Lines of a page that call the command `fastrnn`."""
    return [line for _, code in blocks(page, "sh") for line in code.splitlines() if line.startswith("fastrnn ")]


def write_texts(folder):
    """Write the files that the pages' code reads."""
    with open(folder / "comments.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["body"], *[[sentence] for sentence in _SENTENCES * 20]])
    (folder / "shakespeare.txt").write_text("ROMEO: Ay me.\nJULIET: A rose.\n" * 60, encoding="utf-8")
    (folder / "pairs.tsv").write_text("i am cold .\tj'ai froid .\nyou are cold .\tje suis froid .\n" * 60, "utf-8")


def check_command(words, capsys):
    """Call the command `fastrnn` in this process, with less to compute; it must succeed and print something."""
    extra = ["--epochs", "1", "--hidden-dim", "8"] if words[1].endswith("train") else []
    extra += ["--unknown", "token"] if words[1] == "translate" else []
    extra += ["--help"] if words[1] == "warmup" else []
    try:
        assert main.main([*words[1:], *extra]) == 0, words
    except SystemExit as end:  # of --help
        assert end.code == 0
    assert any(capsys.readouterr()), words


def run(command, folder):
    """Run it in a folder with compiled kernels, whatever the tests do; return what it prints."""
    ours = ("NUMBA_DISABLE_JIT", "NUMBA_ENABLE_CUDASIM")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _run_page(page):
    names = {"__name__": "__main__"}
    runner = doctest.DocTestRunner()
    for number, (language, code) in enumerate(blocks(page, "python", "pycon")):
        name = f"{page.name}, block {number}"
        if language == "python":
            exec(compile(code, name, "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(code, {}, name, None, 0)
            test.globs = names  # not a copy of them: later blocks go on with what this one defines
            runner.run(test, clear_globs=False)
    return runner.summarize().failed


if __name__ == "__main__":
    sys.exit(bool(_run_page(Path(sys.argv[1]))))

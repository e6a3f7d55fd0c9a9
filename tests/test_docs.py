"""The code of the pages in docs/ runs as it stands, with fewer epochs; the reference has every public name."""

import re
import shlex
import shutil
import sys

import pages
import pytest

import fastrnn
from fastrnn import plotting
from fastrnn.cli import main

WITH_PYTHON = [page for page in pages.PAGES if pages.blocks(page, "python", "pycon")]
WITH_COMMANDS = [page for page in pages.PAGES if pages.commands(page)]


def name(page):
    return page.relative_to(pages.ROOT).as_posix()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model of texts that the pages' commands read."""
    folder = tmp_path_factory.mktemp("trained")
    pages.write_texts(folder)
    command = ["train", str(folder / "comments.csv"), "-o", str(folder / "comments.npz"), "--hidden-dim", "16"]
    assert main.main([*command, "--epochs", "1"]) == 0
    return folder / "comments.npz"


@pytest.mark.compiled  # another process, whose kernels are compiled in any case
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python(page, tmp_path):
    if "sklearn" in page.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
    pages.write_texts(tmp_path)
    pages.run([sys.executable, "-W", "error", pages.__file__, str(page)], tmp_path)


@pytest.mark.compiled
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands(page, tmp_path, trained, monkeypatch, capsys):
    pages.write_texts(tmp_path)
    for model in ("comments.npz", "demo.npz"):
        shutil.copy(trained, tmp_path / model)
    monkeypatch.chdir(tmp_path)
    for line in pages.commands(page):
        pages.check_command(shlex.split(line, comments=True), capsys)


def test_there_are_pages_with_code():
    assert len(WITH_PYTHON) >= 8 and len(WITH_COMMANDS) >= 6


def test_every_block_says_what_it_is():
    for page in [pages.README, *pages.PAGES]:
        text = page.read_text(encoding="utf-8")
        fences = [line for line in text.splitlines() if line.startswith("```")]
        languages = [fence[3:] for fence in fences[::2]]
        assert set(fences[1::2]) <= {"```"}, page
        assert all(re.fullmatch(r"python|pycon|sh|console|text|\{[a-z]+\}.*", found) for found in languages), page


def test_reference_has_every_public_name():
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (pages.ROOT / "docs" / "api").glob("*.rst"))
    documented = re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", reference, re.MULTILINE)
    assert sorted(documented) == sorted([*fastrnn.__all__, *plotting.__all__])


def test_changelog_and_citation_have_the_version():
    changelog, citation = ((pages.ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff"))
    assert f"\nversion: {fastrnn.__version__}\n" in citation
    assert re.search(rf"^## {re.escape(fastrnn.__version__)} \(.+\)$", changelog, re.MULTILINE)

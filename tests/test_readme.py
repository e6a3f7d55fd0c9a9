"""The README's code runs as it stands, with fewer epochs."""

import re
import shlex
import sys

import pages
import pytest

pytestmark = pytest.mark.compiled  # other processes, whose kernels are compiled in any case


@pytest.mark.parametrize("number, lines, holds", [(0, 6, ""), (1, 2, "'the movie")])
def test_python_blocks_print_what_they_promise(number, lines, holds, tmp_path):
    pages.write_texts(tmp_path)
    code = [code for _, code in pages.blocks(pages.README, "python")][number]
    printed = pages.run([sys.executable, "-W", "error", "-c", code], tmp_path)
    assert len(printed.splitlines()) >= lines and holds in printed


def test_no_python_block_is_forgotten():
    assert len(pages.blocks(pages.README, "python")) == 2


def test_the_two_lines_to_set_up():
    """They are what .ci/run runs."""
    lines = [code.strip() for _, code in pages.blocks(pages.README, "sh")[:2]]
    assert all(line.startswith("python3 -m venv .venv && ") for line in lines)
    assert lines[0].endswith("fastrnn demo") and lines[1].endswith("-m pytest")


def test_commands(tmp_path, monkeypatch, capsys):
    pages.write_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(pages.commands(pages.README)) >= 4
    for line in pages.commands(pages.README):
        pages.check_command(shlex.split(line, comments=True), capsys)


def test_links():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", pages.README.read_text(encoding="utf-8"))
    assert len(links) >= 8
    assert not [link for link in links if not (pages.ROOT / link).exists()]

"""Texts as people have them: tables of all kinds, compressed files, directories, patterns."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sys
import zipfile

import pytest

from fastrnn import read_texts
from fastrnn.text import files
from fastrnn.text.input_paths import input_files


def read(tmp_path, name, data, *args, **options):
    """The texts of a file of this name and these bytes or letters."""
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_texts(path, *args, **options))


def told(caplog):
    """What was logged since the last time."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


# Tables


def test_csv_is_read_as_the_csv_module_reads_it(tmp_path, caplog):
    table = 'id, body\n1, "Hi, there friend"\n2, "She said ""no"".\nReally"\n3,plain "quotes" inside\n4,"a" b\n'
    expected = [row[1] for row in csv.reader(io.StringIO(table), skipinitialspace=True)][1:]
    assert read(tmp_path, "a.csv", table, "body") == expected
    assert expected[0] == "Hi, there friend" and expected[3] == "a b" and not told(caplog)


def test_a_quote_left_open_at_the_end_loses_nothing(tmp_path, caplog):
    for cut in ('"it goes\non', '"it goes\non\n', '"it goes\non"" so'):
        texts = read(tmp_path, "a.csv", f"id,body\n1,one\n\n2,{cut}", "body")
        assert texts == ["one", cut[1:].replace('""', '"')]
        [line] = told(caplog)
        assert line.endswith("a.csv: a quotation mark on line 4 is never closed: all after it is one field")
    assert read(tmp_path, "a.csv", 'body\n"closed"') == ["closed"] and not told(caplog)
    assert read(tmp_path, "a.csv", 'a,b\n"x\ny","z', "b") == ["z"]
    assert "on line 3 is never closed" in told(caplog)[0]


def test_rows_of_other_lengths_are_told(tmp_path, caplog):
    assert read(tmp_path, "a.csv", "id,body,n\n1,Well, yes, of course\n2\n3,ok,1\n4,b\n", "body") == ["Well", "ok", "b"]
    [line] = told(caplog)
    assert "1 row (line 2) has more columns than the header (3): what is beyond them is left out" in line
    assert "2 rows (the first on line 3) have fewer columns than the header" in line


def test_blank_first_lines_and_no_header(tmp_path, caplog):
    assert read(tmp_path, "a.csv", "\n  \nbody\none\n") == ["one"]
    for column in (1, "1"):
        assert read(tmp_path, "a.csv", "7,one\n8,two\n", column) == ["one", "two"]
    assert read(tmp_path, "a.csv", "0,1\n7,one\n", "1") == ["one"]  # a column that is called so
    assert not told(caplog)
    assert read(tmp_path, "a.csv", "Hi there friend.\nBye now.\n") == ["Bye now."]
    assert "its first row, 'Hi there friend.', is taken for the header; column=0 takes it for text" in told(caplog)[0]
    with pytest.raises(ValueError, match=r"no column 5, found '7', 'one', separated by ','"):
        read(tmp_path, "a.csv", "7,one\n", 5)
    for wrong, error in ((-1, ValueError), (0.5, TypeError), (True, TypeError), ([0], TypeError)):
        with pytest.raises(error, match="column: found"):
            read(tmp_path, "a.csv", "7,one\n", wrong)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_delimiters_are_found_or_given(tmp_path, delimiter):
    rows = [["id", "body", "x"], *([str(i), f"Hi, {i}; there.", "1"] for i in range(9))]
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter).writerows(rows)
    expected = [row[1] for row in rows[1:]]
    assert read(tmp_path, "a.csv", table.getvalue(), "body") == expected
    assert read(tmp_path, "a.csv", table.getvalue(), 1) == [rows[0][1], *expected]
    assert read(tmp_path, "a.csv", table.getvalue(), "body", delimiter=delimiter) == expected
    with pytest.raises(ValueError, match="name the column of the text, one of 'id', 'body', 'x'"):
        read(tmp_path, "a.csv", table.getvalue())


def test_prose_in_one_column_has_no_delimiter(tmp_path):
    rows = ["A; b.", "One | two.", "Nothing; and; nothing", "\tx"]
    assert read(tmp_path, "a.csv", "\n".join(["body", *rows])) == rows
    assert read(tmp_path, "a.csv", "a:b\n1:one\n", "b", delimiter=":") == ["one"]
    assert read(tmp_path, "a.csv", "a\tb,c\n1\tone\n", "b,c", delimiter=r"\t") == ["one"]
    for wrong in (";;", "", '"', "\n"):
        with pytest.raises(ValueError, match="delimiter: found"):
            read(tmp_path, "a.csv", "a\n", delimiter=wrong)


def test_tab_separated_values_with_quotes_of_both_kinds(tmp_path, caplog):
    assert read(tmp_path, "a.tsv", 'id\tbody\n1\t"one\ntwo"\n2\tan ""x""\n', "body") == ["one\ntwo", 'an ""x""']
    assert not told(caplog)
    letters = 'id\tbody\n1\t"Hello," he said.\n2\t"I ran\n3\tand "fell"\n'
    assert read(tmp_path, "a.tsv", letters, "body") == ['"Hello," he said.', '"I ran', 'and "fell"']
    assert "quotation marks are taken for letters" in told(caplog)[0]
    assert read(tmp_path, "a.tsv", 'id\tbody\n1\t"I ran\n2\tand "fell\n', "body") == ['"I ran', 'and "fell']
    told(caplog)
    assert read(tmp_path, "a.tsv", 'id\tbody\n1\t"cut\noff', "body") == ["cut\noff"]
    assert "never closed" in told(caplog)[0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_lines_of_json(tmp_path, caplog, name):
    lines = [{"id": 1, "body": "one\ntwo\u2028three"}, {"body": "naïve", "id": 2}, {"id": 3}, {"body": None}]
    text = "\n".join([json.dumps(lines[0], ensure_ascii=False), "", *map(json.dumps, lines[1:])]) + "\n"
    assert read(tmp_path, name, text, "body") == ["one\ntwo\u2028three", "naïve"]
    assert "2 of 4 items have no text in 'body' (" in told(caplog)[0]
    with pytest.raises(ValueError, match="name the column of the text, one of 'id', 'body'"):
        read(tmp_path, name, text)
    with pytest.raises(ValueError, match="no column 'text' with texts, found 'id', 'body'"):
        read(tmp_path, name, text, "text")
    assert read(tmp_path, name, '"a b"\n"c"\n') == ["a b", "c"]
    assert read(tmp_path, name, '{"body": "one"}\n{"body": "two"}\n') == ["one", "two"]
    assert read(tmp_path, name, '{"body": "one"}\n{"body": "tw') == ["one"]
    assert "its last line, 2, is cut off" in told(caplog)[-1]
    with pytest.raises(ValueError, match=f"{name}: broken JSON on line 1"):
        read(tmp_path, name, '{"body": one}\n{"body": "two"}\n')
    with pytest.raises(ValueError, match="broken JSON"):
        read(tmp_path, name, "[" * 100_000)


def test_a_json_array(tmp_path):
    assert read(tmp_path, "a.json", json.dumps([{"body": "one", "id": 3}], indent=1), "body") == ["one"]
    assert read(tmp_path, "a.json", '["one", "two"]') == ["one", "two"]
    with pytest.raises(ValueError, match="found no texts"):
        read(tmp_path, "a.json", "[1, 2]")
    with pytest.raises(ValueError, match="no text found"):
        read(tmp_path, "a.json", "[]")


def test_tables_from_standard_input(monkeypatch):
    for data in (b'{"id": 1, "body": "one"}\n', b"id;body\n1;one\n", b"id,body\n1,one\n", b"id\tbody\n1\tone\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert list(read_texts("-", "body")) == ["one"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"one"))))
    assert list(read_texts("-")) == ["one"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input: is closed, expected a text"):
        list(read_texts("-"))


# Compressed files, and files that are no text


@pytest.mark.parametrize(
    "compress, suffix, kind",
    [(gzip.compress, ".gz", "gzip"), (bz2.compress, ".bz2", "bzip2"), (lzma.compress, ".xz", "xz")],
)
def test_compressed_files(tmp_path, compress, suffix, kind):
    check_compressed(tmp_path, compress, suffix, kind)
    assert read(tmp_path, "no-suffix", compress(b"One.")) == ["One."]


def test_zstandard(tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    check_compressed(tmp_path, zstandard.compress, ".zst", "Zstandard")
    stream = zstandard.ZstdCompressor().compressobj()  # without its size at the head
    assert read(tmp_path, "a.zst", stream.compress(b"One.") + stream.flush()) == ["One."]


def test_zstandard_that_is_not_installed(tmp_path, monkeypatch):
    for name in ("zstandard", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'a\.txt\.zst: \.zst files need zstandard: pip install "fastrnn\[zstd\]"'):
        read(tmp_path, "a.txt.zst", b"\x28\xb5\x2f\xfd")


def check_compressed(tmp_path, compress, suffix, kind):
    assert read(tmp_path, f"a.txt{suffix}", compress(b"One. ") + compress("naïve".encode())) == ["One. naïve"]
    assert read(tmp_path, f"a.CSV{suffix.upper()}", compress(b"id,body\n1,one\n"), "body") == ["one"]
    assert read(tmp_path, f"a.tsv{suffix}", compress(b"id\tbody\n1\tone\n"), "body") == ["one"]
    assert read(tmp_path, f"a.jsonl{suffix}", compress(b'{"body": "one"}\n'), "body") == ["one"]
    pairs = tmp_path / f"pairs.tsv{suffix}"
    pairs.write_bytes(compress(b"a\tb\n"))
    assert files.read_pairs(pairs) == [("a", "b")]
    whole = compress(b"some text " * 99)
    for broken in (whole[:-9], whole[:12], whole[:12] + b"?" * 30, b"nothing of it"):
        with pytest.raises(ValueError, match=rf"a\.txt\{suffix}: broken {kind} file \(.+\)$"):
            read(tmp_path, f"a.txt{suffix}", broken)


def test_what_is_no_text_is_called_by_its_name(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "text")
    for data, kind in (
        (archive.getvalue(), "a zip archive"),
        (b"%PDF-1.7 text", "a PDF document"),
        (b"{\\rtf1 text}", "an RTF"),
        (gzip.compress(b"a.txt".ljust(257, b"\0") + b"ustar\x0000"), "a tar archive"),
    ):
        for encoding in ("utf-8", "latin-1"):
            with pytest.raises(ValueError, match=f"a: found {kind}.*, expected a text"):
                read(tmp_path, "a", data, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_names_its_encoding(tmp_path, encoding):
    data = "Hello there.\n".encode(encoding)
    for asked in ("utf-8", "latin-1"):
        with pytest.raises(ValueError, match=f"byte order mark of {encoding}, expected encoding='{encoding}'"):
            read(tmp_path, "a.txt", data, encoding=asked)
    assert read(tmp_path, "a.txt", data, encoding=encoding) == ["Hello there.\n"]


# Directories, patterns, lists


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """The working folder, with the folder dd: texts of several kinds, hidden ones, and what is no text."""
    monkeypatch.chdir(tmp_path)
    files = "a.txt b/c.md b/d.LOG .hidden.txt __MACOSX/._a.txt .ipynb_checkpoints/a.txt"
    for name in (files + " e.png f.PNG g.json Makefile h.txt.gz i.rst.xz").split():
        path = tmp_path / "dd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        compress = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
        path.write_bytes(compress(name.encode()))
    return tmp_path


def test_a_directory_s_texts_and_what_is_skipped(corpus, caplog):
    assert list(read_texts("dd")) == ["a.txt", "b/c.md", "b/d.LOG", "h.txt.gz", "i.rst.xz"]
    [line] = told(caplog)
    assert line.startswith("dd: found 5 text files to read; skipped: 3 hidden, 2 .png, 1 ")
    assert {"3 hidden", "2 .png", "1 .json", "1 without a suffix"} == {*line.partition("skipped: ")[2].split(", ")}
    os.chdir("dd/b")
    assert list(read_texts(".")) == ["b/c.md", "b/d.LOG"] and not told(caplog)
    hidden = corpus / "dd" / ".ipynb_checkpoints"
    assert list(read_texts(hidden)) == [".ipynb_checkpoints/a.txt"]  # a folder that was named


def test_patterns_and_lists(corpus, caplog):
    assert list(read_texts("dd/*.txt*")) == ["a.txt", "h.txt.gz"]
    assert list(read_texts("dd/**/*.md")) == ["b/c.md"]
    assert list(read_texts(["dd/b/*", corpus / "dd" / "Makefile"])) == ["b/c.md", "b/d.LOG", "Makefile"]
    (corpus / "[a].txt").write_text("of that very name")
    assert list(read_texts("[a].txt")) == ["of that very name"]
    assert input_files("dd/*.txt*")[0] == [*map(type(corpus), ["dd/a.txt", "dd/h.txt.gz"])]
    assert not told(caplog)
    with pytest.raises(FileNotFoundError, match=r"dd/\*\.tex: no such file, and none that matches"):
        read_texts("dd/*.tex")
    with pytest.raises(FileNotFoundError, match="nothing.txt"):
        read_texts(["dd/a.txt", "nothing.txt"])
    for wrong, error in (([], ValueError), ({"a": 1}, TypeError), ([None], TypeError), ("", ValueError)):
        with pytest.raises(error, match="path: found"):
            read_texts(wrong)


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="rights")
def test_a_folder_that_cannot_be_read_is_an_error(corpus):
    (corpus / "dd" / "b").chmod(0)
    try:
        with pytest.raises(PermissionError):
            read_texts("dd")
    finally:
        (corpus / "dd" / "b").chmod(0o700)

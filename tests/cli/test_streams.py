"""The encoding of what the command writes."""

import io
import os
import subprocess
import sys

import pytest

from fastrnn.cli.streams import encoded_output

WORDS = "naïve œuvre żółw żółw"


class Terminal(io.BytesIO):
    def isatty(self):
        return True


def written(monkeypatch, encoding, buffer, text=WORDS):
    """What standard output and error get, and their encodings afterwards."""
    out, err = (io.TextIOWrapper(stream, encoding=encoding, newline="\n") for stream in (buffer, type(buffer)()))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with encoded_output():
        print(text)
        print(text, file=sys.stderr)
    assert (out.encoding, out.errors, err.errors) == (encoding, "strict", "strict")
    return [stream.buffer.getvalue() for stream in (out, err)]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("asked", [None, ":strict"])
def test_pipes_and_files_get_utf_8(monkeypatch, encoding, asked):
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if asked:
        monkeypatch.setenv("PYTHONIOENCODING", asked)
    assert written(monkeypatch, encoding, io.BytesIO()) == [f"{WORDS}\n".encode()] * 2


@pytest.mark.parametrize("asked, buffer", [(None, Terminal), ("cp1252", io.BytesIO), ("cp1252:replace", io.BytesIO)])
def test_where_another_encoding_is_wanted_lost_letters_are_told(monkeypatch, asked, buffer):
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if asked:
        monkeypatch.setenv("PYTHONIOENCODING", asked)
    out, err = written(monkeypatch, "cp1252", buffer())
    assert out == "naïve œuvre ?ó?w ?ó?w\n".encode("cp1252")
    lines = err.decode("cp1252").splitlines()
    assert lines[0] == "naïve œuvre \\u017có\\u0142w \\u017có\\u0142w"
    assert lines[1:] == ["fastrnn: 4 letters could not be written in cp1252, and became ?: '\\u017c', '\\u0142'"]
    out, err = written(monkeypatch, "cp1252", buffer(), "œuvre")
    assert (out, err) == ("œuvre\n".encode("cp1252"),) * 2


def test_of_many_letters_some_are_named(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    out, err = written(monkeypatch, "ascii", io.BytesIO(), "äöüßéè")
    assert out == b"??????\n" and b"6 letters could not be written in ascii, and became ?: " in err
    assert err.count(b"'") == 10 and err.endswith(b", ...\n")


def test_broken_characters_do_not_end_a_command(monkeypatch):
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    out, err = written(monkeypatch, "utf-8", io.BytesIO(), "a\udce9b")
    assert out == b"a?b\n" and b"1 letter could not be written in utf-8" in err


def test_streams_may_be_missing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with encoded_output():
        pass


def test_the_command_s_help_in_a_process_without_utf_8():
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "fastrnn", "train", "--help"]
    for more, there, said in (({}, "±", ""), ({"PYTHONIOENCODING": "ascii"}, "?", "became ?: '\\xb1'")):
        env = {n: v for n, v in os.environ.items() if n != "PYTHONIOENCODING"} | settings | more
        done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=True)
        assert f"uniform in {there} this" in " ".join(done.stdout.split()) and said in done.stderr

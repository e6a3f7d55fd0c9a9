"""The encoding of what the command writes: UTF-8, or what the user asks for, but no letter is lost without a word."""

import codecs
import os
import sys
from contextlib import contextmanager, suppress
from itertools import islice

from .console import count, log_line

_NAMED = 5


@contextmanager
def encoded_output():
    """In the block every letter can be written to standard output and error; tells which were replaced.

    Pipes and files get UTF-8, as files are read, whatever the machine's own encoding; a terminal gets its own, and
    PYTHONIOENCODING is obeyed. Where letters are lacking, standard output gets question marks, and standard error the
    letters' codes.
    """
    replaced = _Replaced()
    codecs.register_error("fastrnn.replace", replaced)
    before = []
    for stream, errors in ((sys.stdout, "fastrnn.replace"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            before.append((stream, stream.encoding, stream.errors))
            stream.reconfigure(encoding=None if _is_chosen(stream) else "utf-8", errors=errors)
    encoding = getattr(sys.stdout, "encoding", None)
    try:
        yield
    finally:
        if replaced.letters:
            log_line(f"fastrnn: {replaced.described(encoding)}")
        for stream, *settings in before:
            with suppress(OSError, ValueError):  # a reader that has gone, a closed stream
                stream.reconfigure(**dict(zip(("encoding", "errors"), settings, strict=True)))


def _is_chosen(stream):
    """Whether a stream's encoding is a terminal's, or the user's wish."""
    asked = "" if sys.flags.ignore_environment else os.environ.get("PYTHONIOENCODING", "")
    return stream.isatty() or bool(asked.partition(":")[0])


class _Replaced:
    """An error handler of codecs: question marks for what an encoding lacks, which it remembers."""

    def __init__(self):
        self.letters, self.times = {}, 0  # an ordered set

    def __call__(self, error):
        if not isinstance(error, UnicodeEncodeError):
            raise error
        letters = error.object[error.start : error.end]
        self.letters |= dict.fromkeys(letters)
        self.times += len(letters)
        return "?" * len(letters), error.end

    def described(self, encoding):
        named = ", ".join(map(repr, islice(self.letters, _NAMED))) + (", ..." if len(self.letters) > _NAMED else "")
        return f"{count(self.times, 'letter')} could not be written in {encoding}, and became ?: {named}"

"""Whether the ends of lines end sentences.

They do in titles, tweets, verse, subtitles, chat and logs, and they do not in prose that was wrapped to some width.
"""

import re
from itertools import pairwise

BREAK = re.compile(r"\r\n?|\n")  # what ends a line; form feeds and the like do not

_STOP = r"[.!?…‼⁇⁈⁉．।॥؟۔።፧។៕։。｡！？]"  # full stops of all scripts
_CLOSING = r"""[)\]}"'»”’›」』）*_]*"""
_SENTENCE_END = re.compile(rf"{_STOP}{_CLOSING}(?=\s|$)|[。｡！？]")
_ENDS_IN_STOP = re.compile(rf"{_STOP}\s*{_CLOSING}\s*$")
_MARGIN = " \t>#/*"  # what every line of a quotation or comment may begin with
_LEAST = 4  # lines to judge by
_SAMPLE = 1_000_000  # characters that are looked at
_NEIGHBOURS = 3  # lines before and after, which show how wide a text is there


def end_sentences(text):
    """Whether the lines of a text are sentences, or nothing that goes on in the next line.

    What counts are open lines: those without a full stop that are followed by another line. They must be many, against
    the full stops of the text. Where there are hardly any full stops that is enough. Otherwise the text must not look
    wrapped: either nearly all of the next lines begin with something else than a small letter, or most of their first
    words would have fitted on the line before, which the lines around it show.
    """
    text = text[:_SAMPLE]
    lines = [line.rstrip() for line in BREAK.split(text)]
    open_lines = [i for i, (line, following) in enumerate(pairwise(lines)) if following and _is_open(line)]
    stops = len(_SENTENCE_END.findall(text))
    if len(open_lines) < _LEAST or 3 * len(open_lines) < stops:
        return False
    if 10 * stops < len(open_lines):
        return True
    small = sum(lines[i + 1].lstrip(_MARGIN)[:1].islower() for i in open_lines)
    if 4 * small <= len(open_lines) and _has_case(text):
        return True
    return 5 * sum(_would_fit(lines, i) for i in open_lines) >= 3 * len(open_lines)


def _is_open(line):
    return bool(line) and not _ENDS_IN_STOP.search(line)


def _would_fit(lines, i):
    """Whether the first word of the next line would have fitted on line i."""
    width = max(map(len, lines[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]))
    following = lines[i + 1].lstrip(_MARGIN) or lines[i + 1].lstrip()
    return len(lines[i]) + 1 + len(following.split(None, 1)[0]) <= width


def _has_case(text):
    """Whether the text has capitals among more small letters."""
    capitals, small = sum(map(str.isupper, text)), sum(map(str.islower, text))
    return 0 < 3 * capitals < small

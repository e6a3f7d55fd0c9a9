"""A text that every machine has: the manual inside Python."""

import re

_MARKER = re.compile(r"^[ \t]*(?:[*o-]|\d+\.|\(\d+\)|\[\d+\])[ \t]+", re.MULTILINE)
_VERSION = re.compile(
    r"(?:New|Added|Changed|Deprecated(?: since)?)(?:,| in)? (?:in )?version [\w.]+"
    r"(?:, will be removed in version [\w.]+)?: "
)
_LITERAL = re.compile(r'"([^"\n]*)"|``([^`\n]+)``')
_NAME = re.compile(r"[A-Za-z_][\w.]*(?: [a-z]+)*")  # a name, or words of a statement
_CALL = re.compile(r"(?<=\w)\(\)")
_STRESS = re.compile(r"(?<!\w)(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1(?!\w)")
_HYPHEN = re.compile(r"(?<=\w)-\n[ \t]*(?=\w)")
_FOOTNOTE = re.compile(r"\s*\[\d+\]")
_SENTENCE_END = re.compile(r"(?<!i\.e\.)(?<!e\.g\.)(?<=[.!?])\s+(?=[A-Z(])")
_PROSE = re.compile(r"(?!PEP \d|.*://)[A-Z][\w\s.,;:!?'()/–—+-]*[.!?]")
_CODE = "\0"  # marks a literal that is more than a name
_LEAST_WORDS = 5


def python_manual() -> list[str]:
    """Return the prose of Python's own manual, which comes with Python itself.

    The text of `pydoc_data.topics`, nearly half a million characters, without its code, grammar,
    tables, headings and markup. What it says depends a little on the version of Python.

    Returns
    -------
    list of str
        Paragraphs of one or more whole sentences; no sentence comes twice.
    """
    from pydoc_data.topics import topics

    seen = set()
    paragraphs = []
    for _, topic in sorted(topics.items()):
        for block in _MARKER.sub("\n\n", topic).split("\n\n"):
            sentences = [s for s in _sentences(block) if s not in seen]
            seen.update(sentences)
            if sentences:
                paragraphs.append(" ".join(sentences))
    return paragraphs


def _sentences(block):
    """The sentences of a block of lines that are prose."""
    text = " ".join(_HYPHEN.sub("-", block).split())
    text = text.replace("‘", "'").replace("’", "'").replace("“", '"').replace("”", '"')
    text = _VERSION.sub("", _FOOTNOTE.sub("", text))
    text = _STRESS.sub(r"\2", _CALL.sub("", _LITERAL.sub(_name, text)))
    sentences = _SENTENCE_END.split(text)
    return [s for s in sentences if _PROSE.fullmatch(s) and s.count(" ") >= _LEAST_WORDS - 1]


def _name(literal):
    code = (literal[1] or literal[2] or "").removesuffix("()")
    return code if _NAME.fullmatch(code) else _CODE

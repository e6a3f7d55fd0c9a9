"""Raw text, CSV and files to sentences and tokens, and tokens back to text.

NLTK is imported inside the functions that need it: that import costs a second.
"""

import csv
import gzip
import logging
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

SENTENCE_SPLITS = ("punkt", "line", "text")
LEVELS = ("word", "whitespace", "char")

_SUFFIXES = (".txt", ".txt.gz", ".csv", ".csv.gz")  # what a directory is searched for
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_WORD = re.compile(r"\w")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BLOCK = 1_000_000  # characters: bounds Punkt's training, and NLTK's five seconds a regex match

# Given to a Punkt model that is trained here: a small text shows too few abbreviations.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e a.k.a cf fig no vol pp approx inc ltd co corp u.s u.k a.m p.m".split()
)

_LEARNED = frozenset(["abbreviations", "collocations", "sentence_starters", "orthography"])
_STDIN = Path("standard input")  # stands for "-" where a file is named

_CLOSING = frozenset(".,;:!?%)]}>…”’»")
_OPENING = frozenset("([{<$#“‘„«")
_DOUBLE_QUOTES = frozenset(["``", "''", '"'])
_CLITIC = re.compile(r"n't|'(s|m|d|ll|re|ve)", re.IGNORECASE)
_AFTER_CURLY = re.compile(r"s|t|m|d|ll|re|ve", re.IGNORECASE)
_SPLIT_WORDS = frozenset(  # what NLTK's tokenizer takes apart
    ["can not", "gon na", "got ta", "gim me", "lem me", "wan na", "d 'ye", "more 'n"] + ["'t is", "'t was"]
)


def read_texts(path, column=None, encoding="utf-8") -> Iterator[str]:
    """Read texts from a file, a directory or standard input.

    Parameters
    ----------
    path : str or path-like
        A CSV file (``.csv``, ``.csv.gz``) gives one text a row; any other file, compressed if its
        name ends in ``.gz``, is one text; a directory gives those of all its ``.txt``,
        ``.txt.gz``, ``.csv`` and ``.csv.gz`` files, recursively, in sorted order; ``"-"`` is
        standard input.
    column : str, optional
        The CSV column that holds the text, named in the file's first row. It may be omitted if
        there is only one. With ``"-"`` it says that standard input is CSV.
    encoding : str
        Of every file; a byte order mark is skipped.

    Returns
    -------
    iterator of str
        Blank texts are left out. Files are read one at a time, as the iterator reaches them.

    Raises
    ------
    FileNotFoundError
        There is no such path.
    ValueError
        No text found, a binary file, another encoding, broken gzip, a directory without text
        files, or a CSV file without the column.
    """
    if str(path) == "-":
        return _texts_of([_STDIN], _STDIN, column, encoding)
    path = Path(path)
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and _name(p).endswith(_SUFFIXES)]
        if not files:
            raise ValueError(f"{path}: no text files found, expected {', '.join(_SUFFIXES)}")
        return _texts_of(sorted(files, key=Path.as_posix), path, column, encoding)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    if column is not None and not _is_csv(path):
        raise ValueError(f"{path}: column {column!r} was asked for, expected a .csv or .csv.gz file")
    return _texts_of([path], path, column, encoding)


class SentenceSplitter:
    """Split texts into sentences.

    Parameters
    ----------
    mode : {"punkt", "line", "text"}
        ``"punkt"``: NLTK's Punkt, within paragraphs, which blank lines separate. Its English model
        ``punkt_tab`` is used where it is installed; nothing is ever downloaded, and elsewhere a
        model is trained on the first million characters, which one logged line says.
        ``"line"``: one sentence a line. ``"text"``: every text is one sentence.

    learned : dict, optional
        A Punkt model that was trained before, as the attribute of this name holds it.

    Attributes
    ----------
    learned : dict or None
        Parameters of the Punkt model if it was trained here, of plain types that JSON can hold.

    Raises
    ------
    ValueError
        An unknown mode, or a damaged model.
    """

    def __init__(self, mode="punkt", learned=None):
        if mode not in SENTENCE_SPLITS:
            raise ValueError(f"sentence_split is {mode!r}, expected one of {SENTENCE_SPLITS}")
        if learned is not None and learned.keys() != _LEARNED:
            raise ValueError(f"a Punkt model has {sorted(_LEARNED)}, found {sorted(learned)}")
        self.mode = mode
        self.learned = learned
        self._punkt = None

    def prepare(self, texts: Iterable[str]) -> Iterator[str]:
        """Find the Punkt model, or train it on the head of `texts`; return the same texts."""
        if self.mode != "punkt" or self._punkt is not None:
            return iter(texts)
        if self.learned is None:
            self._punkt = _installed_punkt()
        if self._punkt is None:
            if self.learned is None:
                sample, texts = _head(texts)
                self.learned = _train_punkt(sample)
                logging.getLogger("fastrnn").warning(
                    "NLTK's punkt_tab is not installed: sentences are split by a Punkt model trained on this text"
                )
            self._punkt = _build_punkt(self.learned)
        return iter(texts)

    def split(self, text: str) -> Iterator[str]:
        """Yield the sentences of a text, blank ones left out. Call `prepare` first."""
        if self.mode == "punkt":
            sentences = (s for part in _paragraphs(text) for s in _sentences(self._punkt, part))
        else:
            sentences = text.splitlines() if self.mode == "line" else [text]
        return (sentence for sentence in sentences if sentence and not sentence.isspace())

    def __getstate__(self):
        return self.__dict__ | {"_punkt": None}  # found again, or built again, when needed


def tokenizer(level: str) -> Callable[[str], list[str]]:
    """Return the function that splits one sentence into tokens.

    Parameters
    ----------
    level : {"word", "whitespace", "char"}
        ``"word"``: as NLTK's `word_tokenize`, which would split sentences once more.
        ``"whitespace"``: for text that is tokenised already. ``"char"``: characters.

    Raises
    ------
    ValueError
        An unknown level.
    """
    if level == "word":
        from nltk.tokenize.destructive import NLTKWordTokenizer

        return NLTKWordTokenizer().tokenize
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, expected one of {LEVELS}")
    return list if level == "char" else str.split


def join_words(tokens: Iterable[str]) -> str:
    """Put word tokens together as people write them.

    What NLTK's `TreebankWordDetokenizer` does, but token by token, without an import that costs
    a second; dashes and dots stay apart from the next word, and quotes are paired.

    Examples
    --------
    >>> join_words(["Do", "n't", "``", "(", "ever", ")", "''", "pay", "$", "5", "!"])
    'Don\\'t "(ever)" pay $5!'
    """
    tokens = list(tokens)
    pieces = []
    attach = True  # to the piece before
    in_double = in_single = False
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        after = tokens[i + 1] if i + 1 < len(tokens) else ""
        opens, closes = _is_all(token, _OPENING), _is_all(token, _CLOSING)
        if token in _DOUBLE_QUOTES:
            opens = in_double = not in_double and token != "''"
            closes = not opens
        elif token == "'":
            paired = "'" in tokens[i + 1 :] or not before[-1:].isalnum() or after[:1].isdigit()
            plural = before.endswith("s")
            opens = in_single = bool(after) and paired and not in_single and not plural
            closes = not opens
        closes |= _CLITIC.fullmatch(token) is not None or (before == ":" and token[:2] == "//")
        closes |= f"{before} {token}".lower() in _SPLIT_WORDS
        pieces.append("" if attach or closes else " ")
        pieces.append('"' if token in _DOUBLE_QUOTES else token)
        attach = opens or (token == "’" and _AFTER_CURLY.fullmatch(after) is not None)
    return "".join(pieces)


def _is_all(token, characters):
    return bool(token) and characters.issuperset(token)


def _texts_of(files, path, column, encoding):
    found = False
    for file in files:
        text = _read(file, encoding)
        is_csv = _is_csv(file) or (file is _STDIN and column is not None)
        for item in _csv_column(text, file, column) if is_csv else [text]:
            if item and not item.isspace():
                found = True
                yield item
    if not found:
        raise ValueError(f"{path}: no text found, expected at least one sentence")


def _read(file, encoding):
    try:
        data = sys.stdin.buffer.read() if file is _STDIN else file.read_bytes()
        if _name(file).endswith(".gz"):
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file}: broken gzip file ({error})") from None
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise ValueError(f"encoding is {encoding!r}, expected one that Python knows") from None
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise _binary(file, encoding) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}: not {encoding} at byte {error.start}, line {line}; give its encoding") from None
    if "\0" in text:
        raise _binary(file, encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _binary(file, encoding):
    return ValueError(f"{file}: NUL bytes found, expected a text file in {encoding}")


def _csv_column(text, file, column):
    # The reader's limit is global: it is raised only while the rows are read, all at once.
    limit = csv.field_size_limit(min(len(text) + 1, 2**31 - 1))
    try:
        rows = csv.reader((match.group() for match in _LINE.finditer(text)), strict=True)
        header = next(rows, [])
        if not header:
            return []
        if column is None and len(header) > 1:
            raise ValueError(f"{file}: name the column of the text, one of {_listed(header)}")
        if column is not None and column not in header:
            raise ValueError(f"{file}: no column {column!r}, found {_listed(header)}")
        k = 0 if column is None else header.index(column)
        texts = []
        for row in rows:
            if row and len(row) <= k:
                raise ValueError(
                    f"{file}: the row that ends on line {rows.line_num} has {len(row)} columns, expected {len(header)}"
                )
            texts.extend(row[k : k + 1])
        return texts
    except csv.Error as error:
        raise ValueError(f"{file}: broken CSV on line {rows.line_num} ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _name(path):
    return path.name.lower()


def _is_csv(path):
    return _name(path).endswith((".csv", ".csv.gz"))


def _listed(names):
    return ", ".join(map(repr, names))


def _paragraphs(text):
    start = 0
    for blank in chain(_BLANK_LINE.finditer(text), [None]):
        stop = blank.start() if blank else len(text)
        while stop - start > _BLOCK:
            cut = text.rfind("\n", start + 1, start + _BLOCK)
            cut = cut if cut > 0 else text.rfind(" ", start + 1, start + _BLOCK)
            cut = cut if cut > 0 else start + _BLOCK
            yield text[start:cut]
            start = cut
        yield text[start:stop]
        start = blank.end() if blank else stop


def _sentences(punkt, paragraph):
    """Punkt's sentences; one without a word, as the "!" of a last "?!", goes with that before."""
    start = stop = 0
    for next_start, next_stop in punkt.span_tokenize(paragraph):
        if _WORD.search(paragraph, next_start, next_stop):
            yield paragraph[start:stop]
            start = next_start
        stop = next_stop
    yield paragraph[start:stop]


def _head(texts):
    """The first million characters, for training, and all the texts, read ones first."""
    texts, head, size = iter(texts), [], 0
    for text in texts:
        head.append(text)
        size += len(text)
        if size >= _BLOCK:
            break
    return "\n\n".join(head)[:_BLOCK], chain(head, texts)


def _installed_punkt():
    """NLTK's own English model, or None where it is not installed."""
    from nltk.tokenize.punkt import PunktTokenizer

    try:
        return PunktTokenizer("english")
    except (LookupError, OSError):
        return None


def _train_punkt(sample):
    from nltk.tokenize.punkt import PunktTrainer

    params = PunktTrainer(sample).get_params()
    abbreviations = {word for word in params.abbrev_types if _is_abbreviation(word, sample)}
    return {
        "abbreviations": sorted(abbreviations | _ABBREVIATIONS),
        "collocations": sorted(map(list, params.collocations)),
        "sentence_starters": sorted(params.sent_starters),
        "orthography": dict(sorted(params.ortho_context.items())),
    }


def _is_abbreviation(word, sample):
    """Seen five times, and mostly where no sentence starts: Punkt alone takes "sun." for one."""
    after = re.findall(rf"(?i:\b{re.escape(word)})\.\s*(\S)", sample)
    capitals = sum(map(str.isupper, after))
    return len(after) >= 5 and capitals < len(after) / 2 and sample != sample.lower()


def _build_punkt(learned):
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    params = PunktParameters()
    params.abbrev_types = set(learned["abbreviations"])
    params.collocations = set(map(tuple, learned["collocations"]))
    params.sent_starters = set(learned["sentence_starters"])
    params.ortho_context.update(learned["orthography"])
    return PunktSentenceTokenizer(params)

"""Texts to numbers of tokens in one pass, in one process or, where there is much text, in several."""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

import numpy as np

from .custom_tokenizer import is_tokens
from .sizes import utf8_size
from .tokenize import SentenceSplitter
from .truecase import CaseCounts
from .whole_words import SentenceTokenizer

_BATCH = 1 << 21  # characters that a process is given at a time
_MUCH = 1 << 24  # characters that this process reads alone: others take a second or two to start


class TokenIds:
    """Distinct tokens, numbered by their first appearance, and texts as those numbers: 4 bytes a token.

    Parameters
    ----------
    splitter : SentenceSplitter
        It must be prepared.
    level : {"word", "whitespace", "char"} or callable
        As `tokenizer` has it.
    lowercase : bool
    words : iterable of str
        Those that are one token as they stand, see `SentenceTokenizer`.
    count_case : bool
        Whether `case` is wanted.

    Attributes
    ----------
    numbers : dict of str to int
        The number of each distinct token.
    ids : array of int
        Sentences, end to end.
    lengths : array of int
        Tokens of each sentence.
    case : CaseCounts or None
    """

    def __init__(self, splitter: SentenceSplitter, level, lowercase, words=(), count_case=False):
        self.numbers = numbers = defaultdict()
        numbers.default_factory = numbers.__len__
        self.ids, self.lengths = array("i"), array("i")
        self._settings = splitter, level, lowercase, words, count_case
        self.case = CaseCounts() if count_case else None
        self._encode = SentenceTokenizer(level, lowercase, words, lambda tokens: map(numbers.__getitem__, tokens))

    def read(self, texts: Iterable[str], n_jobs=None, progress=None):
        """Add the sentences of texts.

        Parameters
        ----------
        texts : iterable of str or lists of str
        n_jobs : int, optional
            Processes; by default one for each core where there is much text, and otherwise this one alone, which also
            calls a user's tokenizer: many cannot be sent to others.
        progress : callable, optional
            It is told the bytes that were read, in UTF-8.
        """
        batches = _batches(texts, self._settings[0], progress is not None)
        left = _MUCH if n_jobs != 1 and not callable(self._settings[1]) else float("inf")
        for blocks, n_bytes in batches:
            self._add(blocks)
            if progress:
                progress(n_bytes)
            left -= sum(len(block) if isinstance(block, str) else sum(map(len, block)) for block in blocks)
            if left <= 0:
                self._read_in_processes(batches, n_jobs, progress)

    def _add(self, blocks):
        splitter = self._settings[0]
        ids, encode, inner = self.ids, self._encode, splitter.inner and splitter.mode != "punkt"
        number = self.numbers.__getitem__
        for block in blocks:
            cased = []
            for unit in splitter.split_block(block):
                before = len(ids)
                if is_tokens(unit):
                    ids.extend(map(number, encode.lower(unit)))
                    cased.append(" ".join(unit))
                else:
                    for sentence in splitter.sentences(unit) if inner else (unit,):
                        ids.extend(encode(sentence))
                        cased.append(sentence)
                if len(ids) > before:  # a user's tokenizer may find nothing
                    self.lengths.append(len(ids) - before)
            if self.case:
                self.case.add(cased)

    def _read_in_processes(self, batches, n_jobs, progress):
        from joblib import Parallel, cpu_count, delayed

        n_jobs = n_jobs or cpu_count()
        with Parallel(n_jobs) as parallel:
            while waiting := list(islice(batches, 2 * n_jobs)):
                found = parallel(delayed(_encoded)(*self._settings, blocks) for blocks, _ in waiting)
                for result, (_, n_bytes) in zip(found, waiting, strict=True):
                    self._append(*result)
                    if progress:
                        progress(n_bytes)

    def _append(self, tokens, ids, lengths, case):
        """Add what another process found, with numbers of its own."""
        number = np.fromiter(map(self.numbers.__getitem__, tokens), np.intc, len(tokens))
        self.ids.frombytes(number[ids].tobytes())
        self.lengths.frombytes(lengths.tobytes())
        if case:
            self.case.update(case)


def _encoded(splitter, level, lowercase, words, count_case, blocks):
    """Tokens, numbers and lengths of the sentences of a batch, and their case."""
    splitter.prepare([])
    found = TokenIds(splitter, level, lowercase, words, count_case)
    found._add(blocks)
    ids, lengths = np.frombuffer(found.ids, np.intc), np.frombuffer(found.lengths, np.intc)
    return list(found.numbers), ids, lengths, found.case and found.case.drop_lower()


def _batches(texts, splitter, count):
    """Yield blocks of texts, some million characters at a time, and if `count` the bytes that this completes."""
    blocks, size, finished, told = [], 0, 0, 0
    for text in texts:
        begun = finished
        for block in splitter.blocks(text):
            blocks.append(block)
            size += sum(map(len, block)) if is_tokens(block) else len(block)
            begun += utf8_size(block) if count else 0
            if size >= _BATCH:
                yield blocks, begun - told
                blocks, size, told = [], 0, begun
        finished += utf8_size(text) if count else 0
    yield blocks, finished - told

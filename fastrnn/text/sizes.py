"""How many bytes texts have: for progress bars, which should know the whole before it was read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from .custom_tokenizer import is_tokens

_SLICE = 1 << 20


class SizedTexts(Iterator):
    """An iterator over texts that can say how many bytes all of them have, as far as that is known.

    Parameters
    ----------
    texts : iterable of str
    size : callable
        Returns `n_bytes`, and may know it better the more texts were read.
    """

    def __init__(self, texts: Iterable[str], size: Callable[[], int | None]):
        self._texts, self._size = iter(texts), size

    def __next__(self):
        return next(self._texts)

    @property
    def n_bytes(self) -> int | None:
        """The bytes in UTF-8 of all texts, those that were read among them; None if that is not known."""
        return self._size()

    @classmethod
    def joined(cls, parts: Sequence["SizedTexts"]) -> "SizedTexts":
        """The texts of one after the other."""
        return cls(chain.from_iterable(parts), lambda: _total([part.n_bytes for part in parts]))


class FileSizes:
    """The bytes of the texts of some files: those that were read are counted, of the others it is the size on disk.

    Parameters
    ----------
    sizes : list of int or None
        On disk; None is not known.
    """

    def __init__(self, sizes):
        self._sizes = list(sizes)

    def read(self, i: int, texts: Iterable[str]):
        """Count the texts that file i was found to have."""
        self._sizes[i] = sum(map(utf8_size, texts))

    def __call__(self) -> int | None:
        """Return the bytes of all files, or None if those of one are not known."""
        return _total(self._sizes)


def n_bytes_of(texts) -> int | None:
    """The bytes in UTF-8 of texts, if these can be looked at without using them up; otherwise None."""
    if isinstance(texts, SizedTexts):
        return texts.n_bytes
    if isinstance(texts, Sequence) and not isinstance(texts, (str, bytes)) and all(map(_is_text, texts)):
        return sum(map(utf8_size, texts))
    return None


@contextmanager
def reading_bar(texts):
    """A progress bar on standard error while texts are read; the value is a function that is told bytes."""
    from tqdm import tqdm

    with tqdm(desc="Reading", total=n_bytes_of(texts), unit="B", unit_scale=True) as bar:

        def tell(n_bytes):
            if isinstance(texts, SizedTexts):
                bar.total = texts.n_bytes  # known the better the more was read
            bar.update(n_bytes)

        yield tell
        if bar.total is not None:
            bar.total = bar.n
            bar.refresh()


def utf8_size(text: str) -> int:
    """The bytes of a text in UTF-8; of tokens, with a space after each."""
    if is_tokens(text):
        return sum(map(utf8_size, text)) + len(text)
    if text.isascii():
        return len(text)
    return sum(len(text[i : i + _SLICE].encode("utf-8", "surrogatepass")) for i in range(0, len(text), _SLICE))


def _is_text(text):
    return isinstance(text, str) or (is_tokens(text) and all(isinstance(token, str) for token in text))


def _total(sizes):
    return None if None in sizes else sum(sizes)

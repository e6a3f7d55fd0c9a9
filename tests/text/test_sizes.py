"""The bar that shows how far reading is knows the whole: in bytes, as soon as files' sizes tell them."""

import gzip
import io

import pytest
import tqdm

from fastrnn import Vocabulary, read_texts
from fastrnn.text import token_ids
from fastrnn.text.files import read_inputs
from fastrnn.text.hold_out import HoldOut
from fastrnn.text.sizes import SizedTexts, n_bytes_of

LINE = "ein Wort für dich\n"  # 19 bytes


@pytest.fixture
def bars(monkeypatch):
    """Every (bytes, total) that was shown."""
    shown = []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            shown.append((self.n + n, self.total))
            super().update(n)

        def close(self):
            if not self.disable:
                shown.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(token_ids, "_BATCH", 100)
    return shown


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text(LINE * 10, encoding="utf-8")
    (tmp_path / "b.txt").write_text(LINE * 20, encoding="utf-8")
    return tmp_path


def test_sizes_of_plain_files_are_known_before_they_are_read(folder):
    assert read_texts(folder).n_bytes == read_inputs([folder / "a.txt", folder / "b.txt"]).n_bytes == 30 * 19
    assert read_texts([folder / "a.txt"]).n_bytes == 10 * 19


def test_other_files_are_counted_when_they_are_read(folder):
    packed, table = folder / "c.txt.gz", folder / "d.csv"
    packed.write_bytes(gzip.compress((LINE * 100).encode()))
    table.write_text("id,body\n" + f"12345,{LINE}" * 10, encoding="utf-8")
    texts = read_inputs([folder / "a.txt", packed])
    assert texts.n_bytes == 190 + packed.stat().st_size
    next(texts), next(texts)
    assert texts.n_bytes == 190 + 1900
    texts = read_texts(table, "body")
    next(texts)
    assert texts.n_bytes == 180


def test_standard_input_is_counted_when_it_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINE.encode())))
    texts = read_texts("-")
    assert texts.n_bytes is None
    assert list(texts) == [LINE] and texts.n_bytes == 19


def test_what_is_held_out_does_not_count(folder):
    splitter = Vocabulary(sentence_split="line").new_splitter()
    assert HoldOut(0.1, splitter).rest(read_texts(folder)).n_bytes == round(0.9 * 570)
    assert HoldOut(0, splitter).rest(read_texts(folder)).n_bytes == 570
    assert not isinstance(HoldOut(0.1, splitter).rest([LINE]), SizedTexts)
    assert HoldOut(0.1, splitter).rest(SizedTexts([LINE], lambda: None)).n_bytes is None


def test_texts_that_are_not_files():
    assert n_bytes_of(["ab", "ü"]) == 4 and n_bytes_of([["ab", "ü"], "c"]) == 7
    assert n_bytes_of(iter(["ab"])) is None and n_bytes_of("ab") is None and n_bytes_of(["a", 3]) is None


@pytest.mark.parametrize("share", [0, 0.2])
def test_the_bar_knows_the_total_and_ends_with_it(folder, bars, share):
    vocabulary = Vocabulary(sentence_split="line", verbose=1)
    vocabulary.fit(HoldOut(share, vocabulary.new_splitter()).rest(read_texts(folder)))
    assert len(bars) > 3
    assert all(total == round((1 - share) * 570) for _, total in bars[:-1])
    assert bars[-1][0] == bars[-1][1] <= 570
    assert sorted(bars) == bars or share


def test_the_bar_of_lists(bars):
    Vocabulary(sentence_split="line", verbose=1).fit([LINE] * 3)
    assert bars[-1] == (57, 57) and bars[0][1] == 57

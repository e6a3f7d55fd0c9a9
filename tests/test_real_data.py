"""On real text, where it lies beside the checkout: the defaults learn quickly and do not diverge."""

import zipfile
from pathlib import Path

import numba
import pytest

from fastrnn import FastRNN, Vocabulary, read_texts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REVIEWS, SHAKESPEARE = DATA / "movie_reviews" / "movie_reviews.zip", DATA / "tinyshakespeare" / "input.txt"

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="interpreted kernels take too long on real text")


def perplexities(vocabulary, learned, held_out, **parameters):
    """Perplexity of held-out text before training, and after each of two epochs."""
    x, y = vocabulary.fit_transform(learned)
    measured = vocabulary.transform(held_out)
    model = FastRNN(vocab_size=len(vocabulary), max_epochs=0, random_state=0, **parameters).fit(x, y)
    results = [model.perplexity(*measured)]
    for _ in range(2):
        results.append(model.partial_fit(x, y).perplexity(*measured))
    return results


@pytest.mark.skipif(not REVIEWS.exists(), reason="the movie reviews are not beside the checkout")
def test_words_of_movie_reviews():
    with zipfile.ZipFile(REVIEWS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))[:220]
        texts = [archive.read(name).decode("latin-1") for name in names]
    untrained, first, second = perplexities(Vocabulary(4000, sentence_split="line"), texts[:200], texts[200:])
    assert untrained == pytest.approx(4000, rel=0.02)
    assert second < first < 700 and second < 400


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="tinyshakespeare is not beside the checkout")
def test_characters_of_shakespeare():
    (text,) = read_texts(SHAKESPEARE)
    vocabulary = Vocabulary(level="char", lowercase=False)
    untrained, first, second = perplexities(vocabulary, [text[:300_000]], [text[300_000:320_000]])
    assert untrained > 50
    assert second < first < 10 and second < 8

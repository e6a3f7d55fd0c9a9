"""`LanguageModel`: raw text in, text out."""

import numpy as np
import pytest

from fastrnn import FastRNN, LanguageModel, NotFittedError, Translator, Vocabulary

TEXTS = ["The cat sat on the mat. The dog sat on the cat!", "A dog isn't a cat. Is the mat a dog?"] * 3


@pytest.fixture(scope="module")
def fitted():
    return LanguageModel(vocab_size=20, hidden_dim=4, max_epochs=1, random_state=0, n_threads=1).fit(TEXTS)


def test_it_is_a_vocabulary_and_a_model(fitted):
    vocabulary = Vocabulary(20)
    x, y = vocabulary.fit_transform(TEXTS)
    model = FastRNN(vocab_size=len(vocabulary), hidden_dim=4, max_epochs=1, random_state=0, n_threads=1).fit(x, y)
    assert fitted.vocabulary_.tokens_ == vocabulary.tokens_
    assert fitted.loss(TEXTS) == model.loss(x, y) == -fitted.score(TEXTS)
    assert fitted.perplexity(TEXTS) == pytest.approx(np.exp(fitted.loss(TEXTS)))
    per_sentence = fitted.score_samples(TEXTS, per_sentence=True)
    np.testing.assert_array_equal(np.concatenate(per_sentence), model.score_samples(x, y))


def test_one_score_per_text(fitted, caplog):
    texts = ["The cat sat. The dog sat!", "  ", "A dog.", "\n\n"]
    scores, (first, *rest) = fitted.score_samples(iter(texts)), fitted.score_samples(texts, per_sentence=True)
    assert scores.shape == (4,) and scores.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(scores), [False, True, False, True])
    assert [len(first), *map(len, rest)] == [2, 0, 1, 0]
    np.testing.assert_allclose(scores[[0, 2]], [first.sum(), rest[1][0]], rtol=1e-12)
    np.testing.assert_allclose([fitted.score_samples([text])[0] for text in texts], scores, rtol=1e-5)
    assert "NaN for 2 texts without any sentence, such as texts[1]" in caplog.messages[0]
    with pytest.raises(ValueError, match="^texts: found none"):
        fitted.score_samples([])


class Frame:
    """As far as it matters, a DataFrame: iterates over the names of its columns."""

    def __init__(self, **columns):
        self.data = columns

    @property
    def columns(self):
        return [*self.data]

    def __iter__(self):
        return iter(self.data)


@pytest.mark.parametrize("table", [{"id": ["a b"], "body": ["c d"]}, Frame(id=["a b"], body=["c d"])])
def test_a_table_is_no_list_of_texts(fitted, table):
    expected = rf"texts: found a {type(table).__name__}, expected a list of \w+, such as one column: \['id'\]"
    for method in (LanguageModel(max_epochs=0).fit, Vocabulary().fit, fitted.loss, fitted.score_samples):
        with pytest.raises(TypeError, match=expected):
            method(table)
    with pytest.raises(TypeError, match="exclude: found a"):
        fitted.generate(exclude=table)
    with pytest.raises(TypeError, match="source_texts: found a"):
        Translator(max_epochs=0).fit(table, ["a"])


def test_an_iterator_is_not_used_up_by_a_check(fitted):
    for exclude in (["the", "a"], (token for token in ["the", "a"])):
        words = " ".join(fitted.generate(100, exclude=exclude, random_state=0)).split()
        assert words and not {"the", "a"} & {*words}


def test_partial_fit_begins_and_goes_on():
    one = LanguageModel(hidden_dim=4, random_state=0, n_threads=1).partial_fit(TEXTS)
    assert one.model_.n_epochs_ == 1
    size = len(one.vocabulary_)
    one.partial_fit(["A completely new zebra."])
    assert one.model_.n_epochs_ == 2 and len(one.vocabulary_) == size


def test_a_refused_fit_leaves_what_was_fitted(fitted):
    before = vars(fitted).copy()
    for refused in ({"resume": "missing.npz"}, {"callback": 3}):
        with pytest.raises((OSError, TypeError)):
            fitted.fit(["Another text."], **refused)
        assert vars(fitted) == before
    fresh = LanguageModel(hidden_dim=4)
    with pytest.raises(TypeError, match="^callback"):
        fresh.fit(TEXTS, callback=3)
    with pytest.raises(NotFittedError):
        fresh.generate()


def test_generate_writes_for_people(fitted):
    sentences, log_probs = fitted.generate(
        20, prompt="the cat", exclude=["dog", "UNKNOWN_TOKEN"], random_state=1, return_log_probs=True
    )
    assert len(sentences) == len(log_probs) == 20
    assert all(sentence.startswith("the cat") for sentence in sentences)
    assert not any("dog" in s or "UNKNOWN" in s or "SENTENCE" in s for s in sentences)
    assert sentences == fitted.generate(20, prompt="the cat", exclude=["dog", "UNKNOWN_TOKEN"], random_state=1)


def test_unknown_words_of_a_prompt(fitted):
    with pytest.raises(ValueError, match="prompt: found 'zebra', 'gnu', expected words of the vocabulary"):
        fitted.generate(prompt="the zebra gnu")
    assert fitted.generate(1, prompt="the zebra", unknown="token")[0].startswith("the UNKNOWN_TOKEN")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"unknown": "drop"}, ValueError, "unknown: found 'drop'"),
        ({"exclude": "dog"}, TypeError, r"exclude: found 'dog', expected a list of tokens such as \['dog'\]"),
        ({"exclude": ["zebra"]}, ValueError, "exclude: found 'zebra', expected tokens of the vocabulary"),
        ({"prompt": 3}, TypeError, "prompt: found 3, expected a str"),
        ({"temperature": -1}, ValueError, "temperature: found -1"),
    ],
)
def test_errors_of_generate(fitted, options, error, message):
    with pytest.raises(error, match=message):
        fitted.generate(**options)


def test_errors_before_the_texts_are_read():
    def texts():
        raise AssertionError("was read")
        yield ""

    with pytest.raises(TypeError, match="no parameter 'hiden_dim', expected one of .*hidden_dim"):
        LanguageModel(hiden_dim=3)
    with pytest.raises(ValueError, match="cell: found 'grru', expected one of"):
        LanguageModel(cell="grru").fit(texts())
    with pytest.raises(ValueError, match="sentence"):
        LanguageModel(sentence_split="page").fit(texts())
    with pytest.raises(NotFittedError):
        LanguageModel().loss(TEXTS)
    with pytest.raises(NotFittedError):
        LanguageModel().generate()


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "lm.npz")
    twin = LanguageModel.load(tmp_path / "lm.npz")
    assert twin.get_params() == fitted.get_params()
    assert twin.loss(TEXTS) == fitted.loss(TEXTS)
    assert twin.generate(5, random_state=2) == fitted.generate(5, random_state=2)
    with pytest.raises(ValueError, match="found a LanguageModel, expected a FastRNN"):
        FastRNN.load(tmp_path / "lm.npz")


@pytest.mark.parametrize("name", ["vocabulary/tokens", "vocabulary/config", "params/V", "header"])
def test_a_file_that_lacks_something_is_refused(fitted, tmp_path, name):
    fitted.save(tmp_path / "lm.npz")
    with np.load(tmp_path / "lm.npz") as file:
        arrays = {key: file[key] for key in file.files if key != name}
    np.savez(tmp_path / "lm.npz", **arrays)
    with pytest.raises(ValueError, match="lm.npz: "):
        LanguageModel.load(tmp_path / "lm.npz")


def test_a_vocabulary_of_another_size_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "lm.npz")
    with np.load(tmp_path / "lm.npz") as file:
        arrays = {key: file[key] for key in file.files}
    arrays |= {f"vocabulary/{k}": v for k, v in Vocabulary(6).fit(TEXTS).to_arrays().items()}
    np.savez(tmp_path / "lm.npz", **arrays)
    with pytest.raises(ValueError, match="damaged: 6 tokens for"):
        LanguageModel.load(tmp_path / "lm.npz")

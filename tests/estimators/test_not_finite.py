"""Weights that are NaN or infinite: whatever uses them says which they are."""

import numpy as np
import pytest

from fastrnn import Ensemble, FastRNN, LanguageModel, Seq2Seq

X, Y = [[0, 2, 3], [0, 3]], [[2, 3, 1], [3, 1]]
SMALL = {"hidden_dim": 3, "max_epochs": 0, "n_threads": 1, "random_state": 0}


@pytest.fixture(autouse=True)
def plain_python_says_nothing():
    """Kernels that run as plain Python would warn."""
    with np.errstate(all="ignore"):
        yield


def spoiled(model, name, value, row=0):
    array = model.params_[name]
    array[row if array.ndim == 1 else (row, 0)] = value
    return model


def refused(call, name):
    with pytest.raises(ValueError, match=f"^params_: found NaN or infinity in .*{name}"):
        call()


USES = {
    "predict": lambda model: model.predict(X), "predict_proba": lambda model: model.predict_proba(X),
    "activations": lambda model: model.activations(X), "loss": lambda model: model.loss(X, Y),
    "score_samples": lambda model: model.score_samples(X, Y), "perplexity": lambda model: model.perplexity(X, Y),
    "generate": lambda model: model.generate(2, max_length=5, random_state=0),
    "greedy": lambda model: model.generate(1, max_length=5, temperature=0),
    "several": lambda model: model.generate(9, max_length=5, top_k=2, top_p=0.5, random_state=0),
}  # fmt: skip


@pytest.mark.parametrize("name", ["V", "c", "layer0.W", "layer0.b", "layer0.U"])
def test_a_language_model(name, tmp_path):
    model = spoiled(FastRNN(**SMALL).fit(X, Y), name, np.nan)
    for use, call in USES.items():
        if use != "activations" or name.startswith("layer0"):
            refused(lambda call=call: call(model), name)
    refused(lambda: model.save(tmp_path / "model.npz"), name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("name", ["V", "layer0.W", "layer0.U"])
def test_infinity(name, value, tmp_path):
    """It may vanish in a gate or make an index impossible: what comes of it is refused, or finite."""
    model = spoiled(FastRNN(**SMALL).fit(X, Y), name, value)
    refused(lambda: model.predict(X), name)
    refused(lambda: model.save(tmp_path / "model.npz"), name)
    try:
        assert np.isfinite(model.score_samples(X, Y)).all()
    except ValueError as error:
        assert name in str(error)


def test_words_that_do_not_occur_may_be_anything():
    model = FastRNN(**SMALL, vocab_size=9).fit(X, Y)
    expected = model.predict(X)
    model.params_["layer0.U"][:, 8] = np.nan
    for found, other in zip(model.predict(X), expected, strict=True):
        np.testing.assert_array_equal(found, other)
    refused(lambda: model.predict([[8]]), "layer0.U")


def test_weights_so_large_that_their_squares_overflow_are_finite():
    model = FastRNN(**SMALL).fit(X, Y)
    model.params_["V"][0, 0] = 1e30
    model.predict(X)


@pytest.mark.parametrize("name", ["encoder.layer0.U", "encoder.layer0.W", "decoder.V", "decoder.c", "decoder.layer0.W"])
def test_an_encoder_decoder(name):
    good = Seq2Seq("gru", **SMALL).fit(X, Y)
    model = Seq2Seq("gru", **SMALL).fit(X, Y)
    model.params_[name][...] = np.nan
    for searching in (model, Ensemble([good, model])):
        for beam_width in (1, 3):
            refused(lambda s=searching, k=beam_width: s.predict(X, beam_width=k, max_length=5), name)
            refused(lambda s=searching, k=beam_width: s.search(X, beam_width=k, max_length=5), name)
        refused(lambda s=searching: s.loss(X, Y), name)
        refused(lambda s=searching: s.rescore(X, [[[2]], [[3]]]), name)
        refused(lambda s=searching: s.score(X, Y), name)


def test_weights_that_overflow():
    model = Seq2Seq("gru", **SMALL).fit(X, Y)
    model.params_["decoder.V"][...] = 3e38
    model.params_["decoder.c"][...] = 3e38
    with pytest.raises(ValueError, match="^params_: found weights so large that results overflow"):
        model.predict(X, max_length=5)


def test_text_too():
    lm = LanguageModel(level="char", **SMALL).fit(["abba"])
    lm.model_.params_["V"][...] = np.nan
    for call in (lm.generate, lambda: lm.loss(["ab"]), lambda: lm.save("model.npz")):
        refused(call, "V")

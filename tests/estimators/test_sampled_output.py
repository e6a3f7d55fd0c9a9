"""Training with output="sampled": what it changes and what it leaves as it is."""

import numpy as np
import pytest
from helpers import CELLS, raised, random_batch, same_weights

from fastrnn import FastRNN, LanguageModel, Seq2Seq
from fastrnn.training.tasks import sample_size

C = 60
X, Y = random_batch(C, [5, 3, 4, 2, 6, 3] * 4)


def model(cell="gru", **parameters):
    sampled = {"output": "sampled", "n_sampled": 12, "max_epochs": 2, "n_threads": 1, "random_state": 0}
    return FastRNN(cell, 4, C, **sampled | parameters)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"num_layers": 2, "dropout": 0.2, "embedding_dim": 3},
        {"embedding_dim": 4, "tie_weights": True, "bias": False},
        {"chunk_len": 2, "batch_size": 3, "optimizer": "rmsprop"},
        {"optimizer": "sgd", "clip_norm": None, "weight_noise": 0.01},
        {"dtype": "float64", "bptt_truncate": 1, "optimizer": "sgd", "momentum": 0.9},
    ],
)
def test_it_learns_with_every_option(cell, parameters):
    fitted = model(cell, **parameters | {"max_epochs": 0}).fit(X, Y)
    before = fitted.loss(X, Y)
    fitted = model(cell, **parameters | {"max_epochs": 4}).fit(X, Y)
    assert fitted.loss(X, Y) < before
    assert len(fitted.loss_curve_) == 4 and np.isfinite(fitted.loss_curve_).all()


def test_what_is_learned_is_an_ordinary_model(tmp_path):
    fitted = model().fit(X, Y)
    fitted.save(tmp_path / "model.npz")
    loaded = FastRNN.load(tmp_path / "model.npz")
    assert loaded.output == "sampled" and loaded.n_sampled == 12 and same_weights(loaded, fitted)
    ordinary = model(output="softmax", max_epochs=0).fit(X, Y)
    for name, array in fitted.params_.items():
        ordinary.params_[name] = array
    assert fitted.loss(X, Y) == ordinary.loss(X, Y)
    assert np.array_equal(fitted.predict_proba(X)[0], ordinary.predict_proba(X)[0])
    assert [a.tolist() for a in fitted.generate(3, random_state=0)] == [
        a.tolist() for a in ordinary.generate(3, random_state=0)
    ]
    loss, gradients = fitted.gradients(X, Y)
    expected_loss, expected = ordinary.gradients(X, Y)
    assert loss == expected_loss and all(np.array_equal(gradients[name], expected[name]) for name in expected)


def test_same_seed_same_numbers_and_other_samples_for_another():
    one, other, third = model().fit(X, Y), model().fit(X, Y), model(n_sampled=13).fit(X, Y)
    assert same_weights(one, other) and one.loss_curve_ == other.loss_curve_ and not same_weights(one, third)


def test_of_all_words_it_is_the_full_softmax():
    """But for the seed of the draws, which the random state gives."""
    one = model(n_sampled=C, max_epochs=1, dropout=0.1).fit(X, Y)
    assert same_weights(one, model(output="softmax", max_epochs=1, dropout=0.1).fit(X, Y))
    assert not same_weights(one, model(n_sampled=C - 1, max_epochs=1, dropout=0.1).fit(X, Y))


@pytest.mark.parametrize("chunk_len", [None, 2])
def test_a_run_goes_on_from_its_checkpoint_with_the_same_bits(tmp_path, chunk_len):
    options = {"batch_size": 4, "chunk_len": chunk_len}
    whole = model(max_epochs=4, **options).fit(X, Y)
    model(max_epochs=2, checkpoint=tmp_path / "c.npz", **options).fit(X, Y)
    resumed = model(max_epochs=4, **options).fit(X, Y, resume=tmp_path / "c.npz")
    assert same_weights(whole, resumed) and whole.loss_curve_ == resumed.loss_curve_


def test_a_checkpoint_is_of_one_kind_of_training(tmp_path):
    model(max_epochs=1, checkpoint=tmp_path / "c.npz").fit(X, Y)
    assert "n_sampled" in raised(ValueError, model(n_sampled=11).fit, X, Y, resume=tmp_path / "c.npz")


def test_a_model_may_go_on_learning_the_other_way():
    fitted = model(warm_start=True).fit(X, Y)
    before = fitted.loss(X, Y)
    fitted.set_params(output="softmax", max_epochs=3).fit(X, Y)
    assert fitted.n_epochs_ == 5 and fitted.loss(X, Y) < before


def test_partial_fit():
    fitted = model()
    for _ in range(3):
        fitted.partial_fit(X, Y)
    assert fitted.n_epochs_ == 3 and fitted.loss(X, Y) < np.log(C)


def test_translators_learn_on_samples_of_the_target_s_words():
    options = {"output": "sampled", "n_sampled": 8, "max_epochs": 3, "random_state": 0, "n_threads": 1}
    source, target = [[2, 3, 4], [5, 3], [4, 4, 2, 5]] * 4, [[22, 3, 44], [35, 3], [4, 44, 2, 5]] * 4
    start = Seq2Seq("gru", 5, **options | {"max_epochs": 0}).fit(source, target)
    fitted = Seq2Seq("gru", 5, **options).fit(source, target)
    assert fitted.loss(source, target) < start.loss(source, target)
    assert not same_weights(fitted, Seq2Seq("gru", 5, **options | {"output": "softmax"}).fit(source, target))


def test_language_models_pass_it_on():
    texts = [f"The {a} sees a {b}." for a in ("cat", "dog", "cow", "hen") for b in ("fox", "bee", "rat", "ape")]
    lm = LanguageModel(output="sampled", n_sampled=4, hidden_dim=4, max_epochs=2, random_state=0).fit(texts)
    assert lm.model_.output == "sampled" and np.isfinite(lm.perplexity(texts))


@pytest.mark.parametrize(
    ("C", "expected"), [(81, None), (82, 81), (1500, 349), (8000, 805), (33_000, 1635), (80_000, 2546)]
)
def test_default_sample(C, expected):
    assert sample_size("sampled", None, C) == expected and sample_size("softmax", None, C) is None
    assert sample_size("sampled", 50, C) == 50 and sample_size("sampled", C, C) is None


def test_bad_parameters(monkeypatch):
    assert "output: found 'hierarchical'" in raised(ValueError, model(output="hierarchical").fit, X, Y)
    assert "n_sampled: found 1" in raised(ValueError, model(n_sampled=1).fit, X, Y)
    assert "n_sampled" in raised(TypeError, model(n_sampled=2.5).fit, X, Y)


def test_a_gpu_learns_on_all_words_only(monkeypatch):
    monkeypatch.setattr("fastrnn.estimators.trainable.resolve", lambda device: "cuda")
    assert "output: found 'sampled' with device='cuda'" in raised(ValueError, model(device="cuda").fit, X, Y)

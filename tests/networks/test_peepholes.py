"""An LSTM without peepholes; its gradients and updates are compared with the equations in `test_gradients`."""

import numpy as np
import pytest
from helpers import CELLS, make_model, random_batch

from fastrnn import FastRNN, Seq2Seq, Translator, storage
from fastrnn.kernels.compiler.jit import compilations

X, Y = random_batch(7, [5, 3, 3, 1])
SMALL = {"hidden_dim": 4, "max_epochs": 2, "batch_size": 2, "random_state": 0, "n_threads": 1}


def without(cell="lstm", **parameters):
    return FastRNN(cell, peepholes=False, **SMALL | parameters)


def zero_and_none(**parameters):
    """A model whose peepholes are zero, and one without them, otherwise of the same weights."""
    zero = make_model("lstm", num_layers=2, **parameters)
    none = make_model("lstm", num_layers=2, peepholes=False, **parameters)
    for name, array in zero.params_.items():
        if name in none.params_:
            none.params_[name] = array
        else:
            array[:] = 0
    assert [name for name in zero.params_ if name not in none.params_] == ["layer0.p", "layer1.p"]
    return zero, none


def test_peepholes_of_zero_give_the_same_numbers():
    zero, none = zero_and_none()
    np.testing.assert_array_equal(none.token_losses(X, Y)[0], zero.token_losses(X, Y)[0])
    for found, expected in zip(none.predict_proba(X), zero.predict_proba(X), strict=True):
        np.testing.assert_array_equal(found, expected)
    drawn = [model.generate(3, max_length=6, random_state=1) for model in (none, zero)]
    assert [row.tolist() for row in drawn[0]] == [row.tolist() for row in drawn[1]]
    gates, expected = (model.activations(X)[0][1] for model in (none, zero))
    for name in "ifogch":
        np.testing.assert_array_equal(gates[name], expected[name], err_msg=name)


@pytest.mark.compiled
def test_they_need_no_kernels_of_their_own():
    zero, none = zero_and_none()
    for model in (zero, none):
        with compilations() as compiled:
            model.gradients(X, Y)
            model.set_params(max_epochs=1).fit(X, Y)
            model.generate(2, max_length=2)
    assert compiled == []


@pytest.mark.parametrize("parameters", [{}, {"weight_noise": 0.1, "optimizer": "sgd"}, {"dropout": 0.3}])
def test_training_goes_on_after_a_file_and_after_a_checkpoint(tmp_path, parameters):
    whole = without(**parameters).fit(X, Y)
    without(**parameters | {"max_epochs": 1}, checkpoint=tmp_path / "run.ckpt").fit(X, Y)
    resumed = without(**parameters).fit(X, Y, resume=tmp_path / "run.ckpt")
    resumed.save(tmp_path / "model")
    loaded = FastRNN.load(tmp_path / "model")
    assert loaded.peepholes is False and "layer0.p" not in loaded.params_
    for name, array in whole.params_.items():
        np.testing.assert_array_equal(loaded.params_[name], array, err_msg=name)
    assert len(loaded.partial_fit(X, Y).loss_curve_) == 3


def test_files_that_do_not_know_of_them_have_them(tmp_path):
    model = FastRNN("lstm", **SMALL).fit(X, Y)
    model.save(tmp_path / "model")
    header, arrays = storage.read(tmp_path / "model", "FastRNN")
    for name in storage.NOT_IN_OLDER_FILES:
        del header["parameters"][name]
    storage.write(tmp_path / "model", header, arrays)
    loaded = FastRNN.load(tmp_path / "model")
    assert loaded.peepholes is True and loaded.init == "default"
    np.testing.assert_array_equal(loaded.params_["layer0.p"], model.params_["layer0.p"])


def test_a_warm_start_cannot_drop_them():
    model = FastRNN("lstm", warm_start=True, **SMALL).fit(X, Y)
    with pytest.raises(ValueError, match="^peepholes: found False, expected True"):
        model.set_params(peepholes=False).fit(X, Y)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "lstm"])
def test_other_cells_have_none_either_way(cell):
    found, expected = without(cell).fit(X, Y), FastRNN(cell, **SMALL).fit(X, Y)
    for name, array in expected.params_.items():
        np.testing.assert_array_equal(found.params_[name], array, err_msg=name)


def test_of_an_encoder_and_a_decoder(tmp_path):
    model = Seq2Seq("lstm", peepholes=False, **SMALL).fit(X, Y)
    assert not any(name.endswith(".p") for name in model.params_)
    model.save(tmp_path / "model")
    loaded = Seq2Seq.load(tmp_path / "model")
    assert [row.tolist() for row in loaded.predict(X)] == [row.tolist() for row in model.predict(X)]
    translator = Translator(peepholes=False, init="tutorial", **SMALL).fit(["a b", "b"], ["c", "d c"])
    assert translator.model_.peepholes is False and translator.model_.init == "tutorial"


def test_both_sides_start_by_the_tutorial_s_rule():
    sizes = {"source_vocab_size": 100, "target_vocab_size": 400}
    model = Seq2Seq("lstm", init="tutorial", **sizes, **SMALL | {"max_epochs": 0}).fit(X, Y)
    for side, words in (("encoder", 100), ("decoder", 400)):
        largest = abs(model.params_[f"{side}.layer0.U"]).max()
        assert 0.95 * words**-0.5 < largest <= words**-0.5

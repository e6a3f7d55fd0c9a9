"""Constructor parameters and arguments: a number of any type is the same number; what is fitted stays as it is."""

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fastrnn import FastRNN, LanguageModel, Seq2Seq, Translator, Vocabulary, validation
from fastrnn.base import Estimator
from fastrnn.estimators.model_file import header_of

X, Y = [[1, 2, 3] * 4] * 150, [[2, 3, 1] * 4] * 150
SMALL = {"hidden_dim": 3, "max_epochs": 1, "n_threads": 1, "random_state": 0}
ESTIMATORS = [FastRNN, Seq2Seq, LanguageModel, Translator, Vocabulary]


def same_weights(model, other):
    return all(np.array_equal(array, other.params_[name]) for name, array in model.params_.items())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_parameter_has_one_check(estimator):
    defaults = estimator._parameter_defaults()
    assert set(estimator._checks) == set(defaults)
    estimator().check_parameters()
    for name, default in defaults.items():  # defaults are normalised already
        assert getattr(estimator()._checked, name) == default, name


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.int64, np.array])
def test_numbers_of_any_type_are_the_same_numbers(integer):
    given = {
        "hidden_dim": integer(50), "batch_size": integer(100), "max_epochs": integer(1), "n_threads": integer(1),
        "vocab_size": integer(4), "random_state": np.int64(0), "learning_rate": np.float32(0.25),
        "clip_norm": Fraction(5), "momentum": Decimal("0.5"), "bias": np.True_, "dtype": np.float32,
        "optimizer": np.str_("sgd"), "bptt_truncate": integer(100), "verbose": np.False_,
    }  # fmt: skip
    plain = {
        "hidden_dim": 50, "batch_size": 100, "max_epochs": 1, "n_threads": 1, "vocab_size": 4, "random_state": 0,
        "learning_rate": 0.25, "clip_norm": 5.0, "momentum": 0.5, "bias": True, "dtype": "float32", "optimizer": "sgd",
        "bptt_truncate": 100, "verbose": 0,
    }  # fmt: skip
    model = FastRNN(**given)
    assert all(model.get_params()[name] is value for name, value in given.items())  # scikit-learn's clone wants that
    for name, value in plain.items():
        found = getattr(model._checked, name)
        assert found == value and type(found) is type(value), name
    model, expected = (FastRNN(**parameters).fit(X[:7], Y[:7]) for parameters in (given, plain))
    assert same_weights(model, expected) and model.network_.hidden_dim == 50
    assert type(model.network_.hidden_dim) is int
    json.dumps(header_of(model))


def test_small_ints_of_a_batch():
    """100 * 50 batches sorted together do not fit int8."""
    model, expected = (FastRNN(**SMALL | {"batch_size": size}).fit(X, Y) for size in (np.int8(100), 100))
    assert same_weights(model, expected)


def test_arguments_of_any_type():
    model, pair = FastRNN(**SMALL).fit(X[:2], Y[:2]), Seq2Seq("gru", **SMALL).fit([[2, 3]], [[2, 3]])
    drawn = [
        model.generate(kind(3), top_k=kind(2), top_p=real(0.5), min_length=kind(1), max_length=kind(5), end=kind(1),
                       temperature=real(0.5), random_state=0)
        for kind, real in ((int, float), (np.int8, np.float32), (np.array, Fraction))
    ]  # fmt: skip
    for other in drawn[1:]:
        assert [sequence.tolist() for sequence in other] == [sequence.tolist() for sequence in drawn[0]]
    for kind in (np.int8, np.int16, np.array):
        found, expected = (
            pair.search([[2]], beam_width=k(3), n_best=k(2), max_length=k(9), length_penalty=k(1)) for k in (kind, int)
        )
        assert [h.tokens.tolist() for h in found[0]] == [h.tokens.tolist() for h in expected[0]]


@pytest.mark.parametrize(("parameters", "error", "message"), [
    ({"learning_rate": 10**400}, ValueError, r"^learning_rate: found 1000.*\.\.\., expected a number in \(0, inf\)"),
    ({"learning_rate": 10**5000}, ValueError, "^learning_rate: found <int>"),
    ({"learning_rate": True}, TypeError, "^learning_rate: found True"),
    ({"clip_norm": 2.0**64j}, TypeError, "^clip_norm: found .*j"),
    ({"batch_size": 2**31}, ValueError, "^batch_size: found 2147483648, expected an int >= 1 and <= 2147483647"),
    ({"hidden_dim": np.array([3])}, TypeError, r"^hidden_dim: found array\(\[3\]\)"),
    ({"bias": 1}, TypeError, "^bias: found 1, expected True or False"),
    ({"bias": "no"}, TypeError, "^bias: found 'no'"),
    ({"early_stopping": None}, TypeError, "^early_stopping: found None"),
    ({"dtype": "float16"}, ValueError, "^dtype: found 'float16', expected one of 'float32', 'float64'"),
    ({"dtype": None}, ValueError, "^dtype: found None"),
    ({"random_state": "x"}, TypeError, "^random_state: found 'x', expected an int >= 0, a numpy Generator"),
    ({"checkpoint": b"c"}, TypeError, "^checkpoint: found b'c', expected a path or None"),
    ({"checkpoint": "a\0b"}, ValueError, "^checkpoint: found"),
    ({"verbose": -1}, ValueError, "^verbose: found -1"),
    ({"init_scale": 1e39}, ValueError, "^init_scale: found"),
])  # fmt: skip
def test_wrong_parameters(parameters, error, message):
    for call in (FastRNN(**parameters).fit, FastRNN(**parameters).partial_fit):
        with pytest.raises(error, match=message):
            call(X, Y)


@pytest.mark.parametrize("make", [FastRNN, Seq2Seq])
def test_a_network_that_no_memory_holds(make):
    model = make("gru", 2**31 - 1, n_threads=1)
    with pytest.raises(ValueError, match="^hidden_dim: found 2147483647, with 1 layers and a vocabulary of"):
        model.fit([[2]], [[2]])
    assert vars(model).keys() == make().get_params().keys()


def test_real_numbers_that_are_taken():
    model = FastRNN(**SMALL, learning_rate=Fraction(1, 3), clip_norm=2**64).fit(X[:2], Y[:2])
    assert model.learning_rate_ == 1 / 3 and model.get_params()["learning_rate"] == Fraction(1, 3)


@pytest.mark.parametrize(("make", "parameters", "message"), [
    (LanguageModel, {"vocab_size": "x"}, "^vocab_size: found 'x'"),
    (LanguageModel, {"lowercase": -1}, "^lowercase: found -1, expected True or False"),
    (LanguageModel, {"level": 3}, "^level: found 3, expected one of 'word', 'whitespace', 'char'"),
    (LanguageModel, {"sentence_split": "page"}, "^sentence_split: found 'page'"),
    (Translator, {"target_vocab_size": 3}, "^target_vocab_size: found 3, expected an int >= 4"),
    (Translator, {"lowercase": 1}, "^lowercase: found 1"),
    (Translator, {"level": None}, "^level: found None"),
    (Seq2Seq, {"reverse_source": "yes"}, "^reverse_source: found 'yes'"),
])  # fmt: skip
def test_wrong_parameters_of_other_estimators(make, parameters, message):
    data = {LanguageModel: [["a b"]], Translator: [["a"], ["b"]], Seq2Seq: [[[2]], [[2]]]}[make]
    for call in (make(**parameters).check_parameters, lambda: make(**parameters).fit(*data)):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


def refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_fitted_keeps_its_vocabulary():
    model = FastRNN(**SMALL, warm_start=True).fit(X[:2], Y[:2])
    for size in (3, 5):
        model.set_params(vocab_size=size)
        for call in (model.fit, model.partial_fit):
            refuse(lambda call=call: call(X[:2], Y[:2]), f"^vocab_size: found {size}, expected 4, with which")
    assert model.set_params(vocab_size=np.int8(4)).fit(X[:2], Y[:2]).n_epochs_ == 2
    pair = Seq2Seq("gru", **SMALL, warm_start=True).fit([[2, 3]], [[2, 4]])
    refuse(lambda: pair.set_params(target_vocab_size=9).fit([[2]], [[2]]), "^target_vocab_size: found 9, expected 5")
    own = {"level": "whitespace", "vocab_size": 6}
    lm = LanguageModel(**own, **SMALL, warm_start=True).fit(["a b c d"])
    for name, value in (
        ("vocab_size", 5),
        ("level", "char"),
        ("lowercase", False),
        ("sentence_split", "text"),
        ("language", "german"),
    ):
        changed = LanguageModel(**lm.get_params() | {name: value})
        vars(changed).update({key: held for key, held in vars(lm).items() if key.endswith("_")})
        for call in (changed.fit, changed.partial_fit):
            refuse(lambda call=call: call(["a b"]), f"^{name}: found .*, expected .*, with which")
    assert lm.fit(["a b"]).model_.n_epochs_ == 2
    translator = Translator(level="whitespace", cell="gru", **SMALL, warm_start=True).fit(["a b"], ["c d"])
    for name, value in (("source_vocab_size", 5), ("target_vocab_size", 5), ("level", "char"), ("lowercase", False)):
        before = translator.get_params()[name]
        refuse(lambda n=name, v=value: translator.set_params(**{n: v}).fit(["a"], ["c"]), f"^{name}: found")
        translator.set_params(**{name: before})
    assert translator.fit(["a"], ["c"]).model_.n_epochs_ == 2


@pytest.mark.parametrize("wrong", [
    {"max_epochs": -1}, {"learning_rate": "x"}, {"verbose": "yes"}, {"checkpoint": 3}, {"random_state": -1},
    {"validation_fraction": 1}, {"optimizer": None},
])  # fmt: skip
def test_save_refuses_what_load_would(tmp_path, wrong):
    model = FastRNN(**SMALL).fit(X[:2], Y[:2])
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(wrong))}: found"):
        model.set_params(**wrong).save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_save_takes_what_concerns_the_network_from_the_network(tmp_path):
    model = FastRNN(**SMALL | {"hidden_dim": np.int8(3)}).fit(X[:2], Y[:2])
    model.set_params(hidden_dim=-1, tie_weights=True, batch_size=np.int8(7), clip_norm=Fraction(1, 2))
    model.save(tmp_path / "m")
    found = FastRNN.load(tmp_path / "m").get_params()
    assert (found["hidden_dim"], found["tie_weights"], found["batch_size"], found["clip_norm"]) == (3, False, 7, 0.5)


def test_a_vocabulary_of_numpy_s_types_is_stored():
    vocabulary = Vocabulary(np.int64(5), level="char", lowercase=np.True_).fit(["abc"])
    again = Vocabulary.from_arrays(vocabulary.to_arrays())
    assert again.tokens_ == vocabulary.tokens_ and again.get_params()["max_size"] == 5
    with pytest.raises(TypeError, match="lowercase: found -1"):
        vocabulary.set_params(lowercase=-1).to_arrays()


def test_a_value_is_shown_short():
    class Silent:
        def __repr__(self):
            raise RuntimeError

    assert validation.shown("a") == "'a'" and validation.shown(Silent()) == "<Silent>"
    assert len(validation.shown("long" * 1000)) < 100 and validation.shown(np.zeros((2, 2))).count("\n") == 0
    assert repr(FastRNN(hidden_dim=np.arange(2), verbose=Silent())) == (
        "FastRNN(hidden_dim=array([0, 1]), verbose=<Silent>)"
    )


def test_encodings():
    for encoding in ("utf-8", "UTF-16", "cp1252"):
        assert validation.check_encoding("encoding", encoding) == encoding
    for encoding in ("utf-99", "hex", "", "\ud800", "a\0"):
        with pytest.raises(ValueError, match="^encoding: found"):
            validation.check_encoding("encoding", encoding)


def test_an_estimator_s_own_checks_are_used():
    class Own(Estimator):
        _checks = {"size": validation.integer(1)}

        def __init__(self, size=2):
            self.size = size

    assert Own(np.uint8(3))._checked.size == 3
    with pytest.raises(ValueError, match="size: found 0"):
        Own(0).check_parameters()

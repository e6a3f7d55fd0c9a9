"""`Seq2Seq`, `Ensemble` and `Translator`: whole jobs, files, errors. The network is held to the reference elsewhere."""

import copy

import numpy as np
import pytest
from helpers import CELLS
from reference import pairs as reference_pairs

from fastrnn import Ensemble, NotFittedError, Ragged, Seq2Seq, Translator
from fastrnn.estimators.bleu import bleu

RNG = np.random.default_rng(0)
SOURCE = [RNG.integers(2, 9, n).tolist() for n in (3, 1, 4, 2, 5, 3)]
TARGET = [RNG.integers(2, 7, n).tolist() for n in (2, 2, 3, 1, 4, 1)]


def small(**parameters):
    defaults = {"hidden_dim": 5, "max_epochs": 1, "n_threads": 1, "random_state": 0, "batch_size": 4}
    defaults["dtype"] = "float64"  # as the tests of the network: what is compiled once serves all
    return Seq2Seq(**defaults | parameters)


def weights(model):
    return {name: np.array(array, np.float64) for name, array in model.params_.items()}


def turned(source):
    return [sequence[::-1] for sequence in source]


class TestModel:
    @pytest.mark.parametrize("reverse", [True, False])
    def test_loss_and_gradients_are_the_reference_s(self, reverse):
        model = small(dtype="float64", reverse_source=reverse, num_layers=2).fit(SOURCE, TARGET)
        source = turned(SOURCE) if reverse else SOURCE
        loss, expected = reference_pairs.pair_gradients("lstm", weights(model), source, TARGET)
        found_loss, found = model.gradients(SOURCE, TARGET)
        assert model.loss(SOURCE, TARGET) == pytest.approx(loss, rel=1e-10)
        assert found_loss == pytest.approx(loss, rel=1e-10)
        assert model.perplexity(SOURCE, TARGET) == pytest.approx(np.exp(loss))
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-8, atol=1e-14)
        np.testing.assert_allclose(
            model.score_samples(SOURCE, TARGET),
            reference_pairs.pair_log_probabilities("lstm", weights(model), source, TARGET), rtol=1e-10,
        )  # fmt: skip

    @pytest.mark.parametrize("clip_norm", [None, 0.05])
    @pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "embedding_dim": 5, "tie_weights": True}])
    def test_a_step_is_along_the_gradient(self, shape, clip_norm):
        model = small(
            dtype="float64", optimizer="sgd", learning_rate=0.1, clip_norm=clip_norm, batch_size=8, **shape
        ).set_params(max_epochs=0)  # fmt: skip
        model.fit(SOURCE, TARGET)
        before = weights(model)
        _, gradient = reference_pairs.pair_gradients("lstm", before, turned(SOURCE), TARGET)
        tokens = sum(len(target) + 1 for target in TARGET)
        gradient = {name: array * tokens / len(TARGET) for name, array in gradient.items()}
        norm = np.sqrt(sum((array**2).sum() for array in gradient.values()))
        factor = 1 if clip_norm is None else min(1, clip_norm / norm)
        model.partial_fit(SOURCE, TARGET)
        for name, array in weights(model).items():
            np.testing.assert_allclose((before[name] - array) / 0.1, factor * gradient[name], rtol=1e-8, atol=1e-12)

    @pytest.mark.parametrize("cell", CELLS)
    def test_every_cell_learns(self, cell):
        model = small(cell=cell, max_epochs=0, dropout=0.1, num_layers=2).fit(SOURCE, TARGET)
        before = model.loss(SOURCE, TARGET)
        assert model.set_params(max_epochs=20).fit(SOURCE, TARGET).loss(SOURCE, TARGET) < 0.9 * before
        assert len(model.loss_curve_) == 20

    def test_same_seed_same_numbers(self):
        found = [small(random_state=seed, dropout=0.2, weight_noise=0.01).fit(SOURCE, TARGET) for seed in (1, 1, 2)]
        losses = [model.loss(SOURCE, TARGET) for model in found]
        assert losses[0] == losses[1] != losses[2]

    def test_saved_loaded_copied_cloned(self, tmp_path):
        clone = pytest.importorskip("sklearn.base").clone
        model = small(num_layers=2, embedding_dim=3, reverse_source=False).fit(SOURCE, TARGET)
        model.save(tmp_path / "m.npz")
        for other in (Seq2Seq.load(tmp_path / "m.npz"), copy.deepcopy(model)):
            assert other.get_params() == model.get_params()
            assert other.loss(SOURCE, TARGET) == model.loss(SOURCE, TARGET)
        assert clone(model).get_params() == model.get_params()
        with pytest.raises(ValueError, match="found a Seq2Seq, expected a FastRNN"):
            from fastrnn import FastRNN

            FastRNN.load(tmp_path / "m.npz")

    def test_resumed_as_if_never_stopped(self, tmp_path):
        parameters = {"max_epochs": 4, "num_layers": 2, "dropout": 0.2, "early_stopping": True, "batch_size": 2}
        whole = small(**parameters).fit(SOURCE, TARGET)
        path = tmp_path / "run.ckpt"
        small(**parameters | {"max_epochs": 2}, checkpoint=path).fit(SOURCE, TARGET)
        resumed = small(**parameters).fit(SOURCE, TARGET, resume=path)
        assert resumed.loss_curve_ == whole.loss_curve_
        for name, array in whole.params_.items():
            np.testing.assert_array_equal(resumed.params_[name], array)
        with pytest.raises(ValueError, match="other data"):
            small(**parameters).fit(SOURCE, [sequence[::-1] for sequence in TARGET], resume=path)

    def test_validation_and_early_stopping(self):
        model = small(max_epochs=30, early_stopping=True, n_iter_no_change=2, learning_rate=0.05)
        model.fit(SOURCE, TARGET, validation_data=([[2, 3], [4]], [[3], [2, 2]]))
        assert len(model.validation_losses_) == model.n_epochs_ < 30
        assert model.loss([[2, 3], [4]], [[3], [2, 2]]) == pytest.approx(min(model.validation_losses_), rel=1e-5)


class TestSearching:
    model = None

    @pytest.fixture(autouse=True)
    def fitted(self):
        if TestSearching.model is None:
            TestSearching.model = small(dtype="float64", max_epochs=3, learning_rate=0.03).fit(SOURCE, TARGET)

    def test_the_oracle_s_hypotheses(self):
        found = self.model.search(SOURCE, beam_width=3, max_length=6, exclude=(), length_penalty=0.5)
        for source, hypotheses in zip(turned(SOURCE), found, strict=True):
            expected = reference_pairs.beam_search("lstm", weights(self.model), source, 3, 6, 0.5)
            assert [h.tokens.tolist() for h in hypotheses] == [tokens for tokens, _ in expected]
            np.testing.assert_allclose([h.log_prob for h in hypotheses], [p for _, p in expected], rtol=1e-9)
            assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        best = self.model.search(SOURCE, beam_width=3, max_length=6, exclude=(), length_penalty=0.5, n_best=1)
        assert [len(row) for row in best] == [1] * 6
        assert [row[0].log_prob for row in best] == [row[0].log_prob for row in found]

    def test_scores_of_candidates_are_those_of_the_search(self):
        found = self.model.search(SOURCE, beam_width=4, max_length=8)
        ended = [[h for h in row if h.tokens[-1] == 1 and len(h.tokens) > 1] for row in found]
        assert sum(map(len, ended)) > 3
        kept = [i for i, row in enumerate(ended) if row]
        scores = self.model.rescore([SOURCE[i] for i in kept], [[h.tokens[:-1] for h in ended[i]] for i in kept])
        for i, row in zip(kept, scores, strict=True):
            np.testing.assert_allclose(row, [h.log_prob for h in ended[i]], rtol=1e-9)

    def test_predict_leaves_out_the_end(self):
        for tokens, row in zip(
            self.model.predict(SOURCE, beam_width=2), self.model.search(SOURCE, beam_width=2), strict=True
        ):
            expected = row[0].tokens.tolist()
            assert tokens.tolist() == (expected[:-1] if expected[-1] == 1 else expected)

    def test_score_is_bleu_of_what_is_found(self):
        source = [[2, 3, 4, 5, 6, 7]] * 3
        found = [tokens.tolist() for tokens in self.model.predict(source, min_length=7, max_length=8)]
        assert self.model.score(source, found, min_length=7, max_length=8) == pytest.approx(100)
        references = [[[*found[0][:5], 3, 3], [2, 2]], [found[1]], [found[2][1:]]]
        expected = bleu(references, found)
        assert 1 < expected < 100
        assert self.model.score(source, references, min_length=7, max_length=8) == pytest.approx(expected)

    def test_an_ensemble_is_the_mean_of_probabilities(self):
        models = [small(dtype="float64", random_state=seed, max_epochs=2).fit(SOURCE, TARGET) for seed in range(3)]
        ensemble, all_weights = Ensemble(models), [weights(model) for model in models]
        for source, hypotheses in zip(
            turned(SOURCE), ensemble.search(SOURCE, beam_width=3, max_length=5, exclude=()), strict=True
        ):
            expected = reference_pairs.beam_search("lstm", all_weights, source, 3, 5)
            assert [h.tokens.tolist() for h in hypotheses] == [tokens for tokens, _ in expected]
            np.testing.assert_allclose([h.log_prob for h in hypotheses], [p for _, p in expected], rtol=1e-9)
        found = ensemble.score_samples(SOURCE, TARGET)
        for i, source in enumerate(turned(SOURCE)):
            expected = sum(
                reference_pairs.next_log_probabilities("lstm", all_weights, source, TARGET[i][:t])[token]
                for t, token in enumerate([*TARGET[i], 1])
            )
            assert found[i] == pytest.approx(expected, rel=1e-9)
        same = Ensemble([self.model] * 2)
        np.testing.assert_allclose(same.score_samples(SOURCE, TARGET), self.model.score_samples(SOURCE, TARGET))

    @pytest.mark.parametrize("options, name", [
        ({"beam_width": 0}, "beam_width"), ({"n_best": 9}, "n_best"), ({"n_best": 0}, "n_best"),
        ({"max_length": 0}, "max_length"), ({"min_length": 5, "max_length": 4}, "max_length"),
        ({"length_penalty": -1.0}, "length_penalty"), ({"exclude": (1,)}, "exclude"), ({"exclude": (99,)}, "exclude"),
        ({"exclude": (0, *range(2, 7)), "min_length": 2}, "exclude: no index is left"),
    ])  # fmt: skip
    def test_impossible_beams(self, options, name):
        with pytest.raises(ValueError, match=f"^{name}"):
            self.model.search(SOURCE, **options)

    def test_errors_of_data(self):
        for bad in ([[99]], [[]], []):
            with pytest.raises(ValueError, match="^source"):
                self.model.predict(bad)
        with pytest.raises(ValueError, match="^candidates: found 1 lists, expected 2"):
            self.model.rescore([[2], [3]], [[[2]]])
        with pytest.raises(ValueError, match="^references: found 1, expected 2"):
            self.model.score([[2], [3]], [[2]])
        with pytest.raises(ValueError, match="^models: found none"):
            Ensemble([])
        with pytest.raises(NotFittedError):
            Ensemble([small()])
        with pytest.raises(ValueError, match="^models: found vocabularies"):
            Ensemble([self.model, small().fit([[2]], [[2]])])


class TestFitErrors:
    def test_unlike_numbers_and_empty_sides(self):
        with pytest.raises(ValueError, match="^target has 2 sequences, expected 1 as in source"):
            small().fit([[2]], [[2], [3]])
        with pytest.raises(ValueError, match="^target: sequence 0 is empty"):
            small().fit([[2]], [[]])
        with pytest.raises(ValueError, match="^source is empty"):
            small().fit([], [])
        with pytest.raises(ValueError, match="^source: sequence 0, position 0 is 9"):
            small(source_vocab_size=5).fit([[9]], [[2]])
        with pytest.raises(ValueError, match="^validation_data: target has"):
            small().fit([[2]], [[2]], validation_data=([[2]], [[2], [3]]))

    def test_parameters(self):
        with pytest.raises(TypeError, match="no parameter 'chunk_len'"):
            Seq2Seq(chunk_len=3)
        with pytest.raises(ValueError, match="^target_vocab_size: found 1"):
            small(target_vocab_size=1).fit([[2]], [[2]])
        with pytest.raises(TypeError, match="^reverse_source"):
            small(reverse_source="yes").fit([[2]], [[2]])
        with pytest.raises(NotFittedError):
            small().predict([[2]])

    def test_one_pair_is_enough(self):
        assert small().fit(Ragged.from_sequences([[2]]), [[3]]).n_epochs_ == 1


def strings_of_digits():
    """All strings of one to four digits as indices from 2 on: most of them to train on, 400 longer ones to test."""
    short, long = (
        [[int(digit) + 2 for digit in f"{n:0{width}}"] for width in widths for n in range(10**width)]
        for widths in ((1, 2), (3, 4))
    )
    long = [long[i] for i in np.random.default_rng(0).permutation(len(long))]
    return short + long[400:5000], long[:400]


WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(n):
    if n < 20:
        return WORDS[n]
    if n < 100:
        return TENS[n // 10 - 2] + ("" if n % 10 == 0 else f" {WORDS[n % 10]}")
    return f"{WORDS[n // 100]} hundred" + ("" if n % 100 == 0 else f" and {in_words(n % 100)}")


@pytest.mark.compiled
class TestToyTasks:
    """Tasks that must be solved exactly, on strings never seen in training."""

    RECIPE = {"learning_rate": 0.01, "lr_schedule": "half-epochs", "early_stopping": False, "random_state": 0}

    @pytest.mark.parametrize("name, task, cell, hidden_dim", [
        ("copy", list, "lstm", 96), ("reverse", lambda string: string[::-1], "gru", 64), ("sort", sorted, "gru", 64)
    ])  # fmt: skip
    def test_strings_of_digits(self, name, task, cell, hidden_dim):
        train, test = strings_of_digits()
        model = Seq2Seq(cell, hidden_dim, max_epochs=16, lr_decay_start=10, **self.RECIPE)
        model.fit(train, [task(string) for string in train])
        found = model.predict(test, max_length=8)
        assert [tokens.tolist() for tokens in found] == [task(string) for string in test]

    def test_numbers_in_words_to_digits(self):
        numbers = np.random.default_rng(0).permutation(np.arange(100, 1000))
        train, test = [*range(100), *numbers[200:]], numbers[:200]
        translator = Translator(level="whitespace", hidden_dim=64, max_epochs=30, lr_decay_start=20, **self.RECIPE)
        translator.fit([in_words(n) for n in train], [" ".join(str(n)) for n in train])
        found = translator.translate([in_words(n) for n in test], beam_width=2, max_length=6)
        assert found == [" ".join(str(n)) for n in test]


class TestTranslator:
    SOURCES = ["a cat .", "a dog .", "the cat", "two dogs here"]
    TARGETS = ["un chat.", "un chien.", "le chat", "deux chiens ici"]

    def make(self, **parameters):
        return Translator(
            level="whitespace", **{"hidden_dim": 12, "max_epochs": 60, "learning_rate": 0.03, "random_state": 0}
            | parameters,
        )  # fmt: skip

    def test_from_text_to_text_and_back_from_a_file(self, tmp_path):
        translator = self.make().fit(self.SOURCES, self.TARGETS)
        assert translator.translate(self.SOURCES) == self.TARGETS
        assert translator.score(self.SOURCES, self.TARGETS) == 0  # as sacrebleu has it: none has four tokens
        best = translator.translate(["a cat ."], n_best=2, beam_width=3)
        assert best[0][0][0] == "un chat." and best[0][0][1] >= best[0][1][1]
        np.testing.assert_allclose(
            translator.rescore(["a cat ."], [["un chat.", "le chat"]])[0],
            [translator.score_samples(["a cat ."], [text])[0] for text in ("un chat.", "le chat")], rtol=1e-4,
        )  # fmt: skip
        assert best[0][0][1] == pytest.approx(translator.score_samples(["a cat ."], ["un chat."])[0], rel=1e-4)
        translator.save(tmp_path / "t.npz")
        other = Translator.load(tmp_path / "t.npz")
        assert other.translate(self.SOURCES) == self.TARGETS and other.get_params() == translator.get_params()
        assert translator.loss(self.SOURCES, self.TARGETS) == other.loss(self.SOURCES, self.TARGETS)

    def test_unknown_words(self):
        translator = self.make(max_epochs=1).fit(self.SOURCES, self.TARGETS)
        with pytest.raises(ValueError, match="^texts: found 'cow' in text 1, expected words of the vocabulary"):
            translator.translate(["a cat", "a cow ."], unknown="error")
        with pytest.raises(ValueError, match="^source_texts: found 'cow' in text 0, expected words of the vocabulary"):
            translator.score(["a cow ."], ["un chat."], unknown="error")
        for wrong in ("drop", None):
            with pytest.raises(ValueError, match="^unknown: found"):
                translator.translate(["a cat"], unknown=wrong)

    def test_unknown_words_are_taken_for_the_token_and_counted(self, caplog):
        translator = self.make(max_epochs=1).fit(self.SOURCES, self.TARGETS)
        encoded = translator.source_vocabulary_.encode(["two", "UNKNOWN_TOKEN", "here"])
        [expected] = translator.model_.predict(
            [encoded], beam_width=5, exclude=(0, len(translator.target_vocabulary_) - 1)
        )
        caplog.clear()
        found = translator.translate(["two cows here", "a cow or a gnu", "a cat ."])
        assert found[0] == translator.target_vocabulary_.detokenize(expected) and len(found) == 3
        assert caplog.messages == [
            "4 of 11 source tokens are unknown, taken for UNKNOWN_TOKEN: 'cows', 'cow', 'or', 'gnu'"
        ]
        caplog.clear()
        translator.score(["a cow .", "a cat ."], ["une vache .", "un chat."])
        assert caplog.messages == ["1 of 6 source tokens is unknown, taken for UNKNOWN_TOKEN: 'cow'"]
        caplog.clear()
        translator.translate(self.SOURCES)
        assert not caplog.messages

    def test_score_is_bleu_of_the_tokens(self):
        translator = self.make(max_epochs=1).fit(self.SOURCES, self.TARGETS)
        source, length = ["a cat .", "two cows here"], {"min_length": 6, "max_length": 7}
        found = translator.translate(source, beam_width=1, **length)
        assert translator.score(source, found, **length) == pytest.approx(100)
        first, second = (text.split() for text in found)
        references = [[" ".join([*first[:-1], "x"]), "y"], " ".join(second).upper()]
        expected = bleu([[[*first[:-1], "x"], ["y"]], [second]], [first, second])
        assert 50 < expected < 100
        assert translator.score(source, references, **length) == pytest.approx(expected)
        with pytest.raises(ValueError, match=r"^references\[1\]: found no texts"):
            translator.score(source, [["x"], []])

    def test_an_ensemble_of_the_same_vocabularies(self):
        first, second = (self.make(max_epochs=10, random_state=seed).fit(self.SOURCES, self.TARGETS) for seed in (0, 1))
        options = {"beam_width": 2, "n_best": 1}
        [[(text, score)]] = first.translate(["a cat ."], ensemble=[second], **options)
        assert first.translate(["a cat ."], ensemble=[first], **options)[0][0][1] == pytest.approx(
            first.translate(["a cat ."], **options)[0][0][1], rel=1e-5
        )  # fmt: skip
        both = Ensemble([first.model_, second.model_])
        source, target = [first.source_vocabulary_.encode("a cat .")], [first.target_vocabulary_.encode(text)]
        assert score == pytest.approx(both.score_samples(source, target)[0], rel=1e-4)
        [found] = both.predict(source, min_length=6, exclude=(0, len(first.target_vocabulary_) - 1))
        reference = " ".join(first.target_vocabulary_.decode(found))
        assert first.score(["a cat ."], [reference], ensemble=(second,), min_length=6) == pytest.approx(100)

    def test_ensembles_that_cannot_be(self):
        first = self.make(max_epochs=0).fit(self.SOURCES, self.TARGETS)
        for sources, targets, side in (
            (["x", *self.SOURCES[1:]], self.TARGETS, "source"), (self.SOURCES, ["x", *self.TARGETS[1:]], "target")
        ):  # fmt: skip
            other = self.make(max_epochs=0).fit(sources, targets)
            with pytest.raises(ValueError, match=rf"^ensemble\[1\]: found another {side} vocabulary"):
                first.translate(["a"], ensemble=[first, other])
        other = self.make(max_epochs=0, lowercase=False).fit(self.SOURCES, self.TARGETS)
        with pytest.raises(ValueError, match=r"^ensemble\[0\]: found level 'whitespace' and lowercase False"):
            first.translate(["a"], ensemble=[other])
        with pytest.raises(TypeError, match=r"^ensemble\[0\]: found a Seq2Seq, expected a Translator"):
            first.score(["a"], ["b"], ensemble=[first.model_])
        with pytest.raises(NotFittedError):
            first.translate(["a"], ensemble=[self.make()])

    @pytest.mark.parametrize("source, target, match", [
        (["a"], ["b", "c"], "^target_texts: found 2 texts, expected 1"), ([], [], "^source_texts: found no texts"),
        (["a", " "], ["b", "c"], "^source_texts: text 1 is empty"), (["a"], [""], "^target_texts: text 0 is empty"),
    ])  # fmt: skip
    def test_bad_texts(self, source, target, match):
        with pytest.raises(ValueError, match=match):
            self.make().fit(source, target)

    def test_wrong_types(self):
        with pytest.raises(TypeError, match="^source_texts: found 'a cat'"):
            self.make().fit("a cat", "un chat")
        with pytest.raises(TypeError, match="^target_texts: found a int as text 0"):
            self.make().fit(["a"], [1])
        with pytest.raises(NotFittedError):
            self.make().translate(["a"])

    def test_callback_and_validation(self):
        seen = []
        translator = self.make(max_epochs=3)
        translator.fit(
            self.SOURCES, self.TARGETS, validation_texts=(["the dog"], ["le chien"]),
            callback=lambda model: seen.append(model.model_.validation_losses_[-1]),
        )  # fmt: skip
        assert len(seen) == 3 and seen == translator.model_.validation_losses_

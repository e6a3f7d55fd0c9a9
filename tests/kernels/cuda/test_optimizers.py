"""Gradients of U, norms and optimisers on the GPU, against those of the CPU and plain sums."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastrnn.kernels.cpu.optimizers import ADAM, MOMENTUM, NONE, RMSPROP, SGD, Hyperparameters, constants, update
from fastrnn.kernels.cuda.driver import THREADS, empty, to_device, to_host, zeros
from fastrnn.kernels.cuda.optimizers import COLUMNS, apply_update, rows_gradient, squares
from fastrnn.kernels.cuda.workspace import PARTIALS, Batch, RowLayout

pytestmark = pytest.mark.usefixtures("simulator")

RULES = {"sgd": SGD, "momentum": MOMENTUM, "rmsprop": RMSPROP, "adam": ADAM}
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
C, SIZE = 9, 2 * THREADS + 3  # words, dense parameters


def layout_of(batches):
    """A batch on the device for every array of tokens."""
    by_word, words, word_starts, places = [], [], [], []
    for tokens in batches:
        occurring, counts = np.unique(tokens, return_counts=True)
        places.append((sum(map(len, by_word)), sum(map(len, words)), sum(map(len, word_starts)), len(occurring)))
        by_word.append(np.argsort(tokens, kind="stable"))
        words.append(occurring)
        word_starts.append(np.concatenate([[0], np.cumsum(counts)]))
    arrays = (to_device(np.concatenate(parts).astype("i4")) for parts in (by_word, words, word_starts))
    nothing = zeros(1, "i4")
    layout = RowLayout(to_device(np.concatenate(batches).astype("i4")), nothing, nothing, nothing, *arrays)
    return [
        Batch(layout, row0, 0, word0, mark0, len(tokens), 1, len(tokens), occurring)
        for tokens, (row0, word0, mark0, occurring) in zip(batches, places, strict=True)
    ]


TOKENS = [np.array([4, 1, 4, 4, 8, 1, 4, 4]), np.array([2]), np.array([0, 3, 8, 3, 3])]


class TestRowsGradient:
    @pytest.mark.parametrize("D", [1, COLUMNS, 2 * COLUMNS + 1])
    def test_is_the_sum_by_words(self, D):
        rng = np.random.default_rng(D)
        for tokens, batch in zip(TOKENS, layout_of(TOKENS), strict=True):
            rows, expected = rng.standard_normal((len(tokens) + 2, D)), np.zeros((C, D))
            np.add.at(expected, tokens, rows[: len(tokens)])
            dU, dV = to_device(np.full((6, D), 7.0)), rng.standard_normal((C, D))
            rows_gradient(batch, to_device(rows), dU)
            found, n = to_host(dU), batch.occurring
            np.testing.assert_allclose(found[:n], expected[np.unique(tokens)], rtol=0, atol=1e-14)
            assert (found[n:] == 7).all()
            before, dV = dV, to_device(dV)
            rows_gradient(batch, to_device(rows), dV, tied=True)
            np.testing.assert_allclose(to_host(dV), before + expected, rtol=0, atol=1e-14)

    def test_float32(self):
        rows = np.arange(8, dtype="f4").reshape(8, 1)
        dU = empty((3, 1), "f4")
        rows_gradient(layout_of(TOKENS)[0], to_device(rows), dU)
        assert to_host(dU).ravel().tolist() == [6, 18, 4]


class TestSquares:
    @pytest.mark.parametrize("size, rows, D", [(1, 0, 3), (SIZE, 3, 5), (40 * THREADS + 1, 2, 1), (0, 0, 1)])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_of_two_networks(self, size, rows, D, dtype):
        rng = np.random.default_rng(0)
        sides = [(rng.standard_normal(size).astype(dtype), rng.standard_normal((4, D)).astype(dtype)) for _ in "ab"]
        partial, parts = to_device(np.full(PARTIALS, np.nan)), 0
        for gradient, dU in sides:
            parts = squares(to_device(gradient), to_device(dU), rows, partial, parts)
        expected = sum((g.astype("f8") ** 2).sum() + (dU[:rows].astype("f8") ** 2).sum() for g, dU in sides)
        assert parts >= 2
        assert to_host(partial)[:parts].sum() == pytest.approx(expected, rel=1e-14)

    def test_u_that_is_v_has_no_rows(self):
        partial = zeros(PARTIALS, "f8")
        parts = squares(to_device(np.full(3, 2.0)), empty((0, 5), "f8"), 4, partial)
        assert to_host(partial)[:parts].sum() == 12


class Case:
    """Parameters, gradients and moments on the host, and the same on the device."""

    def __init__(self, rule, dtype, D=3, tied=False, clip=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.rule, self.dtype, self.tied = rule, dtype, tied
        self.hyper = Hyperparameters(0.1, 0.9, 0.8, 0.7, 0.95, 1e-3, float(clip), 4.0)
        self.dense, self.U = rng.standard_normal(SIZE).astype(dtype), rng.standard_normal((C, D)).astype(dtype)
        self.rule_U = RMSPROP if rule == ADAM else rule
        self.moments, self.moments_U = self._moments(rule, SIZE), self._moments(self.rule_U, 0 if tied else C * D)
        self.on_device = [self._copies(x) for x in ([self.dense, self.U], self.moments, self.moments_U)]
        self.status, self.norms = zeros(2, "i8"), to_device(np.full(4, np.nan))
        self.partial, self.batches, self.rng = empty(PARTIALS, "f8"), layout_of(TOKENS), rng

    def _moments(self, rule, size):
        return [np.zeros(size if rule in rules else 0, self.dtype) for rules in ((MOMENTUM, ADAM), (RMSPROP, ADAM))]

    def _copies(self, arrays):
        return [to_device(array) for array in arrays]

    def gradients(self, b):
        """Of the dense parameters and of the words that occur."""
        shape = (0 if self.tied else self.batches[b].occurring, self.U.shape[1])
        return [self.rng.standard_normal(s).astype(self.dtype) for s in (SIZE, shape)]

    def device_step(self, b, gradient, dU, step):
        (dense, U), moments, moments_U = self.on_device
        on_device, batch = to_device(gradient), self.batches[b]
        work = SimpleNamespace(dU=to_device(dU), partial=self.partial, status=self.status)
        parts = squares(on_device, work.dU, batch.occurring, work.partial) if self.hyper.clip_norm > 0 else 0
        apply_update(
            self.rule, self.hyper, step, SimpleNamespace(dense=dense), SimpleNamespace(dense=on_device), moments,
            U, moments_U, batch, work, parts, self.norms, b,
        )  # fmt: skip

    def host_step(self, b, gradient, dU, step):
        """The step by the kernels of the CPU; returns the norm."""
        norm, clip = np.sqrt((gradient.astype("f8") ** 2).sum() + (dU.astype("f8") ** 2).sum()), 1.0
        if self.hyper.clip_norm > 0:
            clip = min(1.0, self.hyper.clip_norm / norm)
        own = np.zeros((2, 8), self.dtype)
        constants(self.rule, self.hyper, clip, step, own)
        update(self.rule, self.dense, 0, gradient, 0, SIZE, *self.moments, own[0])
        for i, word in enumerate(np.unique(TOKENS[b])[: len(dU)]):
            D = self.U.shape[1]
            update(self.rule_U, self.U.reshape(-1), word * D, dU.reshape(-1), i * D, D, *self.moments_U, own[1])
        return norm

    def assert_same(self):
        for here, there in zip(([self.dense, self.U], self.moments, self.moments_U), self.on_device, strict=True):
            for expected, found in zip(here, there, strict=True):
                np.testing.assert_allclose(to_host(found), expected, rtol=0, atol=TOLERANCE[self.dtype])


class TestApplyUpdate:
    @pytest.mark.parametrize("clip", [0.0, 0.5, 1e3])
    @pytest.mark.parametrize("rule", RULES)
    def test_is_that_of_the_cpu(self, rule, clip):
        case = Case(RULES[rule], "float64", clip=clip)
        self.run(case)

    @pytest.mark.parametrize("rule", RULES)
    def test_float32(self, rule):
        self.run(Case(RULES[rule], "float32", clip=0.5, D=THREADS + 1))

    @pytest.mark.parametrize("rule", RULES)
    def test_where_u_is_v(self, rule):
        """U's rows are moved as V's, which is dense."""
        case = Case(RULES[rule], "float64", tied=True, clip=2.0)
        before = case.U.copy()
        self.run(case)
        assert (case.U == before).all()

    def run(self, case):
        before = case.dense.copy()
        for b in range(len(TOKENS)):
            gradient, dU = case.gradients(b)
            case.device_step(b, gradient, dU, b + 1)
            norm = case.host_step(b, gradient, dU, b + 1)
            case.assert_same()
            found = to_host(case.norms)[b]
            assert found == pytest.approx(norm, rel=1e-14) if case.hyper.clip_norm > 0 else np.isnan(found)
        assert to_host(case.status).tolist() == [len(TOKENS), 0]
        assert (case.dense != before).all()

    @pytest.mark.parametrize("where", ["dense", "U"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_changes_nothing(self, where, value):
        case = Case(ADAM, "float64", clip=1.0)
        gradient, dU = case.gradients(0)
        (gradient if where == "dense" else dU).flat[-1] = value
        case.device_step(0, gradient, dU, 1)
        case.assert_same()
        assert to_host(case.status).tolist() == [0, 1]
        case.device_step(1, *case.gradients(1), 1)  # nor do the batches after it
        case.assert_same()
        assert to_host(case.status).tolist() == [0, 1]
        assert np.isnan(to_host(case.norms)).all()

    def test_a_loss_that_is_not_finite_stops_it_without_clipping(self):
        case = Case(SGD, "float64")
        case.status = to_device(np.array([3, 1]))
        case.device_step(0, *case.gradients(0), 1)
        case.assert_same()
        assert to_host(case.status).tolist() == [3, 1]

    def test_float32_norms_do_not_overflow(self):
        case = Case(SGD, "float32", clip=1.0)
        gradient, dU = case.gradients(0)
        gradient[:] = 1e25
        case.device_step(0, gradient, dU, 1)
        assert to_host(case.norms)[0] == pytest.approx(1e25 * SIZE**0.5, rel=1e-6)
        moved = case.dense - to_host(case.on_device[0][0])
        np.testing.assert_allclose(moved, 0.1 / SIZE**0.5, rtol=1e-5)

    def test_a_rule_of_none_does_nothing(self):
        case = Case(NONE, "float64")
        case.device_step(0, *case.gradients(0), 1)
        case.assert_same()
        assert to_host(case.status).tolist() == [0, 0]

    def test_two_networks_are_one_batch(self):
        """Only the last of their steps counts it, and the norm is of both."""
        first, second = Case(ADAM, "float64", clip=0.3, seed=1), Case(ADAM, "float64", clip=0.3, seed=2)
        gradients, parts = [case.gradients(0) for case in (first, second)], 0
        for gradient, dU in gradients:
            parts = squares(to_device(gradient), to_device(dU), len(dU), first.partial, parts)
        norm = np.sqrt(sum((g**2).sum() + (dU**2).sum() for g, dU in gradients))
        for case, (gradient, dU), counts in zip((first, second), gradients, (False, True), strict=True):
            (dense, U), moments, moments_U = case.on_device
            work = SimpleNamespace(dU=to_device(dU), partial=first.partial, status=first.status)
            apply_update(
                ADAM, case.hyper, 1, SimpleNamespace(dense=dense), SimpleNamespace(dense=to_device(gradient)),
                moments, U, moments_U, case.batches[0], work, parts, first.norms, 0, counts,
            )  # fmt: skip
            assert to_host(first.status).tolist() == [int(counts), 0]
            share = np.sqrt((gradient**2).sum() + (dU**2).sum()) / norm  # of the largest norm
            case.hyper = case.hyper._replace(clip_norm=float(case.hyper.clip_norm * share))
            case.host_step(0, gradient, dU, 1)
            case.assert_same()
        assert to_host(first.norms)[0] == pytest.approx(norm, rel=1e-14)

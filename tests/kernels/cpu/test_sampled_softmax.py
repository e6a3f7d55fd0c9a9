"""A softmax sampled over a minibatch: what is drawn, the loss and gradients for a draw, and the steps of training."""

import numpy as np
import pytest
from helpers import CELLS, COMPILED, DTYPES, assert_arrays_close, examples, random_batch
from hypothesis import example, given
from hypothesis import strategies as st

from fastrnn.data.batches import Batches
from fastrnn.data.ragged import Ragged, minibatches
from fastrnn.kernels.cpu.layers.dropout import batch_key
from fastrnn.kernels.cpu.layers.sampled_softmax import Strata, draw
from fastrnn.kernels.threads import ThreadTeam
from fastrnn.networks.gradients import NoOptimizer
from fastrnn.networks.network import Network
from fastrnn.training.optimizer import Optimizer


def zipf_counts(C, seed=0):
    """Frequencies of C words, some zero, in no order."""
    counts = (1e4 / np.arange(1, C + 1)).astype(np.int64)
    counts[-C // 10 :] = 0
    return np.random.default_rng(seed).permutation(counts)


def draws(strata, n):
    """n panels: their words and ln of the probabilities, (n, K) each."""
    words = np.empty((n, strata.panel_size), np.int32)
    log_probability = np.empty(words.shape)
    for i in range(n):
        draw(strata, batch_key(7, i), words[i], log_probability[i])
    return words, log_probability


@pytest.mark.parametrize("n_sampled", [2, 3, 17, 59])
def test_every_stratum_gives_one_word_and_its_probabilities_sum_to_one(n_sampled):
    strata = Strata.of(zipf_counts(60), n_sampled)
    assert strata.panel_size == n_sampled and sorted(strata.order) == list(range(60))
    assert (np.diff(strata.first) >= 1).all() and strata.first[-1] == 60
    assert np.add.reduceat(np.exp(strata.log_probability), strata.first[:-1]) == pytest.approx(1)
    words, log_probability = draws(strata, 20)
    position = np.argsort(strata.order)[words]
    head = strata.first[0]
    assert (position[:, :head] == np.arange(head)).all()
    assert (position[:, head:] >= strata.first[:-1]).all() and (position[:, head:] < strata.first[1:]).all()
    assert np.array_equal(log_probability, strata.log_probability[position])
    assert len({tuple(row) for row in words}) > (1 if n_sampled < 59 else 0)


@pytest.mark.compiled
def test_the_estimate_of_the_partition_function_is_unbiased():
    """Within 5 standard errors of many draws; without the weights 1 / pi it is far off."""
    C, n = 400, 40_000
    strata, z = Strata.of(zipf_counts(C), 60), np.random.default_rng(1).normal(0, 1.5, C)
    words, log_probability = draws(strata, n)
    estimates, unweighted = np.exp(z[words] - log_probability).sum(1), np.exp(z[words]).sum(1)
    exact = np.exp(z).sum()
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / np.sqrt(n)
    assert abs(unweighted.mean() - exact) > 50 * unweighted.std() / np.sqrt(n)
    counts = np.bincount(words.ravel(), minlength=C)
    expected = np.exp(strata.log_probability)[np.argsort(strata.order)]
    assert (np.abs(counts - n * expected) < 6 * np.sqrt(n * expected * (1 - expected)) + 1e-9).all()


class Step:
    """A network, one batch, and from what its words are drawn."""

    def __init__(self, cell, C, H, lengths, n_sampled, dtype="float64", bias=True, tied=False, threads=1, seed=0):
        self.network = Network(cell, C, H, bias, dtype, embedding_dim=H if tied else None, tie_weights=tied)
        rng = np.random.default_rng(seed)
        for array in self.network.params.values():
            array[:] = rng.normal(0, 0.7, array.shape)
        self.x, self.y = (Ragged.from_sequences(data) for data in random_batch(C, lengths, seed))
        self.strata = Strata.of(np.bincount(self.y.values, minlength=C), n_sampled)
        self.batches = Batches.whole(self.x, self.y, *minibatches(self.x.lengths, len(lengths)))
        self.threads = threads

    def run(self, optimizer=None, scale=1.0, work=None):
        """The batch's loss, memory, and gradient of the layers below."""
        optimizer = optimizer or NoOptimizer(self.network.dtype)
        gradient = self.network.gradient_like()
        with ThreadTeam(self.threads) as team:
            work = work or self.network.training_workspace(team.n_threads, self.batches, -1, False, self.strata)
            losses, _ = self.network.train(team, self.batches, work, gradient, optimizer, -1, scale)
        return losses, work, gradient

    def gradients(self):
        """The loss, and gradients by their public names but for U."""
        (loss,), work, gradient = self.run()
        memory, V, c = work.softmax, *(np.zeros_like(a) for a in (self.network.model.V, self.network.model.c))
        used = memory.used[0]
        V[memory.words[:used]] = memory.dV[:used]
        if len(c):
            c[memory.words[:used]] = memory.dc[:used]
        assert (memory.row == -1).all()
        return float(loss), {"V": V, "c": c, "W": gradient.cell.W.copy(), "b": gradient.cell.b.copy()}

    def arrays(self):
        model = self.network.model
        return {"V": model.V, "c": model.c, "W": model.cell.W, "b": model.cell.b}


@st.composite
def steps(draw):
    C = draw(st.integers(3, 300 if COMPILED else 9))
    H = draw(st.integers(1, 40 if COMPILED else 3))
    lengths = draw(st.lists(st.integers(1, 9 if COMPILED else 3), min_size=1, max_size=40 if COMPILED else 3))
    return {
        "C": C, "H": H, "lengths": lengths, "n_sampled": draw(st.integers(2, C - 1)), "bias": draw(st.booleans()),
        "tied": draw(st.booleans()), "threads": draw(st.sampled_from([1, 2])), "seed": draw(st.integers(0, 999)),
    }  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
@examples(25)
@given(case=steps())
@example(case=dict(C=3, H=1, lengths=[1], n_sampled=2, bias=False, tied=False, threads=1, seed=0))
@example(case=dict(C=9, H=2, lengths=[3, 1], n_sampled=3, bias=True, tied=True, threads=1, seed=0))
def test_gradients_for_a_draw_by_finite_differences(cell, case):
    """In random directions: the draw depends on the update's number alone, so it is the same on both sides."""
    step = Step(cell, **case)
    _, found = step.gradients()
    rng, h = np.random.default_rng(case["seed"]), 2e-5
    for name, array in step.arrays().items():
        if array.size:
            direction, clean = rng.normal(size=array.shape), array.copy()
            direction /= np.linalg.norm(direction)
            sides = []
            for sign in (1, -1):
                array[...] = clean + sign * h * direction
                sides.append(step.run()[0][0])
            array[...] = clean
            expected = (sides[0] - sides[1]) / (2 * h)
            floor = 1e-6 * np.linalg.norm(found[name]) + 1e-7
            assert np.vdot(found[name], direction) == pytest.approx(expected, rel=1e-5, abs=floor), name


@pytest.mark.compiled
@pytest.mark.every_cpu
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_and_gradients_of_a_draw_from_the_definition(dtype, bias):
    """Several blocks of tokens and words, targets in and out of the panel, words that are drawn and never targets."""
    C, H = 900, 23
    step = Step("rnn", C, H, [20] * 9 + [7] * 8, 250, dtype, bias, threads=2)
    (total,), work, _ = step.run()
    memory, model, count = work.softmax, step.network.model, len(step.y.values)
    V, h = model.V.astype(np.float64), work.states.state[0][:count, :H].astype(np.float64)
    c = model.c.astype(np.float64) if bias else np.zeros(C)
    K = step.strata.panel_size
    panel, shift, targets = memory.words[:K], memory.log_probability[:K], work.rows.targets[:count]
    z = h @ V[panel].T + c[panel] - shift
    z[panel == targets[:, None]] = -np.inf
    target = (h * V[targets]).sum(1) + c[targets]
    Z = np.exp(z).sum(1) + np.exp(target)
    losses = np.log(Z) - target
    assert 0 < (panel == targets[:, None]).any(1).sum() < count
    e, missing = np.exp(z) / Z[:, None], np.exp(target) / Z - 1
    dV, dc = np.zeros((C, H)), np.zeros(C)
    np.add.at(dV, panel, e.T @ h)
    np.add.at(dV, targets, missing[:, None] * h)
    np.add.at(dc, panel, e.sum(0))
    np.add.at(dc, targets, missing)
    assert total == pytest.approx(losses.sum(), rel=1e-5 if dtype == "float32" else 1e-12)
    _, found = step.gradients()
    expected = {"V": dV} | ({"c": dc} if bias else {})
    assert_arrays_close({name: found[name] for name in expected}, expected, dtype)


@pytest.mark.compiled
def test_gradients_in_bfloat16_are_those_of_float32_nearly():
    step = Step("gru", 700, 24, [15] * 20, 200, "float32", threads=2)
    loss, exact = step.gradients()
    step.network.matmul_precision = "bfloat16"
    rounded_loss, rounded = step.gradients()
    assert rounded_loss == pytest.approx(loss, rel=1e-3)
    for name, array in exact.items():
        error = np.linalg.norm(rounded[name] - array) / np.linalg.norm(array)
        assert 1e-6 < error < 5e-2, name


def optimizer_of(step, name="adam", clip_norm=5.0):
    return Optimizer(name, 0.01, 0.9 if name == "sgd" else 0.0, clip_norm, step.network.networks)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_step_moves_the_rows_of_the_panel_and_of_targets_only(name, tied):
    step = Step("gru", 30, 3, [3, 2], 6, "float32", tied=tied)
    before = step.network.model.V.copy()
    optimizer = optimizer_of(step, name)
    _, work, _ = step.run(optimizer)
    moved = set(np.flatnonzero((step.network.model.V != before).any(1)).tolist())
    panel = set(work.softmax.words[: step.strata.panel_size].tolist())
    expected = panel | set(step.y.values.tolist()) | (set(step.x.values.tolist()) if tied else set())
    assert moved == expected and len(expected) < 30
    assert (work.softmax.row == -1).all() and optimizer.updates == 1


def test_draws_differ_from_update_to_update():
    step = Step("rnn", 50, 2, [2], 5)
    optimizer, panels = optimizer_of(step), set()
    for _ in range(5):
        _, work, _ = step.run(optimizer)
        panels.add(tuple(work.softmax.words[:5].tolist()))
    assert len(panels) > 1


@pytest.mark.compiled
@pytest.mark.parametrize("n_sampled", [None, 6])
def test_after_a_gradient_that_is_not_finite_the_next_batch_is_right(n_sampled):
    """The memory is that of the batch that failed: none of its words may have kept their rows."""
    step = Step("rnn", 30, 3, [3, 2], 6, "float32")
    step.strata = step.strata if n_sampled else None
    _, _, gradient = step.run(optimizer_of(step))
    again = Step("rnn", 30, 3, [3, 2], 6, "float32")
    again.strata = step.strata
    losses, work, _ = again.run(optimizer_of(again), scale=1e38)
    assert len(losses) == 0 and (work.sparse.dU_row == -1).all()
    _, work, repeated = again.run(optimizer_of(again), work=work)
    assert np.array_equal(repeated.cell.W, gradient.cell.W)
    for one, other in zip(step.network.arrays().values(), again.network.arrays().values(), strict=True):
        assert np.array_equal(one, other)

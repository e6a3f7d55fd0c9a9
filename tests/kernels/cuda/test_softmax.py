"""The GPU's matrix product and output layer, in Numba's simulator where there is no GPU, against plain NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import CELLS

from fastrnn import FastRNN
from fastrnn.kernels.cuda import driver, workspace
from fastrnn.kernels.cuda.driver import to_device, to_host
from fastrnn.kernels.cuda.layers import softmax
from fastrnn.kernels.cuda.linalg import gemm

pytestmark = pytest.mark.usefixtures("simulator")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def random(rng, *shape, dtype="float64"):
    return rng.standard_normal(shape).astype(dtype)


def close(found, expected, dtype="float64"):
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [(5, 7, 9), (1, 1, 1), (4, 8, 4), (9, 3, 1), (3, 2, 0), (0, 3, 2)])
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_product_takes_operands_in_either_order_and_in_part(dtype, sizes, a_turned, b_turned):
    m, n, depth = sizes
    rng = np.random.default_rng(m + 10 * n)
    a, b = random(rng, m + 2, depth + 3, dtype=dtype), random(rng, depth + 2, n + 3, dtype=dtype)
    c, bias = random(rng, m + 1, n + 2, dtype=dtype), random(rng, n + 2, dtype=dtype)
    expected = a[1 : m + 1, 2 : depth + 2] @ b[1 : depth + 1, 2 : n + 2]
    A, B = to_device(a.T if a_turned else a), to_device(b.T if b_turned else b)
    a_row, a_k = (1, m + 2) if a_turned else (depth + 3, 1)
    b_k, b_column = (1, depth + 2) if b_turned else (n + 3, 1)
    C = to_device(c)
    operands = (A, a_row + 2 * a_k, a_row, a_k, B, b_k + 2 * b_column, b_k, b_column, C, 1, n + 2, m, n, depth)
    gemm.product(*operands)
    gemm.product(*operands, add=True, bias=to_device(bias), bias0=2)
    want = c.copy()
    want[:m, 1 : n + 1] = 2 * expected + bias[2:]
    close(to_host(C), want, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("of", [gemm.COLUMN_SUMS, gemm.ROW_SUMS])
@pytest.mark.parametrize(
    "count, m, n, max_parts", [(37, 3, 5, 1000), (37, 3, 5, 0), (70, 5, 9, 100), (2, 1, 1, 9), (0, 2, 3, 9)]
)
def test_token_sum_in_parts_and_in_one(dtype, of, count, m, n, max_parts):
    rng = np.random.default_rng(count)
    x, d = random(rng, count, m + 2, dtype=dtype), random(rng, count, n + 4, dtype=dtype)
    out, sums = random(rng, m, n + 1, dtype=dtype), random(rng, 1 + max(m, n), dtype=dtype)
    scratch = to_device(np.full(max_parts, np.nan, dtype))
    Out, Sums, X, D = map(to_device, (out, sums, x, d))
    length = m if of == gemm.ROW_SUMS else n
    want, want_sums = out.copy(), sums.copy()
    own_sums = x[:, 1 : m + 1].sum(0) if of == gemm.ROW_SUMS else d[:, 3 : n + 3].sum(0)
    for add in (False, True):
        gemm.token_sum(
            X, 1, m + 2, D, 3, n + 4, count, Out, 1, n + 1, m, n, scratch, add=add, sums=Sums, sums0=1, of=of
        )  # fmt: skip
        want[:, 1:] = x[:, 1 : m + 1].T @ d[:, 3 : n + 3] + add * want[:, 1:]
        want_sums[1 : length + 1] = own_sums + add * want_sums[1 : length + 1]
        close(to_host(Out), want, dtype)
        close(to_host(Sums), want_sums, dtype)
    gemm.token_sum(X, 1, m + 2, D, 3, n + 4, count, Out, 1, n + 1, m, n, scratch)
    close(to_host(Sums), want_sums, dtype)


def test_long_sums_are_split_and_short_ones_are_not():
    assert gemm._split(1, 1000, 100)[0] == gemm.TARGET_BLOCKS
    assert gemm._split(1, 1000, 0)[0] == gemm._split(1000, 1000, 100)[0] == gemm._split(1, 0, 100)[0] == 1
    for depth in range(100):
        parts, share = gemm._split(2, depth, 3)
        assert parts <= 3 and (parts - 1) * share < max(depth, 1) <= parts * share
        assert share % gemm.DEPTH == 0


class Case:
    """A model's output layer and a batch, on the device and as float64."""

    def __init__(self, monkeypatch, C=7, H=5, count=9, bias=True, block=4, dtype="float64", scale=1.0, wide=2):
        rng = np.random.default_rng(C * H + count)
        monkeypatch.setattr(workspace, "BLOCK_LOGITS", block * C)
        self.dtype, self.C, self.H, self.count = dtype, C, H, count
        self.V, self.c = random(rng, C, H, dtype=dtype) * dtype_of(dtype, scale), random(rng, C * bias, dtype=dtype)
        self.top = random(rng, count, wide * H, dtype=dtype)
        self.targets, self.row0 = rng.integers(C, size=count + 3, dtype=np.int32), 2
        self.origin = np.concatenate(([99, 99], rng.permutation(count), [99])).astype(np.int32)
        self.model = SimpleNamespace(V=to_device(self.V), c=to_device(self.c))
        self.gradient = SimpleNamespace(
            V=to_device(np.full((C, H), 7, dtype)), c=to_device(np.full(len(self.c), 7, dtype))
        )
        self.dh = to_device(np.full((2, count, H), 7, dtype))
        tokens = workspace.block_tokens(C, count)
        self.softmax = workspace.Softmax(
            nll=driver.zeros(count, dtype), z=driver.zeros((tokens, C), dtype), part=driver.zeros((3, tokens, H), dtype)
        )  # fmt: skip
        self.losses, self.status = driver.zeros(3, "f8"), driver.zeros(2, "i8")

    def run(self, scale=0.25, learn=True):
        softmax.output_layer(
            self.model, self.count, to_device(self.top), to_device(self.targets), self.row0, self.softmax,
            self.gradient if learn else None, self.dh if learn else None, dtype_of(self.dtype, scale), learn,
        )  # fmt: skip
        softmax.total_loss(self.softmax, self.count, self.losses, 1, self.status)

    def expected(self, scale=0.25):
        h, V, c = (np.asarray(array, np.float64) for array in (self.top[:, : self.H], self.V, self.c))
        z = h @ V.T + (c if len(c) else 0)
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        own = np.arange(self.count), self.targets[self.row0 : self.row0 + self.count]
        nll = np.log(e.sum(1)) - (z - z.max(1, keepdims=True))[own]
        dz = scale * p
        dz[own] -= scale
        return SimpleNamespace(p=p, z=z, nll=nll, dV=dz.T @ h, dc=dz.sum(0)[: len(c)], dh=dz @ V)


def dtype_of(dtype, value):
    return np.dtype(dtype).type(value)


CASES = [
    {}, {"bias": False}, {"C": 1}, {"H": 1, "C": 3}, {"count": 1}, {"C": 23, "H": 3, "block": 9}, {"scale": 300.0},
    {"dtype": "float32"}, {"dtype": "float32", "bias": False, "wide": 1}, {"dtype": "float32", "scale": 100.0},
]  # fmt: skip


@pytest.mark.parametrize("sizes", CASES)
def test_output_layer_gives_losses_and_gradients(monkeypatch, sizes):
    case = Case(monkeypatch, **sizes)
    case.run()
    want, dtype = case.expected(), case.dtype
    if dtype == "float32" and "scale" in sizes:
        np.testing.assert_allclose(to_host(case.softmax.nll), want.nll, rtol=1e-5, atol=1e-3)
        return
    close(to_host(case.softmax.nll), want.nll, dtype)
    close(to_host(case.gradient.V), want.dV, dtype)
    close(to_host(case.gradient.c), want.dc, dtype)
    close(to_host(case.dh)[0], want.dh, dtype)
    assert np.all(to_host(case.dh)[1] == 7)
    close(to_host(case.losses), [0, want.nll.sum(), 0], dtype)
    assert np.all(to_host(case.status) == 0)


def test_scoring_gives_the_same_losses_and_touches_nothing_else(monkeypatch):
    case, other = Case(monkeypatch), Case(monkeypatch)
    case.run()
    other.run(learn=False)
    assert np.array_equal(to_host(case.softmax.nll), to_host(other.softmax.nll))
    assert np.all(to_host(other.gradient.V) == 7) and np.all(to_host(other.dh) == 7)


def test_no_tokens_leave_no_gradient(monkeypatch):
    case = Case(monkeypatch, count=0)
    case.run()
    assert np.all(to_host(case.gradient.V) == 0) and np.all(to_host(case.gradient.c) == 0)
    assert np.all(to_host(case.losses) == 0) and np.all(to_host(case.status) == 0)


def test_the_same_numbers_every_time(monkeypatch):
    runs = []
    for _ in range(2):
        case = Case(monkeypatch, C=23, dtype="float32")
        case.run()
        runs.append([to_host(a) for a in (case.softmax.nll, case.gradient.V, case.gradient.c, case.dh, case.losses)])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_reported_and_the_report_stays(monkeypatch, value):
    case = Case(monkeypatch)
    case.top[3, 1] = value
    case.run()
    nll = to_host(case.softmax.nll)
    assert not np.isfinite(nll[3]) and np.all(np.isfinite(np.delete(nll, 3)))
    assert list(to_host(case.status)) == [0, 1] and not np.isfinite(to_host(case.losses)[1])
    case.top[3, 1] = 0
    case.run()
    assert list(to_host(case.status)) == [0, 1] and not np.isfinite(to_host(case.losses)[1])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_impossible_word_harms_only_where_it_is_wanted(monkeypatch):
    case = Case(monkeypatch)
    case.c[4] = -np.inf
    case.model.c = to_device(case.c)
    case.targets[:] = 3
    case.run()
    close(to_host(case.softmax.nll), case.expected().nll)
    close(to_host(case.gradient.V), case.expected().dV)
    assert np.all(to_host(case.gradient.V)[4] == 0) and to_host(case.status)[1] == 0
    case.targets[5] = 4
    case.run()
    assert to_host(case.softmax.nll)[5 - case.row0] == np.inf and to_host(case.status)[1] == 1


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"C": 23, "bias": False, "block": 9}, {"C": 1}, {"dtype": "float32"}])
def test_probabilities_stand_at_the_tokens_places(monkeypatch, sizes, every):
    case = Case(monkeypatch, **sizes)
    best = to_device(np.full(case.count + 1, -5, np.int32))
    proba = to_device(np.full((case.count + 1, case.C), 5, case.dtype)) if every else None
    softmax.probabilities(
        case.model, case.count, to_device(case.top), to_device(case.origin), case.row0, case.softmax, best, proba
    )
    places, want = case.origin[case.row0 : case.row0 + case.count], case.expected()
    assert np.array_equal(to_host(best)[places], want.z.argmax(1)) and to_host(best)[case.count] == -5
    if every:
        close(to_host(proba)[places], want.p, case.dtype)
        assert np.all(to_host(proba)[case.count] == 5)


def test_of_equally_probable_words_the_first_is_best(monkeypatch):
    case = Case(monkeypatch, C=11, bias=False)
    case.V[[3, 5, 8, 10]] = case.V[3] * 0 + 50
    case.top[:, : case.H] = np.abs(case.top[:, : case.H])
    case.model.V = to_device(case.V)
    best = driver.zeros(case.count, "i4")
    softmax.probabilities(
        case.model, case.count, to_device(case.top), to_device(case.origin), case.row0, case.softmax, best
    )
    assert np.all(to_host(best) == 3)


# ---- Memory for parts of sums


HARDWARE = {"TILE": 64, "DEPTH": 16, "TARGET_BLOCKS": 512, "MIN_TERMS": 64}  # as on a GPU, also in the simulator


@pytest.mark.parametrize(
    "C, H, G, N", [(65, 512, 4, 6400), (8000, 100, 3, 20_000), (33_000, 512, 4, 1120), (5, 3, 1, 2)]
)
def test_scratch_is_no_larger_than_products_use(C, H, G, N, monkeypatch):
    for name, value in HARDWARE.items():
        monkeypatch.setattr(gemm, name, value)
    monkeypatch.setattr(workspace, "TILE", HARDWARE["TILE"])
    model = SimpleNamespace(cell=SimpleNamespace(W=np.empty((2, H, G * H), "i1")), V=np.empty((C, H), "i1"))
    block = workspace.block_tokens(C, N)
    found = workspace._scratch(model, 0, N, block)
    largest = 512 * 64 * 64 + max(C * H + C, G * H * (H + 1))  # of tiles that are all busy with parts
    assert found <= largest and found * 4 < 32e6
    for n in range(1, block + 1, 7):  # the last block of a batch may be of any size
        assert gemm.scratch_size(n, H, C) <= found
    for tokens in range(1, N, max(1, N // 50)):
        assert gemm.scratch_size(H, G * H, tokens, G * H) <= found
        assert gemm.scratch_size(C, H, min(tokens, block), C) <= found


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "embedding_dim": 3}], ids=["one layer", "deep"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_has_as_much_scratch_as_its_products_can_use(cell, options, monkeypatch):
    launch, split = gemm._launch, []

    def launched(*arguments):
        m, n, depth, mode, scratch = (arguments[i] for i in (11, 12, 13, 17, 18))
        if scratch is not None:
            wanted = gemm.scratch_size(m, n, depth, (0, 0, m, n)[mode])
            assert scratch.size >= wanted
            split.append(wanted > 0)
        launch(*arguments)

    monkeypatch.setattr(gemm, "_launch", launched)
    x = [[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
    FastRNN(cell, 3, 18, max_epochs=1, random_state=0, device="cuda", **options).fit(x, x)
    assert any(split)

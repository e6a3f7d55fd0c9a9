"""The layers on the GPU, in the simulator where there is none: states, errors and gradients are the reference's."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
from helpers import CELLS

from fastrnn import DeviceError
from fastrnn.kernels.cells import CELLS as CPU_CELLS
from fastrnn.kernels.cpu.layers.dropout import batch_key, row_key
from fastrnn.kernels.cpu.layers.dropout import drop as cpu_drop
from fastrnn.kernels.cuda import driver as cuda
from fastrnn.kernels.cuda import workspace
from fastrnn.kernels.cuda.block import ROWS, THREADS, UNITS
from fastrnn.kernels.cuda.layers import recurrence, stack

pytestmark = pytest.mark.usefixtures("simulator")

C, H, E, ROW0, STEP0 = 6, 3, 2, 2, 3
KEY = int(batch_key(5, 1))


class Case:
    """A stack of layers, a batch and errors of its outputs, for the reference and the GPU; the longest come first."""

    def __init__(
        self, cell, lengths, *, layers=1, embedded=False, bias=True, H=H, rate=0.0, truncate=-1, carried=False
    ):
        rng = np.random.default_rng(len(lengths) + layers)
        self.cell, self.L, self.H, self.rate, self.truncate, self.rng = cell, layers, H, rate, truncate, rng
        self.E, self.carried = E if embedded else 0, carried
        self.S, self.columns = len(reference.STATES[cell]), reference.GATES[cell] * H
        self.params = reference.init_params(
            cell, C, H, bias, rng, num_layers=layers, embedding_dim=self.E or None, scale=1.0
        )  # fmt: skip
        self.lengths, self.N, self.B = lengths, sum(lengths), len(lengths)
        self.x = [rng.integers(C, size=length, dtype=np.int32) for length in lengths]
        self.places = [rng.integers(1000, size=length, dtype=np.int32) for length in lengths]
        self.doutput = [rng.standard_normal((length, H)) for length in lengths]
        width = self.S * H
        self.initial, self.final_errors = rng.uniform(-1, 1, (2, layers, len(lengths), width))
        if not carried:
            self.initial[:], self.final_errors[:] = 0, 0
        if truncate >= 0:
            self.final_errors[:] = 0
        counts = [sum(length > t for length in lengths) for t in range(max(lengths))]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    def row(self, n, t):
        return self.starts[t] + n

    def packed(self, sequences):
        """What every token of every sequence has, in packed rows."""
        first = np.asarray(sequences[0])
        rows = np.empty((self.N, *first.shape[1:]), first.dtype)
        for n, sequence in enumerate(sequences):
            for t in range(len(sequence)):
                rows[self.row(n, t)] = sequence[t]
        return rows

    def masks(self):
        if self.rate == 0:
            return None
        result = []
        for places in self.places:
            widths = [(0, self.E)] * (self.E > 0) + [(layer + 1, self.H) for layer in range(self.L)]
            of_sequence = [np.empty((len(places), width)) for _, width in widths]
            for (connection, width), mask in zip(widths, of_sequence, strict=True):
                for t in range(len(places)):
                    cpu_drop(np.ones(width), mask[t], self.rate, row_key(KEY, connection, int(places[t])))
            result.append(of_sequence)
        return result

    def expected(self):
        """States by packed row, gradients by name, errors of the initial states."""
        params, cell, masks = self.params, self.cell, self.masks()
        grads = {name: np.zeros_like(array) for name, array in params.items()}
        state = np.empty((self.L, self.N, self.S * self.H))
        final, initial_errors = np.empty_like(self.initial), np.zeros_like(self.initial)
        top = np.empty((self.N, self.H))
        for n, xs in enumerate(self.x):
            of_n = None if masks is None else masks[n]
            records, outputs = reference.run(cell, params, xs, reference.split_state(cell, self.initial[:, n]), of_n)
            for t, record in enumerate(records):
                state[:, self.row(n, t)] = reference.join_state(cell, record)
                top[self.row(n, t)] = outputs[t]
            final[:, n] = reference.join_state(cell, records[-1])
            # One sweep for the last states' errors, and one for those of every output.
            sweeps = [(len(xs) - 1, 0, reference.split_state(cell, self.final_errors[:, n]), np.zeros(self.H), True)]
            for t in range(len(xs)):
                k = None if self.truncate < 0 else self.truncate
                reached = reference.reaches_initial_state(t, k)
                zero = reference.zero_state(cell, params)
                sweeps.append((t, reference.window_start(t, k), zero, self.doutput[n][t], reached))
            for begin, end, deltas, doutput, reached in sweeps:
                for s in range(begin, end - 1, -1):
                    multipliers = reference.multipliers_at(params, of_n, s)
                    deltas = reference.step_backward(
                        cell, params, xs[s], records[s], multipliers, deltas, doutput, grads
                    )  # fmt: skip
                    doutput = np.zeros(self.H)
                if reached:
                    initial_errors[:, n] += reference.join_state(cell, deltas)
        return SimpleNamespace(state=state, final=final, top=top, grads=grads, initial_errors=initial_errors)

    def found(self, dtype="float64"):
        """The same from the GPU."""
        model, U = self.model(dtype)
        sizes = workspace.Sizes(
            tokens=self.N + 2, steps=max(self.lengths) + 1, sequences=self.B, learn=True, truncate=self.truncate,
            carried=self.B * self.carried, carried_deltas=self.B * self.carried, dropout=self.rate > 0,
        )  # fmt: skip
        work = workspace.allocate(model, U, sizes)
        work = work._replace(
            states=workspace.States(*map(filled, work.states[:-1])), deltas=workspace.Deltas(*map(filled, work.deltas))
        )
        states, deltas, batch = work.states, work.deltas, self.batch()
        if self.carried:
            states = states._replace(initial=device(self.initial, dtype))
            deltas = deltas._replace(final=device(self.final_errors, dtype))
        dh = np.full(deltas.dh.shape, np.nan)
        dh[0, : self.N] = self.packed(self.doutput)
        deltas = deltas._replace(dh=device(dh, dtype))
        stack.run_forward(model.cell, model.inputs, U, batch, states, self.rate, KEY)
        stack.run_backward(model.cell, model.inputs, self.truncate, batch, states, deltas, self.rate, KEY)
        gradient, _ = self.model(dtype)
        gradient = gradient._replace(cell=type(model.cell)(*map(filled, gradient.cell)), inputs=filled(gradient.inputs))
        stack.weights_gradients(model.cell, gradient, batch, states, deltas, cuda.empty(4000, dtype))
        x = states.x if self.rate > 0 else states.state
        return SimpleNamespace(
            state=cuda.to_host(states.state)[:, : self.N], final=cuda.to_host(states.final),
            top=cuda.to_host(x)[-1, : self.N, : self.H], grads=self.named(gradient, deltas),
            initial_errors=cuda.to_host(deltas.initial),
        )  # fmt: skip

    def model(self, dtype):
        """Parameters as the kernels take them, and U."""
        layers = [reference.layer_of(self.params, layer) for layer in range(self.L)]
        own = [np.stack([layer["W"].T for layer in layers])]
        own.append(np.stack([layer.get("b", np.empty(0)) for layer in layers]))
        own += [np.stack([layer["p"] for layer in layers])] if self.cell == "lstm" else []
        matrices = [layer["U"].T for layer in layers][0 if self.E else 1 :]
        inputs = np.concatenate([np.empty((0, self.columns)), *matrices])
        U = self.params["embedding"] if self.E else layers[0]["U"].T
        cell = CPU_CELLS[self.cell](*[device(array, dtype) for array in own])
        V = device(np.zeros((C, self.H)), dtype)
        return SimpleModel(cell, device(inputs, dtype), V), device(U, dtype)

    def batch(self):
        """The batch, behind another one's rows."""

        def behind(array, before):
            return cuda.to_device(np.concatenate([np.full(before, 10**6), array]).astype(np.int32))

        layout = workspace.RowLayout(
            behind(self.packed(self.x), ROW0), None, behind(self.packed(self.places), ROW0), behind(self.starts, STEP0),
            None, None, None,
        )  # fmt: skip
        return workspace.Batch(layout, ROW0, STEP0, 0, 0, self.N, max(self.lengths), self.B, 0)

    def named(self, gradient, deltas):
        """Gradients by the reference's names."""
        grads, da = {}, cuda.to_host(deltas.da)[:, : self.N]
        arrays = dict(zip(gradient.cell._fields, map(cuda.to_host, gradient.cell), strict=True))
        inputs, tokens = cuda.to_host(gradient.inputs), self.packed(self.x)
        for layer in range(self.L):
            for name, array in arrays.items():
                if array[layer].size:
                    grads[f"layer{layer}.{name}"] = array[layer].T if name == "W" else array[layer]
            if layer > 0 or self.E:
                first = stack.matrix_offset(layer, self.E, self.H)
                grads[f"layer{layer}.U"] = inputs[first : first + (self.H if layer else self.E)].T
        rows = np.zeros((C, self.E or self.columns), da.dtype)
        np.add.at(rows, tokens, cuda.to_host(deltas.d_embeddings)[: self.N] if self.E else da[0])
        grads |= {"embedding": rows} if self.E else {"layer0.U": rows.T}
        return grads


class SimpleModel(SimpleNamespace):
    """Of workspace.Model what the layers need."""

    def __init__(self, cell, inputs, V):
        super().__init__(cell=cell, inputs=inputs, V=V)

    def _replace(self, **changes):
        return SimpleModel(**(vars(self) | changes))


def device(array, dtype):
    return cuda.to_device(np.asarray(array, dtype))


def filled(array):
    """Memory of the same shape, of NaN: what is read must have been written."""
    return device(np.full(array.shape, np.nan), array.dtype)


def check(case, dtype="float64"):
    found, expected = case.found(dtype), case.expected()
    close = {"rtol": 0, "atol": 1e-10 if dtype == "float64" else 2e-5}
    np.testing.assert_allclose(found.state, expected.state, **close)
    np.testing.assert_allclose(found.top, expected.top, **close)
    if case.carried:
        np.testing.assert_allclose(found.final, expected.final, **close)
        np.testing.assert_allclose(found.initial_errors, expected.initial_errors, **close)
    names = expected.grads.keys() - {"V", "c"}
    assert found.grads.keys() == names
    for name in sorted(names):
        np.testing.assert_allclose(found.grads[name], expected.grads[name], err_msg=name, **close)
        assert np.abs(expected.grads[name]).max() > 0, name


SHAPES = {
    "one layer": {},
    "no bias": {"bias": False},
    "carried": {"carried": True},
    "embedding": {"embedded": True, "bias": False},
    "deep": {"layers": 2, "carried": True},
    "all": {"layers": 2, "embedded": True, "rate": 0.4, "carried": True},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_layers(cell, shape):
    check(Case(cell, [3, 2, 1], **shape))


@pytest.mark.parametrize("truncate", [0, 1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_truncated(cell, truncate):
    deep = cell != "rnn"
    check(Case(cell, [4, 2, 1], truncate=truncate, layers=1 + deep, embedded=deep, carried=True, rate=0.3 * deep))


def test_truncated_from_zeros():
    check(Case("gru", [3, 3, 1], truncate=1, layers=2))


@pytest.mark.parametrize("lengths", [[1], [3], [2, 2, 1, 1, 1]])
def test_batches_and_blocks(lengths):
    """One sequence; and more of them than blocks of two hold side by side."""
    check(Case("gru", lengths, carried=True))


@pytest.mark.parametrize("resident", [True, False], ids=["shared", "global"])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_plan(cell, rows, resident, monkeypatch):
    """A small batch has one sequence a block where a GPU has a multiprocessor for each: so the plan is forced.

    The last block is not full, and there are more units, and columns of the LSTM, than a block takes at once.
    """

    def plan(tiles, W, B):
        used.add((rows, resident))
        return rows, resident, recurrence.shared_bytes(tiles, W, rows, resident)

    used = set()
    monkeypatch.setattr(recurrence, "_plan", plan)
    lengths, H = ([2, 1, 1], 3) if cuda.SIMULATED else ([9, 7, 7, 4, 4, 3, 2, 2, 2, 1, 1], 70)
    case = Case(cell, lengths, H=H, carried=True)
    assert H > UNITS and (case.columns > THREADS or cell != "lstm")
    W = case.model("float64")[0].cell.W
    if recurrence.shared_bytes(recurrence.backward_tiles, W, rows, resident) > cuda.largest_shared() - recurrence.WORDS:
        pytest.skip("a block of this GPU has less shared memory")
    check(case)
    assert used == {(rows, resident)}


@pytest.mark.parametrize("cell", CELLS)
def test_weights_that_do_not_fit_into_shared_memory(cell, monkeypatch):
    case = Case(cell, [2, 2, 1], H=5, carried=True)
    fits = recurrence.backward_tiles(2, 5, case.columns) * 8 + recurrence.WORDS
    monkeypatch.setattr(recurrence, "largest_shared", lambda: fits)
    monkeypatch.setattr(recurrence, "multiprocessors", lambda: 2)  # a GPU may have one for every sequence
    assert recurrence._plan(recurrence.backward_tiles, case.model("float64")[0].cell.W, 3)[:2] == (2, False)
    check(case)


def test_fewer_sequences_a_block_where_their_rows_do_not_fit(monkeypatch):
    case = Case("rnn", [2, 2, 1], H=5)
    fits = recurrence.backward_tiles(1, 5, 5) * 8 + recurrence.WORDS
    monkeypatch.setattr(recurrence, "largest_shared", lambda: fits)
    monkeypatch.setattr(recurrence, "multiprocessors", lambda: 2)
    assert recurrence._plan(recurrence.backward_tiles, case.model("float64")[0].cell.W, 3)[:2] == (1, False)
    check(case)


def test_a_layer_that_is_too_wide_is_told(monkeypatch):
    monkeypatch.setattr(recurrence, "largest_shared", lambda: 200)
    with pytest.raises(DeviceError, match="^hidden_dim: 5 units need [0-9]+ bytes"):
        check(Case("rnn", [2, 1], H=5))


@pytest.mark.parametrize("cell", CELLS)
def test_float32(cell):
    check(Case(cell, [3, 1], layers=2, embedded=True, rate=0.4, carried=True), "float32")


def test_sequences_of_a_block(monkeypatch):
    monkeypatch.setattr(recurrence, "ROWS", (1, 2, 4, 8))
    monkeypatch.setattr(recurrence, "multiprocessors", lambda: 10)
    expected = {1: 1, 10: 1, 11: 2, 20: 2, 21: 4, 41: 8, 1000: 8}
    assert {B: recurrence.sequences_of_a_block(B) for B in expected} == expected

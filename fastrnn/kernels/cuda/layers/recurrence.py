"""Time loops of one layer: one block of threads takes a few sequences through all of its steps, forward and back.

Sequences are independent, so no block waits for another, and a layer is one launch. The sequences of a block are
neighbours in the batch, which is sorted by length; those that still have a step are the first of them. W stands in
shared memory where it fits.

A kernel is compiled for a cell, a number of sequences and whether W is in shared memory, when it is first needed.
"""

from types import SimpleNamespace

from ....errors import DeviceError
from ..block import (
    ROWS,
    THREADS,
    backward_tiles,
    columns_product,
    forward_tiles,
    load_weights,
    row_stride,
    u64,
    units_product,
)
from ..cells import CELLS
from ..driver import cuda, device_function, kernel, largest_shared, multiprocessors
from .dropout import drop, row_mask

WORDS = 4 * ROWS[-1]  # bytes of shared memory besides the tiles: the words that a block's sequences read
_forward_tiles, _backward_tiles = device_function(forward_tiles), device_function(backward_tiles)


def forward_kernel(cell, rows, resident):
    """The kernel that runs a layer of `cell` forward, `rows` sequences a block; W in shared memory if `resident`."""
    step, lanes = cell.forward(rows, columns_product(rows, resident)), THREADS // rows

    def run(
        layer, embedded, steps, step0, row0, starts, tokens, origin, U, W, b, own, prev, gates, aux, state, x,
        initial, final, bound, factor, key,
    ):  # fmt: skip
        tile, words = cuda.shared.array(0, W.dtype), cuda.shared.array(rows, "int32")
        H, width, zero = W.shape[1], prev.shape[2], W.dtype.type(0)
        first, own_layer = cuda.blockIdx.x * rows, u64(layer)
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        sequence = first + r
        if resident:
            load_weights(W, layer, tile, _forward_tiles(rows, H, W.shape[2]))
        n = min(rows, starts[step0 + 1] - starts[step0] - first)
        if r < n:
            for j in range(lane, width, lanes):
                value = initial[layer, sequence, j] if initial.shape[1] > 0 else zero
                prev[layer, sequence, j] = value
                if j < H:
                    tile[u64(r * H + j)] = value
            if embedded and lane == 0:
                words[r] = tokens[row0 + sequence]
        cuda.syncthreads()
        entering = (U, b, words, embedded)
        for t in range(steps):
            row, after = starts[step0 + t], starts[step0 + t + 1]
            n = min(rows, after - row - first)
            if n < 1:
                break
            step(W, own, own_layer, tile, entering, prev, gates, aux, state, row + first, n)
            cuda.syncthreads()
            staying = starts[step0 + t + 2] - after if t + 1 < steps else 0
            if r < n:
                i, stays, above = u64(row + sequence), sequence < staying, layer < x.shape[0]
                mask = row_mask(key, layer + 1, origin[u64(row0 + row + sequence)]) if above and bound > 0 else 0
                for j in range(lane, width, lanes):
                    value = state[own_layer, i, u64(j)]
                    if stays:
                        prev[own_layer, u64(after + sequence), u64(j)] = value
                        if j < H:
                            tile[u64(r * H + j)] = value
                    elif final.shape[1] > 0:
                        final[own_layer, u64(sequence), u64(j)] = value
                    if above and j < H:
                        x[own_layer, i, u64(j)] = drop(value, j, bound, factor, mask) if bound > 0 else value
                if embedded and stays and lane == 0:
                    words[r] = tokens[row0 + after + sequence]
            cuda.syncthreads()

    return run


def backward_kernel(cell, rows, resident):
    """The kernel that takes errors back through a layer of `cell`; the arguments are those of `forward_kernel`."""
    step, lanes = cell.backward(rows, units_product(rows, resident)), THREADS // rows

    def run(
        layer, truncate, steps, step0, row0, starts, origin, W, own, prev, gates, aux, state, dh, da, by_lag, carry,
        initial, final, bound, factor, key,
    ):  # fmt: skip
        tile = cuda.shared.array(0, W.dtype)
        H, columns, parts, zero = W.shape[1], W.shape[2], prev.shape[2] // W.shape[1], W.dtype.type(0)
        first = cuda.blockIdx.x * rows
        r, lane = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes
        sequence, top = first + r, layer == prev.shape[0] - 1
        slots = min(truncate + 1, steps) if truncate >= 0 else 1
        own_layer, target = u64(layer), by_lag if truncate >= 0 else da
        if resident:
            load_weights(W, layer, tile, _backward_tiles(rows, H, columns))
        n = min(rows, starts[step0 + 1] - starts[step0] - first)
        if r < n:
            for slot in range(slots):
                for j in range(lane, H, lanes):
                    for s in range(parts):
                        given = truncate < 0 and final.shape[1] > 0
                        carry[slot, sequence, s * H + j] = final[layer, sequence, s * H + j] if given else zero
        cuda.syncthreads()
        reached = 0  # steps so far: of the block's longest sequence
        for t in range(steps - 1, -1, -1):
            row = starts[step0 + t]
            n = min(rows, starts[step0 + t + 1] - row - first)
            if n < 1:
                continue
            reached += 1
            i = u64(row + sequence)
            mask = row_mask(key, layer + 1, origin[u64(row0 + row + sequence)]) if r < n and bound > 0 else 0
            lags = min(reached, slots)
            for lag in range(lags):
                slot = (t + lag) % slots
                if r < n and (lag == 0 or not top):
                    for j in range(lane, H, lanes):
                        if lag == 0 and truncate >= 0:  # a slot that an older output has left
                            for s in range(parts):
                                carry[u64(slot), u64(sequence), u64(s * H + j)] = zero
                        error = dh[u64(lag), i, u64(j)]
                        error = drop(error, j, bound, factor, mask) if bound > 0 else error
                        carry[u64(slot), u64(sequence), u64(j)] += error
                step(
                    W, own, own_layer, tile, prev, gates, aux, state, row + first, n, carry, u64(slot), first, target,
                    u64(lag) if truncate >= 0 else own_layer,
                )  # fmt: skip
            if truncate >= 0:
                cuda.syncthreads()
                if r < n:
                    for column in range(lane, columns, lanes):
                        total = by_lag[0, i, u64(column)]
                        for lag in range(1, lags):
                            total += by_lag[u64(lag), i, u64(column)]
                        da[own_layer, i, u64(column)] = total
        if initial.shape[1] > 0 and sequence < starts[step0 + 1] - starts[step0]:
            for j in range(lane, H, lanes):
                for s in range(parts):
                    total = zero
                    # Of an output after step k - 1 the initial state is a constant.
                    for slot in range(min(truncate, reached) if truncate >= 0 else 1):
                        total += carry[slot, sequence, s * H + j]
                    initial[layer, sequence, s * H + j] = total

    return run


def _kernels(name, build):
    """Kernels of all cells, numbers of sequences and memory spaces of W, under names like "gru_8_shared"."""
    found = {}
    for cell in CELLS.values():
        for rows in ROWS:
            for resident in (True, False):
                key = _name(cell.NAME, rows, resident)
                run = build(cell, rows, resident)
                run.__qualname__ = f"{name}.{key}"  # under which it is kept on disk
                found[key] = kernel(run)
    return SimpleNamespace(**found)


def _name(cell, rows, resident):
    return f"{cell}_{rows}_{'shared' if resident else 'global'}"


FORWARD, BACKWARD = _kernels("FORWARD", forward_kernel), _kernels("BACKWARD", backward_kernel)


def sequences_of_a_block(B):
    """How many sequences a block takes: few enough that all multiprocessors have some, if there are so many."""
    wanted = -(-B // multiprocessors())
    return next((rows for rows in ROWS if rows >= wanted), ROWS[-1])


def shared_bytes(tiles, W, rows, resident):
    """Bytes of a block's shared memory, for `rows` sequences, with W or without."""
    _, H, columns = W.shape
    return (tiles(rows, H, columns) + (H * row_stride(columns) if resident else 0)) * W.dtype.itemsize


def _plan(tiles, W, B):
    """Sequences of a block, whether W fits into its shared memory, and how many bytes of it there are."""
    most, rows = largest_shared() - WORDS, sequences_of_a_block(B)

    def fits(rows, resident):
        return shared_bytes(tiles, W, rows, resident) <= most

    while rows > 1 and not fits(rows, False):
        rows //= 2
    if not fits(rows, False):
        raise DeviceError(
            f"hidden_dim: {W.shape[1]} units need {shared_bytes(tiles, W, rows, False):,} bytes of a block's shared "
            f"memory, the GPU has {most:,}: lower it"
        )
    resident = fits(rows, True)
    if not resident and rows == 1 and fits(ROWS[1], False):  # what is read from memory serves two as well as one
        rows = ROWS[1]
    return rows, resident, shared_bytes(tiles, W, rows, resident)


def _own(cell):
    """The cell's parameters besides W and b, or what may stand there."""
    return cell[2] if len(cell) > 2 else cell.W


def forward(cell, layer, U, embedded, batch, states, dropout):
    """Run a batch forward through one layer; fills `states`, in that layer.

    Parameters
    ----------
    cell : a cell's tuple, on the device
    U : array (C, G*H)
        The rows that enter the gates, with the layer's b, if `embedded`; else states.gates holds what enters from
        below, and any array will do.
    batch : workspace.Batch
    states : workspace.States
        A sequence starts from its row of `initial` (zeros where that has no rows) and leaves its last state in
        `final`, if that has rows.
    dropout : dropout.Dropout
        Of what goes up into states.x, if that has this layer.
    """
    rows, resident, size = _plan(forward_tiles, cell.W, batch.sequences)
    layout = batch.layout
    getattr(FORWARD, _name(cell.NAME, rows, resident))(
        -(-batch.sequences // rows), THREADS, layer, embedded, batch.steps, batch.step0, batch.row0, layout.starts,
        layout.tokens, layout.origin, U, cell.W, cell.b, _own(cell), states.prev, states.gates, states.aux,
        states.state, states.x, states.initial, states.final, dropout.bound, dropout.factor, dropout.key, shared=size,
    )  # fmt: skip


def backward(cell, layer, truncate, batch, states, deltas, dropout):
    """Take a batch's errors back through one layer: from deltas.dh to deltas.da, in that layer.

    `truncate` is k of truncated back-propagation, negative for none. Untruncated, the errors of the last states,
    deltas.final, join where sequences end, if there are any; those of the initial states are left in deltas.initial, if
    it has rows. Truncated, errors are kept by their lag (the error of output t has lag a at step t - a):
    deltas.dh[a] is added at lag a, and deltas.by_lag[a] holds the part of da. A row is undefined at lags that
    no sequence of its block reaches there, and nothing reads it.
    """
    rows, resident, size = _plan(backward_tiles, cell.W, batch.sequences)
    layout = batch.layout
    getattr(BACKWARD, _name(cell.NAME, rows, resident))(
        -(-batch.sequences // rows), THREADS, layer, truncate, batch.steps, batch.step0, batch.row0, layout.starts,
        layout.origin, cell.W, _own(cell), states.prev, states.gates, states.aux, states.state, deltas.dh, deltas.da,
        deltas.by_lag, deltas.carry, deltas.initial, deltas.final, dropout.bound, dropout.factor, dropout.key,
        shared=size,
    )  # fmt: skip

"""Steps `launches`, `training` and `decoding`: how fast the kernels are, and where their time goes."""

import dataclasses
import statistics
import time
from contextlib import contextmanager

import numpy as np

from ..measure import rounds
from ..peers.gpu import DeviceModel, device_batches, set_tf32
from ..peers.torch_model import TOLERANCE, check_same, peer_of, torch
from ..workloads import SEED
from .workloads import CHARACTERS, TRAINING, WIKITEXT, WORDS, cells, either, fitting

ROUNDS = 3
PROFILED = [(shape, "lstm") for shape in (WORDS[0], WORDS[2], CHARACTERS, WORDS[1], WIKITEXT)]
PROFILED += [(WORDS[0], "gru"), (WORDS[0], "rnn")]
HOLD = 200_000  # dependent multiplications, 0.4 ms or more: longer than the host takes for a launch and two events
STREAMS, STEPS, SOURCES, BEAM = (1, 1024), 50, 64, 5
CROSSOVER = [(batch_size, hidden_dim) for batch_size in (32, 1) for hidden_dim in (32, 128, 512)]


class Trainer:
    """A network on the GPU and the batches of an epoch, which are always the same ones.

    Parameters
    ----------
    workload : GpuWorkload
    cell : str
    """

    def __init__(self, workload, cell):
        from fastrnn.data.batches import Batches
        from fastrnn.data.ragged import minibatches
        from fastrnn.training.optimizer import Optimizer

        self.x, self.y = workload.corpus()
        self.tokens, self.network = len(self.x.values), workload.model(cell, None).network_
        self.batches = Batches.whole(
            self.x, self.y, *minibatches(self.x.lengths, workload.batch_size, np.random.default_rng(SEED))
        )
        optimizer = Optimizer("adam", workload.learning_rate, 0.0, workload.clip, [self.network])
        work = self.network.training_workspace(1, self.batches, -1)
        self._own = work, self.network.gradient_like(), optimizer, -1

    def epoch(self):
        """Train on all batches, which the host lays out meanwhile: (tokens, loss a token)."""
        losses, _ = self.network.train(None, self.batches, *self._own)
        return self.tokens, losses.sum() / self.tokens

    def laid_out(self):
        """The same work without the host's: a function like `epoch`."""
        from fastrnn.kernels.cuda.layout import BatchLayouts

        layouts = BatchLayouts(*self.batches)
        ready, start = list(layouts), self.batches.segments.start

        def work():
            losses, _ = self.network.train_laid_out(ready, start, *self._own)
            return self.tokens, losses.sum() / self.tokens

        work.keep = layouts
        return work


# ---- Launches


def launches():
    """Rows: launches a batch, what one costs the host, and the time of every kernel on the device."""
    for workload, cell in _profiled():
        trainer = Trainer(workload, cell)
        count = trainer.batches.count
        trainer.epoch()
        start = time.perf_counter()
        trainer.epoch()
        batch, host, kernels = time.perf_counter() - start, host_times(trainer.epoch), kernel_times(trainer.epoch)
        yield {
            "workload": workload.key,
            "title": workload.title,
            "cell": cell,
            "batches": count,
            "batch_us": 1e6 * batch / count,
            "launches": len(host) / count,
            "launch_us": 1e6 * statistics.median(host),
            "host_us": 1e6 * sum(host) / count,
            "device_us": 1e6 * sum(map(sum, kernels.values())) / count,
            "kernels": {name: [len(t) / count, 1e6 * sum(t) / len(t)] for name, t in kernels.items()},
        }


def _profiled():
    """Workloads and cells, each with a tenth of its tokens: kernels are timed one by one."""
    small = {workload.key: workload for workload in fitting(TRAINING)}
    return [
        (dataclasses.replace(small[workload.key], tokens=small[workload.key].tokens // 10), cell)
        for workload, cell in PROFILED
        if workload.key in small and cell in cells()
    ]


@contextmanager
def _watched(around):
    """A context in which every launch of a kernel goes through `around(launch, kernel, arguments, options)`."""
    from fastrnn.kernels.cuda.driver import Kernel

    launch = Kernel.__call__

    def call(kernel, blocks, *arguments, **options):
        if min(blocks if isinstance(blocks, tuple) else (blocks,)) > 0:  # otherwise nothing is launched
            around(launch, kernel, (blocks, *arguments), options)

    Kernel.__call__ = call
    try:
        yield
    finally:
        Kernel.__call__ = launch


def host_times(work):
    """Seconds that the host spends on every launch of `work`."""
    seconds = []

    def timed(launch, kernel, arguments, options):
        start = time.perf_counter()
        launch(kernel, *arguments, **options)
        seconds.append(time.perf_counter() - start)

    with _watched(timed):
        work()
    return seconds


def kernel_times(work):
    """{kernel: seconds on the device of each of its launches}; before each the device is kept busy for a while."""
    from fastrnn.kernels.cuda.driver import SIMULATED, cuda, empty, kernel, synchronize

    @kernel
    def hold(count, out):
        x = out.dtype.type(0)
        for _ in range(count):
            x = x * out.dtype.type(0.5) + out.dtype.type(1)
        out[0] = x

    marks, out = {}, empty(1, "f4")

    def mark():
        if SIMULATED:  # its events know no time
            return time.perf_counter()
        event = cuda.event()
        event.record()
        return event

    def marked(launch, kernel, arguments, options):
        launch(hold, 1, 1, 1 if SIMULATED else HOLD, out)
        start = mark()
        launch(kernel, *arguments, **options)
        name = f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.py_func.__qualname__}"
        marks.setdefault(name, []).append((start, mark()))

    def between(start, end):
        return end - start if SIMULATED else cuda.event_elapsed_time(start, end) / 1000

    with _watched(marked):
        work()
    synchronize()
    return {name: [between(*pair) for pair in pairs] for name, pairs in marks.items()}


# ---- Training, beside PyTorch


def training():
    """Rows: tokens a second of training, with the data on the device; PyTorch's if it is there and sees the GPU."""
    device, why = torch_device()
    if device is None:
        yield {"PyTorch": f"skipped: {why}"}
    else:
        yield from _same(device)
    for cell in cells():
        for workload in fitting(TRAINING):
            yield _training_row(workload, cell, device)


def torch_device():
    """PyTorch's device, its CPU in the simulator, and why there is none: one of the two is None."""
    if torch is None:
        return None, "it is not installed"
    device = either("cuda", "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        return None, f"version {torch.__version__} sees no GPU"
    return device, None


def _same(device):
    """Rows: the largest relative difference of loss and gradients on equal weights, with TF32 off."""
    set_tf32(False)
    for cell in ("lstm", "rnn"):  # PyTorch's GRU is another one
        workload = fitting(WORDS)[0]
        try:
            found = check_same(workload, cell, None, (DeviceModel,), layers=1, device=device)
            yield {"same": found, "cell": cell, "ok": found < TOLERANCE}
        except SystemExit as error:
            yield {"same": str(error), "cell": cell, "ok": False}


def _training_row(workload, cell, device):
    contestants, data = {}, []
    for precision, name in (("float32", "fastrnn"), ("tf32", "fastrnn, tf32")):
        trainer = Trainer(dataclasses.replace(workload, precision=precision), cell)
        contestants[name], contestants[f"{name}, laid out"] = trainer.epoch, trainer.laid_out()
    if device is not None:
        torch.manual_seed(SEED)
        rng = np.random.default_rng(SEED)
        data = device_batches(trainer.x, trainer.y, workload.batch_size, rng, device)
        for name, tf32 in (("PyTorch", False), ("PyTorch, TF32", True)):
            peer = peer_of(workload, cell, DeviceModel, optimizer="adam", layers=1, device=device)
            contestants[name] = _theirs(peer, data, trainer.tokens, tf32)
    found = rounds(contestants, either(ROUNDS, 1))
    return {
        "workload": workload.key,
        "title": workload.title,
        "cell": cell,
        "torch": device,
        "rates": {name: result["rates"] for name, result in found.items()},
        "losses": {name: float(result["value"]) for name, result in found.items()},
    }


def _theirs(peer, data, tokens, tf32):
    """PyTorch's epoch; `item` waits for the device."""

    def work():
        set_tf32(tf32)
        return tokens, (peer.epoch(data) / tokens).item()

    return work


# ---- Decoding, and the CPU


def decoding():
    """Rows: drawing, beam search and small batches, each on the GPU and on the CPU."""
    workload, steps = fitting(WORDS)[0], either(STEPS, 3)
    for cell in cells():
        for streams in either(STREAMS, (2,)):
            yield _drawing(workload, cell, streams, steps)
    yield _searching(workload, either(SOURCES, 2), steps)
    for batch_size, hidden_dim in either(CROSSOVER, ((2, 2),)):
        yield _both(workload, batch_size, hidden_dim)


def _on_both(workload, cell):
    """{device: a model}, of equal weights."""
    return {name: workload.model(cell, None, device=device) for name, device in (("GPU", "cuda"), ("CPU", "cpu"))}


def _drawing(workload, cell, streams, steps):
    tokens = {}

    def work(name, model):
        drawn = model.generate(streams, min_length=steps, max_length=steps, random_state=SEED)
        tokens[name] = np.concatenate(drawn)
        return sum(map(len, drawn)) - streams, None  # the prompt of one token is not drawn

    models = _on_both(workload, cell)
    found = rounds({name: (lambda n=name, m=model: work(n, m)) for name, model in models.items()}, either(ROUNDS, 1))
    same = tokens["GPU"].shape == tokens["CPU"].shape and float((tokens["GPU"] == tokens["CPU"]).mean())
    return _decoded(f"drawing {streams:,} streams, {cell}", found, same)


def _searching(workload, count, steps):
    """Beam search by an encoder-decoder that was trained on one batch, which is enough to search with."""
    from fastrnn import Seq2Seq

    x, _ = workload.batch(count)
    sides = {"source_vocab_size": workload.vocab_size, "target_vocab_size": workload.vocab_size}
    model = Seq2Seq("lstm", workload.hidden_dim, **sides, max_epochs=1, random_state=SEED, device="cuda").fit(x, x)
    found, first = {}, {}

    def work(name, device):
        model.set_params(device=device)
        best = model.search(x, beam_width=either(BEAM, 2), max_length=steps)
        first[name] = [list(row[0].tokens) for row in best]
        return sum(len(hypothesis.tokens) for row in best for hypothesis in row), None

    for name, device in (("GPU", "cuda"), ("CPU", "cpu")):  # one after the other: weights move between them
        found |= rounds({name: lambda n=name, d=device: work(n, d)}, either(ROUNDS, 1))
    same = float(np.mean([a == b for a, b in zip(first["GPU"], first["CPU"], strict=True)]))
    return _decoded(f"beam search of {count} sources, width {BEAM}", found, same)


def _decoded(title, found, same):
    return {"title": title, "rates": {name: result["rates"] for name, result in found.items()}, "same": same}


def _both(workload, batch_size, hidden_dim):
    """Training of a GRU on either device."""
    tokens = either(16_000 if batch_size > 1 else 2_000, workload.tokens)
    workload = dataclasses.replace(workload, batch_size=batch_size, hidden_dim=hidden_dim, tokens=tokens)
    x, y = workload.corpus()
    contestants = {
        name: (lambda m=model: (len(x.values), m.partial_fit(x, y).loss_curve_[-1]))
        for name, model in _on_both(workload, "gru").items()
    }
    found = rounds(contestants, either(ROUNDS, 1))
    return _decoded(f"training, gru, H = {hidden_dim}, batch {batch_size}", found, None)

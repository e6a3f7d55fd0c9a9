"""Table `gpu`: training and sampling on a GPU, ours and PyTorch's with cuDNN, and ours on the CPU.

Without a GPU, `NUMBA_ENABLE_CUDASIM=1 python -m bench gpu --quick` tries it out: tiny sizes, PyTorch on its CPU device.
"""

import copy
import dataclasses
import statistics
import sys

import numpy as np

from . import gpu_probe as probe
from .decoding import TorchCells, TorchModule
from .gpu_report import CPU, OURS, TF32, USUAL, draw, lines
from .gpu_workloads import QUICK_PART, SINGLE, TRAINING, OnDevice, shorter, tiny
from .measure import median, rounds
from .peers import check_same, torch
from .peers_gpu import DeviceModel, device_batches, set_tf32
from .workloads import CELLS, SEED

__all__ = ["TITLE", "draw", "lines", "measure"]
TITLE = "Training and sampling on a GPU"
PASSES = {"sgd": 2, "adam": 6}  # over a parameter and its moments in an update, reading or writing
STREAMS, STEPS = 1024, 100
CROSSOVER_UNITS, CROSSOVER_BATCHES, CROSSOVER_REPEATS = (16, 32, 64, 128, 256, 512), (1, 32), 3
PROFILED = ("sentences-32", "gru")


def measure(options):
    """All figures of the table."""
    device = probe.place(options)
    fit = tiny if device == "cpu" else (lambda workload: shorter(workload, options.quick))
    workloads, units = (TRAINING, CROSSOVER_UNITS) if device == "cuda" else (TRAINING[2:], CROSSOVER_UNITS[:1])
    limits = rates(device)
    rows = [
        told(measure_training(fit(workload), cell, device, limits, options))
        for workload in workloads
        for cell in workload.targets
    ]
    single = [told(measure_single(fit(SINGLE), cell, device, options)) for cell in CELLS]
    sampling = [told(measure_sampling(fit(TRAINING[0]), cell, device, options)) for cell in CELLS]
    profiled = next(fit(workload) for workload in TRAINING if workload.key == PROFILED[0])
    profile = measure_profile(profiled, PROFILED[1], device, options)
    crossover = [
        told(measure_crossover(hidden_dim, batch_size, fit, device, options))
        for batch_size in CROSSOVER_BATCHES
        for hidden_dim in units
    ]
    return {
        "threads": options.threads, "repeats": options.repeats, "gpu": probe.facts(device), "rates": limits,
        "training": rows, "single": single, "sampling": sampling, "crossover": crossover, "profile": profile,
    }  # fmt: skip


def rates(device):
    """What the device does at most: flop/s and bytes a second."""
    found = {"product": probe.product_rate(device, False), "product_tf32": probe.product_rate(device, True)}
    return found | {"copy": probe.copy_rate(device)}


def told(row):
    """The row, after a line about it."""
    found = {name: f"{median(result):,.0f}" for name, result in row["timings"].items()}
    print(f"{row['title']}, {row['cell']}: {found}", file=sys.stderr)
    return row


def row_of(workload, cell, timings, **more):
    return {"workload": workload.key, "title": workload.title, "cell": cell, "timings": timings} | more


# ---- Training


def measure_training(workload, cell, device, limits, options):
    """Figures of a workload and a cell: both sides in turn, then the memory of each by itself."""
    same = check(workload, cell, device, options)
    x, y = workload.corpus()
    contestants, prepare = contest(workload, cell, x, y, device, options)
    timings = rounds(contestants, options.repeats, prepare)
    del contestants, prepare  # and their memory
    dense = workload.vocab_size * workload.hidden_dim + workload.recurrent(cell)  # of U only the words that occur
    passes, tokens_a_batch = PASSES[workload.optimizer], len(x.values) / -(-len(x) // workload.batch_size)
    bandwidth = probe.update_rate(device, dense * passes // 2)
    return row_of(
        workload, cell, timings, target=workload.targets[cell], same=same, tokens=len(x.values),
        floors={name: limits[name] / workload.flops(cell) for name in ("product", "product_tf32")}
        | {"bytes": tokens_a_batch * bandwidth / (4 * passes * dense)},
        memory=memory(workload, cell, x, y, device, options),
    )  # fmt: skip


def check(workload, cell, device, options):
    """As `check_same`, on one batch, with PyTorch's TF32 off."""
    set_tf32(False)
    return check_same(workload, cell, options.threads, (DeviceModel,), layers=workload.layers, device=device)


def contest(workload, cell, x, y, device, options):
    """{name: work of one epoch}, and what forms PyTorch's batches before every round."""
    model, data, tokens = workload.model(cell, options.threads), [], len(x.values)
    torch.manual_seed(SEED)

    def prepare():
        data[:] = device_batches(x, y, workload.batch_size, copy.deepcopy(model.rng_), device)
        probe.wait(device)

    contestants = {OURS: ours(model, x, y)}
    for name, tf32 in ((USUAL, False), (TF32, True)):
        contestants[name] = theirs(workload.peer(cell, device), data, tokens, tf32)
    return contestants, prepare


def ours(model, x, y):
    """The work of an epoch; the losses are read back at its end."""
    return lambda: (len(x.values), model.partial_fit(x, y).loss_curve_[-1])


def theirs(peer, data, tokens, tf32):
    """The work of an epoch; `item` waits for the device."""

    def work():
        set_tf32(tf32)
        return tokens, (peer.epoch(data) / tokens).item()

    return work


def memory(workload, cell, x, y, device, options):
    """{who: what `peak_memory` says}"""

    def make_theirs():
        data = device_batches(x, y, workload.batch_size, np.random.default_rng(SEED), device)
        return theirs(workload.peer(cell, device), data, len(x.values), False)

    makers = {OURS: lambda: ours(workload.model(cell, options.threads), x, y), USUAL: make_theirs}
    return {name: probe.peak_memory(device, make) for name, make in makers.items()}


def measure_single(workload, cell, device, options):
    """One sentence a step: ours on both devices, and PyTorch's."""
    check(workload, cell, device, options)
    x, y = workload.corpus()
    contestants, prepare = contest(workload, cell, x, y, device, options)
    contestants[CPU] = ours(on_cpu(workload).model(cell, options.threads), x, y)
    return row_of(workload, cell, rounds(contestants, options.repeats, prepare), tokens_a_step=len(x.values) / len(x))


def on_cpu(workload):
    return dataclasses.replace(workload, device="cpu")


def measure_crossover(hidden_dim, batch_size, fit, device, options):
    """Ours on both devices."""
    title = f"H = {hidden_dim}, batch {batch_size}"
    tokens = 16_000 if batch_size > 1 else 2_000
    workload = OnDevice("crossover", title, 8000, hidden_dim, batch_size, None, 0.001, 5.0, tokens, {"gru": None})
    workload = fit(workload)
    x, y = workload.corpus()
    forms = {OURS: workload, CPU: on_cpu(workload)}
    contestants = {name: ours(form.model("gru", options.threads), x, y) for name, form in forms.items()}
    timings = rounds(contestants, min(options.repeats, CROSSOVER_REPEATS))
    return row_of(workload, "gru", timings, hidden_dim=hidden_dim, batch_size=batch_size)


# ---- Sampling, and where the time goes


def measure_sampling(workload, cell, device, options):
    """Streams of sampled tokens, all of one length; of PyTorch's two forms the faster one counts."""
    streams, steps = (STREAMS, STEPS // (QUICK_PART if options.quick else 1)) if device == "cuda" else (2, 2)
    model, rng = workload.model(cell, options.threads), np.random.default_rng(SEED)

    def sample():
        drawn = model.generate(streams, min_length=steps, max_length=steps, random_state=rng)
        return sum(map(len, drawn)) - streams, None  # the prompt of one token is not drawn

    def with_tf32(work, allowed):
        return lambda: (set_tf32(allowed), work())[1]

    contestants = {OURS: sample}
    for form in (TorchCells, TorchModule):
        for name, tf32 in ((USUAL, False), (TF32, True)):
            contestants[name, form.__name__] = with_tf32(form(cell, workload, device).sampler(streams, steps), tf32)
    found = rounds(contestants, options.repeats)
    best = {
        name: max((result for key, result in found.items() if key[0] == name), key=median) for name in (USUAL, TF32)
    }
    return row_of(workload, cell, {OURS: found[OURS]} | best, streams=streams, steps=steps)


def measure_profile(workload, cell, device, options):
    """Launches of our kernels, what they cost the host, and how long each takes on the device."""
    x, y = workload.corpus()
    epoch = ours(workload.model(cell, options.threads), x, y)
    result = rounds({OURS: epoch}, options.repeats)[OURS]
    count, host = probe.launches(epoch)
    kernels, batches = probe.kernel_times(epoch, device), -(-len(x) // workload.batch_size)
    return {
        "title": workload.title, "cell": cell, "launches": count / batches, "host": host,
        "batch": 1e6 * len(x.values) / statistics.median(result["rates"]) / batches,
        "kernels": {name: [n / batches, 1000 * ms / n] for name, (n, ms) in kernels.items()},
    }  # fmt: skip

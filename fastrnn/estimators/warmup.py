"""Compiling ahead: everything that training, scoring, predicting, generating and translating will need."""

from __future__ import annotations

import sys
import time
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from ..kernels.cells import CELLS
from ..networks.devices import MATMUL_PRECISIONS, compilation_listener, product_precision, resolve
from ..training.optimizer import OPTIMIZERS
from ..validation import check_choice, check_dtype, check_list, check_verbose
from .ensemble import Ensemble
from .parameters import DTYPES
from .rnn import FastRNN
from .seq2seq import Seq2Seq

if TYPE_CHECKING:
    from collections.abc import Iterable


class WarmupStep(NamedTuple):
    """What `warmup` did in one step.

    Attributes
    ----------
    cell, dtype, task : str
    seconds : float
        How long it took.
    compiled : bool
        Whether kernels were compiled; False if all were found on disk, or in this process.
    """

    cell: str
    dtype: str
    task: str
    seconds: float
    compiled: bool


def warmup(
    cells: Iterable[str] | None = None,
    dtypes: Iterable[str] = ("float32",),
    device: str = "cpu",
    matmul_precision: str = "float32",
    verbose: int = 0,
) -> list[WarmupStep]:
    """Compile the kernels ahead, so that nothing later has to wait for them: for images and continuous integration.

    They are kept in the folder that Numba's ``NUMBA_CACHE_DIR`` names, or else in the user's cache folder, and
    serve every process that runs the same version on the same kind of processor; numbers of threads, sizes and
    options of training make no difference. The folder must be one that no other user, but root, can write to.

    Parameters
    ----------
    cells : list of str, optional
        Names of cells, by default all.
    dtypes : list of str
        Of "float32" and "float64".
    device : {"cpu", "cuda", "auto"}
        For which the kernels are; those for a GPU are compiled on a machine that has it.
    matmul_precision : {"float32", "tf32", "bfloat16"}
        Of the models that will use them; with another dtype than float32 only "float32".
    verbose : int
        1 shows a progress bar on standard error.

    Returns
    -------
    list of WarmupStep
        A named tuple for each cell, dtype and task: how long it took, and whether it was compiled.
    """
    check_verbose("verbose", verbose)
    cells = check_list("cells", tuple(CELLS) if cells is None else cells, "names")
    cells = [check_choice("cells", cell, tuple(CELLS)) for cell in cells]
    dtypes = [check_dtype("dtypes", dtype, DTYPES) for dtype in check_list("dtypes", dtypes, "names")]
    check_choice("matmul_precision", matmul_precision, MATMUL_PRECISIONS)
    for dtype in dtypes:
        product_precision(matmul_precision, dtype, resolve(device))
    listen, shared = compilation_listener(resolve(device)), {"device": device, "matmul_precision": matmul_precision}
    tasks = [task for task in _TASKS if task != "sampled" or resolve(device) == "cpu"]
    steps, done = list(product(cells, dtypes, tasks)), []
    with _progress(len(steps), verbose) as bar:
        for step in steps:
            bar.set_description(" ".join(step))
            done.append(_timed(*step, shared, listen))
            bar.update()
    return done


def _progress(total, verbose):
    from tqdm import tqdm

    return tqdm(
        total=total, disable=not verbose, file=sys.stderr,
        bar_format="{desc}{n_fmt} of {total_fmt} done|{bar:20}| {elapsed}",
    )  # fmt: skip


def _timed(cell, dtype, task, shared, listen):
    start = time.perf_counter()
    with listen() as compiled:
        model = FastRNN(cell, 2, 3, max_epochs=0, dtype=dtype, random_state=0, **shared).fit(*_DATA)
        _TASKS[task](model)
    return WarmupStep(cell, dtype, task, time.perf_counter() - start, bool(compiled))


def _train(model):
    for optimizer, clip_norm, batch_size in product(OPTIMIZERS, (None, 5.0), (1, 32)):
        model.set_params(optimizer=optimizer, clip_norm=clip_norm, batch_size=batch_size, max_epochs=1).fit(*_DATA)
    model.gradients(*_DATA)


def _train_sampled(model):
    """Training of both kinds of models on samples of words."""
    model.set_params(output="sampled", n_sampled=2, max_epochs=1).fit(*_DATA)
    _pair(model, output="sampled", n_sampled=2)


def _predict(model):
    model.predict(_DATA[0])
    model.predict_proba(_DATA[0])


def _generate(model):
    for n in (1, 8):
        model.generate(n, max_length=2)
        model.generate(n, max_length=2, temperature=0.5, top_k=2, top_p=0.5)


def _pairs(model):
    """Training, scores and search of an encoder-decoder, and an ensemble's search."""
    pair = _pair(model)
    pair.loss(*_DATA)
    for searching in (pair, Ensemble([pair, pair])):
        searching.search(_DATA[0], beam_width=2, max_length=2)


def _pair(model, **parameters):
    own = {name: getattr(model, name) for name in ("cell", "dtype", "device", "matmul_precision")}
    return Seq2Seq(hidden_dim=2, max_epochs=1, random_state=0, **own, **parameters).fit(*_DATA)


_DATA = [[0, 2, 1], [2, 0]], [[2, 1, 1], [0, 1]]
_TASKS = {
    "training": _train, "scoring": lambda model: model.loss(*_DATA), "predicting": _predict, "generating": _generate,
    "pairs": _pairs, "sampled": _train_sampled,
}  # fmt: skip

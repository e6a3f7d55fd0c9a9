"""A second process that compiles half of what training needs while the first fit on a machine compiles the rest.

Numba compiles one kernel at a time, under a lock, and so does LLVM; hence a process, not a thread. It takes kernels
that `train_pass` and `train_pairs` call by address (`kernels/compiler/indirect_calls.py`), and leaves them in the cache
on disk, where the first process finds them. Whatever goes wrong with it, that one compiles them itself.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..kernels.compiler import cache_folder
from ..kernels.compiler.jit import ENABLED, EXTENSIONS
from ..kernels.cores import available_cores
from ..kernels.cpu.layers.sampled_softmax import Strata, sampled_layer
from ..kernels.cpu.layers.softmax import output_layer
from ..kernels.cpu.layers.stack import run_backward
from ..kernels.linalg.gemm import product_specialization
from ..kernels.linalg.packing import bfloat16_product_specialization
from ..kernels.threads import ThreadTeam
from .network import Network

CODE = """import json, sys
sys.path[:], task = json.loads(sys.argv[1])
from fastrnn.networks.precompile import main
main(*task)"""


def start_background_compiler(cell, dtype, matmul_precision="float32", sampled=False):
    """Start a process that compiles for training what the cache does not have; None if there is no need or no way."""
    folder = cache_folder.FOLDER
    if not ENABLED or EXTENSIONS is None or folder is None or available_cores() == 1 or not _is_python(sys.executable):
        return None
    if not os.access(folder, os.W_OK):  # what it compiled would not come here
        return None
    task = cell, dtype, matmul_precision, sampled
    missing = [specialization for specialization in specializations(*task) if not specialization.load()]
    if not missing:
        return None
    request = json.dumps([[str(folder) for folder in sys.path], task])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, request], env=os.environ | {"NUMBA_CACHE_DIR": str(folder.parent)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not meant for it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError:
        return None
    for specialization in missing:
        specialization.compile_process = process
    return process


def _is_python(executable):
    """Whether `executable` is an interpreter, not a program that has one inside."""
    return bool(executable) and Path(executable).name.lower().startswith("python")


def main(*task):
    """What the process does."""
    gc.disable()  # it would take a tenth of the time
    for specialization in specializations(*task):
        specialization.ensure_compiled()


def specializations(cell, dtype, matmul_precision="float32", sampled=False):
    """Specializations of indirect kernels that training a network needs, callees before callers."""
    network, strata = Network(cell, 3, 1, True, dtype), {"strata": Strata.of(np.ones(3), 2)} if sampled else {}
    network.matmul_precision = matmul_precision
    model, workspace = network.model, network.workspace(1, tokens=1, steps=1, sequences=1, learn=True, **strata)
    rows, states, deltas, barrier = workspace.rows, workspace.states, workspace.deltas, ThreadTeam(1).barrier
    output = 0, 1, barrier, model.V, model.c, 0, states.state[0], rows.targets, workspace.softmax
    arguments = {
        run_backward: (0, 1, workspace.cell, 0, 0, rows, states, deltas, 0.0, 0),
        **({sampled_layer: (*output, deltas.dh, 0.0)} if sampled else
           {output_layer: (*output, model.V, model.c, deltas.dh, 0.0, 0.0, True)}),
    }  # fmt: skip
    reduced_precision = matmul_precision == "bfloat16"  # all products, then
    products = (
        [product_specialization("uint32"), bfloat16_product_specialization()]
        if reduced_precision
        else [product_specialization(dtype)]
    )
    return [*products, *(kernel.specialization_for(values) for kernel, values in arguments.items())]

"""A second process that compiles, while the first fit on a machine compiles too: what `train_pass` calls by address.

Numba compiles one kernel at a time, under a lock, and so does LLVM; hence a process, not a thread. It leaves its kernels
in the cache on disk, where `separate.Version.provide` finds them. Whatever goes wrong with it, the first process compiles
them itself.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numba

from .cpu.jit import CACHE_FOLDER
from .cpu.output import output_layer
from .cpu.stack import run_backward, weights_gradients
from .cpu.threads import Team, available_cores
from .network import Network

CODE = "import json, sys; sys.path[:], task = json.loads(sys.argv[1]); from fastrnn.helper import work; work(*task)"


def compile_meanwhile(cell, dtype):
    """Start a process that compiles for training what the cache does not have; None if there is no need or no way."""
    if numba.config.DISABLE_JIT or CACHE_FOLDER is None or available_cores() == 1 or not _is_python(sys.executable):
        return None
    missing = [version for version in versions(cell, dtype) if not version.load()]
    if not missing:
        return None
    request = json.dumps([[str(folder) for folder in sys.path], [cell, dtype]])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, request], env=os.environ | {"NUMBA_CACHE_DIR": str(CACHE_FOLDER.parent)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not meant for it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError:
        return None
    for version in missing:
        version.leave_to(process)
    return process


def _is_python(executable):
    """Whether `executable` is an interpreter, not a program that has one inside."""
    return bool(executable) and Path(executable).name.lower().startswith("python")


def work(cell, dtype):
    """What the process does."""
    gc.disable()  # it would take a tenth of the time
    for version in versions(cell, dtype):
        version.provide()


def versions(cell, dtype):
    """Versions of separate kernels for the training of a network, those that take longest first."""
    network = Network(cell, 1, 1, True, dtype)
    model, space = network.model, network.workspace(1, tokens=1, steps=1, sequences=1, learn=True)
    rows, states, errors, barrier = space.rows, space.states, space.errors, Team(1).barrier
    arguments = {
        run_backward: (0, 1, space.cell, 0, 0, rows, states, errors, 0.0, 0),
        output_layer: (
            0, 1, barrier, model.V, model.c, 0, states.state[0], rows.targets, space.softmax, model.V, model.c,
            errors.dh, 0.0, 0.0, True,
        ),
        weights_gradients: (0, 1, space.cell, model, 0, states, errors),
    }  # fmt: skip
    return [kernel.version(tuple(map(numba.typeof, values))) for kernel, values in arguments.items()]

"""What CUDA kernels are launched with, noted down in the simulator, and their compilation without a GPU.

    with noted(launches): ...             # in a process with NUMBA_ENABLE_CUDASIM=1
    python tests/cuda_signatures.py FILE 9 0  # in one without, where numba-cuda and its toolkit are installed

The second compiles every kernel that FILE names for sm_90 and prints a line of JSON for each: registers, bytes spilled,
of stack and of static shared memory, instructions in float64 and of tensor cores.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def noted(launches):
    """A context that adds to `launches` (a set) every kernel launched, with the types of its arguments."""
    from fastrnn.kernels.cuda.driver import Kernel

    original = Kernel.__call__

    def call(kernel, blocks, threads, *arguments, **keywords):
        name = f"{kernel.py_func.__module__}:{kernel.py_func.__qualname__}"
        launches.add((name, *map(_type_name, arguments)))
        return original(kernel, blocks, threads, *arguments, **keywords)

    Kernel.__call__ = call
    try:
        yield
    finally:
        Kernel.__call__ = original


def _type_name(value):
    if getattr(value, "ndim", 0) > 0:
        return f"{np.dtype(value.dtype).name}[{value.ndim}]"
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    return "int64" if isinstance(value, int) else np.asarray(value).dtype.name


def compile_all(path, capability):
    """Compile what the file names for a compute capability, and print what ptxas says of each."""
    from numba.cuda import dispatcher

    device = type("Device", (), {"compute_capability": capability})
    dispatcher.get_current_device = lambda: device  # device functions ask for it; there is none
    for name, *types in json.loads(Path(path).read_text(encoding="utf-8")):
        print(json.dumps({"kernel": name, "types": types, "sm": capability} | _compile(name, types, capability)))


def _compile(name, types, capability):
    from numba import cuda
    from numba import types as numba_types

    module, _, attribute = name.partition(":")
    function = importlib.import_module(module)
    for part in attribute.split("."):
        function = getattr(function, part)

    def typed(text):
        scalar, _, dimensions = text.partition("[")
        scalar = getattr(numba_types, scalar)
        return numba_types.Array(scalar, int(dimensions[:-1]), "C") if dimensions else scalar

    ptx, _ = cuda.compile_ptx(function.py_func, tuple(map(typed, types)), cc=capability)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx, encoding="utf-8")
        architecture = f"-arch=sm_{capability[0]}{capability[1]}"
        command = [ptxas(), "-v", architecture, str(source), "-o", str(Path(folder, "kernel.cubin"))]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    patterns = {
        "registers": r"Used (\d+) registers", "stack": r"(\d+) bytes stack frame",
        "spilled": r"(\d+) bytes spill stores", "shared": r"(\d+) bytes smem",
    }  # fmt: skip
    found = {key: int(match[1]) if (match := re.search(text, told)) else 0 for key, text in patterns.items()}
    doubles = len(re.findall(r"^\s+\w+\.(?:\w+\.)*f64\s", ptx, re.MULTILINE))
    return found | {"double_precision": doubles, "tensor_cores": ptx.count("mma.sync")}


def ptxas():
    """The assembler: of the packages, which fits their compiler best, of CUDA_HOME or the PATH; None without any."""
    try:
        import nvidia

        folders = list(nvidia.__path__)
    except ImportError:
        folders = []
    for folder in folders:
        for path in Path(folder).rglob("ptxas*"):
            if path.stem == "ptxas" and path.is_file():
                return str(path)
    toolkit = os.environ.get("CUDA_HOME")
    return (toolkit and shutil.which("ptxas", path=str(Path(toolkit, "bin")))) or shutil.which("ptxas")


if __name__ == "__main__":
    compile_all(sys.argv[1], tuple(map(int, sys.argv[2:4])))

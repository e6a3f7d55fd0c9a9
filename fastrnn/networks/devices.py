"""Which device runs a network: the CPU, or an NVIDIA GPU whose modules are imported when it is first asked for."""

import functools
import logging

from ..errors import DeviceError
from ..kernels.compiler.jit import compilations
from ..kernels.linalg.bfloat16 import problem as bfloat16_problem
from ..validation import check_choice
from .encoder_decoder import PairNetwork
from .network import Network

DEVICES = ("cpu", "cuda", "auto")
MATMUL_PRECISIONS = ("float32", "tf32", "bfloat16")  # the most precise first
logger = logging.getLogger("fastrnn")


def resolve(device):
    """The device that is meant: "cpu" or "cuda"; DeviceError if there is no usable GPU."""
    check_choice("device", device, DEVICES)
    if device == "cpu":
        return device
    found = _problem()
    if found is None:
        return "cuda"
    if device == "cuda":
        raise DeviceError(f'device: found "cuda", but {found}; or ask for "cpu" or "auto"')
    _tell(f'device="auto": the CPU is used, since {found}')
    return "cpu"


def _problem():
    try:
        from ..kernels.cuda.driver import problem
    except ImportError as error:
        return f"numba.cuda cannot be imported ({error})"
    return problem()


@functools.cache  # once
def _tell(text):
    logger.warning(text)


def product_precision(precision, dtype, device):
    """The precision of large products on "cpu" or "cuda": the fastest that is no less precise than is asked for.

    `dtype` is the network's, "float32" or "float64". Says once if the device has none but float32.
    """
    check_choice("matmul_precision", precision, MATMUL_PRECISIONS)
    if precision == "float32":
        return "float32"
    if dtype != "float32":
        raise ValueError(f'matmul_precision: found "{precision}" with dtype {dtype}, expected dtype float32')
    if device == "cpu" and precision == "tf32":
        return "float32"
    fastest, found = ("tf32", _tf32_problem()) if device == "cuda" else ("bfloat16", bfloat16_problem())
    if found is None:
        return fastest
    _tell(f'matmul_precision="{precision}": products are in float32, since {found}')
    return "float32"


def _tf32_problem():
    from ..kernels.cuda.driver import tf32_problem

    return tf32_problem()


def network_class(device):
    """The class of networks for "cpu" or "cuda"."""
    if device == "cpu":
        return Network
    from .cuda_network import CudaNetwork

    return CudaNetwork


def pair_network_class(device):
    """The class of encoder-decoders for "cpu" or "cuda"."""
    if device == "cpu":
        return PairNetwork
    from .cuda_network import CudaPairNetwork

    return CudaPairNetwork


def compilation_listener(device):
    """The context manager, for "cpu" or "cuda", that records the names of kernels compiled inside it."""
    if device == "cpu":
        return compilations
    from ..kernels.cuda import driver

    return driver.compilations


def network_to_device(network, device):
    """A copy of the network on another device."""
    pair = isinstance(network, PairNetwork)
    return network.clone_as(pair_network_class(device) if pair else network_class(device))

"""Hypothesis profiles, what runs only with compiled kernels, and the fixture of a simulated GPU."""

import os
from contextlib import nullcontext

import pytest
from helpers import COMPILED, HAS_GPU, simulating
from hypothesis import HealthCheck, settings

# Kernels are compiled in whatever example comes first, so no example has a deadline.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config):
    config.addinivalue_line("markers", "compiled: needs compiled kernels, so NUMBA_DISABLE_JIT=1 skips it")
    config.addinivalue_line("markers", "every_cpu: .ci/cpus.py repeats it with code for CPUs that can do less")


def pytest_collection_modifyitems(items):
    for item in items:
        if not COMPILED and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="NUMBA_DISABLE_JIT is set: kernels run as plain Python"))
        if COMPILED and not HAS_GPU and "simulator" in item.fixturenames:
            item.add_marker(pytest.mark.skip(reason="no GPU was found; NUMBA_DISABLE_JIT=1 simulates one"))


@pytest.fixture
def simulator(monkeypatch):
    """Without a GPU, what `simulating` says."""
    from fastrnn.kernels.cuda import driver

    with simulating(monkeypatch) if driver.SIMULATED else nullcontext():
        yield


@pytest.fixture
def bfloat16_on_any_cpu(monkeypatch):
    """Where the CPU has no such instruction, the kernels do what it does."""
    from fastrnn.networks import devices

    monkeypatch.setattr(devices, "bfloat16_problem", lambda: None)

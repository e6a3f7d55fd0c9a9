"""How many cores this process may use: what its affinity leaves, and what the CPU quota of its container pays for."""

import math
import os
import sys
from pathlib import Path, PurePosixPath


def available_cores(root="/"):
    """Number of cores this process may use, at least 1: the default number of threads.

    The cores of its affinity, on a Mac the fast ones only; at most as many as a CPU quota pays for, where a container
    has one, rounded up: threads take parts of the work as they are free, so one that is stopped for a part of the time
    does no harm, while rounding 1.9 down would lose half of what was paid for. `root` is where files are looked for.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = (_fast_cores() if sys.platform == "darwin" else None) or os.cpu_count() or 1
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root="/"):
    """Cores' worth of time that control groups, of version 1 or 2, allow this process; None without a limit.

    The smallest of its own group and all above it, as far as they can be seen: in a container that is often the
    container's own group only, which then stands at the mount point.
    """
    try:
        groups = (Path(root) / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
        mounts = (Path(root) / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    quotas = []
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            kind, controller, read = "cgroup2", None, _quota_2
        elif "cpu" in controllers.split(","):
            kind, controller, read = "cgroup", "cpu", _quota_1
        else:
            continue
        for folder in _folders(mounts, kind, controller, group):
            quotas.append(read(Path(root) / folder.lstrip("/")))
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(mounts, kind, controller, group):
    """Folders of a group and those above it, wherever its hierarchy is mounted."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, options = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(options) < 3 or options[0] != kind:
            continue
        if controller is not None and controller not in options[2].split(","):
            continue
        top, point = (PurePosixPath(_unescaped(name)) for name in fields[3:5])
        path = PurePosixPath("/") / group
        # What is mounted may begin further down than the group's name does, or not hold it at all.
        inside = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
        if ".." in inside.parts:
            inside = PurePosixPath()
        yield from (str(point / part) for part in (inside, *inside.parents))


def _unescaped(name):
    """A name as in mountinfo, where blanks and the like are octal."""
    for code in ("040", "011", "012", "134"):
        name = name.replace("\\" + code, chr(int(code, 8)))
    return name


def _quota_2(folder):
    """From cpu.max: "max 100000", or microseconds of time in a period of so many."""
    numbers = _numbers(folder / "cpu.max")
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _quota_1(folder):
    """From cpu.cfs_quota_us, -1 for no limit, and cpu.cfs_period_us."""
    numbers = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _numbers(path):
    """The numbers in a file; none if it is not there or holds anything else."""
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def _fast_cores():
    """The performance cores of a Mac, None if it does not tell: the slow ones would keep the others waiting."""
    import ctypes

    try:
        value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        name = b"hw.perflevel0.physicalcpu"  # level 0 is the fastest; an Intel Mac has no such name
        failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError):
        return None
    return value.value if failed == 0 and value.value > 0 else None

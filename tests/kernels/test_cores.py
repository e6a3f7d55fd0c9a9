"""How many cores there are: affinity, control groups of both versions, Apple's fast cores."""

import os
import sys

import pytest

from fastrnn.kernels import cores
from fastrnn.kernels.cores import available_cores, cpu_quota


def control_groups(root, groups, mounts, files):
    """A made-up /proc/self and control groups below `root`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    lines = [f"31 23 0:28 {top} {point} rw,relatime shared:9 - {kind} cgroup {options}\n"
             for top, point, kind, options in mounts]  # fmt: skip
    (root / "proc/self/mountinfo").write_text("23 1 0:2 / / rw - ext4 /dev/vda rw\n" + "".join(lines))
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = [("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"),
      ("/", "/sys/fs/cgroup/cpuset", "cgroup", "rw,cpuset")]  # fmt: skip
V2 = [("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate")]


class TestCores:
    def test_of_this_machine(self):
        assert 1 <= available_cores() <= os.cpu_count()

    @pytest.mark.parametrize(
        "groups, mounts, files, quota",
        [
            ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
            ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
            ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "nonsense"}, None),
            ("0::/\n", V2, {}, None),
            ("0::/\n", [], {"sys/fs/cgroup/cpu.max": "1 1"}, None),
            # Nested: the smallest counts, wherever it is.
            ("0::/a/b c\n", V2, {"sys/fs/cgroup/a/b c/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "20000 10000",
                                 "sys/fs/cgroup/cpu.max": "300000 100000"}, 2),
            ("0::/a/b\n", V2, {"sys/fs/cgroup/a/b/cpu.max": "50000 100000", "sys/fs/cgroup/a/cpu.max": "2 1"}, 0.5),
            # What is mounted begins at the container's own group, or the name is relative to another one's.
            ("0::/docker/x/in\n", [("/docker/x", "/sys/fs/cgroup", "cgroup2", "rw")],
             {"sys/fs/cgroup/cpu.max": "30 10", "sys/fs/cgroup/in/cpu.max": "40 10"}, 3),
            ("0::/../y\n", V2, {"sys/fs/cgroup/cpu.max": "10 10"}, 1),
            ("4:cpu,cpuacct:/a\n3:cpuset:/\n0::/\n", V1,
             {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n",
              "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
              "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
              "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 2.5),
            ("4:cpu,cpuacct:/a\n", V1, {"sys/fs/cgroup/cpuset/a/cpu.max": "1 1"}, None),
            # Both versions at once: a folder with a blank in its name.
            ("1:cpu:/\n0::/\n", [("/", "/c\\040pu", "cgroup", "rw,cpu"), ("/", "/unified", "cgroup2", "rw")],
             {"c pu/cpu.cfs_quota_us": "7000", "c pu/cpu.cfs_period_us": "1000", "unified/cpu.max": "6 1"}, 6),
        ],
    )  # fmt: skip
    def test_quota(self, tmp_path, groups, mounts, files, quota):
        assert cpu_quota(control_groups(tmp_path, groups, mounts, files)) == quota

    @pytest.mark.parametrize("quota, affinity, expected", [
        ("100000", 64, 1), ("150000", 64, 2), ("20000", 64, 1), ("6400000", 8, 8), ("max", 8, 8), ("200000", 1, 1),
    ])  # fmt: skip
    def test_the_default(self, tmp_path, monkeypatch, quota, affinity, expected):
        monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: set(range(affinity)), raising=False)
        files = {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
        assert available_cores(control_groups(tmp_path, "0::/\n", V2, files)) == expected

    @pytest.mark.parametrize("fast, expected", [(6, 6), (None, 10)])
    def test_on_a_mac(self, tmp_path, monkeypatch, fast, expected):
        monkeypatch.delattr(cores.os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(cores.sys, "platform", "darwin")
        monkeypatch.setattr(cores.os, "cpu_count", lambda: 10)
        monkeypatch.setattr(cores, "_fast_cores", lambda: fast)
        assert available_cores(tmp_path) == expected

    def test_without_sysctl(self):
        if sys.platform != "darwin":
            assert cores._fast_cores() is None

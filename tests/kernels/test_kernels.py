"""The kernels' own contracts: products, packing, teams of threads, and how they are compiled."""

import _thread
import importlib.util
import json
import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from helpers import COMPILED, examples, make_model, random_batch, run_python
from hypothesis import given
from hypothesis import strategies as st

import fastrnn
from fastrnn import Seq2Seq
from fastrnn.kernels import cores, threads
from fastrnn.kernels.compiler import cache_folder
from fastrnn.kernels.compiler import jit as jit_module
from fastrnn.kernels.cores import available_cores, cpu_quota
from fastrnn.kernels.cpu.layers.recurrence import pack, token_count
from fastrnn.kernels.cpu.layers.softmax import output_layer
from fastrnn.kernels.cpu.workspace import Rows
from fastrnn.kernels.linalg.gemm import TILE_ROWS, product
from fastrnn.kernels.linalg.simd import TILE_VECTORS, VECTOR_BYTES, host_vectors
from fastrnn.kernels.threads import ThreadTeam, barrier_wait, end_phase, next_part, partition
from fastrnn.networks import network, precompile
from fastrnn.training import loop

PACKAGE = Path(fastrnn.__file__).parent
START_NEW_THREAD = _thread.start_new_thread


@numba.njit
def multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add):
    product(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)


def check_product(dtype, m, n, depth, transposed, add, gaps, seed):
    """One product, of operands that lie amid NaN, into a C amid guards."""
    rng = np.random.default_rng(seed)
    a0, b0, c0, a_gap, b_gap, c_gap = gaps
    A, B, C = (rng.standard_normal(shape).astype(dtype) for shape in ((m, depth), (depth, n), (m, n)))

    def lay(matrix, start, gap, fill):
        rows, columns = matrix.shape
        memory = np.full(start + rows * (columns + gap) + 70, fill, dtype)
        memory[start : start + rows * (columns + gap)].reshape(rows, columns + gap)[:, :columns] = matrix
        return memory, columns + gap

    a, stride = lay(A.T if transposed else A, a0, a_gap, np.nan)
    b, b_k = lay(B, b0, b_gap, np.nan)
    c, c_row = lay(C, c0, c_gap, 77)
    a_row, a_k = (1, stride) if transposed else (stride, 1)
    expected = A.astype(np.float64) @ B.astype(np.float64) + (C if add else 0)
    expected, _ = lay(expected.astype(dtype), c0, c_gap, 77)
    multiply(a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row, m, n, depth, add)
    epsilon = np.finfo(dtype).eps
    np.testing.assert_allclose(c, expected, rtol=4 * epsilon, atol=4 * depth * epsilon)
    guards = np.ones(len(c), bool)
    guards[c0 : c0 + m * c_row].reshape(m, c_row)[:, :n] = False
    assert (c[guards] == 77).all()


class TestProduct:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @examples(300, plain=40)
    @given(
        m=st.integers(1, 20), n=st.integers(1, 150), depth=st.integers(1, 40), transposed=st.booleans(),
        add=st.booleans(), gaps=st.tuples(*[st.integers(0, 9)] * 6), seed=st.integers(0, 1000),
    )  # fmt: skip
    def test_any_shape_and_stride(self, dtype, m, n, depth, transposed, add, gaps, seed):
        check_product(dtype, m, n, depth, transposed, add, gaps, seed)

    @pytest.mark.every_cpu
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_every_tail(self, dtype):
        """All numbers of rows and columns around one and two tiles."""
        lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
        width = TILE_VECTORS * lanes
        columns = range(1, 2 * width + 2) if COMPILED else [1, 2]
        for n in columns:
            for m in (1, 2, 3, 4, 5, TILE_ROWS, TILE_ROWS + 1) if n % lanes < 2 else (TILE_ROWS + 1,):
                check_product(dtype, m, n, 3, n % 2 == 0, n % 3 == 0, (1, 2, 3, 4, 5, 6), n)

    def test_nan_and_infinity_come_through(self):
        a, b, c = np.array([1.0, 0.0]), np.array([np.inf, 2.0, np.nan, 3.0]), np.zeros(2)
        multiply(a, 0, 2, 1, b, 0, 2, c, 0, 2, 1, 2, 2, False)
        assert np.isnan(c[0]) and c[1] == 2.0  # inf + 0 NaN;  2 + 0


class TestVectors:
    @pytest.mark.parametrize("features, expected", [
        ("+sse2,+avx,+avx2,+fma,+avx512f,+avx512vl", (64, 4)),
        ("+sse2,+avx,+avx2,+fma,-avx512f", (32, 2)),
        ("+sse2,+avx,+avx2,-fma", (16, 2)),
        ("+sse2,+avx", (16, 2)),
        ("+neon,+fp-armv8", (16, 4)),
        ("", (16, 2)),
    ])  # fmt: skip
    def test_of_features(self, features, expected):
        assert host_vectors(features) == expected

    def test_of_this_machine(self, monkeypatch):
        monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
        assert host_vectors() == host_vectors(llvm.get_host_cpu_features().flatten())
        monkeypatch.setattr(numba.config, "CPU_FEATURES", "+avx2,+fma")
        assert host_vectors() == (32, 2)


class TestPacking:
    @examples(60, plain=30)
    @given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), size=st.integers(1, 5), data=st.data())
    def test_every_token_has_one_row(self, lengths, size, data):
        rng = np.random.default_rng(0)
        count = sum(lengths)
        x, y = rng.permutation(1000)[:count].astype(np.int32), rng.permutation(1000)[:count].astype(np.int32)
        length = np.array(lengths, np.int64)
        begin = np.cumsum(length) - length
        chosen = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
        ids = np.array(sorted(chosen, key=lambda s: -lengths[s]), np.int64)
        rows = Rows(
            np.full(count, -1, np.int64), np.full(count, -1, np.int32), np.full(count, -1, np.int32),
            np.full((size, max(lengths) + 1), -1, np.int64),
        )  # fmt: skip
        total = token_count(length, ids)
        assert total == length[ids].sum()
        seen = np.zeros(count, int)
        for thread in range(size):
            steps = pack(thread, size, x, y, begin, length, ids, rows)
            group, starts = ids[thread::size], rows.starts[thread]
            assert steps == (length[group].max() if len(group) else 0)
            for t in range(steps):
                active = [s for s in group if lengths[s] > t]
                assert starts[t + 1] - starts[t] == len(active)
                for b, s in enumerate(active):
                    row = starts[t] + b
                    seen[row] += 1
                    assert rows.origin[row] == begin[s] + t
                    assert rows.tokens[row] == x[begin[s] + t] and rows.targets[row] == y[begin[s] + t]
        assert seen.tolist() == [1] * total + [0] * (count - total)


@examples(200, plain=200)
@given(size=st.integers(1, 9), total=st.integers(0, 200), grain=st.integers(1, 40))
def test_shares_are_everything_once_in_whole_grains(size, total, grain):
    shares = [partition(thread, size, total, grain) for thread in range(size)]
    assert [i for first, last in shares for i in range(first, last)] == list(range(total))
    assert all(first % grain == 0 or first == last for first, last in shares)
    blocks = [-(-(last - first) // grain) for first, last in shares]
    assert max(blocks) - min(blocks) <= 1


@numba.njit(nogil=True)
def sign_up(thread, n_threads, barrier, out):
    out[thread] += n_threads


@numba.njit(nogil=True)
def rounds(thread, n_threads, barrier, values, sums):
    """Each thread writes; after the barrier each one reads what all have written."""
    for r in range(len(sums)):
        values[thread] = r + thread
        barrier_wait(barrier, n_threads)
        for other in range(n_threads):
            sums[r, thread] += values[other]
        barrier_wait(barrier, n_threads)


@numba.njit(nogil=True)
def fail(thread, n_threads, barrier, who):
    barrier_wait(barrier, n_threads)
    if thread == who or who < 0:
        raise ValueError("as asked")


@pytest.mark.compiled
class TestTeam:
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_every_thread_runs_once(self, size):
        with ThreadTeam(size) as team:
            out = np.zeros(size + 1, np.int64)
            for n in range(1, 20):
                team.run(sign_up, out)
                assert out.tolist() == [n * size] * size + [0]

    @pytest.mark.parametrize("size", [2, 3])
    def test_threads_wait_at_the_barrier(self, size):
        with ThreadTeam(size) as team:
            values, sums = np.zeros(size, np.int64), np.zeros((300, size), np.int64)
            team.run(rounds, values, sums)
            expected = size * np.arange(300) + size * (size - 1) // 2
            np.testing.assert_array_equal(sums, np.repeat(expected[:, None], size, axis=1))
            assert team.barrier[0] == 0

    @pytest.mark.parametrize("who", [-1, 0, 1])
    def test_an_exception_reaches_the_caller(self, who):
        with ThreadTeam(2) as team:
            for _ in range(3):
                with pytest.raises(ValueError, match="as asked"):
                    team.run(fail, who)
                out = np.zeros(2, np.int64)
                team.run(sign_up, out)
                assert out.tolist() == [2, 2]

    def test_may_be_used_from_several_threads(self):
        with ThreadTeam(2) as team:
            out = np.zeros(2, np.int64)
            users = [threading.Thread(target=lambda: [team.run(sign_up, out) for _ in range(50)]) for _ in "abc"]
            for user in users:
                user.start()
            for user in users:
                user.join()
            assert out.tolist() == [300, 300]

    def test_ctrl_c_waits_for_the_threads(self, monkeypatch):
        wait, calls = threads.wait, []

        def interrupted(futures):
            if len(futures) > 1 and not calls:  # the kernel is compiled, and runs
                calls.append(futures)
                signal.raise_signal(signal.SIGINT)
            return wait(futures)

        monkeypatch.setattr(threads, "wait", interrupted)
        with ThreadTeam(2) as team:
            values, sums = np.zeros(2, np.int64), np.zeros((300, 2), np.int64)
            with pytest.raises(KeyboardInterrupt):
                for _ in range(1000):  # should a run be over before it is waited for, another one will not
                    team.run(rounds, values, sums)
            assert (sums[-1] > 0).all() and team.barrier[0] == 0

    def test_ctrl_c_while_a_kernel_compiles(self, monkeypatch):
        def interrupted(futures):
            monkeypatch.undo()
            raise KeyboardInterrupt

        with ThreadTeam(2) as team:
            monkeypatch.setattr(threads, "wait", interrupted)
            out = np.zeros(2, np.int64)
            with pytest.raises(KeyboardInterrupt):
                team.run(sign_up, out)
            assert out.tolist() == [0, 0]
            team.run(sign_up, out)
            assert out.tolist() == [2, 2]

    def test_its_threads_end(self):
        before = _thread._count()
        with ThreadTeam(3) as team:
            assert _thread._count() == before + 3
            team.run(sign_up, np.zeros(3, np.int64))
        assert _thread._count() == before


@numba.njit(nogil=True)
def phases(thread, n_threads, barrier, parts, who, seen):
    """Phase p has `parts[p]` parts: counts who does each, and what the closing sees of them."""
    for p in range(len(parts)):
        part = next_part(thread, n_threads, barrier, parts[p], -1)
        while part >= 0:
            if part < parts[p]:
                who[p, part] += 1
            else:
                seen[p] += who[p, : parts[p]].sum()
            part = next_part(thread, n_threads, barrier, parts[p], part)
        end_phase(thread, n_threads, barrier)
        if p > 0 and who[p].sum() < parts[p]:  # the phase has ended before its parts
            seen[p] = -1


@pytest.mark.compiled
class TestPhases:
    PARTS = np.random.default_rng(0).integers(1, 12, 500)

    @pytest.mark.parametrize("size", [1, 2, 5, 20])
    def test_every_part_is_done_once_and_the_closing_after_all(self, size):
        with ThreadTeam(size) as team:
            for _ in range(3):
                who, seen = np.zeros((len(self.PARTS), 12), np.int64), np.zeros(len(self.PARTS), np.int64)
                team.run(phases, self.PARTS, who, seen)
                assert (who == (np.arange(12) < self.PARTS[:, None])).all() and (seen == self.PARTS).all()

    def test_nobody_waits_for_a_thread(self):
        barrier = np.zeros_like(ThreadTeam(1).barrier).repeat(3)
        who, seen = np.zeros((len(self.PARTS), 12), np.int64), np.zeros(len(self.PARTS), np.int64)
        for thread in (1, 0, 2):  # two of them when all is done
            phases(thread, 3, barrier, self.PARTS, who, seen)
            assert (who == (np.arange(12) < self.PARTS[:, None])).all() and (seen == self.PARTS).all()


class OneByOne(ThreadTeam):
    """A team whose last thread does all the work, and only then the others come: as late as can be."""

    def run(self, kernel, *args):
        if self.n_threads == 1 or kernel.__name__ not in ("train_pass", "score_pass", "predict_pass", "train_pairs"):
            return super().run(kernel, *args)
        self.barrier[:] = 0
        for thread in range(self.n_threads - 1, -1, -1):
            kernel(thread, self.n_threads, self.barrier, *args)


@pytest.mark.compiled
@pytest.mark.parametrize("size", [2, 3])
def test_who_does_a_part_does_not_count(size, monkeypatch):
    """Members that come when all is done change nothing: the same bits."""
    x, y = random_batch(2000, [9, 5, 5, 2, 1, 30, 30] * 3)

    def results():
        model = make_model("rnn", 2000, 5, dtype="float64", n_threads=size, max_epochs=2, batch_size=4)
        model.fit(x, y)
        pairs = Seq2Seq("rnn", 3, max_epochs=2, random_state=0, n_threads=size, batch_size=4).fit(x, y)
        sides = (model.network_, *pairs.network_.networks)
        return [
            *(array for network in sides for array in (network.model.dense, network.U)), np.array(model.loss_curve_),
            np.array(pairs.loss_curve_), *model.predict(x), *model.score_samples(x, y)[:, None],
            *model.gradients(x, y)[1].values(),
        ]  # fmt: skip

    expected = results()
    for module in (network, loop):
        monkeypatch.setattr(module, "ThreadTeam", OneByOne)
    for a, b in zip(results(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def refuse_after(count, error):
    """`_thread.start_new_thread` that starts so many threads."""
    started = []

    def refuse(function, args):
        if len(started) == count:
            raise error
        started.append(START_NEW_THREAD(function, args))

    return refuse


@pytest.mark.compiled
class TestThreadsThatCannotStart:
    @pytest.mark.parametrize("started, error", [(0, RuntimeError), (1, MemoryError), (2, RuntimeError)])
    def test_fewer_are_used_and_that_is_said_once(self, started, error, monkeypatch, caplog):
        x, y = random_batch(30, [9, 5, 5, 2, 1])
        model = make_model("rnn", 30, 4, n_threads=max(1, started))
        expected = model.loss(x, y)
        threads._log_fewer.cache_clear()
        with caplog.at_level("WARNING", "fastrnn"):
            for _ in range(2):
                with monkeypatch.context() as patch:
                    patch.setattr(threads._thread, "start_new_thread", refuse_after(started, error("no thread")))
                    with ThreadTeam(4) as team:
                        assert team.n_threads == max(1, started)
                    patch.setattr(threads._thread, "start_new_thread", refuse_after(started, error("no thread")))
                    assert model.set_params(n_threads=4).loss(x, y) == expected
        (line,) = caplog.messages
        assert line.startswith("n_threads=4: the system started ") and f"so {max(1, started)} " in line

    def test_a_thread_that_does_not_come(self, monkeypatch, caplog):
        before = _thread._count()
        functions = []
        monkeypatch.setattr(threads._thread, "start_new_thread", lambda function, args: functions.append(function))
        monkeypatch.setattr(threads, "START_SECONDS", 0.01)
        with ThreadTeam(2) as team:
            out = np.zeros(2, np.int64)
            team.run(sign_up, out)
            assert (team.n_threads, out.tolist()) == (1, [1, 0]) and len(functions) == 1
        START_NEW_THREAD(functions[0], ())  # it comes too late, and ends
        deadline = time.monotonic() + 60
        while _thread._count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _thread._count() == before


LIMITED = """
import logging, os, resource, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from fastrnn import FastRNN
model = FastRNN("rnn", 3, 5, max_epochs=0, random_state=0, n_threads=1).fit([[0, 2, 3], [0, 3]], [[2, 3, 1], [3, 1]])
expected = model.loss([[0, 1]], [[1, 2]])
model.set_params(n_threads=2).loss([[0, 1]], [[1, 2]])
if LIMIT == "memory":
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 100 * 2**20,) * 2)
else:
    if os.getuid() == 0:  # whom no limit binds
        os.setuid(54321)
    resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
assert abs(model.set_params(n_threads=200).loss([[0, 1]], [[1, 2]]) - expected) < 1e-6
"""


@pytest.mark.compiled
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
@pytest.mark.parametrize("limit", ["memory", "processes"])
def test_a_limit_on_memory_or_processes(limit):
    out = run_python(LIMITED.replace("LIMIT", repr(limit), 1), PACKAGE.parent)
    assert out.startswith("n_threads=200: the system started ") and out.count("\n") == 1


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


WARM = """
from fastrnn import Ensemble, FastRNN, Seq2Seq, warmup
from fastrnn.kernels.compiler.jit import compilations
if WARMUP:
    print(*((step.task, step.compiled) for step in warmup(["rnn"])))
x, y = [[0, 3, 2, 4, 1], [0, 4], [0]], [[3, 2, 4, 1, 1], [4, 1], [1]]
with compilations() as compiled:
    for parameters in ({}, {"optimizer": "sgd", "batch_size": 1, "bptt_truncate": 2, "n_threads": 1, "bias": False}):
        model = FastRNN("rnn", max_epochs=1, **parameters).fit(x, y)
        model.loss(x, y), model.predict(x), model.predict_proba(x), model.gradients(x, y)
        model.generate(3, max_length=3)
    for parameters in ({}, {"optimizer": "sgd", "batch_size": 1, "num_layers": 2, "dropout": 0.1, "clip_norm": None}):
        model = Seq2Seq("rnn", max_epochs=1, **parameters).fit(x, y)
        model.loss(x, y), model.predict(x, max_length=3), model.search(x, beam_width=3, max_length=3)
        model.gradients(x, y), Ensemble([model, model]).predict(x, max_length=3)
    for kind in (FastRNN, Seq2Seq):
        kind("rnn", max_epochs=1, output="sampled", n_sampled=2).fit(x, y)
print(compiled)
"""


@pytest.mark.compiled
class TestWarmup:
    def test_nothing_is_compiled_after_it(self, tmp_path):
        """Neither in its own process nor in a later one."""
        first, after = run_python(WARM.replace("WARMUP", "1"), PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path).splitlines()
        tasks = ("training", "scoring", "predicting", "generating", "pairs", "sampled")
        assert first == " ".join(str((task, True)) for task in tasks) and after == "[]"
        first, after = run_python(WARM.replace("WARMUP", "1"), PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path).splitlines()
        assert first == " ".join(str((task, False)) for task in tasks) and after == "[]"
        assert run_python(WARM.replace("WARMUP", "0"), PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path) == "[]\n"

    def test_what_it_does_not_know(self):
        with pytest.raises(ValueError, match="cells: found 'elman'"):
            fastrnn.warmup(["elman"])
        with pytest.raises(ValueError, match="dtypes: found 'float16'"):
            fastrnn.warmup(dtypes=["float16"])


@pytest.mark.compiled
def test_compilations_are_listed_and_told_once():
    told, kernel = [], numba.njit(lambda x: x)
    with jit_module.compilations(lambda: told.append("told")) as names:
        assert told == []
        kernel(1), kernel(1.0), kernel(2)
    kernel(True)
    assert len(names) == 2 and "lambda" in names[0] and told == ["told"]


@pytest.mark.compiled
def test_a_kernel_serves_python_and_other_kernels():
    caller = numba.njit(lambda n: partition(n, 3, 100, 1))
    assert caller(1) == partition(1, 3, 100, 1) == partition.py_func(1, 3, 100, 1)


@pytest.mark.compiled
def test_a_fit_compiles_training_only(tmp_path):
    script = """
from fastrnn import FastRNN
from fastrnn.kernels.cpu import passes
from fastrnn.kernels.cpu.decoding import beam, sampling
from fastrnn.kernels.compiler.jit import compilations
with compilations() as compiled:
    FastRNN("rnn", 2, max_epochs=1).fit([[0, 1]], [[1, 0]])
kernels = [passes.train_pass, passes.score_pass, passes.predict_pass, sampling.draw, beam.search]
print("train_pass" in compiled, [len(kernel.overloads) for kernel in kernels])
"""
    assert run_python(script, PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path) == "True [1, 0, 0, 0, 0]\n"


HELPED = """
import json
from fastrnn import FastRNN
from fastrnn.networks import precompile
from fastrnn.kernels.compiler.jit import compilations
precompile.available_cores, made = lambda: 2, []
start = precompile.subprocess.Popen
precompile.subprocess.Popen = lambda *arguments, **options: made.append(start(*arguments, **options)) or made[-1]
with compilations() as compiled:
    model = FastRNN("rnn", 2, 3, max_epochs=2, random_state=0).fit([[0, 1]], [[1, 0]])
names = ("train_pass", "_tiles", "output_layer", "run_backward")
print(json.dumps([len(made), [name in compiled for name in names], model.history_.losses]))
assert not any(process.returncode for process in made)
"""


@pytest.mark.compiled
def test_a_second_process_compiles_what_is_missing_once(tmp_path):
    first, later = (json.loads(run_python(HELPED, PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path)) for _ in range(2))
    assert first[:2] == [1, [True, False, False, False]]  # so its argument types are those of the calls
    assert later[:2] == [0, [False] * 4] and first[2] == later[2]


FAILING = """
from fastrnn import Seq2Seq
from fastrnn.networks import network, precompile
from fastrnn.training import loop as training
from fastrnn.kernels.compiler import indirect_calls
from fastrnn.kernels.linalg.gemm import _tiles
from fastrnn.kernels.compiler.jit import compilations
precompile.available_cores, precompile.CODE, indirect_calls.COMPILE_TIMEOUT = lambda: 2, GIVEN, 0.2
process = precompile.start_background_compiler("rnn", "float32")
with compilations() as compiled:
    for specialization in precompile.specializations("rnn", "float32"):
        assert not specialization.load()
        specialization.ensure_compiled()
        assert specialization.load()
print(process.wait() != 0, "output_layer" in compiled)
"""


@pytest.mark.compiled
@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import time; time.sleep(100)"])
def test_a_second_process_that_fails_or_hangs(tmp_path, code):
    assert run_python(FAILING.replace("GIVEN", repr(code)), PACKAGE.parent, NUMBA_CACHE_DIR=tmp_path) == "True True\n"


def test_no_second_process(monkeypatch, tmp_path):
    """Without a second core, a cache that can be written, an interpreter that can be started."""

    def refuse(*arguments, **options):
        raise OSError("no process")

    started = []
    monkeypatch.setattr(precompile, "specializations", lambda *wanted: [SimpleNamespace(load=lambda: False)])
    monkeypatch.setattr(precompile.subprocess, "Popen", lambda *arguments, **options: started.append(1))
    monkeypatch.setattr(precompile, "ENABLED", True)
    monkeypatch.setattr(cache_folder, "FOLDER", tmp_path)
    monkeypatch.setattr(precompile, "available_cores", lambda: 2)
    for module, name, value in (
        (precompile, "ENABLED", False), (precompile, "available_cores", lambda: 1),
        (cache_folder, "FOLDER", None), (os, "access", lambda path, mode: False),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            assert precompile.start_background_compiler("rnn", "float32") is None
    for executable in ("", None, "/usr/bin/uwsgi"):
        monkeypatch.setattr(sys, "executable", executable)
        assert precompile.start_background_compiler("rnn", "float32") is None
    monkeypatch.setattr(sys, "executable", "/usr/bin/Python3")
    monkeypatch.setattr(precompile.subprocess, "Popen", refuse)
    assert precompile.start_background_compiler("rnn", "float32") is None and not started


@pytest.mark.compiled
def test_python_cannot_call_an_indirect_kernel():
    with pytest.raises(TypeError, match="output_layer is called by other kernels only"):
        output_layer(0)


HASWELL = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cmov,+bmi,+bmi2,+avx,+avx2,+fma"
AVX2_SCRIPT = """
import numpy as np, reference
from helpers import assert_arrays_close, make_model, random_batch, weights
from fastrnn.kernels.linalg.simd import TILE_VECTORS, VECTOR_BYTES
assert (VECTOR_BYTES, TILE_VECTORS) == (32, 2), (VECTOR_BYTES, TILE_VECTORS)
for C, H in ((97, 19), (5, 3)):
    x, y = random_batch(C, [9, 5, 5, 2, 1] * 4)
    model = make_model("rnn", C, H, n_threads=2, bptt_truncate=4)
    loss, gradients = model.gradients(x, y)
    expected_loss, expected = reference.gradients("rnn", weights(model), x, y, 4)
    assert abs(loss - expected_loss) < 1e-5 * expected_loss
    assert_arrays_close(gradients, expected, "float32")
print("right")
"""


def has_avx2():
    features = set(llvm.get_host_cpu_features().flatten().split(","))
    return platform.machine().lower() in ("x86_64", "amd64") and {"+avx2", "+fma", "+bmi2"} <= features


@pytest.mark.compiled
@pytest.mark.skipif(not has_avx2(), reason="this machine has no AVX2")
def test_gradients_on_a_machine_with_avx2_only():
    path = [PACKAGE.parent, PACKAGE.parent / "tests"]
    assert run_python(AVX2_SCRIPT, *path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=HASWELL) == "right\n"


@pytest.mark.skipif(not COMPILED, reason="this is a run without compiled kernels already")
def test_without_compiled_kernels():
    """NUMBA_DISABLE_JIT=1: the same source as plain Python."""
    script = AVX2_SCRIPT.replace("assert (VECTOR", "0 and (VECTOR").replace("(97, 19)", "(4, 2)").replace("* 4)", ")")
    path = [PACKAGE.parent, PACKAGE.parent / "tests"]
    assert run_python(script, *path, NUMBA_DISABLE_JIT="1") == "right\n"


def test_the_package_under_test_is_this_one():
    assert importlib.util.find_spec("fastrnn").origin == str(PACKAGE / "__init__.py")

"""Teams of threads: shares, barriers, phases, exceptions, Ctrl-C, threads that cannot start."""

import _thread
import signal
import sys
import threading
import time

import numba
import numpy as np
import pytest
from helpers import PACKAGE, examples, make_model, random_batch, run_python
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import Seq2Seq
from fastrnn.kernels import threads
from fastrnn.kernels.threads import ThreadTeam, barrier_wait, end_phase, next_part, partition
from fastrnn.networks import gradients, scoring
from fastrnn.training import loop

START_NEW_THREAD = _thread.start_new_thread


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
    """Threads that come when all is done change nothing: the same bits."""
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
    for module in (scoring, gradients, loop):
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

"""The command `python -m bench gpu`: what it found is kept however a step ends. The steps themselves run in .ci/run."""

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("bench") is None:
    sys.path.append(str(ROOT))
from bench.gpu import checks, environment, report, results, runner, step  # noqa: E402
from bench.measure import Skipped  # noqa: E402
from fastrnn.kernels.cuda.block import ROWS  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="steps are ended by process groups")
# A step of its own: the file of rows is its argument. It says that it runs, and then does as it is told.
STEP = "import os, signal, sys, time; from bench.gpu.results import append; path = sys.argv[1]; append(path, {row}); "
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(name, does):
    return [sys.executable, "-c", STEP.format(row={"step": name, "found": name}) + does]


def run(tmp_path, limits=None, **steps):
    """Run steps that each do what a line of Python says; returns (whether all went well, their rows)."""
    commands = {name: command(name, does) for name, does in steps.items()}
    fine = runner.run_steps(commands, dict.fromkeys(steps, 30) | (limits or {}), tmp_path, ENVIRONMENT)
    return fine, results.by_step(results.read(tmp_path / results.FILE))


def test_every_step_leaves_its_rows_however_it_ends(tmp_path):
    steps = {
        "throws": "raise ValueError('no such thing')", "killed": "os.kill(os.getpid(), signal.SIGKILL)",
        "skipped": f"print('no GPU', file=sys.stderr); sys.exit({step.SKIPPED})", "last": "pass",
    }  # fmt: skip
    fine, rows = run(tmp_path, **steps)
    assert not fine
    assert all(rows[name][0]["found"] == name for name in steps)
    assert {name: results.how_it_ended(found) for name, found in rows.items()} == {
        "throws": "failed: ValueError: no such thing", "killed": "killed by SIGKILL", "skipped": "skipped: no GPU",
        "last": "done",
    }  # fmt: skip
    summary = (tmp_path / runner.SUMMARY).read_text()
    assert "== throws: failed: ValueError: no such thing" in summary and "found: last" in summary


def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    hangs = f"import subprocess; print(subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(99)']).pid)"
    fine, rows = run(tmp_path, {"hangs": 6, "last": 60}, hangs=f"{hangs}; sys.stdout.flush(); time.sleep(99)", last="")
    assert not fine and rows["hangs"][0]["found"] == "hangs"
    assert results.how_it_ended(rows["hangs"]) == "ended after its 6 s"
    assert results.how_it_ended(rows["last"]) == "done"
    assert not is_running(int((tmp_path / runner.LOG).read_text().split()[0]))


def is_running(process):
    """Whether it is there, and not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_step_leaves_of_its_time_is_there_for_the_next(tmp_path):
    _, rows = run(tmp_path, {"first": 60, "second": 0.1}, first="", second="time.sleep(0.5)")
    assert results.how_it_ended(rows["second"]) == "done"


def test_all_steps_together_take_eight_minutes():
    assert sum(runner.LIMITS.values()) <= 8 * 60
    assert runner.LIMITS.keys() == step.functions().keys()


def test_without_a_usable_gpu_nothing_else_is_tried(tmp_path):
    fine, rows = run(tmp_path, machine="sys.exit('no usable NVIDIA GPU')", compile="")
    assert not fine and rows.keys() == {"machine"}
    assert results.how_it_ended(rows["machine"]) == "failed: no usable NVIDIA GPU"
    fine, rows = run(tmp_path, machine="", compile="")
    assert fine and rows.keys() == {"machine", "compile"}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cut_off_leaves_what_was_found(end, tmp_path):
    commands = {"first": command("first", ""), "slow": command("slow", "time.sleep(99)")}
    code = (
        "import sys; from pathlib import Path; from bench.gpu import runner\n"
        f"commands = {commands}\nrunner.end_with_steps()\n"
        f"runner.run_steps(commands, {{'first': 60, 'slow': 60}}, Path({str(tmp_path)!r}), None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    path, deadline = tmp_path / results.FILE, time.monotonic() + 60
    while not any(row.get("found") == "slow" for row in results.read(path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(end)
    process.wait(60)
    rows = results.by_step(results.read(path))
    assert results.how_it_ended(rows["first"]) == "done" and rows["first"][0]["found"] == "first"
    assert results.how_it_ended(rows["slow"]) == "cut off" and rows["slow"][0]["found"] == "slow"
    assert "== slow: cut off" in report.summary(results.read(path))


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / results.FILE
    results.append(path, {"step": "a", "found": 1})
    with open(path, "a") as file:
        file.write('{"step": "a", "fou')
    assert results.read(path) == [{"step": "a", "found": 1}]


def test_a_fault_of_the_report_costs_no_step(tmp_path, capsys):
    commands = {"correct": command("correct", ""), "last": command("last", "")}  # a row that the report does not expect
    assert runner.run_steps(commands, {"correct": 30, "last": 30}, tmp_path, ENVIRONMENT)
    assert "KeyError" in capsys.readouterr().err
    assert results.how_it_ended(results.by_step(results.read(tmp_path / results.FILE))["last"]) == "done"


class TestStep:
    def rows(self, tmp_path, function):
        code = step.main("compile", tmp_path / "rows", function)
        return code, [row["found"] for row in results.read(tmp_path / "rows")]

    def test_rows_before_an_error_are_kept(self, tmp_path):
        def throws():
            yield {"found": 1}
            raise RuntimeError

        with pytest.raises(RuntimeError):
            step.main("compile", tmp_path / "rows", throws)
        assert [row["found"] for row in results.read(tmp_path / "rows")] == [1]

    def test_a_row_that_is_wrong_is_an_error_at_the_end(self, tmp_path):
        assert self.rows(tmp_path, lambda: iter([{"found": 1, "ok": False}, {"found": 2, "ok": True}])) == (1, [1, 2])
        assert step.main("compile", tmp_path / "others", lambda: iter([{"found": 1, "ok": True}])) == 0

    def test_skipped(self, tmp_path, capsys):
        def skips():
            raise Skipped("there is none")
            yield

        assert self.rows(tmp_path, skips) == (step.SKIPPED, [])
        assert capsys.readouterr().err == "there is none\n"


class TestCommand:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--output", "x", "--only", "machine,fast"], "no step fast, expected of: machine"),
            (["--output", "x", "--publish"], "--publish goes with --report"), ([], "--output --report is required"),
        ],
    )  # fmt: skip
    def test_arguments(self, arguments, message, capsys):
        with pytest.raises(SystemExit):
            runner.parse(arguments)
        assert message in capsys.readouterr().err

    def test_it_starts_with_the_standard_library_alone(self, tmp_path):
        """In Python's isolated mode, without any package: the wheels may have to be installed first."""
        results.append(tmp_path / results.FILE, {"step": "machine", "found": 1})
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from bench.gpu import runner; runner.main(sys.argv[1:])"
        told = [sys.executable, "-S", "-I", "-c", code, "--report", str(tmp_path)]
        assert "found: 1" in subprocess.run(told, capture_output=True, text=True, check=True).stdout

    def test_what_the_simulator_says_is_not_published(self, capsys, monkeypatch):
        monkeypatch.setattr(report, "FOLDER", None)
        assert report.publish([{"step": "machine", "simulated": True}]) == 1
        assert "not published" in capsys.readouterr().err


def test_what_a_gpu_says_is_published(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    assert report.publish(FOUND) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "A GPU, 64 GiB" in text and "| drawing | 6 | 2 | 3.00 |" in text and "Not measured: `python -m bench" in text


FOUND = [
    {"step": "machine", "packages": {"numba": "1.2"}, "commit": "abc"}, {"step": "machine", "driver": "CUDA 13.0"},
    {
        "step": "machine", "gpu": "A GPU", "simulated": False, "capability": [9, 0], "multiprocessors": 132,
        "memory": 2**36,
    },
    {
        "step": "correct", "workload": "words-32", "cell": "gru", "precision": "tf32", "plan": [8, True], "loss": 1e-6,
        "gradient": 2e-4, "worst": "V", "adam": 1e-3, "same_bits": True, "ok": True,
    },
    {
        "step": "training", "workload": "words-32", "title": "C = 8,000", "cell": "lstm", "torch": "cuda", "losses": {},
        "rates": {
            "fastrnn": [100, 110, 120], "fastrnn, laid out": [200], "fastrnn, tf32": [300, 300, 300],
            "fastrnn, tf32, laid out": [400], "PyTorch": [50, 55, 60], "PyTorch, TF32": [600, 600, 600],
        },
    },
    {"step": "training", "workload": "x", "title": "alone", "cell": "rnn", "rates": {"fastrnn": [7]}},
    {"step": "training", "PyTorch": "skipped: it is not installed"},
    {"step": "training", "same": 3e-6, "cell": "lstm", "ok": True},
    {"step": "decoding", "title": "drawing", "rates": {"GPU": [6], "CPU": [2]}, "same": 0.5},
]  # fmt: skip


def test_the_section():
    text = "\n".join(report.section(FOUND))
    assert "A GPU, 64 GiB, 132 multiprocessors, compute capability 9.0; CUDA 13.0; numba 1.2; commit abc" in text
    assert "| lstm | 110 (100 to 120) | 200 | 300 (300 to 300) | 400 | 55 (50 to 60) |" in text
    assert "| 2.00 (2.00 to 2.00) | 0.50 (0.50 to 0.50) |" in text
    assert "| rnn | 7 |  |" in text and "| drawing | 6 | 2 | 3.00 |" in text and "1 of 1 cases agree" in text


def test_the_summary():
    text = report.summary(FOUND)
    assert "ok  words-32    gru  tf32    8 rows, shared  loss 1e-06 gradient 2e-04 (V) Adam 1e-03 same bits" in text
    assert "PyTorch: skipped: it is not installed" in text and "on equal weights 3e-06" in text
    assert "ratio 2.00, TF32 0.50" in text and "drawing: GPU 6; CPU 2 tokens/s; 50.0% the same" in text


SANITIZER = """#!/bin/sh
[ "$2" = memcheck ] && { echo "========= ERROR SUMMARY: 0 errors"; exit 0; }
echo "========= RACECHECK SUMMARY: 3 hazards displayed"; exit 9
"""


def test_what_compute_sanitizer_says(tmp_path, monkeypatch):
    folder = tmp_path / "compute-sanitizer"
    folder.mkdir()
    program = folder / "compute-sanitizer"
    program.write_text(SANITIZER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    found = list(checks.sanitizer())
    assert [(row["tool"], row["ok"]) for row in found[:: len(found) - 1]] == [("memcheck", True), ("racecheck", False)]
    assert found[-1]["says"] == "RACECHECK SUMMARY: 3 hazards displayed"
    monkeypatch.delenv("CUDA_HOME")
    with pytest.raises(Skipped, match="compute-sanitizer"):
        next(checks.sanitizer())


@pytest.mark.usefixtures("simulator")
def test_kernels_are_noted_without_being_launched():
    """As the step `compile` needs it: in one dtype all kernels that training, scoring and drawing launch."""
    from fastrnn.kernels.cuda.driver import Kernel

    found, launch = {}, Kernel.__call__
    with environment.noted(found):
        environment._launch_everything("gru", "float32")
        environment._launch_everything("gru", "tf32")
    assert Kernel.__call__ is launch
    names = {kernel.py_func.__qualname__ for kernel, _ in found.values()}
    recurrent = {f"{way}.gru_{n}_{w}" for way in ("FORWARD", "BACKWARD") for n in ROWS for w in ("shared", "global")}
    assert names >= {*recurrent, "_product", "_product_tf32", "_add_parts", "_losses", "_total", "_sum_rows", "_square"}
    assert names >= {
        "_step",
        "_fill_all",
        "_choose",
        "_gather",
        "_read_embeddings",
        "_drop_embeddings",
        "_choices",
        "_permute_all",
    }


@pytest.mark.usefixtures("simulator")
def test_a_forced_plan_is_followed(monkeypatch):
    from fastrnn.kernels.cuda.layers import recurrence

    plan = recurrence._plan
    W = np.empty((1, 3, 9), np.float32)
    for rows, resident in checks.plans():
        with checks.forced(rows, resident):
            assert recurrence._plan(recurrence.forward_tiles, W, 1)[:2] == (rows, resident)
    assert recurrence._plan is plan
    assert len(checks.plans()) == 2 * len(ROWS)


def test_the_tests_of_the_kernels_are_found():
    names = [path.name for path in checks.gpu_tests()]
    assert {"test_recurrence.py", "test_softmax.py"} <= {*names} and "test_compiles.py" not in names

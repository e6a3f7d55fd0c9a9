"""What happens where Numba's internals are not as our extensions of its compiler expect."""

import os
import subprocess
import sys

import numba
import pytest

from fastrnn.kernels.compiler import cache_folder, trial
from fastrnn.kernels.compiler.jit import EXTENSIONS

pytestmark = pytest.mark.compiled

SCORE = """
import sys
{change}
from fastrnn import FastRNN
from fastrnn.kernels.compiler import jit
x, y = [[0, 2, 3, 2, 4], [0, 3, 3]], [[2, 3, 2, 4, 1], [3, 3, 1]]
model = FastRNN("rnn", 5, max_epochs=0, random_state=0, n_threads=1).fit(x, y)  # to train would take a minute
print(jit.EXTENSIONS is None, repr(model.loss(x, y)))
"""


def score(cache, change="", **variables):
    """What a loss in another process is, and what is said of it."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)} | variables
    command = [sys.executable, "-W", "error", "-c", SCORE.format(change=change)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_a_missing_internal_costs_time_and_not_the_numbers(tmp_path):
    """One line says so; the next process has it in the cache; and the other way is not mixed with it."""
    missing = "import numba.core.codegen; del numba.core.codegen.JITCodeLibrary"
    (plain, loss), told = score(tmp_path, missing)
    assert plain == "True" and told.count("\n") == 1
    assert numba.__version__ in told and "JITCodeLibrary" in told and trial.VARIABLE in told
    chosen = score(tmp_path, **{trial.VARIABLE: "1"})
    assert chosen == (["True", loss], "")
    (plain, extended), told = score(tmp_path, **{trial.VARIABLE: "0"})
    assert plain == "False" and not told
    assert float(extended) == pytest.approx(float(loss), rel=1e-6)


@pytest.mark.skipif(EXTENSIONS is None, reason="this Numba's compiler is not extended")
class TestCheck:
    def test_what_works(self):
        trial.check(EXTENSIONS)

    def test_other_numbers_are_noticed(self, monkeypatch):
        """Those of elements one beside the right ones."""
        own = EXTENSIONS._Lower._element

        def wrong(self, array, indices):
            pointer, shape = own(self, array, indices)
            return self.builder.gep(pointer, [self.context.get_constant(numba.types.intp, 1)]), shape

        monkeypatch.setattr(EXTENSIONS._Lower, "_element", wrong)
        with pytest.raises(ArithmeticError, match="a trial kernel found"):
            trial.check(EXTENSIONS)

    def test_it_is_tried_once_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cache_folder, "FOLDER", tmp_path)
        tried = []
        monkeypatch.setattr(trial, "check", tried.append)
        assert trial.extensions() is EXTENSIONS and trial.extensions() is EXTENSIONS
        assert tried == [EXTENSIONS]

"""`warmup`: after it, nothing is compiled."""

import pytest
from helpers import PACKAGE, run_python

import fastrnn

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

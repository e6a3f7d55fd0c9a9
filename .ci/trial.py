"""Fit, score, generate and plot; print the losses, the versions of the packages named on the command line, and more.

"extended" is whether our extensions of Numba's compiler work with this Numba.
"""

import importlib.metadata as metadata
import io
import json
import sys
import warnings

from sklearn.base import clone

from fastrnn import FastRNN, LanguageModel, Seq2Seq
from fastrnn.kernels.compiler.jit import EXTENSIONS
from fastrnn.plotting import plot_losses

warnings.filterwarnings("error", module="fastrnn")  # what dependencies warn each other of is theirs

x, y = [[0, 2, 3, 2, 4], [0, 3, 3]], [[2, 3, 2, 4, 1], [3, 3, 1]]
losses = {}
for cell in ("rnn", "lstm", "gru"):
    model = FastRNN(cell, 12, max_epochs=3, random_state=0, n_threads=1).fit(x, y)
    losses[cell] = model.loss(x, y)
    assert len(model.generate(2, max_length=4, random_state=0)) == 2
assert clone(model).get_params() == model.get_params()
plot_losses([model]).figure.savefig(io.BytesIO(), format="svg")

pairs = Seq2Seq("gru", 8, max_epochs=2, random_state=0, n_threads=1).fit([[2, 3], [3]], [[3], [2, 2]])
losses["seq2seq"] = pairs.loss([[2, 3], [3]], [[3], [2, 2]])
assert len(pairs.predict([[2]], beam_width=2)) == 1

lm = LanguageModel(hidden_dim=8, max_epochs=2, random_state=0, n_threads=1).fit(["A cat sat. It slept!"] * 20)
losses["text"] = lm.perplexity(["A cat slept."])
assert len(lm.generate(2, random_state=0)) == 2

versions = {name: metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"versions": versions, "losses": losses, "extended": EXTENSIONS is not None}))

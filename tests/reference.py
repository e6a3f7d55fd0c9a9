"""The slow oracle: recurrent language models written from the equations, in float64 NumPy.

It shares no code with the package that it judges. One sequence at a time, one step at a time, plain
loops. One layer; a sequence is a list of word indices, a batch is a list of sequences.

Notation: C words, H units, G gates (tanh 1, GRU 3, LSTM 4), T steps in a sequence, N tokens in a
batch. σ is the logistic function, ⊙ is elementwise, x is one-hot, so U x is column x of U.

    parameter    shape      what
    "layer0.U"   (G·H, C)   word to gates                  gate order: LSTM i, f, o, g
    "layer0.W"   (G·H, H)   previous state to gates                    GRU  z, r, g
    "layer0.b"   (G·H,)     gate bias; absent without bias
    "layer0.p"   (3, H)     peepholes p_i, p_f, p_o; LSTM only
    "V"          (C, H)     state to words
    "c"          (C,)       output bias; absent without bias

A state is a dict with "h", and "c" in the LSTM. A record is what one step computed: the new state
and all that the backward step needs. So the next step may start from it.
The gradient of the loss with respect to a value is called d + the value's name.
"""

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def sigmoid(a):
    """σ(a) = 1 / (1 + e^−a), as e^(−ln(1 + e^−a)), which overflows nowhere."""
    return np.exp(-np.logaddexp(0.0, -a))


def log_softmax(logits):
    """Return ln o, where o_j = e^logits_j / Σ_k e^logits_k."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def in_float64(params):
    """Return the same parameters in float64; arrays that are float64 already are not copied."""
    return {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}


def init_params(cell, vocab_size, hidden_dim, bias, rng, scale=1.5):
    """Draw parameters for tests: larger than a real start, so that the cells are far from linear.

    W and V are uniform in ±scale/√H, all else is uniform in ±scale.
    """
    gates, narrow = GATES[cell], scale / np.sqrt(hidden_dim)
    params = {
        "layer0.U": rng.uniform(-scale, scale, (gates * hidden_dim, vocab_size)),
        "layer0.W": rng.uniform(-narrow, narrow, (gates * hidden_dim, hidden_dim)),
        "V": rng.uniform(-narrow, narrow, (vocab_size, hidden_dim)),
    }
    if cell == "lstm":
        params["layer0.p"] = rng.uniform(-scale, scale, (3, hidden_dim))
    if bias:
        params["layer0.b"] = rng.uniform(-scale, scale, gates * hidden_dim)
        params["c"] = rng.uniform(-scale, scale, vocab_size)
    return params


def initial_state(cell, hidden_dim):
    """Return the state before the first step: zeros."""
    names = ("h", "c") if cell == "lstm" else ("h",)
    return {name: np.zeros(hidden_dim) for name in names}


# The cells: one step forward; and one step backward for one error. The backward step is given the
# error of the step's state, adds to `grads`, and returns the error of the state before the step.


def word_to_gates(params, x):
    """U x + b."""
    a = params["layer0.U"][:, x].copy()
    if "layer0.b" in params:
        a += params["layer0.b"]
    return a


def word_to_gates_backward(grads, x, da):
    """Add what da, the error of U x + b, contributes to dU and db."""
    grads["layer0.U"][:, x] += da
    if "layer0.b" in grads:
        grads["layer0.b"] += da


def rnn_forward(params, x, previous):
    """The tanh RNN (Elman 1990): h = tanh(U x + W h_previous + b)."""
    h = np.tanh(word_to_gates(params, x) + params["layer0.W"] @ previous["h"])
    return {"x": x, "previous": previous, "h": h}


def rnn_backward(params, record, error, grads):
    da = error["h"] * (1 - record["h"] ** 2)
    word_to_gates_backward(grads, record["x"], da)
    grads["layer0.W"] += np.outer(da, record["previous"]["h"])
    return {"h": params["layer0.W"].T @ da}


def lstm_forward(params, x, previous):
    """The LSTM with peepholes (Graves 2013): the output gate looks at the new c."""
    p_i, p_f, p_o = params["layer0.p"]
    a = word_to_gates(params, x) + params["layer0.W"] @ previous["h"]
    a_i, a_f, a_o, a_g = np.split(a, 4)
    i = sigmoid(a_i + p_i * previous["c"])
    f = sigmoid(a_f + p_f * previous["c"])
    g = np.tanh(a_g)
    c = f * previous["c"] + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * np.tanh(c)
    return {"x": x, "previous": previous, "i": i, "f": f, "o": o, "g": g, "c": c, "h": h}


def lstm_backward(params, record, error, grads):
    p_i, p_f, p_o = params["layer0.p"]
    i, f, o, g, c = (record[name] for name in "ifogc")
    h_previous, c_previous = record["previous"]["h"], record["previous"]["c"]

    da_o = error["h"] * np.tanh(c) * o * (1 - o)
    dc = error["c"] + error["h"] * o * (1 - np.tanh(c) ** 2) + da_o * p_o
    da_i = dc * g * i * (1 - i)
    da_f = dc * c_previous * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da = np.concatenate([da_i, da_f, da_o, da_g])

    word_to_gates_backward(grads, record["x"], da)
    grads["layer0.W"] += np.outer(da, h_previous)
    grads["layer0.p"] += np.stack([da_i * c_previous, da_f * c_previous, da_o * c])
    return {"h": params["layer0.W"].T @ da, "c": dc * f + da_i * p_i + da_f * p_f}


def gru_forward(params, x, previous):
    """The GRU (Chung et al. 2014): z weighs the new state, r acts before the product."""
    h_previous = previous["h"]
    W_z, W_r, W_g = np.split(params["layer0.W"], 3)
    a_z, a_r, a_g = np.split(word_to_gates(params, x), 3)
    z = sigmoid(a_z + W_z @ h_previous)
    r = sigmoid(a_r + W_r @ h_previous)
    q = r * h_previous
    g = np.tanh(a_g + W_g @ q)
    h = (1 - z) * h_previous + z * g
    return {"x": x, "previous": previous, "z": z, "r": r, "q": q, "g": g, "h": h}


def gru_backward(params, record, error, grads):
    W_z, W_r, W_g = np.split(params["layer0.W"], 3)
    z, r, q, g = (record[name] for name in "zrqg")
    h_previous, dh = record["previous"]["h"], error["h"]

    da_z = dh * (g - h_previous) * z * (1 - z)
    da_g = dh * z * (1 - g**2)
    dq = W_g.T @ da_g
    da_r = dq * h_previous * r * (1 - r)

    word_to_gates_backward(grads, record["x"], np.concatenate([da_z, da_r, da_g]))
    dW = [np.outer(da_z, h_previous), np.outer(da_r, h_previous), np.outer(da_g, q)]
    grads["layer0.W"] += np.concatenate(dW)
    return {"h": dh * (1 - z) + dq * r + W_z.T @ da_z + W_r.T @ da_r}


FORWARD = {"rnn": rnn_forward, "lstm": lstm_forward, "gru": gru_forward}
BACKWARD = {"rnn": rnn_backward, "lstm": lstm_backward, "gru": gru_backward}


def step_backward(cell, params, record, error, grads):
    """Take one error through one step: add to grads, return the error of the state before it."""
    return BACKWARD[cell](params, record, error, grads)


# Sequences and batches.


def forward(cell, params, xs, state=None):
    """Run one sequence from `state` (zeros by default); return its T records and logits (T, C)."""
    params = in_float64(params)
    vocab_size, hidden_dim = params["V"].shape
    state = initial_state(cell, hidden_dim) if state is None else state
    records, logits = [], np.empty((len(xs), vocab_size))
    for t in range(len(xs)):
        state = FORWARD[cell](params, xs[t], state)
        records.append(state)
        logits[t] = params["V"] @ state["h"] + params.get("c", 0.0)
    return records, logits


def log_probabilities(cell, params, x, y):
    """Return ln p of every sequence, Σ_t ln o_t[y_t]: an array (B,)."""
    result = np.zeros(len(x))
    for n, (xs, ys) in enumerate(zip(x, y, strict=True)):
        _, logits = forward(cell, params, xs)
        for t in range(len(xs)):
            result[n] += log_softmax(logits[t])[ys[t]]
    return result


def loss(cell, params, x, y):
    """Return L = −(1/N) Σ ln o_t[y_t], over all N tokens of all sequences, in nats."""
    return -log_probabilities(cell, params, x, y).sum() / sum(len(xs) for xs in x)


def window_start(t, bptt_truncate):
    """Return the earliest step that the error of output t reaches: max(0, t − k), or 0."""
    return 0 if bptt_truncate is None else max(0, t - bptt_truncate)


def gradients(cell, params, x, y, bptt_truncate=None):
    """Return the loss and its gradients {name: array}.

    With bptt_truncate = k the error of output t reaches the steps t, t−1, …, t−k and no further:
    the state before them is a constant for that output. So every output has its own backward loop.
    """
    params = in_float64(params)
    grads = {name: np.zeros_like(array) for name, array in params.items()}
    tokens = sum(len(xs) for xs in x)
    for xs, ys in zip(x, y, strict=True):
        records, logits = forward(cell, params, xs)
        for t in range(len(xs)):
            dlogits = np.exp(log_softmax(logits[t]))
            dlogits[ys[t]] -= 1
            dlogits /= tokens
            grads["V"] += np.outer(dlogits, records[t]["h"])
            if "c" in grads:
                grads["c"] += dlogits
            error = initial_state(cell, params["V"].shape[1])
            error["h"] = params["V"].T @ dlogits
            for s in range(t, window_start(t, bptt_truncate) - 1, -1):
                error = step_backward(cell, params, records[s], error, grads)
    return loss(cell, params, x, y), grads


# Differences, the oracle's own judge.


def windowed_loss(cell, params, frozen_params, x, y, bptt_truncate):
    """Return a loss whose ordinary gradient at params = frozen_params is the truncated gradient.

    For output t the steps before t−k run with frozen_params, the steps t−k to t with params.
    """
    total = 0.0
    for xs, ys in zip(x, y, strict=True):
        for t in range(len(xs)):
            start = window_start(t, bptt_truncate)
            before, _ = forward(cell, frozen_params, xs[:start])
            state = before[-1] if before else None
            _, logits = forward(cell, params, xs[start : t + 1], state)
            total -= log_softmax(logits[-1])[ys[t]]
    return total / sum(len(xs) for xs in x)


def finite_difference(function, params, name, index, step=1e-5):
    """Return ∂function(params)/∂params[name][index] by a central difference.

    params must be float64. The entry is moved in place, and put back. The error is of the order
    step² from the curvature and 1e-16/step from rounding: together 1e-10 or less at a loss near 1.
    """
    value = params[name][index]
    try:
        params[name][index] = value + step
        above = function(params)
        params[name][index] = value - step
        below = function(params)
    finally:
        params[name][index] = value
    return (above - below) / (2 * step)

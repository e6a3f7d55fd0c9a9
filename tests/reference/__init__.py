"""The slow reference: recurrent language models written from the equations, in float64 NumPy.

It shares no code with the package that it judges. One sequence at a time, one step at a time, plain
loops. A sequence is a list of word indices, a batch is a list of sequences.

Notation: C words, E wide embedding, L layers of H units, G gates (tanh 1, GRU 3, LSTM 4), S parts of
a state (LSTM 2, others 1), T steps in a sequence, B sequences and N tokens in a batch. σ is the
logistic function, ⊙ is elementwise.

    parameter    shape      what
    "embedding"  (C, E)     word to vector; absent where layer 0 reads the words themselves
    "layer0.U"   (G·H, C)   input to gates                 gate order: LSTM i, f, o, g
                            (G·H, E) over an embedding,                GRU  z, r, g
                            (G·H, H) in the layers above
    "layer0.W"   (G·H, H)   previous state to gates
    "layer0.b"   (G·H,)     gate bias; absent without bias
    "layer0.p"   (3, H)     peepholes p_i, p_f, p_o; LSTM only, absent without peepholes
    "V"          (C, H)     state to words; absent with tied weights: then "embedding" is V too
    "c"          (C,)       output bias; absent without bias

The layer above reads h of the layer below at the same step; the output reads h of the last layer.
Dropout multiplies what goes over a connection: the embedding's, if there is one, and each layer's
upwards, from bottom to top. The masks of a sequence are a list over connections of arrays
(T, width) of multipliers, 0 or 1/(1−p); those of a batch are a list of these. None: all are 1.

The state of one layer is a dict with "h", and "c" in the LSTM. A record is what one step of one
layer computed: the new state and all that the backward step needs. So the next step may start from
it. States and records of all layers are lists. Outside of one sequence states are one array
(L, B, S·H), h first.
The gradient of the loss with respect to a value is called d + the value's name.
"""

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
STATES = {"rnn": ("h",), "gru": ("h",), "lstm": ("h", "c")}


def sigmoid(a):
    """σ(a) = 1 / (1 + e^−a), as e^(−ln(1 + e^−a)), which overflows nowhere."""
    return np.exp(-np.logaddexp(0.0, -a))


def log_softmax(logits):
    """Return ln o, where o_j = e^logits_j / Σ_k e^logits_k."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


# Parameters and states.


def in_float64(params):
    """Return the same parameters in float64; arrays that are float64 already are not copied."""
    return {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}


def init_params(
    cell, vocab_size, hidden_dim, bias, rng, scale=1.5, num_layers=1, embedding_dim=None, tie_weights=False,
    peepholes=True,
):  # fmt: skip
    """Draw parameters for tests: larger than a real start, so that the cells are far from linear.

    What a vector of n entries is multiplied by is uniform in ±scale/√n, all else is uniform in ±scale.
    """
    gates, narrow = GATES[cell] * hidden_dim, scale / np.sqrt(hidden_dim)
    params = {}
    for layer in range(num_layers):
        inputs, width = (hidden_dim, narrow) if layer else (vocab_size, scale)
        if embedding_dim is not None and layer == 0:
            inputs, width = embedding_dim, scale / np.sqrt(embedding_dim)
        params[f"layer{layer}.U"] = rng.uniform(-width, width, (gates, inputs))
        params[f"layer{layer}.W"] = rng.uniform(-narrow, narrow, (gates, hidden_dim))
    if not tie_weights:
        params["V"] = rng.uniform(-narrow, narrow, (vocab_size, hidden_dim))
    for layer in range(num_layers):
        if cell == "lstm" and peepholes:
            params[f"layer{layer}.p"] = rng.uniform(-scale, scale, (3, hidden_dim))
        if bias:
            params[f"layer{layer}.b"] = rng.uniform(-scale, scale, gates)
    if bias:
        params["c"] = rng.uniform(-scale, scale, vocab_size)
    if embedding_dim is not None:
        params["embedding"] = rng.uniform(-scale, scale, (vocab_size, embedding_dim))
    return params


def count_layers(params):
    return sum(name.endswith(".W") for name in params)


def layer_of(params, layer):
    """Return the arrays of one layer, not copied, under their short names: "U", "W", "b", "p"."""
    prefix = f"layer{layer}."
    return {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}


def output_weights(params):
    """Return V, which is the embedding with tied weights."""
    return params["V"] if "V" in params else params["embedding"]


def zero_state(cell, params):
    """Return the state before the first step: zeros in every layer."""
    hidden_dim = params["layer0.W"].shape[1]
    return [{name: np.zeros(hidden_dim) for name in STATES[cell]} for _ in range(count_layers(params))]


def split_state(cell, array):
    """Return the state, a list over layers, that an array (L, S·H) holds."""
    parts = len(STATES[cell])
    return [dict(zip(STATES[cell], np.split(np.array(row, np.float64), parts), strict=True)) for row in array]


def join_state(cell, state):
    """Return a state, a list over layers, as an array (L, S·H)."""
    return np.array([np.concatenate([layer[name] for name in STATES[cell]]) for layer in state])


# The cells: one step of one layer forward; and one step backward for one error. The backward step is
# given the error of the step's state, adds to `grads`, and returns the error of its input (None for a
# word) and the error of the state before the step. `params` and `grads` are those of the layer.


def is_word(x):
    return np.ndim(x) == 0


def input_to_gates(params, x):
    """U x + b. A word x is one-hot: U x is column x of U."""
    a = params["U"][:, x].copy() if is_word(x) else params["U"] @ x
    return a + params["b"] if "b" in params else a


def input_to_gates_backward(params, x, da, grads):
    """Add what da, the error of U x + b, contributes to dU and db; return dx."""
    if "b" in grads:
        grads["b"] += da
    if is_word(x):
        grads["U"][:, x] += da
        return None
    grads["U"] += np.outer(da, x)
    return params["U"].T @ da


def rnn_forward(params, x, previous):
    """The tanh RNN (Elman 1990): h = tanh(U x + W h_previous + b)."""
    h = np.tanh(input_to_gates(params, x) + params["W"] @ previous["h"])
    return {"x": x, "previous": previous, "h": h}


def rnn_backward(params, record, error, grads):
    da = error["h"] * (1 - record["h"] ** 2)
    grads["W"] += np.outer(da, record["previous"]["h"])
    dx = input_to_gates_backward(params, record["x"], da, grads)
    return dx, {"h": params["W"].T @ da}


def peepholes(params):
    """Return p_i, p_f and p_o; a gate without a peephole sees nothing of c, as if they were 0."""
    return params.get("p", (0.0, 0.0, 0.0))


def lstm_forward(params, x, previous):
    """The LSTM with peepholes (Graves 2013): the output gate looks at the new c."""
    p_i, p_f, p_o = peepholes(params)
    a = input_to_gates(params, x) + params["W"] @ previous["h"]
    a_i, a_f, a_o, a_g = np.split(a, 4)
    i = sigmoid(a_i + p_i * previous["c"])
    f = sigmoid(a_f + p_f * previous["c"])
    g = np.tanh(a_g)
    c = f * previous["c"] + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * np.tanh(c)
    return {"x": x, "previous": previous, "i": i, "f": f, "o": o, "g": g, "c": c, "h": h}


def lstm_backward(params, record, error, grads):
    p_i, p_f, p_o = peepholes(params)
    i, f, o, g, c = (record[name] for name in "ifogc")
    h_previous, c_previous = record["previous"]["h"], record["previous"]["c"]

    da_o = error["h"] * np.tanh(c) * o * (1 - o)
    dc = error["c"] + error["h"] * o * (1 - np.tanh(c) ** 2) + da_o * p_o
    da_i = dc * g * i * (1 - i)
    da_f = dc * c_previous * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da = np.concatenate([da_i, da_f, da_o, da_g])

    grads["W"] += np.outer(da, h_previous)
    if "p" in grads:
        grads["p"] += np.stack([da_i * c_previous, da_f * c_previous, da_o * c])
    dx = input_to_gates_backward(params, record["x"], da, grads)
    return dx, {"h": params["W"].T @ da, "c": dc * f + da_i * p_i + da_f * p_f}


def gru_forward(params, x, previous):
    """The GRU (Chung et al. 2014): z weighs the new state, r acts before the product."""
    h_previous = previous["h"]
    W_z, W_r, W_g = np.split(params["W"], 3)
    a_z, a_r, a_g = np.split(input_to_gates(params, x), 3)
    z = sigmoid(a_z + W_z @ h_previous)
    r = sigmoid(a_r + W_r @ h_previous)
    q = r * h_previous
    g = np.tanh(a_g + W_g @ q)
    h = (1 - z) * h_previous + z * g
    return {"x": x, "previous": previous, "z": z, "r": r, "q": q, "g": g, "h": h}


def gru_backward(params, record, error, grads):
    W_z, W_r, W_g = np.split(params["W"], 3)
    z, r, q, g = (record[name] for name in "zrqg")
    h_previous, dh = record["previous"]["h"], error["h"]

    da_z = dh * (g - h_previous) * z * (1 - z)
    da_g = dh * z * (1 - g**2)
    dq = W_g.T @ da_g
    da_r = dq * h_previous * r * (1 - r)

    dW = [np.outer(da_z, h_previous), np.outer(da_r, h_previous), np.outer(da_g, q)]
    grads["W"] += np.concatenate(dW)
    dx = input_to_gates_backward(params, record["x"], np.concatenate([da_z, da_r, da_g]), grads)
    return dx, {"h": dh * (1 - z) + dq * r + W_z.T @ da_z + W_r.T @ da_r}


FORWARD = {"rnn": rnn_forward, "lstm": lstm_forward, "gru": gru_forward}
BACKWARD = {"rnn": rnn_backward, "lstm": lstm_backward, "gru": gru_backward}


# One step of all layers.


def multipliers_at(params, masks, t):
    """Return step t's multipliers: the embedding's, and a list of the layers'."""
    has_embedding = "embedding" in params
    connections = has_embedding + count_layers(params)
    step = [1.0] * connections if masks is None else [np.asarray(mask, np.float64)[t] for mask in masks]
    assert len(step) == connections
    return (step[0], step[1:]) if has_embedding else (None, step)


def step_forward(cell, params, word, state, multipliers):
    """Return the records of one step of all layers, and what the output layer reads."""
    embedding_multiplier, layer_multipliers = multipliers
    x = params["embedding"][word] * embedding_multiplier if "embedding" in params else word
    records = []
    for layer, multiplier in enumerate(layer_multipliers):
        record = FORWARD[cell](layer_of(params, layer), x, state[layer])
        records.append(record)
        x = record["h"] * multiplier
    return records, x


def step_backward(cell, params, word, records, multipliers, state_errors, doutput, grads):
    """Take errors through one step of all layers, from top to bottom; add to grads.

    state_errors are those of the step's states, as the next step returned them, and doutput that of
    what the output layer read. Returned are the errors of the states before the step.
    """
    embedding_multiplier, layer_multipliers = multipliers
    errors_before = [None] * len(records)
    dx = doutput
    for layer in reversed(range(len(records))):
        error = state_errors[layer] | {"h": state_errors[layer]["h"] + dx * layer_multipliers[layer]}
        dx, errors_before[layer] = BACKWARD[cell](
            layer_of(params, layer), records[layer], error, layer_of(grads, layer)
        )
    if "embedding" in params:
        grads["embedding"][word] += dx * embedding_multiplier
    return errors_before


# Sequences and batches.


def of_sequence(batch, n):
    """Return sequence n's share of a batch's masks; None if there are none."""
    return None if batch is None else batch[n]


def state_of_sequence(cell, initial, n):
    """Return the state that an array (L, B, S·H) holds for sequence n; None if there is none."""
    return None if initial is None else split_state(cell, initial[:, n])


def run(cell, params, xs, state=None, masks=None):
    """Run one sequence through the layers; return T lists of records and what the output layer reads."""
    state = zero_state(cell, params) if state is None else state
    records, outputs = [], []
    for t in range(len(xs)):
        state, output = step_forward(cell, params, xs[t], state, multipliers_at(params, masks, t))
        records.append(state)
        outputs.append(output)
    return records, outputs


def forward(cell, params, xs, state=None, masks=None):
    """Run one sequence from `state`, a list over layers (zeros by default).

    Return T lists over layers of records, and logits (T, C).
    """
    params = in_float64(params)
    records, outputs = run(cell, params, xs, state, masks)
    V = output_weights(params)
    logits = np.empty((len(xs), len(V)))
    for t in range(len(xs)):
        logits[t] = V @ outputs[t] + params.get("c", 0.0)
    return records, logits


def final_states(cell, params, x, initial=None, masks=None):
    """Return the state of every sequence after its last step: an array (L, B, S·H)."""
    params = in_float64(params)
    finals = []
    for n, xs in enumerate(x):
        state = state_of_sequence(cell, initial, n) or zero_state(cell, params)
        records, _ = run(cell, params, xs, state, of_sequence(masks, n))
        finals.append(join_state(cell, [state, *records][-1]))
    return np.stack(finals, axis=1)


def log_probabilities(cell, params, x, y, masks=None, initial=None):
    """Return ln p of every sequence, Σ_t ln o_t[y_t]: an array (B,)."""
    result = np.zeros(len(x))
    for n, (xs, ys) in enumerate(zip(x, y, strict=True)):
        _, logits = forward(cell, params, xs, state_of_sequence(cell, initial, n), of_sequence(masks, n))
        for t in range(len(xs)):
            result[n] += log_softmax(logits[t])[ys[t]]
    return result


def loss(cell, params, x, y, masks=None, initial=None):
    """Return L = −(1/N) Σ ln o_t[y_t], over all N tokens of all sequences, in nats."""
    return -log_probabilities(cell, params, x, y, masks, initial).sum() / sum(len(xs) for xs in x)


def window_start(t, bptt_truncate):
    """Return the earliest step that the error of output t reaches: max(0, t − k), or 0."""
    return 0 if bptt_truncate is None else max(0, t - bptt_truncate)


def reaches_initial_state(t, bptt_truncate):
    """Tell whether output t's window reaches beyond step 0: the state before step t−k is a constant."""
    return bptt_truncate is None or t < bptt_truncate


def gradients(cell, params, x, y, bptt_truncate=None, masks=None, initial=None):
    """Return the loss and its gradients {name: array}, with "initial_state" if one is given.

    With bptt_truncate = k the error of output t reaches the steps t, t−1, …, t−k and no further, in
    any layer: the states before them are constants for that output. So every output has its own
    backward loop.
    """
    params = in_float64(params)
    grads = {name: np.zeros_like(array) for name, array in params.items()}
    V, dV = output_weights(params), output_weights(grads)
    dinitial = [np.zeros_like(join_state(cell, zero_state(cell, params))) for _ in x]
    tokens = sum(len(xs) for xs in x)
    for n, (xs, ys) in enumerate(zip(x, y, strict=True)):
        masks_n = of_sequence(masks, n)
        multipliers = [multipliers_at(params, masks_n, t) for t in range(len(xs))]
        records, outputs = run(cell, params, xs, state_of_sequence(cell, initial, n), masks_n)
        for t in range(len(xs)):
            dlogits = np.exp(log_softmax(V @ outputs[t] + params.get("c", 0.0)))
            dlogits[ys[t]] -= 1
            dlogits /= tokens
            dV += np.outer(dlogits, outputs[t])
            if "c" in grads:
                grads["c"] += dlogits
            errors, doutput = zero_state(cell, params), V.T @ dlogits
            for s in range(t, window_start(t, bptt_truncate) - 1, -1):
                errors = step_backward(cell, params, xs[s], records[s], multipliers[s], errors, doutput, grads)
                doutput = 0.0
            if reaches_initial_state(t, bptt_truncate):
                dinitial[n] += join_state(cell, errors)
    if initial is not None:
        grads["initial_state"] = np.stack(dinitial, axis=1)
    return loss(cell, params, x, y, masks, initial), grads


# Differences, the reference's own judge.


def windowed_loss(cell, params, frozen_params, x, y, bptt_truncate, masks=None, initial=None, frozen_initial=None):
    """Return a loss whose ordinary gradient, where nothing differs from the frozen, is the truncated one.

    For output t the steps before t−k run with frozen_params from frozen_initial, the steps t−k to t
    with params; they start from initial where the window reaches it.
    """
    total = 0.0
    for n, (xs, ys) in enumerate(zip(x, y, strict=True)):
        masks_n = of_sequence(masks, n)
        for t in range(len(xs)):
            start = window_start(t, bptt_truncate)
            first = initial if reaches_initial_state(t, bptt_truncate) else frozen_initial
            state = state_of_sequence(cell, first, n)
            if start > 0:
                state = forward(cell, frozen_params, xs[:start], state, masks_n)[0][-1]
            window = None if masks_n is None else [mask[start:] for mask in masks_n]
            _, logits = forward(cell, params, xs[start : t + 1], state, window)
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

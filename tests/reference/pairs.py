"""The slow reference's second part: encoder–decoder models (Sutskever et al. 2014) and beam search.

Like `reference`, on which it builds, it shares no code with the package that it judges. The encoder
reads the source as it is given: to reverse it is the caller's affair. The decoder starts from the
encoder's final state in every layer, reads SENTENCE_START and the target, and predicts the target
and SENTENCE_END. Parameters are those of `reference`, named "encoder.…" and "decoder.…"; the encoder
has no "V" and "c". Masks are those of `reference`; the encoder's last connection, upwards from its
last layer, leads nowhere, and its masks change nothing.
"""

import numpy as np

from reference import (
    final_states,
    forward,
    gradients,
    in_float64,
    init_params,
    log_probabilities,
    log_softmax,
    multipliers_at,
    of_sequence,
    run,
    split_state,
    step_backward,
)

SENTENCE_START, SENTENCE_END = 0, 1


# Parameters.


def init_pair_params(cell, source_size, target_size, hidden_dim, bias, rng, **model):
    """Draw parameters for tests; `model` are further arguments of `init_params`, for both sides."""
    encoder = init_params(cell, source_size, hidden_dim, bias, rng, **model)
    decoder = init_params(cell, target_size, hidden_dim, bias, rng, **model)
    for name in ("V", "c"):
        encoder.pop(name, None)
    return join_sides(encoder, decoder)


def join_sides(encoder, decoder):
    """Return the arrays of both sides under the names "encoder.…" and "decoder.…"."""
    sides = {"encoder": encoder, "decoder": decoder}
    return {f"{side}.{name}": array for side, arrays in sides.items() for name, array in arrays.items()}


def side_of(params, side):
    """Return the arrays of one side, not copied, without its name before theirs."""
    prefix = side + "."
    return {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}


# The loss and its gradients.


def decoder_batch(target):
    """Return what the decoder reads and what it is to predict."""
    return [[SENTENCE_START, *tokens] for tokens in target], [[*tokens, SENTENCE_END] for tokens in target]


def pair_log_probabilities(cell, params, source, target, source_masks=None, target_masks=None):
    """Return ln p of every target given its source, SENTENCE_END included: an array (B,)."""
    states = final_states(cell, side_of(params, "encoder"), source, masks=source_masks)
    x, y = decoder_batch(target)
    return log_probabilities(cell, side_of(params, "decoder"), x, y, target_masks, states)


def pair_loss(cell, params, source, target, source_masks=None, target_masks=None):
    """Return the mean of −ln p over all target tokens, SENTENCE_END included, in nats."""
    total = pair_log_probabilities(cell, params, source, target, source_masks, target_masks).sum()
    return -total / sum(len(tokens) + 1 for tokens in target)


def pair_gradients(cell, params, source, target, source_masks=None, target_masks=None):
    """Return the loss and its gradients {name: array}: full propagation through both sides."""
    encoder, decoder = side_of(params, "encoder"), side_of(params, "decoder")
    states = final_states(cell, encoder, source, masks=source_masks)
    x, y = decoder_batch(target)
    value, decoder_grads = gradients(cell, decoder, x, y, masks=target_masks, initial=states)
    dstates = decoder_grads.pop("initial_state")
    return value, join_sides(encoder_gradients(cell, encoder, source, dstates, source_masks), decoder_grads)


def encoder_gradients(cell, params, source, dstates, masks=None):
    """Return the encoder's gradients, given those of its final states: an array (L, B, S·H)."""
    params = in_float64(params)
    grads = {name: np.zeros_like(array) for name, array in params.items()}
    for n, xs in enumerate(source):
        masks_n = of_sequence(masks, n)
        records, _ = run(cell, params, xs, masks=masks_n)
        errors = split_state(cell, dstates[:, n])
        for t in reversed(range(len(xs))):
            multipliers = multipliers_at(params, masks_n, t)
            errors = step_backward(cell, params, xs[t], records[t], multipliers, errors, 0.0, grads)
    return grads


# Search. A hypothesis is (tokens, ln p): what was written, SENTENCE_END included where it was reached.
# Where `params` is a list, an ensemble's, the models' probabilities are averaged.


def as_models(params):
    return [params] if isinstance(params, dict) else list(params)


def next_log_probabilities(cell, params, source, tokens):
    """Return ln p of every word (C,) after the tokens already written: all is read anew."""
    total = 0.0
    for model in as_models(params):
        state = split_state(cell, final_states(cell, side_of(model, "encoder"), [source])[:, 0])
        _, logits = forward(cell, side_of(model, "decoder"), [SENTENCE_START, *tokens], state)
        total = total + np.exp(log_softmax(logits[-1]))
    return np.log(total / len(as_models(params)))


def greedy(cell, params, source, max_length):
    """Take the most probable word until SENTENCE_END, or max_length words: one hypothesis."""
    tokens, log_p = [], 0.0
    while len(tokens) < max_length and SENTENCE_END not in tokens:
        scores = next_log_probabilities(cell, params, source, tokens)
        tokens = [*tokens, int(np.argmax(scores))]
        log_p += scores[tokens[-1]]
    return tokens, float(log_p)


def beam_search(cell, params, source, width, max_length, length_penalty=0.0):
    """Return hypotheses for one source, the best first (Sutskever et al. 2014, section 3.2).

    The beam holds the `width` most probable beginnings. Every word is appended to each; of these the
    most probable are kept, as many as the beam is wide. Those that end leave the beam, which is then
    narrower by their number. It ends when nothing is left, or at max_length words, SENTENCE_END
    included; what is still in the beam then counts as a hypothesis as it stands.
    Hypotheses are sorted by ln p / length^length_penalty; of equals the first found comes first.
    """
    beam, ended = [([], 0.0)], []
    for _ in range(max_length):
        extended = []
        for tokens, log_p in beam:
            scores = next_log_probabilities(cell, params, source, tokens)
            extended += [([*tokens, word], log_p + float(scores[word])) for word in range(len(scores))]
        kept = sorted(extended, key=lambda hypothesis: -hypothesis[1])[: width - len(ended)]
        ended += [hypothesis for hypothesis in kept if hypothesis[0][-1] == SENTENCE_END]
        beam = [hypothesis for hypothesis in kept if hypothesis[0][-1] != SENTENCE_END]
        if not beam:
            break
    return sorted(ended + beam, key=lambda hypothesis: -score(hypothesis, length_penalty))


def score(hypothesis, length_penalty=0.0):
    """ln p / length^length_penalty; SENTENCE_END counts."""
    tokens, log_p = hypothesis
    return log_p / len(tokens) ** length_penalty

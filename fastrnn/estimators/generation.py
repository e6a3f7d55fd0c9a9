"""Drawing sequences from a `FastRNN`: its arguments, checked, and what the sampler returns."""

import numpy as np

from ..data.ragged import Ragged
from ..decoding.sampling import sample
from ..text.special_tokens import START
from ..validation import as_generator, check_bool, check_integer, check_list, check_real
from .initial_states import initial_states


def generate(
    model, n, *, prompt, temperature, top_k, top_p, min_length, max_length, end, exclude, initial_state, random_state,
    return_log_probs,
):  # fmt: skip
    """See `FastRNN.generate`."""
    model._ready_network()
    C = model.vocab_size_
    n = check_integer("n", n, 1)
    temperature = check_real("temperature", temperature, 0, low_open=False)
    top_k = check_integer("top_k", top_k, 1, none=True)
    top_p = check_real("top_p", top_p, 0, 1, high_open=False, none=True)
    min_length = check_integer("min_length", min_length, 0)
    max_length = check_integer("max_length", max_length, max(1, min_length))
    end = check_integer("end", end, 0, none=True)
    return_log_probs, rng = check_bool("return_log_probs", return_log_probs), as_generator(random_state)
    prompt = Ragged.from_sequences([prompt], "prompt")
    prompt.check_below(C, "prompt")
    exclude = _check_exclude(exclude, C)
    if len({*exclude, *(() if end is None or min_length < 2 else (end,))} & set(range(C))) >= C:
        raise ValueError("exclude: no index is left that could be drawn")
    drawn, log_probs = sample(
        model.network_, prompt.values, n, end=end, min_length=min_length, max_length=max_length,
        exclude=np.array(exclude, np.int64), temperature=temperature, top_k=top_k, top_p=top_p,
        rng=rng, n_threads=model._threads(), state=initial_states(model, prompt, initial_state),
    )  # fmt: skip
    model._check_result(*log_probs)
    sequences = [np.concatenate([prompt.values, tokens]) for tokens in drawn]
    return (sequences, log_probs) if return_log_probs else sequences


def _check_exclude(exclude, C):
    """The indices that `generate` must not draw, checked."""
    if exclude is None:
        return sorted({START, C - 1})
    exclude = check_list("exclude", exclude, "int")
    if exclude:
        Ragged.from_sequences([exclude], "exclude").check_below(C, "exclude")
    return exclude

"""A user's program that uses everything public: mypy checks it in strict mode, and nothing runs it."""

from collections.abc import Iterator, MutableMapping

import numpy as np
from matplotlib.axes import Axes

import fastrnn
from fastrnn import (
    DeviceError,
    DivergenceError,
    Ensemble,
    FastRNN,
    LanguageModel,
    NotFittedError,
    Ragged,
    Seq2Seq,
    Translator,
    Vocabulary,
    plotting,
    python_manual,
    read_texts,
    warmup,
)
from fastrnn.typing import FloatArray, IntArray

X, Y = [[0, 2, 3], [0, 3]], [[2, 3, 1], [3, 1]]


def ragged() -> None:
    x = Ragged(np.array([1, 2, 3], np.int32), np.array([0, 2, 3]))
    x = Ragged.from_sequences([[1, 2], range(3), np.array([1])], "x")
    x.check_below(9)
    lists: list[list[int]] = x.to_list()
    first: IntArray = x[0]
    rest: Ragged = x[1:]
    chosen: Ragged = x[np.array([True, False, True])]
    lengths: list[int] = x.lengths.tolist()
    print(lists, first, rest, chosen, lengths, len(x), [sequence.sum() for sequence in x], x == chosen, x.values.dtype)


def vocabulary() -> None:
    words = Vocabulary(1000, "word", language="german", special_tokens=["<sep>"], tokenizer=str.split)
    x, y = words.fit_transform(["a b c", ["d", "e"]])
    same: Vocabulary = words.fit(iter(["a b c"])).set_params(verbose=1)
    x, y = same.transform(["a"])
    indices: IntArray = words.encode("a b")
    prompt, unknown = words.encode_prompt(["a", "b"])
    tokens: list[str] = words.decode(indices) + words.tokenize("a") + unknown + words.tokens_
    text: str = words.detokenize(prompt, truecase=True) + words.detokenize(tokens) + words.report()
    words.save("v.txt")
    again = Vocabulary.load("v.txt", lowercase=False)
    own = Vocabulary.from_tokens({"a": 2}, level="char", min_count=2)
    print(x, y, text, len(again), "a" in own, words.coverage_, words.counts_.sum(), words.index_["a"], words.forms_)
    print(list(words.sentences(["a"])), list(words.sentences_by_text(["a"])), words.get_params()["max_size"])


def texts() -> list[str]:
    found: Iterator[str] = read_texts(["a.csv", "b.txt"], column="body", encoding="utf-8")
    return [*found, *read_texts("c.jsonl", 0), *python_manual()]


def stop(model: FastRNN) -> bool:
    return model.validation_losses_[-1] < 3 or model.learning_rate_ < 1e-4


def network() -> FastRNN:
    model = FastRNN("lstm", 50, bias=False, optimizer="sgd", learning_rate=0.1, early_stopping=True, random_state=0)
    model.fit(X, Y, validation_data=(X, Y), callback=stop, resume="run.ckpt").partial_fit(X, Y)
    predictions: list[IntArray] = model.predict(X)
    predictions, state = model.predict(X, return_state=True)
    probabilities: list[FloatArray] = model.predict_proba(X, initial_state=state)
    probabilities, state = model.predict_proba(X, return_state=True)
    scores = model.score_samples(X, Y)
    total: float = scores.sum() + model.loss(X, Y) + model.score(X, Y) + model.perplexity(X, Y)
    losses, x = model.token_losses(X, Y)
    loss, gradients = model.gradients(X, Y, initial_state=state)
    errors: dict[str, float] = model.check_gradients(X, Y, n_entries=3)
    sequences: list[IntArray] = model.generate(3, prompt=[0, 2], top_k=5, exclude=[3])
    sequences, log_probs = model.generate(temperature=0, end=None, random_state=1, return_log_probs=True)
    units: FloatArray = model.activations(X)[0][0]["h"]
    params: MutableMapping[str, FloatArray] = model.params_
    params["V"] = np.zeros_like(params["V"])
    model.save("m.npz")
    model = FastRNN.load("m.npz", device="auto").set_params(max_epochs=3)
    curve: list[float] = [*model.loss_curve_, *model.history_.seconds, *(loss for _, loss in model.evaluations_)]
    print(predictions, probabilities, total, losses.mean(), x, loss, gradients["V"].shape, errors, sequences, log_probs)
    print(units.shape, curve, model.n_epochs_ + model.n_updates_ + model.vocab_size_, model.hidden_dim, model.clip_norm)
    model.check_parameters()
    return model


def language_model() -> LanguageModel:
    model = LanguageModel(500, lowercase=False, cell="gru", hidden_dim=20, dropout=0.1, chunk_len=9, checkpoint="c")
    model.fit(texts(), validation_texts=["a b"], callback=lambda lm: lm.model_.n_epochs_ > 3).partial_fit(["a b"])
    written: list[str] = model.generate(2, prompt="the", unknown="token", truecase=True)
    written, log_probs = model.generate(prompt=["the"], return_log_probs=True)
    by_text: list[float] = model.score_samples(["a", "b"]).tolist()
    by_sentence = model.score_samples(["a", "b"], per_sentence=True)
    total: float = model.loss(["a"]) + model.score(["a"]) + model.perplexity(["a"]) + by_sentence[0].sum()
    model.save("lm.npz")
    again = LanguageModel.load("lm.npz", tokenizer=str.split, detokenizer=" ".join)
    print(written, log_probs, by_text, total, again.vocabulary_.tokens_, again.model_.loss_curve_, again.max_epochs)
    return again


def pairs() -> Seq2Seq:
    model = Seq2Seq("gru", 16, reverse_source=False, num_layers=2, clip_norm=None)
    model.fit(X, Y, validation_data=(X, Y)).partial_fit(X, Y)
    ensemble = Ensemble([model, Seq2Seq.load("s.npz")])
    for searcher in (model, ensemble):
        best: list[IntArray] = searcher.predict(X, beam_width=2, length_penalty=0.5)
        for hypothesis in searcher.search(X, beam_width=3, n_best=2, exclude=(0,))[0]:
            best.append(hypothesis.tokens)
            print(hypothesis.log_prob + hypothesis.score)
        bleu: float = searcher.score(X, Y) + searcher.score(X, [[[2, 3], [3]], [[3]]], beam_width=2, max_length=9)
        log_p = searcher.score_samples(X, Y).sum() + searcher.rescore(X, [[[2], [3]], [[3]]])[0].max()
        print(best, bleu, log_p, searcher.loss(X, Y) + searcher.perplexity(X, Y))
    loss, gradients = model.gradients(X, Y)
    print(loss, gradients["decoder.V"], model.params_["encoder.layer0.W"], model.hidden_dim)
    return model


def translator() -> Translator:
    model = Translator(900, 900, language=("english", "french"), tokenizer=(str.split, None), max_epochs=1)
    model.fit(["a"], ["b"], validation_texts=(["a"], ["b"]), callback=lambda t: t.model_.n_epochs_ > 2)
    translations: list[str] = model.translate(["a", ["b", "c"]], beam_width=3, unknown="error")
    scored: list[list[tuple[str, float]]] = model.translate(["a"], n_best=2, ensemble=[model])
    bleu: float = model.score(["a"], ["b"]) + model.score(["a"], [["b", "c"]], beam_width=2, max_length=5)
    log_p = model.score_samples(["a"], ["b"]).sum() + model.rescore(["a"], [["b", "c"]])[0].max()
    model.save("t.npz")
    again = Translator.load("t.npz", tokenizer=(str.split, None))
    print(translations, scored, bleu, log_p, again.loss(["a"], ["b"]) + again.perplexity(["a"], ["b"]))
    print(again.source_vocabulary_.tokens_, again.target_vocabulary_.tokens_, again.changed_params())
    return again


def pictures(model: LanguageModel) -> list[Axes]:
    line: str = plotting.surprisal_line(model, "a b", width=80)
    print(line)
    return [
        *plotting.plot_gates(model, "a b", units=3), plotting.plot_hidden(model, "a b", layer=0),
        plotting.plot_losses([model, model.model_.history_], by="seconds", labels=["a", "b"]),
        plotting.plot_surprisal(model, "a b"),
    ]  # fmt: skip


def main() -> None:
    for step in warmup(["gru"], dtypes=["float32"], matmul_precision="bfloat16", verbose=1):
        print(step.cell, step.dtype, step.task, step.seconds + 1, step.compiled)
    try:
        network()
    except (DeviceError, DivergenceError, NotFittedError) as error:
        print(fastrnn.__version__, error)

"""Names for what the public interface takes and returns, for type checkers; nothing of it is imported at run time."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self as Self
    from typing_extensions import Unpack as Unpack

IntArray: TypeAlias = NDArray[np.int32]
FloatArray: TypeAlias = NDArray[np.floating[Any]]  # of a model's dtype, float32 or float64
Float64Array: TypeAlias = NDArray[np.float64]

# Sequences of indices: lists, arrays, a `Ragged`.
IndexSequence: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
Sequences: TypeAlias = Iterable[IndexSequence]
# A raw text, or a sentence's tokens.
Text: TypeAlias = str | Sequence[str]
Texts: TypeAlias = Iterable[Text]

FilePath: TypeAlias = str | os.PathLike[str]
RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None
Tokenizer: TypeAlias = Callable[[str], list[str]]
Detokenizer: TypeAlias = Callable[[list[str]], str]


class NetworkParameters(TypedDict, total=False):
    """Keywords that the constructors of all estimators with a network take, besides `cell` and `hidden_dim`."""

    bias: bool
    peepholes: bool
    optimizer: str
    learning_rate: float | None
    momentum: float
    batch_size: int
    max_epochs: int
    clip_norm: float | None
    lr_schedule: str
    evaluate_every: int
    num_layers: int
    dropout: float
    embedding_dim: int | None
    tie_weights: bool
    output: str
    n_sampled: int | None
    init: str
    init_scale: float | None
    patience: int
    lr_decay_start: int
    validation_fraction: float | None
    early_stopping: bool | str
    n_iter_no_change: int
    tol: float
    weight_noise: float
    checkpoint: FilePath | None
    checkpoint_minutes: float | None
    warm_start: bool
    dtype: str
    device: str
    matmul_precision: str
    n_threads: int | None
    random_state: RandomState
    verbose: int


class FastRNNParameters(NetworkParameters, total=False):
    """Keywords of `FastRNN` that `LanguageModel` takes, too."""

    cell: str
    hidden_dim: int
    bptt_truncate: int | None
    chunk_len: int | None


class Seq2SeqParameters(NetworkParameters, total=False):
    """Keywords of `Seq2Seq` that `Translator` takes, too."""

    cell: str
    hidden_dim: int
    reverse_source: bool


class SearchOptions(TypedDict, total=False):
    """Keywords of `Seq2Seq.search`, but `beam_width` and `max_length`."""

    n_best: int | None
    min_length: int
    length_penalty: float
    exclude: Sequence[int]


class ScoreOptions(SearchOptions, total=False):
    """Keywords of `score`, which the search gets."""

    max_length: int


class VocabularyParameters(TypedDict, total=False):
    """Keywords of `Vocabulary`, but `tokens`."""

    max_size: int | None
    level: str
    lowercase: bool
    sentence_split: str | None
    verbose: int
    n_jobs: int | None
    language: str
    tokenizer: Tokenizer | None
    detokenizer: Detokenizer | None
    min_count: int
    special_tokens: Sequence[str]
    unknown_word: str | None

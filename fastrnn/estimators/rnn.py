"""`FastRNN`: the estimator over index sequences. It checks what it is given, then delegates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from ..data.ragged import Ragged, check_pair
from ..networks.devices import network_class, resolve
from ..text.special_tokens import END, START
from ..training.tasks import LanguageTask
from ..validation import check_integer
from .fitting import fit, partial_fit
from .generation import generate
from .gradient_check import check_gradients
from .initial_states import initial_states
from .parameters import FAST_RNN, checks
from .trainable import Trainable
from .weight_checks import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..typing import FilePath, Float64Array, FloatArray, IndexSequence, IntArray, RandomState, Self, Sequences

_NAMES = ("x", "y", "validation_data: x", "validation_data: y")


class FastRNN(Trainable):
    """A recurrent language model over sequences of indices.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}
        Gated recurrent unit, LSTM, or the tanh network of the tutorial.
    hidden_dim : int
        Units H of the recurrent layer.
    vocab_size : int, optional
        Number of indices C; by default one more than the largest in the data first fitted.
    bias : bool
        With the biases b and c, or without.
    peepholes : bool
        With peepholes if the cell can have them, which of the three the LSTM can, or without: by them its gates see c.
    bptt_truncate : int, optional
        k of truncated back-propagation through time: the error of output t reaches steps t ... t-k. None:
        all steps.
    optimizer : {"adam", "rmsprop", "sgd"}
    learning_rate : float, optional
        By default 0.005 for "adam", 0.003 for "rmsprop", 0.5 for "sgd". The gradient is summed over the
        tokens and averaged over the batch's sequences. "adam" and "rmsprop" move the rows of U four times as fast.
    momentum : float in [0, 1)
        Of "sgd".
    batch_size : int
        Sequences in a minibatch, of similar lengths.
    max_epochs : int
        Passes over the data, at most; 0 initialises and trains nothing.
    clip_norm : float, optional
        Scale the gradient down to this Euclidean norm when it is larger.
    lr_schedule : {"constant", "halve", "plateau", "half-epochs"}
        "halve" is the tutorial's: every `evaluate_every` epochs the loss on the training data is evaluated,
        and the learning rate halved if it rose. "plateau" halves it when the validation loss (the training loss, if
        nothing is held out) has not improved for `patience` epochs. "half-epochs" is that of Sutskever et al.
        2014: after `lr_decay_start` epochs it is halved every half epoch.
    evaluate_every, patience, lr_decay_start : int
        Epochs, of the schedules "halve", "plateau" and "half-epochs".
    validation_fraction : float in (0, 1), optional
        Share of the sequences that `fit` holds out, drawn by the random state, and measures after every epoch.
        By default 0.05 for early stopping, else none; validation data given to `fit` stand instead of it.
    early_stopping : bool or "auto"
        Stop when the validation loss has not improved for `n_iter_no_change` epochs. The weights of the epoch with
        the lowest validation loss are put back. "auto": if `fit` is given validation data, a validation_fraction is
        asked for, or there are 1,000 sequences at least; fewer are all trained on, for `max_epochs`.
    n_iter_no_change : int
        Epochs without improvement. It should be more than the `patience` of "plateau", whose halving else comes too
        late.
    tol : float
        An improvement is one by more than this, in nats; for early stopping and "plateau".
    weight_noise : float
        Standard deviation of Gaussian noise on all weights, drawn anew for every batch: the gradient is that at
        the noisy weights, the update one of the weights without noise (Graves 2011; Chung et al. 2014 took 0.075).
    checkpoint : path, optional
        File that `fit` keeps up to date with all that it needs to resume if it is stopped: see its `resume`. While
        another run writes it, this one takes ``<checkpoint>.2`` (or 3, ...) instead, with a warning.
    checkpoint_minutes : float, optional
        None: the checkpoint is written after every epoch; a number: also within epochs, as often as that.
    warm_start : bool
        `fit` resumes from the weights, the optimiser and the epochs of the last fit. An optimiser with other parameters
        than the last one's starts anew.
    num_layers : int
        Recurrent layers, each fed by the one below.
    dropout : float in [0, 1)
        Share of what an embedding or a layer hands up, to the next layer or the output, that is set to zero in
        training (Zaremba et al. 2014, arXiv 1409.2329); never from step to step.
    embedding_dim : int, optional
        Numbers E of an embedding of the indices below the first layer. None: an index has a row of U for itself.
    tie_weights : bool
        The embedding is V too (Press & Wolf 2017, arXiv 1608.05859); embedding_dim must be hidden_dim.
    output : {"softmax", "sampled"}
        How the output layer learns. "softmax": on all C words. "sampled": on `n_sampled` of them at each update, which
        its tokens share and from which the sum over all words is estimated without bias; each token's own target
        is exact. Several times as fast where C is some thousands or more. What is learned is the same model: scores,
        probabilities, texts, files, validation losses and `gradients` are exact. On the CPU only.
    n_sampled : int, optional
        Words of a sample of "sampled": a quarter of them the most frequent of the targets, the others drawn anew for
        each update, in proportion to the root of their frequency. By default 9 sqrt(C); from C on, all words.
    chunk_len : int, optional
        For long sequences: train in chunks of so many steps; the state is carried from chunk to chunk, the gradient
        is not, and every chunk is followed by an update. Fewer sequences than batch_size are cut into as many streams.
    init : {"default", "tutorial"}
        Bounds within which initial matrices are uniform: 1/sqrt(inputs); biases and peepholes start at zero. What
        indices name, U or an embedding, starts in ±1/sqrt(C) with "tutorial" and in ±1 with "default", since
        only one of the C inputs is not zero.
    init_scale : float, optional
        Instead of `init`'s bounds: everything is uniform in ± this (Sutskever et al. 2014: 0.08).
    dtype : {"float32", "float64"}
    device : {"cpu", "cuda", "auto"}
        What trains and runs the network: the CPU, an NVIDIA GPU, or that if there is one. A fitted model moves over at
        its next use when it is set anew; ask for `params_` again then.
    matmul_precision : {"float32", "tf32", "bfloat16"}
        The least precision that large products may have, in training, scoring and beam search; a device takes the
        fastest of its own that is no less precise. Their factors are rounded, to 11 significant bits in tf32 (each off
        by 2^-11 = 5e-4 of itself at most) and to 8 in bfloat16 (2^-8 = 4e-3), and summed up in float32. Weights,
        states, gates and updates stay float32; dtype "float64" takes no other than "float32". A CPU multiplies in
        float32, for "bfloat16" in that if it has AVX512_BF16; a GPU, but for "float32", in tf32 if it has compute
        capability 8.0 or more. A device without it falls back to float32 and logs one line. Gradients are typically
        off by 1e-4 to 5e-4 of their norm in tf32, by 1e-3 to 1e-2 in bfloat16. `predict`, `predict_proba` and what is
        drawn are not rounded. Files do not hold it.
    n_threads : int, optional
        By default the cores this process may use: those of its affinity, at most as many as its container's CPU quota
        pays for, and on a Mac the performance cores. Where the system starts fewer, that is logged once.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seeds the initial weights and the order of the batches. Same seed, machine and number of threads:
        same numbers.
    verbose : int
        1 shows a progress bar for each epoch, with the loss and tokens per second.

    Attributes
    ----------
    params_ : mapping of str to array
        "layer0.U" (G*H, C), "layer0.W" (G*H, H), "layer0.b" (G*H,), "layer0.p" (3, H; peepholes), "V" (C, H), "c" (C,):
        views of the weights, which may be written to or assigned. G is 1, 3 (GRU: z, r, g) or 4
        (LSTM: i, f, o, g).
    loss_curve_ : list of float
        Mean cross-entropy per token of every epoch, nats, of each batch before its update. With output="sampled" it is
        estimated: a little too low on average, since ln of an unbiased sum is.
    validation_losses_ : list of float
        Mean cross-entropy per token of the validation data after every epoch, nats.
    evaluations_ : list of (int, float)
        Epochs done and loss on all training data, of the schedule "halve".
    history_ : History
        These and, by epoch, norms of the gradient, learning rates, seconds and tokens.
    n_epochs_, n_updates_ : int
        Epochs and updates done.
    learning_rate_ : float
        The learning rate as the schedule has left it.
    vocab_size_ : int

    Examples
    --------
    >>> model = FastRNN(hidden_dim=8, max_epochs=1, random_state=0)
    >>> model.fit([[0, 2, 3], [0, 3]], [[2, 3, 1], [3, 1]]).predict_proba([[0, 2]])[0].shape
    (2, 4)
    """

    _checks = checks(FAST_RNN)

    def __init__(
        self,
        cell: str = "gru",
        hidden_dim: int = 100,
        vocab_size: int | None = None,
        *,
        bias: bool = True,
        peepholes: bool = True,
        bptt_truncate: int | None = None,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        momentum: float = 0.0,
        batch_size: int = 32,
        max_epochs: int = 5,
        clip_norm: float | None = 5.0,
        lr_schedule: str = "constant",
        evaluate_every: int = 5,
        num_layers: int = 1,
        dropout: float = 0.0,
        embedding_dim: int | None = None,
        tie_weights: bool = False,
        output: str = "softmax",
        n_sampled: int | None = None,
        chunk_len: int | None = None,
        init: str = "default",
        init_scale: float | None = None,
        patience: int = 1,
        lr_decay_start: int = 5,
        validation_fraction: float | None = None,
        early_stopping: bool | str = "auto",
        n_iter_no_change: int = 2,
        tol: float = 0.0001,
        weight_noise: float = 0.0,
        checkpoint: FilePath | None = None,
        checkpoint_minutes: float | None = None,
        warm_start: bool = False,
        dtype: str = "float32",
        device: str = "cpu",
        matmul_precision: str = "float32",
        n_threads: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_dim = hidden_dim
        self.vocab_size = vocab_size
        self.bias = bias
        self.peepholes = peepholes
        self.bptt_truncate = bptt_truncate
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.clip_norm = clip_norm
        self.lr_schedule = lr_schedule
        self.evaluate_every = evaluate_every
        self.num_layers = num_layers
        self.dropout = dropout
        self.embedding_dim = embedding_dim
        self.tie_weights = tie_weights
        self.output = output
        self.n_sampled = n_sampled
        self.chunk_len = chunk_len
        self.init = init
        self.init_scale = init_scale
        self.patience = patience
        self.lr_decay_start = lr_decay_start
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.weight_noise = weight_noise
        self.checkpoint = checkpoint
        self.checkpoint_minutes = checkpoint_minutes
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.matmul_precision = matmul_precision
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        x: Sequences,
        y: Sequences,
        *,
        validation_data: tuple[Sequences, Sequences] | None = None,
        callback: Callable[[Self], object] | None = None,
        resume: FilePath | None = None,
    ) -> Self:
        """Train from initial weights, unless `warm_start` or `resume` say otherwise.

        Ctrl-C ends it early, with a line in the log: the model keeps what it has learned.

        Parameters
        ----------
        x, y : Ragged, or lists of sequences of int
            Inputs and targets: y[i][t] is to be predicted from x[i][: t + 1].
        validation_data : pair (x, y), optional
            Measured after every epoch, for early stopping and the schedule "plateau".
        callback : callable, optional
            Called as ``callback(self)`` after every epoch; training ends if it returns True. Its exceptions end
            `fit` too, and the model keeps what it has learned.
        resume : path, optional
            A checkpoint: training resumes where it was, as if it had never been stopped, and ends with the same weights
            bit for bit on the same machine and number of threads. Data and parameters must be those of then, but
            for max_epochs, device, matmul_precision, n_threads, verbose and what concerns checkpoints. It is written
            on, unless `checkpoint` names another file; ValueError if another run is still writing it.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Input, a parameter or the checkpoint is not usable; nothing has changed then.
        DivergenceError
            Losses or gradients were not finite, again and again though the learning rate was halved each time; the
            last good weights are kept.
        OSError
            The checkpoint cannot be written at the start. Later that is a warning, and tried again.
        """
        return fit(self, x, y, validation_data, callback, resume)

    def partial_fit(self, x: Sequences, y: Sequences) -> Self:
        """Train one epoch more on x and y, from where the model is; like `fit` the first time.

        Nothing is held out of the data, nothing stops early, and no checkpoint is written.
        """
        return partial_fit(self, x, y)

    @overload
    def predict(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: Literal[False] = False
    ) -> list[IntArray]: ...

    @overload
    def predict(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: Literal[True]
    ) -> tuple[list[IntArray], FloatArray]: ...

    def predict(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: bool = False
    ) -> list[IntArray] | tuple[list[IntArray], FloatArray]:
        """Most probable next index at every step.

        Parameters
        ----------
        x : Ragged, or a list of sequences of int
        initial_state : array (num_layers, len(x), S*H), optional
            What each sequence starts from, by default zeros; h first, then c (LSTM, where S is 2).
        return_state : bool
            Return the last states too, from which the sequences can be continued.

        Returns
        -------
        predictions : list of int32 arrays, one a sequence
        state : array (num_layers, len(x), S*H)
            Only with `return_state`.
        """
        x = self._check_inputs(x)
        states = initial_states(self, x, initial_state, return_state)
        self._check_weights(x.values)
        found = list(Ragged(self.network_.predictions(x, self._threads(), states), x.offsets))
        return (found, states) if return_state else found

    @overload
    def predict_proba(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: Literal[False] = False
    ) -> list[FloatArray]: ...

    @overload
    def predict_proba(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: Literal[True]
    ) -> tuple[list[FloatArray], FloatArray]: ...

    def predict_proba(
        self, x: Sequences, *, initial_state: FloatArray | None = None, return_state: bool = False
    ) -> list[FloatArray] | tuple[list[FloatArray], FloatArray]:
        """Probabilities of the next index at every step: a list of (T, C) arrays, one a sequence.

        The states are as in `predict`.
        """
        x = self._check_inputs(x)
        states = initial_states(self, x, initial_state, return_state)
        probabilities = self.network_.probabilities(x, self._threads(), states)
        self._check_result(probabilities[:, 0])  # a row that is not all finite has no finite number
        found = np.split(probabilities, x.offsets[1:-1])
        return (found, states) if return_state else found

    def activations(self, x: Sequences) -> list[list[dict[str, FloatArray]]]:
        """What the layers compute.

        Returns
        -------
        list, one a sequence, of lists, one a layer, of dict of str to array (T, H)
            Hidden units "h", cells "c" (LSTM), and the gates after their nonlinearities: "i", "f", "o", "g" (LSTM),
            "z", "r", "g" (GRU).
        """
        x = self._check_inputs(x)
        found = self.network_.activations(x)
        self._check_result(*(array for sequence in found for layer in sequence for array in layer.values()))
        return found

    def loss(self, x: Sequences, y: Sequences) -> float:
        """Mean cross-entropy per token, nats."""
        return float(self.token_losses(x, y)[0].mean(dtype=np.float64))

    def score(self, x: Sequences, y: Sequences) -> float:
        """Minus the loss: higher is better, as scikit-learn wants it."""
        return -self.loss(x, y)

    def perplexity(self, x: Sequences, y: Sequences) -> float:
        """exp(loss)."""
        return float(np.exp(self.loss(x, y)))

    @overload
    def score_samples(
        self,
        x: Sequences,
        y: Sequences,
        *,
        initial_state: FloatArray | None = None,
        return_state: Literal[False] = False,
    ) -> Float64Array: ...

    @overload
    def score_samples(
        self, x: Sequences, y: Sequences, *, initial_state: FloatArray | None = None, return_state: Literal[True]
    ) -> tuple[Float64Array, FloatArray]: ...

    def score_samples(
        self, x: Sequences, y: Sequences, *, initial_state: FloatArray | None = None, return_state: bool = False
    ) -> Float64Array | tuple[Float64Array, FloatArray]:
        """ln p of every sequence of targets: float64 (B,), nats. The states are as in `predict`."""
        x, y = self._check_pair(x, y)
        states = initial_states(self, x, initial_state, return_state)
        losses = self.network_.token_losses(x, y, self._threads(), states)
        self._check_result(losses)
        found = -np.add.reduceat(losses.astype(np.float64), x.offsets[:-1])
        return (found, states) if return_state else found

    def token_losses(self, x: Sequences, y: Sequences) -> tuple[FloatArray, Ragged]:
        """Cross-entropy of every token, nats: an array over all tokens of x in order, and x as a `Ragged`."""
        x, y = self._check_pair(x, y)
        losses = self.network_.token_losses(x, y, self._threads())
        self._check_result(losses)
        return losses, x

    def gradients(
        self, x: Sequences, y: Sequences, *, initial_state: FloatArray | None = None
    ) -> tuple[float, dict[str, FloatArray]]:
        """Loss, without dropout, and its gradient.

        Returns
        -------
        loss : float
            As `loss`.
        gradients : dict of str to array
            In the names and shapes of `params_`; truncated if `bptt_truncate` says so. With an `initial_state`, as
            in `predict`, its gradient too: "initial_state".
        """
        x, y = self._check_pair(x, y)
        states = initial_states(self, x, initial_state)
        return self.network_.gradients(x, y, self._truncation(), self._threads(), states)

    def check_gradients(
        self, x: Sequences, y: Sequences, n_entries: int = 20, step: float = 0.005, random_state: RandomState = 0
    ) -> dict[str, float]:
        """Compare gradients with finite differences, as the tutorial's `gradient_check`.

        Both use the same weights in float64 and of full back-propagation.

        Parameters
        ----------
        x, y : Ragged, or lists of sequences of int
            A few sequences will do.
        n_entries : int
            Entries tried of every array; of layer0.U, in the columns of words that occur.
        step : float
            Of the difference quotient, which takes four points.
        random_state : int, Generator or RandomState, optional
            Chooses the entries.

        Returns
        -------
        dict of str to float
            The largest relative error of each array: ``|a - n| / (|a| + |n|)``, a the gradient, n the difference
            quotient; 0 where both are below a millionth of the array's largest entry.
        """
        return check_gradients(self, x, y, n_entries, step, random_state)

    @overload
    def generate(
        self, n: int = 1, *, prompt: IndexSequence = ..., temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, min_length: int = 0, max_length: int = 100, end: int | None = END,
        initial_state: FloatArray | None = None,
        exclude: Sequence[int] | None = ..., random_state: RandomState = None, return_log_probs: Literal[False] = False,
    ) -> list[IntArray]: ...  # fmt: skip

    @overload
    def generate(
        self, n: int = 1, *, prompt: IndexSequence = ..., temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, min_length: int = 0, max_length: int = 100, end: int | None = END,
        initial_state: FloatArray | None = None,
        exclude: Sequence[int] | None = ..., random_state: RandomState = None, return_log_probs: Literal[True],
    ) -> tuple[list[IntArray], list[Float64Array]]: ...  # fmt: skip

    def generate(
        self,
        n: int = 1,
        *,
        prompt: IndexSequence = (START,),
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_length: int = 0,
        max_length: int = 100,
        end: int | None = END,
        exclude: Sequence[int] | None = None,
        initial_state: FloatArray | None = None,
        random_state: RandomState = None,
        return_log_probs: bool = False,
    ) -> list[IntArray] | tuple[list[IntArray], list[Float64Array]]:
        """Draw sequences from the model.

        Parameters
        ----------
        n : int
            Number of sequences.
        prompt : sequence of int
            What every sequence starts with; by default SENTENCE_START (0), as `Vocabulary` numbers it.
        temperature : float
            Below 1 prefers the probable, above 1 the improbable; 0 always takes the most probable.
        top_k : int, optional
            Draw from the k most probable indices only.
        top_p : float in (0, 1], optional
            Draw from the fewest indices whose probabilities add up to p.
        min_length, max_length : int
            Tokens to draw at least and at most, `end` included.
        end : int or None
            Index that ends a sequence; by default SENTENCE_END (1).
        exclude : sequence of int, optional
            Indices never to draw; their probability is removed, the rest scaled up. By default
            SENTENCE_START and UNKNOWN_TOKEN as `Vocabulary` numbers them, 0 and C - 1; () excludes nothing.
        initial_state : array (num_layers, 1, S*H), optional
            What the prompt continues from, as `predict` and the like return it; by default zeros.
        random_state : int, Generator or RandomState, optional
        return_log_probs : bool
            Return the log-probabilities too.

        Returns
        -------
        sequences : list of int32 arrays
            The prompt and what follows, `end` included if it was reached.
        log_probs : list of float64 arrays
            ln p under the model of each index drawn, nats; only with `return_log_probs`.
        """
        return generate(
            self, n, prompt=prompt, temperature=temperature, top_k=top_k, top_p=top_p, min_length=min_length,
            max_length=max_length, end=end, exclude=exclude, initial_state=initial_state, random_state=random_state,
            return_log_probs=return_log_probs,
        )  # fmt: skip

    @property
    def vocab_size_(self) -> int:
        """The number of indices C."""
        self._check_fitted("network_")
        return self.network_.vocab_size

    def _truncation(self):
        steps = self._checked.bptt_truncate
        return -1 if steps is None else steps

    def _check_inputs(self, x):
        """x, checked against a fitted model."""
        self._ready_network()
        x = Ragged.from_sequences(x, "x")
        x.check_below(self.vocab_size_, "x")
        return x

    def _check_pair(self, x, y):
        """x and y, checked against a fitted model."""
        self._ready_network()
        x, y = check_pair(x, y)
        x.check_below(self.vocab_size_, "x")
        y.check_below(self.vocab_size_, "y")
        return x, y

    _check_data = staticmethod(check_pair)

    def _make_network(self, size, device=None, **options):
        checked = self._checked
        return network_class(device or resolve(checked.device))(
            checked.cell, size, checked.hidden_dim, checked.bias, checked.dtype, checked.num_layers,
            checked.embedding_dim, checked.tie_weights, peepholes=checked.peepholes, **options,
        )  # fmt: skip

    @staticmethod
    def _stored_size(size):
        check_integer("vocab_size", size, 1)
        return size

    def _check_indices(self, data, size):
        """The number of indices, checked: `size`, or vocab_size, or one more than the largest of the data."""
        asked = self._checked.vocab_size
        if asked and size:
            check_same("vocab_size", asked, size)
        size = int(size or asked or max(ragged.values.max() for ragged in data) + 1)
        for ragged, name in zip(data, _NAMES, strict=False):
            ragged.check_below(size, name)
        return size

    def _task(self, x, y, validation):
        return LanguageTask(
            self.network_, x, y, validation, batch_size=self._checked.batch_size, chunk_len=self._checked.chunk_len,
            truncate=self._truncation(), n_threads=self._threads(), dropout=self._checked.dropout > 0,
            n_sampled=self._n_sampled(self.network_.vocab_size),
        )  # fmt: skip

"""`FastRNN`: the estimator over index sequences. It checks what it is given, then delegates."""

import numbers

import numpy as np

from . import storage
from .base import Estimator, as_generator, check_bool, check_choice, check_integer, check_real
from .cells import CELLS
from .cpu.threads import available_cores
from .decoding import sample
from .network import Network
from .ragged import Ragged, check_pair
from .training import LEARNING_RATES, OPTIMIZERS, SCHEDULES, History, Optimizer, train

DTYPES = ("float32", "float64")


class FastRNN(Estimator):
    """A recurrent language model over sequences of indices.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}
        Gated recurrent unit, LSTM with peepholes, or the tanh network of the tutorial.
    hidden_dim : int
        Units H of the recurrent layer.
    vocab_size : int, optional
        Number of indices C; by default one more than the largest in the data first fitted.
    bias : bool
        With the biases b and c, or without.
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
        Passes over the data; 0 initialises and trains nothing.
    clip_norm : float, optional
        Scale the gradient down to this Euclidean norm when it is larger.
    lr_schedule : {"constant", "halve"}
        "halve" is the tutorial's: every `evaluate_every` epochs the loss on the training data is evaluated,
        and the learning rate halved if it rose.
    evaluate_every : int
        Epochs between these evaluations.
    dtype : {"float32", "float64"}
    n_threads : int, optional
        By default the cores this process may use.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seeds the initial weights and the order of the batches. Same seed, machine and number of threads:
        same numbers.
    verbose : int
        1 shows a progress bar for each epoch, with the loss and tokens a second.

    Attributes
    ----------
    params_ : mapping of str to array
        "layer0.U" (G*H, C), "layer0.W" (G*H, H), "layer0.b" (G*H,), "layer0.p" (3, H; LSTM), "V" (C, H),
        "c" (C,): views of the weights, which may be written to or assigned. G is 1, 3 (GRU: z, r, g) or 4
        (LSTM: i, f, o, g).
    loss_curve_ : list of float
        Mean cross-entropy a token of every epoch, nats, of each batch before its update.
    evaluations_ : list of (int, float)
        Epochs done and loss on all training data, of the schedule "halve".
    n_epochs_ : int
        Epochs done.
    learning_rate_ : float
        The learning rate as the schedule has left it.
    vocab_size_ : int

    Examples
    --------
    >>> model = FastRNN(hidden_dim=8, max_epochs=1, random_state=0)
    >>> model.fit([[0, 2, 3], [0, 3]], [[2, 3, 1], [3, 1]]).predict_proba([[0, 2]])[0].shape
    (2, 4)
    """

    def __init__(
        self,
        cell="gru",
        hidden_dim=100,
        vocab_size=None,
        *,
        bias=True,
        bptt_truncate=None,
        optimizer="adam",
        learning_rate=None,
        momentum=0.0,
        batch_size=32,
        max_epochs=5,
        clip_norm=5.0,
        lr_schedule="constant",
        evaluate_every=5,
        dtype="float32",
        n_threads=None,
        random_state=None,
        verbose=0,
    ):
        self.cell = cell
        self.hidden_dim = hidden_dim
        self.vocab_size = vocab_size
        self.bias = bias
        self.bptt_truncate = bptt_truncate
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.clip_norm = clip_norm
        self.lr_schedule = lr_schedule
        self.evaluate_every = evaluate_every
        self.dtype = dtype
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, x, y):
        """Train from fresh weights.

        Parameters
        ----------
        x, y : Ragged, or lists of sequences of int
            Inputs and targets: y[i][t] is to be predicted from x[i][: t + 1].

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Input or a parameter is not usable; nothing has changed then.
        DivergenceError
            A loss was not finite; the last finite weights are kept.
        """
        self.check_parameters()
        x, y = check_pair(x, y)
        size = self.vocab_size or int(max(x.values.max(), y.values.max())) + 1
        x.check_below(size, "x")
        y.check_below(size, "y")
        self._initialise(size)
        self._train(x, y, self.max_epochs)
        return self

    def partial_fit(self, x, y):
        """Train one epoch more on x and y, from where the model is; like `fit` the first time."""
        self.check_parameters()
        x, y = check_pair(x, y)
        size = self._size() or self.vocab_size or int(max(x.values.max(), y.values.max())) + 1
        x.check_below(size, "x")
        y.check_below(size, "y")
        if not hasattr(self, "network_"):
            self._initialise(size)
        self._train(x, y, 1)
        return self

    def predict(self, x):
        """Most probable next index at every step: a list of int32 arrays, one a sequence."""
        x = self._inputs(x)
        return list(Ragged(self.network_.predictions(x, self._threads()), x.offsets))

    def predict_proba(self, x):
        """Probabilities of the next index at every step: a list of (T, C) arrays, one a sequence."""
        x = self._inputs(x)
        return np.split(self.network_.probabilities(x, self._threads()), x.offsets[1:-1])

    def loss(self, x, y):
        """Mean cross-entropy a token, nats."""
        return float(self.token_losses(x, y)[0].mean(dtype=np.float64))

    def score(self, x, y):
        """Minus the loss: higher is better, as scikit-learn wants it."""
        return -self.loss(x, y)

    def perplexity(self, x, y):
        """exp(loss)."""
        return float(np.exp(self.loss(x, y)))

    def score_samples(self, x, y):
        """ln p of every sequence of targets: float64 (B,), nats."""
        losses, x = self.token_losses(x, y)
        return -np.add.reduceat(losses.astype(np.float64), x.offsets[:-1])

    def token_losses(self, x, y):
        """Cross-entropy of every token, nats: an array over all tokens of x in order, and x as a `Ragged`."""
        x, y = self._inputs(x, y)
        return self.network_.token_losses(x, y, self._threads()), x

    def activations(self, x):
        """What the units of every layer do, at every step.

        Parameters
        ----------
        x : Ragged, or a list of sequences of int

        Returns
        -------
        list of list of dict of str to array
            For each sequence, for each layer: arrays of shape (T, H) after each step, "h", "c" (LSTM), and the
            gates after their nonlinearities: "i", "f", "o", "g" (LSTM) or "z", "r", "g" (GRU).
        """
        x = self._inputs(x)
        return self.network_.activations(x, self._threads())

    def gradients(self, x, y):
        """Loss and its gradient.

        Returns
        -------
        loss : float
            As `loss`.
        gradients : dict of str to array
            In the names and shapes of `params_`; truncated if `bptt_truncate` says so.
        """
        x, y = self._inputs(x, y)
        return self.network_.gradients(x, y, self._truncation(), self._threads())

    def check_gradients(self, x, y, n_entries=20, step=5e-3, random_state=0):
        """Compare gradients with finite differences, as the tutorial's `gradient_check`.

        Both are of the same weights in float64 and of full back-propagation.

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
            The largest relative error of each array: |a - n| / (|a| + |n|), a the gradient, n the difference
            quotient; 0 where both are below a millionth of the array's largest entry.
        """
        x, y = self._inputs(x, y)
        check_integer("n_entries", n_entries, 1)
        check_real("step", step, 0)
        rng = as_generator(random_state)
        own = self.network_
        twin = Network(own.cell_class.NAME, own.vocab_size, own.hidden_dim, own.bias, "float64")
        for name, array in self.params_.items():
            twin.params[name] = array
        threads = self._threads()
        _, gradients = twin.gradients(x, y, -1, threads)
        errors = {}
        for name, array in twin.params.items():
            errors[name], largest = 0.0, abs(gradients[name]).max()
            entries = np.arange(array.size)
            if name == "layer0.U":  # the rows of other words have no part in the loss
                entries = entries.reshape(array.shape)[:, np.unique(x.values)].ravel()
            for flat in rng.choice(entries, min(n_entries, len(entries)), replace=False):
                index, quotient = np.unravel_index(flat, array.shape), 0.0
                value = array[index]
                for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
                    array[index] = value + steps * step
                    quotient += weight * twin.token_losses(x, y, threads).mean() / (12 * step)
                array[index] = value
                pair = abs(gradients[name][index]) + abs(quotient)
                if pair > 2e-6 * largest:
                    errors[name] = max(errors[name], float(abs(gradients[name][index] - quotient) / pair))
        return errors

    def generate(
        self,
        n=1,
        *,
        prompt=(0,),
        temperature=1.0,
        top_k=None,
        top_p=None,
        min_length=0,
        max_length=100,
        end=1,
        exclude=None,
        random_state=None,
        return_log_probs=False,
    ):
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
        self._check_fitted("network_")
        C = self.vocab_size_
        check_integer("n", n, 1)
        check_real("temperature", temperature, 0, low_open=False)
        check_integer("top_k", top_k, 1, none=True)
        check_real("top_p", top_p, 0, 1, high_open=False, none=True)
        check_integer("min_length", min_length, 0)
        check_integer("max_length", max_length, max(1, min_length))
        check_integer("end", end, 0, none=True)
        prompt = Ragged.from_sequences([prompt], "prompt")
        prompt.check_below(C, "prompt")
        exclude = self._excluded(exclude)
        if len({*exclude, *(() if end is None or min_length < 2 else (end,))} & set(range(C))) >= C:
            raise ValueError("exclude: no index is left that could be drawn")
        drawn, log_probs = sample(
            self.network_, prompt.values, n, end=end, min_length=min_length, max_length=max_length,
            exclude=np.array(exclude, np.int64), temperature=temperature, top_k=top_k, top_p=top_p,
            rng=as_generator(random_state), n_threads=self._threads(),
        )  # fmt: skip
        sequences = [np.concatenate([prompt.values, tokens]) for tokens in drawn]
        return (sequences, log_probs) if return_log_probs else sequences

    def _excluded(self, exclude):
        """The indices that `generate` must not draw, checked."""
        C = self.vocab_size_
        if exclude is None:
            return sorted({0, C - 1})
        if isinstance(exclude, numbers.Number):
            raise TypeError(f"exclude: found {exclude!r}, expected a list such as [{exclude!r}]")
        exclude = list(exclude)
        if exclude:
            Ragged.from_sequences([exclude], "exclude").check_below(C, "exclude")
        return exclude

    @property
    def params_(self):
        self._check_fitted("network_")
        return self.network_.params

    @property
    def vocab_size_(self):
        self._check_fitted("network_")
        return self.network_.vocab_size

    @property
    def loss_curve_(self):
        self._check_fitted("history_")
        return self.history_.losses

    @property
    def evaluations_(self):
        self._check_fitted("history_")
        return self.history_.evaluations

    @property
    def n_epochs_(self):
        return len(self.loss_curve_)

    @property
    def learning_rate_(self):
        self._check_fitted("optimizer_")
        return self.optimizer_.learning_rate

    def save(self, path):
        """Write the model to one .npz file, aside first, then renamed. The optimiser's moments are not in it."""
        storage.write(path, {"kind": "FastRNN"} | self._header(), self._arrays())

    @classmethod
    def load(cls, path):
        """Read a model that `save` wrote; ValueError if the file is damaged or foreign."""
        header, arrays = storage.read(path, "FastRNN")
        return cls._from_file(path, header, arrays)

    def _header(self):
        """What a file holds besides arrays."""
        self._check_fitted("network_")
        network = self.network_  # set_params may have asked for another one since
        parameters = self.get_params() | {
            "cell": network.cell_class.NAME, "hidden_dim": network.hidden_dim, "bias": network.bias,
            "dtype": network.dtype.name,
        }  # fmt: skip
        parameters = {n: v.item() if isinstance(v, np.generic) else v for n, v in parameters.items()}
        if not isinstance(parameters["random_state"], (int, type(None))):
            parameters["random_state"] = None
        return {
            "parameters": parameters,
            "vocab_size": self.vocab_size_,
            "losses": self.history_.losses,
            "evaluations": self.history_.evaluations,
            "learning_rate": self.learning_rate_,
        }

    def _arrays(self):
        return {f"params/{name}": array for name, array in self.params_.items()}

    @classmethod
    def _from_file(cls, path, header, arrays):
        try:
            model = cls(**header["parameters"])
            model.check_parameters()
            model._initialise(header["vocab_size"])
            names = {f"params/{name}" for name in model.params_}
            found = {name for name in arrays if name.startswith("params/")}
            if names != found:
                raise ValueError(f"found parameters {sorted(found)}, expected {sorted(names)}")
            for name in names:
                model.params_[name.removeprefix("params/")] = arrays[name]
            model.history_.losses = [float(loss) for loss in header["losses"]]
            model.history_.evaluations = [(int(n), float(loss)) for n, loss in header["evaluations"]]
            model.optimizer_.learning_rate = float(header["learning_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: damaged: {error}") from None
        return model

    def _size(self):
        return self.network_.vocab_size if hasattr(self, "network_") else None

    def _threads(self):
        check_integer("n_threads", self.n_threads, 1, none=True)
        return self.n_threads or available_cores()

    def _truncation(self):
        return -1 if self.bptt_truncate is None else self.bptt_truncate

    def _inputs(self, x, y=None):
        """x, or x and y, checked against a fitted model."""
        self._check_fitted("network_")
        if y is None:
            x = Ragged.from_sequences(x, "x")
            x.check_below(self.vocab_size_, "x")
            return x
        x, y = check_pair(x, y)
        x.check_below(self.vocab_size_, "x")
        y.check_below(self.vocab_size_, "y")
        return x, y

    def _initialise(self, vocab_size):
        self.rng_ = as_generator(self.random_state)
        self.network_ = Network(self.cell, vocab_size, self.hidden_dim, bool(self.bias), self.dtype)
        self.network_.initialise(self.rng_)
        rate = self.learning_rate or LEARNING_RATES[self.optimizer]
        self.optimizer_ = Optimizer(self.optimizer, rate, self.momentum, self.clip_norm, self.network_)
        self.history_ = History()

    def _train(self, x, y, epochs):
        train(
            self.network_, self.optimizer_, self.history_, x, y, epochs=epochs, batch_size=self.batch_size,
            truncate=self._truncation(), schedule=self.lr_schedule, evaluate_every=self.evaluate_every,
            rng=self.rng_, n_threads=self._threads(), verbose=self.verbose,
        )  # fmt: skip

    def check_parameters(self):
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        check_choice("cell", self.cell, tuple(CELLS))
        check_integer("hidden_dim", self.hidden_dim, 1)
        check_integer("vocab_size", self.vocab_size, 1, none=True)
        check_bool("bias", self.bias)
        check_integer("bptt_truncate", self.bptt_truncate, 0, none=True)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_real("learning_rate", self.learning_rate, 0, none=True)
        check_real("momentum", self.momentum, 0, 1, low_open=False)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("max_epochs", self.max_epochs, 0)
        check_real("clip_norm", self.clip_norm, 0, none=True)
        check_choice("lr_schedule", self.lr_schedule, SCHEDULES)
        check_integer("evaluate_every", self.evaluate_every, 1)
        try:
            name = self.dtype if self.dtype is None else np.dtype(self.dtype).name  # NumPy takes None for float64
        except TypeError:
            name = self.dtype
        check_choice("dtype", name, DTYPES)
        self._threads()
        if not isinstance(self.verbose, (bool, int)):
            raise TypeError(f"verbose: found {self.verbose!r}, expected an int")

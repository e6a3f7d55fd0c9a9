"""What the estimators share that train a network: parameters of the training, and what it leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import storage
from ..base import Estimator
from ..kernels.cores import available_cores
from ..networks.devices import network_to_device, product_precision, resolve
from ..training.history import History
from ..training.optimizer import Optimizer
from ..training.tasks import sample_size
from ..validation import as_generator, check_path
from .model_file import OF_MACHINE, arrays_of, header_of, read_model
from .weight_checks import check_results, refuse_weights

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import numpy as np

    from ..typing import FilePath, FloatArray, Self


class Trainable(Estimator):
    """An estimator with `network_`, `optimizer_`, `history_` and `rng_`, trained by `Training`."""

    history_: History
    optimizer_: Any
    network_: Any
    rng_: np.random.Generator

    def check_parameters(self) -> None:
        """Raise TypeError or ValueError unless the constructor's parameters are possible."""
        super().check_parameters()
        checked = self._checked
        if checked.tie_weights and checked.embedding_dim != checked.hidden_dim:
            raise ValueError(
                f"tie_weights: found embedding_dim {checked.embedding_dim} and hidden_dim {checked.hidden_dim},"
                " expected them to be equal"
            )
        if checked.init_scale is not None and checked.init != "default":
            raise ValueError(f"init_scale: found {checked.init_scale!r}, expected None with init={checked.init!r}")
        if checked.output != "softmax" and resolve(checked.device) == "cuda":
            raise ValueError(
                f"output: found {checked.output!r} with device={checked.device!r}, expected 'softmax' there: a GPU does"
                " not learn on samples yet"
            )
        product_precision(checked.matmul_precision, checked.dtype, resolve(checked.device))

    def _ready_network(self):
        """The network, moved to the device that the parameters name, with products as precise as they ask for."""
        self._check_fitted("network_")
        device = resolve(self.device)
        if self.network_.device != device:
            self.network_ = network_to_device(self.network_, device)
        precision = product_precision(self.matmul_precision, self.network_.dtype.name, device)
        for network in self.network_.networks:
            network.matmul_precision = precision
        return self.network_

    @property
    def loss_curve_(self) -> list[float]:
        """Mean cross-entropy per token of every epoch, nats."""
        self._check_fitted("history_")
        return self.history_.losses

    @property
    def validation_losses_(self) -> list[float]:
        """Mean cross-entropy per token of the validation data after every epoch, nats."""
        self._check_fitted("history_")
        return self.history_.validation_losses

    @property
    def evaluations_(self) -> list[tuple[int, float]]:
        """Epochs done and loss on all training data, of the schedule "halve"."""
        self._check_fitted("history_")
        return self.history_.evaluations

    @property
    def n_epochs_(self) -> int:
        """Epochs done."""
        return len(self.loss_curve_)

    @property
    def n_updates_(self) -> int:
        """Updates done."""
        self._check_fitted("optimizer_")
        return self.optimizer_.total_updates

    @property
    def learning_rate_(self) -> float:
        """The learning rate as the schedule has left it."""
        self._check_fitted("optimizer_")
        return self.optimizer_.learning_rate

    @property
    def params_(self) -> MutableMapping[str, FloatArray]:
        """Views of the weights by name, which may be written to."""
        return self._ready_network().params

    def save(self, path: FilePath) -> None:
        """Write the model to one .npz file, which replaces what was there once it is whole. Moments are not in it.

        Raises
        ------
        ValueError
            `load` would refuse it: a parameter that was set since is not possible, or weights are NaN or infinite.
        OSError
            It cannot be written.
        """
        path = check_path("path", path)
        storage.write(path, {"kind": type(self).__name__} | header_of(self), arrays_of(self))

    @classmethod
    def load(cls, path: FilePath, *, device: str = "cpu") -> Self:
        """Read a model that `save` wrote, on whatever device; ValueError if the file is damaged or foreign."""
        path = check_path("path", path)
        with storage.opened(path, cls.__name__) as (header, arrays):
            return read_model(cls, path, header, arrays, device)

    def _check_result(self, *arrays):
        """ValueError, which names the parameters that are not finite, unless what was computed with them is."""
        check_results([self], *arrays)

    def _check_weights(self, words):
        """The same before a result that does not show it: of weights that these words (an array of int) use."""
        if not self.network_.reads_finite(words):
            refuse_weights([self])

    def _size(self):
        """Number of indices that the network was made for, None before."""
        return self.network_.vocab_size if hasattr(self, "network_") else None

    def _threads(self):
        n_threads = self._checked.n_threads
        return 1 if resolve(self.device) == "cuda" else n_threads or available_cores()

    def _initialise(self, size):
        """Draw initial weights; a new optimiser and history."""
        rng = as_generator(self.random_state)
        try:
            network = self._make_network(size)
        except (MemoryError, OverflowError, ValueError) as error:
            checked = self._checked
            raise ValueError(
                f"hidden_dim: found {checked.hidden_dim}, with {checked.num_layers} layers and a vocabulary of {size},"
                f" expected a network that memory can hold ({error})"
            ) from None
        self.rng_, self.network_ = rng, network
        self._ready_network().initialise(self.rng_, self._checked.init, self._checked.init_scale)
        self.optimizer_ = self._new_optimizer()
        self.history_, self._split_seed = History(), None

    def _new_optimizer(self):
        checked = self._checked
        seed = int(self.rng_.integers(1 << 32)) if checked.dropout or checked.output == "sampled" else 0
        return Optimizer(
            checked.optimizer, checked.learning_rate, checked.momentum, checked.clip_norm, self.network_.networks,
            checked.dropout, seed,
        )  # fmt: skip

    def _plain_parameters(self):
        """The constructor's parameters, normalised, as JSON can hold them; of a random_state, only a number.

        What is of this machine is none of them: a file is read on another one.
        """
        names = [name for name in self._parameter_defaults() if name not in OF_MACHINE]
        plain = {name: getattr(self._checked, name) for name in names}
        if not isinstance(plain["random_state"], int):
            plain["random_state"] = None
        return plain

    def _n_sampled(self, vocab_size):
        """Words on a sample of which the output layer learns, None for all."""
        return sample_size(self._checked.output, self._checked.n_sampled, vocab_size)

    def _is_warm(self, resume):
        return self._checked.warm_start and resume is None and hasattr(self, "network_")

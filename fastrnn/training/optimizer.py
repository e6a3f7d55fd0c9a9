"""The state of an optimiser; its rules are kernels, see `kernels/cpu/optimizers.py`."""

import numpy as np

from ..kernels.cpu.optimizers import ADAM, MOMENTUM, RMSPROP, SGD, Hyperparameters

OPTIMIZERS = ("sgd", "rmsprop", "adam")
LEARNING_RATES = {"sgd": 0.5, "rmsprop": 0.003, "adam": 0.005}
RHO, BETA1, BETA2 = 0.9, 0.9, 0.999
EPSILON = 1e-8
# Factor of the learning rate on U, measured at 100 units. A one-hot input has one active row of U; an H-dimensional
# embedding would move the gate through H weights, hence, where steps do not scale with the gradient, about sqrt(H) / 2.
U_RATE = {"sgd": 1.0, "rmsprop": 4.0, "adam": 4.0}


class Optimizer:
    """State of an optimiser: its rule, constants and moments.

    Parameters
    ----------
    name : {"sgd", "rmsprop", "adam"}
    learning_rate : float or None
        None: the rule's own of `LEARNING_RATES`.
    momentum : float
        Of "sgd" only.
    clip_norm : float or None
        Largest Euclidean norm of the gradient.
    networks : list of Network
        Whose parameters it will update; the moments lie like these.
    dropout : float
        Share of what layers hand up that is dropped in training.
    seed : int
        Of dropout's masks.

    Attributes
    ----------
    updates : int
        Since the moments were last zero: Adam's corrections count them.
    earlier : int
        Updates before that.
    networks : int
        How many they are.
    moments : list of pairs of pairs of arrays
        For every network its moments, first and second: of the dense parameters, and of U.
    parameters : tuple
        Those that it was made with.
    """

    def __init__(self, name, learning_rate, momentum, clip_norm, networks, dropout=0.0, seed=0):
        self.parameters, self.seed = (name, learning_rate, momentum, clip_norm, dropout), seed
        self.rule = {"sgd": MOMENTUM if momentum else SGD, "rmsprop": RMSPROP, "adam": ADAM}[name]
        rate = learning_rate or LEARNING_RATES[name]
        rate_U = 1.0 if networks[0].embedding_dim else U_RATE[name]
        values = (rate, momentum, RHO, BETA1, BETA2, EPSILON, clip_norm or 0.0, rate_U, dropout)
        self.hyper = Hyperparameters(*map(float, values))
        self.updates = self.earlier = 0

        def zero_moments(rule, array):
            first = array.size if rule in (MOMENTUM, ADAM) else 0
            second = array.size if rule in (RMSPROP, ADAM) else 0
            return np.zeros(first, array.dtype), np.zeros(second, array.dtype)

        rule_U = RMSPROP if self.rule == ADAM else self.rule
        self._device_copy, self._read_only, self.networks = None, False, len(networks)
        self._moments = [
            (zero_moments(self.rule, n.model.dense), zero_moments(rule_U, n.U[: 0 if n.tie_weights else len(n.U)]))
            for n in networks
        ]

    def __setstate__(self, state):
        vars(self).update(state)
        self.hyper, self._device_copy = Hyperparameters(*map(float, self.hyper)), None
        self._read_only = True  # for all that is known: see `moments`

    @property
    def moments(self):
        if self._device_copy is not None:
            self._device_copy.host()
        if self._read_only:  # another process may have mapped a file into memory; only training needs the moments
            self._moments = [
                tuple(tuple(np.require(np.asarray(a), requirements="W") for a in moments) for moments in side)
                for side in self._moments
            ]
            self._read_only = False
        return self._moments

    def on_device(self, device_copy_class):
        """The moments, in the order of `arrays`, on a device that will write to them."""
        if self._device_copy is None:
            self._device_copy = device_copy_class(self.arrays())
        return self._device_copy.device(write=True)

    @property
    def learning_rate(self):
        return self.hyper.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.hyper = self.hyper._replace(learning_rate=float(value))

    @property
    def total_updates(self):
        return self.earlier + self.updates

    def arrays(self):
        """All moments, not copied: what a checkpoint keeps besides `learning_rate`, `updates` and `earlier`."""
        return [array for side in self.moments for moments in side for array in moments]

    def reset(self):
        """Forget the moments, as if no update had been."""
        for array in self.arrays():
            array[:] = 0
        self.earlier, self.updates = self.total_updates, 0

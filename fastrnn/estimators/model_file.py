"""What files of fitted models hold, and models from files: header, arrays, vocabularies."""

from .. import storage
from ..networks.devices import resolve
from ..networks.network import unallocated
from ..text.custom_tokenizer import check_functions
from ..text.vocabulary import Vocabulary
from ..training.history import History
from ..validation import check_real, errors_named
from .weight_checks import refuse_weights

# Parameters of the machine, which no file holds.
OF_MACHINE = ("device", "matmul_precision")


def header_of(model):
    """What a file holds besides arrays; TypeError or ValueError for parameters that `load` would not take."""
    model._check_fitted("network_")
    stored = type(model)(**model.get_params() | model.network_.constructor_params()).set_params(
        **{name: default for name, default in model._parameter_defaults().items() if name in OF_MACHINE}
    )
    stored.check_parameters()
    facts = {"vocab_size": model._size(), "learning_rate": model.learning_rate_}
    header = {"parameters": stored._plain_parameters()} | facts | model.history_.to_header()
    _check_stored(header)
    return header


def arrays_of(model):
    """The parameters as a file holds them, checked as `load` does."""
    model._check_fitted("network_")
    if model.network_.not_finite():
        refuse_weights([model])
    return {f"params/{name}": array for name, array in model.network_.arrays().items()}


def read_model(cls, path, header, arrays, device):
    """A `cls` from an open file; memory is reserved once the file is known to have arrays of that size."""
    resolve(device)
    with storage.damage_named(path):
        _check_stored(header)
        model = cls(**storage.NOT_IN_OLDER_FILES | header["parameters"]).set_params(device=device)
        model.check_parameters()
        model.set_params(**model._plain_parameters())  # as they are saved: a float is none that was an int
        size = cls._stored_size(header["vocab_size"])
        if model.num_layers > len(arrays):
            raise ValueError(f"found {len(arrays)} arrays for {model.num_layers} layers")
        sketch = model._make_network(size, "cpu", zeros=unallocated)
        arrays.check("params/", {name: array.shape for name, array in sketch.arrays().items()}, sketch.dtype)
        model._initialise(size)
        for name in model.params_:
            model.params_[name] = arrays.checked(f"params/{name}")
        model.history_ = History.from_header(header)
        model.optimizer_.learning_rate = header["learning_rate"]
    return model


def read_vocabulary(path, arrays, prefix, tokenizer=None, detokenizer=None):
    """The `Vocabulary` whose arrays an open file has under a prefix, with the functions that it was made with."""
    functions = {"tokenizer": tokenizer, "detokenizer": detokenizer}
    with storage.damage_named(path):
        stored = arrays.under(prefix)
    with errors_named(path):
        check_functions(stored.get("config"), functions)
    with storage.damage_named(path, "{}"):
        return Vocabulary.from_arrays(stored, **functions)


def _check_stored(header):
    """ValueError, TypeError or KeyError unless what a model file's header holds is possible."""
    for name, value in header["parameters"].items():
        if not isinstance(value, (str, int, float, type(None))):
            raise ValueError(f"{name}: found a {type(value).__name__}, expected a number or a text")
    check_real("learning_rate", header["learning_rate"], 0, low_open=False)
    History.from_header(header)

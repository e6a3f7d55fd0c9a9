"""Options that stand for constructors' parameters, made from their descriptions in `estimators/parameters.py`.

Defaults and choices are read from the classes when help is asked for: that imports Numba.
"""

import argparse
import inspect

from ..estimators.parameters import LANGUAGE_MODEL, TRANSLATOR, check_early_stopping
from ..text.given_tokens import check_special_tokens, check_tokens, check_word
from ..validation import check_bool, check_integer, check_one_or_pair, check_random_state, check_real, choices_of


def number_or_none(text):
    """A number; None, which is no clipping, for 0 and none."""
    return None if text.lower() == "none" else float(text) or None


def one_or_pair(text):
    """A name, or a pair of them with a comma between."""
    return tuple(text.split(",")) if "," in text else text


# Options that are not called as their parameter is. --no-... switch off what is on by default.
_NAMES = {
    "num_layers": "--layers", "output": "--output-layer", "peepholes": "--no-peepholes", "bias": "--no-bias",
    "max_epochs": "--epochs", "n_threads": "--threads", "random_state": "--seed", "lowercase": "--no-lowercase",
    "reverse_source": "--no-reverse", "tokens": "--vocabulary", "special_tokens": "--special-token",
}  # fmt: skip

# What argparse makes of an option: of one parameter, or of all that have a check; "NAME" of all others.
_OF_PARAMETER = {"clip_norm": {"type": number_or_none, "metavar": "X"}}
_OF_CHECK = {
    check_integer: {"type": int, "metavar": "N"},
    check_random_state: {"type": int, "metavar": "N"},
    check_real: {"type": float, "metavar": "X"},
    check_early_stopping: {"action": argparse.BooleanOptionalAction},
    check_one_or_pair: {"type": one_or_pair, "metavar": "NAME"},
    check_tokens: {"metavar": "FILE"},
    check_special_tokens: {"action": "append", "metavar": "WORD"},
    check_word: {"metavar": "WORD"},
}


def option_of(name):
    """The option of a parameter."""
    return _NAMES.get(name, f"--{name.replace('_', '-')}")


def add_parameters(parser, parameters, names=None):
    """Add the options of a table of parameters, or of some of them, under the headings of their groups."""
    groups = {}
    for name, (check, text, title) in parameters.items():
        if text is None or (names is not None and name not in names):
            continue
        if title not in groups:
            groups[title] = parser if names is not None else parser.add_argument_group(title)
        # Not as an argument: BooleanOptionalAction would write the default behind it.
        groups[title].add_argument(option_of(name), dest=name, **_action(name, check)).help = text


def _action(name, check):
    function = getattr(check, "func", check)  # of a partial
    if function is check_bool:
        return {"action": "store_false" if option_of(name).startswith("--no-") else "store_true"}
    return _OF_PARAMETER.get(name) or _OF_CHECK.get(function) or {"metavar": "NAME"}


def language_model_defaults():
    """{name: (default, choices)} of the parameters of a `LanguageModel`."""
    from ..estimators.language_model import LanguageModel

    return _parameter_defaults(LanguageModel())


def translator_defaults():
    """{name: (default, choices)} of the parameters of a `Translator`."""
    from ..estimators.translator import Translator

    return _parameter_defaults(Translator())


def generation_defaults():
    """{name: (default, no choices)} of the arguments of `LanguageModel.generate`."""
    from ..estimators.language_model import LanguageModel

    return _argument_defaults(LanguageModel.generate, ("n", "exclude"))


def translation_defaults():
    """{name: (default, no choices)} of the arguments of `Translator.translate`."""
    from ..estimators.translator import Translator

    return _argument_defaults(Translator.translate, ("unknown", "ensemble"))


def _parameter_defaults(estimator):
    return {name: (value, choices_of(estimator._checks[name])) for name, value in estimator.get_params().items()}


def _argument_defaults(method, own):
    """Defaults of a method's arguments, but for those that have others here."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: (None if p.default in (None, "") else p.default, ()) for p in parameters if p.name not in own}


def given(args, names):
    """The arguments of these names that were given: {name: value}."""
    return {name: value for name, value in vars(args).items() if name in names}


def given_parameters(args):
    """The parameters that were given: {name: value}."""
    return given(args, LANGUAGE_MODEL.keys() | TRANSLATOR.keys())

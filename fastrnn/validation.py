"""Checks of what users pass: each returns the value as Python's own type, or raises an error that names the argument.

Constructor parameters are checked by tables of these functions, `{name: function(name, value)}`, see `base.Estimator`.
"""

import math
import numbers
import operator
import os
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial

import numpy as np

LARGEST_INT = 2**31 - 1  # beyond it no parameter makes sense; a product of two is still an int64
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_LONGEST = 80  # characters of a value in an error


def shown(value):
    """A value as an error shows it: its repr, shortened; of what has none, its type."""
    try:
        text = repr(value)
    except Exception:  # an int of thousands of digits, or a faulty __repr__
        return f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def check_integer(name, value, lowest, highest=LARGEST_INT, *, none=False):
    """Return an int of `lowest` to `highest` (or None, if allowed); NumPy's ints and 0-d arrays are taken too."""
    if none and value is None:
        return None
    expected = f"expected an int >= {lowest}{' or None' if none else ''}"
    value = _scalar(value)
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: found {shown(value)}, {expected}") from None
    if number < lowest:
        raise ValueError(f"{name}: found {shown(number)}, {expected}")
    if highest is not None and number > highest:
        raise ValueError(f"{name}: found {shown(number)}, {expected} and <= {highest}")
    return number


def check_real(name, value, low, high=math.inf, *, low_open=True, high_open=True, none=False):
    """Return a float in the interval (or None, if allowed); ints, fractions, decimals and NumPy's numbers are taken."""
    if none and value is None:
        return None
    interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
    expected = f"expected a number in {interval}{' or None' if none else ''}"
    value = _scalar(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, Decimal)):
        raise TypeError(f"{name}: found {shown(value)}, {expected}")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an int beyond all floats; a signalling NaN
        number = math.nan
    inside = (low < number or (not low_open and number == low)) and (
        number < high or (not high_open and number == high)
    )
    if not inside:
        raise ValueError(f"{name}: found {shown(value)}, {expected}")
    return number


def check_choice(name, value, choices, *, none=False):
    """Return one of the strings `choices`, or of those that it returns (or None, if allowed)."""
    if none and value is None:
        return None
    choices = choices() if callable(choices) else choices
    if not isinstance(value, str) or value not in choices:
        expected = f"{', '.join(map(repr, choices))}{' or None' if none else ''}"
        raise ValueError(f"{name}: found {shown(value)}, expected one of {expected}")
    return str(value)


def check_bool(name, value):
    """Return True or False; ints are no bools."""
    value = _scalar(value)
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: found {shown(value)}, expected True or False")
    return bool(value)


def check_verbose(name, value):
    """Return an int >= 0; True is 1."""
    value = _scalar(value)
    return int(value) if isinstance(value, (bool, np.bool_)) else check_integer(name, value, 0)


def check_str(name, value):
    """Return a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: found {shown(value)}, expected a str")
    return str(value)


def check_dtype(name, value, choices):
    """Return the name of a dtype, one of `choices`, however it is given: "float32", np.float32, np.dtype("float32")."""
    try:
        found = np.dtype(value).name if isinstance(value, (str, type, np.dtype)) else value
    except (TypeError, ValueError):
        found = value
    return check_choice(name, found if isinstance(found, str) else value, choices)


def check_encoding(name, value):
    """Return the name of an encoding that Python knows."""
    try:
        b"a".decode(check_str(name, value))
    except UnicodeDecodeError:
        pass
    except (LookupError, ValueError):
        raise ValueError(f"{name}: found {shown(value)}, expected one that Python knows") from None
    return value


def check_path(name, value, *, none=False):
    """Return a path as a str (or None, if allowed)."""
    if none and value is None:
        return None
    expected = f"expected a path{' or None' if none else ''}"
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(path, str):
        raise TypeError(f"{name}: found {shown(value)}, {expected}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{name}: found {shown(value)}, {expected} that can be encoded") from None
    if not path or "\0" in path:
        raise ValueError(f"{name}: found {shown(value)}, {expected} that is not empty and has no NUL")
    return path


def check_random_state(name, value):
    """Return None, an int >= 0, or the numpy Generator or RandomState that `value` is."""
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return value
    try:
        return check_integer(name, value, 0, None, none=True)
    except TypeError:
        raise TypeError(
            f"{name}: found {shown(value)}, expected an int >= 0, a numpy Generator or RandomState, or None"
        ) from None


def check_callable(name, value):
    """Return a function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: found {shown(value)}, expected a function or None")
    return value


def check_list(name, value, of):
    """Return a list of what an iterable yields; a str, bytes or table is none. `of` says of what it should be."""
    check_no_table(name, value, of)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        advice = f"[{shown(value)}]" if isinstance(value, (str, numbers.Number)) else "[...]"
        raise TypeError(f"{name}: found {shown(value)}, expected a list of {of} such as {advice}")
    try:
        return list(value)
    except TypeError:  # a 0-d array says that it is iterable
        raise TypeError(f"{name}: found {shown(value)}, expected a list of {of}") from None


def check_no_table(name, value, of):
    """TypeError for a mapping or a table with named columns: what they yield are the names, not what they hold."""
    if isinstance(value, Mapping) or hasattr(type(value), "columns"):
        names = value if isinstance(value, Mapping) else value.columns
        key = shown(next(iter(names), "name"))
        raise TypeError(f"{name}: found a {type(value).__name__}, expected a list of {of}, such as one column: [{key}]")


def check_array(name, value):
    """Return an array of real numbers; not a copy unless it must be."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise TypeError(f"{name}: found {shown(value)}, expected an array of numbers") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: found dtype {array.dtype}, expected numbers")
    return array


def as_generator(random_state):
    """A numpy Generator from None, an int seed, a Generator (itself) or a RandomState."""
    random_state = check_random_state("random_state", random_state)
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(random_state)


@contextmanager
def errors_named(name):
    """A context whose TypeError and ValueError get the name of an argument before their text."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None


# Rows of the tables of constructor parameters


def integer(lowest, none=False):
    """A check of an int >= lowest."""
    return partial(check_integer, lowest=lowest, none=none)


def real(low, high=math.inf, **interval):
    """A check of a number in an interval."""
    return partial(check_real, low=low, high=high, **interval)


def choice(choices, none=False):
    """A check of one of some strings; `choices` may be a function that returns them, called when they are needed."""
    return partial(check_choice, choices=choices, none=none)


def choices_of(check):
    """The strings of which a check takes one, () if it is another check."""
    arguments = getattr(check, "keywords", {})
    if "check" in arguments:  # of one or a pair
        return choices_of(arguments["check"])
    choices = arguments.get("choices", ())
    return choices() if callable(choices) else choices


def one_or_pair(check):
    """A check of what another one takes, or of a pair, a tuple or list, of such."""
    return partial(check_one_or_pair, check=check)


def check_one_or_pair(name, value, check):
    """Return what the check returns of the value, or a tuple of two of them for a pair, a tuple or list."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return tuple(check(name, side) for side in value)
    return check(name, value)


def _scalar(value):
    """What a 0-d array holds, as a NumPy scalar; everything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value

"""Checks and exact conversions of the values of a column: texts, names of tasks, and labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._validation import is_name, is_unicode, short

# Exact types, because subclasses may have another equality or hash: members of an Enum, and numpy's
# timedelta64, which is a subclass of its ints.
_STRINGS = (str, np.str_)
_INTS = tuple({int, *(np.dtype(code).type for code in np.typecodes["AllInteger"])})
_FLOATS = (float, np.float16, np.float32, np.float64)
_BOOLS = (bool, np.bool_)
_LABELS = frozenset({*_STRINGS, *_INTS, *_FLOATS, *_BOOLS})

# Last sentence of messages about missing labels, which pandas may have made of such class names.
KEEP_NA = (
    'If a class is called "None", "NA" or "null", read the file with '
    "pandas.read_csv(..., keep_default_na=False)."
)


def first_bad(values: np.ndarray, is_bad: Callable[[Any], bool]) -> int | None:
    """Return the position of the first bad value, or None if there is none."""
    if not any(map(is_bad, distinct_values(values))):
        return None
    return next(i for i, value in enumerate(values) if is_bad(value))


def distinct_values(values: np.ndarray) -> list[Any]:
    """Return each distinct value of each type once, or all values if a type is not one of labels.

    Checks of columns with few distinct labels are then several times faster.
    """
    kinds = dict.fromkeys(map(type, values))
    if not kinds.keys() <= _LABELS:
        return list(values)
    if len(kinds) == 1:
        return list(dict.fromkeys(values))
    # 1, 1.0 and True are equal, so the types are separated.
    own = ((value for value in values if type(value) is kind) for kind in kinds)
    return [value for part in own for value in dict.fromkeys(part)]


def is_missing(value: Any) -> bool:
    """Check whether a value is None, NaN, NA, NaT or masked."""
    if value is None or value is pd.NA or value is pd.NaT or value is np.ma.masked:
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def column_values(values: Any, name: str = "y") -> NDArray[np.object_]:
    """Convert values to a one-dimensional object array without changing their types.

    numpy scalars stay numpy scalars, so predicted labels have the type of the training labels.
    """
    array = _sequence(values, name)
    if isinstance(array, np.ndarray) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if isinstance(array, np.ndarray) and array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got an array of shape {array.shape}.")
    # Assigning the whole array at once would convert numpy scalars to Python scalars.
    return np.fromiter(array, dtype=object, count=len(array))


def _sequence(values, name) -> np.ndarray | list:
    """Return values as an array, if they already are one in another library, or as a list."""
    is_column = hasattr(values, "__len__") or hasattr(values, "__array__")
    if isinstance(values, str | bytes | Set | Mapping) or not is_column:
        raise _column_error(values, name)
    if isinstance(values, pd.Categorical | pd.CategoricalIndex):
        values = pd.Series(values)
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        # Only dtype object can hold labels of any type together with missing values.
        values = values.astype(object if values.hasnans else values.cat.categories.dtype)
    if isinstance(values, np.ma.MaskedArray):
        return values
    try:
        # numpy would convert a list of several types to a single type.
        return np.asarray(values) if hasattr(values, "__array__") else list(values)
    except Exception as reason:
        raise _column_error(values, name) from reason


def _column_error(values, name) -> TypeError:
    is_wide = isinstance(values, Mapping) and name == "y"
    advice = " For labels with one column per task, pass a DataFrame: pandas.DataFrame(y)."
    hint = advice if is_wide else ""
    return TypeError(f"{name} must be a list, an array or a Series, got {short(values)}.{hint}")


# --------------------------------------------------------------------------------------------
# Names of tasks


def is_task_name(task: Any) -> bool:
    """Check whether a value is a valid name of a task: a string, but no member of an Enum."""
    return isinstance(task, str) and not isinstance(task, Enum) and is_name(str.__str__(task))


def task_error(task: Any, place: str) -> ValueError | TypeError:
    """Return the error for an invalid name of a task, which begins with its place."""
    is_string = isinstance(task, str) and not isinstance(task, Enum)
    if isinstance(task, str) and not is_string:
        rest = f"plain string, got {short(task)} ({type(task).__name__})"
    elif is_string and str.__str__(task) != "":
        rest = f"string of valid Unicode without NUL characters, got {short(task)}"
    else:
        rest = f"non-empty string, got {short(task)}"
    kind = ValueError if is_string or is_missing(task) else TypeError
    return kind(f"{place}: the name of a task must be a {rest}.")


def plain_strings(strings: np.ndarray) -> NDArray[np.object_]:
    """Return strings with the exact type str."""
    result = np.empty(len(strings), dtype=object)
    # `str(string)` would drop NUL characters at the end of a numpy string.
    result[:] = [string if type(string) is str else str.__str__(string) for string in strings]
    return result


# --------------------------------------------------------------------------------------------
# Labels


def is_label(label: Any) -> bool:
    """Check whether a value is a valid label.

    Labels are strings, bools, ints of at most 64 bits and floats, of Python or numpy.
    """
    kind = type(label)
    if kind in _STRINGS:
        return is_unicode(label)
    if kind in _FLOATS:
        return bool(label == label)
    if kind is int:
        return -(2**63) <= label < 2**64
    return kind in _LABELS


def label_error(label: Any, place: str, advice: str = "") -> ValueError | TypeError:
    """Return the error for an invalid label, which begins with its place.

    The sentence `advice` says what to do about a missing label.
    """
    if is_missing(label):
        return ValueError(f"{place}: the label is missing ({short(label)}). {advice}{KEEP_NA}")
    if type(label) is int:
        return ValueError(
            f"{place}: the label {short(label)} does not fit in 64 bits. Convert the labels of the "
            "task to strings."
        )
    if type(label) in _STRINGS:
        return ValueError(
            f"{place}: the label is not valid Unicode, because it contains half of a surrogate "
            f"pair ({short(label)}). Correct the label."
        )
    return TypeError(
        f"{place}: a label must be a string, a bool or a number, got {short(label)} "
        f"({type(label).__name__}). Convert the labels of the task to plain strings, bools, ints "
        "or floats."
    )


def parameter_labels(values: Collection[Any], owner: str) -> NDArray[np.object_]:
    """Return the labels of a parameter as an array, and check them.

    Parameters
    ----------
    values : array-like
        The labels.
    owner : str
        Name of the parameter for messages.
    """
    labels = column_values(list(values) if isinstance(values, Set) else values, owner)
    bad = first_bad(labels, lambda label: not is_label(label))
    if bad is not None:
        raise label_error(labels[bad], f"{owner}, position {bad}")
    return labels


def exact_array(labels: Iterable[Any], distinct: list[Any]) -> np.ndarray | None:
    """Convert distinct labels to an array, or return None if no dtype can hold all of them.

    Parameters
    ----------
    labels : iterable
        Valid labels of one kind: strings, bools or numbers. Their types determine the dtype.
    distinct : list
        The same labels without repetitions, as Python objects.

    Returns
    -------
    array : ndarray or None
        Its elements equal `distinct`. It has dtype object if all labels are plain strings.
    """
    kinds = {type(label) for label in labels}
    if kinds == {str} or any(isinstance(x, str) and x.endswith("\0") for x in distinct):
        # A numpy string cannot end with a NUL character.
        result = np.empty(len(distinct), dtype=object)
        result[:] = distinct
        return result
    dtype = np.result_type(*(np.dtype(kind) for kind in kinds))
    if kinds <= set(_INTS):
        of_ints = _dtype_of_ints(dtype, min(distinct), max(distinct))
        return None if of_ints is None else np.array(distinct, dtype=of_ints)
    # The width of a numpy string comes from its values.
    array = np.array(distinct, dtype=None if dtype.kind == "U" else dtype)
    return array if array.tolist() == distinct else None


def _dtype_of_ints(dtype: np.dtype, low: int, high: int) -> np.dtype | None:
    """Return `dtype`, int64 or uint64: the first one that holds both ints, or None."""
    options = [dtype] if dtype.kind in "iu" else []  # numpy combines int64 and uint64 to float64
    for option in [*options, np.dtype(np.int64), np.dtype(np.uint64)]:
        if np.iinfo(option).min <= low and high <= np.iinfo(option).max:
            return option
    return None


def plain_label(label: Any) -> Any:
    """Return a label as an object of Python that equals it exactly."""
    if isinstance(label, str):
        return str.__str__(label)  # `item` would drop NUL characters at the end
    return label.item() if isinstance(label, np.generic) else label

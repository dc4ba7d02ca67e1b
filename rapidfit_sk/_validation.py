"""Constraints on parameters, and the errors and warnings that users see."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from types import FrameType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np


class InvalidParameterError(ValueError, TypeError):
    """Error for a parameter with an invalid value.

    It is both a ValueError and a TypeError, as in scikit-learn, because a constraint covers the
    type and the range of a value.
    """


@dataclass(frozen=True)
class Constraint:
    """Allowed values of a parameter, as a phrase for messages and a function that checks values."""

    phrase: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: Constraint) -> Constraint:
        phrase = f"{self.phrase} or {other.phrase}"
        return Constraint(phrase, lambda value: self.accepts(value) or other.accepts(value))


# Upper limit of ints that have no smaller one. Products of two such ints fit in 64 bits.
LARGEST_INT = 2**31 - 1

_INTS = (int, np.integer)
_NUMBERS = (int, float, np.integer, np.floating)


def _is_number(value, kinds) -> bool:
    # A bool is an int in Python, but `epochs=True` is certainly a mistake. numpy's timedelta64 is a
    # subclass of its ints.
    return isinstance(value, kinds) and not isinstance(value, bool | np.bool_ | np.timedelta64)


def integer(at_least: int, at_most: int | None = None) -> Constraint:
    """Allow an int from `at_least` to `at_most`. If `at_most` is None, there is no upper limit."""
    high = "inf)" if at_most is None else f"{at_most}]"

    def accepts(value):
        if not _is_number(value, _INTS):
            return False
        return value >= at_least and (at_most is None or value <= at_most)

    return Constraint(f"an int in the range [{at_least}, {high}", accepts)


def real(low: float, high: float = float("inf"), closed: str = "both") -> Constraint:
    """Allow a number from `low` to `high`, including the ends that `closed` names."""
    left = closed in ("left", "both")
    right = closed in ("right", "both") and high != float("inf")

    def accepts(value):
        if not _is_number(value, _NUMBERS) or not _fits_float(value):
            return False
        above = value >= low if left else value > low
        return above and (value <= high if right else value < high)

    brackets = "[" if left else "(", "]" if right else ")"
    span = f"{brackets[0]}{float(low)}, {float(high)}{brackets[1]}"
    return Constraint(f"a float in the range {span}", accepts)


def _fits_float(value) -> bool:
    """Check whether a number is in the range of a float, which very large ints are not."""
    try:
        float(value)
    except OverflowError:
        return False
    return True


def boolean() -> Constraint:
    """Allow True and False, as Python or numpy bools."""
    return Constraint("a bool", lambda value: isinstance(value, bool | np.bool_))


def text() -> Constraint:
    """Allow a non-empty string of valid Unicode without NUL characters."""
    return Constraint("a non-empty str", is_name)


def path() -> Constraint:
    """Allow a non-empty string, or a path-like object that stands for one."""

    def accepts(value):
        return is_name(fspath(value)) if isinstance(value, PathLike) else is_name(value)

    return Constraint("a non-empty str or an instance of PathLike", accepts)


def one_of(*options: str) -> Constraint:
    """Allow one of these strings."""
    names = ", ".join(repr(option) for option in options)
    return Constraint(
        f"a str among {{{names}}}",
        lambda value: isinstance(value, str) and value in options,
    )


def instance_of(*kinds: type) -> Constraint:
    """Allow an instance of one of `kinds`."""
    names = " or ".join(kind.__name__ for kind in kinds)
    return Constraint(f"an instance of {names}", lambda value: isinstance(value, kinds))


def of_type(name: str) -> Constraint:
    """Allow an instance of the class of this full name, which need not be imported yet."""
    phrase = f"an instance of {name.rpartition('.')[2]}"
    return Constraint(
        phrase, lambda value: f"{type(value).__module__}.{type(value).__qualname__}" == name
    )


def array_like() -> Constraint:
    """Allow an iterable object with a length, except strings, bytes and dicts."""
    return Constraint(
        "an array-like",
        lambda value: (
            hasattr(value, "__len__")
            and hasattr(value, "__iter__")
            and not isinstance(value, str | bytes | dict)
        ),
    )


def mapping_to(inner: Constraint) -> Constraint:
    """Allow a dict whose values satisfy the constraint `inner`."""
    return Constraint(
        f"a dict of {{task name: {inner.phrase}}}",
        lambda value: (
            isinstance(value, dict) and all(inner.accepts(item) for item in value.values())
        ),
    )


# Last sentence of messages about a missing task or class, which is often due to cross-validation.
IN_FOLDS = (
    "In cross-validation, use rapidfit_sk.model_selection.TaskStratifiedKFold, which gives each "
    "fold rows of every task and class."
)

none = Constraint("None", lambda value: value is None)


def check_parameters(owner, constraints: dict[str, Constraint]) -> None:
    """Check the attributes of `owner` against `constraints`.

    Raises
    ------
    InvalidParameterError
        For the first parameter with an invalid value. The message has scikit-learn's wording.
    """
    for name, constraint in constraints.items():
        value = getattr(owner, name)
        if not constraint.accepts(value):
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(owner).__name__} must be "
                f"{constraint.phrase}. Got {short(value)} instead."
            )


def check_argument(name: str, value: Any, constraint: Constraint) -> None:
    """Check an argument of a method against a constraint.

    Raises
    ------
    InvalidParameterError
        If the value is invalid. The message has the wording of :func:`check_parameters`.
    """
    if not constraint.accepts(value):
        raise InvalidParameterError(
            f"The {name!r} parameter must be {constraint.phrase}. Got {short(value)} instead."
        )


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the line in the user's code."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    # Decorators of other libraries may be between this package and the user's code.
    inside = (f"{__package__}.", "sklearn.callback.", "contextlib")
    while frame is not None and frame.f_globals.get("__name__", "").startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextlib.contextmanager
def errors_in(place: str) -> Iterator[None]:
    """Context in which the messages of ValueError and TypeError begin with a place."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{place}: {error}") from error


def is_name(value: Any) -> bool:
    """Check whether a value is a non-empty string of valid Unicode without NUL characters.

    numpy and C libraries drop NUL characters at the end of a string, so names with one could clash.
    """
    return isinstance(value, str) and value != "" and "\0" not in value and is_unicode(value)


def is_unicode(string: str) -> bool:
    """Check whether a string is valid Unicode, without half of a surrogate pair."""
    if string.isascii():
        return True
    try:
        string.encode()
    except UnicodeEncodeError:
        return False
    return True


# Maximum number of characters of a value, and of values in a list, in a message.
_MAX_CHARACTERS, _MAX_LISTED = 60, 10


def short(value: Any) -> str:
    """Return a value as text on one line for a message, cut to 60 characters.

    It never fails: the repr of a value may raise an error, for example for an int with more than
    4,300 digits.
    """
    if isinstance(value, str):
        # A slice avoids the repr of a text with millions of characters.
        value = str.__str__(value)[: _MAX_CHARACTERS + 1]
    if _is_number(value, np.number) or isinstance(value, np.bool_):
        value = value.item()  # 3 instead of np.int64(3)
    try:
        shown = " ".join(line.strip() for line in repr(value).splitlines())
    except Exception:
        shown = f"<an object of type {type(value).__name__} without a repr>"
        if isinstance(value, int):
            shown = f"<an int of {value.bit_length()} bits>"
    return shown if len(shown) <= _MAX_CHARACTERS else f"{shown[: _MAX_CHARACTERS - 3]}..."


def listed(values: Iterable[Any]) -> str:
    """Return values for a message, separated by commas: the first ten and the number of others."""
    values = list(values)
    more = len(values) - _MAX_LISTED
    names = ", ".join(short(value) for value in values[:_MAX_LISTED])
    return f"{names} and {more} more" if more > 0 else names


def suggestion(name: Any, known: Iterable[Any]) -> str:
    """Return " Did you mean 'x'?" if a known name is similar, or an empty string otherwise."""
    # The time of the comparison grows with the square of the length.
    options = [option for option in known if isinstance(option, str) and len(option) <= 100]
    if not isinstance(name, str) or len(name) > 100:
        return ""
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_task(task: Any, known: Iterable[str]) -> str:
    """Return the message for a task that was not seen in fit."""
    known = list(known)
    return (
        f"Task {short(task)} was not seen in fit.{suggestion(task, known)} "
        f"The tasks are: {listed(known)}."
    )


def check_task(task: object, known: Collection[str]) -> None:
    """Raise TypeError or ValueError if `task` is not the name of a known task."""
    if not isinstance(task, str):
        raise TypeError(f"The name of a task must be a string, got {short(task)}.")
    if task not in known:
        raise ValueError(unknown_task(task, known))


def check_names(
    owner: str,
    given: Iterable[str],
    known: Iterable[str],
    *,
    error: type[Exception] = ValueError,
    hint: Callable[[str], str] = lambda name: "",
) -> None:
    """Raise an error for the first unknown name.

    Parameters
    ----------
    owner : str
        Name of the class that has the parameters.
    given, known : iterable of str
        The names to check, and all names that exist.
    error : type, default=ValueError
        The type of the error.
    hint : callable
        Returns advice for an unknown name, or an empty string. If it is empty, the message
        suggests the closest known name.
    """
    known = list(known)
    for name in given:
        if name in known:
            continue
        advice = hint(name)
        if not advice:
            advice = f"{suggestion(name, known)} Its parameters are: {', '.join(known)}."
        raise error(f"{owner} has no parameter {short(name)}.{advice}")


class HasParameters(Protocol):
    """An object that can tell where a parameter belongs that it does not have."""

    @classmethod
    def _home_of(cls, name: str, value: Any) -> str:
        """Return a sentence that names the group of a parameter, or an empty string."""


_Self = TypeVar("_Self", bound=HasParameters)
_Parameters = ParamSpec("_Parameters")


def suggests_names(
    init: Callable[Concatenate[_Self, _Parameters], None],
) -> Callable[Concatenate[_Self, _Parameters], None]:
    """Decorate `__init__` to suggest the group or the closest name for an unknown keyword.

    The signature does not change, because scikit-learn and editors read it.
    """
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self: _Self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        kind = type(self)
        check_names(
            kind.__name__,
            kwargs,
            known,
            error=TypeError,
            hint=lambda name: kind._home_of(name, kwargs[name]),
        )
        init(self, *args, **kwargs)

    return checked

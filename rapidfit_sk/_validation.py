"""Parameter constraints and the one sentence that says which of them was broken."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from types import FrameType
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np


class InvalidParameterError(ValueError, TypeError):
    """A parameter has a value outside what it allows.

    Both a ValueError and a TypeError, as scikit-learn's own exception is, because one check
    looks at type and range together.
    """


@dataclass(frozen=True)
class Constraint:
    """What a parameter may be: a phrase for the message and a test for the value."""

    phrase: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: Constraint) -> Constraint:
        phrase = f"{self.phrase} or {other.phrase}"
        return Constraint(phrase, lambda value: self.accepts(value) or other.accepts(value))


def _is_number(value, kind) -> bool:
    # A bool is an int to Python, but `epochs=True` is always a slip.
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def integer(at_least: int, at_most: int | None = None) -> Constraint:
    """Accept an int of `at_least` or more, and `at_most` or less."""
    high = "inf)" if at_most is None else f"{at_most}]"

    def accepts(value):
        if not _is_number(value, Integral):
            return False
        return value >= at_least and (at_most is None or value <= at_most)

    return Constraint(f"an int in the range [{at_least}, {high}", accepts)


def real(low: float, high: float = float("inf"), closed: str = "both") -> Constraint:
    """Accept a number from `low` to `high`; `closed` says which ends belong to the range."""
    left = closed in ("left", "both")
    right = closed in ("right", "both") and high != float("inf")

    def accepts(value):
        if not _is_number(value, Real):
            return False
        above = value >= low if left else value > low
        return above and (value <= high if right else value < high)

    brackets = "[" if left else "(", "]" if right else ")"
    span = f"{brackets[0]}{float(low)}, {float(high)}{brackets[1]}"
    return Constraint(f"a float in the range {span}", accepts)


def boolean() -> Constraint:
    """Accept True and False, Python's or numpy's."""
    return Constraint("a bool", lambda value: isinstance(value, bool | np.bool_))


def text() -> Constraint:
    """Accept a string that is not empty."""
    return Constraint("a non-empty str", lambda value: isinstance(value, str) and value != "")


def one_of(*options: str) -> Constraint:
    """Accept one of a few strings."""
    names = ", ".join(repr(option) for option in options)
    return Constraint(
        f"a str among {{{names}}}",
        lambda value: isinstance(value, str) and value in options,
    )


def instance_of(*kinds: type) -> Constraint:
    """Accept an instance of one of `kinds`."""
    names = " or ".join(kind.__name__ for kind in kinds)
    return Constraint(f"an instance of {names}", lambda value: isinstance(value, kinds))


def array_like() -> Constraint:
    """Accept a list, an array, a column or an index: what has a length and is no string or dict."""
    return Constraint(
        "an array-like",
        lambda value: (
            hasattr(value, "__len__")
            and hasattr(value, "__iter__")
            and not isinstance(value, str | bytes | dict)
        ),
    )


def mapping_to(inner: Constraint) -> Constraint:
    """Accept a dict from names to values that each meet `inner`."""
    return Constraint(
        f"a dict of {{task name: {inner.phrase}}}",
        lambda value: (
            isinstance(value, dict) and all(inner.accepts(item) for item in value.values())
        ),
    )


# Ends a message about a task or a class that is not there: most often a fold went without it.
IN_FOLDS = (
    "In cross-validation, rapidfit_sk.model_selection.TaskStratifiedKFold gives each fold rows of "
    "every task and class."
)

none = Constraint("None", lambda value: value is None)


def check_parameters(owner, constraints: dict[str, Constraint]) -> None:
    """Compare the attributes of `owner` with `constraints`.

    Raises
    ------
    InvalidParameterError
        For the first parameter that breaks its constraint, in scikit-learn's words.
    """
    for name, constraint in constraints.items():
        value = getattr(owner, name)
        if not constraint.accepts(value):
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(owner).__name__} must be "
                f"{constraint.phrase}. Got {value!r} instead."
            )


def warn_user(message: str) -> None:
    """Warn, and point at the line outside of this package that led here."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    # Between this package and its caller may stand the decorator of scikit-learn's callbacks.
    inside = (f"{__package__}.", "sklearn.callback.")
    while frame is not None and frame.f_globals.get("__name__", "").startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" where a known name is close, else the empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_task(task, known: Iterable[str]) -> str:
    """Return the sentence that says that a task was not seen in fit."""
    known = list(known)
    names = ", ".join(repr(name) for name in known)
    return f"Task {task!r} was not seen in fit.{suggestion(task, known)} The tasks are: {names}."


def check_names(owner: str, given: Iterable[str], known: Iterable[str], error=ValueError) -> None:
    """Refuse the first name of `given` that is not `known`, and suggest the nearest."""
    known = list(known)
    for name in given:
        if name not in known:
            raise error(
                f"{owner} has no parameter {name!r}.{suggestion(name, known)} "
                f"Its parameters are: {', '.join(known)}."
            )


_Self = TypeVar("_Self")
_Parameters = ParamSpec("_Parameters")


def suggests_names(
    init: Callable[Concatenate[_Self, _Parameters], None],
) -> Callable[Concatenate[_Self, _Parameters], None]:
    """Decorate `__init__` so that an unknown keyword names the nearest known one.

    The signature that scikit-learn and editors read stays that of the wrapped function.
    """
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self: _Self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        check_names(type(self).__name__, kwargs, known, error=TypeError)
        init(self, *args, **kwargs)

    return checked

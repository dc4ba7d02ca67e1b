"""Reading and checks of sample weights."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import short
from .values import column_values, first_bad, is_missing

# Range of weights above 0. Sums and ratios of such weights are far from the limits of float32.
SMALLEST, LARGEST = 1e-9, 1e9

_NUMBERS = (float, int, np.floating, np.integer, np.bool_, Real, Decimal)
# Types that numpy converts to float64 exactly and without an error.
_FLOATS = {float, np.float16, np.float32, np.float64, bool, np.bool_}


def read_weights(sample_weight: Any, n_rows: int) -> NDArray[np.float64]:
    """Return the weights of rows as floats.

    Raises
    ------
    ValueError, TypeError
        If there is not one weight per row, or if a weight is not a number in the allowed range.
        The message states its row.
    """
    values = _one_per_row(sample_weight, n_rows)
    weights = _as_floats(values)
    is_good = (weights == 0) | ((weights >= SMALLEST) & (weights <= LARGEST))
    if not is_good.all():
        bad = int(np.argmin(is_good))
        is_masked = values[bad] is np.ma.masked
        found = "a masked value" if is_masked else short(values[bad])
        raise ValueError(
            f"sample_weight, row {bad}: a weight must be finite and non-negative, and either 0 or "
            f"in the range [{SMALLEST:g}, {LARGEST:g}], got {found}. Only the ratios of weights "
            "matter, so scale all of them."
        )
    return weights


def _one_per_row(sample_weight, n_rows) -> np.ndarray:
    """Return the weights as an array of objects, or raise ValueError if its shape is wrong."""
    shape: Any = () if _is_number(sample_weight) else getattr(sample_weight, "shape", None)
    values = None
    if not isinstance(shape, tuple):
        values = column_values(sample_weight, "sample_weight")
        shape = _shape(values)
    if shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows of X, got an array "
            f"of shape {shape}."
        )
    return column_values(sample_weight, "sample_weight") if values is None else values


def _shape(values: np.ndarray) -> tuple[int, ...]:
    """Return the shape of an array of objects, which may be lists of one length."""
    if not any(isinstance(value, list | tuple | np.ndarray) for value in values):
        return values.shape
    try:
        return np.shape(list(values))
    except ValueError:  # lists of several lengths, or nested too deeply
        return values.shape


def _as_floats(values) -> NDArray[np.float64]:
    """Return weights as floats, or raise TypeError for the first one that is not a number."""
    if set(map(type, values)) <= _FLOATS:
        return values.astype(np.float64)
    bad = first_bad(values, lambda weight: not _is_number(weight) and not is_missing(weight))
    if bad is not None:
        raise TypeError(
            f"sample_weight must be numeric, got {short(values[bad])} "
            f"({type(values[bad]).__name__}) in row {bad}."
        )
    return np.fromiter(map(_as_float, values), np.float64, len(values))


def _is_number(value) -> bool:
    # numpy's timedelta64 is a subclass of its ints.
    return isinstance(value, _NUMBERS) and not isinstance(value, np.timedelta64)


def _as_float(weight) -> float:
    """Return a weight as a float, or NaN for a missing weight or one out of the range of floats."""
    if is_missing(weight):
        return np.nan
    try:
        result = float(weight)
    except (OverflowError, ValueError):  # a large int or fraction, or a signaling NaN
        return np.nan
    return np.nan if result == 0 and weight else result  # 0 would drop the row

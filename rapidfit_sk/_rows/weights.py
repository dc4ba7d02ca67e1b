"""Reading and checks of sample weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import short
from .values import column_values, first_bad, is_missing

# Range of weights above 0. Sums and ratios of such weights are far from the limits of float32.
SMALLEST, LARGEST = 1e-9, 1e9

_NUMBERS = (float, int, np.floating, np.integer, np.bool_)


def read_weights(sample_weight: Any, n_rows: int) -> NDArray[np.float64]:
    """Return the weights of rows as floats.

    Raises
    ------
    ValueError, TypeError
        If there is not one weight per row, or if a weight is not a number in the allowed range.
        The message states its row.
    """
    shape = _shape(sample_weight)
    if shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows of X, got an array "
            f"of shape {shape}."
        )
    values = column_values(sample_weight, "sample_weight")
    bad = first_bad(values, lambda weight: not _is_number(weight) and not is_missing(weight))
    if bad is not None:
        raise TypeError(
            f"sample_weight must be numeric, got {short(values[bad])} "
            f"({type(values[bad]).__name__}) in row {bad}."
        )
    bad = first_bad(values, lambda weight: not _is_in_range(weight))
    if bad is not None:
        raise ValueError(
            f"sample_weight, row {bad}: a weight must be finite and non-negative, and either 0 or "
            f"in the range [{SMALLEST:g}, {LARGEST:g}], got {short(values[bad])}. Only the ratios "
            "of weights matter, so scale all of them."
        )
    return values.astype(np.float64)


def _shape(values) -> tuple[int, ...]:
    """Return the shape of a number, an array, or another object that can be a column."""
    if _is_number(values):
        return ()
    shape = getattr(values, "shape", None)
    return shape if isinstance(shape, tuple) else column_values(values, "sample_weight").shape


def _is_number(value) -> bool:
    # numpy's timedelta64 is a subclass of its ints.
    return isinstance(value, _NUMBERS) and not isinstance(value, np.timedelta64)


def _is_in_range(weight) -> bool:
    if not _is_number(weight):
        return False  # missing
    # A Python int may be too large for a float, and a numpy float too short for the limits.
    plain = weight if isinstance(weight, int) else float(weight)
    return plain == 0 or SMALLEST <= plain <= LARGEST

"""A column of X that names the part of each row: training, validation or test rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._validation import errors_in, listed, short, suggestion, warn_user
from .labels import CodedRows, encode_table
from .tables import Columns, LabeledTable, check_tasks_have_weight, column_positions
from .values import column_values, distinct_values, first_bad

# The part that each value of a split column names, in the names of `Split`.
_PARTS = {
    "train": "train",
    "validation": "val",
    "val": "val",
    "valid": "val",
    "dev": "val",
    "test": "test",
}
_ALLOWED = "'train', 'validation' (also 'val', 'valid' or 'dev') or 'test'"
# The name that most public data sets give to this column.
_USUAL_NAME = "split"


class GivenPart(NamedTuple):
    """Validation or test rows that a column of X names, and their positions in X."""

    rows: CodedRows
    positions: NDArray[np.int64]


def part_of_each_row(X: Any, column: str) -> NDArray[np.object_]:
    """Return the part of each row of X, "train", "val" or "test", from a column of X.

    Parameters
    ----------
    X : DataFrame or other object
        The input of a fit, in pandas if it is a frame.
    column : str
        Name of the column.

    Returns
    -------
    parts : ndarray of str, shape (n_rows,)
        The part of each row.

    Raises
    ------
    ValueError, TypeError
        If X is no frame, the column is missing or duplicated, a value does not name a part, or no
        row is a training row.
    """
    values = _values_of(X, column)
    bad = first_bad(values, lambda value: _part(value) is None)
    if bad is not None:
        raise ValueError(
            f"Column {short(column)}, row {bad}: the value must be {_ALLOWED}, got "
            f"{short(values[bad])}. Correct the value, or drop the row."
        )
    parts = np.array([_part(value) for value in values], dtype=object)
    if len(parts) and not (parts == "train").any():
        raise ValueError(
            f"Column {short(column)} has no row with 'train', so there is nothing to train on. Its "
            f"values are: {listed(distinct_values(values))}."
        )
    return parts


def divided(
    table: LabeledTable, parts: NDArray[np.object_]
) -> tuple[LabeledTable, dict[str, LabeledTable]]:
    """Divide a table into training rows and given validation and test rows.

    Parameters
    ----------
    table : LabeledTable
        The rows of X.
    parts : ndarray of str
        The part of each row of X, from :func:`part_of_each_row`.

    Returns
    -------
    train : LabeledTable
        The training rows.
    others : dict of {str: LabeledTable}
        Validation rows as "val" and test rows as "test", without rows of weight 0. Parts without
        rows are left out.
    """
    own = parts[table.positions]
    train = table.take(own == "train")
    if not len(train):
        raise ValueError("No training row of X has a label, so there is nothing to train on.")
    if train.weights is not None:
        check_tasks_have_weight(train, train.weights, "training rows")
    others = {name: table.take(own == name).without_zeros() for name in ("val", "test")}
    return train, {name: part for name, part in others.items() if len(part)}


def given_parts(
    tables: dict[str, LabeledTable], classes: dict[str, np.ndarray], column: str | None
) -> dict[str, GivenPart]:
    """Convert validation and test rows to codes, as labels of the classes of the training rows."""
    result = {}
    for name, table in tables.items():
        kind = {"val": "validation", "test": "test"}[name]
        with errors_in(f"In the {kind} rows of column {short(column)}"):
            result[name] = GivenPart(encode_table(table, classes), table.positions)
    return result


def warn_of_unused_split(
    X: Any, columns: Columns, advice: str = "set the parameter split_column='split'"
):
    """Warn if X has a column "split" with rows of several parts that `split_column` does not name.

    Rows of one part were probably selected on purpose. `advice` is how to use the column.
    """
    if not isinstance(X, pd.DataFrame) or _USUAL_NAME in columns:
        return
    found = column_positions(X, _USUAL_NAME)
    if len(found) != 1:
        return
    values = distinct_values(column_values(X.iloc[:, found[0]]))
    parts = {_part(value) for value in values}
    if None not in parts and len(parts) > 1:
        warn_user(
            f"X has a column 'split' with the values {listed(values)}, but all rows are used "
            f"for training or held out at random. To use the column, {advice}. If this is "
            "intended, drop the column."
        )


def _values_of(X, column) -> NDArray[np.object_]:
    """Return the values of a column, or raise an error if X does not have it exactly once."""
    without = "If X has no such column, set split_column=None."
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"The 'split_column' parameter is {short(column)}, so X must be a frame with this "
            f"column, got {short(X)}. {without}"
        )
    found = column_positions(X, column)
    if len(found) > 1:
        raise ValueError(f"X has two columns named {short(column)}. Rename or drop one of them.")
    if not found:
        raise ValueError(
            f"X has no column {short(column)}, which the 'split_column' parameter names."
            f"{suggestion(column, X.columns)} Its columns are: {listed(X.columns)}. {without}"
        )
    return column_values(X.iloc[:, found[0]])


def _part(value) -> str | None:
    """Return the part that a value names, or None if it names none."""
    return _PARTS.get(str.__str__(value).strip().lower()) if isinstance(value, str) else None

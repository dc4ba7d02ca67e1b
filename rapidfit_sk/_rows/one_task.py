"""Reading of texts and labels of one task, and of helpers: rows of other tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets

from .._typing import ArrayOrFrame, RowsLike
from .._validation import errors_in, short, warn_user
from .labels import (
    CodedRows,
    encode_table,
    encode_training_table,
    learn_classes,
    warn_of_contradictions,
    warn_of_similar_classes,
)
from .reader import IN_VALIDATION, warn_of_gaps
from .tables import (
    Columns,
    LabeledTable,
    as_pandas,
    gaps,
    has_task_names,
    is_long,
    read_labeled,
    read_strings,
)
from .values import column_values

_HELPERS = "In the helpers"
_ADVICE = ", or pass all classes as 'classes' to partial_fit."


@dataclass(frozen=True)
class OneTaskReader:
    """Reader that converts texts and labels of one task, and helpers, to codes.

    Attributes
    ----------
    columns : Columns
        Names of the columns of frames.
    task : str
        Name of the task.
    """

    columns: Columns
    task: str

    def training_rows(
        self,
        X: ArrayOrFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        helpers: Any,
        known: dict[str, np.ndarray] | None,
        classes: Collection[Any] | None = None,
    ) -> tuple[LabeledTable, CodedRows, CodedRows | None]:
        """Read training rows and helpers.

        Parameters
        ----------
        X : array-like of str, shape (n_rows,), or DataFrame
            Texts, or a frame with a text column.
        y : array-like of shape (n_rows,)
            The labels.
        sample_weight : array-like of shape (n_rows,) or None
            The weight of each row.
        helpers : DataFrame, dict, tuple or None
            Rows of other tasks.
        known : dict of {str: ndarray} or None
            Tasks and classes of an earlier fit. All of them are kept.
        classes : array-like or None, default=None
            All classes of the task; None to learn them from `y`.

        Returns
        -------
        table : LabeledTable
            The rows of the task whose weight is above 0.
        rows : CodedRows
            The same rows as codes.
        helpers : CodedRows or None
            The rows of the other tasks.
        """
        known = known or {}
        table = self._table(X, y, sample_weight)
        given = {} if classes is None else {self.task: classes}
        learned = learn_classes(table, given, known, in_call=given, advice=_ADVICE)
        others = None if helpers is None else self._helper_table(helpers, len(table))
        if others is not None:
            learned = _with_helpers(learned, others)
            others = others.without_zeros()
        warn_of_similar_classes(learned, {**known, **given}, advice="")
        table = table.without_zeros()
        rows = encode_training_table(table, learned)
        coded = None if others is None else encode_training_table(others, learned)
        if others is not None and coded is not None:
            warn_of_contradictions(others, coded)
        return table, rows, coded

    def validation_rows(
        self,
        X_val: ArrayOrFrame | None,
        y_val: ArrayLike | None,
        sample_weight_val: ArrayLike | None,
        classes: dict[str, np.ndarray],
    ) -> CodedRows | None:
        """Read the validation rows that the user passed, or return None if there are none."""
        given = {"X_val": X_val, "y_val": y_val}
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == 2 and sample_weight_val is None:
            return None
        if missing:
            raise ValueError(f"{missing[0]} is missing. Pass X_val and y_val, or neither of them.")
        with errors_in(IN_VALIDATION):
            table = self._table(X_val, y_val, sample_weight_val)
            return encode_table(table.without_zeros(), classes)

    def _table(self, X, y, sample_weight) -> LabeledTable:
        texts = read_strings(X, self.columns)
        values = _one_column(y)
        _check_are_classes(values)
        labels = pd.Series(values, name=self.task, dtype=object)
        return read_labeled(texts, labels, self.columns, sample_weight=sample_weight)

    def _helper_table(self, helpers, n_rows) -> LabeledTable:
        """Return the rows of other tasks as a table."""
        parts: tuple[Any, ...] = helpers if isinstance(helpers, tuple) else (helpers,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(
                "helpers must be a tuple (X,), (X, y) or (X, y, sample_weight), got a tuple of "
                f"{len(parts)} items."
            )
        if parts[0] is helpers and not isinstance(helpers, Mapping):
            _check_is_whole(helpers, n_rows)
        X, y, sample_weight = [*parts, None, None][:3]
        with errors_in(_HELPERS):
            X, y = as_pandas(X), as_pandas(y, "y")
            if y is not None and not is_long(X, self.columns) and not has_task_names(y):
                raise ValueError(
                    "The task has no name. Pass y as a Series named after its task, or as a frame "
                    "with one column per task."
                )
            table = read_labeled(X, y, self.columns, sample_weight=sample_weight)
            warn_of_gaps(gaps(X, y, self.columns))
        if self.task in table.task_names:
            raise ValueError(
                f"helpers has rows of task {short(self.task)}, which is the task of y. Drop these "
                "rows, or set the 'task' parameter to another name."
            )
        return table


def _with_helpers(classes: dict[str, np.ndarray], helpers: LabeledTable) -> dict[str, np.ndarray]:
    """Return the classes of all tasks, with the classes of helpers."""
    with errors_in(_HELPERS):
        return learn_classes(helpers, known=classes, advice=", or leave out this task.")


def _check_is_whole(helpers: RowsLike, n_rows: int):
    """Raise ValueError for a frame of helpers that scikit-learn may have split.

    If X and a parameter of `fit` have the same number of rows, a meta-estimator splits both.
    """
    frame = as_pandas(helpers, "helpers")
    if isinstance(frame, pd.DataFrame) and len(frame) == n_rows:
        raise ValueError(
            f"helpers is a frame with as many rows as X ({n_rows}), which cross-validation splits "
            "together with X. Pass it as helpers=(frame,), so that it is always used as a whole."
        )


def _one_column(y: Any) -> NDArray[np.object_]:
    """Return one-dimensional labels, and warn if they are a column of a table."""
    y = as_pandas(y, "y")
    if y is None:
        raise ValueError(
            "requires y to be passed, but the target y is None. Pass one label per text."
        )
    is_table = isinstance(y, pd.DataFrame) or hasattr(y, "__array__")
    shape: tuple[int, ...] = np.shape(y) if is_table else ()
    if len(shape) == 2 and shape[1] == 1:
        warn_user(
            "A column-vector y was passed when a 1d array was expected. Change the shape of y to "
            "(n_samples,), for example with ravel().",
            DataConversionWarning,
        )
        return column_values(y.iloc[:, 0] if isinstance(y, pd.DataFrame) else y)
    if len(shape) == 2:
        raise ValueError(
            f"y must have one label per text, got {shape[1]} columns. TextClassifier predicts one "
            "task. Pass the rows of the other tasks as helpers, or use MultiheadClassifier to "
            "predict all of them."
        )
    return column_values(y)


def _check_are_classes(labels: np.ndarray):
    """Raise ValueError for floats that are not integral, which are targets of a regression."""
    if labels.size and all(isinstance(label, float | np.floating) for label in labels):
        check_classification_targets(labels.astype(np.float64))

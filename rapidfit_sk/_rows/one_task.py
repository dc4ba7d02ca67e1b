"""Reading of texts and labels of one task, and of helpers: rows of other tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets

from .._typing import ArrayOrFrame, RowsLike
from .._validation import errors_in, listed, short, suggestion, warn_user
from .given_splits import warn_of_unused_split
from .label_texts import LabelTexts, declared_tasks, given_texts, label_text_rows
from .labels import (
    CodedRows,
    classes_without_rows,
    encode_table,
    encode_training_table,
    learn_classes,
    one_kind,
    warn_of_contradictions,
    warn_of_similar_classes,
)
from .reader import IN_VALIDATION, TrainingRows, warn_of_gaps
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
_IN_ONE_PART = "select the rows of one part in X and y, such as X[X['split'] == 'train']"
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
    label_texts : "auto", dict or None, default=None
        Label texts, of this task and of helpers.
    """

    columns: Columns
    task: str
    label_texts: LabelTexts = None

    def training_rows(
        self,
        X: ArrayOrFrame,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        helpers: Any,
        known: dict[str, np.ndarray] | None,
        classes: Collection[Any] | None = None,
    ) -> tuple[TrainingRows, CodedRows | None]:
        """Read training rows and helpers.

        Parameters
        ----------
        X : array-like of str, shape (n_rows,), or DataFrame
            Texts, or a frame with a text column.
        y : array-like of shape (n_rows,) or None
            The labels; None if there are none and label texts are to predict the task.
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
        read : TrainingRows
            The rows of the task and the texts of all labels.
        helpers : CodedRows or None
            The rows of the other tasks.
        """
        known = known or {}
        described = {self.task: list(given_texts(self.label_texts, self.task))}
        if y is None and described[self.task] and helpers is None:
            return self._without_rows(X, is_known=bool(known)), None
        table = self._table(X, y, sample_weight)
        if self._is_described_otherwise(described[self.task], table.labels):
            return self._without_texts(table).training_rows(
                X, y, sample_weight, helpers, known, classes
            )
        warn_of_unused_split(as_pandas(X), self.columns, _IN_ONE_PART)
        given = {} if classes is None else {self.task: classes}
        learned = learn_classes(
            table, given, known, described=described, in_call=given, advice=_ADVICE
        )
        others = None if helpers is None else self._helper_table(helpers, len(table))
        if others is not None:
            described = {t: list(given_texts(self.label_texts, t)) for t in others.task_names}
            learned = _with_helpers(learned, others, described)
            others = others.without_zeros()
        self._check_tasks(learned)
        warn_of_similar_classes(learned, {**known, **given}, advice="")
        table = table.without_zeros()
        rows = encode_training_table(table, learned)
        coded = None if others is None else encode_training_table(others, learned)
        if others is not None and coded is not None:
            warn_of_contradictions(others, coded)
        texts = label_text_rows(self.label_texts, learned)
        return TrainingRows(table, rows, {}, texts, []), coded

    def _is_described_otherwise(self, described: list[Any], labels: np.ndarray) -> bool:
        """Check whether all labels are of one type, and described labels of another one."""
        is_plain = bool(described) and one_kind(labels, labels)
        return is_plain and not one_kind(described, labels)

    def _check_tasks(self, tasks: Collection[str]):
        """Raise ValueError if the label texts are of a task that is not there."""
        for task in self.label_texts if isinstance(self.label_texts, Mapping) else ():
            if task not in tasks:
                raise ValueError(
                    f"The 'label_texts' parameter names {short(task)}, which is not a task."
                    f"{suggestion(task, tasks)} The tasks are: {listed(tasks)}. Set the 'task' "
                    "parameter to its name, or pass the texts of the labels without a task."
                )

    def _without_texts(self, table: LabeledTable) -> OneTaskReader:
        """Return a reader without texts of the labels of this task, and warn about it."""
        warn_user(
            f"The labels in y, such as {short(table.labels[0])}, are of another type than those in "
            "the 'label_texts' parameter, which are ignored. Some functions of scikit-learn, such "
            "as cross_val_predict with method='predict_proba', replace labels by numbers. Use the "
            "numbers as keys of 'label_texts', in the sorted order of the labels."
        )
        others = self.label_texts if isinstance(self.label_texts, Mapping) else {}
        return replace(self, label_texts={t: each for t, each in others.items() if t != self.task})

    def _without_rows(self, X: ArrayOrFrame, *, is_known: bool) -> TrainingRows:
        """Return no rows, and the texts of the labels of the task."""
        declared = declared_tasks(self.label_texts, {}, ())
        classes = classes_without_rows({self.task: declared[self.task]}, advice=_ADVICE)
        table = read_labeled(
            read_strings(X, self.columns), None, self.columns, without_rows=[self.task]
        )
        rows = encode_training_table(table, {})
        self._check_tasks([self.task])
        texts = None if is_known else label_text_rows(self.label_texts, classes)
        return TrainingRows(table, rows, {}, None, [] if texts is None else [texts])

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
            return self.known_rows(X_val, y_val, sample_weight_val, classes)

    def known_rows(
        self,
        X: ArrayOrFrame | None,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        classes: dict[str, np.ndarray],
    ) -> CodedRows:
        """Read rows of the task, and return them as codes."""
        return encode_table(self.known_table(X, y, sample_weight), classes)

    def known_table(
        self, X: ArrayOrFrame | None, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> LabeledTable:
        """Read rows of the task, and return those whose weight is above 0."""
        return self._table(X, y, sample_weight).without_zeros()

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
            warn_of_unused_split(X, self.columns, _IN_ONE_PART)
            warn_of_gaps(gaps(X, y, self.columns))
        if self.task in table.task_names:
            raise ValueError(
                f"helpers has rows of task {short(self.task)}, which is the task of y. Drop these "
                "rows, or set the 'task' parameter to another name."
            )
        return table


def _with_helpers(
    classes: dict[str, np.ndarray], helpers: LabeledTable, described: dict[str, list[Any]]
) -> dict[str, np.ndarray]:
    """Return the classes of all tasks, with the classes of helpers."""
    with errors_in(_HELPERS):
        return learn_classes(
            helpers, known=classes, described=described, advice=", or leave out this task."
        )


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
            "requires y to be passed, but the target y is None. Pass one label per text: for a "
            "frame, its text column as X and its label column as y."
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

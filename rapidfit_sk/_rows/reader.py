"""Reading of the rows for training and scoring, and their conversion to codes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._typing import ArrayOrFrame, RowsLike
from .._validation import (
    array_like,
    check_argument,
    errors_in,
    listed,
    mapping_to,
    short,
    warn_user,
)
from .given_splits import (
    GivenPart,
    divided,
    given_parts,
    part_of_each_row,
    warn_of_unused_split,
)
from .label_texts import LabelTexts, declared_tasks, given_texts, label_text_rows
from .labels import (
    CodedRows,
    classes_without_rows,
    encode_table,
    encode_training_table,
    learn_classes,
    warn_of_similar_classes,
)
from .tables import (
    Columns,
    LabeledTable,
    as_pandas,
    check_is_new,
    gaps,
    is_long,
    named_labels,
    read_labeled,
    read_new_task,
)
from .values import KEEP_NA

# The place of an error in the arguments for validation.
IN_VALIDATION = "In the validation data (X_val, y_val, sample_weight_val)"


class TrainingRows(NamedTuple):
    """Rows of a training in any accepted form, as codes.

    Attributes
    ----------
    table : LabeledTable
        The training rows whose weight is above 0.
    rows : CodedRows
        The same rows as codes.
    parts : dict of {str: GivenPart}
        Validation rows as "val" and test rows as "test", if the split column has some.
    label_texts : CodedRows or None
        Texts of the labels of the same tasks.
    without_rows : list of CodedRows
        Texts of the labels of each declared task that has no rows.
    """

    table: LabeledTable
    rows: CodedRows
    parts: dict[str, GivenPart]
    label_texts: CodedRows | None
    without_rows: list[CodedRows]


@dataclass(frozen=True)
class Reader:
    """Reader that converts rows in any accepted form to codes.

    Attributes
    ----------
    columns : Columns
        Names of the columns of a long frame.
    task_labels : dict of {str: array-like} or None
        Classes of some tasks, set by the user. The classes of all other tasks are learned from
        their labels.
    split_column : str or None, default=None
        Name of the column of X that names the part of each row.
    label_texts : "auto", dict or None, default=None
        Label texts.
    """

    columns: Columns
    task_labels: Mapping[str, Collection[Any]] | None
    split_column: str | None = None
    label_texts: LabelTexts = None

    def training_rows(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None,
        sample_weight: ArrayLike | None,
        known: dict[str, np.ndarray] | None,
        *,
        in_part: bool = False,
        classes: Any = None,
    ) -> TrainingRows:
        """Read training rows, and return them as a table and as codes.

        Parameters
        ----------
        X, y, sample_weight
            As in :func:`read_labeled`.
        known : dict of {str: ndarray} or None
            Tasks and classes of an earlier fit. All of them are kept.
        in_part : bool, default=False
            Whether tasks in `task_labels` may be missing from X, because a later call may pass
            their rows. Validation and test rows are then left out.
        classes : dict of {str: array-like}, array-like or None, default=None
            Classes for this call, in addition to `task_labels`.

        Returns
        -------
        read : TrainingRows
            The rows and the texts of their labels.
        """
        X, y, known = as_pandas(X), as_pandas(y, "y"), known or {}
        parts = self._part_of_each_row(X)
        if known and y is not None and not is_long(X, self.columns):
            y = named_labels(y, list(known))
        given = self.task_labels or {}
        # In a call that may have a part of the tasks, only `label_texts` declares tasks.
        declares = {} if in_part else given
        may_lack_rows = declared_tasks(self.label_texts, declares, ())
        table = read_labeled(
            X, y, self.columns, sample_weight=sample_weight, without_rows=may_lack_rows
        )
        table, others = (table, {}) if parts is None else divided(table, parts)
        there = [*known, *table.task_names]
        declared = declared_tasks(self.label_texts, declares, there, in_part=in_part)
        left_out = given if in_part else declared
        in_call = _classes_by_task(classes, table.task_names)
        task_labels = {t: each for t, each in given.items() if t in there or t not in left_out}
        task_labels |= in_call
        learned = learn_classes(
            table, task_labels, known, described=self._described(table), in_call=in_call
        )
        warn_of_similar_classes(learned, {**known, **task_labels})
        without_rows = set(may_lack_rows).difference(table.task_names)
        missing = gaps(X, y, self.columns)
        warn_of_gaps({task: n for task, n in missing.items() if task not in without_rows})
        table = table.without_zeros()
        return TrainingRows(
            table,
            encode_training_table(table, learned),
            given_parts({} if in_part else others, learned, self.split_column),
            label_text_rows(self.label_texts, learned),
            self._without_rows(declared),
        )

    def _described(self, table: LabeledTable) -> dict[str, list[Any]]:
        """Return the labels that the user gave a text, for each task of a table."""
        return {task: list(given_texts(self.label_texts, task)) for task in table.task_names}

    def _without_rows(self, declared: dict[str, list[Any]]) -> list[CodedRows]:
        """Return the texts of the labels of each declared task."""
        classes = classes_without_rows(declared)
        found = (label_text_rows(self.label_texts, {t: each}) for t, each in classes.items())
        return [rows for rows in found if rows is not None]

    def _new_task_without_rows(self, task: str | None, known: list[str]) -> TrainingRows:
        """Return no rows, and the texts of the labels of a new task."""
        check_is_new(task, known)
        declared = declared_tasks(self.label_texts, self.task_labels or {}, ())
        if task not in declared:
            raise ValueError(
                f"Task {short(task)} has neither rows nor label texts. Pass X, or a text for "
                "each label: add_task(task='topic', label_texts={'sports': 'sports', ...})."
            )
        table = read_labeled([], None, self.columns, without_rows=[task])
        texts = self._without_rows({task: declared[task]})
        return TrainingRows(table, encode_training_table(table, {}), {}, None, texts)

    def _with_texts(self, task: str, texts: Mapping[Any, Any] | None) -> Reader:
        """Return a reader with other texts of the labels of a task."""
        if texts is None:
            return self
        others = self.label_texts if isinstance(self.label_texts, Mapping) else {}
        return replace(self, label_texts={**others, task: {**others.get(task, {}), **texts}})

    def rows_of_new_task(
        self,
        X: RowsLike | None,
        y: ArrayOrFrame | None,
        sample_weight: ArrayLike | None,
        task: str | None,
        known: list[str],
        texts: Mapping[Any, Any] | None = None,
    ) -> TrainingRows:
        """Read the rows of a new task with :func:`read_new_task`.

        Without X and y, there are no rows. `texts` are added to the label texts of this reader.
        """
        if X is None and y is None:
            return self._with_texts(task or "", texts)._new_task_without_rows(task, known)
        X, y = as_pandas(X), as_pandas(y, "y")
        parts = self._part_of_each_row(X)
        table = read_new_task(X, y, self.columns, task, known, sample_weight=sample_weight)
        table, others = (table, {}) if parts is None else divided(table, parts)
        (name,) = table.task_names
        given = {key: labels for key, labels in (self.task_labels or {}).items() if key == name}
        own = self._with_texts(name, texts)
        classes = learn_classes(table, given, described=own._described(table))
        warn_of_similar_classes(classes, given)
        warn_of_gaps(gaps(X, y, self.columns))
        table = table.without_zeros()
        return TrainingRows(
            table,
            encode_training_table(table, classes),
            given_parts(others, classes, self.split_column),
            label_text_rows(own.label_texts, classes),
            [],
        )

    def known_rows(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None,
        sample_weight: ArrayLike | None,
        classes: dict[str, np.ndarray],
    ) -> CodedRows:
        """Read rows of known tasks, and return them as codes."""
        return encode_table(self.known_table(X, y, sample_weight, list(classes)), classes)

    def known_table(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None,
        sample_weight: ArrayLike | None,
        tasks: list[str],
    ) -> LabeledTable:
        """Read rows of known tasks, and return those whose weight is above 0."""
        table = read_labeled(X, y, self.columns, tasks=tasks, sample_weight=sample_weight)
        return table.without_zeros()

    def validation_rows(
        self,
        X_val: RowsLike | None,
        y_val: ArrayOrFrame | None,
        sample_weight_val: ArrayLike | None,
        classes: dict[str, np.ndarray],
    ) -> CodedRows | None:
        """Read the validation rows that the user passed, or return None if there are none."""
        if X_val is not None:
            with errors_in(IN_VALIDATION):
                return self.known_rows(X_val, y_val, sample_weight_val, classes)
        for name, given in (("y_val", y_val), ("sample_weight_val", sample_weight_val)):
            if given is not None:
                raise ValueError(f"{name} was given without X_val. Pass both or neither of them.")
        return None

    def parts_of(self, X: Any, table: LabeledTable) -> np.ndarray:
        """Return the part of each row of a table that was read from X, by the split column."""
        parts = self._part_of_each_row(X)
        if parts is None:
            raise ValueError("There is no split column.")
        return parts[table.positions]

    def _part_of_each_row(self, X) -> np.ndarray | None:
        """Return the part of each row of X, or None without a split column."""
        if self.split_column is not None:
            return part_of_each_row(X, self.split_column)
        warn_of_unused_split(X, self.columns)
        return None


def _classes_by_task(classes: Any, tasks: list[str]) -> dict[str, Collection[Any]]:
    """Return the `classes` argument of `partial_fit` as a dict of tasks."""
    if classes is None:
        return {}
    check_argument("classes", classes, array_like() | mapping_to(array_like()))
    if not isinstance(classes, Mapping):
        if len(tasks) > 1:
            raise ValueError(
                f"classes must be a dict of tasks, because X has several tasks: {listed(tasks)}."
            )
        classes = {tasks[0]: classes}
    return {task: given for task, given in classes.items() if task in tasks}


def warn_of_gaps(missing: dict[str, int]):
    """Warn about texts without a label in wide labels."""
    if not missing:
        return
    names = [f"{count} for task {short(task)}" for task, count in missing.items()]
    more = f" and {len(names) - 10} more tasks" if len(names) > 10 else ""
    warn_user(
        f"y has missing labels: {', '.join(names[:10])}{more}. A text without a label is not a row "
        f"of this task. {KEEP_NA}"
    )

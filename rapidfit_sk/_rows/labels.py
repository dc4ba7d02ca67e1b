"""Conversion of labels to integer codes and back, per task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._validation import IN_FOLDS, suggestion, unknown_task, warn_user
from .tables import LabeledTable, TextTable, column_values
from .texts import Texts


def learn_classes(
    table: LabeledTable,
    task_labels: Mapping[str, Collection[Any]] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the sorted classes of each task.

    Parameters
    ----------
    table : LabeledTable
        Labeled rows.
    task_labels : dict of {str: array-like} or None
        Classes of tasks that are given instead of learned.
    known : dict of {str: ndarray} or None
        Tasks and classes of an earlier training, which are kept.

    Returns
    -------
    classes : dict of {str: ndarray}
        The classes of each task, in the type of its labels. Known tasks come first, in their order,
        and then new tasks in order of first appearance.

    Raises
    ------
    ValueError
        If a task has only one class, or a label that is not among the given classes.
    TypeError
        If a task has strings and numbers as labels.
    """
    task_labels, classes = task_labels or {}, dict(known or {})
    _check_tasks_are_there(task_labels, [*classes, *table.task_names])
    for task in table.task_names:
        before = list(classes.get(task, ()))
        if task in task_labels:
            given = [*before, *task_labels[task]]
            classes[task] = _sorted_classes(column_values(given), task)
            _check_labels_are_given(table, task, classes[task])
        else:
            labels = [*before, *table.labels[table.tasks == task]]
            classes[task] = _sorted_classes(column_values(labels), task)
    return classes


def _check_tasks_are_there(task_labels, tasks):
    for task in task_labels:
        if task not in tasks:
            raise ValueError(
                f"The 'task_labels' parameter names {task!r}, which is not a task of the data."
                f"{suggestion(task, tasks)} The tasks are: {', '.join(map(repr, tasks))}. "
                f"{IN_FOLDS}"
            )


def _check_labels_are_given(table, task, classes):
    rows = np.flatnonzero(table.tasks == task)
    unknown = rows[encode_labels(table.labels[rows], classes) < 0]
    if len(unknown):
        raise ValueError(
            f"{table.place(unknown[0])}: the label {table.labels[unknown[0]]!r} is not among "
            f"those that the 'task_labels' parameter gives: {classes.tolist()}. Add it there, or "
            "leave the row out."
        )


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> NDArray[np.int64]:
    """Return the position of each label in `classes`, or -1 if it is not among them.

    Parameters
    ----------
    labels : ndarray of object, shape (n_rows,)
        Labels of one task.
    classes : ndarray, shape (n_classes,)
        Classes of the task, from :func:`learn_classes`.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        The codes.
    """
    codes = {label: code for code, label in enumerate(classes.tolist())}
    keys: Iterable[Any] = labels
    if classes.dtype.kind == "f":
        # 0.1 in single precision and 0.1 in double precision are different numbers.
        keys = (_rounded(label, classes.dtype.type) for label in labels)
    return np.fromiter((codes.get(key, -1) for key in keys), np.int64, len(labels))


def _rounded(label, kind):
    return label if isinstance(label, str) else kind(label).item()


@dataclass(frozen=True, eq=False)
class CodedRows:
    """Labeled rows with integer codes for texts, tasks and labels.

    Attributes
    ----------
    texts : Texts
        The text of each row.
    tasks, labels : ndarray of int64, shape (n_rows,)
        Codes of the task and of the label; -1 for a label that was not in the training data.
    weights : ndarray of float32, shape (n_rows,)
        Sample weights.
    classes : dict of {str: ndarray}
        The sorted classes of each task, in the order of the task codes.
    """

    texts: Texts
    tasks: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    classes: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> CodedRows:
        """Return some of the rows."""
        return CodedRows(
            self.texts.take(rows),
            self.tasks[rows],
            self.labels[rows],
            self.weights[rows],
            self.classes,
        )


def encode_table(table: LabeledTable, classes: dict[str, np.ndarray]) -> CodedRows:
    """Convert the tasks and labels of a table to codes.

    A label that is not among the classes of its task gets -1, because rows to score may have new
    labels.

    Raises
    ------
    ValueError
        If a row has a task that is not in `classes`.
    """
    task_codes = encode_tasks(table, list(classes))
    label_codes = np.empty(len(table), dtype=np.int64)
    for code, of_task in enumerate(classes.values()):
        rows = task_codes == code
        label_codes[rows] = encode_labels(table.labels[rows], of_task)
    weights = np.ones(len(table)) if table.weights is None else table.weights
    return CodedRows(table.texts, task_codes, label_codes, weights.astype(np.float32), classes)


def encode_training_table(table: LabeledTable, classes: dict[str, np.ndarray]) -> CodedRows:
    """Convert training rows to codes, as :func:`encode_table` does, and require all labels.

    Raises
    ------
    ValueError
        If a label is not equal to any class that was learned from the same labels.
    """
    rows = encode_table(table, classes)
    if (rows.labels < 0).any():
        first = int(np.argmax(rows.labels < 0))
        label = table.labels[first]
        raise ValueError(
            f"{table.place(first)}: the label {label!r} ({type(label).__name__}) is not equal to "
            f"any class of its task, {classes[table.tasks[first]].tolist()}. Give labels as plain "
            "strings, ints, bools or floats."
        )
    return rows


def encode_tasks(table: TextTable, tasks: list[str]) -> NDArray[np.int64]:
    """Return the position of the task of each row in `tasks`."""
    codes = encode_labels(table.tasks, np.array(tasks, dtype=object))
    if (codes < 0).any():
        first = int(np.argmax(codes < 0))
        sentence = unknown_task(table.tasks[first], tasks)
        raise ValueError(f"Row {table.rows[first]}: {sentence} {IN_FOLDS}")
    return codes


def common_dtype(arrays: Iterable[np.ndarray]) -> np.dtype:
    """Return a dtype for all labels in some arrays; object for strings and numbers together."""
    dtypes = {array.dtype for array in arrays}
    if len({dtype.kind for dtype in dtypes}) != 1:
        return np.dtype(object)
    return np.result_type(*dtypes)


def warn_of_contradictions(table: LabeledTable, rows: CodedRows):
    """Warn if rows have the same text and task, but different labels."""
    frame = pd.DataFrame({"text": rows.texts.codes, "task": rows.tasks})
    n_labels = frame.assign(label=rows.labels).groupby(["text", "task"])["label"]
    bad = np.flatnonzero(n_labels.transform("nunique").to_numpy() > 1)
    if bad.size:
        warn_user(
            f"{bad.size} rows have the same text and task as another row but a different "
            f"label; the first is {table.place(bad[0])}. All of them are kept."
        )


def _sorted_classes(labels: np.ndarray, task: str) -> np.ndarray:
    array = _natural_array(labels, task)
    # np.unique supports object arrays of strings only in newer versions of numpy.
    classes = sorted(set(array.tolist()))
    if len(classes) < 2:
        found = f"one class only ({classes[0]!r})" if classes else "no class"
        raise ValueError(
            f"Task {task!r} has {found}. A head needs at least two: "
            f"drop the task or add rows of another class. {IN_FOLDS}"
        )
    return np.array(classes, dtype=array.dtype)


def _natural_array(labels: np.ndarray, task: str) -> np.ndarray:
    """Return labels as an array: strings with dtype object, other labels with numpy's dtype."""
    kinds = [_kind(label) for label in labels]
    if len(set(kinds)) > 1:
        odd = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
        raise TypeError(
            f"Task {task!r} mixes {kinds[0]} and {kinds[odd]} as labels ({labels[0]!r} and "
            f"{labels[odd]!r}). Give all labels of a task the same type."
        )
    if all(type(label) is str for label in labels):
        return labels
    return np.array(labels.tolist())


def _kind(label) -> str:
    if isinstance(label, str):
        return "strings"
    return "bools" if isinstance(label, bool | np.bool_) else "numbers"

"""Labels <-> integer codes, one code book per task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .._validation import IN_FOLDS, suggestion, unknown_task, warn_user
from .tables import Table, column_values, distinct_texts


def learn_classes(table: Table, task_labels=None, known=None) -> dict[str, np.ndarray]:
    """Return the sorted classes of each task, in the type that the labels came in.

    Parameters
    ----------
    table : Table
        Labeled rows.
    task_labels : dict of {str: array-like} or None
        The labels that a task may have, where they are given and not learned.
    known : dict of {str: ndarray} or None
        Tasks and classes of an earlier training, which stay.

    Returns
    -------
    classes : dict of {str: ndarray}
        Known tasks first, in their order, then new ones in order of first appearance.

    Raises
    ------
    ValueError
        If a task has one class only, or a label that is not among those given for it.
    TypeError
        If a task mixes strings and numbers.
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
                f"The 'task_labels' parameter names {task!r}, which the data does not have."
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


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label in `classes`, -1 where it is not among them.

    Parameters
    ----------
    labels : ndarray of object, shape (n_rows,)
        Labels of one task.
    classes : ndarray, shape (n_classes,)
        What :func:`learn_classes` found for the task.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        The codes.
    """
    codes = {label: code for code, label in enumerate(classes.tolist())}
    if classes.dtype.kind == "f":
        # 0.1 in single precision is another number than 0.1 in double.
        labels = [_rounded(label, classes.dtype.type) for label in labels]
    return np.fromiter((codes.get(label, -1) for label in labels), np.int64, len(labels))


def _rounded(label, kind):
    return label if isinstance(label, str) else kind(label).item()


class CodedRows(NamedTuple):
    """Rows of a labeled table with codes in place of names.

    Attributes
    ----------
    texts : ndarray of object, shape (n_rows,)
        Strings.
    tasks, labels : ndarray of int64, shape (n_rows,)
        Codes of the task and of the label; -1 for a label that was not seen in fit.
    weights : ndarray of float32, shape (n_rows,)
        How much each row counts.
    """

    texts: np.ndarray
    tasks: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def take(self, rows) -> CodedRows:
        """Return some of the rows."""
        return CodedRows(*(column[rows] for column in self))


def encode_table(table: Table, tasks: list[str], classes: dict) -> CodedRows:
    """Replace the names of tasks and labels of a labeled table by codes.

    Raises
    ------
    ValueError
        If a row has a task that is not among `tasks`.
    """
    task_codes = encode_tasks(table, tasks)
    label_codes = np.empty(len(table), dtype=np.int64)
    for code, task in enumerate(tasks):
        rows = task_codes == code
        label_codes[rows] = encode_labels(table.labels[rows], classes[task])
    weights = np.ones(len(table)) if table.weights is None else table.weights
    return CodedRows(table.texts, task_codes, label_codes, weights.astype(np.float32))


def encode_tasks(table: Table, tasks: list[str]) -> np.ndarray:
    """Return the position of each row's task in `tasks`."""
    codes = encode_labels(table.tasks, np.array(tasks, dtype=object))
    if (codes < 0).any():
        first = int(np.argmax(codes < 0))
        sentence = unknown_task(table.tasks[first], tasks)
        raise ValueError(f"Row {table.rows[first]}: {sentence} {IN_FOLDS}")
    return codes


def warn_of_contradictions(table: Table, rows: CodedRows):
    """Say how many rows repeat a (text, task) pair with another label, if any."""
    frame = pd.DataFrame({"text": distinct_texts(rows.texts)[0], "task": rows.tasks})
    n_labels = frame.assign(label=rows.labels).groupby(["text", "task"])["label"]
    bad = np.flatnonzero(n_labels.transform("nunique").to_numpy() > 1)
    if bad.size:
        warn_user(
            f"{bad.size} rows have the same text and task as another row but a different "
            f"label; the first is {table.place(bad[0])}. All of them are kept."
        )


def _sorted_classes(labels: np.ndarray, task: str) -> np.ndarray:
    array = _natural_array(labels, task)
    # Not np.unique: it treats an object array of strings well only in newer numpy versions.
    classes = sorted(set(array.tolist()))
    if len(classes) < 2:
        found = f"one class only ({classes[0]!r})" if classes else "no class"
        raise ValueError(
            f"Task {task!r} has {found}. A head needs at least two: "
            f"drop the task or add rows of another class. {IN_FOLDS}"
        )
    return np.array(classes, dtype=array.dtype)


def _natural_array(labels: np.ndarray, task: str) -> np.ndarray:
    """Return the labels as one array: Python strings as object, all else as numpy has it."""
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

"""Classes of each task, and the conversion of tasks and labels to integer codes."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._validation import IN_FOLDS, listed, short, suggestion, unknown_task, warn_user
from .tables import LabeledTable, TextTable
from .texts import Texts
from .values import column_values, exact_array, parameter_labels, plain_label


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
        Classes of some tasks, set by the user. The classes of all other tasks are learned from
        their labels.
    known : dict of {str: ndarray} or None
        Tasks and classes of an earlier fit. All of them are kept.

    Returns
    -------
    classes : dict of {str: ndarray}
        The classes of each task, with the type of its labels. Known tasks come first, in their
        original order. New tasks follow in order of first appearance.

    Raises
    ------
    ValueError
        If a task has fewer than two classes, if one of its labels is missing from `task_labels`, if
        `task_labels` names a task that does not exist, or if no dtype holds all labels of a task.
    TypeError
        If the labels of a task mix strings, bools and numbers, or if a label in `task_labels` has
        an unsupported type.
    """
    task_labels, classes = task_labels or {}, dict(known or {})
    _check_tasks_are_there(task_labels, [*classes, *table.task_names])
    for task in table.task_names:
        before = list(classes.get(task, ()))
        if task in task_labels:
            owner = f"The 'task_labels' parameter, task {short(task)}"
            given = [*before, *parameter_labels(task_labels[task], owner)]
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
                f"The 'task_labels' parameter names {short(task)}, which is not a task of the "
                f"data.{suggestion(task, tasks)} The tasks are: {listed(tasks)}. {IN_FOLDS}"
            )


def _check_labels_are_given(table, task, classes):
    rows = np.flatnonzero(table.tasks == task)
    unknown = rows[encode_labels(table.labels[rows], classes) < 0]
    if len(unknown):
        raise ValueError(
            f"In {table.place(unknown[0])}, the label {short(table.labels[unknown[0]])} is not one "
            f"of the classes in the 'task_labels' parameter: {listed(classes.tolist())}. Add the "
            "label to 'task_labels', or drop the row."
        )
    # The label True equals the class 1.
    _check_kinds(column_values([*classes, *table.labels[rows]]), task)


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> NDArray[np.int64]:
    """Return the position of each label in `classes`, or -1 for a label that is not a class.

    Parameters
    ----------
    labels : ndarray of object, shape (n_rows,)
        Labels of one task.
    classes : ndarray, shape (n_classes,)
        Classes of the task, from :func:`learn_classes`.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        The code of each label.
    """
    codes = {label: code for code, label in enumerate(classes.tolist())}
    keys: Iterable[Any] = labels
    if classes.dtype.kind == "f":
        # Labels are rounded to the dtype of the classes, because 0.1 in float32 differs from 0.1
        # in float64.
        keys = (_rounded(label, classes.dtype.type) for label in labels)
    with np.errstate(over="ignore"):
        return np.fromiter((codes.get(key, -1) for key in keys), np.int64, len(labels))


def _rounded(label, kind):
    """Return a label with the precision of a numpy float, if it is in the range of this float."""
    if isinstance(label, str):
        return label
    rounded = kind(float(label)).item()
    return float(label) if np.isinf(rounded) else rounded


@dataclass(frozen=True, eq=False)
class CodedRows:
    """Labeled rows with integer codes for texts, tasks and labels.

    Attributes
    ----------
    texts : Texts
        The text of each row.
    tasks, labels : ndarray of int64, shape (n_rows,)
        Codes of the task and the label of each row. A label that is not a class of its task has
        the code -1.
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
        """Return a subset of the rows."""
        return CodedRows(
            self.texts.take(rows),
            self.tasks[rows],
            self.labels[rows],
            self.weights[rows],
            self.classes,
        )


def encode_table(table: LabeledTable, classes: dict[str, np.ndarray]) -> CodedRows:
    """Convert the tasks and labels of a table to codes.

    A label that is not a class of its task gets the code -1, because held-out rows may have labels
    that the training rows do not have.

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
    """Convert the tasks and labels of training rows to codes, which are never -1.

    Raises
    ------
    ValueError
        If a row has a task that is not in `classes`, or a label that does not equal any class of
        its task.
    """
    rows = encode_table(table, classes)
    if (rows.labels < 0).any():
        first = int(np.argmax(rows.labels < 0))
        label = table.labels[first]
        raise ValueError(
            f"In {table.place(first)}, the label {short(label)} ({type(label).__name__}) does not "
            f"equal any class of its task: {listed(classes[table.tasks[first]].tolist())}. Pass "
            "labels as plain strings, ints, bools or floats."
        )
    return rows


def encode_tasks(table: TextTable, tasks: list[str]) -> NDArray[np.int64]:
    """Return the task code of each row, which is the position of its task in `tasks`.

    Raises
    ------
    ValueError
        If a row has a task that is not in `tasks`.
    """
    codes = encode_labels(table.tasks, np.array(tasks, dtype=object))
    if (codes < 0).any():
        first = int(np.argmax(codes < 0))
        sentence = unknown_task(table.tasks[first], tasks)
        raise ValueError(f"Row {table.rows[first]}: {sentence} {IN_FOLDS}")
    return codes


def common_dtype(arrays: Iterable[np.ndarray]) -> np.dtype:
    """Return a dtype that can hold the labels of all arrays.

    It is object if the arrays have different kinds of labels, such as strings and numbers.
    """
    dtypes = {array.dtype for array in arrays}
    if len({dtype.kind for dtype in dtypes}) != 1:
        return np.dtype(object)
    return np.result_type(*dtypes)


def warn_of_contradictions(table: LabeledTable, rows: CodedRows):
    """Warn about rows that have the same text and task but different labels."""
    frame = pd.DataFrame({"text": rows.texts.groups, "task": rows.tasks})
    n_labels = frame.assign(label=rows.labels).groupby(["text", "task"])["label"]
    bad = np.flatnonzero(n_labels.transform("nunique").to_numpy() > 1)
    if bad.size:
        warn_user(
            f"{bad.size} rows have the same text and task as another row but a different label. "
            f"The first one is {table.place(bad[0])}. All of these rows are kept. Correct the "
            "labels or drop rows if this is not intended."
        )


def warn_of_similar_classes(
    classes: Mapping[str, np.ndarray], accepted: Mapping[str, Iterable[Any]]
):
    """Warn about classes of a task that a reader would take for the same class.

    Parameters
    ----------
    classes : dict of {str: ndarray}
        The classes of each task.
    accepted : dict of {str: iterable}
        Classes of an earlier fit, or set by the user. There is no warning if all similar classes
        are among them.
    """
    similar = []
    for task, labels in classes.items():
        known = {plain_label(label) for label in accepted.get(task, ())}
        groups: dict[str, list[str]] = {}
        for label in labels.tolist():
            if isinstance(label, str):
                groups.setdefault(_folded(label), []).append(label)
        for group in groups.values():
            if len(group) > 1 and not known.issuperset(group):
                similar.append(f"{_distinguished(group)} (task {short(task)})")
    if similar:
        more = f" and {len(similar) - 5} more groups" if len(similar) > 5 else ""
        warn_user(
            "Some labels differ only in case, surrounding white space or Unicode normalization, "
            f"but are separate classes: {'; '.join(similar[:5])}{more}. Correct the labels, or "
            "list them in the 'task_labels' parameter if this is intended."
        )


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold()).strip()


def _distinguished(labels: list[str]) -> str:
    """Return labels for a message, with escapes if they would look the same otherwise."""
    if len({unicodedata.normalize("NFC", label) for label in labels}) < len(labels):
        return ", ".join(ascii(label[:60]) for label in labels[:10])
    return listed(labels)


def _sorted_classes(labels: np.ndarray, task: str) -> np.ndarray:
    _check_kinds(labels, task)
    distinct = sorted({plain_label(label) for label in labels})
    if len(distinct) < 2:
        found = f"only one class ({short(distinct[0])})" if distinct else "no classes"
        raise ValueError(
            f"Task {short(task)} has {found}, but a head needs at least two. "
            f"Drop the task or add rows of another class. {IN_FOLDS}"
        )
    classes = exact_array(labels, distinct)
    if classes is None:
        raise ValueError(
            f"Task {short(task)} has labels from {short(distinct[0])} to {short(distinct[-1])}, "
            "which no numeric type holds exactly: negative ints with ints of 2**63 or more, or "
            "floats with ints above 2**53. Convert the labels of this task to strings."
        )
    return classes


def _check_kinds(labels: np.ndarray, task: str):
    """Raise TypeError if the labels of a task mix strings, bools and numbers."""
    kinds = [_kind(label) for label in labels]
    if len(set(kinds)) > 1:
        odd = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
        raise TypeError(
            f"Task {short(task)} mixes {kinds[0]} and {kinds[odd]} as labels ({short(labels[0])} "
            f"and {short(labels[odd])}). Convert all labels of a task to the same type."
        )


def _kind(label) -> str:
    if isinstance(label, str):
        return "strings"
    return "bools" if isinstance(label, bool | np.bool_) else "numbers"

"""Classes of each task, and the conversion of tasks and labels to integer codes."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._validation import IN_FOLDS, listed, short, suggestion, unknown_task, warn_user
from .tables import LabeledTable, TextTable
from .texts import Texts
from .values import distinct_values, exact_array, parameter_labels, plain_label

_ADVICE = f", drop the task, or set 'task_labels' to all classes of the task. {IN_FOLDS}"


def learn_classes(
    table: LabeledTable,
    task_labels: Mapping[str, Collection[Any]] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
    *,
    described: Mapping[str, Collection[Any]] | None = None,
    in_call: Collection[str] = (),
    advice: str = _ADVICE,
) -> dict[str, np.ndarray]:
    """Return the sorted classes of each task that has rows.

    Parameters
    ----------
    table : LabeledTable
        Labeled rows.
    task_labels : dict of {str: array-like} or None
        Classes of some tasks, set by the user. The classes of all other tasks are learned from
        their labels.
    known : dict of {str: ndarray} or None
        Tasks and classes of an earlier fit. All of them are kept.
    described : dict of {str: collection} or None
        Labels that have a text. They are classes, too, but must not be missing from `task_labels`.
    in_call : collection of str
        Tasks whose classes come from `classes`, an argument of ``partial_fit``, for messages.
    advice : str
        End of the message for a task with only one class, with advice.

    Returns
    -------
    classes : dict of {str: ndarray}
        The classes of each task, with the type of its labels. Known tasks come first, in their
        original order. New tasks follow in order of first appearance. Known classes keep their
        type if all new labels equal one of them.

    Raises
    ------
    ValueError
        If a task has fewer than two classes, if one of its labels or described labels is missing
        from `task_labels`, if `task_labels` names a task that does not exist, or if no dtype holds
        all labels of a task. Also if the type of known classes, float16 or float32, cannot hold the
        new labels.
    TypeError
        If the labels of a task mix strings, bools and numbers, or if a label in `task_labels` has
        an unsupported type.
    """
    task_labels, classes = task_labels or {}, dict(known or {})
    _check_tasks_are_there(task_labels, [*classes, *table.task_names])
    for task in table.task_names:
        rows = np.flatnonzero(table.tasks == task)
        labels = table.labels[rows]
        given_as = "classes" if task in in_call else "task_labels"
        if task in task_labels:
            owner = f"The {given_as!r} parameter, task {short(task)}"
            labels = parameter_labels(task_labels[task], owner)
        found = distinct_values(labels)
        added = _not_among(found, (described or {}).get(task, ()))
        if task in task_labels and added:
            raise ValueError(
                f"The 'label_texts' parameter has a text for {short(added[0])}, which is not one "
                f"of the classes in the {given_as!r} parameter, task {short(task)}: "
                f"{listed(found)}. Add the label to {given_as!r}, or drop its text."
            )
        classes[task] = _sorted_classes([*found, *added], task, classes.get(task), advice)
        if task in task_labels:
            _check_labels_are_given(table, rows, classes[task], given_as)
    return classes


def _not_among(labels: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """Return the other labels that do not equal one of the labels."""
    known = {(_kind(label), plain_label(label)) for label in labels}
    return [label for label in others if (_kind(label), plain_label(label)) not in known]


def classes_without_rows(
    labels: Mapping[str, Collection[Any]], advice: str = _ADVICE
) -> dict[str, np.ndarray]:
    """Return the sorted classes of tasks without rows from their labels."""
    owner = "The 'task_labels' or 'label_texts' parameter, task "
    return {
        task: _sorted_classes(
            distinct_values(parameter_labels(own, f"{owner}{short(task)}")), task, None, advice
        )
        for task, own in labels.items()
    }


def _check_tasks_are_there(task_labels, tasks):
    for task in task_labels:
        if task not in tasks:
            raise ValueError(
                f"The 'task_labels' parameter names {short(task)}, which is not a task of the "
                f"data.{suggestion(task, tasks)} The tasks are: {listed(tasks)}. {IN_FOLDS}"
            )


def _check_labels_are_given(table, rows, classes, given_as):
    unknown = rows[encode_labels(table.labels[rows], classes) < 0]
    if not len(unknown):
        return
    task, label = table.tasks[unknown[0]], table.labels[unknown[0]]
    if "bools" in (_kind(label), _kind(classes[0])):
        _check_kinds([*classes, label], task)  # True is not the class 1, although they are equal
    raise ValueError(
        f"In {table.place(unknown[0])}, the label {short(label)} is not one of the classes in the "
        f"{given_as!r} parameter: {listed(classes.tolist())}. Add the label to {given_as!r}, or "
        "drop the row."
    )


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> NDArray[np.int64]:
    """Return the position of each label in `classes`, or -1 for a label that is not a class.

    A bool never equals a number. Ints are compared exactly. Floats are rounded to the dtype of the
    classes, because 0.1 in float32 differs from 0.1 in float64.

    Parameters
    ----------
    labels : ndarray, shape (n_rows,)
        Labels of one task.
    classes : ndarray, shape (n_classes,)
        Classes of the task, from :func:`learn_classes`.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        The code of each label.
    """
    code_of = _Encoder(classes)
    if len(set(map(type, labels))) > 1:  # 1 and True would be the same key of a dict
        return np.fromiter(map(code_of, labels), np.int64, len(labels))
    codes = {label: code_of(label) for label in set(labels)}
    return np.fromiter(map(codes.__getitem__, labels), np.int64, len(labels))


class _Encoder:
    """Function that returns the position of a label in the classes, or -1."""

    def __init__(self, classes: np.ndarray):
        self.codes = {label: code for code, label in enumerate(classes.tolist())}
        self.kind = _kind(next(iter(self.codes), None))
        self.rounds_to = classes.dtype.type if classes.dtype.kind == "f" else None

    def __call__(self, label: Any) -> int:
        if _kind(label) != self.kind:
            return -1
        plain = plain_label(label)
        if self.rounds_to is not None and isinstance(plain, float):
            plain = _rounded(plain, self.rounds_to)
        return self.codes.get(plain, -1)


def _rounded(label: float, kind):
    """Return a float with the precision of a numpy float, if it is in the range of this type."""
    with np.errstate(over="ignore"):
        rounded = kind(label).item()
    return label if np.isinf(rounded) else rounded


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

    def joined(self, others: CodedRows | None) -> CodedRows:
        """Return these rows and then others, which have the same tasks and classes."""
        if others is None:
            return self
        return CodedRows(
            Texts.of([*self.texts.strings(), *others.texts.strings()]),
            np.concatenate([self.tasks, others.tasks]),
            np.concatenate([self.labels, others.labels]),
            np.concatenate([self.weights, others.weights]),
            self.classes,
        )

    def without_texts_of(self, *others: CodedRows | None) -> CodedRows:
        """Return the rows whose text is not in any of the others."""
        texts = [text for rows in others if rows is not None for text in rows.texts.distinct]
        # Groups treat texts that differ only in Unicode normalization as the same text.
        groups = Texts.of([*self.texts.strings(), *texts]).groups
        return self.take(~np.isin(groups[: len(self)], groups[len(self) :]))


def encode_table(table: LabeledTable, classes: dict[str, np.ndarray]) -> CodedRows:
    """Convert the tasks and labels of a table to codes.

    A label that is not a class of its task gets the code -1, because held-out rows may have labels
    that the training rows do not have.

    Raises
    ------
    ValueError
        If a row has a task that is not in `classes`.
    TypeError
        If the classes of a task are strings, bools or numbers, and none of its labels are.
    """
    task_codes = encode_tasks(table, list(classes))
    label_codes = np.empty(len(table), dtype=np.int64)
    for code, of_task in enumerate(classes.values()):
        rows = np.flatnonzero(task_codes == code)
        label_codes[rows] = encode_labels(table.labels[rows], of_task)
        if len(rows) and (label_codes[rows] < 0).all():
            _check_one_kind_is_shared(table, rows, of_task)
    weights = np.ones(len(table)) if table.weights is None else table.weights
    return CodedRows(table.texts, task_codes, label_codes, weights.astype(np.float32), classes)


def _check_one_kind_is_shared(table, rows, classes):
    """Raise TypeError if no label of a task is a string, a bool or a number like its classes."""
    kind, label = _kind(classes[0]), table.labels[rows[0]]
    if all(_kind(other) != kind for other in distinct_values(table.labels[rows])):
        raise TypeError(
            f"The label of {table.place(rows[0])} is {short(label)} ({type(label).__name__}), but "
            f"the classes of the task are {kind}: {listed(classes.tolist())}. None of the labels "
            f"of this task are {kind}. Pass labels of the type that fit had."
        )


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
        raise ValueError(
            f"Row {table.rows[first]}: {sentence} Leave out the rows of other tasks. {IN_FOLDS}"
        )
    return codes


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
    classes: Mapping[str, np.ndarray],
    accepted: Mapping[str, Iterable[Any]],
    advice: str = ", or list them in the 'task_labels' parameter if this is intended",
):
    """Warn about classes of a task that a reader would take for the same class.

    Parameters
    ----------
    classes : dict of {str: ndarray}
        The classes of each task.
    accepted : dict of {str: iterable}
        Classes of an earlier fit, or set by the user. There is no warning if all similar classes
        are among them.
    advice : str
        End of the message, with advice.
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
            f"but are separate classes: {'; '.join(similar[:5])}{more}. Correct the "
            f"labels{advice}."
        )


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold()).strip()


def _distinguished(labels: list[str]) -> str:
    """Return labels for a message, with escapes if they would look the same otherwise."""
    if len({unicodedata.normalize("NFC", label) for label in labels}) < len(labels):
        return ", ".join(ascii(label[:60]) for label in labels[:10])
    return listed(labels)


def _sorted_classes(
    labels: list[Any], task: str, known: np.ndarray | None, advice: str
) -> np.ndarray:
    """Return the sorted classes of a task: the known classes and the labels."""
    if known is not None:
        _check_kinds([*known, *labels], task)
        labels = _joined(known, labels, task)
    _check_kinds(labels, task)
    distinct = sorted({plain_label(label) for label in labels})
    if len(distinct) < 2:
        found = f"only one class ({short(distinct[0])})" if distinct else "no classes"
        raise ValueError(
            f"Task {short(task)} has {found}, but a head needs at least two. "
            f"Add rows of another class{advice}"
        )
    classes = exact_array(labels, distinct)
    if classes is None:
        raise ValueError(
            f"Task {short(task)} has labels from {short(distinct[0])} to {short(distinct[-1])}, "
            "which no numeric type holds exactly: negative ints with ints of 2**63 or more, or "
            "floats with ints above 2**53. Convert the labels of this task to strings."
        )
    return classes


def _joined(known: np.ndarray, labels: list[Any], task: str) -> list[Any]:
    """Return known classes with the labels that equal none of them.

    Classes of float16 or float32 keep this type, because labels that are rounded to them would be
    other classes in float64.
    """
    code_of = _Encoder(known)
    new = [label for label in labels if code_of(label) < 0]
    if known.dtype not in (np.float16, np.float32):
        return [*known, *new]
    floats = [_as_type(label, known.dtype.type) for label in new]
    if None in floats or len(set(floats)) < len({plain_label(label) for label in new}):
        raise ValueError(
            f"Task {short(task)} has classes of type {known.dtype}, which cannot hold or "
            f"distinguish the new labels: {listed(new)}. Fit again with labels of type float64."
        )
    return [*known, *floats]


def _as_type(label: Any, kind: Any) -> Any:
    """Return a number as a numpy float, or None if it is an int or out of range and changes."""
    plain = plain_label(label)
    with np.errstate(over="ignore"):
        result = kind(plain)
    changes = isinstance(plain, int) or np.isinf(result)
    return None if changes and result.item() != plain else result


def _check_kinds(labels: Sequence[Any], task: str):
    """Raise TypeError if the labels of a task mix strings, bools and numbers."""
    kinds = list(map(_kind, labels))
    if len(set(kinds)) > 1:
        odd = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
        raise TypeError(
            f"Task {short(task)} mixes {kinds[0]} and {kinds[odd]} as labels ({short(labels[0])} "
            f"and {short(labels[odd])}). Convert all labels of a task to the same type."
        )


def one_kind(labels: Iterable[Any], others: Iterable[Any]) -> bool:
    """Check whether all labels are strings, all are bools, or all are numbers."""
    return len({_kind(label) for part in (labels, others) for label in part}) == 1


def _kind(label) -> str:
    if isinstance(label, str):
        return "strings"
    return "bools" if isinstance(label, bool | np.bool_) else "numbers"

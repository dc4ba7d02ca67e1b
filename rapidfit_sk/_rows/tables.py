"""Every accepted input form becomes one checked table of (text, task, label) rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from .._validation import suggestion


class Columns(NamedTuple):
    """The names of the three columns of a long frame."""

    text: str
    task: str
    label: str


@dataclass(frozen=True)
class Table:
    """Rows of (text, task, label), all arrays of the same length.

    Attributes
    ----------
    texts : ndarray of object, shape (n_rows,)
        Strings.
    tasks : ndarray of object, shape (n_rows,)
        Task names.
    labels : ndarray of object or None, shape (n_rows,)
        Labels as scalars of the type they came in; None for a table of questions.
    rows : ndarray of int, shape (n_rows,)
        The row that the user would look for, for messages.
    positions : ndarray of int, shape (n_rows,)
        Where the row stands in the user's data, counted over all of it.
    weights : ndarray of float or None, shape (n_rows,)
        How much a row counts; None where all count the same.
    """

    texts: np.ndarray
    tasks: np.ndarray
    labels: np.ndarray | None
    rows: np.ndarray
    positions: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self):
        return len(self.texts)

    def without_zeros(self) -> Table:
        """Leave out the rows of weight 0."""
        if self.weights is None or self.weights.all():
            return self
        kept = self.weights > 0
        return Table(*(getattr(self, field.name)[kept] for field in fields(self)))

    def place(self, i) -> str:
        """Name row `i` for a message."""
        return f"row {self.rows[i]} (task {self.tasks[i]!r})"

    @property
    def task_names(self) -> list[str]:
        """The tasks in order of first appearance."""
        return list(dict.fromkeys(self.tasks))


def read_labeled(
    X, y, columns: Columns, *, tasks: list[str] | None = None, sample_weight=None
) -> Table:
    """Read rows that carry labels, in any accepted form.

    Parameters
    ----------
    X : DataFrame, dict, or texts
        See :meth:`rapidfit_sk.MultiheadClassifier.fit` for the forms.
    y : array-like, DataFrame or None
        The labels, where X does not hold them.
    columns : Columns
        How the columns of a long frame are called.
    tasks : list of str or None
        The tasks of a fitted classifier. They tell which of them a one-dimensional y belongs
        to where X does not say; None to take the name of y, or that of the label column.
    sample_weight : array-like of float or None
        The weight of each row of X.

    Returns
    -------
    table : Table
        The checked rows.

    Raises
    ------
    ValueError, TypeError
        If something is missing or of the wrong kind; the message says where and what to do.
    """
    X, y = as_pandas(X), as_pandas(y)
    if isinstance(X, Mapping):
        table = _read_mapping(X, y, columns)
        _check_tasks_have_rows(X, table, tasks)
    elif is_long(X, columns):
        table = _read_long(X, y, columns)
    elif isinstance(y, pd.DataFrame):
        table = _read_wide(read_texts(X, columns), y, columns)
        _check_tasks_have_rows(y.columns, table, tasks)
    else:
        table = _read_single(X, y, columns, tasks)
    if not len(table):
        raise ValueError("X has no rows, so there is nothing to learn from or to score.")
    _check_rows(table, columns)
    if sample_weight is None:
        return table
    n_rows = len(table) if isinstance(X, Mapping) else len(X)
    weights = _read_weights(sample_weight, n_rows)[table.positions]
    if tasks is None:
        _check_tasks_have_weight(table, weights)
    elif not weights.any():
        raise ValueError("sample_weight is zero for all rows, so there is nothing to score.")
    return replace(table, weights=weights)


def read_questions(X, columns: Columns) -> Table:
    """Read (text, task) rows without labels: a frame with a task column, or the guide's dict."""
    X = as_pandas(X)
    if isinstance(X, Mapping):
        table = _read_mapping(X, None, columns, with_labels=False)
    else:
        texts, tasks = (_column(X, name) for name in columns[:2])
        table = _table(texts, tasks, None)
    _check_rows(table, columns)
    return table


def is_long(X, columns: Columns) -> bool:
    """Say whether each row of X names its own task."""
    X = as_pandas(X)
    return isinstance(X, Mapping) or (isinstance(X, pd.DataFrame) and columns.task in X.columns)


def read_texts(X, columns: Columns) -> np.ndarray:
    """Read texts alone: a list, an array, a Series, or a frame with a text column.

    Returns
    -------
    texts : ndarray of object, shape (n_texts,)
        The checked strings.
    """
    X = as_pandas(X)
    if isinstance(X, str):
        raise TypeError(f"X is one string, {_short(X)}. Give a list of texts: [{_short(X)}].")
    if isinstance(X, Mapping):
        raise TypeError("X is a dict of tasks. Give texts alone, or leave `task` out.")
    if isinstance(X, pd.DataFrame):
        texts = column_values(X.iloc[:, 0]) if X.shape[1] == 1 else _column(X, columns.text)
    else:
        texts = column_values(X, name="X")
    _check_texts(texts, columns.text, lambda i: f"row {i}")
    return texts


def as_pandas(X):
    """Turn a frame or a column of polars, pyarrow and the like into one of pandas.

    Values stay the Python objects that they are, since pandas would make floats of ints beside
    a missing value. What is no frame is given back.
    """
    if isinstance(X, pd.DataFrame | pd.Series | np.ndarray | list | Mapping | None):
        return X
    frame = nw.from_native(X, eager_only=True, allow_series=True, pass_through=True)
    if isinstance(frame, nw.Series):
        return pd.Series(frame.to_list(), name=frame.name, dtype=object)
    if not isinstance(frame, nw.DataFrame):
        return X
    columns = frame.to_dict(as_series=False)
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})


def columns_read(X, columns: Columns) -> list | None:
    """Return the names of the columns of X that are features, in their order; None if no frame."""
    X = as_pandas(X)
    if not isinstance(X, pd.DataFrame):
        return None
    return [name for name in X.columns if X.shape[1] == 1 or name in columns[:2]]


def column_values(values, name="y") -> np.ndarray:
    """Return a one-dimensional object array of scalars that keep the type they came in.

    numpy scalars stay numpy scalars, so that the type of labels can be given back.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} must be a list, an array or a Series, got {_short(values)}.")
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        # A missing value fits into few types but object.
        values = values.astype(object if values.hasnans else values.cat.categories.dtype)
    array = values if isinstance(values, list | tuple) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if isinstance(array, np.ndarray) and array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got an array of shape {array.shape}.")
    result = np.empty(len(array), dtype=object)
    # Element by element: assigning an array at once would turn numpy scalars into Python ones.
    for i, value in enumerate(array):
        result[i] = value
    return result


def has_task_names(y) -> bool:
    """Say whether labels tell their task themselves: a frame, or a column with a name."""
    name = getattr(y, "name", None)
    return isinstance(as_pandas(y), pd.DataFrame) or (isinstance(name, str) and name != "")


def named_labels(y, tasks):
    """Name a one-dimensional y without a name after the only task that there is.

    Else it would be taken for the labels of a task of its own.
    """
    if has_task_names(y):
        return as_pandas(y)
    if len(tasks) > 1:
        raise ValueError(
            "y has one dimension, but there are several tasks. Give a frame with one column per "
            "task, or a Series y that is named after its task."
        )
    return pd.Series(column_values(as_pandas(y)), name=tasks[0], dtype=object)


def distinct_texts(texts) -> tuple[np.ndarray, list[str]]:
    """Give texts numbers, in order of first appearance.

    With a dict, since pandas 2 takes two strings for the same where they agree up to a NUL.

    Parameters
    ----------
    texts : ndarray of object, shape (n_texts,)
        Strings.

    Returns
    -------
    codes : ndarray of int64, shape (n_texts,)
        The number of each text.
    distinct : list of str
        The text of each number.
    """
    numbers = {}
    codes = [numbers.setdefault(text, len(numbers)) for text in texts]
    return np.array(codes, dtype=np.int64), list(numbers)


# --------------------------------------------------------------------------------------------
# The forms


def _read_mapping(X, y, columns, with_labels=True) -> Table:
    """Read the guide's ``{task: [{"text": ..., "label": ...}, ...]}``."""
    if y is not None:
        raise ValueError("X is a dict that holds the labels itself: leave y out.")
    texts, tasks, labels, rows = [], [], [], []
    for task, items in X.items():
        if isinstance(items, str | Mapping) or not hasattr(items, "__iter__"):
            raise TypeError(f"Task {task!r} must hold a list of dicts, got {_short(items)}.")
        for row, item in enumerate(items):
            texts.append(_item(item, columns.text, task, row))
            labels.append(_item(item, columns.label, task, row) if with_labels else None)
            tasks.append(task)
            rows.append(row)
    values = column_values(labels) if with_labels else None
    return _table(column_values(texts), column_values(tasks), values, rows=rows)


def _item(item, key, task, row):
    if not isinstance(item, Mapping) or key not in item:
        raise ValueError(
            f"Row {row} of task {task!r} must be a dict with the key {key!r}, got {_short(item)}."
        )
    return item[key]


def _read_long(X, y, columns) -> Table:
    if y is None:
        labels = _column(X, columns.label, "or pass the labels as y")
    elif isinstance(y, pd.DataFrame) and y.shape[1] != 1:
        raise ValueError(
            f"X has a {columns.task!r} column, so y must hold one label for each row; "
            f"got a frame with {y.shape[1]} columns. For one column per task give texts alone."
        )
    else:
        labels = column_values(y.iloc[:, 0] if isinstance(y, pd.DataFrame) else y)
    texts, tasks = (_column(X, name) for name in columns[:2])
    return _table(texts, tasks, labels)


def _read_wide(texts, y, columns) -> Table:
    """Read one column per task; a missing label means that the row has no say in that task."""
    _check_lengths(len(texts), len(y))
    if not y.columns.is_unique:
        twice = y.columns[y.columns.duplicated()][0]
        raise ValueError(f"y has two columns named {twice!r}. Give one column per task.")
    parts = []
    for i, task in enumerate(y.columns):
        column = y.iloc[:, i]
        values = column_values(column.dropna())
        rows = np.flatnonzero(column.notna().to_numpy())
        parts.append(_table(texts[rows], _repeat(task, len(rows)), values, rows, rows))
    if not parts:
        raise ValueError("y has no columns. Give one column per task.")
    return Table(*(np.concatenate(arrays) for arrays in zip(*map(_arrays, parts), strict=True)))


def _read_single(X, y, columns, tasks) -> Table:
    if y is None:
        if isinstance(X, pd.DataFrame):
            _column(X, columns.task)
        read_texts(X, columns)
        raise ValueError(
            f"y is missing. Give the labels as y, or X as a frame with the columns "
            f"{columns.text!r}, {columns.task!r} and {columns.label!r}."
        )
    texts = read_texts(X, columns)
    labels = column_values(y)
    return _table(texts, _repeat(_name_of_task(y, columns, tasks), len(texts)), labels)


def _name_of_task(y, columns, tasks) -> str:
    """Say which task a one-dimensional y belongs to."""
    name = getattr(y, "name", None)
    if tasks is None:
        return name if isinstance(name, str) and name else columns.label
    if len(tasks) == 1 or name in tasks:
        return name if name in tasks else tasks[0]
    raise ValueError(
        "y has one dimension, but there are several tasks. Give a frame with one column per "
        "task, name the Series y after its task, or score classifier[task]."
    )


def _table(texts, tasks, labels, rows=None, positions=None) -> Table:
    if labels is not None:
        _check_lengths(len(texts), len(labels))
    every = np.arange(len(texts))
    rows = every if rows is None else np.asarray(rows, dtype=int)
    return Table(texts, tasks, labels, rows, every if positions is None else positions)


def _arrays(table):
    return table.texts, table.tasks, table.labels, table.rows, table.positions


def _repeat(value, n) -> np.ndarray:
    result = np.empty(n, dtype=object)
    result[:] = value
    return result


# --------------------------------------------------------------------------------------------
# The checks


def _column(X, name, alternative=None) -> np.ndarray:
    """Return the values of one column of a frame."""
    if (X.columns == name).sum() > 1:
        raise ValueError(f"X has two columns named {name!r}. Rename or drop one of them.")
    if name not in X.columns:
        given = ", ".join(repr(column) for column in X.columns)
        hint = suggestion(name, [c for c in X.columns if isinstance(c, str)])
        also = f", {alternative}" if alternative else ""
        raise ValueError(
            f"X has no column {name!r} (it has {given}).{hint} Rename a column, "
            f"or say which one it is when the classifier is made{also}."
        )
    return column_values(X[name])


def _check_lengths(n_texts, n_labels):
    if n_texts != n_labels:
        raise ValueError(f"X has {n_texts} rows and y has {n_labels}; they must be as many.")


def _read_weights(sample_weight, n_rows) -> np.ndarray:
    try:
        weights = np.asarray(sample_weight, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sample_weight must hold numbers, got {_short(sample_weight)}.") from error
    if weights.shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows of X, got an "
            f"array of shape {weights.shape}."
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise ValueError(
            f"sample_weight, row {bad[0]}: a weight must be finite and not negative, got "
            f"{weights[bad[0]]}."
        )
    return weights


def _check_tasks_have_weight(table, weights):
    for task in table.task_names:
        if not weights[table.tasks == task].any():
            raise ValueError(
                f"sample_weight is zero for all rows of task {task!r}. Leave the task out, or give "
                "some of its rows a weight above 0."
            )


def _check_tasks_have_rows(names, table, known):
    """Refuse a task without labels where tasks are learned; elsewhere it has no say."""
    present = set(table.tasks)
    for name in names if known is None else ():
        if name not in present:
            raise ValueError(f"Task {name!r} has no label at all. Leave it out, or label rows.")


def _check_rows(table: Table, columns: Columns):
    _check_tasks(table, columns.task)
    _check_texts(table.texts, columns.text, table.place)
    if table.labels is not None:
        _check_labels(table, columns.label)


def _check_tasks(table, column):
    bad = _first(table.tasks, lambda task: not isinstance(task, str) or task == "")
    if bad is not None:
        task = table.tasks[bad]
        error = ValueError if _is_missing(task) or task == "" else TypeError
        raise error(
            f"Column {column!r}, row {table.rows[bad]}: a task is named by a non-empty string, "
            f"got {task!r}."
        )


def _check_texts(texts, column, place):
    bad = _first(texts, _is_bad_text)
    if bad is None:
        return
    if _is_missing(texts[bad]):
        raise ValueError(
            f"Column {column!r}, {place(bad)}: the text is missing ({texts[bad]!r}). "
            "Drop the row or fill in a text."
        )
    if isinstance(texts[bad], str):
        raise ValueError(
            f"Column {column!r}, {place(bad)}: the text is not valid Unicode "
            f"({_short(texts[bad])}); it holds half of a surrogate pair."
        )
    raise TypeError(
        f"Column {column!r}, {place(bad)}: a text must be a string, "
        f"got {_short(texts[bad])} ({type(texts[bad]).__name__})."
    )


def _is_bad_text(text) -> bool:
    if not isinstance(text, str):
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_labels(table, column):
    bad = _first(table.labels, _is_missing)
    if bad is not None:
        raise ValueError(
            f"Column {column!r}, {table.place(bad)}: the label is missing "
            f"({table.labels[bad]!r}). Drop the row; a task need not label every text."
        )
    allowed = (str, bool, int, float, np.bool_, np.integer, np.floating)
    bad = _first(table.labels, lambda label: not isinstance(label, allowed))
    if bad is not None:
        raise TypeError(
            f"Column {column!r}, {table.place(bad)}: a label must be a string or a number, "
            f"got {_short(table.labels[bad])} ({type(table.labels[bad]).__name__})."
        )


def _first(values, is_bad):
    """Return the index of the first bad value, or None."""
    return next((i for i, value in enumerate(values) if is_bad(value)), None)


def _is_missing(value) -> bool:
    is_float = isinstance(value, float | np.floating)
    return value is None or value is pd.NA or value is pd.NaT or (is_float and value != value)


def _short(value) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

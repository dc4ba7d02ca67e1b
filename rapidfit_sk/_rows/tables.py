"""Functions that read input in any accepted form and return a checked table of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError
from numpy.typing import ArrayLike, NDArray

from .._typing import ArrayOrFrame, RowsLike
from .._validation import is_unicode, listed, short, suggestion
from .texts import Texts
from .values import (
    column_values,
    first_bad,
    is_label,
    is_missing,
    is_task_name,
    label_error,
    plain_strings,
    task_error,
)
from .weights import read_weights


class Columns(NamedTuple):
    """Names of the three columns of a long frame."""

    text: str
    task: str
    label: str


@dataclass(frozen=True, eq=False)
class TextTable:
    """Checked rows with a text and a task, but without a label.

    Attributes
    ----------
    texts : Texts
        The text of each row.
    tasks : ndarray of object, shape (n_rows,)
        The name of the task of each row.
    rows : ndarray of int, shape (n_rows,)
        Row numbers for messages. If X is a dict, they start at 0 for each task.
    positions : ndarray of int, shape (n_rows,)
        Positions in X. If X is a dict, they are counted across all tasks.
    """

    texts: Texts
    tasks: NDArray[np.object_]
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, i: int) -> str:
        """Return the number and the task of row `i`, formatted for a message."""
        return _place(self.rows[i], self.tasks[i])


@dataclass(frozen=True, eq=False)
class LabeledTable(TextTable):
    """Checked rows with a text, a task and a label.

    Attributes
    ----------
    texts, tasks, rows, positions
        As in :class:`TextTable`.
    labels : ndarray of object, shape (n_rows,)
        Labels, with the scalar types that the user passed.
    weights : ndarray of float or None, shape (n_rows,)
        Sample weights, or None if all rows have the same weight.
    """

    labels: NDArray[np.object_]
    weights: NDArray[np.float64] | None = None

    def without_zeros(self) -> LabeledTable:
        """Return the table without the rows whose weight is 0."""
        if self.weights is None or self.weights.all():
            return self
        return self.take(self.weights > 0)

    def take(self, rows: np.ndarray) -> LabeledTable:
        """Return a table with a subset of the rows."""
        return LabeledTable(
            texts=self.texts.take(rows),
            tasks=self.tasks[rows],
            rows=self.rows[rows],
            positions=self.positions[rows],
            labels=self.labels[rows],
            weights=None if self.weights is None else self.weights[rows],
        )

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in order of first appearance."""
        return list(dict.fromkeys(self.tasks))


class _Cells(NamedTuple):
    """Unchecked cells of rows. The labels of unlabeled rows are None."""

    texts: NDArray[np.object_]
    tasks: NDArray[np.object_]
    labels: NDArray[np.object_]
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]

    def place(self, i: int) -> str:
        return _place(self.rows[i], self.tasks[i])

    def unlabeled(self, columns: Columns) -> TextTable:
        """Check the texts and tasks, and return them as a table."""
        _check_tasks(self, columns.task)
        _check_texts(self.texts, columns.text, self.place)
        return TextTable(
            texts=Texts.of(self.texts),
            tasks=plain_strings(self.tasks),
            rows=self.rows,
            positions=self.positions,
        )

    def labeled(self, columns: Columns) -> LabeledTable:
        """Check all cells, and return them as a table."""
        unlabeled = self.unlabeled(columns)
        _check_labels(self, columns.label)
        return LabeledTable(**vars(unlabeled), labels=self.labels)


def _place(row, task) -> str:
    return f"row {row} (task {short(task)})"


def read_labeled(
    X: RowsLike,
    y: ArrayOrFrame | None,
    columns: Columns,
    *,
    tasks: list[str] | None = None,
    sample_weight: ArrayLike | None = None,
    without_rows: Collection[str] = (),
) -> LabeledTable:
    """Read labeled rows in any accepted form.

    Parameters
    ----------
    X : DataFrame, dict, or texts
        See :meth:`rapidfit_sk.MultiheadClassifier.fit` for the forms.
    y : array-like, DataFrame or None
        The labels, if X does not contain them.
    columns : Columns
        Names of the columns of a long frame.
    tasks : list of str or None
        Tasks of a fitted classifier. A one-dimensional `y` must belong to one of them. With None,
        the task of a one-dimensional `y` is named after `y` or, if `y` has no name, after the label
        column.
    sample_weight : array-like of float or None
        The weight of each row of X.
    without_rows : collection of str
        Tasks that may have no rows. If there are some, there may be no rows at all, and X may be
        texts without labels.

    Returns
    -------
    table : LabeledTable
        The checked rows.

    Raises
    ------
    ValueError, TypeError
        If a cell is missing or invalid. The message states its row and how to fix it.
    """
    given = as_pandas(X)
    cells = _read_cells(given, as_pandas(y, "y"), columns, tasks, without_rows)
    if not len(cells.texts) and not without_rows:
        what = "rows with a label" if len(given) and not isinstance(given, Mapping) else "rows"
        raise ValueError(f"X has no {what}, so there is nothing to train on or to score.")
    table = cells.labeled(columns)
    if sample_weight is None:
        return table
    n_rows = len(table) if isinstance(given, Mapping) else len(given)
    weights = read_weights(sample_weight, n_rows)[table.positions]
    if tasks is None:
        check_tasks_have_weight(table, weights)
    elif not weights.any():
        raise ValueError("sample_weight is zero for all rows, so there is nothing to score.")
    return replace(table, weights=weights)


def _read_cells(X, y, columns, tasks, without_rows=()) -> _Cells:
    """Return the unchecked cells of labeled rows in any accepted form."""
    if isinstance(X, Mapping):
        cells = _read_mapping(X, y, columns)
        _check_tasks_have_rows(X, cells, tasks, without_rows)
        return cells
    if is_long(X, columns):
        return _read_long(X, y, columns)
    if isinstance(y, pd.DataFrame):
        cells = _read_wide(read_strings(X, columns), y, columns)
        _check_tasks_have_rows(y.columns, cells, tasks, without_rows)
        return cells
    if y is None and without_rows and not _has_labels(X, columns):
        read_strings(X, columns)
        return _cells(*(_repeat(None, 0) for _ in range(3)))
    return _read_single(X, y, columns, tasks)


def _has_labels(X, columns) -> bool:
    return isinstance(X, pd.DataFrame) and _has(X, columns.label)


def read_new_task(
    X: RowsLike,
    y: ArrayOrFrame | None,
    columns: Columns,
    task: str | None,
    known: list[str],
    *,
    sample_weight: ArrayLike | None = None,
) -> LabeledTable:
    """Read labeled rows of a task that the classifier does not have yet.

    Parameters
    ----------
    X, y, columns, sample_weight
        As in :func:`read_labeled`.
    task : str or None
        Name of the task; None if X or `y` contains it.
    known : list of str
        Tasks of the classifier.

    Returns
    -------
    table : LabeledTable
        The checked rows.

    Raises
    ------
    ValueError, TypeError
        As in :func:`read_labeled`. Also if the new task has no name, if there are several tasks,
        or if the classifier already has the task.
    """
    if task is not None:
        if not is_task_name(task):
            raise task_error(task, "The 'task' parameter")
        if y is not None and not is_long(X, columns):
            y = pd.Series(_single_labels(as_pandas(y, "y")), name=task, dtype=object)
        elif y is None:
            X = _with_task(X, columns, task)
    elif y is not None and not is_long(X, columns) and not has_task_names(y):
        raise ValueError("The new task has no name. Pass one: add_task(X, y, task='topic').")
    table = read_labeled(X, y, columns, sample_weight=sample_weight)
    names = table.task_names
    if len(names) > 1 or task not in (None, *names):
        raise ValueError(
            f"add_task adds one task at a time, but got rows of {listed(names)}"
            f"{f' and task={short(task)}' if task else ''}. Pass the rows of one new task."
        )
    check_is_new(names[0], known)
    return table


def _with_task(X: RowsLike, columns: Columns, task: str) -> RowsLike:
    """Add a task column to a frame of texts and labels, and return anything else unchanged."""
    if not isinstance(X, pd.DataFrame) or columns.task in X:
        return X
    is_complete = columns.text in X and columns.label in X
    return X.assign(**{columns.task: task}) if is_complete else X


def check_is_new(task: object, known: list[str]):
    """Raise an error unless a task has a valid name that is not among the known ones."""
    if not is_task_name(task):
        raise task_error(task, "The 'task' parameter")
    if task in known:
        raise ValueError(
            f"The classifier already has a task {short(task)}. Use partial_fit to continue its "
            "training, replace it with add_task(..., replace=True), or choose another name."
        )


def read_unlabeled(X: RowsLike, columns: Columns) -> TextTable:
    """Read texts and their tasks from a frame with a task column or from a dict of tasks."""
    X = as_pandas(X)
    if isinstance(X, Mapping):
        cells = _read_mapping(X, None, columns, with_labels=False)
    else:
        texts, tasks = (_column(X, name) for name in columns[:2])
        cells = _cells(texts, tasks, _repeat(None, len(texts)))
    return cells.unlabeled(columns)


def is_long(X: RowsLike, columns: Columns) -> bool:
    """Return whether X contains a task for each row: a long frame or a dict of tasks."""
    X = as_pandas(X)
    return isinstance(X, Mapping) or (isinstance(X, pd.DataFrame) and _has(X, columns.task))


def read_texts(X: RowsLike, columns: Columns, *, first: int = 0) -> Texts:
    """Read texts from a list, an array, a Series, or a frame with a text column.

    Messages number the rows from `first`.
    """
    return Texts.of(read_strings(X, columns, first))


def read_strings(X, columns, first_row=0) -> NDArray[np.object_]:
    """Return the checked texts of X as an array of strings."""
    X = as_pandas(X)
    if isinstance(X, str):
        raise TypeError(
            f"X is one string, {short(X)}. Pass a list of texts: [{short(X)}]. If it is the name "
            "of a file, read the file first, for example with pandas.read_csv."
        )
    if isinstance(X, Mapping):
        _check_maps_tasks(X, columns)
        raise TypeError(
            "X is a dict of tasks, but only texts are read here. Pass a list of texts. To predict "
            "all tasks of a dict, call predict without 'task'."
        )
    if isinstance(X, pd.DataFrame):
        texts = column_values(X.iloc[:, 0]) if X.shape[1] == 1 else _column(X, columns.text)
    else:
        texts = _single_texts(X, columns, first_row)
    _check_texts(texts, columns.text, lambda i: f"row {first_row + i}")
    return texts


def as_pandas(X: Any, name: str = "X") -> Any:
    """Convert a frame or a column of polars, pyarrow or a similar library to pandas.

    A Dataset of Hugging Face is converted too. Columns get dtype object, because pandas would
    otherwise convert ints to floats in a column with missing values. Other objects are returned
    unchanged. Messages call the object `name`.
    """
    X = _dataset_as_arrow(X, name)
    if isinstance(X, pd.DataFrame | pd.Series | np.ndarray | list | Mapping | None):
        return X
    try:
        frame = nw.from_native(X, eager_only=True, allow_series=True, pass_through=True)
    except DuplicateError as error:
        raise ValueError(
            f"{name} has two columns of the same name. Rename or drop one of them."
        ) from error
    if isinstance(frame, nw.Series):
        return pd.Series(frame.to_list(), name=frame.name, dtype=object)
    if not isinstance(frame, nw.DataFrame):
        _check_is_not_lazy(X, name)
        return X
    columns = frame.to_dict(as_series=False)
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})


def _check_is_not_lazy(X, name):
    """Raise TypeError for a lazy frame, whose rows are not computed yet."""
    if hasattr(X, "collect") and isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TypeError(
            f"{name} is a lazy frame ({type(X).__name__}). Pass its rows: {name}.collect()."
        )


# Classes of Hugging Face's library `datasets`, which this library does not import.
_DATASET = "datasets.arrow_dataset.Dataset"
_SPLITS = "datasets.dataset_dict.DatasetDict"
_STREAMS = (
    "datasets.iterable_dataset.IterableDataset",
    "datasets.dataset_dict.IterableDatasetDict",
)


def _dataset_as_arrow(X, name) -> Any:
    """Return a Dataset of Hugging Face as a pyarrow table, and any other object unchanged."""
    names = {f"{own.__module__}.{own.__qualname__}" for own in type(X).__mro__}
    if _DATASET in names:
        # The Arrow format follows the order of a shuffled or selected Dataset, `data` does not.
        return X.with_format("arrow")[:]
    if _SPLITS in names:
        raise TypeError(
            f"{name} is a DatasetDict. Pass one of its splits ({listed(X) or 'it has none'}), for "
            f"example {name}[{short(next(iter(X), 'train'))}]."
        )
    if not names.isdisjoint(_STREAMS):
        raise TypeError(
            f"{name} is a streaming {type(X).__name__}. Pass a Dataset or a list of texts. "
            "For the texts of a stream, pass an iterator over them to 'predict_batches'."
        )
    return X


def features_read(X: RowsLike, used: Collection[str]) -> dict[str, Any]:
    """Return ``n_features_in_`` of a frame, and ``feature_names_in_`` if all names are strings.

    The features are the columns whose names are in `used`, or a single column of any name.
    """
    X = as_pandas(X)
    if not isinstance(X, pd.DataFrame):
        return {}
    names = [
        name for name in X.columns if X.shape[1] == 1 or (isinstance(name, str) and name in used)
    ]
    features: dict[str, Any] = {"n_features_in_": len(names)}
    if all(isinstance(name, str) for name in names):
        features["feature_names_in_"] = np.array(names, dtype=object)
    return features


def has_task_names(y: ArrayOrFrame) -> bool:
    """Return whether `y` contains task names, because it is a frame or a Series with a name."""
    name = getattr(y, "name", None)
    return isinstance(as_pandas(y, "y"), pd.DataFrame) or (isinstance(name, str) and name != "")


def named_labels(y: ArrayOrFrame, tasks: list[str]) -> pd.DataFrame | pd.Series:
    """Return `y`, named after the only task if it has no name.

    Labels without a name would otherwise become the labels of a new task.
    """
    if has_task_names(y):
        return as_pandas(y, "y")
    labels = _single_labels(as_pandas(y, "y"))
    if len(tasks) > 1:
        raise ValueError(
            "y has one dimension, but there are several tasks. Pass y as a frame with one column "
            "per task, or as a Series named after its task."
        )
    return pd.Series(labels, name=tasks[0], dtype=object)


def labels_by_task(y: ArrayOrFrame | None, tasks: list[str]) -> ArrayOrFrame | None:
    """Return a two-dimensional array with a column for each task as a frame.

    Other labels are returned unchanged.
    """
    if not isinstance(y, np.ndarray) or y.ndim != 2 or not 1 < y.shape[1] == len(tasks):
        return y
    columns = (pd.Series(column_values(labels), dtype=object) for labels in y.T)
    return pd.DataFrame(dict(zip(tasks, columns, strict=True)))


# --------------------------------------------------------------------------------------------
# Input forms


def _read_mapping(X, y, columns, with_labels=True) -> _Cells:
    """Read rows from a dict of the form ``{task: [{"text": ..., "label": ...}, ...]}``."""
    _check_maps_tasks(X, columns)
    if y is not None:
        raise ValueError("X is a dict that already contains the labels. Omit y.")
    texts, tasks, labels, rows = [], [], [], []
    for task, items in X.items():
        if not is_task_name(task):
            raise task_error(task, f"X, key {short(task)}")
        for row, item in enumerate(_items(items, task)):
            texts.append(_item(item, columns.text, task, row))
            labels.append(_item(item, columns.label, task, row) if with_labels else None)
            tasks.append(task)
            rows.append(row)
    return _cells(column_values(texts), column_values(tasks), column_values(labels), rows=rows)


def _check_maps_tasks(X, columns):
    """Raise TypeError for a dict of columns, because a dict as X maps tasks to their rows."""
    texts = X.get(columns.text)
    is_column = isinstance(texts, list | tuple | pd.Series) or _has_rows(texts)
    if is_column and len(texts) and not isinstance(next(iter(texts)), Mapping):
        raise TypeError(
            f"X is a dict of columns: {listed(X)}. A dict must map each task to its rows. Pass the "
            "columns as a frame: pandas.DataFrame(X)."
        )


def _has_rows(array) -> bool:
    return isinstance(array, np.ndarray) and array.ndim > 0


def _items(items, task) -> Iterator[Any]:
    """Return an iterator over the rows of a task, or raise TypeError for another object."""
    try:
        if not isinstance(items, str | bytes | Mapping | pd.DataFrame):
            return iter(items)
    except TypeError:  # a number, or an array without dimensions
        pass
    raise TypeError(f"Task {short(task)} must map to a list of dicts, got {short(items)}.")


def _item(item, key, task, row):
    if not isinstance(item, Mapping) or key not in item:
        raise ValueError(
            f"Row {row} of task {short(task)} must be a dict with the key {short(key)}, got "
            f"{short(item)}."
        )
    return item[key]


def _read_long(X, y, columns) -> _Cells:
    if y is None:
        labels = _column(X, columns.label, "or pass the labels as y")
    elif isinstance(y, pd.DataFrame | np.ndarray) and y.ndim == 2 and y.shape[1] != 1:
        kind = "a frame" if isinstance(y, pd.DataFrame) else "an array"
        raise ValueError(
            f"X has a {short(columns.task)} column, so y must have one label per row, got {kind} "
            f"with {y.shape[1]} columns. To pass labels with one column per task, pass a list of "
            "texts as X."
        )
    else:
        labels = _single_labels(y.iloc[:, 0] if isinstance(y, pd.DataFrame) else y)
    texts, tasks = (_column(X, name) for name in columns[:2])
    return _cells(texts, tasks, labels)


def _read_wide(texts, y, columns) -> _Cells:
    """Read labels with one column per task, and skip missing labels."""
    _check_lengths(len(texts), len(y))
    _check_columns_of_labels(y)
    parts = []
    for i, task in enumerate(y.columns):
        is_there = y.iloc[:, i].notna().to_numpy()
        rows, values = np.flatnonzero(is_there), _labels_of(y.iloc[:, i], is_there, task)
        parts.append(_cells(texts[rows], _repeat(task, len(rows)), values, rows, rows))
    return _Cells(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _check_columns_of_labels(y):
    if not y.shape[1]:
        raise ValueError("y has no columns. Pass one column per task.")
    for i, task in enumerate(y.columns):
        if not is_task_name(task):
            raise task_error(task, f"y, column {i}")
        if column_positions(y, task) != [i]:
            raise ValueError(f"y has two columns named {short(task)}. Rename or drop one of them.")


def _labels_of(column, is_there, task) -> NDArray[np.object_]:
    """Return the labels of a wide column that are there.

    pandas stores ints as floats if some are missing, so integral floats become ints again.
    """
    labels = column_values(column[is_there])
    if column.dtype != np.dtype(np.float64) or is_there.all() or not is_there.any():
        return labels
    floats = labels.astype(np.float64)
    largest = np.abs(floats).max()
    # Ints of pandas are below 2**64.
    if largest >= 2**64 or (floats % 1).any():
        return labels
    if largest >= 2**53:
        raise ValueError(
            f"y, column {short(task)}: pandas may have converted ints to floats, because labels "
            "are missing, and floats cannot hold all ints of this size. If the labels are ints, "
            "set the dtype of the column to 'Int64' when the data is read, or convert them to "
            "strings. If they are floats, set the dtype of the column to object."
        )
    return column_values(floats.astype(np.int64))


def gaps(X: RowsLike, y: ArrayOrFrame | None, columns: Columns) -> dict[str, int]:
    """Return the number of missing labels of each task with some, if `y` is a wide frame."""
    if not isinstance(y, pd.DataFrame) or is_long(X, columns):
        return {}
    counts = {task: int(y.iloc[:, i].isna().sum()) for i, task in enumerate(y.columns)}
    return {task: count for task, count in counts.items() if count}


def _read_single(X, y, columns, tasks) -> _Cells:
    if y is None:
        if isinstance(X, pd.DataFrame):
            _column(X, columns.task)
        read_strings(X, columns)
        raise ValueError(
            f"y is missing. Pass the labels as y, or pass X as a frame with the columns "
            f"{short(columns.text)}, {short(columns.task)} and {short(columns.label)}."
        )
    texts = read_strings(X, columns)
    labels, task = _single_labels(y), _name_of_task(y, columns, tasks)
    if not is_task_name(task):
        raise task_error(task, "y")
    return _cells(texts, _repeat(task, len(texts)), labels)


def _single_texts(X, columns, first_row) -> NDArray[np.object_]:
    """Return one text per row, or raise an error for rows of several values or for vectors."""
    shape = getattr(X, "shape", ())
    if isinstance(shape, tuple) and len(shape) == 2 and shape[1] != 1:
        # Arrays without numpy's dtype, such as tensors, contain numbers.
        has_texts = getattr(getattr(X, "dtype", None), "kind", "f") in "OUST"
        raise ValueError(
            f"X must be one-dimensional, got an array of shape {tuple(shape)}. "
            f"{_advice_for_rows(has_texts, columns)}"
        )
    texts = column_values(X, name="X")
    first: Any = texts[0] if len(texts) else None
    if isinstance(first, Mapping):
        advice = "To pass records, pass a frame: pandas.DataFrame(X)."
    elif isinstance(first, list | tuple) or _has_rows(first):
        advice = _advice_for_rows(isinstance(next(iter(first), None), str), columns)
    else:
        return texts
    raise TypeError(f"{_text_error(first, columns.text, f'row {first_row}')} {advice}")


def _advice_for_rows(has_texts, columns) -> str:
    """Return what to pass instead of rows of several values."""
    if not has_texts:
        return "Pass the texts themselves, not vectors."
    names = f"[{short(columns.text)}, {short(columns.task)}]"
    return (
        "Pass one text per row. For rows of a text and a task, pass a frame: "
        f"pandas.DataFrame(X, columns={names})."
    )


def _single_labels(y) -> NDArray[np.object_]:
    """Return one label per row, or raise an error for rows of several labels."""
    shape = np.shape(y) if isinstance(y, np.ndarray) else ()
    is_nested = isinstance(y, list | tuple) and len(y) and isinstance(y[0], list | tuple | Mapping)
    if not is_nested and (len(shape) < 2 or shape[1:] == (1,)):
        return column_values(y)
    example = "y" if is_nested and isinstance(y[0], Mapping) else "y, columns=['mood', 'topic']"
    found = f"got {short(y[0])} in row 0" if is_nested else f"got an array of shape {shape}"
    raise ValueError(
        f"y must be one-dimensional, {found}. For labels of several tasks, pass a frame with one "
        f"column per task: pandas.DataFrame({example})."
    )


def _name_of_task(y, columns, tasks) -> str:
    """Return the name of the task that a one-dimensional `y` belongs to."""
    name = getattr(y, "name", None)
    if tasks is None:
        return name if isinstance(name, str) and name else columns.label
    if isinstance(name, str) and name in tasks:
        return name
    if len(tasks) == 1:
        return tasks[0]
    raise ValueError(
        "y has one dimension, but there are several tasks. Pass y as a frame with one column per "
        "task, pass it as a Series named after its task, or score classifier[task]."
    )


def _cells(texts, tasks, labels, rows=None, positions=None) -> _Cells:
    _check_lengths(len(texts), len(labels))
    every = np.arange(len(texts))
    rows = every if rows is None else np.asarray(rows, dtype=int)
    return _Cells(texts, tasks, labels, rows, every if positions is None else positions)


def _repeat(value, n) -> np.ndarray:
    result = np.empty(n, dtype=object)
    result[:] = value
    return result


# --------------------------------------------------------------------------------------------
# Checks


def column_positions(frame, name) -> list[int]:
    """Return the positions of the columns with this name.

    pandas finds only the first level of a MultiIndex, and comparing NA to a name is an error.
    """
    strings = {i: str.__str__(own) for i, own in enumerate(frame.columns) if isinstance(own, str)}
    return [i for i, own in strings.items() if own == str.__str__(name)]


def _has(frame, name) -> bool:
    return bool(column_positions(frame, name))


def _column(X, name, alternative=None) -> np.ndarray:
    """Return the values of a column, or raise an error if the frame does not have it."""
    found = column_positions(X, name)
    if len(found) > 1:
        raise ValueError(f"X has two columns named {short(name)}. Rename or drop one of them.")
    if not found:
        given = f"Its columns are: {listed(X.columns)}." if X.shape[1] else "It has no columns."
        also = f", {alternative}" if alternative else ""
        raise ValueError(
            f"X has no column {short(name)}. {given}{suggestion(name, X.columns)} Rename a column, "
            f"or set the 'text_column', 'task_column' or 'label_column' parameter{also}."
        )
    return column_values(X.iloc[:, found[0]])


def _check_lengths(n_texts, n_labels):
    if n_texts != n_labels:
        raise ValueError(
            f"X and y must have the same number of rows, got {n_texts} and {n_labels}."
        )


def check_tasks_have_weight(table: LabeledTable, weights: np.ndarray, rows: str = "rows"):
    """Raise ValueError for a task whose rows all have the weight 0."""
    for task in table.task_names:
        if not weights[table.tasks == task].any():
            raise ValueError(
                f"sample_weight is zero for all {rows} of task {short(task)}. Drop the task, or "
                "give some of its rows a weight above 0."
            )


def _check_tasks_have_rows(names, cells, known, without_rows):
    """Raise an error for a task without labels, unless the tasks come from a fitted classifier."""
    present = {*cells.tasks, *without_rows}
    for name in names if known is None else ():
        if name not in present:
            raise ValueError(f"Task {short(name)} has no labels. Drop the task or add labels.")


def _check_tasks(cells, column):
    bad = first_bad(cells.tasks, lambda task: not is_task_name(task))
    if bad is not None:
        raise task_error(cells.tasks[bad], f"Column {short(column)}, row {cells.rows[bad]}")


def _check_texts(texts, column, place):
    if set(map(type, texts)) == {str} and all(map(is_unicode, texts)):
        return
    bad = first_bad(texts, lambda text: not isinstance(text, str) or not is_unicode(text))
    if bad is None:
        return
    where = f"Column {short(column)}, {place(bad)}"
    if is_missing(texts[bad]):
        raise ValueError(
            f"{where}: the text is missing ({short(texts[bad])}). Drop the row or fill in a text."
        )
    if isinstance(texts[bad], str):
        raise ValueError(
            f"{where}: the text is not valid Unicode, because it contains half of a surrogate "
            f"pair ({short(texts[bad])}). Drop the row or correct the text."
        )
    raise TypeError(_text_error(texts[bad], column, place(bad)))


def _text_error(text, column, place) -> str:
    """Return the message for a text that is no string."""
    found = f"{short(text)} ({type(text).__name__})"
    return f"Column {short(column)}, {place}: a text must be a string, got {found}."


def _check_labels(cells, column):
    bad = first_bad(cells.labels, lambda label: not is_label(label))
    if bad is not None:
        place = f"Column {short(column)}, {cells.place(bad)}"
        raise label_error(cells.labels[bad], place, "Drop the row or fill in a label. ")

"""`DataReport`: what labeled rows contain, and what is likely to cause trouble."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from .._coverage import coverage_of
from .._html import bullets, fragment, page, printable, section, table, write_page
from .._model import TextTokenizer, TokensOnDemand, load_tokenizer
from .._rows import (
    CodedRows,
    Columns,
    LabeledTable,
    Reader,
    as_pandas,
    encode_table,
    gaps,
    plain_label,
    read_labeled,
)
from .._typing import ArrayOrFrame, RowsLike
from .._validation import check_argument, integer, none, path, text
from .advice import FEW, advice
from .dependencies import dependencies
from .near_duplicates import near_duplicates

# Number of rows of a frame in the HTML of a report.
_MOST_ROWS = 30
_PARTS = {"train": "train", "val": "validation", "test": "test"}
_TITLES = {
    "tasks": "Tasks",
    "classes": "Classes",
    "tokens": "Tokens",
    "similar_labels": "Labels with similar names",
    "contradictions": "Texts with several labels of a task",
    "duplicates": "Repeated rows",
    "near_duplicates": "Texts that are nearly the same",
    "shared_texts": "Texts with labels of several tasks",
    "dependencies": "Dependence of tasks",
    "implications": "Labels that imply a label of another task",
}


@dataclass(frozen=True, eq=False, repr=False)
class DataReport:
    """Description of labeled rows: their tasks, texts and labels, and likely trouble.

    :func:`describe` returns it. It has a representation for notebooks, and :meth:`to_html` writes
    it as a page.

    Parameters
    ----------
    tasks, classes, shared_texts, duplicates, contradictions, similar_labels : DataFrame
        See below.
    near_duplicates, dependencies, implications : DataFrame
        See below.
    tokens : DataFrame or None
        See below.
    messages : list of str
        See below.

    Attributes
    ----------
    tasks : DataFrame
        A row per task: number of `rows`, distinct `texts` and `classes`; rows of its `largest` and
        `smallest` class and their ratio, `imbalance`; classes with fewer than five rows,
        `rare_classes`; and for labels in a wide frame, the number of texts without a label,
        `missing`.
    classes : DataFrame
        A row per class: `task`, `label` and number of `rows`.
    shared_texts : DataFrame
        Pairs of tasks and the number of `texts` that have labels of both.
    duplicates : DataFrame
        Rows that repeat the text and the label of a task: `task`, `text`, `label` and number of
        `rows`.
    contradictions : DataFrame
        Texts with different labels of the same task: `task`, `text` and `labels`.
    similar_labels : DataFrame
        Classes of a task that differ only in case, white space, signs or the form of their Unicode
        characters: `task`, `label`, `rows`, `other_label` and `other_rows`.
    near_duplicates : DataFrame
        Texts that are nearly the same: `text`, `other_text` and `similarity`. With a split column,
        only pairs in different parts, and the columns `part` and `other_part`.
    dependencies : DataFrame
        Pairs of tasks with common texts: `task`, `other_task`, `n_texts` and the normalized mutual
        information of their labels, from 0 (independent) to 1.
    implications : DataFrame
        Labels whose texts all have the same label of another task: `task`, `label`, `other_task`,
        `other_label`, `n_texts`, and how often other texts have the other label,
        `share_elsewhere`.
    tokens : DataFrame or None
        With `model_name`, a row per task: the `median`, the 95th percentile (`p95`) and the
        `largest` number of tokens of a text, the share of texts that are `truncated`, and the share
        of `unknown` tokens.
    messages : list of str
        Likely trouble, with the parameter that helps.

    See Also
    --------
    describe : Make a report.

    Examples
    --------
    >>> import pandas as pd
    >>> from rapidfit_sk.inspection import describe
    >>> texts = ["Great!", "Awful.", "Great!", "So good", "So bad", "Nice"]
    >>> labels = ["good", "bad", "bad", "good", "bad", "Good "]
    >>> report = describe(texts, pd.Series(labels, name="mood"))
    >>> report.similar_labels[["label", "other_label"]].values.tolist()
    [['good', 'Good ']]
    >>> report.contradictions[["text", "labels"]].values.tolist()
    [['Great!', ['good', 'bad']]]
    """

    tasks: pd.DataFrame
    classes: pd.DataFrame
    shared_texts: pd.DataFrame
    duplicates: pd.DataFrame
    contradictions: pd.DataFrame
    similar_labels: pd.DataFrame
    near_duplicates: pd.DataFrame
    dependencies: pd.DataFrame
    implications: pd.DataFrame
    tokens: pd.DataFrame | None
    messages: list[str]

    def __repr__(self) -> str:
        """Show the tasks and the messages."""
        lines = [self.tasks.to_string(index=False), *(f"- {each}" for each in self.messages)]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        """Show all frames in a notebook."""
        return fragment("Data", *self._sections())

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as one page without external resources.

        Parameters
        ----------
        path : str or path-like
            The file to write.
        """
        write_page(path, page("Data", *self._sections()))

    def _sections(self) -> Iterator[str]:
        """Yield the messages and each frame that has rows."""
        if self.messages:
            yield section("Likely trouble", bullets(self.messages))
        for name, title in _TITLES.items():
            frame = getattr(self, name)
            if frame is not None and len(frame):
                more = len(frame) - _MOST_ROWS
                note = [] if more <= 0 else [bullets([f"{more} more rows are in {name!r}."])]
                yield section(title, table(frame.head(_MOST_ROWS)), *note)


def describe(
    X: RowsLike,
    y: ArrayOrFrame | None = None,
    *,
    model_name: str | PathLike[str] | None = None,
    max_length: int | None = None,
    text_column: str = "text",
    task_column: str = "task",
    label_column: str = "label",
    task_labels: Mapping[str, Collection[Any]] | None = None,
    split_column: str | None = None,
) -> DataReport:
    """Describe labeled rows before a training: their tasks, texts and labels, and likely trouble.

    Parameters
    ----------
    X : DataFrame, dict, or array-like of str
        Labeled rows in any form that :meth:`rapidfit_sk.MultiheadClassifier.fit` takes.
    y : array-like, DataFrame or None, default=None
        The labels, if X does not contain them.
    model_name : str, path-like or None, default=None
        An encoder, whose tokenizer counts the tokens of the texts. Its weights are not loaded.
    max_length : int or None, default=None
        Number of tokens that the encoder reads at once; None for at most 128, as in
        :class:`rapidfit_sk.TrainingConfig`. It has an effect with `model_name` only.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        Names of the columns of a long frame.
    task_labels : dict of {str: array-like} or None, default=None
        All classes of some tasks. Classes without rows are then described, too.
    split_column : str or None, default=None
        Name of the column of X that names the part of each row. Texts that are nearly the same are
        then searched across parts.

    Returns
    -------
    report : DataReport
        Frames, and messages in plain words. A notebook shows it as HTML.

    Raises
    ------
    ValueError, TypeError
        If a row is invalid, as in ``fit``.
    OSError
        If the tokenizer is not found.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier.report : Describe a fitted classifier.

    Notes
    -----
    Two texts are nearly the same if they are equal without signs, numbers and case, or if the
    cosine similarity of their sequences of four characters is at least 0.9. Only texts that share
    a sequence that occurs in at most 30 texts are compared.

    A label implies a label of another task if all its texts with a label of the other task have
    the same one, and chance would give this result with a probability below 0.001.

    Examples
    --------
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import describe
    >>> report = describe(load_support_messages())
    >>> report.tasks[["task", "rows", "texts", "classes", "largest", "smallest"]]
            task  rows  texts  classes  largest  smallest
    0  sentiment   300    300        3      108        95
    1     intent   300    300        4       75        75
    2    emotion   215    215        4       65        47
    """
    check_argument("model_name", model_name, path() | none)
    check_argument("max_length", max_length, integer(1) | none)
    check_argument("split_column", split_column, text() | none)
    columns = Columns(text_column, task_column, label_column)
    X, y = as_pandas(X), as_pandas(y, "y")
    read = read_labeled(X, y, columns)
    parts = Reader(columns, None, split_column).parts_of(X, read) if split_column else None
    tokenizer = None if model_name is None else _tokenizer(model_name, max_length)
    missing = gaps(X, y, columns)
    return describe_table(read, tokenizer, parts, task_labels=task_labels or {}, missing=missing)


def describe_table(
    read: LabeledTable,
    tokenizer: TextTokenizer | None,
    parts: np.ndarray | None = None,
    *,
    task_labels: Mapping[str, Collection[Any]],
    missing: dict[str, int],
) -> DataReport:
    """Describe the rows of a table.

    Parameters
    ----------
    read : LabeledTable
        Labeled rows.
    tokenizer : TextTokenizer or None
        Counts the tokens of the texts.
    parts : ndarray of str or None, default=None
        The part of each row.
    task_labels : dict of {str: array-like}
        Further classes of some tasks.
    missing : dict of {str: int}
        The number of missing labels of tasks that have some.
    """
    rows = encode_table(read, _classes(read, task_labels))
    classes = _class_frame(rows)
    pairs, implied = dependencies(rows)
    frames: dict[str, Any] = {
        "tasks": _task_frame(rows, classes, missing),
        "classes": classes,
        "shared_texts": _shared_texts(rows),
        "duplicates": _duplicates(read),
        "contradictions": _contradictions(read),
        "similar_labels": _similar_labels(classes),
        "near_duplicates": _near_duplicates(read, parts),
        "dependencies": pairs,
        "implications": implied,
        "tokens": None if tokenizer is None else _token_frame(rows, tokenizer),
    }
    max_length = None if tokenizer is None else tokenizer.max_length
    return DataReport(**frames, messages=list(advice(frames, max_length)))


def _classes(read: LabeledTable, given: Mapping[str, Collection[Any]]) -> dict[str, np.ndarray]:
    """Return the labels of each task as an array of objects, in order of first appearance."""
    found = {}
    for task in read.task_names:
        labels = [plain_label(each) for each in read.labels[read.tasks == task]]
        own = dict.fromkeys([*labels, *map(plain_label, given.get(task, ()))])
        found[task] = np.array([*own, None], dtype=object)[:-1]
    return found


def _class_frame(rows: CodedRows) -> pd.DataFrame:
    """Return the number of rows of each class, the largest class of a task first."""
    found = []
    for code, (task, classes) in enumerate(rows.classes.items()):
        counts = np.bincount(rows.labels[rows.tasks == code], minlength=len(classes))
        order = np.argsort(-counts, kind="stable")
        found += [(task, classes[i], int(counts[i])) for i in order]
    return pd.DataFrame(found, columns=["task", "label", "rows"])


def _task_frame(rows: CodedRows, classes: pd.DataFrame, missing: dict[str, int]) -> pd.DataFrame:
    """Return the sizes of each task."""
    found = []
    for code, task in enumerate(rows.classes):
        own = rows.tasks == code
        counts = classes.loc[classes["task"] == task, "rows"]
        found.append(
            {
                "task": task,
                "rows": int(own.sum()),
                "texts": len(np.unique(rows.texts.groups[own])),
                "classes": len(counts),
                "largest": int(counts.max()),
                "smallest": int(counts.min()),
                "imbalance": float(counts.max() / max(1, counts.min())),
                "rare_classes": int((counts < FEW).sum()),
                "missing": missing.get(task, 0),
            }
        )
    return pd.DataFrame(found)


def _shared_texts(rows: CodedRows) -> pd.DataFrame:
    """Return the number of texts that each two tasks share."""
    tasks, groups = list(rows.classes), rows.texts.groups
    has_label = np.zeros((len(tasks), groups.max(initial=-1) + 1))
    has_label[rows.tasks, groups] = 1
    counts = (has_label @ has_label.T).astype(int)
    pairs = [
        (tasks[i], tasks[j], int(counts[i, j]))
        for i in range(len(tasks))
        for j in range(i + 1, len(tasks))
        if counts[i, j]
    ]
    return pd.DataFrame(pairs, columns=["task", "other_task", "texts"])


def _labels_by_text(read: LabeledTable) -> Iterable[tuple[str, str, list[Any]]]:
    """Return each task, each of its texts and the labels of the text, if it occurs repeatedly."""
    frame = pd.DataFrame({"task": read.tasks, "group": read.texts.groups})
    strings = read.texts.strings()
    for (task, _), part in frame.groupby(["task", "group"], sort=False):
        if len(part) > 1:
            labels = [plain_label(label) for label in read.labels[part.index]]
            yield task, strings[part.index[0]], labels


def _duplicates(read: LabeledTable) -> pd.DataFrame:
    found = [
        (task, text, label, labels.count(label))
        for task, text, labels in _labels_by_text(read)
        for label in dict.fromkeys(labels)
        if labels.count(label) > 1
    ]
    return pd.DataFrame(found, columns=["task", "text", "label", "rows"])


def _contradictions(read: LabeledTable) -> pd.DataFrame:
    found = [
        (task, text, list(dict.fromkeys(labels)))
        for task, text, labels in _labels_by_text(read)
        if len(set(labels)) > 1
    ]
    return pd.DataFrame(found, columns=["task", "text", "labels"])


def _similar_labels(classes: pd.DataFrame) -> pd.DataFrame:
    """Return classes of a task whose names differ only in case, white space or signs."""
    found = []
    for task, own in classes.groupby("task", sort=False):
        first: dict[str, tuple[Any, int]] = {}
        for label, n in zip(own["label"], own["rows"], strict=True):
            name = _plain_name(label)
            if name in first:
                found.append((task, *first[name], label, n))
            first.setdefault(name, (label, n))
    return pd.DataFrame(found, columns=["task", "label", "rows", "other_label", "other_rows"])


def _plain_name(label: Any) -> str:
    """Return a label without case, white space and signs; a name of signs only stays as it is."""
    folded = unicodedata.normalize("NFKC", str(label)).casefold().strip()
    return "".join(c for c in folded if c.isalnum()) or folded


def _near_duplicates(read: LabeledTable, parts: np.ndarray | None) -> pd.DataFrame:
    """Return texts that are nearly the same; with parts, only pairs across parts."""
    texts = read.texts.distinct
    pairs = near_duplicates(texts)
    first, second = pairs["first"].to_numpy(dtype=int), pairs["second"].to_numpy(dtype=int)
    strings = np.array([*texts, None], dtype=object)
    frame = pd.DataFrame({"text": strings[first], "other_text": strings[second]})
    frame["similarity"] = pairs["similarity"]
    if parts is None:
        return frame
    part_of = np.empty(len(texts), dtype=object)
    part_of[read.texts.codes] = [_PARTS[part] for part in parts]
    frame["part"], frame["other_part"] = part_of[first], part_of[second]
    return frame[frame["part"] != frame["other_part"]].reset_index(drop=True)


def _tokenizer(model_name: str | PathLike[str], max_length: int | None) -> TextTokenizer:
    """Return the tokenizer of an encoder, which reads a number of tokens at once."""
    tokenizer = load_tokenizer(os.fspath(model_name))
    usual = int(min(128, tokenizer.model_max_length))
    return TextTokenizer(tokenizer, max_length or usual)


def _token_frame(rows: CodedRows, tokenizer: TextTokenizer) -> pd.DataFrame:
    """Return the lengths of the texts of each task in tokens, and what is not read."""
    whole = TextTokenizer(tokenizer.tokenizer, max_length=10**9)
    lengths = TokensOnDemand(rows.texts.distinct, whole).n_ordinary
    coverage = coverage_of(rows, TokensOnDemand(rows.texts.distinct, tokenizer))
    found = []
    for code, task in enumerate(rows.classes):
        own = lengths[np.unique(rows.texts.codes[rows.tasks == code])]
        middle, high = np.quantile(own, [0.5, 0.95])
        shares = (coverage[task].truncated, coverage[task].unknown)
        found.append((task, int(middle), int(high), int(own.max()), *shares))
    return pd.DataFrame(found, columns=["task", "median", "p95", "largest", "truncated", "unknown"])

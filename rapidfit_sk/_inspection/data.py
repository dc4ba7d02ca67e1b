"""`DataReport`: the contents of labeled rows, and likely trouble."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from .._html import bullets, cut, fragment, page, printable, section, table, write_page
from .._model import TextTokenizer, input_length, load_tokenizer
from .._rows import Columns, LabeledTable, Reader, as_pandas, encode_table, gaps, read_labeled
from .._typing import ArrayOrFrame, RowsLike
from .._validation import array_like, check_argument, integer, mapping_to, none, path, text
from .advice import advice
from .dependencies import dependencies
from .frames import (
    class_frame,
    classes_of,
    contradictions,
    duplicates,
    near_duplicate_texts,
    shared_texts,
    similar_labels,
    task_frame,
    token_frame,
)

# Number of rows of a frame and of characters of a cell in the HTML of a report.
_MOST_ROWS = 30
# Formats of numbers in HTML, by column.
_NUMBERS: dict[str, Callable[[Any], str]] = {
    "imbalance": "{:.1f}".format,
    "similarity": "{:.2f}".format,
    "mutual_information": "{:.2f}".format,
    "p_value": "{:.2g}".format,
    "share_elsewhere": "{:.1%}".format,
    "truncated": "{:.1%}".format,
    "unknown": "{:.1%}".format,
}
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
        `smallest` class that has rows, and their ratio, `imbalance`; classes with fewer than five
        rows, `rare_classes`; and for labels in a wide frame, the number of texts without a label,
        `missing`; and rows whose text is empty or white
        space, `empty_texts`.
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
        Classes of a task that differ only in case, white space, punctuation between words or the
        form of their Unicode characters: `task`, `label`, `rows`, `other_label` and `other_rows`.
    near_duplicates : DataFrame
        Texts that are nearly the same: `text`, `other_text` and `similarity`. With a split column,
        only pairs in different parts, also of a text that is in both, and the columns `part` and
        `other_part`.
    dependencies : DataFrame
        Pairs of tasks with common texts: `task`, `other_task`, number of `texts`, the normalized
        `mutual_information` of their labels, from 0 (independent) to 1, and the `p_value` of a
        G-test of independence.
    implications : DataFrame
        Labels whose texts all have the same label of another task: `task`, `label`, `other_task`,
        `other_label`, number of `texts`, and how often other texts with a label of the other task
        have the other label, `share_elsewhere`.
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
        tasks = self.tasks.assign(task=[_cell(task)[:60] for task in self.tasks["task"]])
        lines = [tasks.to_string(index=False), *(f"- {each}" for each in self.messages)]
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
                shown = frame.head(_MOST_ROWS)
                yield section(title, table(shown, _formats(shown, name)), *note)


def _formats(frame: pd.DataFrame, name: str) -> dict[str, Callable[[Any], str]]:
    """Return the formats of cells: texts are cut, and similar labels are quoted."""
    columns = frame.select_dtypes(exclude="number").columns
    formats: dict[str, Callable[[Any], str]] = {**_NUMBERS, **dict.fromkeys(columns, _cell)}
    if name == "similar_labels":
        formats |= dict.fromkeys(["label", "other_label"], lambda label: _cell(repr(label)))
    return formats


def _cell(value: object) -> str:
    """Return the text of a cell, cut if it is long."""
    return cut(", ".join(map(repr, value)) if isinstance(value, list) else str(value))


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
        All classes of some tasks. Classes without rows are then counted, too.
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
    cosine similarity of their sequences of four characters is at least 0.9. Not all pairs are
    compared: only texts that share a sequence that occurs in at most 30 texts, and neighbors in
    alphabetical order of the texts or of the reversed texts.

    A label implies a label of another task if all its texts with a label of the other task have
    the same one, and if chance would give any label of the task such texts with a probability
    below 0.01.

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
    check_argument("max_length", max_length, integer(2) | none)
    check_argument("task_labels", task_labels, mapping_to(array_like()) | none)
    check_argument("split_column", split_column, text() | none)
    columns = Columns(text_column, task_column, label_column)
    for name, column in zip(("text_column", "task_column", "label_column"), columns, strict=True):
        check_argument(name, column, text())
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
    rows = encode_table(read, classes_of(read, task_labels))
    classes = class_frame(rows)
    pairs, implied = dependencies(rows)
    frames: dict[str, Any] = {
        "tasks": task_frame(rows, classes, missing),
        "classes": classes,
        "shared_texts": shared_texts(rows),
        "duplicates": duplicates(rows),
        "contradictions": contradictions(rows),
        "similar_labels": similar_labels(classes),
        "near_duplicates": near_duplicate_texts(read.texts, parts),
        "dependencies": pairs,
        "implications": implied,
        "tokens": None if tokenizer is None else token_frame(rows, tokenizer),
    }
    max_length = None if tokenizer is None else tokenizer.max_length
    return DataReport(**frames, messages=list(advice(frames, max_length)))


def _tokenizer(model_name: str | PathLike[str], max_length: int | None) -> TextTokenizer:
    """Return the tokenizer of an encoder, which reads a number of tokens at once."""
    name = os.fspath(model_name)
    tokenizer = load_tokenizer(name)
    longest = tokenizer.model_max_length
    return TextTokenizer(tokenizer, input_length(max_length, longest, "describe", name))

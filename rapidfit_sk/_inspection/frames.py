"""The frames of a `DataReport`, computed from labeled rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .._coverage import coverage_of
from .._model import TextTokenizer, TokensOnDemand
from .._rows import CodedRows, LabeledTable, Texts, learn_classes, plain_label
from .advice import FEW
from .near_duplicates import near_duplicates

# Names of parts in a split column.
_PARTS = {"train": "train", "val": "validation", "test": "test"}
# White space and punctuation between two characters of a name, but not between two digits: "1-2"
# and "12" are different names.
_JOINTS = re.compile(r"(?<=[^\W\d_])[\s_./-]+(?=[^\W_])|(?<=\d)[\s_./-]+(?=[^\W\d_])")


def classes_of(
    read: LabeledTable, given: Mapping[str, Collection[Any]] | None
) -> dict[str, np.ndarray]:
    """Return the labels of each task as an array of objects, in order of first appearance.

    Parameters
    ----------
    read : LabeledTable
        The rows of all tasks.
    given : dict of {str: array-like} or None
        All classes of some tasks.

    Raises
    ------
    ValueError, TypeError
        If a fit would reject the labels, except for a task with one class.
    """
    found, given = {}, given or {}
    for task in read.task_names:
        own = read.take(read.tasks == task)
        if task in given or len(set(zip(map(type, own.labels), own.labels, strict=True))) > 1:
            learn_classes(own, {task: given[task]} if task in given else {})
        labels = map(plain_label, [*own.labels, *given.get(task, ())])
        found[task] = np.array([*dict.fromkeys(labels), None], dtype=object)[:-1]
    return found


def class_frame(rows: CodedRows) -> pd.DataFrame:
    """Return the number of rows of each class, the largest class of a task first."""
    found: list[Any] = []
    for code, (task, classes) in enumerate(rows.classes.items()):
        counts = np.bincount(rows.labels[rows.tasks == code], minlength=len(classes))
        order = np.argsort(-counts, kind="stable")
        found += [(task, classes[i], int(counts[i])) for i in order]
    return _frame(found, ["task", "label", "rows"])


def task_frame(rows: CodedRows, classes: pd.DataFrame, missing: dict[str, int]) -> pd.DataFrame:
    """Return the sizes of each task."""
    found, groups = [], rows.texts.groups
    is_empty = np.array([not text.strip() for text in rows.texts.distinct])[rows.texts.codes]
    for code, (task, own) in enumerate(classes.groupby("task", sort=False)["rows"]):
        some = own[own > 0]
        found.append(
            {
                "task": task,
                "rows": int(own.sum()),
                "texts": len(np.unique(groups[rows.tasks == code])),
                "classes": len(own),
                "largest": int(some.max()),
                "smallest": int(some.min()),
                "imbalance": float(some.max() / some.min()),
                "rare_classes": int((own < FEW).sum()),
                "missing": missing.get(task, 0),
                "empty_texts": int(is_empty[rows.tasks == code].sum()),
            }
        )
    return pd.DataFrame(found)


def shared_texts(rows: CodedRows) -> pd.DataFrame:
    """Return the number of texts that each two tasks share."""
    tasks, groups = list(rows.classes), rows.texts.groups
    has_label = np.zeros((len(tasks), groups.max(initial=-1) + 1), dtype=np.float32)
    has_label[rows.tasks, groups] = 1
    counts = (has_label @ has_label.T).astype(int)
    pairs = [
        (tasks[i], tasks[j], int(counts[i, j]))
        for i, j in zip(*np.triu_indices(len(tasks), k=1), strict=True)
        if counts[i, j]
    ]
    return _frame(pairs, ["task", "other_task", "texts"])


def duplicates(rows: CodedRows) -> pd.DataFrame:
    """Return the rows that repeat a text and its label."""
    own = _counted(rows)
    own = own[own["rows"] > 1]
    found = zip(*_names(rows, own), own["rows"].tolist(), strict=True)
    return _frame(found, ["task", "text", "label", "rows"])


def contradictions(rows: CodedRows) -> pd.DataFrame:
    """Return the texts with several labels of a task."""
    own = _counted(rows)
    own = own[own.duplicated(["task", "group"], keep=False)]
    found: dict[Any, Any] = {}
    for key, task, text, label in zip(
        zip(own["task"], own["group"], strict=True), *_names(rows, own), strict=True
    ):
        found.setdefault(key, (task, text, []))[2].append(label)
    return _frame(found.values(), ["task", "text", "labels"])


def _counted(rows: CodedRows) -> pd.DataFrame:
    """Return the number of rows of each task, text and label, in order of first appearance."""
    codes = {"task": rows.tasks, "group": rows.texts.groups, "label": rows.labels}
    frame = pd.DataFrame({**codes, "text": rows.texts.codes})
    counts = frame.groupby([*codes])["text"].transform("size")
    return frame.assign(rows=counts).drop_duplicates([*codes])


def _names(rows: CodedRows, own: pd.DataFrame) -> tuple[list[str], list[str], list[Any]]:
    """Return the tasks, texts and labels of coded rows."""
    tasks = list(rows.classes)
    return (
        [tasks[task] for task in own["task"]],
        [rows.texts.distinct[text] for text in own["text"]],
        [rows.classes[tasks[t]][i] for t, i in zip(own["task"], own["label"], strict=True)],
    )


def _frame(found: Any, columns: list[str]) -> pd.DataFrame:
    """Return a frame whose labels keep their types."""
    frame = pd.DataFrame(list(found), columns=columns, dtype=object)
    numbers = {name: int for name in ("rows", "other_rows", "texts") if name in columns}
    return frame.astype(numbers)


def similar_labels(classes: pd.DataFrame) -> pd.DataFrame:
    """Return classes of a task whose names differ only in case, white space or punctuation."""
    found = []
    for task, own in classes.groupby("task", sort=False):
        first: dict[str, tuple[str, int]] = {}
        for label, n in zip(own["label"], own["rows"], strict=True):
            if not isinstance(label, str):
                continue
            name = _plain_name(label)
            if name in first:
                found.append((task, *first[name], label, n))
            first.setdefault(name, (label, n))
    return _frame(found, ["task", "label", "rows", "other_label", "other_rows"])


def _plain_name(label: str) -> str:
    """Return a label without case, and without white space and punctuation between its words."""
    folded = unicodedata.normalize("NFKC", label).casefold().strip().strip("_")
    return _JOINTS.sub("", folded)


def near_duplicate_texts(texts: Texts, parts: np.ndarray | None) -> pd.DataFrame:
    """Return texts that are nearly the same; with parts, only pairs across parts."""
    if parts is None:
        pairs = near_duplicates(texts.distinct)
        own = np.arange(len(texts.distinct))
    else:
        names = [_PARTS[part] for part in parts]
        units = pd.DataFrame({"text": texts.codes, "part": names}).drop_duplicates()
        own = units["text"].to_numpy()
        pairs = near_duplicates([texts.distinct[i] for i in own], units["part"].tolist())
    sides = {"text": pairs["first"].to_numpy(int), "other_text": pairs["second"].to_numpy(int)}
    found: dict[str, Any] = {
        name: [texts.distinct[i] for i in own[side]] for name, side in sides.items()
    }
    found["similarity"] = pairs["similarity"]
    if parts is not None:
        part_of = units["part"].to_numpy(object)
        found["part"], found["other_part"] = (part_of[side] for side in sides.values())
    return pd.DataFrame(found)


def token_frame(rows: CodedRows, tokenizer: TextTokenizer) -> pd.DataFrame:
    """Return the lengths of the texts of each task in tokens, and shares of unread ones."""
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

"""Out-of-fold predictions: no row is predicted by a classifier that has trained on its text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from ._classifier import MultiheadClassifier
from ._evaluation import ScoredRows, rows_by_task, scored_rows
from ._inspection import TextLength, text_lengths
from ._rows import LabeledTable, encode_table, read_labeled
from ._text_classifier import TextClassifier
from .model_selection import TaskStratifiedKFold

# Seed of the folds. Rows in their own order could be periodic, so each fold could miss a topic.
_SEED = 0


@dataclass(frozen=True, eq=False)
class FoldData:
    """Labeled rows, the classifiers to train on them, and the fold of each row.

    Attributes
    ----------
    table : LabeledTable
        The rows.
    classes : dict of {str: ndarray}
        The classes of each task in all rows.
    classifier : MultiheadClassifier
        The classifier of all tasks, which is not fitted.
    folds : list of tuple of ndarray
        The training rows and the held-out rows of each fold.
    """

    table: LabeledTable
    classes: dict[str, np.ndarray]
    classifier: MultiheadClassifier
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]

    @classmethod
    def of(
        cls, classifier: MultiheadClassifier | TextClassifier, table: LabeledTable, n_folds: int
    ) -> FoldData:
        """Learn the classes of all rows, and assign the rows to folds."""
        own = _for_folds(classifier)
        frame = _as_frame(table, own)
        classes = own._reader.training_rows(frame, None, None, None).rows.classes
        splitter = TaskStratifiedKFold(
            n_folds,
            shuffle=True,
            random_state=_SEED,
            text_column=own.text_column,
            task_column=own.task_column,
            label_column=own.label_column,
        )
        return cls(table, classes, own, list(splitter.split(frame)))

    def fits(self, tasks: Iterable[str]) -> Iterator[Any]:
        """Yield the delayed fit of a classifier of some tasks for each fold."""
        classes = {task: self.classes[task] for task in tasks}
        classifier = _with_tasks(self.classifier, classes)
        frame = _as_frame(self.table, classifier)
        wanted = np.isin(self.table.tasks, list(classes))
        for train, test in self.folds:
            yield delayed(_fit_fold)(classifier, frame, train[wanted[train]], test[wanted[test]])

    def fold_of(self, task: str) -> NDArray[np.int64]:
        """Return the number of the fold of each row of a task."""
        numbers = np.empty(len(self.table), dtype=np.int64)
        for number, (_, test) in enumerate(self.folds):
            numbers[test] = number
        return numbers[self.table.tasks == task]

    def rows(self, folds: Iterable[Fold]) -> dict[str, ScoredRows]:
        """Return the rows of the tasks of some folds, with their out-of-fold probabilities."""
        coded = encode_table(self.table, self.classes)
        shapes = ((len(coded), len(classes)) for classes in self.classes.values())
        every = dict(zip(self.classes, map(np.zeros, shapes), strict=True))
        found = set()
        for fold in folds:
            for task, (rows, proba) in fold.proba.items():
                every[task][rows] = proba
                found.add(task)
        of_tasks = [every[t][coded.tasks == code] for code, t in enumerate(self.classes)]
        scored = rows_by_task(self.table, coded, of_tasks)
        return {task: rows for task, rows in scored.items() if task in found}


class Fold(NamedTuple):
    """Result of the fit of a fold.

    Attributes
    ----------
    proba : dict of {str: tuple of ndarray}
        For each task, the held-out rows, as indices of the table, and their probabilities.
    lengths : dict of {str: TextLength}
        The length of each text of the held-out rows.
    seconds : float
        Duration of the fit.
    n_parameters, n_bytes : int
        Number of weights of the model, and their size in memory.
    """

    proba: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    lengths: dict[str, TextLength]
    seconds: float
    n_parameters: int
    n_bytes: int


def read_table(classifier: MultiheadClassifier | TextClassifier, X: Any, y: Any) -> LabeledTable:
    """Read labeled rows of the tasks of a classifier, or of any tasks if it is not fitted."""
    if classifier.__sklearn_is_fitted__():
        return classifier._table_to_score(classifier._snapshot(), X, y)
    if isinstance(classifier, TextClassifier):
        return classifier._reader.known_table(X, y, None)
    return read_labeled(X, y, classifier._columns)


def run(fits: Iterable[Any], n_jobs: int | None) -> list[Fold]:
    """Return the results of delayed fits in their order."""
    return Parallel(n_jobs=n_jobs)(fits)


def _fit_fold(classifier, frame, train, test) -> Fold:
    """Train on some rows of a frame, and predict others."""
    started = time.perf_counter()
    fitted = clone(classifier).fit(frame.iloc[train])
    seconds = time.perf_counter() - started
    held_out = frame.iloc[test]
    rows = scored_rows(fitted, held_out)
    texts = list(dict.fromkeys(held_out[classifier.text_column]))
    weights = list(fitted.model_.net.module_.parameters())
    return Fold(
        {task: (test[each.positions], each.proba) for task, each in rows.items()},
        text_lengths(fitted.model_, texts),
        seconds,
        sum(weight.numel() for weight in weights),
        sum(weight.nbytes for weight in weights),
    )


def _as_frame(table: LabeledTable, classifier: MultiheadClassifier) -> pd.DataFrame:
    """Return rows as a long frame with the columns of a classifier."""
    columns = zip(
        classifier._columns, (table.texts.strings(), table.tasks, table.labels), strict=True
    )
    return pd.DataFrame(dict(columns), dtype=object)


# --------------------------------------------------------------------------------------------
# Classifiers


def _for_folds(classifier: MultiheadClassifier | TextClassifier) -> MultiheadClassifier:
    """Return a classifier with the same parameters that trains on all rows of a frame.

    A TextClassifier becomes a classifier of one task, which gives the same probabilities. The fold
    takes the place of test rows, so no others are held out.
    """
    own = clone(classifier)
    if isinstance(own, TextClassifier):
        own = _as_multihead(own)
    return own.set_params(
        split_column=None, warm_start=False, checkpoint_dir=None, config__training__test_size=0
    )


def _as_multihead(classifier: TextClassifier) -> MultiheadClassifier:
    given, known = classifier.get_params(deep=False), MultiheadClassifier().get_params(deep=False)
    shared = {name: value for name, value in given.items() if name in known}
    return MultiheadClassifier(**{**shared, "label_texts": classifier._label_texts})


def _with_tasks(
    classifier: MultiheadClassifier, classes: Mapping[str, np.ndarray]
) -> MultiheadClassifier:
    """Return a copy for some tasks, with the classes that they have in all folds together."""
    own = clone(classifier)
    texts, weights = own.label_texts, own.get_params()["config__loss__task_weights"]
    if isinstance(texts, Mapping):
        texts = {task: texts[task] for task in classes if task in texts} or "auto"
    if weights is not None:
        weights = {task: weights[task] for task in classes if task in weights}
    return own.set_params(
        task_labels=dict(classes),
        label_texts=texts,
        config__loss__task_weights=weights if len(classes) > 1 else None,
    )

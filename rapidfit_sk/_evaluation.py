"""Evaluation of a fitted classifier on labeled rows: scores with intervals, per task and class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import precision_recall_fscore_support

from ._abstention import with_missing
from ._rows import CodedRows, LabeledTable, encode_table
from ._typing import ArrayOrFrame, RowsLike
from ._validation import short

METRICS = ("accuracy", "macro_f1", "log_loss", "calibration_error")
SCORE_COLUMNS = ["task", "metric", "value", "n", "low", "high"]
CLASS_COLUMNS = ["task", "label", "precision", "recall", "f1", "support"]

# Number of bins of equal width for the calibration error.
N_BINS = 15
# Number of resamples whose weights are in memory at once.
_AT_ONCE = 100
# Number of these weights.
_WEIGHTS_AT_ONCE = 5_000_000


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Labeled rows of one task, and the predictions for them.

    Attributes
    ----------
    texts : ndarray of object, shape (n_rows,)
        The texts.
    groups : ndarray of int, shape (n_rows,)
        The group of each text; rows of the same text have the same group.
    positions : ndarray of int, shape (n_rows,)
        The positions of the rows in X.
    labels : ndarray of object, shape (n_rows,)
        The labels.
    true : ndarray of int, shape (n_rows,)
        The codes of the labels; -1 for a label that is not a class.
    proba : ndarray of float, shape (n_rows, n_classes)
        The probabilities of the classes.
    classes : ndarray of shape (n_classes,)
        The classes.
    weights : ndarray of float, shape (n_rows,)
        The sample weights.
    """

    texts: NDArray[np.object_]
    groups: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.object_]
    true: NDArray[np.int64]
    proba: NDArray[np.float64]
    classes: np.ndarray
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.true)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The codes of the predicted labels."""
        return self.proba.argmax(axis=1)

    @property
    def classes_or_labels(self) -> NDArray[np.object_]:
        """The class of each row, or its label if this is not a class."""
        found = with_missing(self.classes)[self.true]
        found[self.true < 0] = self.labels[self.true < 0]
        return found

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted label of each row."""
        return self.proba.max(axis=1)

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the predicted label of each row is the label."""
        return self.predicted == self.true

    def take(self, rows: np.ndarray) -> ScoredRows:
        """Return a subset of the rows."""
        kept = {name: each[rows] for name, each in vars(self).items() if name != "classes"}
        return replace(self, **kept)


def check_classifier(caller: str, classifier: Any) -> None:
    """Raise TypeError if an object is not one of the two classifiers of this package."""
    if not hasattr(classifier, "_table_to_score"):
        raise TypeError(
            f"{caller} takes a MultiheadClassifier or a TextClassifier, got "
            f"{short(classifier)}. For one task of a classifier, pass the classifier and the rows "
            "of this task."
        )


def scored_rows(
    classifier: Any,
    X: RowsLike,
    y: ArrayOrFrame | None = None,
    sample_weight: Any = None,
) -> dict[str, ScoredRows]:
    """Predict labeled rows, and return them by task.

    Parameters
    ----------
    classifier : MultiheadClassifier or TextClassifier
        A fitted classifier.
    X, y, sample_weight
        Labeled rows, as in the `score` of the classifier.

    Returns
    -------
    rows : dict of {str: ScoredRows}
        The rows of each task that has some, in the order of the tasks of the classifier.
    """
    model = classifier._snapshot()
    table = classifier._table_to_score(model, X, y, sample_weight)
    return scored_table(model, table)


def scored_table(model: Any, table: LabeledTable) -> dict[str, ScoredRows]:
    """Predict the rows of a table with a fitted model; see :func:`scored_rows`."""
    rows = encode_table(table, model.classes)
    return rows_by_task(table, rows, model.probabilities(rows.texts, rows.tasks))


def rows_by_task(
    table: LabeledTable, rows: CodedRows, proba: Sequence[NDArray[np.float64]]
) -> dict[str, ScoredRows]:
    """Return the rows of a table and their predictions by task.

    Parameters
    ----------
    table : LabeledTable
        Labeled rows.
    rows : CodedRows
        The same rows as codes.
    proba : list of ndarray, each of shape (n_rows_of_task, n_classes_of_task)
        The probabilities of the rows of each task, in their order.

    Returns
    -------
    rows : dict of {str: ScoredRows}
        The rows of each task that has some.
    """
    texts, groups = table.texts.strings(), table.texts.groups
    found = {}
    for code, (task, classes) in enumerate(rows.classes.items()):
        at = np.flatnonzero(rows.tasks == code)
        if len(at):
            found[task] = ScoredRows(
                texts[at],
                groups[at],
                table.positions[at],
                table.labels[at],
                rows.labels[at],
                proba[code],
                classes,
                rows.weights[at],
            )
    return found


# --------------------------------------------------------------------------------------------
# Scores of tasks


def score_frame(rows: dict[str, ScoredRows], n_resamples: int, seed: int) -> pd.DataFrame:
    """Return the scores of each task with 95 % intervals, one per row.

    Parameters
    ----------
    rows : dict of {str: ScoredRows}
        The rows of each task.
    n_resamples : int
        The number of bootstrap resamples.
    seed : int
        The seed of the resamples.
    """
    found = []
    for task, of_task in rows.items():
        values, resampled = bootstrapped(of_task, n_resamples, np.random.default_rng(seed))
        n_known = int((of_task.true >= 0).sum())
        for metric, value, each in zip(METRICS, values, resampled.T, strict=True):
            low, high = _interval(metric, value, each)
            n = n_known if metric == "log_loss" else len(of_task)
            found.append((task, metric, value, n, low, high))
    return pd.DataFrame(found, columns=SCORE_COLUMNS)


def bootstrapped(
    rows: ScoredRows, n_resamples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of rows, and their values for texts that are drawn with replacement.

    Returns
    -------
    values : ndarray of shape (n_metrics,)
        The scores in the order of `METRICS`.
    resampled : ndarray of shape (n_resamples, n_metrics)
        The scores of each resample. Generators with the same seed draw the same texts, so resamples
        of two models on the same rows are paired.
    """
    _, groups = np.unique(rows.groups, return_inverse=True)
    n_texts = int(groups.max()) + 1
    scores = _WeightedScores(rows)
    values = scores(rows.weights[None, :].astype(np.float64))[0]
    parts = [np.empty((0, len(METRICS)))]
    at_once = max(1, min(_AT_ONCE, _WEIGHTS_AT_ONCE // len(rows)))
    for start in range(0, n_resamples, at_once):
        n = min(at_once, n_resamples - start)
        times = rng.multinomial(n_texts, np.full(n_texts, 1 / n_texts), size=n)
        parts.append(scores(np.multiply(times[:, groups], rows.weights, dtype=np.float64)))
    return values, np.concatenate(parts)


def _interval(metric: str, value: float, resampled: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a score from its values in resamples.

    A calibration error has an upward bias that grows when rows are drawn with replacement. Its
    interval is therefore the basic one, which is reflected at the value. An interval always
    contains the value.
    """
    if not len(resampled) or np.isnan(resampled).all():
        return np.nan, np.nan
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    if metric == "calibration_error":
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return float(min(low, value)), float(max(high, value))


class _WeightedScores:
    """Function that computes the scores of rows for several arrays of weights at once."""

    def __init__(self, rows: ScoredRows):
        n_classes = len(rows.classes)
        true = np.where(rows.true < 0, n_classes, rows.true)  # unknown labels are one more class
        predicted = rows.predicted
        self._correct = rows.is_correct.astype(np.float64)
        self._true = _indicator(true, n_classes + 1)
        self._predicted = _indicator(predicted, n_classes + 1)
        self._hits = self._true.multiply(self._correct[:, None]).tocsr()
        known = rows.true >= 0
        p = rows.proba[np.arange(len(rows)), np.where(known, rows.true, 0)]
        self._known = known.astype(np.float64)
        self._loss = np.where(known, -np.log(np.maximum(p, np.finfo(np.float64).tiny)), 0.0)
        gap = self._correct - rows.confidence
        self._gaps = _indicator(bins_of(rows.confidence), N_BINS).multiply(gap[:, None]).tocsr()

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return an array of shape (n_arrays, n_metrics)."""
        total = weights.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = [
                weights @ self._correct / total,
                self._macro_f1(weights),
                weights @ self._loss / (weights @ self._known),
                np.abs(weights @ self._gaps).sum(axis=1) / total,
            ]
        return np.column_stack(columns)

    def _macro_f1(self, weights) -> NDArray[np.float64]:
        """Return the mean F1 score over the classes that occur as a label or a prediction."""
        hits, true, predicted = (
            np.asarray(weights @ each) for each in (self._hits, self._true, self._predicted)
        )
        occurs = true + predicted > 0
        f1 = np.where(occurs, 2 * hits / np.where(occurs, true + predicted, 1), 0)
        return f1.sum(axis=1) / occurs.sum(axis=1)


def bins_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the calibration bin of each confidence, from 0."""
    return np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)


def _indicator(codes: np.ndarray, n_columns: int) -> sparse.csr_array:
    """Return a sparse matrix with a one in the column of each row's code."""
    n = len(codes)
    return sparse.csr_array((np.ones(n), (np.arange(n), codes)), shape=(n, n_columns))


# --------------------------------------------------------------------------------------------
# Scores of classes


def class_frame(rows: dict[str, ScoredRows]) -> pd.DataFrame:
    """Return precision, recall, F1 and number of rows of each class of each task."""
    found = [row for task, of_task in rows.items() for row in _of_classes(task, of_task)]
    # Labels of several tasks need not have the same type.
    return pd.DataFrame(found, columns=CLASS_COLUMNS, dtype=object).astype(
        {"precision": float, "recall": float, "f1": float, "support": int}
    )


def _of_classes(task: str, rows: ScoredRows) -> Iterator[tuple[Any, ...]]:
    codes = np.arange(len(rows.classes))
    precision, recall, f1, _ = precision_recall_fscore_support(
        rows.true, rows.predicted, labels=codes, zero_division=np.nan, sample_weight=rows.weights
    )
    support = np.bincount(rows.true[rows.true >= 0], minlength=len(codes))
    labels = rows.classes.tolist()
    yield from zip([task] * len(codes), labels, precision, recall, f1, support, strict=True)

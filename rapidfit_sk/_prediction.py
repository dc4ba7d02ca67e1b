"""`TaskPredictor`: prediction for several tasks, on a snapshot of a fitted model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch

from ._abstention import MIN_CONFIDENCE
from ._arrays import as_columns
from ._estimator import TextEstimator
from ._rows import (
    LabeledTable,
    Reader,
    Texts,
    as_pandas,
    encode_tasks,
    is_long,
    labels_by_task,
    read_texts,
    read_unlabeled,
)
from ._stream import batches_of, check_columns, predicted_frame
from ._typing import ArrayOrFrame, MinConfidence, RowsLike
from ._validation import boolean, check_argument, integer, short
from ._views import TaskClassifier

if TYPE_CHECKING:
    from ._fitted import FittedModel

# An array for one task, or a dict of arrays for several tasks.
Probabilities: TypeAlias = NDArray[np.float64] | dict[str, NDArray[np.float64]]

_NOT_AN_ARRAY = (
    "The classes_ of MultiheadClassifier are a dict with one array per task. For tools that expect "
    "a classifier of one task, use TextClassifier: pass classifier.classifier_for(task) to tools "
    "that fit, and classifier[task] to tools that only predict."
)


class ClassesByTask(dict[str, np.ndarray]):
    """Classes of several tasks, as a dict with one array per task.

    Tools of scikit-learn for classifiers expect a single array. Operations of an array raise an
    error that names a classifier of one task.
    """

    def __getitem__(self, task: str) -> np.ndarray:
        """Return the classes of a task, or raise TypeError for the index of an array."""
        if isinstance(task, str):
            return super().__getitem__(task)
        raise TypeError(_NOT_AN_ARRAY)

    @property
    def shape(self) -> NoReturn:
        """Raise AttributeError, because several tasks have no common array of classes."""
        raise AttributeError(_NOT_AN_ARRAY)

    def __array__(self, dtype=None, copy=None) -> NoReturn:
        """Raise TypeError, because several tasks have no common array of classes."""
        raise TypeError(_NOT_AN_ARRAY)


class ProbabilitiesByTask(dict[str, NDArray[np.float64]]):
    """Probabilities of several tasks, as a dict with one array per task.

    Arrays of different tasks have different rows and columns. A conversion to a single array, for
    example by a scorer of scikit-learn, therefore raises an error.
    """

    def __array__(self, dtype=None, copy=None) -> NoReturn:
        """Raise TypeError, because several tasks have no common array of probabilities."""
        raise TypeError(
            f"The probabilities of {len(self)} tasks cannot be combined into one array. Score one "
            "task with rapidfit_sk.model_selection.task_scorer(task, metric), or with the view "
            "classifier[task]."
        )


class TaskPredictor(TextEstimator):
    """Base class with the fitted attributes and the prediction methods for several tasks.

    Each method reads `model_` once. Another thread may therefore fit the classifier or add a task
    at the same time.
    """

    task_labels: Any
    split_column: str | None

    # ----------------------------------------------------------------------------------------
    # Fitted attributes

    @property
    def classes_(self) -> ClassesByTask:
        """The sorted classes of each task."""
        return ClassesByTask(self._fitted("classes_").classes)

    @property
    def tasks_(self) -> list[str]:
        """The tasks in order of first appearance."""
        return self._fitted("tasks_").tasks

    @property
    def temperatures_(self) -> dict[str, float]:
        """The temperature that divides the logits of each task."""
        return self._fitted("temperatures_").temperatures

    @property
    def thresholds_(self) -> dict[str, float]:
        """The tuned minimum confidence of each task that has one."""
        return dict(self._fitted("thresholds_").thresholds or {})

    @property
    def truncated_fraction_(self) -> dict[str, float]:
        """Share of the training texts of each task that are longer than `max_length`."""
        coverage = self._fitted("truncated_fraction_").coverage or {}
        return {task: each.truncated for task, each in coverage.items()}

    @property
    def unknown_fraction_(self) -> dict[str, float]:
        """Share of the tokens of each task that the tokenizer does not know."""
        coverage = self._fitted("unknown_fraction_").coverage or {}
        return {task: each.unknown for task, each in coverage.items()}

    @property
    def named_estimators_(self) -> Bunch:
        """The views of all tasks, by name."""
        views = Bunch()
        # Do not pass the views as keywords, because a task may be called `self`.
        tasks = self._fitted("named_estimators_").tasks
        views.update({task: TaskClassifier(self, task) for task in tasks})
        return views

    # ----------------------------------------------------------------------------------------
    # Prediction

    def predict(
        self,
        X: ArrayOrFrame,
        task: str | None = None,
        *,
        min_confidence: MinConfidence | None = None,
    ) -> np.ndarray:
        """Predict labels.

        Parameters
        ----------
        X : DataFrame or array-like of str
            A frame with a text and a task column, or texts in any form that :meth:`fit` takes.
            A label column is never needed.
        task : str or None, default=None
            The task to predict. None means the task of each row if X has a task column, and all
            tasks otherwise.
        min_confidence : float, dict, "tuned" or None, default=None
            The probability that the predicted label of a row must have. Rows below it get None
            instead of a label. A dict ``{task: float}`` sets it for some tasks, and "tuned" uses
            `thresholds_`. None predicts a label for each row.

        Returns
        -------
        labels : ndarray of shape (n_rows,) or (n_texts, n_tasks)
            One label per row of a frame with a task column, or per text if there is one task.
            Otherwise, one column per task in the order of `tasks_`. Labels have the same type as
            in :meth:`fit`. If this type differs between tasks, the array has dtype object. With
            `min_confidence`, it always has dtype object, and labels are Python objects.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If a task was not in the training data, or "tuned" is used for a task without a
            threshold.

        See Also
        --------
        tune_thresholds : Choose the minimum confidence on calibration rows.
        """
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE)
        model = self._snapshot()
        if task is None and is_long(X, self._columns):
            texts, tasks = self._rows_to_predict(model, X, None)
            minimum = model.min_confidence_of(min_confidence, np.unique(tasks))
            return model.labels(texts, tasks, minimum)
        requested = model.task_codes(task)
        minimum = model.min_confidence_of(min_confidence, requested)
        found = model.labels_by_task(read_texts(X, self._columns), requested, minimum)
        return as_columns(list(found.values()))

    def predict_all(
        self,
        X: ArrayOrFrame,
        *,
        proba: bool = False,
        min_confidence: MinConfidence | None = None,
    ) -> pd.DataFrame:
        """Predict the label of each text for every task.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.
        proba : bool, default=False
            Whether to add, after the column of each task, a column ``"TASK confidence"`` with the
            probability of the predicted label, and a column ``"TASK=CLASS"`` with the probability
            of each class.
        min_confidence : float, dict, "tuned" or None, default=None
            As in :meth:`predict`. Rows below it have a missing value, which ``isna`` finds. Their
            confidence is that of the label that they would have.

        Returns
        -------
        labels : DataFrame
            One row per text and one column per task, with the type of its labels, and the columns
            of `proba`. The index is the index of X, if X has one.
        """
        check_argument("proba", proba, boolean())
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE)
        index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
        model = self._snapshot()
        texts, requested = read_texts(X, self._columns), model.task_codes(None)
        minimum = model.min_confidence_of(min_confidence, requested)
        if proba:
            check_columns(model, requested)
        return predicted_frame(model, texts, requested, index, proba, minimum)

    @overload
    def predict_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    @overload
    def predict_proba(self, X: ArrayOrFrame, task: None = None) -> Probabilities: ...

    def predict_proba(self, X: ArrayOrFrame, task: str | None = None) -> Probabilities:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or array-like of str
            As in :meth:`predict`.
        task : str or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        probabilities : ndarray or dict of {str: ndarray}
            For one task, an array of shape (n_rows, n_classes) with columns in the order of
            ``classes_[task]`` and rows that sum to 1. For several tasks, a dict that maps
            each task to such an array, with the rows of this task in their order.
        """
        return self._probabilities("probabilities", X, task)

    @overload
    def predict_log_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    @overload
    def predict_log_proba(self, X: ArrayOrFrame, task: None = None) -> Probabilities: ...

    def predict_log_proba(self, X: ArrayOrFrame, task: str | None = None) -> Probabilities:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : DataFrame or array-like of str
            As in :meth:`predict`.
        task : str or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        log_probabilities : ndarray or dict of {str: ndarray}
            The natural logarithms of :meth:`predict_proba`. They are finite, also for
            probabilities that are rounded to 0.
        """
        return self._probabilities("log_probabilities", X, task)

    def _probabilities(self, method: str, X, task) -> Probabilities:
        """Call a method of the fitted model, and return its result for the requested tasks."""
        model = self._snapshot()
        texts, tasks = self._rows_to_predict(model, X, task)
        every = getattr(model, method)(texts, tasks)
        requested = dict.fromkeys(tasks) if len(tasks) else model.task_codes(task)
        result = ProbabilitiesByTask({model.tasks[code]: every[code] for code in sorted(requested)})
        return next(iter(result.values())) if len(result) == 1 else result

    def predict_batches(
        self,
        X: Iterable[str | ArrayOrFrame],
        task: str | None = None,
        *,
        batch_rows: int = 4096,
        proba: bool = False,
        min_confidence: MinConfidence | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Predict a stream of texts of any length, a batch at a time.

        Parameters
        ----------
        X : iterable of str or of DataFrame
            Texts, for example the lines of a file, or frames with a text column, for example the
            chunks of ``pandas.read_csv(..., chunksize=10_000)``. It is read as needed.
        task : str or None, default=None
            The task to predict; None for all tasks.
        batch_rows : int, default=4096
            The maximum number of texts in a batch. Memory grows with it.
        proba : bool, default=False
            Whether to add columns of probabilities, as in :meth:`predict_all`.
        min_confidence : float, dict, "tuned" or None, default=None
            As in :meth:`predict_all`.

        Returns
        -------
        batches : iterator of DataFrame
            Frames with a column of labels per task, in the order of X. The index continues from
            one frame to the next if X contains texts; otherwise, it is the index of each frame.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        TypeError, ValueError
            If X is a single text or not iterable, or if an item is neither a valid text nor a
            frame. An item is checked when its batch is read.

        Notes
        -----
        All batches come from the model of the time of the call, even if the classifier is fitted
        meanwhile.
        """
        check_argument("batch_rows", batch_rows, integer(1))
        check_argument("proba", proba, boolean())
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE)
        if isinstance(X, str | bytes | Mapping) or not hasattr(X, "__iter__"):
            raise TypeError(f"X must be an iterable of texts or of frames, got {short(X)}.")
        items: Any = [X] if isinstance(as_pandas(X), pd.DataFrame) else X
        model = self._snapshot()
        requested = model.task_codes(task)
        minimum = model.min_confidence_of(min_confidence, requested)
        if proba:
            check_columns(model, requested)
        return (
            predicted_frame(model, texts, requested, index, proba, minimum)
            for texts, index in batches_of(items, self._columns, batch_rows)
        )

    def score(
        self, X: RowsLike, y: ArrayOrFrame | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the accuracy, averaged over tasks.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Labeled rows in any form that :meth:`fit` takes.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them. An array of shape (n_texts, n_tasks), as
            :meth:`predict` returns it, has one column per task in the order of `tasks_`.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row of X within its task.

        Returns
        -------
        score : float
            The mean accuracy. All tasks have the same weight, whatever the number of their rows.
            A row whose label was not in the training data counts as wrong. Each row has a
            prediction, whatever `thresholds_` are.
        """
        model = self._snapshot()
        scores = model.score(self._rows_to_score(model, X, y, sample_weight))
        return float(np.mean([score["accuracy"] for score in scores.values()]))

    # ----------------------------------------------------------------------------------------
    # Views

    def __getitem__(self, task: str) -> TaskClassifier:
        """Return the view of one task."""
        self._snapshot().check_task(task)
        return TaskClassifier(self, task)

    def __contains__(self, task: object) -> bool:
        """Check whether the classifier has a task."""
        return task in self._snapshot().tasks

    # ----------------------------------------------------------------------------------------
    # Input

    @property
    def _reader(self) -> Reader:
        return Reader(self._columns, self.task_labels, self.split_column, self.label_texts)

    def _table_to_score(self, model: FittedModel, X, y, sample_weight=None) -> LabeledTable:
        """Read labeled rows of the tasks of a fitted model."""
        if not is_long(X, self._columns):
            y = labels_by_task(y, model.tasks)
        return self._reader.known_table(X, y, sample_weight, model.tasks)

    def _rows_to_predict(self, model: FittedModel, X, task) -> tuple[Texts, NDArray[np.int64]]:
        """Return the text and the task code of each requested prediction."""
        if task is None and is_long(X, self._columns):
            table = read_unlabeled(X, self._columns)
            return table.texts, encode_tasks(table, model.tasks)
        codes = model.task_codes(task)
        texts = read_texts(X, self._columns)
        return texts.repeat(len(codes)), np.tile(codes, len(texts))

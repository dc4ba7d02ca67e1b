"""Cross-validation that knows tasks: a splitter and scorers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer
from sklearn.model_selection import BaseCrossValidator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import check_is_fitted

from ._classifier import MultiheadClassifier
from ._rows import (
    Columns,
    Texts,
    assign_folds,
    column_values,
    is_long,
    read_labeled,
    read_texts,
)
from ._typing import ArrayOrFrame, RowsLike
from ._validation import IN_FOLDS, integer, unknown_task, warn_user
from ._views import TaskClassifier

__all__ = ["TaskStratifiedKFold", "multitask_scoring", "task_scorer"]


# --------------------------------------------------------------------------------------------
# Folds


class TaskStratifiedKFold(BaseCrossValidator):
    """K folds that each have their share of every class of every task, and part no text.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the texts before they are dealt out.
    random_state : int, RandomState instance or None, default=None
        Decides the order where `shuffle` is True.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        The names of the columns of a long frame, as in
        :class:`~rapidfit_sk.MultiheadClassifier`.

    Raises
    ------
    ValueError
        If `n_splits` is less than 2, or a `random_state` is given without `shuffle`.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : The same for one task, with groups given.

    Notes
    -----
    `split` takes the rows in any form that ``MultiheadClassifier.fit`` takes, but for the dict:
    a long frame, (X, y), or texts with one column of labels per task. All rows of a text are on
    one side, over all tasks. A text that is trained on for its sentiment says nothing honest
    about how well its emotion is told.

    Examples
    --------
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.model_selection import TaskStratifiedKFold
    >>> messages = load_support_messages()
    >>> for train, test in TaskStratifiedKFold(3).split(messages):
    ...     print(messages["task"].iloc[test].value_counts().to_dict())
    {'sentiment': 100, 'intent': 100, 'emotion': 72}
    {'sentiment': 100, 'intent': 100, 'emotion': 71}
    {'sentiment': 100, 'intent': 100, 'emotion': 72}
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
        text_column: str = "text",
        task_column: str = "task",
        label_column: str = "label",
    ):
        # A splitter is no estimator: scikit-learn's own check their parameters here, too.
        if not integer(2).accepts(n_splits):
            raise ValueError(f"n_splits must be an int of 2 or more, got {n_splits!r}.")
        if not shuffle and random_state is not None:
            raise ValueError(
                "random_state has no effect without shuffle. Set shuffle=True, or leave "
                "random_state at None."
            )
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : any
            Not used.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        return self.n_splits

    def _iter_test_indices(self, X=None, y=None, groups=None) -> Iterator[NDArray[np.int64]]:
        if groups is not None:
            warn_user("groups are ignored by TaskStratifiedKFold: the texts are its groups.")
        texts, (rows, strata) = self._read(X, y)
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = assign_folds(rows, strata, self.n_splits, rng)[texts]
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds == fold)

    def _read(self, X, y) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the text of each row of X, and the text and the stratum of each labeled row."""
        if isinstance(X, Mapping):
            raise TypeError(
                "X is a dict of tasks, which cannot be split by rows. Give a long frame: one row "
                "for each text and task."
            )
        columns = Columns(self.text_column, self.task_column, self.label_column)
        table = read_labeled(X, y, columns)
        codes = (table.texts if is_long(X, columns) else read_texts(X, columns)).codes
        texts = codes[table.positions]
        names = list(zip(table.tasks, table.labels, strict=True))
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        classes = np.array([numbers[name] for name in names])
        self._check_sizes(texts, classes, list(numbers))
        # Each row counts for its class and for its task; texts without any label for their own.
        tasks = len(numbers) + Texts.of(table.tasks).codes
        unlabeled = np.setdiff1d(codes, texts)
        strata = [classes, tasks, np.full(len(unlabeled), tasks.max() + 1)]
        return codes, (np.concatenate([texts, texts, unlabeled]), np.concatenate(strata))

    def _check_sizes(self, texts: np.ndarray, strata: np.ndarray, names: list[tuple[str, Any]]):
        """Refuse a task with fewer texts than folds, and warn of a class with fewer."""
        sizes: dict[tuple[str, Any], int] = {}
        of_task: dict[str, set[int]] = {}
        for number, (task, label) in enumerate(names):
            mine = np.unique(texts[strata == number])
            sizes[task, label] = len(mine)
            of_task.setdefault(task, set()).update(mine.tolist())
        for task, numbers in of_task.items():
            if len(numbers) < self.n_splits:
                raise ValueError(
                    f"Task {task!r} has {len(numbers)} texts, too few for {self.n_splits} folds. "
                    "Lower n_splits, or leave the task out."
                )
        small = [name for name, size in sizes.items() if size < self.n_splits]
        if small:
            (task, label), more = small[0], len(small) - 1
            warn_user(
                f"Class {label!r} of task {task!r} has {sizes[small[0]]} texts, fewer than the "
                f"{self.n_splits} folds{f', and so have {more} more classes' if more else ''}: "
                "some folds go without. The parameter task_labels of MultiheadClassifier keeps a "
                "column for it."
            )


# --------------------------------------------------------------------------------------------
# Scorers


# What scikit-learn takes for `scoring`: a name, or a scorer.
Metric: TypeAlias = str | Callable[..., float]


def task_scorer(
    task: str, metric: Metric = "accuracy", *, labels: Collection[Any] | None = None
) -> TaskScorer:
    """Make a scorer of one task out of any metric of scikit-learn.

    Parameters
    ----------
    task : str
        The task.
    metric : str or callable, default="accuracy"
        A name of :func:`sklearn.metrics.get_scorer_names`, or what
        :func:`sklearn.metrics.make_scorer` returns. For binary metrics the second of the
        sorted classes is the positive one, unless the metric says otherwise.
    labels : array-like or None, default=None
        The labels that the task may have, for metrics on probabilities. None for those that
        the fitted classifier knows.

    Returns
    -------
    scorer : TaskScorer
        To be passed as `scoring`. It is called with a fitted
        :class:`~rapidfit_sk.MultiheadClassifier`, or with a pipeline or a search around one,
        and rows in any form that ``fit`` takes. It can be pickled.

    Raises
    ------
    ValueError
        If there is no metric of that name.

    See Also
    --------
    multitask_scoring : Several tasks and metrics at once.

    Notes
    -----
    A label that the classifier never saw, because a training fold had none of it, gets a
    probability of 0, and its rows count as wrong. A metric that is not defined on the rows of a
    fold is what scikit-learn makes of it; of an error the search makes its `error_score`.

    Examples
    --------
    >>> from rapidfit_sk.model_selection import task_scorer
    >>> task_scorer("sentiment", "neg_log_loss")
    TaskScorer(metric='neg_log_loss', task='sentiment')
    """
    if metric is None or getattr(metric, "__module__", "").startswith("sklearn.metrics._c"):
        raise ValueError(
            f"metric must be a name of a scorer, or a scorer, got {metric!r}. Make a scorer of a "
            "function with sklearn.metrics.make_scorer."
        )
    get_scorer(metric)
    return TaskScorer(task, metric, labels=labels)


def multitask_scoring(
    tasks: Iterable[str],
    metrics: str | Iterable[str] | Mapping[str, Metric] = "accuracy",
    average: Literal["macro", "weighted"] = "macro",
) -> MultitaskScoring:
    """Score several tasks by several metrics in one pass, with their means for `refit`.

    Parameters
    ----------
    tasks : list of str
        The tasks.
    metrics : str, list of str, or dict of {str: str or callable}, default="accuracy"
        The metrics, as in :func:`task_scorer`; as a dict, by the names that keys get.
    average : {"macro", "weighted"}, default="macro"
        Whether each task counts the same in a mean, or as much as it has rows (or weight).

    Returns
    -------
    scoring : MultitaskScoring
        A dict of scorers with the keys ``TASK_METRIC`` and ``mean_METRIC``, to be passed as
        `scoring`, with for example ``refit="mean_accuracy"``. Its keys are the same in every
        fold. One of its scorers can be used alone: ``scoring["mean_accuracy"]``. It can be
        pickled.

    Raises
    ------
    ValueError
        If there is no metric of that name, `average` is not one of the above, or two keys are
        the same.

    Notes
    -----
    The rows of all tasks go through the encoder once. A score that cannot be computed is nan,
    with a warning that says why; so is the mean that it is part of.

    Examples
    --------
    >>> from rapidfit_sk.model_selection import multitask_scoring
    >>> list(multitask_scoring(["sentiment", "intent"], ["accuracy", "f1_macro"]))
    ['sentiment_accuracy', 'intent_accuracy', 'mean_accuracy',
     'sentiment_f1_macro', 'intent_f1_macro', 'mean_f1_macro']
    """
    tasks = [tasks] if isinstance(tasks, str) else list(tasks)
    if not tasks:
        raise ValueError("tasks is empty. Name the tasks to score.")
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if average not in ("macro", "weighted"):
        raise ValueError(f"average must be 'macro' or 'weighted'. Got {average!r} instead.")
    scoring = MultitaskScoring()
    for name in metrics:
        metric = metrics[name] if isinstance(metrics, Mapping) else name
        scorers = [task_scorer(task, metric) for task in tasks]
        keys = [f"{task}_{name}" for task in tasks] + [f"mean_{name}"]
        for key, scorer in zip(keys, [*scorers, MeanScorer(scorers, average)], strict=True):
            if key in scoring:
                raise ValueError(
                    f"Two scores would be called {key!r}. Name each task and each metric once."
                )
            scoring[key] = scorer
    return scoring


class _Scorer(BaseEstimator):
    """What scorers have in common; `BaseEstimator` gives them clone, repr and routing."""

    def __call__(
        self,
        estimator: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score a fitted estimator on labeled rows."""
        return self.score_predictions(_predict_tasks(estimator, X, y, sample_weight, self.tasks))

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Say whether a search shall pass `sample_weight` on: True, False, None or an alias."""
        # scikit-learn would make this method for a class that has a method called score.
        request = MetadataRequest(owner=type(self).__name__)
        request.score.add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self

    def get_metadata_routing(self):
        """Return what is requested: as long as nothing was said, passing weights is an error."""
        if not hasattr(self, "_metadata_request"):
            return copy.copy(self).set_score_request(sample_weight=None)._metadata_request
        return super().get_metadata_routing()


class TaskScorer(_Scorer):
    """A scorer of one task; see :func:`task_scorer`."""

    def __init__(
        self, task: str, metric: Metric = "accuracy", *, labels: Collection[Any] | None = None
    ):
        self.task = task
        self.metric = metric
        self.labels = labels

    @property
    def tasks(self) -> list[str]:
        """The tasks that are scored."""
        return [self.task]

    def score_predictions(self, answers: dict[str, _TaskPredictions | str]) -> float:
        """Score what a classifier has answered."""
        rows = _predictions_of(self.task, answers).with_labels(self.labels)
        weights = {} if rows.weights is None else {"sample_weight": rows.weights}
        scorer = get_scorer(self.metric)
        if not hasattr(scorer, "_score_func"):
            # A function of the user's own may ask for anything, so that it gets the view itself.
            return scorer(rows.view, rows.texts, rows.labels, **weights)
        return _with_labels(scorer, rows.classes)(
            _PrecomputedClassifier(rows), rows.texts, rows.labels, **weights
        )


class MeanScorer(_Scorer):
    """The mean of scorers over tasks; see :func:`multitask_scoring`."""

    def __init__(self, scorers: list[TaskScorer], average: Literal["macro", "weighted"] = "macro"):
        self.scorers = scorers
        self.average = average

    @property
    def tasks(self) -> list[str]:
        """The tasks that are scored."""
        return [scorer.task for scorer in self.scorers]

    def score_predictions(self, answers: dict[str, _TaskPredictions | str]) -> float:
        """Score what a classifier has answered."""
        scores = [scorer.score_predictions(answers) for scorer in self.scorers]
        sizes = [_predictions_of(scorer.task, answers).size for scorer in self.scorers]
        return float(np.average(scores, weights=sizes if self.average == "weighted" else None))


class MultitaskScoring(dict[str, TaskScorer | MeanScorer]):
    """Scorers by name that share one pass; see :func:`multitask_scoring`."""

    def __call__(
        self,
        estimator: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Score a fitted estimator on labeled rows; what cannot be scored is nan."""
        tasks = dict.fromkeys(task for scorer in self.values() for task in scorer.tasks)
        answers = _predict_tasks(estimator, X, y, sample_weight, list(tasks))
        return {name: _score_or_nan(name, scorer, answers) for name, scorer in self.items()}

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Say whether a search shall pass `sample_weight` on, for all scorers."""
        for scorer in self.values():
            scorer.set_score_request(sample_weight=sample_weight)
        return self

    def get_metadata_routing(self):
        """Return what is requested; all scorers request the same."""
        return next(iter(self.values())).get_metadata_routing()


def _score_or_nan(name, scorer, answers) -> float:
    # A search that gets scores of some folds and an error from another one breaks down.
    try:
        return scorer.score_predictions(answers)
    except (ValueError, TypeError, ArithmeticError) as error:
        if not isinstance(scorer, MeanScorer):
            warn_user(f"The score {name!r} could not be computed and is nan: {error}")
        return np.nan


# --------------------------------------------------------------------------------------------
# Answers


@dataclass(frozen=True)
class _TaskPredictions:
    """The rows of one task and what a classifier says of them.

    Attributes
    ----------
    view : TaskClassifier
        The view that was asked.
    texts, labels : ndarray of shape (n_rows,)
        The rows.
    weights : ndarray of float or None, shape (n_rows,)
        Their weights.
    classes : ndarray of shape (n_classes,)
        Sorted.
    probabilities : ndarray of shape (n_rows, n_classes)
        One column for each class.
    """

    view: TaskClassifier
    texts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
    classes: np.ndarray
    probabilities: np.ndarray

    @property
    def size(self) -> float:
        """How much all rows count."""
        return len(self.labels) if self.weights is None else self.weights.sum()

    def with_labels(self, labels: Collection[Any] | None) -> _TaskPredictions:
        """Add a column of zeros for each label that the classifier does not know."""
        known, plain = self.classes.tolist(), self.labels.tolist()
        given = [] if labels is None else column_values(labels).tolist()
        try:
            every = sorted({*known, *plain, *given})
        except TypeError as error:
            raise TypeError(
                f"Task {self.view.task!r} has labels of several types: {known[0]!r} in fit, "
                f"{(given or plain)[0]!r} in the rows or the labels of the scorer. Give the type "
                "that fit saw."
            ) from error
        probabilities = np.zeros((len(plain), len(every)))
        probabilities[:, [every.index(label) for label in known]] = self.probabilities
        # Strings stay objects, as in `classes_`; numbers and bools are of numpy's types.
        dtype = object if isinstance(every[0], str) else None
        classes, own = np.array(every, dtype=dtype), np.array(plain, dtype=dtype)
        if classes.dtype.kind == "f" and (classes % 1).any():
            # scikit-learn takes fractions for a regression: score their positions instead.
            classes, own = np.arange(len(every)), np.searchsorted(classes, own)
        return replace(self, labels=own, classes=classes, probabilities=probabilities)


def _predictions_of(task: str, answers: dict[str, _TaskPredictions | str]) -> _TaskPredictions:
    """Return the answers for one task; raise the reason if there are none."""
    found = answers[task]
    if isinstance(found, str):
        raise ValueError(found)
    return found


class _PrecomputedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that has been asked already, for scikit-learn's scorers."""

    def __init__(self, rows: _TaskPredictions):
        self.rows = rows
        self.classes_ = rows.classes

    def predict(self, X):
        return self.classes_[self.rows.probabilities.argmax(axis=1)]

    def predict_proba(self, X):
        return self.rows.probabilities


def _predict_tasks(
    estimator, X, y, sample_weight, tasks: list[str]
) -> dict[str, _TaskPredictions | str]:
    """Return the answers for each task, or the sentence that says why there are none."""
    classifier, X = _find_classifier(estimator, X)
    model = classifier.model_
    known = model.tasks
    table = read_labeled(X, y, classifier._columns, tasks=known, sample_weight=sample_weight)
    table = table.without_zeros()
    wanted = np.isin(table.tasks, [task for task in tasks if task in known])
    codes = np.array([known.index(task) for task in table.tasks[wanted]], dtype=int)
    probabilities = model.probabilities(table.texts.take(wanted), codes)
    answers: dict[str, _TaskPredictions | str] = {}
    for task in tasks:
        rows = table.tasks == task
        if task not in known and not rows.any():
            raise ValueError(unknown_task(task, known))  # a slip of the pen, in every fold
        if task not in known:
            answers[task] = f"{unknown_task(task, known)} {IN_FOLDS}"
        elif not rows.any():
            answers[task] = f"There are no rows of task {task!r} to score. {IN_FOLDS}"
        else:
            answers[task] = _TaskPredictions(
                classifier[task],
                table.texts.take(rows).strings(),
                table.labels[rows],
                None if table.weights is None else table.weights[rows],
                model.classes[task],
                probabilities[known.index(task)],
            )
    return answers


def _find_classifier(estimator, X) -> tuple[MultiheadClassifier, Any]:
    """Return the classifier inside of an estimator, and X as it reaches it."""
    check_is_fitted(estimator)
    if isinstance(estimator, MultiheadClassifier):
        return estimator, X
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        return _find_classifier(estimator[-1], X)
    if isinstance(estimator, FrozenEstimator):
        return _find_classifier(estimator.estimator, X)
    if hasattr(estimator, "best_estimator_"):
        return _find_classifier(estimator.best_estimator_, X)
    raise TypeError(
        "This scorer takes a MultiheadClassifier, or a pipeline or a search around one, got "
        f"{type(estimator).__name__}. For a view use scikit-learn's own scorers."
    )


def _with_labels(scorer, classes):
    """Tell a scorer which labels there are, and which is the positive one, where it must know."""
    parameters, given = inspect.signature(scorer._score_func).parameters, scorer._kwargs
    extra = {}
    on_labels = scorer._response_method == "predict"
    if "labels" in parameters and not on_labels:
        extra["labels"] = classes
    if "pos_label" in parameters and parameters["pos_label"].default in (1, None):
        # The default of 1 is no label of a task with strings.
        if len(classes) == 2 and given.get("average", "binary") == "binary":
            extra["pos_label"] = classes[1]
        elif on_labels:
            extra["pos_label"] = None
    scorer = copy.copy(scorer)
    scorer._kwargs = extra | given
    return scorer

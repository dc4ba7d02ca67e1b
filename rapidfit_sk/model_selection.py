"""Cross-validation splitter and scorers for several tasks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, get_scorer_names
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
    exact_array,
    is_long,
    parameter_labels,
    plain_label,
    read_labeled,
    read_texts,
)
from ._typing import ArrayOrFrame, RowsLike
from ._validation import (
    IN_FOLDS,
    Constraint,
    boolean,
    check_parameters,
    instance_of,
    integer,
    is_name,
    none,
    short,
    suggestion,
    text,
    unknown_task,
    warn_user,
)
from ._views import TaskClassifier

__all__ = ["TaskStratifiedKFold", "multitask_scoring", "task_scorer"]


# --------------------------------------------------------------------------------------------
# Folds


class TaskStratifiedKFold(BaseCrossValidator):
    """Stratified K-fold splitter for rows of several tasks, grouped by text.

    Each fold has its share of every class of every task. All rows of a text are in the same fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the texts before assigning them to folds.
    random_state : int, RandomState instance or None, default=None
        Controls the order of the texts if `shuffle` is True.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        Names of the columns of a long frame, as in :class:`~rapidfit_sk.MultiheadClassifier`.

    Raises
    ------
    ValueError
        If a parameter is invalid, or a `random_state` is given without `shuffle`.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : Similar splitter for one task and given groups.

    Notes
    -----
    `split` accepts rows in the same forms as ``MultiheadClassifier.fit``, except the dict: a long
    frame, (X, y), or texts with one column of labels per task. The training rows and the test
    rows of a split have no text in common, over all tasks. Otherwise, a model could train on a
    text for one task and be tested on it for another, and the test score would be too high.

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

    _constraints: ClassVar[dict[str, Constraint]] = {
        "n_splits": Constraint("an int of 2 or more", integer(2).accepts),
        "shuffle": boolean(),
        "random_state": integer(0, 2**32 - 1) | instance_of(np.random.RandomState) | none,
        "text_column": text(),
        "task_column": text(),
        "label_column": text(),
    }

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
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column
        # A splitter has no fit, so it checks its parameters here, as scikit-learn's splitters do.
        check_parameters(self, self._constraints)
        if not shuffle and random_state is not None:
            raise ValueError(
                "Setting 'random_state' has no effect, because 'shuffle' is False. Set "
                "shuffle=True, or leave random_state=None."
            )
        if len({text_column, task_column, label_column}) < 3:
            raise ValueError(
                "The 'text_column', 'task_column' and 'label_column' parameters must be different, "
                f"got {short(text_column)}, {short(task_column)} and {short(label_column)}."
            )

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : any
            Ignored.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        return self.n_splits

    def split(
        self, X: RowsLike, y: ArrayOrFrame | None = None, groups: object = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the training rows and the test rows of each fold.

        Parameters
        ----------
        X : DataFrame or array-like of str
            Rows in any form that ``MultiheadClassifier.fit`` takes, except the dict.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        groups : object, default=None
            Ignored, with a warning.

        Yields
        ------
        train, test : ndarray of int
            Positions in X of the training rows and the test rows.

        Raises
        ------
        ValueError, TypeError
            If the data is invalid, or if a task has fewer texts than there are folds.
        """
        # The method of the base class checks X and y first, with messages of scikit-learn.
        for is_test in self._iter_test_masks(X, y, groups):
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def _iter_test_masks(self, X=None, y=None, groups=None) -> Iterator[NDArray[np.bool_]]:
        if groups is not None:
            warn_user("TaskStratifiedKFold ignores 'groups', because it groups rows by text.")
        texts, (rows, strata) = self._read(X, y)
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = assign_folds(rows, strata, self.n_splits, rng)[texts]
        for fold in range(self.n_splits):
            yield folds == fold

    def _read(self, X, y) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the text of each row of X, and the texts and strata to distribute over folds."""
        if isinstance(X, Mapping):
            raise TypeError(
                "X is a dict of tasks, which cannot be split by rows. Pass a long frame, with one "
                "row per text and task."
            )
        columns = Columns(self.text_column, self.task_column, self.label_column)
        table = read_labeled(X, y, columns)
        codes = (table.texts if is_long(X, columns) else read_texts(X, columns)).groups
        texts = codes[table.positions]
        names = list(zip(table.tasks, table.labels, strict=True))
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        classes = np.array([numbers[name] for name in names])
        self._check_sizes(texts, classes, list(numbers))
        # A labeled row is in two strata, of its class and of its task. Unlabeled texts have one.
        tasks = len(numbers) + Texts.of(table.tasks).codes
        unlabeled = np.setdiff1d(codes, texts)
        strata = [classes, tasks, np.full(len(unlabeled), tasks.max() + 1)]
        return codes, (np.concatenate([texts, texts, unlabeled]), np.concatenate(strata))

    def _check_sizes(self, texts: np.ndarray, strata: np.ndarray, names: list[tuple[str, Any]]):
        """Raise ValueError for a task with fewer texts than folds, and warn about such classes."""
        sizes: dict[tuple[str, Any], int] = {}
        of_task: dict[str, set[int]] = {}
        for number, (task, label) in enumerate(names):
            mine = np.unique(texts[strata == number])
            sizes[task, label] = len(mine)
            of_task.setdefault(task, set()).update(mine.tolist())
        for task, numbers in of_task.items():
            if len(numbers) < self.n_splits:
                raise ValueError(
                    f"Task {short(task)} has {len(numbers)} texts, too few for "
                    f"{short(self.n_splits)} folds. Reduce 'n_splits', or drop the task."
                )
        small = [name for name, size in sizes.items() if size < self.n_splits]
        if small:
            (task, label), more = small[0], len(small) - 1
            warn_user(
                f"Class {short(label)} of task {short(task)} has {sizes[small[0]]} texts, fewer "
                f"than the {self.n_splits} folds"
                f"{f' (one of {more + 1} such classes)' if more else ''}. Some folds have no row "
                "of it. To keep a column for it in all folds, set the 'task_labels' parameter of "
                "MultiheadClassifier."
            )


# --------------------------------------------------------------------------------------------
# Scorers


# A value that scikit-learn accepts for `scoring`: the name of a scorer, or a scorer.
Metric: TypeAlias = str | Callable[..., float]


def task_scorer(
    task: str, metric: Metric = "accuracy", *, labels: Collection[Any] | None = None
) -> TaskScorer:
    """Make a scorer for one task from any metric of scikit-learn.

    Parameters
    ----------
    task : str
        The task to score.
    metric : str or callable, default="accuracy"
        A name from :func:`sklearn.metrics.get_scorer_names`, or a scorer from
        :func:`sklearn.metrics.make_scorer`. For binary metrics, the second of the sorted classes
        is the positive class, unless the metric specifies another one.
    labels : array-like or None, default=None
        The labels that the task may have, for metrics that use probabilities. None means the
        classes of the fitted classifier.

    Returns
    -------
    scorer : TaskScorer
        A scorer to pass as `scoring`. It takes a fitted
        :class:`~rapidfit_sk.MultiheadClassifier`, or a pipeline or search that contains one, and
        rows in any form that ``fit`` takes. It can be pickled.

    Raises
    ------
    ValueError, TypeError
        If `task` is not a non-empty string, `metric` is neither the name of a scorer nor a scorer,
        or `labels` contains something that cannot be a label.

    See Also
    --------
    multitask_scoring : Make scorers for several tasks and metrics.

    Notes
    -----
    A label that was not in the training fold gets a probability of 0, and its rows count as
    wrong. If a metric is not defined on the rows of a fold, the scorer returns the value or raises
    the error of scikit-learn. A search replaces such an error by its `error_score`.

    Examples
    --------
    >>> from rapidfit_sk.model_selection import task_scorer
    >>> task_scorer("sentiment", "neg_log_loss")
    TaskScorer(metric='neg_log_loss', task='sentiment')
    """
    if not is_name(task):
        raise TypeError(f"The 'task' parameter must be a non-empty string. Got {short(task)}.")
    _check_metric(metric)
    if labels is not None:
        parameter_labels(labels, "The 'labels' parameter")
    return TaskScorer(task, metric, labels=labels)


def _check_metric(metric):
    """Raise ValueError unless `metric` is the name of a scorer, or a scorer."""
    if isinstance(metric, str):
        if metric not in get_scorer_names():
            raise ValueError(
                "The 'metric' parameter must be the name of a scorer, or a scorer, but "
                f"{short(metric)} is not a valid scoring name."
                f"{suggestion(metric, get_scorer_names())} sklearn.metrics.get_scorer_names "
                "returns all names."
            )
        return
    module = getattr(metric, "__module__", None)
    is_function = isinstance(module, str) and module.startswith("sklearn.metrics._c")
    if not callable(metric) or is_function or isinstance(metric, type):
        raise ValueError(
            f"The 'metric' parameter must be the name of a scorer, or a scorer. Got "
            f"{short(metric)} instead. Use sklearn.metrics.make_scorer to convert a function to a "
            "scorer."
        )


def multitask_scoring(
    tasks: Iterable[str],
    metrics: str | Iterable[str] | Mapping[str, Metric] = "accuracy",
    average: Literal["macro", "weighted"] = "macro",
) -> MultitaskScoring:
    """Make scorers for several tasks and metrics, and for the mean of each metric over tasks.

    Parameters
    ----------
    tasks : list of str
        The tasks to score.
    metrics : str, list of str, or dict of {str: str or callable}, default="accuracy"
        The metrics, as in :func:`task_scorer`. A dict maps the name of each metric, for the keys
        of the result, to the metric.
    average : {"macro", "weighted"}, default="macro"
        How to average over tasks: "macro" gives all tasks the same weight. "weighted" weights each
        task by the number of its rows, or by their total sample weight.

    Returns
    -------
    scoring : MultitaskScoring
        A dict of scorers with the keys ``TASK_METRIC`` and ``mean_METRIC``. Pass it as `scoring`,
        for example with ``refit="mean_accuracy"``. Its keys are the same in every fold. Each of
        its scorers can be used alone, such as ``scoring["mean_accuracy"]``. It can be pickled.

    Raises
    ------
    ValueError, TypeError
        If a metric is neither the name of a scorer nor a scorer, `average` is not one of the
        above, `tasks` or `metrics` is empty or not a list of strings, or two keys are the same.

    Notes
    -----
    The rows of all tasks pass through the encoder together, once. A score that cannot be computed
    is nan, with a warning that gives the reason. Means that include this score are nan, too.

    Examples
    --------
    >>> from rapidfit_sk.model_selection import multitask_scoring
    >>> list(multitask_scoring(["sentiment", "intent"], ["accuracy", "f1_macro"]))
    ['sentiment_accuracy', 'intent_accuracy', 'mean_accuracy',
     'sentiment_f1_macro', 'intent_f1_macro', 'mean_f1_macro']
    """
    tasks = _names(tasks, "tasks")
    metric_of = metrics if isinstance(metrics, Mapping) else None
    if not isinstance(average, str) or average not in ("macro", "weighted"):
        raise ValueError(
            f"The 'average' parameter must be 'macro' or 'weighted'. Got {short(average)} instead."
        )
    scoring = MultitaskScoring()
    for name in _names(metrics, "metrics"):
        metric = name if metric_of is None else metric_of[name]
        scorers = [task_scorer(task, metric) for task in tasks]
        keys = [f"{task}_{name}" for task in tasks] + [f"mean_{name}"]
        for key, scorer in zip(keys, [*scorers, MeanScorer(scorers, average)], strict=True):
            if key in scoring:
                raise ValueError(
                    f"Two scores would have the key {short(key)}. The keys TASK_METRIC and "
                    "mean_METRIC must be unique. Pass each task and each metric only once."
                )
            scoring[key] = scorer
    return scoring


def _names(given: Any, parameter: str) -> list[str]:
    """Return names as a list, or raise an error if there are none or one is not a string."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Iterable) or isinstance(names, bytes):
        raise TypeError(
            f"The {parameter!r} parameter must be a list of strings. Got {short(given)} instead."
        )
    names = list(names)
    for name in names:
        if not is_name(name):
            raise TypeError(
                f"The {parameter!r} parameter must contain non-empty strings. Got {short(name)}."
            )
    if not names:
        raise ValueError(f"The {parameter!r} parameter is empty. Pass the {parameter} to score.")
    return names


class _Scorer(BaseEstimator):
    """Base class of scorers; `BaseEstimator` provides clone, repr and metadata routing."""

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
        """Set whether a search passes `sample_weight` to the scorer: a bool, None or an alias."""
        is_alias = isinstance(sample_weight, str) and sample_weight.isidentifier()
        if not (sample_weight is None or is_alias or boolean().accepts(sample_weight)):
            raise ValueError(
                "The 'sample_weight' parameter of set_score_request must be True, False, None or "
                f"another name for the weights. Got {short(sample_weight)} instead."
            )
        # scikit-learn generates this method only for classes with a method called score.
        request = MetadataRequest(owner=type(self).__name__)
        request.score.add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self

    def get_metadata_routing(self):
        """Return the metadata request. By default, it is an error to pass weights."""
        if not hasattr(self, "_metadata_request"):
            return copy.copy(self).set_score_request(sample_weight=None)._metadata_request
        return super().get_metadata_routing()


class TaskScorer(_Scorer):
    """Scorer for one task; see :func:`task_scorer`."""

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

    def score_predictions(self, predictions: dict[str, _TaskPredictions | str]) -> float:
        """Return the score of the predictions of a classifier."""
        rows = _predictions_of(self.task, predictions).with_labels(self.labels)
        weights = {} if rows.weights is None else {"sample_weight": rows.weights}
        scorer = get_scorer(self.metric)
        if not hasattr(scorer, "_score_func"):
            # A function of the user may call any method of an estimator, so it gets the view.
            return scorer(rows.view, rows.texts, rows.labels, **weights)
        return _with_labels(scorer, rows.classes)(
            _PrecomputedClassifier(rows), rows.texts, rows.labels, **weights
        )


class MeanScorer(_Scorer):
    """Scorer for the mean over tasks; see :func:`multitask_scoring`."""

    def __init__(self, scorers: list[TaskScorer], average: Literal["macro", "weighted"] = "macro"):
        self.scorers = scorers
        self.average = average

    @property
    def tasks(self) -> list[str]:
        """The tasks that are scored."""
        return [scorer.task for scorer in self.scorers]

    def score_predictions(self, predictions: dict[str, _TaskPredictions | str]) -> float:
        """Return the score of the predictions of a classifier."""
        scores = [scorer.score_predictions(predictions) for scorer in self.scorers]
        sizes = [_predictions_of(scorer.task, predictions).size for scorer in self.scorers]
        return float(np.average(scores, weights=sizes if self.average == "weighted" else None))


class MultitaskScoring(dict[str, TaskScorer | MeanScorer]):
    """Dict of scorers that predict only once; see :func:`multitask_scoring`."""

    def __call__(
        self,
        estimator: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Return all scores of a fitted estimator on labeled rows; nan if a score fails."""
        tasks = dict.fromkeys(task for scorer in self.values() for task in scorer.tasks)
        predictions = _predict_tasks(estimator, X, y, sample_weight, list(tasks))
        return {name: _score_or_nan(name, scorer, predictions) for name, scorer in self.items()}

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Set whether a search passes `sample_weight`, for all scorers."""
        for scorer in self.values():
            scorer.set_score_request(sample_weight=sample_weight)
        return self

    def get_metadata_routing(self):
        """Return the metadata request, which is the same for all scorers."""
        return next(iter(self.values())).get_metadata_routing()


def _score_or_nan(name, scorer, predictions) -> float:
    # A search fails if some folds return a dict of scores and another fold raises an error.
    try:
        return scorer.score_predictions(predictions)
    except (ValueError, TypeError, ArithmeticError) as error:
        if not isinstance(scorer, MeanScorer):
            warn_user(f"The score {name!r} could not be computed and is nan: {error}")
        return np.nan


# --------------------------------------------------------------------------------------------
# Predictions


@dataclass(frozen=True)
class _TaskPredictions:
    """Rows of one task with the predictions of a classifier.

    Attributes
    ----------
    view : TaskClassifier
        The view of the task.
    texts, labels : ndarray of shape (n_rows,)
        The texts and the true labels.
    weights : ndarray of float or None, shape (n_rows,)
        The sample weights.
    classes : ndarray of shape (n_classes,)
        The sorted classes.
    probabilities : ndarray of shape (n_rows, n_classes)
        The predicted probabilities, with one column per class.
    """

    view: TaskClassifier
    texts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
    classes: np.ndarray
    probabilities: np.ndarray

    @property
    def size(self) -> float:
        """The total weight of the rows, or their number if they have no weights."""
        return len(self.labels) if self.weights is None else self.weights.sum()

    def with_labels(self, labels: Collection[Any] | None) -> _TaskPredictions:
        """Return a copy with a column of zeros for each label that is not a fitted class."""
        known, plain = self.classes.tolist(), [plain_label(label) for label in self.labels]
        given = parameter_labels(() if labels is None else labels, "The 'labels' parameter")
        every = self._every_label([plain_label(label) for label in given])
        probabilities = np.zeros((len(plain), len(every)))
        probabilities[:, [every.index(label) for label in known]] = self.probabilities
        positions = {label: position for position, label in enumerate(every)}
        # Strings have dtype object, as in `classes_`; numbers and bools have a numpy dtype.
        classes = exact_array(every, every)
        codes = np.array([positions[label] for label in plain], dtype=int)
        if classes is None or any(map(_is_odd, every)):
            classes = np.arange(len(every))
        return replace(self, labels=classes[codes], classes=classes, probabilities=probabilities)

    def _every_label(self, given: list[Any]) -> list[Any]:
        """Return all labels of the fit, the rows and the scorer, sorted."""
        known, plain = self.classes.tolist(), [plain_label(label) for label in self.labels]
        try:
            return sorted({*known, *plain, *given})
        except TypeError as error:
            raise TypeError(
                f"Task {short(self.view.task)} has labels of several types: {short(known[0])} in "
                f"fit, {short((given or plain)[0])} in the rows or the 'labels' parameter of the "
                "scorer. Pass labels of the same type as in fit."
            ) from error


def _is_odd(label) -> bool:
    """Check whether a label needs a code, because scikit-learn would change its meaning.

    scikit-learn treats fractions as a regression target, and drops NUL characters at the end.
    """
    return label.endswith("\0") if isinstance(label, str) else not float(label).is_integer()


def _predictions_of(task: str, predictions: dict[str, _TaskPredictions | str]) -> _TaskPredictions:
    """Return the predictions for one task, or raise ValueError if it cannot be scored."""
    found = predictions[task]
    if isinstance(found, str):
        raise ValueError(found)
    return found


class _PrecomputedClassifier(ClassifierMixin, BaseEstimator):
    """Classifier that returns stored predictions, for scikit-learn's scorers."""

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
    """Return the predictions for each task, or a message if it cannot be scored."""
    classifier, X = _find_classifier(estimator, X)
    model = classifier.model_
    known = model.tasks
    table = read_labeled(X, y, classifier._columns, tasks=known, sample_weight=sample_weight)
    table = table.without_zeros()
    wanted = np.isin(table.tasks, [task for task in tasks if task in known])
    codes = np.array([known.index(task) for task in table.tasks[wanted]], dtype=int)
    probabilities = model.probabilities(table.texts.take(wanted), codes)
    predictions: dict[str, _TaskPredictions | str] = {}
    for task in tasks:
        rows = table.tasks == task
        if task not in known and not rows.any():
            raise ValueError(unknown_task(task, known))  # a misspelled task
        if task not in known:
            predictions[task] = f"{unknown_task(task, known)} {IN_FOLDS}"
        elif not rows.any():
            predictions[task] = f"There are no rows of task {short(task)} to score. {IN_FOLDS}"
        else:
            predictions[task] = _TaskPredictions(
                classifier[task],
                table.texts.take(rows).strings(),
                table.labels[rows],
                None if table.weights is None else table.weights[rows],
                model.classes[task],
                probabilities[known.index(task)],
            )
    return predictions


def _find_classifier(estimator, X) -> tuple[MultiheadClassifier, Any]:
    """Return the classifier inside an estimator, and X after the transformers before it."""
    if not hasattr(estimator, "fit"):
        raise TypeError(
            f"This scorer takes a fitted MultiheadClassifier, got {short(estimator)} "
            f"({type(estimator).__name__})."
        )
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
        "This scorer takes a MultiheadClassifier, or a pipeline or search that contains one, got "
        f"{type(estimator).__name__}. For a view, use the scorers of scikit-learn."
    )


def _with_labels(scorer, classes):
    """Return a copy of a scorer that passes the labels and the positive label to its metric."""
    parameters, given = inspect.signature(scorer._score_func).parameters, scorer._kwargs
    extra = {}
    on_labels = scorer._response_method == "predict"
    if "labels" in parameters and not on_labels:
        extra["labels"] = classes
    if "pos_label" in parameters and parameters["pos_label"].default in (1, None):
        # The default, 1, is not a label of a task with strings.
        if len(classes) == 2 and given.get("average", "binary") == "binary":
            extra["pos_label"] = classes[1]
        elif on_labels:
            extra["pos_label"] = None
    scorer = copy.copy(scorer)
    scorer._kwargs = extra | given
    return scorer

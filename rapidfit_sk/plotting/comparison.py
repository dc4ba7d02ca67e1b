"""`TaskComparisonDisplay`: scores of tasks with intervals, of one or several classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._evaluation import METRICS, SCORE_COLUMNS
from .._typing import ArrayOrFrame, RowsLike
from .._validation import Constraint, check_argument, listed, short
from .common import (
    axes_for,
    check_estimator,
    check_matplotlib,
    plain,
    shown_all,
    style,
    width_of,
)

_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "log_loss": "log loss (lower is better)",
    "calibration_error": "calibration error (lower is better)",
}
_METRICS = Constraint(
    f"a list with some of {', '.join(map(repr, METRICS))}",
    lambda value: (
        isinstance(value, list | tuple) and bool(value) and all(each in METRICS for each in value)
    ),
)


class TaskComparisonDisplay:
    """Scores of each task with 95 % intervals, of one classifier or of several.

    It is recommended to use :meth:`from_estimator` or :meth:`from_scores` to create a display.

    Parameters
    ----------
    scores : dict of {str: DataFrame}
        The scores of each classifier, by its name in the legend: frames of
        :meth:`MultiheadClassifier.evaluate <rapidfit_sk.MultiheadClassifier.evaluate>`.

    Attributes
    ----------
    axes_ : ndarray of Axes, shape (n_metrics,)
        The axes of each metric.
    figure_ : Figure
        The figure.
    points_ : dict of {str: dict of {str: Line2D}}
        The points of each metric and classifier.
    intervals_ : dict of {str: dict of {str: LineCollection}}
        The intervals of each metric and classifier.
    tasks_ : list of str
        The tasks from top to bottom. The one at position i has the y coordinate i.

    See Also
    --------
    TrainingHistoryDisplay : Draw the scores of the epochs.

    Notes
    -----
    Intervals of two classifiers on the same rows are wide for a comparison: they may overlap
    although one classifier is better on most texts where both differ.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from rapidfit_sk.plotting import TaskComparisonDisplay
    >>> columns = ["task", "metric", "value", "n", "low", "high"]
    >>> joint = pd.DataFrame([("intent", "accuracy", 0.9, 200, 0.86, 0.94)], columns=columns)
    >>> alone = pd.DataFrame([("intent", "accuracy", 0.8, 200, 0.75, 0.85)], columns=columns)
    >>> display = TaskComparisonDisplay.from_scores(
    ...     {"joint": joint, "alone": alone}, metrics=["accuracy"]
    ... )
    >>> display.points_["accuracy"]["joint"].get_xdata().tolist()
    [0.9]
    >>> plt.close(display.figure_)
    """

    def __init__(self, scores: Mapping[str, pd.DataFrame]):
        self.scores = scores

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        *,
        metrics: Sequence[str] = ("accuracy", "macro_f1"),
        ax: Any = None,
    ) -> TaskComparisonDisplay:
        """Draw the scores of a fitted classifier on labeled rows.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        X : RowsLike
            Labeled rows in any form that the `score` of the classifier takes.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        metrics : list of str, default=("accuracy", "macro_f1")
            The metrics to draw, among "accuracy", "macro_f1", "log_loss" and "calibration_error".
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each metric. None creates a figure.

        Returns
        -------
        display : TaskComparisonDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If the rows or a parameter are invalid.
        ImportError
            If matplotlib is not installed.
        """
        check_estimator(cls, classifier)
        name = type(classifier).__name__
        return cls.from_scores({name: classifier.evaluate(X, y)}, metrics=metrics, ax=ax)

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, pd.DataFrame],
        *,
        metrics: Sequence[str] = ("accuracy", "macro_f1"),
        ax: Any = None,
    ) -> TaskComparisonDisplay:
        """Draw the scores of several classifiers.

        Parameters
        ----------
        scores : dict of {str: DataFrame}
            The scores of each classifier, by its name in the legend: frames of `evaluate`. They
            need not have the same tasks.
        metrics : list of str, default=("accuracy", "macro_f1")
            The metrics to draw, as in :meth:`from_estimator`.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each metric. None creates a figure.

        Returns
        -------
        display : TaskComparisonDisplay
            The display.

        Raises
        ------
        ValueError, TypeError
            If a frame has other columns, or if a parameter is invalid.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib(f"{cls.__name__}.from_scores")
        _check_scores(scores)
        return cls(scores).plot(metrics=metrics, ax=ax)

    def plot(
        self, *, metrics: Sequence[str] = ("accuracy", "macro_f1"), ax: Any = None
    ) -> TaskComparisonDisplay:
        """Draw the display.

        Parameters
        ----------
        metrics : list of str, default=("accuracy", "macro_f1")
            The metrics to draw, as in :meth:`from_estimator`.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each metric. None creates a figure.

        Returns
        -------
        self : TaskComparisonDisplay
            The display.
        """
        check_argument("metrics", metrics, _METRICS)
        every = pd.concat(list(self.scores.values()), ignore_index=True)
        self.tasks_ = every["task"].unique().tolist()
        height = 1.1 + len(self.tasks_) * (0.25 + 0.2 * len(self.scores))
        panel = 3.4 + width_of(self.tasks_), max(height, 1.9)
        self.figure_, self.axes_ = axes_for(self, len(metrics), ax, panel)
        self.points_: dict[str, dict[str, Any]] = {}
        self.intervals_: dict[str, dict[str, Any]] = {}
        for each, metric in zip(self.axes_, metrics, strict=True):
            self._draw(each, metric)
        if len(self.scores) > 1:
            self.axes_[-1].legend(
                loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False
            )
        return self

    def _draw(self, ax, metric: str) -> None:
        """Draw one metric of all classifiers."""
        self.points_[metric], self.intervals_[metric] = {}, {}
        n = len(self.scores)
        shifts = (np.arange(n) - (n - 1) / 2) * min(0.2, 0.7 / n)
        labels = shown_all(self.scores)
        for number, (name, frame) in enumerate(self.scores.items()):
            rows = frame[frame["metric"] == metric]
            y = np.array([self.tasks_.index(task) for task in rows["task"]]) + shifts[number]
            look = {**style(number), "linestyle": "", "markersize": 6}
            lines = ax.hlines(y, rows["low"], rows["high"], color=look["color"], linewidth=2)
            (points,) = ax.plot(rows["value"].to_numpy(), y, label=labels[number], zorder=3, **look)
            self.points_[metric][name], self.intervals_[metric][name] = points, lines
        ax.set_yticks(range(len(self.tasks_)), shown_all(self.tasks_))
        ax.set_ylim(len(self.tasks_) - 0.5, -0.5)
        ax.set_xlabel(_TITLES[metric])
        plain(ax)
        ax.grid(visible=False, axis="y")


def _check_scores(scores: Any) -> None:
    if not isinstance(scores, Mapping) or not scores:
        raise TypeError(
            "The 'scores' parameter must be a dict with a frame of `evaluate` for each classifier. "
            f"Got {short(scores)}."
        )
    for name, frame in scores.items():
        missing = [column for column in SCORE_COLUMNS if column not in frame]
        if missing:
            raise ValueError(
                f"The scores of {short(name)} have no column {listed(missing)}. Pass the frame of "
                "evaluate(X, y, level='task')."
            )
        if not len(frame):
            raise ValueError(f"The scores of {short(name)} have no rows.")

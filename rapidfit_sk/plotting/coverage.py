"""`CoverageDisplay`: the accuracy of the most confident predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .._evaluation import ScoredRows
from .._typing import ArrayOrFrame, RowsLike
from .common import axes_for, legend_beside, plain, rows_of, shown, style

_COLUMNS = ["task", "confidence", "coverage", "accuracy"]
# Coverage from which on the accuracy decides the range of the y axis: fewer rows are noise.
_FROM = 0.05


class CoverageDisplay:
    """Accuracy of predictions above each confidence, against their share of all rows.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    curves : DataFrame
        One row for each task and confidence, from the highest to the lowest confidence of a task,
        with the columns `task`, `confidence`, `coverage` (share of the rows with at least this
        confidence) and `accuracy` (of these rows).
    thresholds : dict of {str: float} or None, default=None
        The tuned minimum confidence of some tasks.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    lines_ : dict of {str: Line2D}
        The line of each task.
    threshold_points_ : dict of {str: Line2D}
        The point of each task with a tuned threshold that some row reaches.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier.tune_thresholds : Choose the minimum confidence of each task.

    Notes
    -----
    At the right, all rows get a label. Further to the left, the classifier abstains from more of
    them. A good confidence gives a line that rises to the left. The left end of a line is made of
    few rows, so it is noisy, and the range of the y axis does not depend on the first 5 % of rows.

    References
    ----------
    Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from rapidfit_sk import MultiheadClassifier
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.plotting import CoverageDisplay
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> messages = load_support_messages()
    >>> training = {"model_name": tiny_encoder(), "epochs": 1, "test_size": 0.3}
    >>> classifier = MultiheadClassifier({"training": training}, random_state=0).fit(messages)
    >>> test_rows = messages.iloc[classifier.test_indices_]
    >>> classifier = classifier.tune_thresholds(test_rows, coverage={"intent": 0.8})
    >>> display = CoverageDisplay.from_estimator(classifier, test_rows)
    >>> list(display.lines_), list(display.threshold_points_)
    (['sentiment', 'intent', 'emotion'], ['intent'])
    >>> plt.close(display.figure_)
    """

    def __init__(self, curves: pd.DataFrame, *, thresholds: Mapping[str, float] | None = None):
        self.curves = curves
        self.thresholds = thresholds

    @classmethod
    def from_estimator(
        cls, classifier: Any, X: RowsLike, y: ArrayOrFrame | None = None, *, ax: Any = None
    ) -> CoverageDisplay:
        """Draw the curves of a fitted classifier on labeled rows, and its tuned thresholds.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        X : RowsLike
            Labeled rows in any form that the `score` of the classifier takes. They should not have
            trained, calibrated or tuned thresholds.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them. A label that is not a class, such as "out of
            scope", is never predicted.
        ax : Axes or None, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : CoverageDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If the rows are invalid.
        ImportError
            If matplotlib is not installed.
        """
        model, rows = rows_of(cls, classifier, X, y)
        return cls._of_rows(rows, model.thresholds or {}).plot(ax=ax)

    @classmethod
    def _of_rows(
        cls, rows: dict[str, ScoredRows], thresholds: Mapping[str, float]
    ) -> CoverageDisplay:
        """Return a display of predicted rows, which is not drawn yet."""
        curves = [coverage_curve(task, of_task) for task, of_task in rows.items()]
        return cls(pd.concat(curves, ignore_index=True), thresholds=thresholds)

    def plot(self, *, ax: Any = None) -> CoverageDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes or None, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        self : CoverageDisplay
            The display.
        """
        self.figure_, (self.ax_,) = axes_for(self, 1, ax, (7.0, 3.8))
        self.lines_, self.threshold_points_ = {}, {}
        for number, (task, curve) in enumerate(self.curves.groupby("task", sort=False)):
            look = {**style(number), "markersize": 9, "markeredgewidth": 0.8}
            point = self._threshold(str(task), curve)
            if point is None:
                look["marker"] = ""
            else:
                (self.threshold_points_[task],) = self.ax_.plot(*point, zorder=3, **look)
            line = {"label": shown(task), "markevery": []}
            (self.lines_[task],) = self.ax_.plot(
                curve["coverage"], curve["accuracy"], **line, **look
            )
        if self.threshold_points_:
            look = {"linestyle": "", "color": "0.5", "markeredgecolor": "0.2"}
            self.ax_.plot([], [], marker="o", markersize=9, label="tuned threshold", **look)
        lowest = self.curves.loc[self.curves["coverage"] >= _FROM, "accuracy"].min()
        self.ax_.set(xlim=(0, 1.01), ylim=(max(0, lowest - 0.05), 1.01))
        self.ax_.set(
            xlabel="coverage (share of rows with a label)", ylabel="accuracy of these rows"
        )
        plain(self.ax_)
        legend_beside(self.ax_)
        return self

    def _threshold(self, task: str, curve: pd.DataFrame) -> tuple[float, float] | None:
        """Return coverage and accuracy at the tuned threshold of a task."""
        threshold = (self.thresholds or {}).get(task)
        reached = curve[curve["confidence"] >= (np.inf if threshold is None else threshold)]
        if not len(reached):
            return None
        return reached["coverage"].iloc[-1], reached["accuracy"].iloc[-1]


def coverage_curve(task: str, rows: ScoredRows) -> pd.DataFrame:
    """Return coverage and accuracy of one task at each of its confidences."""
    order = np.argsort(-rows.confidence, kind="stable")
    confidence = rows.confidence[order]
    n = np.arange(1, len(rows) + 1)
    accuracy = np.cumsum(rows.is_correct[order]) / n
    curve = pd.DataFrame(
        {"task": task, "confidence": confidence, "coverage": n / len(rows), "accuracy": accuracy}
    )
    # Rows of equal confidence get a label together.
    return curve.drop_duplicates("confidence", keep="last")[_COLUMNS]

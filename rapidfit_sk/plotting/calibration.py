"""`CalibrationGridDisplay`: the reliability diagram of each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from .._evaluation import N_BINS, ScoredRows, bins_of
from .._typing import ArrayOrFrame, RowsLike
from .common import COLORS, GRAY, axes_for, plain, rows_of, shown

_PANEL = 3.4, 3.8
# Share of the height of the axes for the numbers of rows.
_COUNTS = 0.2
_COLUMNS = ["task", "bin", "n", "confidence", "accuracy", "low", "high"]


class CalibrationGridDisplay:
    """Reliability diagram of each task: the accuracy of predictions by their confidence.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    bins : DataFrame
        One row for each bin with predictions, with the columns `task`, `bin` (number, from 0), `n`
        (number of rows), `confidence` and `accuracy` (means of the rows), `low` and `high` (ends of
        the 95 % interval of the accuracy).

    Attributes
    ----------
    axes_ : ndarray of Axes, shape (n_tasks,)
        The axes of each task.
    count_axes_ : ndarray of Axes, shape (n_tasks,)
        The axes inside them, at the bottom, with the number of rows of each bin.
    figure_ : Figure
        The figure.
    lines_ : dict of {str: Line2D}
        The line of each task.
    intervals_ : dict of {str: LineCollection}
        The intervals of each task.
    bars_ : dict of {str: BarContainer}
        The bars of the numbers of rows.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The same for one class against the others.

    Notes
    -----
    The confidence is the probability of the predicted class. It is divided into 15 bins of equal
    width. On the diagonal, confidence and accuracy are equal; below it, predictions are
    overconfident. The title has the calibration error, which :meth:`MultiheadClassifier.evaluate
    <rapidfit_sk.MultiheadClassifier.evaluate>` computes, too: the mean distance from the diagonal,
    weighted by the numbers of rows [1]_. Bins with few rows are uncertain, as the intervals of
    Clopper and Pearson show [2]_.

    References
    ----------
    .. [1] Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
       Binning", AAAI 2015.
    .. [2] Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
       the Binomial", Biometrika 26, 1934.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from rapidfit_sk import MultiheadClassifier
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.plotting import CalibrationGridDisplay
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> messages = load_support_messages()
    >>> training = {"model_name": tiny_encoder(), "epochs": 1, "test_size": 0.3}
    >>> classifier = MultiheadClassifier({"training": training}, random_state=0).fit(messages)
    >>> test_rows = messages.iloc[classifier.test_indices_]
    >>> display = CalibrationGridDisplay.from_estimator(classifier, test_rows)
    >>> int(display.bins["n"].sum()) == len(test_rows)
    True
    >>> plt.close(display.figure_)
    """

    def __init__(self, bins: pd.DataFrame):
        self.bins = bins

    @classmethod
    def from_estimator(
        cls, classifier: Any, X: RowsLike, y: ArrayOrFrame | None = None, *, ax: Any = None
    ) -> CalibrationGridDisplay:
        """Draw the reliability diagrams of a fitted classifier on labeled rows.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        X : RowsLike
            Labeled rows in any form that the `score` of the classifier takes. They should not have
            trained or calibrated.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them. A label that is not a class is never predicted.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each task that has rows. None creates a figure.

        Returns
        -------
        display : CalibrationGridDisplay
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
        _, rows = rows_of(cls, classifier, X, y)
        return cls._of_rows(rows).plot(ax=ax)

    @classmethod
    def _of_rows(cls, rows: dict[str, ScoredRows]) -> CalibrationGridDisplay:
        """Return a display of predicted rows, which is not drawn yet."""
        found = [_bins(task, of_task) for task, of_task in rows.items()]
        return cls(pd.concat(found, ignore_index=True))

    def plot(self, *, ax: Any = None) -> CalibrationGridDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each task. None creates a figure.

        Returns
        -------
        self : CalibrationGridDisplay
            The display.
        """
        tasks = self.bins["task"].unique()
        self.figure_, self.axes_ = axes_for(self, len(tasks), ax, _PANEL)
        self.lines_, self.intervals_, self.bars_, below = {}, {}, {}, []
        for each, task in zip(self.axes_, tasks, strict=True):
            bins = self.bins[self.bins["task"] == task]
            error = np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["n"])
            each.set_title(f"{shown(task)}\ncalibration error {error:.3f}")
            self.intervals_[task], self.lines_[task] = _draw_curve(each, bins)
            below.append(each.inset_axes([0, 0, 1, _COUNTS], sharex=each))
            self.bars_[task] = _draw_counts(below[-1], bins)
        self.count_axes_ = np.array(below, dtype=object)
        return self


def _bins(task: str, rows: ScoredRows) -> pd.DataFrame:
    """Return the bins of one task."""
    values = {"confidence": rows.confidence, "accuracy": rows.is_correct.astype(float)}
    groups = pd.DataFrame(values).groupby(bins_of(rows.confidence))
    bins = groups.mean().assign(task=task, n=groups.size()).rename_axis("bin").reset_index()
    n, correct = bins["n"], (bins["n"] * bins["accuracy"]).round()
    low = betaincinv(np.maximum(correct, 1), n - correct + 1, 0.025)
    high = betaincinv(correct + 1, np.maximum(n - correct, 1), 0.975)
    bins["low"] = np.where(correct > 0, low, 0.0)
    bins["high"] = np.where(correct < n, high, 1.0)
    return bins[_COLUMNS]


def _draw_curve(ax, bins: pd.DataFrame) -> tuple[Any, Any]:
    """Draw accuracy against confidence, and return the intervals and the line."""
    ax.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
    x = bins["confidence"]
    intervals = ax.vlines(x, bins["low"], bins["high"], color=COLORS[0], alpha=0.45, linewidth=2)
    look = {"color": COLORS[0], "linewidth": 0.8, "marker": "o", "markersize": 5}
    (line,) = ax.plot(x, bins["accuracy"], clip_on=False, zorder=3, **look)
    # The part below 0 is left to the numbers of rows.
    lowest = -1.25 * _COUNTS / (1 - 1.25 * _COUNTS)
    ax.set(xlim=(0, 1), ylim=(lowest, 1.02), xlabel="confidence")
    ax.set_ylabel("accuracy", y=(1 + 1.25 * _COUNTS) / 2)
    plain(ax)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.spines["left"].set_bounds(0, 1)
    return intervals, line


def _draw_counts(ax, bins: pd.DataFrame) -> Any:
    """Draw the number of rows of each bin."""
    width = 1 / N_BINS
    places = bins["bin"] * width
    bars = ax.bar(places, bins["n"], width, align="edge", color=GRAY, edgecolor="white")
    plain(ax)
    ax.grid(visible=False, axis="x")
    ax.tick_params(labelbottom=False)
    ax.set_ylabel("rows")
    ax.yaxis.get_major_locator().set_params(nbins=3, integer=True)
    return bars

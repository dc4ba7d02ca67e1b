"""`TrainingHistoryDisplay`: losses and scores of the epochs."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from .._validation import check_argument, listed, one_of, short, suggestion
from .common import CHARACTER, GRAY, axes_for, check_estimator, legend_beside, plain, shown, style

_LOSSES = {
    "train_loss": ("training loss", {"color": "black", "marker": "o", "linestyle": "-"}),
    "valid_loss": ("validation loss", {"color": "#D55E00", "marker": "s", "linestyle": "--"}),
}
_SCORES = {"accuracy": "validation accuracy", "f1": "validation F1 score"}
_MEAN = {"color": "black", "marker": ".", "linestyle": "--"}
# Smallest and largest width of a figure, and widths of the legend and of an epoch, in inches.
_WIDTHS, _BESIDE, _EPOCH = (7.0, 12.0), 3.0, 0.4


class TrainingHistoryDisplay:
    """Losses of all tasks and validation scores of each task, by epoch.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    history : DataFrame
        The history of one or several trainings, with the columns of
        the `history_` of a classifier.

    Attributes
    ----------
    axes_ : ndarray of Axes
        The axes of the losses and, if there were validation rows, of the scores.
    figure_ : Figure
        The figure.
    loss_lines_ : dict of {str: Line2D}
        The lines of "train_loss" and "valid_loss".
    score_lines_ : dict of {str or None: Line2D}
        The line of each task. The one of None is the mean over several tasks.
    kept_lines_ : list of Line2D
        A vertical line in each of the axes for each training, at the epoch whose weights were kept.
    fine_tuning_spans_ : list of Rectangle
        A gray area in each of the axes for each training, from the epoch in which encoder layers
        begin to train.

    See Also
    --------
    TaskComparisonDisplay : Draw the scores of the fitted classifier.

    Notes
    -----
    Trainings follow one another from left to right, separated by vertical lines, and the epochs of
    each one count from 1. A training without validation rows has no scores. The score that chooses
    the kept epoch is a parameter of :class:`~rapidfit_sk.EvalConfig`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from rapidfit_sk import MultiheadClassifier
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.plotting import TrainingHistoryDisplay
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = {"model_name": tiny_encoder(), "epochs": 1, "val_size": 0.2}
    >>> classifier = MultiheadClassifier({"training": training}, random_state=0)
    >>> display = TrainingHistoryDisplay.from_estimator(classifier.fit(load_support_messages()))
    >>> list(display.score_lines_)
    ['sentiment', 'intent', 'emotion', None]
    >>> plt.close(display.figure_)
    """

    def __init__(self, history: pd.DataFrame):
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        training: str | None = None,
        *,
        metric: Literal["accuracy", "f1"] = "accuracy",
        ax: Any = None,
    ) -> TrainingHistoryDisplay:
        """Draw the history of a fitted classifier.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        training : str or None, default=None
            The training to draw, such as "fit 1" or "calibration 1". None draws all of them.
        metric : {"accuracy", "f1"}, default="accuracy"
            The score on the validation rows.
        ax : array-like of Axes or None, default=None
            The axes to draw in: one for the losses and, if there were validation rows, one for the
            scores. None creates a figure.

        Returns
        -------
        display : TrainingHistoryDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If the classifier has no such training, or is not one of this package.
        ImportError
            If matplotlib is not installed.
        """
        check_estimator(cls, classifier)
        history = classifier.history_
        if not len(history):
            raise ValueError(
                "The classifier has no history, because it predicts from label texts alone. Fit it "
                "on rows to draw a history."
            )
        if training is not None:
            history = _of_training(history, training)
        return cls(history).plot(metric=metric, ax=ax)

    def plot(
        self, *, metric: Literal["accuracy", "f1"] = "accuracy", ax: Any = None
    ) -> TrainingHistoryDisplay:
        """Draw the display.

        Parameters
        ----------
        metric : {"accuracy", "f1"}, default="accuracy"
            The score on the validation rows.
        ax : array-like of Axes or None, default=None
            The axes to draw in, as in :meth:`from_estimator`.

        Returns
        -------
        self : TrainingHistoryDisplay
            The display.
        """
        check_argument("metric", metric, one_of(*_SCORES))
        epochs = _Epochs(self.history)
        has_scores = bool((self.history["metric"] == metric).any())
        width = float(np.clip(_BESIDE + _EPOCH * epochs.n, *_WIDTHS))
        self.figure_, self.axes_ = axes_for(self, 1 + has_scores, ax, (width, 2.9))
        self.loss_lines_ = self._draw_losses(self.axes_[0], epochs)
        self.score_lines_ = self._draw_scores(self.axes_[-1], epochs, metric) if has_scores else {}
        self.fine_tuning_spans_: list[Any] = []
        self.kept_lines_: list[Any] = []
        for each in self.axes_:
            self._mark(each, epochs)
            plain(each)
            each.grid(visible=False, axis="x")
            legend_beside(each)
        epochs.label(self.axes_)
        return self

    def _draw_losses(self, ax, epochs: _Epochs) -> dict[str, Any]:
        ax.set_ylabel("loss")
        found = {}
        for metric, (label, look) in _LOSSES.items():
            values = self.history[self.history["metric"] == metric]
            values = values[values["task"].isna()]
            if len(values):
                found[metric] = epochs.draw(ax, values, label=label, **look)
        return found

    def _draw_scores(self, ax, epochs: _Epochs, metric: str) -> dict[str | None, Any]:
        ax.set_ylabel(_SCORES[metric])
        values = self.history[self.history["metric"] == metric]
        tasks = values["task"].dropna().unique()
        found: dict[str | None, Any] = {}
        for number, task in enumerate(tasks):
            of_task = values[values["task"] == task]
            found[task] = epochs.draw(ax, of_task, label=shown(task), **style(number))
        if len(tasks) > 1:
            mean = values[values["task"].isna()]
            found[None] = epochs.draw(ax, mean, label="mean of the tasks", **_MEAN)
        return found

    def _mark(self, ax, epochs: _Epochs):
        """Mark the trainings, their epochs of fine-tuning and their kept epochs in some axes."""
        spans, kept = [], []
        for training in epochs.trainings:
            if training.first > 1:
                ax.axvline(training.first - 0.5, color=GRAY, linewidth=0.8)
            if training.unfrozen is not None:
                edges = training.unfrozen - 0.5, training.last + 0.5
                spans.append(ax.axvspan(*edges, color="0.92", linewidth=0, zorder=0))
            if training.kept is not None:
                look = {"color": "0.3", "linestyle": ":", "zorder": 1}
                kept.append(ax.axvline(training.kept, **look))
        if ax is self.axes_[0]:
            for artists, label in ((spans, "encoder layers train"), (kept, "kept epoch")):
                for artist in artists[:1]:
                    artist.set_label(label)
        self.fine_tuning_spans_ += spans
        self.kept_lines_ += kept


class _Training(NamedTuple):
    """The places of the epochs of one training on the x axis."""

    name: str
    first: int
    last: int
    unfrozen: int | None
    kept: int | None


class _Epochs:
    """The x axis: the epochs of all trainings, one after the other."""

    def __init__(self, history: pd.DataFrame):
        self.trainings: list[_Training] = []
        self.n = 0
        for name, rows in history.groupby("training", sort=False):
            first, last = self.n + 1, self.n + int(rows["epoch"].max())
            tuning = rows.loc[rows["phase"] == "fine-tuning", "epoch"]
            kept = rows.loc[(rows["metric"] == "kept") & (rows["value"] == 1), "epoch"]
            marks = [self.n + int(each.min()) if len(each) else None for each in (tuning, kept)]
            self.trainings.append(_Training(str(name), first, last, *marks))
            self.n = last

    def draw(self, ax, values: pd.DataFrame, **look: Any) -> Any:
        """Draw one line, with gaps between trainings and at epochs without a value."""
        y = np.full(self.n + len(self.trainings), np.nan)
        x = np.empty_like(y)
        for number, training in enumerate(self.trainings):
            places = slice(training.first - 1 + number, training.last + number + 1)
            x[places] = np.arange(training.first, training.last + 2)
            rows = values[values["training"] == training.name]
            y[training.first - 2 + number + rows["epoch"].to_numpy()] = rows["value"]
        return ax.plot(x, y, **{"markersize": 5, **look})[0]

    def label(self, axes: np.ndarray) -> None:
        """Label the epochs below the last axes, and the trainings above the first."""
        places = [
            (place, place - training.first + 1)
            for training in self.trainings
            for place in range(training.first, training.last + 1)
        ]
        step = math.ceil(self.n / 30)
        ticks = [(place, str(epoch)) for place, epoch in places if (epoch - 1) % step == 0]
        for ax in axes:
            ax.set_xlim(0.5, self.n + 0.5)
            ax.set_xticks(*zip(*ticks, strict=True))
        axes[-1].set_xlabel("epoch")
        self._name_trainings(axes[0])

    def _name_trainings(self, ax) -> None:
        """Write the names of trainings above their epochs, upright if there is little space."""
        inches = ax.bbox.width / ax.figure.dpi / max(self.n, 1)
        is_narrow = any(
            (each.last - each.first + 1) * inches < CHARACTER * len(each.name)
            for each in self.trainings
        )
        above = ax.get_xaxis_transform()
        step = math.ceil(len(self.trainings) / 40)
        for each in self.trainings[::step]:
            at = (each.first + each.last) / 2, 1.02
            rotation = 90 if is_narrow else 0
            look = {"fontsize": "small", "ha": "center", "va": "bottom", "rotation": rotation}
            ax.text(*at, shown(each.name), transform=above, **look)


def _of_training(history: pd.DataFrame, training: str) -> pd.DataFrame:
    """Return the rows of one training."""
    known = history["training"].unique().tolist()
    if training not in known:
        raise ValueError(
            f"The classifier has no training {short(training)}.{suggestion(training, known)} Its "
            f"trainings are: {listed(known)}."
        )
    return history[history["training"] == training]

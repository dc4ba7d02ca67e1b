"""`ConfusionGridDisplay`: the confusion matrix of each task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .._typing import ArrayOrFrame, RowsLike
from .._validation import (
    array_like,
    check_argument,
    integer,
    listed,
    mapping_to,
    none,
    one_of,
    short,
)
from .common import axes_for, check_matplotlib, rows_of, shown, shown_all, width_of

_NORMALIZE = one_of("true", "pred", "all") | none
_BY_TASK = mapping_to(array_like())

# Size of a cell, of the smallest and of the largest matrix, in inches.
_CELL, _SMALLEST, _LARGEST = 0.38, 1.6, 16.0
# Largest font size of a label in points.
_FONT = 10
# Smallest cell with a number in it.
_CELL_WITH_VALUE = 0.3


class ConfusionGridDisplay:
    """Confusion matrix of each task.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to create a display.

    Parameters
    ----------
    confusion_matrices : dict of {str: ndarray of shape (n_classes, n_classes)}
        The confusion matrix of each task, with a row per label and a column per predicted label.
    display_labels : dict of {str: array-like of shape (n_classes,)} or None, default=None
        The labels of each task. None means numbers from 0.

    Attributes
    ----------
    axes_ : ndarray of Axes, shape (n_tasks,)
        The axes of each task.
    figure_ : Figure
        The figure.
    images_ : dict of {str: AxesImage}
        The image of each task, which contains the cells that are drawn.
    texts_ : dict of {str: ndarray of object}
        The numbers in the cells. Cells with a 0 have None, and so have cells without space for a
        number.
    shown_ : dict of {str: ndarray of int}
        The positions in `display_labels` of the classes that are drawn.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : The same for one task, also of other classifiers.

    Notes
    -----
    If a task has more than `max_classes` classes, its most confused classes are drawn: pairs of
    classes are taken in the order of their errors, in both directions together, as long as there is
    space. The title then says how many classes there are, and which share of the errors is drawn.

    The colors get darker with the value, and zeros are white.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from rapidfit_sk.plotting import ConfusionGridDisplay
    >>> display = ConfusionGridDisplay.from_predictions(
    ...     {"sentiment": ["good", "bad", "bad"], "intent": ["ask", "buy", "sell"]},
    ...     {"sentiment": ["good", "bad", "good"], "intent": ["ask", "buy", "buy"]},
    ... )
    >>> display.confusion_matrices["sentiment"]
    array([[1, 1],
           [0, 1]])
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        confusion_matrices: Mapping[str, np.ndarray],
        *,
        display_labels: Mapping[str, Collection[Any]] | None = None,
    ):
        self.confusion_matrices = confusion_matrices
        self.display_labels = display_labels

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        *,
        normalize: Literal["true", "pred", "all"] | None = None,
        max_classes: int = 12,
        cmap: Any = "Blues",
        ax: Any = None,
    ) -> ConfusionGridDisplay:
        """Draw the confusion matrices of a fitted classifier on labeled rows.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        X : RowsLike
            Labeled rows in any form that the `score` of the classifier takes.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        normalize : {"true", "pred", "all"} or None, default=None
            What the values are divided by: the number of rows of the label, of the predicted label
            or of the task. With None, they are numbers of rows.
        max_classes : int, default=12
            The largest number of classes that are drawn of a task.
        cmap : str or Colormap, default="Blues"
            The color map.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each task that has rows. None creates a figure.

        Returns
        -------
        display : ConfusionGridDisplay
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
        _, rows = rows_of(cls, classifier, X, y)
        y_true = {task: of_task.classes_or_labels for task, of_task in rows.items()}
        y_pred = {task: of_task.classes[of_task.predicted] for task, of_task in rows.items()}
        options = {"max_classes": max_classes, "cmap": cmap, "ax": ax}
        return cls.from_predictions(y_true, y_pred, normalize=normalize, **options)

    @classmethod
    def from_predictions(
        cls,
        y_true: Mapping[str, ArrayLike],
        y_pred: Mapping[str, ArrayLike],
        *,
        normalize: Literal["true", "pred", "all"] | None = None,
        max_classes: int = 12,
        cmap: Any = "Blues",
        ax: Any = None,
    ) -> ConfusionGridDisplay:
        """Draw the confusion matrices of labels and predicted labels.

        Parameters
        ----------
        y_true, y_pred : dict of {str: array-like of shape (n_rows,)}
            The labels and the predicted labels of each task. Missing predictions, which `predict`
            returns below a minimum confidence, have a column of their own.
        normalize : {"true", "pred", "all"} or None, default=None
            As in :meth:`from_estimator`.
        max_classes : int, default=12
            The largest number of classes that are drawn of a task.
        cmap : str or Colormap, default="Blues"
            The color map.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each task. None creates a figure.

        Returns
        -------
        display : ConfusionGridDisplay
            The display.

        Raises
        ------
        ValueError, TypeError
            If the two dicts differ in their tasks or numbers of rows, or if a parameter is invalid.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        check_argument("normalize", normalize, _NORMALIZE)
        _check_predictions(y_true, y_pred)
        matrices, labels = {}, {}
        for task, true in y_true.items():
            matrices[task], labels[task] = _matrix(true, y_pred[task], normalize)
        display = cls(matrices, display_labels=labels)
        return display.plot(max_classes=max_classes, cmap=cmap, ax=ax)

    def plot(
        self, *, max_classes: int = 12, cmap: Any = "Blues", ax: Any = None
    ) -> ConfusionGridDisplay:
        """Draw the display.

        Parameters
        ----------
        max_classes : int, default=12
            The largest number of classes that are drawn of a task.
        cmap : str or Colormap, default="Blues"
            The color map.
        ax : Axes, array-like of Axes or None, default=None
            The axes to draw in, one for each task. None creates a figure.

        Returns
        -------
        self : ConfusionGridDisplay
            The display.
        """
        check_argument("max_classes", max_classes, integer(2))
        self.shown_ = {
            task: most_confused(matrix, max_classes)
            for task, matrix in self.confusion_matrices.items()
        }
        names = {task: self._names(task, at) for task, at in self.shown_.items()}
        side = min(max(_SMALLEST, _CELL * max(map(len, names.values()))), _LARGEST)
        beside = max(map(width_of, names.values()))
        panel = side + beside + 0.6, side + 0.75 * beside + 1.1
        # Matrices are square, so the axes do not fill their part of the figure.
        self.figure_, self.axes_ = axes_for(self, len(names), ax, panel, layout="compressed")
        self.images_, self.texts_ = {}, {}
        for each, (task, at) in zip(self.axes_, self.shown_.items(), strict=True):
            matrix = self.confusion_matrices[task]
            part = matrix[np.ix_(at, at)]
            self.images_[task] = each.imshow(part, cmap=cmap, vmin=0, vmax=max(part.max(), 1e-9))
            each.set_title(_title(task, matrix, part))
            cell = side / len(at)
            _label_cells(each, names[task], cell)
            self.texts_[task] = _write_values(self.images_[task], part, cell)
        return self

    def _names(self, task: str, at: NDArray[np.int64]) -> list[Any]:
        """Return the labels of some classes of a task."""
        labels = None if self.display_labels is None else self.display_labels[task]
        return at.tolist() if labels is None else [list(labels)[i] for i in at]


def _check_predictions(y_true, y_pred) -> None:
    for name, value in (("y_true", y_true), ("y_pred", y_pred)):
        check_argument(name, value, _BY_TASK)
    if set(y_true) != set(y_pred) or not y_true:
        raise ValueError(
            "y_true and y_pred must have the same tasks, and at least one. Got "
            f"{listed(y_true) or 'none'} and {listed(y_pred) or 'none'}."
        )
    for task, true in y_true.items():
        if len(true) != len(y_pred[task]) or not len(true):
            raise ValueError(
                f"Task {short(task)} must have the same number of labels and predicted labels, and "
                f"at least one. Got {len(true)} and {len(y_pred[task])}."
            )


def _matrix(true: ArrayLike, predicted: ArrayLike, normalize) -> tuple[np.ndarray, list[Any]]:
    """Return the confusion matrix of one task and its labels."""
    true, predicted = _with_none(true), _with_none(predicted)
    labels = _in_order({*true, *predicted})
    codes = {label: code for code, label in enumerate(labels)}
    coded = [[codes[label] for label in each] for each in (true, predicted)]
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, tuple(coded), 1)
    axis = {"true": 1, "pred": 0}.get(normalize)
    total = counts.sum(axis=axis, keepdims=True)
    matrix = counts.astype(int) if normalize is None else counts / np.maximum(total, 1)
    return matrix, labels


def _with_none(labels: Any) -> list[Any]:
    """Return labels as a list, with None for missing ones."""
    return [None if pd.isna(label) else label for label in labels]


def _in_order(labels: set[Any]) -> list[Any]:
    """Sort labels: numbers, strings, others, and None at the end."""

    def key(label):
        if isinstance(label, int | float | np.number | np.bool_):
            return 0, label, ""
        if isinstance(label, str):
            return 1, 0, label
        return 2 + (label is None), 0, short(label)

    return sorted(labels, key=key)


def most_confused(matrix: np.ndarray, n: int) -> NDArray[np.int64]:
    """Return the positions of the n most confused classes of a confusion matrix, in their order.

    Examples
    --------
    >>> most_confused(np.array([[5, 0, 2], [0, 9, 0], [0, 0, 7]]), 2)
    array([0, 2])
    """
    if len(matrix) <= n:
        return np.arange(len(matrix))
    both = np.triu(matrix + matrix.T, k=1)
    first, second = np.unravel_index(np.argsort(-both, axis=None, kind="stable"), both.shape)
    chosen: set[int] = set()
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        if len(chosen | set(pair)) <= n and pair[0] != pair[1]:
            chosen |= set(pair)
    return np.array(sorted(chosen))


def _title(task: str, matrix: np.ndarray, part: np.ndarray) -> str:
    """Return the name of a task and, if classes are left out, the share of errors that is drawn."""
    if len(part) == len(matrix):
        return shown(task)
    errors = matrix.sum() - np.trace(matrix)
    share = (part.sum() - np.trace(part)) / errors if errors else 1
    return f"{shown(task)}\n{len(part)} of {len(matrix)} classes, {100 * share:.0f} % of the errors"


def _label_cells(ax, names: list[Any], cell: float) -> None:
    """Write the names of the classes beside and below a matrix."""
    ticks, names, size = range(len(names)), shown_all(names), min(_FONT, 52 * cell)
    turned: dict[str, Any] = {}
    if cell < _CELL_WITH_VALUE:
        turned = {"rotation": 90}
    elif max(map(len, names)) > 2:
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(ticks, names, fontsize=size, **turned)
    ax.set_yticks(ticks, names, fontsize=size)
    ax.set(xlabel="predicted label", ylabel="label")
    ax.tick_params(length=0)
    ax.spines[:].set_color("0.7")


def _write_values(image, part: np.ndarray, cell: float) -> np.ndarray:
    """Write the values into the cells, dark on light cells and light on dark ones."""
    texts = np.full(part.shape, None, dtype=object)
    if cell < _CELL_WITH_VALUE:
        image.axes.figure.colorbar(image, ax=image.axes, shrink=0.6)
        return texts
    colors = image.to_rgba(part)[..., :3]
    is_light = colors @ [0.299, 0.587, 0.114] > 0.5
    for row, column in np.argwhere(part > 0):
        value = part[row, column]
        text = f"{value:.2f}" if part.dtype.kind == "f" else f"{value}"
        color = "black" if is_light[row, column] else "white"
        look = {"ha": "center", "va": "center", "color": color, "fontsize": 8}
        texts[row, column] = image.axes.text(column, row, text, **look)
    return texts

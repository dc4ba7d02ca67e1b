"""`EmbeddingDisplay`: text embeddings in two dimensions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA

from .._typing import ArrayOrFrame, RowsLike
from .._validation import check_argument, check_task, integer, short
from .common import axes_for, check_estimator, legend_beside, plain, shown, shown_all, style


class EmbeddingDisplay:
    """Text embeddings of the fine-tuned encoder in two dimensions, colored by label.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, 2)
        The coordinates of the texts.
    labels : array-like of shape (n_rows,)
        The labels. Rows without a label are gray.
    task : str or None, default=None
        The task of the labels, for the title.
    explained : array-like of shape (2,) or None, default=None
        The share of the variance that each dimension explains, if it is known.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : dict of {label: PathCollection}
        The points of each label. Rows whose label has no color have the points of None together.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier.embed : Return the embeddings.

    Notes
    -----
    Two dimensions show only a part of the distances between embeddings, so classes that overlap
    here can still be apart. The axes of a PCA say which share of the variance they show.

    If there are more than `max_classes` classes, the ones with the most rows have a color, and all
    others are gray.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from rapidfit_sk import MultiheadClassifier
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.plotting import EmbeddingDisplay
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> messages = load_support_messages()
    >>> training = {"model_name": tiny_encoder(), "epochs": 1}
    >>> classifier = MultiheadClassifier({"training": training}, random_state=0).fit(messages)
    >>> display = EmbeddingDisplay.from_estimator(classifier, messages, task="sentiment")
    >>> sorted(display.points_)
    ['negative', 'neutral', 'positive']
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        embedding: np.ndarray,
        labels: Collection[Any],
        *,
        task: str | None = None,
        explained: ArrayLike | None = None,
    ):
        self.embedding = embedding
        self.labels = labels
        self.task = task
        self.explained = explained

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        *,
        task: str | None = None,
        reducer: Any = None,
        max_classes: int = 12,
        ax: Any = None,
    ) -> EmbeddingDisplay:
        """Draw the embeddings of the labeled texts of one task.

        Parameters
        ----------
        classifier : MultiheadClassifier or TextClassifier
            A fitted classifier.
        X : RowsLike
            Labeled rows in any form that the `score` of the classifier takes.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        task : str or None, default=None
            The task whose rows and labels are drawn. None means the first task of the rows.
        reducer : transformer or None, default=None
            A transformer of scikit-learn with two components, such as
            ``TSNE(metric="cosine", random_state=0)``. A copy of it is fitted on the embeddings.
            None means a PCA.
        max_classes : int, default=12
            The largest number of classes with a color.
        ax : Axes or None, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : EmbeddingDisplay
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
        model = classifier._snapshot()
        table = classifier._table_to_score(model, X, y)
        task = table.task_names[0] if task is None else task
        check_task(task, table.task_names)
        rows = table.take(np.flatnonzero(table.tasks == task))
        if len(rows) < 2:
            raise ValueError(
                f"X has one row of task {short(task)}. Pass at least two, to draw distances "
                "between texts."
            )
        reducer = PCA(2, random_state=0) if reducer is None else clone(reducer)
        embedding = reducer.fit_transform(model.embed(rows.texts))
        explained = getattr(reducer, "explained_variance_ratio_", None)
        display = cls(embedding, rows.labels, task=task, explained=explained)
        return display.plot(max_classes=max_classes, ax=ax)

    def plot(self, *, max_classes: int = 12, ax: Any = None) -> EmbeddingDisplay:
        """Draw the display.

        Parameters
        ----------
        max_classes : int, default=12
            The largest number of classes with a color.
        ax : Axes or None, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        self : EmbeddingDisplay
            The display.
        """
        check_argument("max_classes", max_classes, integer(1))
        self.figure_, (self.ax_,) = axes_for(self, 1, ax, (7.0, 4.6))
        codes, labels = pd.factorize(pd.Series(list(self.labels), dtype=object))
        # The classes with the most rows.
        colored = np.argsort(-np.bincount(codes[codes >= 0]), kind="stable")[:max_classes]
        names = shown_all(labels[colored])
        self.points_ = {
            labels[code]: self._scatter(codes == code, names[number], style(number))
            for number, code in enumerate(colored)
        }
        others = ~np.isin(codes, colored)
        if others.any():
            look = {"color": "0.85", "marker": "o", "zorder": 0.9}
            n_others = len(labels) - len(colored)
            named = [f"{n_others} other classes"] if n_others else []
            name = " or ".join(named + ["no label"] * bool((codes < 0).any()))
            self.points_[None] = self._scatter(others, name, look)
        self._describe_axes()
        return self

    def _scatter(self, rows: NDArray[np.bool_], name: str, look: dict[str, Any]) -> Any:
        """Draw the points of some rows."""
        x, y = np.asarray(self.embedding)[rows].T
        kept = {key: look[key] for key in ("color", "marker", "zorder") if key in look}
        edge = look.get("markeredgecolor", "none")
        return self.ax_.scatter(x, y, s=24, label=name, linewidths=0.3, edgecolors=edge, **kept)

    def _describe_axes(self) -> None:
        names = ["dimension 1", "dimension 2"]
        if self.explained is not None:
            shares = np.asarray(self.explained)
            names = [
                f"component {i + 1} ({100 * shares[i]:.0f} % of the variance)" for i in range(2)
            ]
        self.ax_.set(xlabel=names[0], ylabel=names[1])
        self.ax_.set_title("" if self.task is None else shown(self.task))
        plain(self.ax_)
        legend_beside(self.ax_)

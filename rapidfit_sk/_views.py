"""`TaskClassifier`: one task of a fitted classifier, as a classifier of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._typing import ArrayOrFrame


class Parent(Protocol):
    """The part of a :class:`~rapidfit_sk.MultiheadClassifier` that its views ask for answers."""

    @property
    def classes_(self) -> Mapping[str, np.ndarray]: ...

    def predict(self, X: ArrayOrFrame, task: str) -> np.ndarray: ...

    def predict_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    def __contains__(self, task: str) -> bool: ...

    def __sklearn_is_fitted__(self) -> bool: ...


class TaskClassifier(ClassifierMixin, BaseEstimator):
    """One task of a fitted :class:`~rapidfit_sk.MultiheadClassifier`.

    A view holds no weights of its own: it asks its parent, and shows what the parent has
    learned at the time. Get one as ``classifier["sentiment"]``.

    Parameters
    ----------
    estimator : MultiheadClassifier
        The fitted parent.
    task : str
        One of its tasks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes of the task, sorted.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier : The parent.

    Notes
    -----
    A view cannot be fitted, because that would have to change its siblings. To calibrate or to
    tune thresholds wrap it: ``CalibratedClassifierCV(FrozenEstimator(classifier["intent"]))``.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> view = classifier.fit(load_support_messages())["sentiment"]
    >>> view.classes_.tolist()
    ['negative', 'neutral', 'positive']
    >>> view.predict_proba(["What a lovely shop!"]).shape
    (1, 3)
    """

    def __init__(self, estimator: Parent, task: str):
        self.estimator = estimator
        self.task = task

    @property
    def classes_(self) -> np.ndarray:
        """The classes of the task, sorted."""
        check_is_fitted(self.estimator)
        return self.estimator.classes_[self.task]

    def fit(self, X: object, y: object = None) -> NoReturn:
        """Refuse to fit.

        Parameters
        ----------
        X, y : any
            Not used.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"This is a view of task {self.task!r} and cannot be fitted: fit the "
            "MultiheadClassifier it belongs to. Where a meta-estimator wants to fit it, give "
            "it sklearn.frozen.FrozenEstimator(view) instead."
        )

    def predict(self, X: ArrayOrFrame) -> np.ndarray:
        """Predict the label of each text.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column; a task column in it is not read.

        Returns
        -------
        labels : ndarray of shape (n_texts,)
            Labels in the type that they came in.
        """
        check_is_fitted(self)
        return self.estimator.predict(X, task=self.task)

    def predict_proba(self, X: ArrayOrFrame) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            As in :meth:`predict`.

        Returns
        -------
        probabilities : ndarray of shape (n_texts, n_classes)
            Columns in the order of `classes_`; rows sum to 1.
        """
        check_is_fitted(self)
        return self.estimator.predict_proba(X, task=self.task)

    def __sklearn_tags__(self):
        """Say that it takes texts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        return tags

    def __sklearn_is_fitted__(self):
        """Say whether the parent is fitted and knows the task."""
        return self.estimator.__sklearn_is_fitted__() and self.task in self.estimator

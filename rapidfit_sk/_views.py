"""`TaskClassifier`: the view of one task of a fitted classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._typing import ArrayOrFrame, MinConfidence


class Parent(Protocol):
    """The methods of :class:`~rapidfit_sk.MultiheadClassifier` that its views call."""

    @property
    def classes_(self) -> Mapping[str, np.ndarray]: ...

    def predict(
        self, X: ArrayOrFrame, task: str, *, min_confidence: MinConfidence | None
    ) -> np.ndarray: ...

    def predict_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    def predict_log_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    def __contains__(self, task: str) -> bool: ...

    def __sklearn_is_fitted__(self) -> bool: ...


class TaskClassifier(ClassifierMixin, BaseEstimator):
    """View of one task of a fitted :class:`~rapidfit_sk.MultiheadClassifier`.

    ``classifier["sentiment"]`` returns a view. A view has no weights of its own. It predicts with
    the current weights of its parent, also after the parent has been trained again.

    Parameters
    ----------
    estimator : MultiheadClassifier
        The fitted parent.
    task : str
        One of its tasks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted classes of the task.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier : The parent.

    Notes
    -----
    A view cannot be fitted, because this would change the other tasks. To calibrate it or to tune
    a threshold, wrap it: ``CalibratedClassifierCV(FrozenEstimator(classifier["intent"]))``. For
    tools that fit the classifier again, use ``classifier.classifier_for("intent")``.

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
        """The sorted classes of the task."""
        check_is_fitted(self.estimator)
        return self.estimator.classes_[self.task]

    def fit(self, X: object, y: object = None) -> NoReturn:
        """Raise an error, because a view cannot be fitted.

        Parameters
        ----------
        X, y : any
            Ignored.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"This is a view of task {self.task!r} and cannot be fitted. Fit the "
            "MultiheadClassifier that it belongs to. For a tool that fits its estimator, pass "
            f"classifier.classifier_for({self.task!r}), which trains a model for this task alone, "
            "or wrap the view to keep its weights: sklearn.frozen.FrozenEstimator(view)."
        )

    def predict(
        self, X: ArrayOrFrame, *, min_confidence: MinConfidence | None = None
    ) -> np.ndarray:
        """Predict the label of each text.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column. A task column in it is ignored.
        min_confidence : float, dict, "tuned" or None, default=None
            As in :meth:`MultiheadClassifier.predict`. "tuned" means the threshold of this task.

        Returns
        -------
        labels : ndarray of shape (n_texts,)
            Labels, in the same type as in the training data, with None below `min_confidence`.
        """
        check_is_fitted(self)
        return self.estimator.predict(X, task=self.task, min_confidence=min_confidence)

    def predict_proba(self, X: ArrayOrFrame) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            As in :meth:`predict`.

        Returns
        -------
        probabilities : ndarray of shape (n_texts, n_classes)
            Probabilities, with columns in the order of `classes_`. Rows sum to 1.
        """
        check_is_fitted(self)
        return self.estimator.predict_proba(X, task=self.task)

    def predict_log_proba(self, X: ArrayOrFrame) -> NDArray[np.float64]:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            As in :meth:`predict`.

        Returns
        -------
        log_probabilities : ndarray of shape (n_texts, n_classes)
            The natural logarithms of :meth:`predict_proba`.
        """
        check_is_fitted(self)
        return self.estimator.predict_log_proba(X, task=self.task)

    def __sklearn_tags__(self):
        """Return tags for a classifier of texts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        return tags

    def __sklearn_is_fitted__(self):
        """Check whether the parent is fitted and has the task."""
        return self.estimator.__sklearn_is_fitted__() and self.task in self.estimator

"""Rows whose label is probably wrong, found by cleanlab or by a rule with a threshold per class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._evaluation import ScoredRows


def cleanlab_version() -> str | None:
    """Return the version of cleanlab, or None if it is not installed."""
    try:
        import cleanlab
    except ImportError:
        return None
    return cleanlab.__version__


def find_label_errors(rows: ScoredRows) -> NDArray[np.int64]:
    """Return the rows whose label is probably wrong, the most likely errors first.

    Parameters
    ----------
    rows : ScoredRows
        Rows of one task. Their probabilities should come from a model that has not trained on them.

    Returns
    -------
    found : ndarray of int64
        Indices of rows, by increasing probability of their label. Rows with a label that is not a
        class are left out.

    Notes
    -----
    If cleanlab is installed, its function `find_label_issues` estimates the number of errors, and
    the rows with the lowest probability of their label are reported. Otherwise, a label is probably
    wrong if another label is predicted, with a confidence that reaches the threshold of this class.
    The threshold of a class is the mean of its probability over the rows with its label, as in
    confident learning [1]_.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset
       Labels", Journal of Artificial Intelligence Research 70, 2021.
    """
    known = np.flatnonzero(rows.true >= 0)
    true, proba = rows.true[known], rows.proba[known]
    # cleanlab needs rows of two classes.
    by_cleanlab = cleanlab_version() is not None and len(np.unique(true)) > 1
    is_error = _by_cleanlab(true, proba) if by_cleanlab else _by_thresholds(true, proba)
    found = known[is_error]
    return found[np.argsort(label_probability(rows)[found], kind="stable")]


def label_probability(rows: ScoredRows) -> NDArray[np.float64]:
    """Return the probability of the label of each row; NaN for a label that is not a class."""
    own = rows.proba[np.arange(len(rows)), rows.true]  # -1 takes the last class
    return np.where(rows.true < 0, np.nan, own)


def _by_cleanlab(true: np.ndarray, proba: np.ndarray) -> NDArray[np.bool_]:
    from cleanlab.filter import find_label_issues

    # The default of `filter_by` warns about each class with fewer than two rows.
    return find_label_issues(true, proba, filter_by="low_self_confidence", n_jobs=1)


def _by_thresholds(true: np.ndarray, proba: np.ndarray) -> NDArray[np.bool_]:
    """Return which rows are predicted as another class, at least as surely as is usual for it."""
    thresholds = np.full(proba.shape[1], np.inf)
    for code in np.unique(true):
        thresholds[code] = proba[true == code, code].mean()
    predicted = proba.argmax(axis=1)
    return (predicted != true) & (proba.max(axis=1, initial=0) >= thresholds[predicted])

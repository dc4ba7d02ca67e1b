"""Logistic regression on what an output layer reads: where the layer can start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression


def fit_probe(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_classes: int, C: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a linear layer to features that do not change.

    Parameters
    ----------
    features : ndarray of float32, shape (n_rows, width)
        What the layer reads.
    labels : ndarray of int, shape (n_rows,)
        Label codes, of two classes at least.
    weights : ndarray of float, shape (n_rows,)
        Weights of the rows, of which only the ratios matter.
    n_classes : int
        Columns of the layer.
    C : float, default=1.0
        Inverse of the strength of the L2 penalty, for features of a mean norm of 1.

    Returns
    -------
    weight : ndarray of float32, shape (n_classes, width)
        A class without rows has zeros.
    bias : ndarray of float32, shape (n_classes,)
        A class without rows has the lowest bias of the others.

    Examples
    --------
    >>> features = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)
    >>> weight, bias = fit_probe(features, np.array([0, 2, 0, 2]), np.ones(4), n_classes=3)
    >>> (features @ weight.T + bias).argmax(1).tolist()
    [0, 2, 0, 2]
    """
    # With a norm of 1, the same C suits encoders whose embeddings are of very different size.
    scale = float(np.linalg.norm(features, axis=1).mean()) or 1.0
    # It is a start and no result: a loose tolerance will do.
    probe = LogisticRegression(C=C, max_iter=300, tol=1e-3)
    probe.fit(features / scale, labels, sample_weight=weights / np.mean(weights))
    coefficients, intercepts = probe.coef_, probe.intercept_
    if len(coefficients) == 1:  # of the second of two classes, against the first
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((n_classes, features.shape[1]), np.float32)
    bias = np.full(n_classes, intercepts.min(), np.float32)
    weight[probe.classes_] = coefficients / scale
    bias[probe.classes_] = intercepts
    return weight, bias

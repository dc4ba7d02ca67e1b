"""Logistic regression that initializes an output layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression


def fit_probe(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_classes: int, C: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a linear layer to fixed features.

    Parameters
    ----------
    features : ndarray of float32, shape (n_rows, width)
        Inputs of the layer.
    labels : ndarray of int, shape (n_rows,)
        Label codes of at least two classes.
    weights : ndarray of float, shape (n_rows,)
        Weights of the rows; only their ratios matter.
    n_classes : int
        Number of outputs of the layer.
    C : float, default=1.0
        Inverse of the strength of the L2 penalty, after features are scaled to a mean norm of 1.

    Returns
    -------
    weight : ndarray of float32, shape (n_classes, width)
        Weights of the layer; zeros for a class without rows.
    bias : ndarray of float32, shape (n_classes,)
        Biases of the layer. A class without rows has the lowest bias of the other classes.

    Examples
    --------
    >>> features = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)
    >>> weight, bias = fit_probe(features, np.array([0, 2, 0, 2]), np.ones(4), n_classes=3)
    >>> (features @ weight.T + bias).argmax(1).tolist()
    [0, 2, 0, 2]
    """
    # Scaling makes one C suit encoders whose embeddings have very different norms.
    scale = float(np.linalg.norm(features, axis=1).mean()) or 1.0
    # A loose tolerance is enough, because training continues from this solution.
    probe = LogisticRegression(C=C, max_iter=300, tol=1e-3)
    probe.fit(features / scale, labels, sample_weight=weights / np.mean(weights))
    coefficients, intercepts = probe.coef_, probe.intercept_
    if len(coefficients) == 1:  # binary: coefficients of the second class alone
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((n_classes, features.shape[1]), np.float32)
    bias = np.full(n_classes, intercepts.min(), np.float32)
    weight[probe.classes_] = coefficients / scale
    bias[probe.classes_] = intercepts
    return weight, bias

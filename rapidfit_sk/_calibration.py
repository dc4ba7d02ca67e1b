"""One temperature per task, so that probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# The standard deviation of a prior on the logarithm of the temperature: a handful of rows that are
# all right would else make the model certain.
_PRIOR = 1.0


def fit_temperature(logits, labels, weights) -> float:
    """Find the temperature at which the probabilities of held-out rows are most likely.

    Parameters
    ----------
    logits : ndarray of float32, shape (n_rows, n_classes)
        Logits of rows that did not train.
    labels : ndarray of int, shape (n_rows,)
        Label codes; rows of -1 are left out.
    weights : ndarray of float, shape (n_rows,)
        Weights of the rows, of which only the ratios matter.

    Returns
    -------
    temperature : float
        From 0.05 to 20; 1 where there are no rows.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> logits = np.tile([[4.0, 0.0]], (100, 1))  # sure to 98 %, and right in 3 of 4 rows
    >>> labels = np.repeat([0, 1], [75, 25])
    >>> round(fit_temperature(logits, labels, np.ones(100)), 1)
    3.5
    """
    known = labels >= 0
    rows = np.arange(known.sum())
    if not len(rows):
        return 1.0
    logits, labels = logits[known].astype(np.float64), labels[known]
    weights = weights[known] / weights[known].mean()

    def cost(log_temperature):
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels]
        return -(weights @ log_p) + (log_temperature / _PRIOR) ** 2 / 2

    found = minimize_scalar(cost, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


def probabilities(logits, temperature=1.0) -> np.ndarray:
    """Return probabilities in float64, whose rows sum to 1 more closely than in float32."""
    return softmax(logits.astype(np.float64) / temperature, axis=1)

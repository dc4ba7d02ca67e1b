"""Temperature scaling: one temperature per task, which calibrates its probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# Standard deviations of the normal priors on log-temperatures. The prior of the common temperature
# is centered at 1, and the prior of each task's temperature is centered at the common one. Without
# priors, a few rows that are all predicted correctly would push the temperature to its minimum.
_STD_OF_COMMON, _STD_OF_TASK = 1.0, 0.5


def fit_temperatures(tasks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[float]:
    """Fit one temperature per task on the calibration rows.

    Temperatures maximize the likelihood of the labels under normal priors on their logarithms.

    Parameters
    ----------
    tasks : list of (logits, labels, weights)
        For each task, the logits of its calibration rows, of shape (n_rows, n_classes), their label
        codes and their weights. Rows with the label code -1 are ignored. Only the ratios of the
        weights matter.

    Returns
    -------
    temperatures : list of float
        One temperature per task, from 0.05 to 20. The fewer rows a task has, the closer its
        temperature is to the common temperature of all tasks. A task without rows gets the common
        temperature. If no task has rows, all temperatures are 1.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> logits = np.tile([[4.0, 0.0]], (100, 1))  # a probability of 98 %, but 75 % are correct
    >>> labels = np.repeat([0, 1], [75, 25])
    >>> [round(t, 1) for t in fit_temperatures([(logits, labels, np.ones(100))])]
    [3.5]
    """
    costs = [_cost_of(*task) for task in tasks]
    common = _minimum(lambda log_t: sum(c(log_t) for c in costs), 0.0, _STD_OF_COMMON)
    # If only one task has rows, the common temperature was fitted on this task alone.
    if sum((labels >= 0).any() for _, labels, _ in tasks) < 2:
        return [math.exp(common)] * len(costs)
    return [math.exp(_minimum(cost, common, _STD_OF_TASK)) for cost in costs]


def _cost_of(logits, labels, weights) -> Callable[[float], float]:
    """Return the negative log-likelihood of the labels as a function of the log-temperature.

    Rows with the label code -1 are ignored, and the weights are scaled to a mean of 1.
    """
    known = labels >= 0
    logits, labels, weights = logits[known].astype(np.float64), labels[known], weights[known]
    weights = weights / (weights.sum() or 1) * len(weights)

    def cost(log_temperature: float) -> float:
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(weights @ log_p[np.arange(len(labels)), labels])

    return cost


def _minimum(cost: Callable[[float], float], center: float, spread: float) -> float:
    """Return the log-temperature that minimizes `cost` under a normal prior."""
    found = minimize_scalar(
        lambda x: cost(x) + ((x - center) / spread) ** 2 / 2, bounds=(-3, 3), method="bounded"
    )
    return float(found.x)


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> NDArray[np.float64]:
    """Compute the softmax of the logits divided by the temperature.

    The probabilities are float64, so their sum is closer to 1 than with float32.
    """
    return softmax(logits.astype(np.float64) / temperature, axis=1)


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> NDArray[np.float64]:
    """Compute the logarithm of :func:`probabilities`, which is finite for any finite logits."""
    return log_softmax(logits.astype(np.float64) / temperature, axis=1)

"""Temperature scaling: one temperature per task, which calibrates its probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# Standard deviations of two normal priors on log-temperatures. The common temperature has a prior
# around 1, and the temperature of a task has a prior around the common one. Without them, a few
# rows that are all predicted correctly would make the temperature extremely low.
_STD_OF_COMMON, _STD_OF_TASK = 1.0, 0.5


def fit_temperatures(tasks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[float]:
    """Fit the temperatures that maximize the likelihood of the labels of calibration rows.

    Parameters
    ----------
    tasks : list of (logits, labels, weights)
        For each task, the logits of its calibration rows, of shape (n_rows, n_classes), their label
        codes and their weights. Rows with the code -1 are ignored. Only the ratios of the weights
        matter.

    Returns
    -------
    temperatures : list of float
        One temperature per task, from 0.05 to 20. The fewer rows a task has, the closer it is to
        the common temperature of all tasks. A task without rows gets the common temperature.
        Without any rows, all temperatures are 1.

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
    if (
        sum((labels >= 0).any() for _, labels, _ in tasks) < 2
    ):  # the only task with rows determines the common one
        return [math.exp(common)] * len(costs)
    return [math.exp(_minimum(cost, common, _STD_OF_TASK)) for cost in costs]


def _cost_of(logits, labels, weights) -> Callable[[float], float]:
    """Return the negative log-likelihood of labels as a function of the log-temperature.

    Rows with unknown labels are ignored, and weights are scaled to a mean of 1.
    """
    known = labels >= 0
    logits, labels, weights = logits[known].astype(np.float64), labels[known], weights[known]
    weights = weights / (weights.sum() or 1) * len(weights)

    def cost(log_temperature: float) -> float:
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(weights @ log_p[np.arange(len(labels)), labels])

    return cost


def _minimum(cost: Callable[[float], float], center: float, spread: float) -> float:
    """Minimize a function of the log-temperature under a normal prior."""
    found = minimize_scalar(
        lambda x: cost(x) + ((x - center) / spread) ** 2 / 2, bounds=(-3, 3), method="bounded"
    )
    return float(found.x)


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities in float64, so the sum of a row is closer to 1 than in float32."""
    return softmax(logits.astype(np.float64) / temperature, axis=1)

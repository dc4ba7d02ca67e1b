"""Scores per task. Label codes of different tasks are never pooled."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score


def scores_per_task(
    tasks: np.ndarray, true: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> dict[int, dict[str, float]]:
    """Compute the accuracy and the F1 score of each task.

    Parameters
    ----------
    tasks, true, predicted : ndarray of int, shape (n_rows,)
        Codes of the task, the true label and the predicted label of each row. The true label -1 is
        not a class of the task, so the prediction for this row counts as wrong.
    weights : ndarray of float, shape (n_rows,)
        Sample weights.

    Returns
    -------
    scores : dict of {int: dict}
        The ``accuracy``, the ``f1`` (macro-averaged over the classes that occur) and the
        ``n_rows`` of each task that has rows.
    """
    scores = {}
    for task in np.unique(tasks):
        rows = tasks == task
        truth, guess, weight = true[rows], predicted[rows], weights[rows]
        f1 = f1_score(truth, guess, average="macro", zero_division=0, sample_weight=weight)
        scores[int(task)] = {
            "accuracy": float(accuracy_score(truth, guess, sample_weight=weight)),
            "f1": float(f1),
            "n_rows": int(rows.sum()),
        }
    return scores


def mean_over_tasks(scores: dict[int, dict[str, float]], metric: str) -> float:
    """Return the unweighted mean of a metric over the tasks in `scores`."""
    return float(np.mean([score[metric] for score in scores.values()]))


def standard_error(scores: dict[int, dict[str, float]], metric: str) -> float:
    """Return an estimate of the standard error of :func:`mean_over_tasks`.

    Parameters
    ----------
    scores : dict
        Output of :func:`scores_per_task`.
    metric : {"accuracy", "f1"}
        Name of the metric.

    Returns
    -------
    error : float
        Estimated standard deviation of the mean over tasks between random samples of rows.

    Notes
    -----
    The estimate assumes that each row is correct with a probability equal to the score, and that
    tasks are independent. One correct and one wrong row are added to each task, so a perfect score
    on three rows still has a standard error above 0 [1]_.

    References
    ----------
    .. [1] Agresti and Coull, "Approximate is Better than 'Exact' for Interval Estimation of
       Binomial Proportions", The American Statistician 52, 1998.

    Examples
    --------
    >>> round(standard_error({0: {"accuracy": 0.8, "n_rows": 100}}, "accuracy"), 3)
    0.04
    """
    n = np.array([score["n_rows"] for score in scores.values()])
    share = (n * [score[metric] for score in scores.values()] + 1) / (n + 2)
    return float(np.sqrt((share * (1 - share) / n).sum()) / len(scores))


def wilson_interval(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share of `n` independent rows.

    Parameters
    ----------
    share : float
        The observed share, such as an accuracy.
    n : int
        Number of rows, at least 1.
    z : float, default=1.96
        Quantile of the standard normal distribution; the default gives 95 % confidence.

    Returns
    -------
    low, high : float
        The bounds of the interval.

    References
    ----------
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson_interval(0.9, 100)]
    [0.826, 0.945]
    """
    center = share + z**2 / (2 * n)
    radius = z * float(np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2))
    scale = 1 + z**2 / n
    return max(0.0, (center - radius) / scale), min(1.0, (center + radius) / scale)


def score_table(title: str, scores: dict[str, dict[str, float]]) -> str:
    """Format the scores of all tasks as a table under a title."""
    frame = pd.DataFrame.from_dict(scores, orient="index")
    formats = {"accuracy": "{:.3f}".format, "f1": "{:.3f}".format}
    return f"{title}\n{frame.to_string(formatters=formats)}"

"""Abstention: confidences, and the thresholds that they must reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from .._typing import TargetLike
from .._validation import check_argument, mapping_to, none, real, short, suggestion
from .calibration import probabilities

_SHARE = real(0, 1, closed="neither")
TARGET_OF_TASK = _SHARE | none
_TARGET = _SHARE | mapping_to(_SHARE) | none

# Probability with which the precision on new rows reaches the target.
CERTAINTY = 0.9

# The product 0.07 * 100 is rounded to a number slightly above 7.
_ROUNDING = 1e-9


def confidences(logits: np.ndarray, temperature: float = 1.0) -> NDArray[np.float64]:
    """Compute the confidence of each prediction, which is the probability of its class."""
    return probabilities(logits, temperature).max(axis=1)


def confident_codes(
    logits: np.ndarray, temperature: float, min_confidence: float
) -> NDArray[np.int64]:
    """Return the code of the most likely class of each row, or -1 below a minimum confidence."""
    codes = logits.argmax(axis=1)
    if min_confidence > 0:
        codes[confidences(logits, temperature) < min_confidence] = -1
    return codes


@dataclass(frozen=True)
class Target:
    """Precision or coverage that the thresholds of tasks must reach.

    Attributes
    ----------
    name : {"precision", "coverage"}
        What to reach.
    value : float or dict of {str: float}
        The target, for all tasks or by task.
    """

    name: str
    value: TargetLike

    @classmethod
    def of(cls, precision: TargetLike | None, coverage: TargetLike | None) -> Target:
        """Check the two arguments, of which exactly one must be given."""
        check_argument("precision", precision, _TARGET)
        check_argument("coverage", coverage, _TARGET)
        if precision is not None and coverage is None:
            return cls("precision", precision)
        if coverage is not None and precision is None:
            return cls("coverage", coverage)
        raise ValueError(
            f"Pass either precision or coverage. Got precision={short(precision)} and "
            f"coverage={short(coverage)}."
        )

    def thresholds(self, rows: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Return the threshold of each task that has a target.

        Parameters
        ----------
        rows : dict of {str: tuple}
            For each task, the confidence of its calibration rows and whether their labels are
            predicted.

        Raises
        ------
        ValueError
            If a task with a target has no rows, or if no threshold reaches the precision.
        """
        targets = self.value if isinstance(self.value, Mapping) else dict.fromkeys(rows, self.value)
        for task in targets:
            if task not in rows:
                raise ValueError(
                    f"The {self.name!r} parameter names task {short(task)}, but X has no rows of "
                    f"it.{suggestion(task, rows)} Pass rows of the task, or leave it out."
                )
        return {task: self._threshold(task, *rows[task], aim) for task, aim in targets.items()}

    def _threshold(self, task, confidence, is_correct, aim) -> float:
        if self.name == "coverage":
            return threshold_for_coverage(confidence, aim)
        found = threshold_for_precision(confidence, is_correct, aim)
        if isinstance(found, float):
            return found
        raise ValueError(
            f"No threshold reaches a precision of {aim} for task {short(task)} with a certainty of "
            f"{CERTAINTY:.0%}. The highest is {found.precision:.3f}, for the {found.n_rows} most "
            f"confident of {len(confidence)} rows. Pass a lower precision or more rows, or set "
            "min_confidence to a number."
        )


class BestPrecision(NamedTuple):
    """The highest precision that a threshold reaches, and the number of rows that it predicts."""

    precision: float
    n_rows: int


def threshold_for_precision(
    confidence: np.ndarray, is_correct: np.ndarray, precision: float
) -> float | BestPrecision:
    """Return the lowest threshold at which the predicted rows show that a precision is reached.

    The lower confidence bound of the precision must reach the target. It is below the share of
    correct rows, and further below if fewer rows are predicted. With the share itself, the
    threshold that happens to suit these rows would be chosen.

    Parameters
    ----------
    confidence : ndarray of float, shape (n_rows,)
        The confidence of each calibration row.
    is_correct : ndarray of bool, shape (n_rows,)
        Whether its predicted label is correct.
    precision : float
        The target, between 0 and 1.

    Returns
    -------
    threshold : float or BestPrecision
        The confidence of the last predicted row, or 0 if all rows are predicted. If no threshold
        reaches the target, the highest precision that one reaches.

    Notes
    -----
    The bound holds for each threshold alone. The choice among all of them costs little if more
    confident rows are more often correct, because then only thresholds close to the right one can
    pass by chance.

    References
    ----------
    Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
    Binomial", Biometrika 26, 1934.

    Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> confidence = np.array([0.9] * 60 + [0.7] * 30 + [0.5] * 10)
    >>> threshold_for_precision(confidence, confidence > 0.6, 0.95)
    0.7
    >>> threshold_for_precision(confidence[-20:], confidence[-20:] > 0.6, 0.95)
    BestPrecision(precision=0.794..., n_rows=10)
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    bounds = precision_bound(np.cumsum(is_correct[order]), np.arange(1, len(order) + 1))
    bounds[:-1][ordered[:-1] == ordered[1:]] = -1  # rows of equal confidence go together
    enough = np.flatnonzero(bounds >= precision)
    if not len(enough):
        return BestPrecision(float(bounds.max()), int(bounds.argmax()) + 1)
    return 0.0 if enough[-1] == len(order) - 1 else float(ordered[enough[-1]])


def precision_bound(n_correct: np.ndarray, n_rows: np.ndarray) -> NDArray[np.float64]:
    """Return the lower confidence bound of a precision (Clopper and Pearson), element by element.

    Examples
    --------
    >>> precision_bound(np.array([44, 45, 98]), np.array([44, 45, 100])).round(3).tolist()
    [0.949, 0.95, 0.948]
    """
    return np.where(
        n_correct > 0,
        betaincinv(np.maximum(n_correct, 1), n_rows - n_correct + 1, 1 - CERTAINTY),
        0.0,
    )


def threshold_for_coverage(confidence: np.ndarray, coverage: float) -> float:
    """Return the highest threshold that a share of new rows reaches.

    Parameters
    ----------
    confidence : ndarray of float, shape (n_rows,)
        The confidence of each calibration row.
    coverage : float
        The share, between 0 and 1. A new row from the same distribution reaches the threshold with
        at least this probability, averaged over draws of the calibration rows.

    Returns
    -------
    threshold : float
        The confidence of a calibration row, or 0 if there are too few rows.

    References
    ----------
    Vovk et al., "Algorithmic Learning in a Random World", Springer, 2005.

    Examples
    --------
    >>> threshold_for_coverage(np.array([0.9, 0.8, 0.7, 0.6]), 0.4)
    0.8
    """
    rank = math.ceil(coverage * (len(confidence) + 1) - _ROUNDING)
    return 0.0 if rank > len(confidence) else float(np.sort(confidence)[::-1][rank - 1])

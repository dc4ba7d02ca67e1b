"""The minimum confidence of predictions, and missing labels below it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ._validation import check_task, listed, mapping_to, none, one_of, real

MIN_CONFIDENCE_OF_TASK = real(0, 1) | one_of("tuned") | none
MIN_CONFIDENCE = real(0, 1) | mapping_to(real(0, 1)) | one_of("tuned") | none


def min_confidences(
    given: float | Mapping[str, float] | str | None,
    requested: list[str],
    tuned: Mapping[str, float],
    known: list[str],
) -> dict[str, float] | None:
    """Return the minimum confidence of each requested task; None to predict all rows.

    Parameters
    ----------
    given : float, dict, "tuned" or None
        The parameter `min_confidence` of a prediction.
    requested : list of str
        The tasks to predict.
    tuned : dict of {str: float}
        The tuned thresholds.
    known : list of str
        All tasks of the classifier.

    Raises
    ------
    ValueError, TypeError
        If `given` names an unknown task, or if it is "tuned" and the threshold of a task was not
        tuned.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        for task in given:
            check_task(task, known)
        return {task: float(given.get(task, 0.0)) for task in requested}
    if given != "tuned":
        return dict.fromkeys(requested, float(given))
    missing = [task for task in requested if task not in tuned]
    if missing:
        raise ValueError(
            f"min_confidence='tuned' needs a threshold of each task, but there is none for: "
            f"{listed(missing)}. Tune them on rows that did not train, or pass a number. A "
            "training drops all thresholds."
        )
    return {task: tuned[task] for task in requested}


def with_missing(classes: np.ndarray) -> NDArray[np.object_]:
    """Return classes as Python objects and None, which is at position -1."""
    return np.array([*classes.tolist(), None], dtype=object)

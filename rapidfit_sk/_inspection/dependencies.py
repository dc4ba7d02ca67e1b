"""Tasks whose labels depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.metrics import normalized_mutual_info_score

from .._rows import CodedRows

DEPENDENCIES = ["task", "other_task", "n_texts", "mutual_information"]
IMPLICATIONS = ["task", "label", "other_task", "other_label", "n_texts", "share_elsewhere"]
# The probability with which chance may give all texts of a label the same other label.
_CHANCE = 1e-3


def dependencies(rows: CodedRows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how strongly the labels of each two tasks depend on each other.

    Parameters
    ----------
    rows : CodedRows
        The rows of all tasks.

    Returns
    -------
    dependencies : DataFrame
        A row per pair of tasks with common texts: their number, and the mutual information of both
        labels, normalized to values from 0 (independent) to 1.
    implications : DataFrame
        Labels whose texts all have the same label of another task, although this label is not the
        only one: for chance alone, the probability would be below 0.001. `share_elsewhere` is the
        share of the other label among all other texts that have both tasks.
    """
    tasks = list(rows.classes)
    wide = _labels_of_texts(rows)
    pairs, implied = [], []
    for one, other in itertools.permutations(range(len(tasks)), 2):
        both = (wide[:, one] >= 0) & (wide[:, other] >= 0)
        if not both.any():
            continue
        labels, others = wide[both, one], wide[both, other]
        if one < other:
            shared = float(normalized_mutual_info_score(labels, others))
            pairs.append((tasks[one], tasks[other], int(both.sum()), shared))
        of_one, of_other = rows.classes[tasks[one]], rows.classes[tasks[other]]
        for label, implied_label, n, share in _implications(labels, others):
            names = (tasks[one], of_one[label], tasks[other], of_other[implied_label])
            implied.append((*names, n, share))
    return (
        pd.DataFrame(pairs, columns=DEPENDENCIES),
        pd.DataFrame(implied, columns=IMPLICATIONS),
    )


def _labels_of_texts(rows: CodedRows) -> np.ndarray:
    """Return the code of the first label of each text for each task, and -1 without a label."""
    groups = rows.texts.groups
    found = np.full((groups.max(initial=-1) + 1, len(rows.classes)), -1)
    found[groups[::-1], rows.tasks[::-1]] = rows.labels[::-1]
    return found


def _implications(labels: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, int, float]]:
    """Yield each label that implies another one, the other one, the number of texts and a share."""
    for label in np.unique(labels):
        own = labels == label
        found = np.unique(others[own])
        if len(found) > 1 or own.all():
            continue
        share = float((others == found[0]).mean())
        if share ** own.sum() < _CHANCE:
            yield (
                int(label),
                int(found[0]),
                int(own.sum()),
                float((others[~own] == found[0]).mean()),
            )

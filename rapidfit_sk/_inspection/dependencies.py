"""Tasks whose labels depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from .._rows import CodedRows

DEPENDENCIES = ["task", "other_task", "texts", "mutual_information", "p_value"]
IMPLICATIONS = ["task", "label", "other_task", "other_label", "texts", "share_elsewhere"]
# The probability with which chance may give any label of a task texts with one other label only.
_CHANCE = 0.01


class _Cells(NamedTuple):
    """The cells above 0 of the table of two labels: a label, another label, number of texts."""

    label: np.ndarray
    other: np.ndarray
    n: np.ndarray


def dependencies(rows: CodedRows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how strongly the labels of each two tasks depend on each other.

    Parameters
    ----------
    rows : CodedRows
        The rows of all tasks.

    Returns
    -------
    dependencies : DataFrame
        A row per pair of tasks with common texts: their number, the mutual information of both
        labels, normalized to values from 0 (independent) to 1, and the p-value of a G-test.
    implications : DataFrame
        Labels whose texts all have the same label of another task, if chance would give such a
        label with a probability below 0.01. `share_elsewhere` is the share of the other label
        among all other texts that have a label of the other task.
    """
    tasks, classes = list(rows.classes), list(rows.classes.values())
    wide = _labels_of_texts(rows)
    totals = [np.bincount(own[own >= 0], minlength=1) for own in wide.T]
    pairs: list[Any] = []
    implied: list[Any] = []
    for one, other in itertools.combinations(range(len(tasks)), 2):
        cells = _cells(wide[:, one], wide[:, other])
        if not len(cells.n):
            continue
        pairs.append((tasks[one], tasks[other], int(cells.n.sum()), *_dependence(cells)))
        turned = _Cells(cells.other, cells.label, cells.n)
        for a, b, table in ((one, other, cells), (other, one, turned)):
            implied += [
                (tasks[a], classes[a][label], tasks[b], classes[b][implied_label], n, share)
                for label, implied_label, n, share in _implications(table, totals[b])
            ]
    # Dtype object, because labels of several tasks in one column keep their types.
    implications = pd.DataFrame(implied, columns=IMPLICATIONS, dtype=object)
    return (
        pd.DataFrame(pairs, columns=DEPENDENCIES),
        implications.astype({"texts": int, "share_elsewhere": float}),
    )


def _labels_of_texts(rows: CodedRows) -> np.ndarray:
    """Return the code of the first label of each text for each task, and -1 without a label."""
    groups = rows.texts.groups
    found = np.full((groups.max(initial=-1) + 1, len(rows.classes)), -1)
    found[groups[::-1], rows.tasks[::-1]] = rows.labels[::-1]
    return found


def _cells(labels: np.ndarray, others: np.ndarray) -> _Cells:
    """Count the pairs of labels of texts that have both."""
    both = (labels >= 0) & (others >= 0)
    width = others.max(initial=0) + 1
    codes, n = np.unique(labels[both] * width + others[both], return_counts=True)
    return _Cells(codes // width, codes % width, n)


def _dependence(cells: _Cells) -> tuple[float, float]:
    """Return the normalized mutual information of two labels, and the p-value of a G-test."""
    n_texts = cells.n.sum()
    of_label, of_other = np.bincount(cells.label, cells.n), np.bincount(cells.other, cells.n)
    expected = of_label[cells.label] * of_other[cells.other] / n_texts
    information = max(0.0, float((cells.n * np.log(cells.n / expected)).sum() / n_texts))
    sizes = [own[own > 0] / n_texts for own in (of_label, of_other)]
    entropy = [float(-(own * np.log(own)).sum()) for own in sizes]
    freedom = (len(sizes[0]) - 1) * (len(sizes[1]) - 1)
    if not freedom:
        return 0.0, 1.0
    share = 2 * information / sum(entropy)
    return min(1.0, share), float(chdtrc(freedom, 2 * n_texts * information))


def _implications(cells: _Cells, totals: np.ndarray) -> Iterator[tuple[int, int, int, float]]:
    """Yield each label that implies another one, the other one, the number of texts and a share.

    Parameters
    ----------
    cells : _Cells
        The texts that have both labels.
    totals : ndarray
        Number of texts of each other label, also of those without a label of the task.
    """
    share = totals[cells.other] / totals.sum()
    if len(set(cells.other.tolist())) == 1:
        # The task has labels only for texts with one other label.
        chance = share ** cells.n.sum()
    else:
        chance = share**cells.n * len(set(cells.label.tolist()))
    has_one = np.bincount(cells.label)[cells.label] == 1
    for cell in np.flatnonzero(has_one & (chance < _CHANCE)):
        n, total = cells.n[cell], totals[cells.other[cell]]
        elsewhere = (total - n) / (totals.sum() - n)
        yield int(cells.label[cell]), int(cells.other[cell]), int(n), float(elsewhere)

"""Splits that keep all rows of a text together and are stratified by task and label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """Sorted indices of the training, validation and test rows."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def split_rows(
    texts: np.ndarray,
    tasks: np.ndarray,
    labels: np.ndarray,
    *,
    test_size: float,
    val_size: float,
    rng: np.random.Generator,
) -> Split:
    """Split rows into training, validation and test rows, each stratified by task and label.

    Parameters
    ----------
    texts, tasks, labels : ndarray of int, shape (n_rows,)
        Codes of the text, the task and the label of each row.
    test_size, val_size : float
        Share of all rows that are test rows, and share of the remaining rows that are validation
        rows, in [0, 1).
    rng : numpy.random.Generator
        Random generator for the choice of texts.

    Returns
    -------
    split : Split
        Indices of the rows. Every class keeps at least one training row.
    """
    rows = np.arange(len(texts))
    test = hold_out(texts, tasks, labels, test_size, rng)
    rest = rows[~test]
    val = hold_out(texts[rest], tasks[rest], labels[rest], val_size, rng)
    return Split(rest[~val], rest[val], rows[test])


def hold_out(
    texts: np.ndarray,
    tasks: np.ndarray,
    labels: np.ndarray,
    size: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose texts and hold out all their rows, stratified by task and label.

    Parameters
    ----------
    texts, tasks, labels : ndarray of int, shape (n_rows,)
        Codes of the text, the task and the label of each row.
    size : float
        Share of the rows of each task to hold out, in [0, 1).
    rng : numpy.random.Generator
        Random generator for the choice of texts.

    Returns
    -------
    held_out : ndarray of bool, shape (n_rows,)
        True for all rows of the chosen texts.

    Notes
    -----
    A stratum is a class of a task, and each stratum has a quota of rows to hold out
    (:func:`quotas`). As in the iterative stratification of Sechidis et al. [1]_, the rarest stratum
    is filled first, but with whole texts. Texts that also count toward other quotas are tried
    first. A text is chosen if its rows bring the remaining quotas closer to zero, but never if it
    has the last training row of a class. If the texts of a task have many rows each, the task may
    end up with too few held-out rows. More of its texts are then chosen, regardless of their
    classes.

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data",
       ECML PKDD 2011.
    """
    if size == 0:
        return np.zeros(len(texts), dtype=bool)
    strata, stratum = np.unique(np.column_stack([tasks, labels]), axis=0, return_inverse=True)
    stratum = stratum.ravel()
    left = np.bincount(stratum, minlength=len(strata))
    need = quotas(strata[:, 0], left, size, rng)
    strata_of = _strata_of_texts(texts, stratum)
    taken = np.zeros(texts.max(initial=-1) + 1, dtype=bool)
    for current in np.argsort(left, kind="stable"):
        for text in _useful_first(np.unique(texts[stratum == current]), strata_of, need, rng):
            if need[current] <= 0:
                break
            mine, rows = strata_of[text]
            if not taken[text] and _helps(need[mine], rows) and (left[mine] > rows).all():
                taken[text] = True
                need[mine] -= rows
                left[mine] -= rows
    _top_up(taken, texts, tasks, stratum, left, size, rng)
    return taken[texts]


def assign_folds(
    texts: np.ndarray,
    strata: np.ndarray,
    n_folds: int,
    rng: np.random.RandomState | None = None,
) -> NDArray[np.int64]:
    """Assign texts to folds that all have the same share of every stratum.

    Parameters
    ----------
    texts, strata : ndarray of int, shape (n_rows,)
        Codes of the text and the stratum of each row.
    n_folds : int
        Number of folds.
    rng : numpy.random.RandomState or None
        Random generator that shuffles the texts. None keeps them in order of their codes.

    Returns
    -------
    folds : ndarray of int, shape (n_texts,)
        The fold of each text.

    Notes
    -----
    This is the iterative stratification of Sechidis et al. [1]_ on whole texts. Strata are
    processed from the rarest to the most frequent. Each text goes to the fold that needs the most
    rows of the current stratum. Ties go to the fold that needs the most rows of all strata of the
    text, and then to the fold that needs the most rows in total.

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data",
       ECML PKDD 2011.
    """
    counts = np.bincount(strata)
    need = np.tile(counts / n_folds, (n_folds, 1))
    strata_of = _strata_of_texts(texts, strata)
    folds = np.full(texts.max() + 1, -1)
    for current in np.argsort(counts, kind="stable"):
        mine = np.unique(texts[strata == current])
        for text in mine if rng is None else rng.permutation(mine):
            if folds[text] < 0:
                own, rows = strata_of[text]
                wish = need[:, current], need[:, own].sum(axis=1), need.sum(axis=1)
                # Without rounding, floating-point errors in shares such as 10 / 3 break ties.
                folds[text] = np.lexsort([-np.round(part, 6) for part in reversed(wish)])[0]
                need[folds[text], own] -= rows
    return folds


def _top_up(taken, texts, tasks, stratum, left, size, rng):
    """Hold out more texts of tasks with too few held-out rows, regardless of their classes."""
    held = np.bincount(tasks[taken[texts]], minlength=tasks.max() + 1)
    need = np.round(np.bincount(tasks) * size).astype(int) - held
    if (need <= 0).all():
        return
    tasks_of, strata_of = _strata_of_texts(texts, tasks), _strata_of_texts(texts, stratum)
    for text in rng.permutation(np.unique(texts[~taken[texts]])):
        (mine, rows), (strata, counts) = tasks_of[text], strata_of[text]
        if _helps(need[mine], rows) and (left[strata] > counts).all():
            taken[text] = True
            need[mine] -= rows
            left[strata] -= counts


def quotas(tasks, counts, size, rng) -> np.ndarray:
    """Divide the held-out rows of each task among its strata, in proportion to their sizes.

    Parameters
    ----------
    tasks : ndarray of int, shape (n_strata,)
        The task of each stratum.
    counts : ndarray of int, shape (n_strata,)
        The number of rows of each stratum.
    size : float
        Share of the rows of each task to hold out.
    rng : numpy.random.Generator
        Random generator that breaks ties when fractions are rounded.

    Returns
    -------
    quotas : ndarray of int, shape (n_strata,)
        Number of rows to hold out from each stratum. It is at most ``counts - 1``, so every class
        keeps a training row.
    """
    exact = counts * size
    # The offset corrects floating-point errors: 100 * 0.29 is 28.999999999999996 instead of 29.
    result = np.floor(exact + 1e-9).astype(int)
    for task in np.unique(tasks):
        mine = np.flatnonzero(tasks == task)
        short = round(exact[mine].sum()) - result[mine].sum()
        order = np.lexsort([rng.random(mine.size), -(exact[mine] - result[mine])])
        result[mine[order[:short]]] += 1
    return np.minimum(result, counts - 1)


def tasks_without(rows: np.ndarray, tasks: np.ndarray, n_tasks: int) -> NDArray[np.int64]:
    """Return the codes of the tasks that none of the given rows belong to."""
    return np.flatnonzero(np.bincount(tasks[rows], minlength=n_tasks) == 0)


def _strata_of_texts(texts, stratum):
    """Return a dict that maps each text to its strata and its number of rows in each of them."""
    order = np.argsort(texts, kind="stable")
    codes, starts = np.unique(texts[order], return_index=True)
    parts = np.split(stratum[order], starts[1:])
    return {
        code: np.unique(part, return_counts=True) for code, part in zip(codes, parts, strict=True)
    }


def _useful_first(texts, strata_of, need, rng):
    """Sort texts by the number of strata that still need their rows, with ties in random order.

    Each stratum counts once. If each row counted, texts with many rows would always come first.
    """
    texts = rng.permutation(texts)
    useful = [np.sign(need[strata_of[text][0]]).sum() for text in texts]
    return texts[np.argsort(useful, kind="stable")[::-1]]


def _helps(need, rows) -> bool:
    """Return whether holding out `rows` brings the remaining quotas closer to zero."""
    return np.abs(need - rows).sum() < np.abs(need).sum()

"""How much label texts count, and heads that predict from them alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

# Scale of the cosine similarity of a text and a text of a label as a logit, the inverse of a
# temperature. Values from 12 to 21 give the most likely probabilities on nine tasks.
SCALE = 16.0


def label_directions(
    features: np.ndarray, labels: np.ndarray, n_classes: int
) -> NDArray[np.float32]:
    """Return the mean direction of the texts of each label.

    Parameters
    ----------
    features : ndarray of float, shape (n_texts, width)
        Embeddings of label texts, or other features of them.
    labels : ndarray of int, shape (n_texts,)
        The label of each text.
    n_classes : int
        Number of labels.

    Returns
    -------
    directions : ndarray of float32, shape (n_classes, width)
        Vectors of length 1, or zeros for a label without texts.
    """
    sums = np.zeros((n_classes, features.shape[1]), np.float32)
    np.add.at(sums, labels, _unit(features))
    return _unit(sums)


def _unit(vectors: np.ndarray) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def probability_of_texts(
    embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, directions: np.ndarray
) -> float:
    """Return the probability that the texts of the labels of a task describe its rows.

    The alternative is that they say nothing, and both have even odds before the rows are seen. The
    texts alone predict each row: the logits are
    :data:`SCALE` times the cosine similarities. Their likelihood is compared with that of equal
    probabilities for all labels. No row takes part in its own prediction, because the texts do not
    depend on the rows.

    Parameters
    ----------
    embeddings : ndarray of float, shape (n_rows, width)
        Embeddings of the rows of the task.
    labels : ndarray of int, shape (n_rows,)
        Their labels.
    weights : ndarray of float, shape (n_rows,)
        Their weights; only the ratios matter.
    directions : ndarray of float, shape (n_classes, width)
        Output of :func:`label_directions`. Rows of labels without texts say nothing.

    Returns
    -------
    probability : float
        0.5 without rows. With more rows, it approaches 0 or 1.

    Notes
    -----
    Labels count equally, with their harmonic mean number of rows. Otherwise, a text that is close
    to all texts would seem to describe a label with many rows.

    Examples
    --------
    >>> rows = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    >>> labels = np.array([0, 1, 2, 0, 1, 2])
    >>> round(probability_of_texts(rows, labels, np.ones(6), np.eye(3)), 3)
    0.999
    >>> round(probability_of_texts(rows, labels, np.ones(6), np.eye(3)[[1, 2, 0]]), 3)
    0.0
    """
    has_text = np.asarray(directions.any(axis=1))
    known = np.flatnonzero(has_text[labels])
    if not len(known):
        return 0.5
    place = np.cumsum(has_text) - 1
    labels, weights = place[labels[known]], weights[known] / weights[known].mean()
    logits = SCALE * _unit(embeddings[known]) @ directions[has_text].T
    gains = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(known)), labels]
    gains += np.log(has_text.sum())
    n_rows = np.bincount(labels, weights)
    of_label = np.bincount(labels, weights * gains)[n_rows > 0] / n_rows[n_rows > 0]
    return float(expit(of_label.sum() * len(of_label) / (1 / n_rows[n_rows > 0]).sum()))

"""Scores of confidence that the benchmark `abstention` compares, and the figures of a score.

A score takes the :class:`Outputs` of some rows and of the training rows, and returns a number per
row, which is higher for more confident predictions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from rapidfit_sk._rows import Texts, confidences

# Shares of predicted rows at which curves are kept.
GRID = np.linspace(0.3, 1, 141)


@dataclass
class Outputs:
    """What a model computes for the rows of a task.

    Attributes
    ----------
    labels : ndarray of str, shape (n_rows,)
        True labels.
    codes : ndarray of int, shape (n_rows,)
        Codes of the true labels; -1 for labels that are not classes.
    logits : ndarray of float32, shape (n_rows, n_classes)
        Logits.
    embeddings : ndarray of float32, shape (n_rows, width)
        Inputs of the head.
    temperature : float
        Temperature of the task.
    """

    labels: np.ndarray
    codes: np.ndarray
    logits: np.ndarray
    embeddings: np.ndarray
    temperature: float

    @property
    def is_correct(self) -> np.ndarray:
        """Whether the label of each row is predicted."""
        return self.logits.argmax(axis=1) == self.codes


def outputs_of(classifier, rows) -> dict[str, Outputs]:
    """Run a fitted classifier on rows, and return its outputs by task."""
    model = classifier.model_
    codes = rows["task"].map(classifier.tasks_.index).to_numpy()
    labels = rows["label"].to_numpy(dtype=object)
    heads = list(model.net.module_.heads)
    logits = [np.empty((len(rows), len(each)), np.float32) for each in model.classes.values()]
    embeddings = [np.empty((len(rows), head[-1].in_features), np.float32) for head in heads]
    inputs: dict[int, np.ndarray] = {}
    hooks = [
        head.register_forward_pre_hook(functools.partial(_keep, inputs, code))
        for code, head in enumerate(heads)
    ]
    try:
        for at, parts in model._iter_logits(Texts.of(rows["text"].tolist()), codes):
            for code, own in enumerate(at):
                if len(own):
                    logits[code][own], embeddings[code][own] = parts[code], inputs[code]
    finally:
        for hook in hooks:
            hook.remove()
    return {
        task: _outputs(classifier, task, labels[own], logits[code][own], embeddings[code][own])
        for code, task in enumerate(classifier.tasks_)
        for own in [codes == code]
    }


def _keep(inputs, code, head, given):
    """Keep the input of a head."""
    inputs[code] = given[0].numpy()


def _outputs(classifier, task, labels, logits, embeddings) -> Outputs:
    place = {label: i for i, label in enumerate(classifier.classes_[task].tolist())}
    codes = np.array([place.get(label, -1) for label in labels])
    return Outputs(labels, codes, logits, embeddings, classifier.temperatures_[task])


# --------------------------------------------------------------------------------------------
# Scores


def probability(rows, train):
    """Compute the probability of the predicted class, which is the confidence."""
    return confidences(rows.logits, rows.temperature)


def energy(rows, train):
    """Compute the negative energy (Liu et al., NeurIPS 2020)."""
    return logsumexp(rows.logits.astype(float), axis=1)


def max_logit(rows, train):
    """Return the largest logit (Hendrycks et al., ICML 2022)."""
    return rows.logits.max(axis=1)


def margin(rows, train):
    """Compute the difference of the two largest logits."""
    two = np.partition(rows.logits, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def mahalanobis(rows, train):
    """Compute the distance to the nearest class mean (Lee et al., NeurIPS 2018)."""
    return -_distances(rows, train).min(axis=1)


def relative_mahalanobis(rows, train):
    """Subtract the distance to all training rows (Ren et al., 2021)."""
    background = LedoitWolf().fit(train.embeddings)
    return mahalanobis(rows, train) + background.mahalanobis(rows.embeddings)


def cosine(rows, train):
    """Compute the cosine similarity to the nearest class mean."""
    return (normalize(rows.embeddings) @ normalize(_means(train)).T).max(axis=1)


def _distances(rows, train):
    means = _means(train)
    shared = LedoitWolf(assume_centered=True).fit(train.embeddings - means[train.codes])
    root = np.linalg.cholesky(shared.precision_)
    x, centers = rows.embeddings @ root, means @ root
    squares = (x**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1)
    return squares - 2 * x @ centers.T


def _means(train):
    sums = np.zeros((train.logits.shape[1], train.embeddings.shape[1]))
    np.add.at(sums, train.codes, train.embeddings)
    return sums / np.bincount(train.codes, minlength=len(sums))[:, None]


SCORES = {
    "probability": probability,
    "energy": energy,
    "max logit": max_logit,
    "margin": margin,
    "Mahalanobis": mahalanobis,
    "relative Mahalanobis": relative_mahalanobis,
    "cosine to class mean": cosine,
}


# --------------------------------------------------------------------------------------------
# Figures


def detection(score, is_positive) -> tuple[float, float]:
    """Return AUROC, and the share of negative rows above a threshold that 95 % of others reach."""
    threshold = np.quantile(score[is_positive], 0.05)
    return roc_auc_score(is_positive, score), float((score[~is_positive] >= threshold).mean())


def risk_curve(score, is_correct) -> tuple[np.ndarray, np.ndarray]:
    """Return the coverage and the accuracy of the predicted rows for each number of them."""
    order = np.argsort(-score, kind="stable")
    n_rows = np.arange(1, len(order) + 1)
    return n_rows / len(order), np.cumsum(is_correct[order]) / n_rows


def coverage_at(coverage, accuracy, precision) -> float:
    """Return the largest coverage at which the accuracy reaches a precision."""
    return float(np.max(coverage[accuracy >= precision], initial=0.0))

"""Intervals of sharing reports: how often they leave out zero if there is no difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression

N_FOLDS, N_FEATURES, N_SETS = 5, 40, 600


def run(options):
    """Compare three intervals on data sets without a difference, and print the figures."""
    rows = []
    for n_rows in (100, 300, 1000):
        # The second number moves the threshold of each model at random, as an unlucky fit does.
        for shift in (0.0, 0.5):
            rng = np.random.default_rng(0)
            found = [_intervals(*_difference(n_rows, shift, rng)) for _ in range(N_SETS)]
            rows.append({"n": n_rows, "shift": shift, **_summary(pd.DataFrame(found))})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    return []


def _difference(n_rows, shift, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return which of two equally good methods is right about each row, and the fold of the row.

    Each method sees one half of the features, and both halves have the same weight in the labels.
    """
    weights = rng.normal(size=(2, N_FEATURES // 2))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True) * np.sqrt(2)
    X = rng.normal(size=(n_rows, N_FEATURES))
    y = X @ weights.ravel() * 2 + rng.logistic(size=n_rows) > 0
    folds = rng.permutation(n_rows) % N_FOLDS
    difference = np.zeros(n_rows)
    for fold in range(N_FOLDS):
        test = folds == fold
        for sign, half in ((1, X[:, : N_FEATURES // 2]), (-1, X[:, N_FEATURES // 2 :])):
            model = LogisticRegression(C=0.3).fit(half[~test], y[~test])
            scores = model.decision_function(half[test]) + shift * rng.normal()
            difference[test] += sign * ((scores > 0) == y[test])
    return difference, folds


def _intervals(difference, folds) -> dict[str, float]:
    """Return the mean difference, and half the width of each interval."""
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    spread = np.std([difference[folds == fold].mean() for fold in range(N_FOLDS)], ddof=1)
    factor = np.sqrt(1 + N_FOLDS / (N_FOLDS - 1))
    return {
        "mean": difference.mean(),
        "rows": norm.ppf(0.975) * error,
        "rows, corrected": norm.ppf(0.975) * error * factor,
        "folds, corrected": t.ppf(0.975, N_FOLDS - 1) * spread / np.sqrt(N_FOLDS) * factor,
    }


def _summary(found: pd.DataFrame) -> dict[str, float]:
    """Return the share of intervals without zero, and half the mean width, of each method."""
    widths = found.drop(columns="mean")
    without_zero = widths.lt(found["mean"].abs(), axis=0).mean()
    return {
        name: value
        for method in widths
        for name, value in (
            (method, without_zero[method]),
            (f"width of {method}", widths[method].mean()),
        )
    }

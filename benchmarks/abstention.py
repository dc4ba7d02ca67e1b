"""Scores of confidence: out-of-scope detection, errors, and accuracy against coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rapidfit_sk._rows.thresholds import threshold_for_precision

from ._abstention_data import OUT_OF_SCOPE, fitted, read_parts
from ._abstention_scores import GRID, SCORES, coverage_at, detection, outputs_of, risk_curve
from ._quality_data import MESSAGES, name_of_set
from .quality import is_known, load, save

PRECISION, DEFAULT = 0.95, "probability"
CASE = ["data", "rows", "task", "score"]


def run(options):
    """Compare the scores on each data set, size and seed, and print and save the figures."""
    table = load(options.json)
    for number, paths in enumerate(options.data or [MESSAGES]):
        # Texts out of scope belong to the first data set.
        out_of_scope = options.out_of_scope if number == 0 else None
        for size in options.rows_per_class.split(","):
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                case = {"data": name_of_set(paths), "rows": size, "seed": seed}
                if is_known(table, case):
                    continue
                n = None if size == "all" else int(size)
                parts = read_parts(paths, out_of_scope, n, seed)
                classifier = fitted(parts, paths, size, seed, options.models)
                found = [case | figures for figures in _compare(classifier, parts)]
                table = pd.concat([table, pd.DataFrame(found)], ignore_index=True)
                save(table, options.json)
    print(summary(table).to_string())
    if options.plot:
        # Imported here, because only pictures need matplotlib.
        from ._abstention_plot import draw

        draw(table[table["score"] == DEFAULT], options.plot)
    return []


def _compare(classifier, parts) -> list[dict]:
    """Return the figures of each task and score."""
    train, calibration, test = (
        outputs_of(classifier, rows) for rows in (parts.train, parts.calibration, parts.test)
    )
    figures = []
    for task, own in test.items():
        for name, score in SCORES.items():
            of_test, of_calibration = (
                score(part[task], train[task]) for part in (test, calibration)
            )
            found = _figures(of_test, own, of_calibration, calibration[task])
            figures.append({"task": task, "score": name} | found)
    return figures


def _figures(score, test, of_calibration, calibration) -> dict:
    """Return the figures of a score on the test rows of a task."""
    is_correct, in_scope = test.is_correct, test.labels != OUT_OF_SCOPE
    figures = {"accuracy": is_correct[in_scope].mean()}
    if not in_scope.all():
        auroc, false_positives = detection(score, in_scope)
        figures |= {"OOS AUROC": auroc, "OOS accepted": false_positives}
    auroc, false_positives = detection(score[in_scope], is_correct[in_scope])
    coverage, accuracy = risk_curve(score, is_correct)
    threshold = threshold_for_precision(of_calibration, calibration.is_correct, PRECISION)
    lowest = {0.0: -np.inf}.get(threshold, threshold) if isinstance(threshold, float) else np.inf
    above = score >= lowest
    return figures | {
        "error AUROC": auroc,
        "errors accepted": false_positives,
        "AURC": float(np.mean(1 - accuracy)),
        "coverage": coverage_at(coverage, accuracy, PRECISION),
        "tuned coverage": float(above.mean()),
        "tuned precision": float(is_correct[above].mean()) if above.any() else np.nan,
        "curve": np.interp(GRID, coverage, accuracy).tolist(),
    }


def summary(table) -> pd.DataFrame:
    """Return the mean of each figure over seeds in percent, by data set, size, task and score."""
    means = table.drop(columns=["seed", "curve"]).groupby(CASE, sort=False).mean()
    return (100 * means).round(1)

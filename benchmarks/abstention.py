"""Scores of confidence: out-of-scope detection, errors, and accuracy against coverage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from rapidfit_sk._rows.thresholds import threshold_for_precision

from ._abstention_data import OUT_OF_SCOPE, fitted, read_parts
from ._abstention_scores import SCORES, coverage_at, detection, outputs_of, risk_curve
from ._measure import machine
from ._quality_data import MESSAGES, name_of_set

PRECISION = 0.95
CASE = ["data", "rows", "task", "score"]


def run(options):
    """Compare the scores on each data set, size and seed, and print and save the figures."""
    table, curves = [], []
    for number, paths in enumerate(options.data or [MESSAGES]):
        # Texts out of scope belong to the first data set.
        out_of_scope = options.out_of_scope if number == 0 else None
        for size in options.rows_per_class.split(","):
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                case = {"data": name_of_set(paths), "rows": size, "seed": seed}
                n = None if size == "all" else int(size)
                parts = read_parts(paths, out_of_scope, n, seed)
                classifier = fitted(parts, paths, size, seed, options.models)
                for task in classifier.tasks_:
                    found, curve = _compare(classifier, parts, task)
                    table += [case | {"task": task} | each for each in found]
                    curves.append((f"{case['data']} {task}", *curve))
    table = pd.DataFrame(table)
    print(summary(table).to_string())
    if options.json:
        content = {"machine": machine(), "results": table.to_dict("records")}
        Path(options.json).write_text(json.dumps(content, indent=1))
    if options.plot:
        # Imported here, because only pictures need matplotlib.
        from ._abstention_plot import draw

        draw(curves, options.plot)
    return []


def _compare(classifier, parts, task):
    """Return the figures of each score for a task, and the curve of the default score."""
    train, calibration, test = (
        outputs_of(classifier, rows, task) for rows in (parts.train, parts.calibration, parts.test)
    )
    figures = []
    for name, score in SCORES.items():
        of_test, of_calibration = score(test, train), score(calibration, train)
        figures.append({"score": name} | _figures(of_test, test, of_calibration, calibration))
    default = figures[0]
    point = default["tuned coverage"], default["tuned precision"]
    return figures, (*risk_curve(SCORES["probability"](test, train), test.is_correct), point)


def _figures(score, test, of_calibration, calibration) -> dict:
    """Return the figures of a score on the test rows of a task."""
    is_correct, in_scope = test.is_correct, test.labels != OUT_OF_SCOPE
    figures = {"accuracy": is_correct[in_scope].mean()}
    if not in_scope.all():
        auroc, false_positives = detection(score, in_scope)
        figures |= {"OOS AUROC": auroc, "OOS FPR": false_positives}
    auroc, false_positives = detection(score[in_scope], is_correct[in_scope])
    coverage, accuracy = risk_curve(score, is_correct)
    threshold = threshold_for_precision(of_calibration, calibration.is_correct, PRECISION)
    lowest = {0.0: -np.inf}.get(threshold, threshold) if isinstance(threshold, float) else np.inf
    above = score >= lowest
    return figures | {
        "error AUROC": auroc,
        "error FPR": false_positives,
        "AURC": float(np.mean(1 - accuracy)),
        "coverage": coverage_at(coverage, accuracy, PRECISION),
        "tuned coverage": float(above.mean()),
        "tuned precision": float(is_correct[above].mean()) if above.any() else np.nan,
    }


def summary(table) -> pd.DataFrame:
    """Return the mean of each figure over seeds in percent, by data set, size, task and score."""
    means = table.drop(columns="seed").groupby(CASE, sort=False).mean()
    return (100 * means).round(1)

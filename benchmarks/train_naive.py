"""`fit` against a simple implementation of the same training."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.metrics import f1_score

from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio
from ._naive import NaiveMultihead


def run(options):
    """Time both and compare their average macro-F1 on other texts."""
    n = options.texts or 500
    train, test = train_and_test(read(options.data, 2 * n, n_tokens=options.tokens), n)
    # With the default rate and a few hundred texts, both sides would score near chance.
    config = recipe(learning_rate=1e-4)._filled()
    bars = {"float32": ">= 6", "bfloat16": ">= 9"}
    if not options.tokens:
        bars = {"float32": ">= 10", "bfloat16": ">= 16"}
    results, fitted = [], {}

    def ours(precision):
        with warnings.catch_warnings(action="ignore"):
            fitted[precision] = classifier(config, precision=precision).fit(train)

    def naive():
        fitted["naive"] = NaiveMultihead(config).fit(train)

    sides = {p: lambda p=p: ours(p) for p in bars} | {"naive": naive}
    seconds = in_turns(sides, options.repeats, warm_up=False)
    scores = {name: macro_f1(model, test) for name, model in fitted.items()}
    for precision, bar in bars.items():
        speed = ratio(seconds, "naive", precision)
        results += [
            Result("train-naive", f"naive float32 / {precision}", speed, bar, seconds),
            Result(
                "train-naive",
                f"macro-F1 of {precision} - naive (points)",
                100 * (scores[precision] - scores["naive"]),
                ">= 0",
                scores,
            ),
        ]
    return results


def train_and_test(rows, n):
    """Return the rows of the first `n` texts and the other rows."""
    first = rows["text"].isin(rows["text"].unique()[:n])
    return rows[first], rows[~first]


def macro_f1(model, rows):
    """Return the macro-F1 of a model, averaged over tasks."""
    scores = []
    for task, part in rows.groupby("task"):
        predicted = model.predict(part["text"].tolist(), task)
        scores.append(f1_score(part["label"], predicted, average="macro", zero_division=0))
    return float(np.mean(scores))

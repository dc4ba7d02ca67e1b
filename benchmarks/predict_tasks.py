"""Prediction of eight tasks against prediction of one task."""

from __future__ import annotations

import warnings

import pandas as pd

from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio


def run(options):
    """Time one classifier of eight tasks and one of a single task on the same texts."""
    rows = read(options.data, options.texts or 2000, n_tokens=options.tokens)
    first = rows[rows["task"] == rows["task"].iloc[0]]
    eight = pd.concat([first.assign(task=f"task {number}") for number in range(8)])
    texts = rows["text"].drop_duplicates().tolist()
    config = recipe(heads_only=1, fine_tuning=0, unfreeze_layers=0, batch_size=64)
    with warnings.catch_warnings(action="ignore"):
        fitted = {name: classifier(config).fit(X) for name, X in (("8", eight), ("1", first))}
    sides = {name: lambda each=each: each.predict_all(texts) for name, each in fitted.items()}
    seconds = in_turns(sides, options.repeats)
    value = ratio(seconds, "8", "1")
    return [Result("predict-tasks", "8 tasks / 1 task", value, "<= 1.05", seconds)]

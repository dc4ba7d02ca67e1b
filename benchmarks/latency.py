"""One short text for all tasks, and many: torch and ONNX, with weights of 32, 16 and 8 bits."""

from __future__ import annotations

import copy
import statistics
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from rapidfit_sk.serving import OnnxMultiheadClassifier

from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio

# Number of calls with one text in each timed run: a percentile needs many.
CALLS = 100


def run(options):
    """Compare the times of a call with one text, and texts per second of a call with many."""
    rows = read(options.data, options.texts or 2000, n_tokens=options.tokens)
    texts = rows["text"].drop_duplicates().tolist()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        sides = _sides(rows, Path(folder))
        return [*_one(sides, texts, options.repeats), *_many(sides, texts, options.repeats)]


def _sides(rows, folder):
    """Return classifiers with the same weights in different formats."""
    fitted = classifier(recipe(heads_only=1, fine_tuning=0, unfreeze_layers=0)).fit(rows)
    lowered = copy.deepcopy(fitted)
    lowered.net_.module_.precision = "bfloat16"
    sides = {"torch float32": fitted, "torch bfloat16": lowered}
    for name, quantize in (("ONNX float32", None), ("ONNX int8", "int8")):
        fitted.export_onnx(folder / name, quantize=quantize, tolerance=1.0)
        sides[name] = OnnxMultiheadClassifier(folder / name, n_threads=torch.get_num_threads())
    return sides


def _one(sides, texts, repeats):
    """Time single calls, one text after the other, in alternation."""
    seconds = {name: [] for name in sides}
    for turn in range(repeats):
        for text in texts[turn * CALLS : (turn + 1) * CALLS]:
            calls = {
                name: lambda side=side, text=text: side.predict_all([text])
                for name, side in sides.items()
            }
            for name, times in in_turns(calls, 1, warm_up=False).items():
                seconds[name] += times
    found = []
    for name, times in seconds.items():
        found += [
            Result("latency", f"{name}, one text: median in ms", 1e3 * statistics.median(times)),
            Result("latency", f"{name}, one text: 99th percentile", 1e3 * np.quantile(times, 0.99)),
        ]
    value = ratio(seconds, "ONNX int8", "torch float32")
    case = "one text: median of ONNX int8 / torch float32"
    return [*found, Result("latency", case, value, "<= 0.333", seconds)]


def _many(sides, texts, repeats):
    calls = {name: lambda side=side: side.predict_all(texts) for name, side in sides.items()}
    seconds = in_turns(calls, repeats)
    found = [
        Result("latency", f"{name}, many texts: per second", len(texts) / statistics.median(times))
        for name, times in seconds.items()
    ]
    value = ratio(seconds, "torch float32", "ONNX int8")
    case = "many texts: speed of ONNX int8 / torch float32"
    return [*found, Result("latency", case, value, ">= 2.5", seconds)]

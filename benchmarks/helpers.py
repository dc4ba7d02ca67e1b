"""Macro-F1 of one task, cross-validated without and with helpers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from tqdm.auto import tqdm

from rapidfit_sk import EvalConfig, MultiheadConfig, TextClassifier, TrainingConfig

from ._data import BUNDLED
from ._measure import Result
from ._quality_data import MESSAGES, name_of_set, read_set

N_FOLDS = 5


def run(options):
    """Cross-validate each task of each data set."""
    results = []
    for paths in options.data or [MESSAGES]:
        rows = read_set(paths)
        rows = rows[rows["split"] != "test"]
        for size in options.rows_per_class.split(","):
            results += _results(rows, name_of_set(paths), size, options)
    return results


def _results(rows, name, size, options) -> list[Result]:
    results = []
    for task in rows["task"].unique():
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        scores = pd.concat([_cross_validate(rows, task, size, seed, options) for seed in seeds])
        for method in scores.columns:
            difference = scores[method] - scores["alone"]
            error = difference.std() / np.sqrt(len(scores)) if len(scores) > 1 else np.nan
            details = {"difference": difference.mean(), "error": error, **scores[method]}
            case = f"{name} {task}, {size} rows per class: {method}"
            print(f"{case}: {scores[method].mean():.1f} ({difference.mean():+.1f} ± {error:.1f})")
            results.append(Result("helpers", case, scores[method].mean(), details=details))
    return results


def _cross_validate(rows, task, size, seed, options) -> pd.DataFrame:
    """Return the macro-F1 of each fold in percent, with a column per method."""
    own, others = rows[rows["task"] == task], rows[rows["task"] != task]
    if size != "all":
        # Each training fold has `size` rows per class.
        n_rows = round(int(size) * N_FOLDS / (N_FOLDS - 1))
        order = np.random.default_rng(seed).permutation(len(own))
        own = own.iloc[order].groupby("label", sort=False).head(n_rows)
    own = own.reset_index(drop=True)
    on_other_texts = others[~others["text"].isin(own["text"])]
    if size != "all":
        on_other_texts = on_other_texts.sample(frac=1, random_state=seed)
        on_other_texts = on_other_texts.groupby(["task", "label"]).head(int(size))
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(own, own["label"]))
    scores = []
    for train, test in tqdm(folds, desc=f"{task}, {size} rows, seed {seed}", leave=False):
        seen, tested = own.iloc[train], own.iloc[test]
        methods = {
            "alone": None,
            "helpers on the training texts": others[others["text"].isin(seen["text"])],
            "helpers on other texts": on_other_texts,
        }
        given = {
            name: helpers for name, helpers in methods.items() if helpers is None or len(helpers)
        }
        scores.append({name: _f1(seen, tested, h, seed, options) for name, h in given.items()})
    return pd.DataFrame(scores)


def _f1(train, test, helpers, seed, options) -> float:
    config = MultiheadConfig(
        training=TrainingConfig(model_name=BUNDLED), eval=EvalConfig(calibrate=False)
    ).set_params(**options.set)
    classifier = TextClassifier(config, task="y", precision=options.precision, random_state=seed)
    with warnings.catch_warnings(action="ignore"):
        helpers = None if helpers is None else (helpers[["text", "task", "label"]],)
        classifier.fit(train["text"], train["label"], helpers=helpers)
    return 100 * f1_score(test["label"], classifier.predict(test["text"]), average="macro")

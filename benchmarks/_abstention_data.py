"""Training, calibration and test rows of the benchmark `abstention`, and its fitted models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rapidfit_sk import MultiheadClassifier, MultiheadConfig

from ._data import BUNDLED
from ._quality_data import name_of_set, read_set, train_and_test

# The label of texts outside of all classes.
OUT_OF_SCOPE = "out of scope"


@dataclass
class Parts:
    """Rows of a data set.

    Attributes
    ----------
    train : DataFrame
        Rows that train, with the columns text, task and label.
    calibration : DataFrame
        Rows that tune thresholds.
    test : DataFrame
        Rows that are only scored. In these two parts, texts out of scope have the label
        :data:`OUT_OF_SCOPE` in each task.
    """

    train: pd.DataFrame
    calibration: pd.DataFrame
    test: pd.DataFrame


def read_parts(paths, out_of_scope, rows_per_class, seed) -> Parts:
    """Read a data set, and draw its training rows.

    Parameters
    ----------
    paths : str
        Paths as for :func:`read_set`. Rows with the split "val" are calibration rows. Without
        them, 30 % of the texts that are not test texts are drawn.
    out_of_scope : str or None
        File with texts out of scope. Its split "test" is added to the test rows, and its other
        rows to the calibration rows, from which others are dropped until both parts have the same
        share of texts out of scope.
    rows_per_class : int or None
        As for :func:`train_and_test`.
    seed : int
        Seed for drawing texts.
    """
    rows = read_set(paths)
    if not (rows["split"] == "test").any():
        drawn = train_and_test(rows, None, seed, "test")[1]
        rows.loc[rows["text"].isin(drawn["text"]), "split"] = "test"
    is_val = rows["split"] == "val"
    if is_val.any():
        calibration = rows[is_val]
        others = rows[~rows["text"].isin(calibration["text"])]
        train, test = train_and_test(others, rows_per_class, seed, "test")
    else:
        train, calibration = train_and_test(rows, rows_per_class, seed, "validation")
        test = rows[rows["split"] == "test"]
    if out_of_scope is not None:
        others = pd.read_csv(out_of_scope, keep_default_na=False, dtype=str)
        is_test = others["split"] == "test"
        share = test["text"].nunique() / is_test.sum()
        n_texts = round(share * (~is_test).sum())
        texts = np.random.default_rng(seed).permutation(calibration["text"].unique())[:n_texts]
        calibration = calibration[calibration["text"].isin(texts)]
        tasks = rows["task"].unique()
        calibration = pd.concat([calibration, _of_all_tasks(others[~is_test], tasks)])
        test = pd.concat([test, _of_all_tasks(others[is_test], tasks)])
    return Parts(*(part.reset_index(drop=True) for part in (train, calibration, test)))


def _of_all_tasks(rows, tasks) -> pd.DataFrame:
    """Return texts with the label :data:`OUT_OF_SCOPE` in each task."""
    rows = rows.drop_duplicates("text").assign(label=OUT_OF_SCOPE)
    return pd.concat([rows.assign(task=task) for task in tasks])


def fitted(parts, paths, size, seed, folder) -> MultiheadClassifier:
    """Train with the default configuration, or load the model of an earlier run.

    Parameters
    ----------
    parts : Parts
        The rows.
    paths, size, seed : str, str and int
        The data set, the rows per class and the seed, which name the model.
    folder : str or None
        Folder of the models of earlier runs; None to train anew.
    """
    place = folder and Path(folder) / f"{name_of_set(paths)}-{size}-{seed}"
    if place and place.exists():
        return MultiheadClassifier.load(place)
    config = MultiheadConfig().set_params(training__model_name=BUNDLED, training__test_size=0.0)
    classifier = MultiheadClassifier(config, random_state=seed)
    with warnings.catch_warnings(action="ignore"):
        classifier.fit(parts.train)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        classifier.save(place)
    return classifier

"""Training, calibration and test rows of the benchmark `abstention`, and its fitted models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

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
        Paths as for :func:`read_set`. Rows with the split "val" are calibration rows. If there
        are none, 30 % of the texts that are not test texts are drawn.
    out_of_scope : str or None
        File with texts out of scope. Its split "val" is added to the calibration rows and its
        split "test" to the test rows.
    rows_per_class : int or None
        As for :func:`train_and_test`.
    seed : int
        Seed for drawing texts.
    """
    rows = read_set(paths)
    is_test, is_val = rows["split"] == "test", rows["split"] == "val"
    if is_val.any():
        calibration = rows[is_val]
        known = rows[~is_val & ~rows["text"].isin(calibration["text"])]
        train, test = train_and_test(known, rows_per_class, seed, "test")
    else:
        train, calibration = train_and_test(rows, rows_per_class, seed, "validation")
        test = rows[is_test]
    if out_of_scope is not None:
        others = _outside(out_of_scope, rows["task"].unique())
        calibration = pd.concat([calibration, others[others["split"] == "val"]])
        test = pd.concat([test, others[others["split"] == "test"]])
    return Parts(*(part.reset_index(drop=True) for part in (train, calibration, test)))


def _outside(path, tasks) -> pd.DataFrame:
    """Return texts with the label :data:`OUT_OF_SCOPE` in each task."""
    rows = pd.read_csv(path, keep_default_na=False, dtype=str).drop_duplicates("text")
    rows = rows.assign(label=OUT_OF_SCOPE)
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

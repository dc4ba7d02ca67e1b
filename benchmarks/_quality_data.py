"""Training and test rows for the benchmark of quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rapidfit_sk.datasets import load_support_messages

MESSAGES = "messages"
# Share of the texts that are held out where the data has no split of its own.
HELD_OUT = 0.3


def read_set(paths) -> pd.DataFrame:
    """Read one data set: a long CSV, or several with a comma between, whose tasks stay apart.

    Parameters
    ----------
    paths : str
        The paths; "messages" for the messages that ship with the package.

    Returns
    -------
    rows : DataFrame
        Columns text, task, label and split, which is "test" for rows of an official test set.
    """
    names = paths.split(",")
    rows = pd.concat([_read_file(name, len(names) > 1) for name in names], ignore_index=True)
    if "split" not in rows:
        rows["split"] = "train"
    if rows["split"].isna().any():
        raise ValueError(f"Some of {paths} have a column split, and some have none.")
    # A text that stands on both sides is a test text, and has the labels that it has there.
    is_test = rows["split"] == "test"
    rows = pd.concat([rows[is_test], rows[~is_test]]).drop_duplicates(["text", "task"])
    tested = rows.loc[rows["split"] == "test", "text"]
    rows.loc[rows["text"].isin(tested), "split"] = "test"
    return rows.sort_index(kind="stable").reset_index(drop=True)


def _read_file(name, named):
    if name == MESSAGES:
        return load_support_messages()
    rows = pd.read_csv(name, keep_default_na=False, dtype=str)
    if named:
        rows["task"] = name_of_set(name) + " " + rows["task"]
    return rows


def name_of_set(paths) -> str:
    """Return a short name: that of the files."""
    return "+".join(Path(path).name.split(".")[0] for path in paths.split(","))


def train_and_test(rows, rows_per_class, seed, on) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw training rows, and say which rows to score on.

    Parameters
    ----------
    rows : DataFrame
        What :func:`read_set` returned.
    rows_per_class : int or None
        Texts are drawn one after the other; of each the rows are kept whose class has fewer than
        that many so far. None for all rows.
    seed : int
        Of the draw.
    on : {"test", "validation"}
        Score on the official test rows, or on other rows, to choose by. Where there are no such
        rows, 30 % of the other texts are held out.

    Returns
    -------
    train, test : DataFrame
        No text stands in both.
    """
    official = rows["split"] == "test"
    if on == "test" and official.any():
        train, test = rows[~official], rows[official]
    else:
        rest = rows[~official]
        texts = _shuffled(rest["text"], seed)
        is_held_out = rest["text"].isin(texts[: round(HELD_OUT * len(texts))])
        train, test = rest[~is_held_out], rest[is_held_out]
    place = {text: i for i, text in enumerate(_shuffled(train["text"], seed + 1))}
    train = train.iloc[np.argsort(train["text"].map(place), kind="stable")]
    if rows_per_class is not None:
        train = train.groupby(["task", "label"], sort=False).head(rows_per_class)
    return train, test


def _shuffled(texts, seed) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.array(texts.unique(), dtype=object))

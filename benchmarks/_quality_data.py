"""Training and test rows of the benchmark `quality`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rapidfit_sk.datasets import load_support_messages

MESSAGES = "messages"
# Share of the texts that are held out if the data has no official split.
HELD_OUT = 0.3


def read_set(paths) -> pd.DataFrame:
    """Read a data set from one or several long CSV files; each file has its own tasks.

    Parameters
    ----------
    paths : str
        Paths, separated by commas; "messages" for the bundled messages.

    Returns
    -------
    rows : DataFrame
        Columns text, task, label and split. The split is "test" for official test rows.
    """
    names = paths.split(",")
    rows = pd.concat([_read_file(name, len(names) > 1) for name in names], ignore_index=True)
    if "split" not in rows:
        rows["split"] = "train"
    if rows["split"].isna().any():
        raise ValueError(f"Only some of {paths} have a column 'split'. Add it to all or to none.")
    # A text that is in both splits becomes a test text with its labels of the test split.
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
    """Return a short name of a data set, made of its file names."""
    return "+".join(Path(path).name.split(".")[0] for path in paths.split(","))


def train_and_test(rows, rows_per_class, seed, on) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training rows and rows to score.

    Parameters
    ----------
    rows : DataFrame
        Output of :func:`read_set`.
    rows_per_class : int or None
        Texts are drawn one at a time; a row is kept if its class has fewer rows so far. None
        keeps all rows.
    seed : int
        Seed for drawing texts.
    on : {"test", "validation"}
        Score the official test rows, or rows on which parameters may be chosen. 30 % of the
        texts that are not official test texts are held out for "validation", and for "test" if
        there is no official split.

    Returns
    -------
    train, test : DataFrame
        They have no text in common.
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

"""Small data set that is bundled with the package."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

__all__ = ["load_support_messages"]


def load_support_messages() -> pd.DataFrame:
    """Load 300 short customer messages, each labeled for up to three tasks.

    The messages were written for this package. Each message has a sentiment (negative, neutral,
    positive) and an intent (ask, buy, complain, sell). Messages that express an emotion (angry,
    happy, sad, surprised) also have an emotion label.

    Returns
    -------
    messages : DataFrame of shape (815, 3)
        A long frame with one row per message and task. The columns ``text``, ``task`` and
        ``label`` contain strings. The rows of a message are consecutive.

    Examples
    --------
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> messages = load_support_messages()
    >>> messages["task"].value_counts().to_dict()
    {'sentiment': 300, 'intent': 300, 'emotion': 215}
    """
    with files(__package__).joinpath("data", "support_messages.csv").open(encoding="utf-8") as file:
        wide = pd.read_csv(file)
    long = wide.melt("text", var_name="task", value_name="label", ignore_index=False)
    # melt orders rows by task. A stable sort by message makes the rows of a message consecutive.
    return long.sort_index(kind="stable").dropna(subset="label").reset_index(drop=True)

"""Likely trouble with labeled rows, in plain words, with the parameter that helps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from .._validation import listed, short

# A class with fewer rows has too few to train and to be scored.
FEW = 5
# Ratios and shares from which a message is worth its line.
_IMBALANCE, _TASK_RATIO, _SHARE, _DEPENDENCE = 10, 20, 0.05, 0.3
# The largest p-value of a dependence, and the number of pairs of tasks with a message.
_CHANCE, _MOST_PAIRS = 0.001, 5


def advice(frames: dict[str, Any], max_length: int | None) -> Iterator[str]:
    """Yield a sentence or two about each likely trouble.

    Parameters
    ----------
    frames : dict of {str: DataFrame or None}
        The frames of a :class:`DataReport`.
    max_length : int or None
        Number of tokens that the encoder reads at once, if there is one.
    """
    for row in frames["tasks"].itertuples():
        yield from _about_classes(row, frames["classes"])
    yield from _about_sizes(frames["tasks"])
    yield from _about_labels(frames)
    yield from _about_texts(frames)
    yield from _about_dependence(frames)
    if frames["tokens"] is not None:
        yield from _about_tokens(frames["tokens"], max_length)


def _about_classes(row: Any, classes: pd.DataFrame) -> Iterator[str]:
    task = short(row.task)
    if row.classes < 2:
        yield f"{task} has one class only, so it cannot be trained. Add rows of other classes."
        return
    if row.rare_classes:
        own = classes[(classes["task"] == row.task) & (classes["rows"] < FEW)]
        yield (
            f"{task} has {_counted(row.rare_classes, 'class', 'classes')} with fewer than {FEW} "
            f"rows: {listed(own['label'])}. Their scores say little. Label more rows, merge "
            "classes, or say what the labels mean with 'label_texts'."
        )
    if row.imbalance >= _IMBALANCE:
        yield (
            f"{task} has {row.largest:,} rows of its largest class and {row.smallest:,} of its "
            "smallest. Class weights are on by default (loss.use_class_weights). Consider "
            "eval.metric='f1', because accuracy hardly depends on small classes."
        )
    own = classes[classes["task"] == row.task]
    for label, n in zip(own["label"], own["rows"], strict=True):
        if isinstance(label, str) and not label.strip():
            yield (
                f"{task} has a class without a name, {short(label)}, with "
                f"{_counted(n, 'row', 'rows')}. pandas.read_csv(..., keep_default_na=False) reads "
                "missing labels like this. Drop the rows, or label them."
            )
    if row.empty_texts:
        yield f"{task} has {_counted(row.empty_texts, 'row', 'rows')} without text. Drop them."
    if row.missing:
        yield (
            f"{task} has no label for {_counted(row.missing, 'text', 'texts')}. They do not train "
            "this task."
        )


def _about_sizes(tasks: pd.DataFrame) -> Iterator[str]:
    if len(tasks) < 2:
        return
    largest, smallest = (tasks.loc[at] for at in (tasks["rows"].idxmax(), tasks["rows"].idxmin()))
    if largest["rows"] >= _TASK_RATIO * smallest["rows"]:
        yield (
            f"{short(largest['task'])} has {largest['rows']:,} rows and {short(smallest['task'])} "
            f"has {smallest['rows']:,}. If the small task matters as much, set "
            "task_sampling='sqrt' or 'equal'."
        )


def _about_labels(frames: dict[str, Any]) -> Iterator[str]:
    for task, own in frames["similar_labels"].groupby("task", sort=False):
        pairs = [
            f"{short(label)} and {short(other)}"
            for label, other in zip(own["label"], own["other_label"], strict=True)
        ]
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        yield (
            f"{short(task)} has classes with similar names: {'; '.join(pairs[:5])}{more}. They are "
            "different classes. Use one spelling if they mean the same."
        )
    for task, own in frames["contradictions"].groupby("task", sort=False):
        yield (
            f"{short(task)} has {_counted(len(own), 'text', 'texts')} with several labels, such as "
            f"{short(own['text'].iloc[0])}: {listed(own['labels'].iloc[0])}. A text has one label "
            "per task. Correct them, or make each label a task of its own."
        )


def _about_texts(frames: dict[str, Any]) -> Iterator[str]:
    repeated = frames["duplicates"]
    if len(repeated):
        n = int(repeated["rows"].sum() - len(repeated))
        yield (
            f"{_counted(n, 'row repeats', 'rows repeat')} the text and the label of another row. "
            "Random splits keep them together. Drop the repetitions, unless each one was observed."
        )
    close = frames["near_duplicates"]
    if not len(close):
        return
    example = f"such as {short(close['text'].iloc[0])} and {short(close['other_text'].iloc[0])}"
    if "part" in close:
        several = "pairs of texts in different parts are"
        yield (
            f"{_counted(len(close), 'pair of texts in different parts is', several)} the same or "
            f"nearly the same, {example}. Scores on validation and test rows are then "
            "optimistic. Move both into one part, or drop one."
        )
    else:
        yield (
            f"{_counted(len(close), 'pair of texts is', 'pairs of texts are')} nearly the same, "
            f"{example}. "
            "Random splits separate them, which makes scores optimistic. Drop one of each pair, or "
            "name the part of each row in a 'split_column'."
        )


def _about_dependence(frames: dict[str, Any]) -> Iterator[str]:
    n_classes = frames["tasks"].set_index("task")["classes"]
    implied = dict(list(frames["implications"].groupby(["task", "other_task"])))
    found = []
    for row in frames["dependencies"].itertuples():
        task, other = _more_implied(implied, row.task, row.other_task)
        own = implied.get((task, other))
        if own is not None:
            found.append(_about_implications(own, n_classes[task], row.texts))
        elif row.mutual_information >= _DEPENDENCE and row.p_value < _CHANCE:
            found.append(
                f"The labels of {short(row.task)} and {short(row.other_task)} depend on each other "
                f"(mutual information {row.mutual_information:.2f}). Heads predict independently, "
                "so predictions can form pairs that never occur in the data."
            )
    yield from found[:_MOST_PAIRS]
    if len(found) > _MOST_PAIRS:
        more = _counted(len(found) - _MOST_PAIRS, "other pair", "other pairs")
        yield f"{more} of tasks depend on each other; see 'dependencies' and 'implications'."


def _about_implications(own: pd.DataFrame, n_classes: int, n_texts: int) -> str:
    """Return a sentence about labels of a task that imply labels of another one."""
    task, label, other, implied = (
        short(own[name].iloc[0]) for name in ("task", "label", "other_task", "other_label")
    )
    if own["other_label"].nunique() == 1 and own["texts"].sum() == n_texts:
        return (
            f"{task} has labels only for texts whose label of {other} is {implied}, but it is "
            f"predicted for all texts. Drop the predictions of {task} for texts whose prediction "
            f"of {other} is another one."
        )
    return (
        f"{len(own)} of {n_classes} labels of {task} occur with one label of {other} only, such as "
        f"{label} with {implied}. Heads predict independently, so predictions can contradict this. "
        "Gate one task by the other, or predict the most probable pair of labels."
    )


def _more_implied(implied: dict[Any, pd.DataFrame], one: str, other: str) -> tuple[str, str]:
    """Return two tasks in the order in which more labels of the first imply one of the second."""
    counts = [len(implied.get(pair, ())) for pair in ((one, other), (other, one))]
    return (one, other) if counts[0] >= counts[1] else (other, one)


def _about_tokens(tokens: pd.DataFrame, max_length: int | None) -> Iterator[str]:
    cut, unknown = _large_shares(tokens, "truncated"), _large_shares(tokens, "unknown")
    if cut:
        yield (
            f"Texts are longer than {max_length} tokens: {cut}. By default, the encoder reads both "
            "ends of them. Increase training.max_length, or set training.long_text='windows', if "
            "the rest matters."
        )
    if unknown:
        yield (
            f"Tokens are unknown to the tokenizer: {unknown}. Set training.model_name to an "
            "encoder for this language or script."
        )


def _large_shares(tokens: pd.DataFrame, name: str) -> str:
    """Return the shares that are large and their tasks, the largest first."""
    large = tokens[tokens[name] > _SHARE].sort_values(name, ascending=False, kind="stable")
    shares = [
        f"{share:.0%} of {short(task)}"
        for task, share in zip(large["task"], large[name], strict=True)
    ]
    more = f" and {len(shares) - 5} more" if len(shares) > 5 else ""
    return f"{', '.join(shares[:5])}{more}"


def _counted(n: int, one: str, several: str) -> str:
    """Return a number and a noun."""
    return f"{n:,} {one if n == 1 else several}"

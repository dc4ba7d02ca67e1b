"""Prediction over a stream of texts that does not fit into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._rows import Columns, Texts, as_pandas, confident_codes, probabilities, read_texts
from ._validation import short

if TYPE_CHECKING:
    from ._fitted import FittedModel


def batches_of(items: Iterable[Any], columns: Columns, n_rows: int) -> Iterator[tuple[Texts, Any]]:
    """Yield the texts of a stream in batches, each with its index for a frame.

    Parameters
    ----------
    items : iterable of str or DataFrame
        Texts, or frames with a text column. Both may occur in one stream.
    columns : Columns
        Names of the columns.
    n_rows : int
        Maximum number of texts in a batch.

    Raises
    ------
    TypeError, ValueError
        If an item is neither a text nor a frame, or if a text is invalid. The message states its
        position in the stream.
    """
    waiting: list[str] = []
    n_before = 0
    for item in items:
        if isinstance(item, str):
            waiting.append(item)
            if len(waiting) == n_rows:
                yield _batch(waiting, columns, n_before)
                n_before, waiting = n_before + n_rows, []
            continue
        if waiting:
            yield _batch(waiting, columns, n_before)
            n_before, waiting = n_before + len(waiting), []
        frame = _as_frame(item, n_before)
        for start in range(0, len(frame), n_rows):
            part = frame.iloc[start : start + n_rows]
            yield read_texts(part, columns, first=n_before + start), part.index
        n_before += len(frame)
    if waiting:
        yield _batch(waiting, columns, n_before)


def _batch(texts, columns, n_before) -> tuple[Texts, pd.RangeIndex]:
    index = pd.RangeIndex(n_before, n_before + len(texts))
    return read_texts(texts, columns, first=n_before), index


def _as_frame(item, position) -> pd.DataFrame:
    frame = as_pandas(item)
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"Item {position} of X must be a text or a frame, got {short(item)} "
            f"({type(item).__name__}). Pass an iterable of strings or of frames."
        )
    return frame


def check_columns(model: FittedModel, requested: NDArray[np.int64]):
    """Raise ValueError if the columns of labels and probabilities have the same names."""
    tasks = [model.tasks[code] for code in requested]
    names = [name for task in tasks for name in [task, *_proba_columns(model, task)]]
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise ValueError(
            f"Two columns of labels and probabilities have the name {short(twice)}. Pass one task "
            "at a time, or rename a task."
        )


def _proba_columns(model: FittedModel, task: str) -> list[str]:
    """Return the names of the columns of confidence and of class probabilities."""
    return [f"{task} confidence", *(f"{task}={label}" for label in model.classes[task])]


def predicted_frame(
    model: FittedModel,
    texts: Texts,
    requested: NDArray[np.int64],
    index: Any,
    proba: bool,
    minimum: dict[str, float] | None = None,
) -> pd.DataFrame:
    """Return the labels of texts, and if `proba` is true their confidence and all probabilities.

    The dtype of a column depends on the classes only, not on the labels of these texts.
    """
    tasks = [model.tasks[code] for code in requested]
    dtypes = {task: pd.Series(model.labels_of(task, minimum)).dtype for task in tasks}
    found = _predicted(model, texts, requested, proba, minimum)
    return pd.DataFrame(found, index=index).astype(dtypes)


def _predicted(model, texts, requested, proba, minimum) -> dict[str, np.ndarray]:
    """Return the columns of a frame of predictions."""
    if not proba:
        return model.labels_by_task(texts, requested, minimum)
    logits = model.logits(texts.repeat(len(requested)), np.tile(requested, len(texts)))
    found: dict[str, np.ndarray] = {}
    for code in requested:
        task = model.tasks[code]
        temperature, least = model.temperatures[task], (minimum or {}).get(task, 0.0)
        codes = confident_codes(logits[code], temperature, least)
        found[task] = model.labels_of(task, minimum)[codes]
        shares = probabilities(logits[code], temperature)
        columns = [shares.max(axis=1, initial=0), *shares.T]
        found |= dict(zip(_proba_columns(model, task), columns, strict=True))
    return found

"""The history of the trainings of a model as a tidy frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any, TypeAlias

import pandas as pd

# What was recorded in an epoch, by name; a value of one task has the name "METRIC/TASK".
Epoch: TypeAlias = dict[str, Any]

# Where an epoch of a calibration fit has the number of the training that it belongs to.
_NUMBER = "number_of_training"

COLUMNS = ["training", "phase", "epoch", "task", "metric", "value"]
# Names of metrics that differ from those in the history of the net.
_METRICS = {
    "dur": "seconds",
    "valid_accuracy": "accuracy",
    "valid_accuracy_se": "accuracy_se",
    "valid_f1": "f1",
    "valid_f1_se": "f1_se",
}
# Records of one task have the name of the task behind a slash.
_BY_TASK = {"valid_accuracy", "valid_f1", "temperature"}
# Not metrics, or shown in other columns.
_LEFT_OUT = {"epoch", "train_batch_count", "valid_batch_count", _NUMBER}


def numbered(epochs: Iterable[Epoch], number: int) -> list[Epoch]:
    """Return epochs of a calibration fit with the number of the training that it belongs to."""
    return [{**epoch, _NUMBER: number} for epoch in epochs]


def last_training(epochs: Iterable[Epoch]) -> list[Epoch]:
    """Return the epochs of the last training, without the records of their batches."""
    last = _trainings(epochs)[-1:]
    return [{k: v for k, v in epoch.items() if k != "batches"} for each in last for epoch in each]


def renumbered(epochs: Iterable[Epoch], n_before: int) -> list[Epoch]:
    """Return epochs of calibration fits whose trainings come after `n_before` others."""
    return [{**epoch, _NUMBER: epoch[_NUMBER] + n_before} for epoch in epochs]


def n_trainings(epochs: Iterable[Epoch]) -> int:
    """Return the number of trainings in a history; each one counts its epochs from 1."""
    return sum(epoch["epoch"] == 1 for epoch in epochs)


def history_frame(epochs: Iterable[Epoch], calibration: Iterable[Epoch]) -> pd.DataFrame:
    """Return the values of all epochs, one per row.

    Parameters
    ----------
    epochs : iterable of dict
        The history of a net, which may consist of several trainings.
    calibration : iterable of dict
        The epochs of the calibration fits, from :func:`numbered`.

    Returns
    -------
    history : DataFrame
        The columns of :attr:`MultiheadClassifier.history_`.
    """
    calibration = list(calibration)
    rows: list[tuple[Any, ...]] = []
    for number, training in enumerate(_trainings(epochs), start=1):
        of_calibration = [epoch for epoch in calibration if epoch[_NUMBER] == number]
        rows += _rows_of(f"calibration {number}", of_calibration)
        rows += _rows_of(f"fit {number}", training)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float})


def _trainings(epochs: Iterable[Epoch]) -> list[list[Epoch]]:
    """Split a history into its trainings."""
    found: list[list[Epoch]] = []
    for epoch in epochs:
        if epoch["epoch"] == 1 or not found:
            found.append([])
        found[-1].append(epoch)
    return found


def _rows_of(training: str, epochs: list[Epoch]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one training."""
    kept = next((epoch for epoch in epochs if epoch.get("kept")), epochs[-1] if epochs else None)
    for epoch in epochs:
        place = (training, _phase(epoch), epoch["epoch"])
        for name, value in epoch.items():
            if _is_metric(name, value):
                metric, _, task = name.partition("/")
                if metric not in _BY_TASK:
                    metric, task = name, ""
                yield (*place, task or None, _METRICS.get(metric, metric), float(value))
        yield (*place, None, "kept", float(epoch is kept))


def _phase(epoch: Epoch) -> str:
    """Return which part trained; models of earlier versions know only the learning rates."""
    trains_encoder = epoch.get("trains_encoder", epoch.get("lr_encoder", 0) > 0)
    return "fine-tuning" if trains_encoder else "heads only"


def _is_metric(name: str, value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and name not in _LEFT_OUT

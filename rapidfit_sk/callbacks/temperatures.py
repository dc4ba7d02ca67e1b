"""Callback for temperatures fitted on the validation rows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from skorch.callbacks import Callback

from .._rows import fit_temperatures

# Logits, labels and weights.
Rows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


class Temperatures(Callback):
    """Callback that fits the temperature of each task on the validation rows.

    Parameters
    ----------
    tasks : list of str
        The names of the tasks.

    See Also
    --------
    rapidfit_sk.EvalConfig : Its `calibrate` parameter enables this callback.

    Notes
    -----
    The callback reuses the logits of the validation pass, so no text is encoded again. The history
    records ``temperature/TASK`` for each task with validation rows. Logits are divided by the
    temperature in prediction, but not in training and not for the scores in the history.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import Temperatures
    >>> Temperatures(["sentiment", "intent"]).tasks
    ['sentiment', 'intent']
    """

    def __init__(self, tasks: list[str]):
        self.tasks = tasks

    def on_epoch_begin(self, net, **kwargs):
        """Discard the rows of earlier epochs."""
        self.seen_: list[list[Rows]] = [[] for _ in self.tasks]

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Store the logits, labels and weights of a validation batch."""
        if training:
            return
        targets = zip(batch.targets["labels"], batch.targets["weights"], strict=True)
        for seen, logits, (labels, weights) in zip(self.seen_, y_pred, targets, strict=True):
            seen.append((logits.cpu().numpy(), labels.numpy(), weights.numpy()))

    def on_epoch_end(self, net, **kwargs):
        """Record the temperatures of the epoch."""
        rows = list(map(_joined, self.seen_))
        temperatures = net.run_.ranks.from_first(lambda: fit_temperatures(rows))
        for task, (_, labels, _), found in zip(self.tasks, rows, temperatures, strict=True):
            if (labels >= 0).any():
                net.history.record(f"temperature/{task}", found)
        self.seen_ = []


def _joined(batches: list[Rows]) -> Rows:
    logits, labels, weights = map(np.concatenate, zip(*batches, strict=True))
    return logits, labels, weights

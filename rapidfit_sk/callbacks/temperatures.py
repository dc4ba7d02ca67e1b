"""The temperature of each task on the validation rows."""

import numpy as np
from skorch.callbacks import Callback

from .._rows import fit_temperatures


class Temperatures(Callback):
    """Fit the temperature of each task on the validation rows, and record it in the history.

    Parameters
    ----------
    tasks : list of str
        The names of the tasks.

    See Also
    --------
    rapidfit_sk.EvalConfig : Its `calibrate` says whether this is done.

    Notes
    -----
    The logits are those of the validation pass, so that no text is read once more. The history
    gets ``temperature/TASK`` for each task with validation rows. They divide logits in
    prediction; training and its scores do without.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import Temperatures
    >>> Temperatures(["sentiment", "intent"]).tasks
    ['sentiment', 'intent']
    """

    def __init__(self, tasks):
        self.tasks = tasks

    def on_epoch_begin(self, net, **kwargs):
        """Start with no rows."""
        self.seen_ = [[] for _ in self.tasks]

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Keep logits, labels and weights of a validation batch."""
        if training:
            return
        targets = zip(batch.targets["labels"], batch.targets["weights"], strict=True)
        for seen, logits, (labels, weights) in zip(self.seen_, y_pred, targets, strict=True):
            seen.append((logits.cpu().numpy(), labels.numpy(), weights.numpy()))

    def on_epoch_end(self, net, **kwargs):
        """Record the temperatures of the epoch."""
        rows = [tuple(map(np.concatenate, zip(*seen, strict=True))) for seen in self.seen_]
        for task, (_, labels, _), found in zip(
            self.tasks, rows, fit_temperatures(rows), strict=True
        ):
            if (labels >= 0).any():
                net.history.record(f"temperature/{task}", found)
        self.seen_ = []

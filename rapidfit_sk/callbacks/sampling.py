"""Callback for the sampling of tasks in each epoch."""

from __future__ import annotations

from typing import Literal

from skorch.callbacks import Callback


class TaskSampling(Callback):
    """Callback that draws the training rows of each epoch.

    Parameters
    ----------
    strategy : {"proportional", "sqrt", "equal"}, default="proportional"
        Whether an epoch has each row once, rows in proportion to the square root of the size of
        each task, or the same number of rows for each task. All strategies draw the same number
        of rows: the size of the training data, or a multiple of it if the data is small. Every
        row is drawn over the course of several epochs. Validation rows are never resampled.

    See Also
    --------
    rapidfit_sk.MultiheadConfig : Its `task_sampling` parameter sets the strategy.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import TaskSampling
    >>> TaskSampling("sqrt").strategy
    'sqrt'
    """

    def __init__(self, strategy: Literal["proportional", "sqrt", "equal"] = "proportional"):
        self.strategy = strategy

    def on_epoch_begin(self, net, **kwargs):
        """Draw the rows of the epoch."""
        net.run_.sampler.draw_epoch(self.strategy)

"""Task sampling: the rows of each epoch."""

from __future__ import annotations

from typing import Literal

from skorch.callbacks import Callback


class TaskSampling(Callback):
    """Say how tasks share an epoch, and have each epoch drawn anew.

    Parameters
    ----------
    strategy : {"proportional", "sqrt", "equal"}, default="proportional"
        Every row once; rows in proportion to the square root of the task's size; or the same
        number of rows for each task. An epoch always has as many rows as the training data, and
        over epochs every row is drawn. Validation rows are never resampled.

    See Also
    --------
    rapidfit_sk.MultiheadConfig : Its `task_sampling` sets the strategy.

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

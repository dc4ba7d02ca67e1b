"""Callback for accuracy and F1 on the validation rows."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

from .._rows import mean_over_tasks, scores_per_task, standard_error


class TaskScores(Callback):
    """Callback that records the scores of each task on the validation rows.

    Parameters
    ----------
    tasks : list of str
        The names of the tasks.

    Attributes
    ----------
    n_rows_ : dict of {str: int}
        The number of validation rows of each task that has any.

    Notes
    -----
    The history records ``valid_accuracy/TASK`` and ``valid_f1/TASK`` for each task with validation
    rows. ``valid_accuracy`` and ``valid_f1`` are the means over tasks, and ``valid_accuracy_se``
    and ``valid_f1_se`` the standard errors of these means. F1 is macro-averaged over the classes
    that occur among the true or the predicted labels.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import TaskScores
    >>> TaskScores(["sentiment", "intent"]).tasks
    ['sentiment', 'intent']
    """

    def __init__(self, tasks: list[str]):
        self.tasks = tasks

    def on_train_begin(self, net, **kwargs):
        """Discard the numbers of rows of an earlier training."""
        self.n_rows_ = {}

    def on_epoch_begin(self, net, **kwargs):
        """Discard the rows of earlier epochs."""
        self.seen_ = []

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Store the true labels, predicted labels and weights of a validation batch."""
        if training:
            return
        for task, labels in enumerate(batch.targets["labels"]):
            predicted = y_pred[task].argmax(-1).cpu().numpy()
            weights = batch.targets["weights"][task].numpy()
            self.seen_.append((np.full(len(labels), task), labels.numpy(), predicted, weights))

    def on_epoch_end(self, net, **kwargs):
        """Record the scores of the epoch."""
        if not self.seen_:
            return
        rows = [np.concatenate(part) for part in zip(*self.seen_, strict=True)]
        scores = net.run_.ranks.from_first(lambda: scores_per_task(*rows))
        self.n_rows_ = {self.tasks[task]: score["n_rows"] for task, score in scores.items()}
        for metric in ("accuracy", "f1"):
            mean = mean_over_tasks(scores, metric)
            net.record_score(f"valid_{metric}", mean, lower_is_better=False)
            net.history.record(f"valid_{metric}_se", standard_error(scores, metric))
            for task, score in scores.items():
                net.history.record(f"valid_{metric}/{self.tasks[task]}", score[metric])
        self.seen_ = []

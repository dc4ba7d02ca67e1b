"""Callback for label texts as training rows."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

from .._training import label_directions, weight_of_texts

# Texts that count less than this do not take part in the training.
LEAST = 0.01

# About the largest number of rows of a task that are compared with label texts. More rows would
# take memory and time, but change no decision.
N_COMPARED = 10_000


class LabelTexts(Callback):
    """Callback that adds label texts to the training rows.

    Before the first epoch, it computes how much the texts of each task count: the probability that
    they describe the rows of their labels, after even odds. A text of a label is then one more row
    of this weight. It counts less the more rows there are. Texts that say nothing about the rows
    end at a weight of 0, and the training is then the same as without them.

    Attributes
    ----------
    weights_ : dict of {int: float}
        The weight of the texts of each task, relative to the mean weight of its rows.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier : Its `label_texts` parameter provides the texts.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import LabelTexts
    >>> LabelTexts()
    <rapidfit_sk.callbacks.label_texts.LabelTexts object at ...>
    """

    def on_train_begin(self, net, **kwargs):
        """Forget the weights of an earlier training."""
        self.weights_: dict[int, float] = {}

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Compute the weights before the first epoch, while the whole encoder is frozen."""
        if net.epoch_ > 0:
            return
        tasks = np.unique(dataset_train.tasks[dataset_train.n_data :])
        there = np.intersect1d(tasks, dataset_train.tasks[: dataset_train.n_data])
        self.weights_ = {int(task): _weight(net, task, dataset_train) for task in there}
        net.run_.use_label_texts({t: w for t, w in self.weights_.items() if w >= LEAST})


def _weight(net, task, data) -> float:
    rows = np.flatnonzero((data.tasks == task) & (data.labels >= 0))
    rows, texts = np.split(rows, [np.searchsorted(rows, data.n_data)])
    rows = rows[:: max(1, len(rows) // N_COMPARED)]
    embeddings = net.frozen_embeddings(data.texts[texts])
    directions = label_directions(embeddings, data.labels[texts], net.n_classes[task])
    return weight_of_texts(
        net.frozen_embeddings(data.texts[rows]), data.labels[rows], data.weights[rows], directions
    )

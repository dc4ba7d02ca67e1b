"""Callback for label texts as training rows."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

from .._training import label_directions, weight_of_texts

# Texts that count less than this do not take part in the training.
LEAST = 0.01


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
    is_text = rows >= data.n_data
    embeddings = net.frozen_embeddings(data.texts[rows])
    directions = label_directions(
        embeddings[is_text],
        data.labels[rows[is_text]],
        net.n_classes[task],
    )
    labels, weights = data.labels[rows[~is_text]], data.weights[rows[~is_text]]
    return weight_of_texts(embeddings[~is_text], labels, weights, directions)

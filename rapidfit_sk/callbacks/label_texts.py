"""Callback for label texts as training rows."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

from .._training import label_directions, probability_of_texts

# Label texts of a smaller weight do not take part in the training.
LEAST = 0.01

# A text counts in full for a label with up to 8 rows, and for nothing with 16 rows or more.
FULL, NONE = 8, 16

# Largest number of rows of a task that are compared with label texts. More rows would take memory
# and time, but change no decision.
N_COMPARED = 10_000


class LabelTexts(Callback):
    """Callback that adds label texts to the training rows.

    Before the first epoch, it computes how much the texts of each label count, in rows. The weight
    rises from 0 to 1 with the probability that the texts of the task describe its rows, from even
    odds to certainty. For a label without rows, it is the probability itself. It is multiplied by a
    factor that falls from 1 for a label with 8 rows to 0 for a label with 16 rows. Texts that say
    nothing about the rows end at a weight of 0, and the training is then the same as without them.

    Attributes
    ----------
    weights_ : dict of {int: ndarray of shape (n_classes,)}
        The weight of the texts of each label of each task, relative to the mean weight of its rows.

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
        self.weights_: dict[int, np.ndarray] = {}

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Compute the weights before the first epoch, while the whole encoder is frozen."""
        if net.epoch_ > 0:
            return
        data = dataset_train
        tasks = data.tasks[data.n_data :]
        used = np.zeros(len(tasks), np.float32)
        for task in np.intersect1d(tasks, data.tasks[: data.n_data]):
            rows = np.flatnonzero(data.tasks[: data.n_data] == task)
            own = np.flatnonzero(tasks == task)
            weights = _weights(net, task, data, rows, data.n_data + own)
            self.weights_[int(task)] = weights
            per_text = weights[data.labels[data.n_data + own]] * data.shares[own]
            used[own] = per_text * data.weights[rows].mean()
        net.run_.use_label_texts(used)


def _weights(net, task, data, rows, texts) -> np.ndarray:
    """Return the weight of the texts of each label of a task."""
    rows = rows[data.labels[rows] >= 0]
    n_rows = np.bincount(data.labels[rows], minlength=net.n_classes[task])
    directions = label_directions(
        net.frozen_embeddings(data.texts[texts]), data.labels[texts], net.n_classes[task]
    )
    if len(rows) > N_COMPARED:
        rows = np.random.default_rng(0).choice(rows, N_COMPARED, replace=False)
    embeddings = net.frozen_embeddings(data.texts[rows])
    probability = net.run_.ranks.from_first(
        lambda: probability_of_texts(embeddings, data.labels[rows], data.weights[rows], directions)
    )
    # Without evidence, only labels that nothing else describes use their texts.
    weights = np.where(n_rows > 0, max(0, 2 * probability - 1), probability)
    weights = weights * np.clip((NONE - n_rows) / (NONE - FULL), 0, 1)
    return np.where(weights < LEAST, 0, weights)

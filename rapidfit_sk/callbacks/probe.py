"""Callback for heads that start from a logistic regression on embeddings."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

from .._training import fit_probe


class LinearProbe(Callback):
    """Callback that initializes output layers with a logistic regression.

    It fits a probe for each new head before the first epoch, which is fast because the problem is
    convex and the embeddings of the frozen encoder are already computed. Random heads would send
    large and meaningless gradients to the encoder; the probe avoids them, which helps most if
    there are few rows [1]_.

    Parameters
    ----------
    heads : list of int
        The numbers of the new heads.
    C : float, default=1.0
        Inverse of the strength of the L2 penalty, after features are scaled to a mean norm of 1.
        With a weak penalty, the probe would fit small data so closely that nothing is left for
        the encoder to learn.

    See Also
    --------
    rapidfit_sk.HeadConfig : Its `init` parameter enables this callback.

    Notes
    -----
    Rows and label texts have the same weights as in the loss, including class weights. If all of
    them have the same class, the head of the task keeps its random weights.

    References
    ----------
    .. [1] Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution", ICLR 2022.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import LinearProbe
    >>> LinearProbe(heads=[0, 1]).C
    1.0
    """

    def __init__(self, heads: list[int], C: float = 1.0):
        self.heads = heads
        self.C = C

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Fit the probes before the first epoch, while the whole encoder is frozen."""
        if net.epoch_ > 0:
            return
        for task in self.heads:
            self._start(net, task, dataset_train)

    def _start(self, net, task, data):
        rows = np.flatnonzero((data.tasks == task) & (data.labels >= 0) & (data.weights > 0))
        labels = data.labels[rows]
        if len(np.unique(labels)) < 2:
            return
        class_weights = net.criterion_.class_weights(task).cpu().numpy()
        features = net.output_layer_inputs(task, data.texts[rows])
        weights = data.weights[rows] * class_weights[labels]
        weight, bias = net.run_.ranks.from_first(
            lambda: fit_probe(features, labels, weights, net.n_classes[task], self.C)
        )
        net.set_output_layer(task, weight, bias)

"""Heads that start from a logistic regression on the embeddings."""

from __future__ import annotations

import numpy as np
import torch
from skorch.callbacks import Callback

from .._training import fit_probe


class LinearProbe(Callback):
    """Start the output layer of new heads as a logistic regression on what it reads.

    The embeddings of the pretrained encoder are at hand before the first epoch, and a convex
    problem on them is solved in a moment. A head that starts there spares the encoder the large
    and meaningless gradients of a random one, above all where rows are few [1]_.

    Parameters
    ----------
    heads : list of int
        The heads that are new.
    C : float, default=1.0
        Inverse of the strength of the L2 penalty, for features of a mean norm of 1. A weak
        penalty would fit small data so closely that nothing is left for the encoder to learn.

    See Also
    --------
    rapidfit_sk.HeadConfig : Its `init` says whether heads start this way.

    Notes
    -----
    Rows weigh what they weigh in the loss, class weights included. A task whose rows are all of
    one class keeps its random weights.

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
        """Fit before the first epoch, while the whole encoder is still frozen."""
        if net.epoch_ > 0:
            return
        for task in self.heads:
            self._start(net, task, dataset_train)

    def _start(self, net, task, data):
        rows = np.flatnonzero((data.tasks == task) & (data.labels >= 0))
        labels = data.labels[rows]
        if len(np.unique(labels)) < 2:
            return
        head = net.module_.heads[task]
        class_weights = net.criterion_.class_weights(task).cpu().numpy()
        weight, bias = fit_probe(
            net.output_layer_inputs(task, data.texts[rows]),
            labels,
            data.weights[rows] * class_weights[labels],
            n_classes=head[-1].out_features,
            C=self.C,
        )
        with torch.no_grad():
            head[-1].weight.copy_(torch.from_numpy(weight))
            head[-1].bias.copy_(torch.from_numpy(bias))

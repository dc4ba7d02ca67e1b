"""Learning rates: up along a line, down along a cosine."""

from __future__ import annotations

import math

from skorch.callbacks import Callback


def warmup_cosine(progress: float, warmup_ratio: float) -> float:
    """Return the learning rate as a share of its peak.

    Parameters
    ----------
    progress : float
        How much of the training is done, from 0 to 1; negative before its start.
    warmup_ratio : float
        Share of the training over which the rate rises.

    Returns
    -------
    share : float
        From 0 to 1.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.

    Examples
    --------
    >>> [round(warmup_cosine(p, 0.1), 2) for p in (0, 0.05, 0.1, 0.55, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < 0:
        return 0.0
    if progress < warmup_ratio:
        return progress / warmup_ratio
    done = (progress - warmup_ratio) / (1 - warmup_ratio)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class WarmupCosine(Callback):
    """Set the learning rate of encoder and heads at each optimizer step.

    Parameters
    ----------
    warmup_ratio : float, default=0.1
        Share of the steps over which the rate rises.
    encoder_start : int, default=0
        The epoch in which the encoder starts to train. Its schedule starts there, so that it
        warms up too and reaches its peak.

    Notes
    -----
    The rate at a step is that at the middle of the step, so that no step has a rate of zero.
    The last rate of each part stands in the history as ``lr_encoder`` and ``lr_heads``.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import WarmupCosine
    >>> WarmupCosine(warmup_ratio=0.2).warmup_ratio
    0.2
    """

    def __init__(self, warmup_ratio: float = 0.1, encoder_start: int = 0):
        self.warmup_ratio = warmup_ratio
        self.encoder_start = encoder_start

    def on_epoch_begin(self, net, **kwargs):
        """Count steps from 0."""
        self.step_ = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        """Set the rates of this step."""
        if not training:
            return
        now = net.epoch_ + (self.step_ + 0.5) / len(net.run_.sampler)
        for group in net.optimizer_.param_groups:
            start = self.encoder_start if group["part"] == "encoder" else 0
            progress = (now - start) / max(1, net.max_epochs - start)
            group["lr"] = group["peak_lr"] * warmup_cosine(progress, self.warmup_ratio)
        self.step_ += 1

    def on_epoch_end(self, net, **kwargs):
        """Record the rates of the last step."""
        for group in net.optimizer_.param_groups:
            net.history.record(f"lr_{group['part']}", group["lr"])

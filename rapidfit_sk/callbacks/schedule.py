"""Callback for learning rates with linear warmup and cosine decay."""

from __future__ import annotations

import math

from skorch.callbacks import Callback


def warmup_cosine(progress: float, warmup_ratio: float) -> float:
    """Return the learning rate as a share of its peak.

    Parameters
    ----------
    progress : float
        Completed share of the training, from 0 to 1; negative before the schedule starts.
    warmup_ratio : float
        Share of the training in which the learning rate rises.

    Returns
    -------
    share : float
        Share of the peak learning rate, from 0 to 1.

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
    """Callback that sets the learning rates of encoder and heads at each step.

    Parameters
    ----------
    warmup_ratio : float, default=0.1
        Share of the steps in which the learning rate rises.
    encoder_start : int, default=0
        The epoch in which the encoder starts to train. The schedule of the encoder starts in this
        epoch too, so its learning rate also warms up and reaches its peak.

    Notes
    -----
    The schedule is evaluated at the middle of each step, so no step has a learning rate of zero.
    The history records the last rate of each epoch as ``lr_encoder`` and ``lr_heads``.

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
        """Reset the step counter."""
        self.step_ = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        """Set the learning rates of this step."""
        if not training:
            return
        now = net.epoch_ + (self.step_ + 0.5) / len(net.run_.sampler)
        for group in net.optimizer_.param_groups:
            start = self.encoder_start if group["part"] == "encoder" else 0
            progress = (now - start) / max(1, net.max_epochs - start)
            group["lr"] = group["peak_lr"] * warmup_cosine(progress, self.warmup_ratio)
        self.step_ += 1

    def on_epoch_end(self, net, **kwargs):
        """Record the learning rates of the last step."""
        for group in net.optimizer_.param_groups:
            net.history.record(f"lr_{group['part']}", group["lr"])

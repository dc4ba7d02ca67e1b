"""Callback for a progress bar per phase of a training, or one line per epoch."""

from __future__ import annotations

import time
from typing import Any

from skorch.callbacks import Callback
from tqdm import tqdm

from .._report import report, shows_bars
from .._validation import short


class TrainingProgress(Callback):
    """Callback that shows the progress of a training on standard error.

    In a terminal or a notebook, it shows one progress bar for the head-only epochs and one for the
    fine-tuning epochs. Elsewhere, for example in a log file, it writes one line per epoch.

    Parameters
    ----------
    verbose : int, default=1
        With 1, a line has the number of the epoch, the layers that train, the losses, the
        validation accuracy of each task and an estimate of the time left. With 2 or more, a line
        also has the validation F1 score of each task and the learning rates, and the lines are
        written in a terminal or a notebook, too.
    title : str, default="training"
        The name of the training, which a line has only if it is another one.

    Notes
    -----
    The time left is estimated from the last epoch. It is unknown in head-only epochs if encoder
    layers train later, because later epochs then take a different time.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import TrainingProgress
    >>> TrainingProgress(verbose=2).verbose
    2
    """

    # For pickles of earlier versions, which have no title.
    title = "training"

    def __init__(self, verbose: int = 1, title: str = "training"):
        self.verbose = verbose
        self.title = title

    def __getstate__(self):
        """Return the parameters; the bar and the clock belong to this process."""
        return {"verbose": self.verbose, "title": self.title}

    def on_train_begin(self, net, **kwargs):
        """Discard the clock and the bar of an earlier training."""
        self.started_: tuple[float, float] | None = None
        self.bar_: tqdm | None = None
        self.phase_ = range(0)

    def on_epoch_begin(self, net, **kwargs):
        """Open the bar of a phase in its first epoch."""
        if shows_bars() and (self.bar_ is None or net.epoch_ == self.phase_.stop):
            self.on_train_end(net)
            self.phase_ = _phase_of(net)
            self.bar_ = tqdm(
                total=len(self.phase_),
                desc=f"{self.title}, {_layers(net.module_)}",
                bar_format="{desc}: {bar} epoch {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]",
            )

    def on_batch_begin(self, net, training=False, **kwargs):
        """Start the clock at the first step of an epoch."""
        if not training or self.started_ is not None:
            return
        position = _position(net)
        self.started_ = time.perf_counter(), position
        if self.bar_ is not None and self.bar_.n < position - self.phase_.start:
            # The training continues from a checkpoint, whose steps took no time in this process.
            done = position - self.phase_.start
            self.bar_.initial = self.bar_.n = self.bar_.last_print_n = done

    def on_batch_end(self, net, training=False, **kwargs):
        """Advance the bar to the step that has ended."""
        if training and self.bar_ is not None:
            # A sum of the shares of all steps would exceed the number of epochs by rounding.
            self.bar_.n = _position(net) - self.phase_.start
            self.bar_.update(0)

    def on_epoch_end(self, net, **kwargs):
        """Show the losses and the scores of the epoch."""
        if self.bar_ is not None:
            epoch = net.history[-1]
            shown = ("train_loss", "valid_loss", "valid_accuracy", "valid_f1")
            self.bar_.set_postfix({key: epoch[key] for key in shown if key in epoch})
        if self.bar_ is None or self.verbose >= 2:
            report(self._line(net))
        self.started_ = None

    def on_train_end(self, net, **kwargs):
        """Close the bar, if there is one."""
        if self.bar_ is not None:
            self.bar_.close()
            self.bar_ = None

    def _line(self, net) -> str:
        epoch = net.history[-1]
        parts = [] if self.title == "training" else [self.title]
        parts += [
            f"epoch {net.epoch_ + 1} of {net.max_epochs}",
            _layers(net.module_),
            f"train loss {epoch['train_loss']:.4f}",
        ]
        if "valid_loss" in epoch:
            parts.append(f"validation loss {epoch['valid_loss']:.4f}")
        for metric in ("accuracy", "f1") if self.verbose >= 2 else ("accuracy",):
            scores = _listed(epoch, f"valid_{metric}/", ".3f")
            parts += [f"validation {metric}: {scores}"] if scores else []
        if self.verbose >= 2:
            rates = {part: epoch[f"lr_{part}"] for part in ("encoder", "heads")}
            parts.append("learning rate: " + ", ".join(f"{k} {v:.3g}" for k, v in rates.items()))
        return " | ".join([*parts, f"time left {self._time_left(net)}"])

    def _time_left(self, net) -> str:
        """Estimate the time that the remaining epochs take, from the time of the last epoch."""
        n_left = net.max_epochs - net.epoch_ - 1
        changes = n_left > 0 and net.module_.n_frozen != net.run_.first_trainable
        if self.started_ is None or changes:
            return "unknown"
        began, position = self.started_
        per_epoch = (time.perf_counter() - began) / (net.epoch_ + 1 - position)
        return tqdm.format_interval(n_left * per_epoch)


def _position(net) -> float:
    """Return the number of epochs that have run, including the part of the current one."""
    return net.epoch_ + net.run_.sums.n_batches / len(net.run_.sampler)


def _phase_of(net) -> range:
    """Return the epochs of the current phase: all head-only epochs, or all later ones."""
    freezing = dict(net.callbacks_)["encoder_freezing"]
    n_frozen = net.max_epochs if freezing.unfreeze_layers == 0 else freezing.freeze_epochs
    if net.epoch_ < n_frozen:
        return range(min(n_frozen, net.max_epochs))
    return range(n_frozen, net.max_epochs)


def _layers(module) -> str:
    """Return which parts of a module train."""
    n_layers = module.trainable_layers
    if n_layers is None:
        return "whole encoder"
    if n_layers == 0:
        return "heads only"
    if module.n_frozen == 0:
        return "all layers"
    return f"top {n_layers} layers" if n_layers > 1 else "top layer"


def _listed(epoch: dict[str, Any], prefix: str, style: str) -> str:
    """Return the scores of all tasks in one epoch of a history."""
    return ", ".join(
        f"{short(name.removeprefix(prefix))} {score:{style}}"
        for name, score in epoch.items()
        if name.startswith(prefix)
    )

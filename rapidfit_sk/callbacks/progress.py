"""Callback for a progress bar over all epochs."""

from __future__ import annotations

from skorch.callbacks import Callback
from tqdm.auto import tqdm


class TrainingProgress(Callback):
    """Callback that shows one progress bar for all epochs on standard error.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import TrainingProgress
    >>> bar = TrainingProgress()
    """

    def __getstate__(self):
        """Return the state without the bar, which cannot be pickled."""
        return {key: value for key, value in vars(self).items() if key != "bar_"}

    def on_train_begin(self, net, **kwargs):
        """Open the bar."""
        self.bar_ = tqdm(
            total=net.max_epochs,
            desc="training",
            bar_format="{desc}: {bar} epoch {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]",
        )

    def on_batch_end(self, net, training=False, **kwargs):
        """Advance the bar by one step."""
        if training:
            self.bar_.update(1 / len(net.run_.sampler))

    def on_epoch_end(self, net, **kwargs):
        """Show the loss and the scores of the epoch."""
        epoch = net.history[-1]
        shown = ("train_loss", "valid_loss", "valid_accuracy", "valid_f1")
        self.bar_.set_postfix({key: epoch[key] for key in shown if key in epoch})

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.bar_.close()
        self.bar_ = None

"""Callback for the layers of the encoder that are frozen in each epoch."""

from __future__ import annotations

from skorch.callbacks import Callback


class EncoderFreezing(Callback):
    """Callback that freezes the encoder at first and later unfreezes its top layers.

    The gradients of random heads are large and meaningless, and would damage pretrained layers.

    Parameters
    ----------
    freeze_epochs : int, default=1
        Number of head-only epochs at the start of training.
    unfreeze_layers : int or None, default=4
        Number of layers at the top of the encoder that train in later epochs. None trains the
        whole encoder, including its token embeddings.

    See Also
    --------
    rapidfit_sk.EncoderConfig : Sets both parameters.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import EncoderFreezing
    >>> EncoderFreezing(freeze_epochs=1, unfreeze_layers=2).freeze_epochs
    1
    """

    def __init__(self, freeze_epochs: int = 1, unfreeze_layers: int | None = 4):
        self.freeze_epochs = freeze_epochs
        self.unfreeze_layers = unfreeze_layers

    def on_train_begin(self, net, **kwargs):
        """Freeze the encoder, and fail early if the layers to unfreeze cannot be found."""
        net.run_.set_first_trainable(net.module_.n_frozen_with(self.unfreeze_layers))
        net.module_.train_encoder_layers(0)

    def on_epoch_begin(self, net, **kwargs):
        """Unfreeze the top layers after the head-only epochs."""
        if net.epoch_ == self.freeze_epochs:
            net.module_.train_encoder_layers(self.unfreeze_layers)

    def on_epoch_end(self, net, **kwargs):
        """Record whether encoder layers have trained."""
        net.history.record("trains_encoder", net.module_.n_frozen is not None)

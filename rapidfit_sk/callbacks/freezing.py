"""Freezing: the heads train first, then the top layers of the encoder too."""

from __future__ import annotations

from skorch.callbacks import Callback


class EncoderFreezing(Callback):
    """Train the heads alone first, then the top layers of the encoder too.

    Random heads send large, meaningless gradients; they would spoil pretrained layers.

    Parameters
    ----------
    freeze_epochs : int, default=1
        Epochs at the start in which only the heads train.
    unfreeze_layers : int or None, default=4
        Layers at the top of the encoder that train after that; None for the whole encoder,
        embeddings included.

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
        """Freeze the encoder, after one look whether its layers can be found later on."""
        net.run_.set_first_trainable(net.module_.n_frozen_with(self.unfreeze_layers))
        net.module_.train_encoder_layers(0)

    def on_epoch_begin(self, net, **kwargs):
        """Unfreeze the top layers when their time has come."""
        if net.epoch_ == self.freeze_epochs:
            net.module_.train_encoder_layers(self.unfreeze_layers)

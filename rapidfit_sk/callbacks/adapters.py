"""Callback for LoRA adapters, which train instead of the weights of encoder layers."""

from __future__ import annotations

from skorch.callbacks import Callback


class LoraAdapters(Callback):
    """Callback that adds LoRA adapters to layers of the encoder and merges them after training.

    Parameters
    ----------
    n_layers : int or None, default=4
        Number of layers at the top of the encoder that get adapters. None means all layers.
    rank : int, default=8
        Rank of the update of each weight matrix: the number of columns of the first matrix of an
        adapter, and of rows of the second.

    See Also
    --------
    rapidfit_sk.EncoderConfig : Its `adapter` parameter enables this callback.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import LoraAdapters
    >>> LoraAdapters(rank=4).rank
    4
    """

    def __init__(self, n_layers: int | None = 4, rank: int = 8):
        self.n_layers = n_layers
        self.rank = rank

    def on_train_begin(self, net, **kwargs):
        """Add the adapters."""
        net.add_adapters(self.n_layers, self.rank)

    def on_train_end(self, net, **kwargs):
        """Merge the adapters into the weights of the encoder."""
        net.module_.merge_adapters()

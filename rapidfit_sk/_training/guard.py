"""Guards that notice when an encoder changes, so that values computed from it are stale."""

from __future__ import annotations

import torch

from .._model import MultiheadModule, layer_stack


class Guard:
    """Notices when an encoder, or its part below a layer, may no longer be as it was.

    Parameters
    ----------
    module : MultiheadModule
        Has the encoder.
    first : int or None, default=None
        The lowest layer that does not matter; None if the whole encoder does.
    """

    def __init__(self, module: MultiheadModule, first: int | None = None):
        self.module = module
        self.first = first
        self._n_logged = len(module.unfreeze_log)
        above = [] if first is None else layer_stack(module.encoder)[first:]
        upper = {id(p) for layer in above for p in layer.parameters()}
        self._lower = [p for p in module.encoder.parameters() if id(p) not in upper]
        self._versions = [p._version for p in self._lower]

    def depends_on(self, layer: int) -> bool:
        """Check whether a layer is in the part that matters."""
        return self.first is None or layer < self.first

    def is_stale(self) -> bool:
        """Check whether the part that matters has been written to, or let train, in the meantime.

        torch counts what is written to a parameter, but neither what a fused optimizer writes nor
        what is written to its `data`.
        """
        may_have_trained = any(map(self.depends_on, self.module.unfreeze_log[self._n_logged :]))
        return may_have_trained or self._versions != [p._version for p in self._lower]


class CachedTensor(Guard):
    """Values that an encoder, or its part below a layer, has computed.

    Parameters
    ----------
    values : Tensor
        The values.
    module : MultiheadModule
        Has the encoder.
    first : int or None, default=None
        The layer that the values enter; None if the whole encoder computed them.
    """

    def __init__(self, values: torch.Tensor, module: MultiheadModule, first: int | None = None):
        super().__init__(module, first)
        self.values = values

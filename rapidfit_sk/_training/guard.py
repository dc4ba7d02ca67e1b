"""Guards that detect when values computed by an encoder are stale."""

from __future__ import annotations

import torch

from .._model import MultiheadModule, layer_stack


class Guard:
    """Guard that detects changes to an encoder, or to its part below a layer.

    Parameters
    ----------
    module : MultiheadModule
        The module with the encoder.
    first : int or None, default=None
        The layer below which the encoder is guarded; None for the whole encoder.
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
        """Check whether a layer is in the guarded part."""
        return self.first is None or layer < self.first

    def is_stale(self) -> bool:
        """Check whether the guarded part has been modified or unfrozen since the guard was made.

        torch counts writes to a parameter, but neither writes by a fused optimizer nor writes to
        its `data`. Layers that have been unfrozen therefore count as modified.
        """
        may_have_trained = any(map(self.depends_on, self.module.unfreeze_log[self._n_logged :]))
        return may_have_trained or self._versions != [p._version for p in self._lower]


class CachedTensor(Guard):
    """Cached output of an encoder, or of its part below a layer.

    Parameters
    ----------
    values : Tensor
        The cached values.
    module : MultiheadModule
        The module with the encoder.
    first : int or None, default=None
        The layer that the values enter; None if they are the output of the whole encoder.
    """

    def __init__(self, values: torch.Tensor, module: MultiheadModule, first: int | None = None):
        super().__init__(module, first)
        self.values = values

"""State of one training run of a net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .._model import MultiheadModule
from .activations import ActivationCache
from .batches import TextRows
from .cache import EmbeddingCache
from .checkpoints import Checkpoints
from .distributed import ALONE, Ranks
from .sampling import TaskSampler


@dataclass
class EpochSums:
    """Sums over the batches of an epoch that have run so far.

    Attributes
    ----------
    n_batches : int
        Number of batches; in training, the number of optimizer steps.
    loss : float or Tensor
        Sum of the losses of the rows. It is a tensor to avoid waiting for a GPU.
    weight : float
        Total weight of the rows.
    """

    n_batches: int = 0
    loss: float | torch.Tensor = 0.0
    weight: float = 0.0

    def add(self, step: dict[str, Any]):
        """Add the result of a step."""
        self.n_batches += 1
        self.loss = self.loss + step["loss"] * step["weight"]
        self.weight += step["weight"]

    def mean(self) -> float:
        """Return the mean loss, weighted by row."""
        return float(self.loss) / max(self.weight, 1e-12)


class Run:
    """State of one training run: sampler, random generator and activation caches.

    A net holds a run only while it trains. Afterwards, it needs only its module and its history.

    Parameters
    ----------
    module : MultiheadModule
        The module that is trained.
    rows : TextRows
        The training rows.
    validation : TextRows or None
        The validation rows.
    memory : EmbeddingCache or None
        The embedding cache of the encoder before training.
    sampler : TaskSampler
        Draws the training rows of each epoch.
    generator : torch.Generator
        Random generator for dropout.
    allocate : callable
        Allocates arrays for hidden states; see :func:`allocate_array`.
    report : callable or None
        Takes a message for the user.
    checkpoints : Checkpoints or None
        Stores the state of the training.
    ranks : Ranks, default=ALONE
        The processes that train together.

    Attributes
    ----------
    sums : EpochSums
        Sums over the training batches of the current epoch.
    first_trainable : int or None
        The lowest layer of the encoder that will train, if a callback has announced it.
    mean_weight : float
        The mean weight of the training rows, without label texts.
    parameters : list of (str, Parameter)
        The parameters of the module by name. They are listed once, because listing them visits
        all submodules.
    """

    def __init__(
        self,
        module: MultiheadModule,
        rows: TextRows,
        validation: TextRows | None,
        memory: EmbeddingCache | None,
        *,
        sampler: TaskSampler,
        generator: torch.Generator,
        allocate: Callable[[tuple[int, int]], NDArray[np.float32] | None],
        report: Callable[[str], object] | None,
        checkpoints: Checkpoints | None = None,
        ranks: Ranks = ALONE,
    ):
        self.rows = rows
        self.validation = validation
        self.sampler = sampler
        self.generator = generator
        self.report = report
        self.checkpoints = checkpoints
        self.ranks = ranks
        self.sums = EpochSums()
        self._caches: dict[str, ActivationCache] = {}
        self.first_trainable: int | None = None
        self.mean_weight = float(rows.weights[: rows.n_data].mean())
        self.parameters = list(module.named_parameters())
        self._activations_of = partial(
            ActivationCache, module, allocate=allocate, memory=memory, ranks=ranks
        )

    def set_first_trainable(self, layer: int | None):
        """Set the lowest encoder layer that will train; call it before the first epoch."""
        self.first_trainable = layer

    def use_label_texts(self, weights: NDArray[np.float32]):
        """Set the weights of label texts, and add those above 0 to the training rows."""
        self.rows.weights[self.rows.n_data :] = weights
        self.sampler.include(self.rows.n_data + np.flatnonzero(weights))

    @property
    def activations(self) -> ActivationCache:
        """Activation cache for the training texts."""
        return self._cache_of("train", self.rows, report=self.report)

    @property
    def validation_activations(self) -> ActivationCache:
        """Activation cache for the validation texts."""
        if self.validation is None:
            raise ValueError("This run has no validation rows.")
        return self._cache_of("valid", self.validation)

    def _cache_of(self, part: str, rows: TextRows, **options: Any) -> ActivationCache:
        """Return the activation cache for some rows, built when it is first needed."""
        if part not in self._caches:
            self._caches[part] = self._activations_of(
                rows.tokens, first_trainable=self.first_trainable, **options
            )
        return self._caches[part]

    def can_resume(self) -> dict[str, bool | None]:
        """Return `can_resume` of each activation cache that this run has built."""
        return {part: cache.can_resume for part, cache in self._caches.items()}

    def restore_can_resume(self, values: dict[str, bool | None]):
        """Disable the activation caches that an interrupted run could not use.

        Results are only the same to the bit if the same layers run.
        """
        for part, possible in values.items():
            if possible is False:
                cache = self.activations if part == "train" else self.validation_activations
                cache.can_resume = False

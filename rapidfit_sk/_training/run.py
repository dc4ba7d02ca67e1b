"""State of one training run of a net."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from .._model import MultiheadModule
from .activations import ActivationCache
from .batches import TextRows
from .cache import EmbeddingCache
from .sampling import TaskSampler


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

    Attributes
    ----------
    first_trainable : int or None
        The lowest layer of the encoder that will train, if a callback has announced it.
    mean_weight : float
        The mean weight of the training rows.
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
    ):
        self.rows = rows
        self.validation = validation
        self.sampler = sampler
        self.generator = generator
        self.report = report
        self.first_trainable: int | None = None
        self.mean_weight = float(rows.weights.mean())
        self.parameters = list(module.named_parameters())
        self._activations_of = partial(ActivationCache, module, allocate=allocate, memory=memory)

    def set_first_trainable(self, layer: int | None):
        """Set the lowest encoder layer that will train; call it before the first epoch."""
        self.first_trainable = layer

    @cached_property
    def activations(self) -> ActivationCache:
        """Activation cache for the training texts."""
        return self._activations_of(
            self.rows.tokens, first_trainable=self.first_trainable, report=self.report
        )

    @cached_property
    def validation_activations(self) -> ActivationCache:
        """Activation cache for the validation texts."""
        if self.validation is None:
            raise ValueError("This run has no validation rows.")
        return self._activations_of(self.validation.tokens, first_trainable=self.first_trainable)

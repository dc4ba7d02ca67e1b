"""Activation cache: outputs of the frozen encoder layers, computed once per text."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from .._model import (
    MultiheadModule,
    TokensOnDemand,
    embedding_width,
    layer_stack,
    states_entering,
)
from .._tokens import by_length
from .batches import Embeddings, HiddenStates, PaddedTokens, Source
from .cache import EmbeddingCache
from .distributed import ALONE, Ranks
from .guard import CachedTensor

# Number of texts on which a resumed run is compared with a full run before the cache is used.
N_COMPARED = 8


class ActivationCache:
    """Activation cache of the frozen encoder layers during a fit.

    Parameters
    ----------
    module : MultiheadModule
        The module that is trained.
    tokens : TokensOnDemand
        The distinct texts.
    allocate : callable
        Takes a shape and returns an array of float32 of that shape, or None if there is no room.
        See :func:`allocate_array`.
    first_trainable : int or None
        The lowest layer that will train, if it is known. The pass that computes the embeddings
        then also caches the hidden states that enter this layer.
    memory : EmbeddingCache or None
        The embedding cache of the encoder before training. It is not used once the encoder may
        have changed.
    report : callable or None
        Takes a message for the user if hidden states cannot be cached.
    ranks : Ranks, default=ALONE
        The processes that share the passes over all texts. Each of them gets all results.

    Attributes
    ----------
    can_resume : bool or None
        Whether running only the upper layers on cached hidden states gives the same result as
        running the whole encoder, and the hidden states fit into the cache. None before the
        first attempt.
    """

    def __init__(
        self,
        module: MultiheadModule,
        tokens: TokensOnDemand,
        *,
        allocate: Callable[[tuple[int, int]], NDArray[np.float32] | None],
        first_trainable: int | None = None,
        memory: EmbeddingCache | None = None,
        report: Callable[[str], object] | None = None,
        ranks: Ranks = ALONE,
    ):
        self.module = module
        self.tokens = tokens
        self.allocate = allocate
        self.first_trainable = first_trainable
        self.memory = memory
        self.report = report or (lambda sentence: None)
        self.ranks = ranks
        self.can_resume: bool | None = None
        self._embeddings: CachedTensor | None = None
        self._states: CachedTensor | None = None

    def source(self) -> Source:
        """Return the cheapest input from which the module can run in its current state.

        Returns
        -------
        source : Embeddings, HiddenStates or PaddedTokens
            Embeddings if the encoder is frozen and no head has a learned query. Otherwise, the
            hidden states that enter the first trainable layer if they can be cached, and tokens
            if not.
        """
        if self.module.reads_embeddings:
            return Embeddings(self.embeddings())
        first, self._embeddings = self.module.n_frozen, None
        if not first or self.can_resume is False:
            return PaddedTokens(self.tokens)
        states = self._states
        if states is None or states.depends_on(first) or states.is_stale():
            self._states = states = self._compute_states(first)
        if states is None:
            return PaddedTokens(self.tokens)
        self.module.resume_at(states.first)
        return HiddenStates(self.tokens, states.values)

    def embeddings(self) -> torch.Tensor:
        """Return the result of :meth:`MultiheadModule.embed` for all texts, computed once."""
        if self._embeddings is None or self._embeddings.is_stale():
            self._embeddings = self._compute_embeddings()
        return self._embeddings.values

    # ----------------------------------------------------------------------------------------
    # Passes

    def _compute_embeddings(self) -> CachedTensor:
        embeddings = self.ranks.from_first(self._from_memory)
        if embeddings is not None:
            return CachedTensor(torch.from_numpy(embeddings), self.module)
        width = embedding_width(self.module.encoder)
        embeddings = np.empty((len(self.tokens), width), np.float32)
        self._states = self._new_states(self.first_trainable)
        self._run(embeddings, self._states)
        return CachedTensor(torch.from_numpy(embeddings), self.module)

    def _from_memory(self) -> NDArray[np.float32] | None:
        """Return the embeddings of all texts from the embedding cache, if it is valid."""
        if self.memory is None or self.memory.is_stale():
            return None
        with _evaluating(self.module):
            return self.memory.embed(self.tokens.texts)

    def _compute_states(self, first: int) -> CachedTensor | None:
        self._states = None  # free the old states before allocating new ones
        states = self._new_states(first)
        if states is not None:
            self._run(None, states)
        return states

    def _new_states(self, first: int | None) -> CachedTensor | None:
        """Allocate the states that enter a layer, or return None if they cannot be cached."""
        if not first or self.can_resume is False or not len(self.tokens):
            return None
        name = type(self.module.encoder).__name__
        self.can_resume = all(self.ranks.gather(self._can_resume_at(first)))
        if not self.can_resume:
            self.report(
                f"All layers of {name} run in each epoch, because it cannot resume from cached "
                "hidden states."
            )
            return None
        shape = (len(self.tokens.ids), self.module.encoder.config.hidden_size)
        values = self.allocate(shape)
        fits = all(self.ranks.gather(values is not None))
        if values is None or not fits:
            self.report(
                f"All layers of {name} run in each epoch, because the hidden states of its frozen "
                f"layers take {4 * np.prod(shape):,} bytes, more than 'cache_memory' and "
                "'cache_disk' allow. Increase one of them to cache the hidden states."
            )
            self.can_resume = False
            return None
        return CachedTensor(torch.from_numpy(values), self.module, first)

    def _layers(self, first: int | None) -> list[torch.nn.Module]:
        return layer_stack(self.module.encoder)[first:]

    def _can_resume_at(self, first: int) -> bool:
        """Check on one batch whether resuming at a layer gives the result of a full run."""
        if not self.module.resume_at(first):
            return False
        inputs = self._inputs(_spread_over_lengths(self.tokens.lengths, N_COMPARED))
        try:
            with _evaluating(self.module), torch.inference_mode():
                with states_entering(self._layers(first)[0]) as seen:
                    whole = self.module.embed(**inputs, eager=True)
                replayed = self.module.embed(**inputs, states=seen[0].float())
        # Architectures that cannot resume at a layer may raise any of these. An error with another
        # cause is not lost, because the full run that follows raises it again.
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        # Cached states are float32, but an architecture may pass bfloat16 between its layers.
        lowered = self.module.is_lowered(whole.device.type)
        return torch.allclose(whole, replayed, atol=3e-2 if lowered else 1e-5)

    def _run(self, embeddings: np.ndarray | None, states: CachedTensor | None):
        """Run the encoder once on all texts, and fill the arrays that are not None."""
        batches = by_length(self.tokens.lengths)
        self._encode(self.ranks.share_of(batches), embeddings, states)
        if self.ranks.size > 1:
            for number, texts in enumerate(batches):
                self._copy(number, texts, embeddings, states)

    def _encode(
        self, batches: list[np.ndarray], embeddings: np.ndarray | None, states: CachedTensor | None
    ):
        """Run the encoder on some batches."""
        source = PaddedTokens(self.tokens)
        layer = None if states is None else self._layers(states.first)[0]
        # The embedding cache contains such embeddings, too, and must not change the training.
        exact = self.module.outside_of_training()
        with exact, _evaluating(self.module), torch.inference_mode():
            for texts in batches:
                inputs = self._inputs(texts)
                with _recording(layer, stop=embeddings is None) as seen:
                    output = self.module.embed(**inputs, eager=layer is not None)
                    if embeddings is not None:
                        embeddings[texts] = output.cpu().numpy()
                if states is not None:
                    at, mask = source.places(texts)
                    states.values.numpy()[at[mask]] = seen[0].float().cpu().numpy()[mask]

    def _copy(
        self,
        number: int,
        texts: np.ndarray,
        embeddings: np.ndarray | None,
        states: CachedTensor | None,
    ):
        """Copy the results of a batch from the process that ran the encoder on it."""
        if embeddings is not None:
            self.ranks.copy_rows(embeddings, texts, number)
        if states is not None:
            at, mask = PaddedTokens(self.tokens).places(texts)
            self.ranks.copy_rows(states.values.numpy(), at[mask], number)

    def _inputs(self, texts: np.ndarray) -> dict[str, Any]:
        device = next(self.module.parameters()).device
        inputs = PaddedTokens(self.tokens).inputs(texts)
        return {name: tensor.to(device) for name, tensor in inputs.items()}


def _spread_over_lengths(lengths: np.ndarray, n: int) -> np.ndarray:
    """Return up to `n` texts, from the shortest to the longest, for a batch with padding."""
    order = np.argsort(lengths, kind="stable")
    return np.unique(order[np.linspace(0, len(order) - 1, n).astype(int)])


def _recording(
    layer: torch.nn.Module | None, *, stop: bool
) -> AbstractContextManager[list[torch.Tensor]]:
    """Record the inputs of a layer, if there is one; see :func:`states_entering`."""
    return nullcontext([]) if layer is None else states_entering(layer, stop=stop)


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode inside the context."""
    mode = module.training
    module.train(False)
    try:
        yield
    finally:
        module.train(mode)


def allocate_array(
    shape: tuple[int, int], *, memory: float, disk: float
) -> NDArray[np.float32] | None:
    """Allocate an array in memory or, if there is no room, in a temporary file.

    Parameters
    ----------
    shape : tuple of int
        The shape of the array.
    memory, disk : int or float
        The most that the array may take: a number of bytes as an int, or as a float a share of
        the free space, which is common to all processes.

    Returns
    -------
    array : ndarray of float32 or None
        None if there is no room in memory or on disk. A temporary file has no name in its folder
        if the system supports that. Otherwise, it is closed with the array. The file
        is removed in either case, however the process ends.
    """
    n_bytes = 4 * int(np.prod(shape))
    if n_bytes <= _budget(memory, _free_memory()):
        return np.empty(shape, np.float32)
    if n_bytes > _budget(disk, shutil.disk_usage(tempfile.gettempdir()).free):
        return None
    with tempfile.TemporaryFile(prefix="rapidfit-sk-") as file:
        try:
            # Reserve the space now, because a write to a mapped page without room on disk kills the
            # process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, np.float32, "r+", shape=shape)
        except OSError:
            return None


def _free_memory() -> int:
    """Return the free memory in bytes: of the machine or, if less, of the container."""
    free = psutil.virtual_memory().available
    for limit, used in _CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no such file, or no limit in it
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return max(free, 0)


# Files with the memory limit and use of a Linux container, for both versions of cgroups.
_CGROUP = Path("/sys/fs/cgroup")
_CONTAINER = [
    (_CGROUP / "memory.max", _CGROUP / "memory.current"),
    (_CGROUP / "memory/memory.limit_in_bytes", _CGROUP / "memory/memory.usage_in_bytes"),
]


def _budget(limit, free):
    return limit if isinstance(limit, Integral) else limit * free

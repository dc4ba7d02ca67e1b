"""What the frozen part of an encoder makes of texts: computed once, kept, and replayed."""

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

from .._model import MultiheadModule, TokensOnDemand, layer_stack, states_entering, uses_bfloat16
from .batches import Embeddings, HiddenStates, PaddedTokens, Source, by_length
from .cache import EmbeddingCache
from .guard import CachedTensor

# Texts that run both ways before a replay is trusted.
N_COMPARED = 8


class ActivationCache:
    """The texts of a training, as far as frozen layers have taken them already.

    Parameters
    ----------
    module : MultiheadModule
        The module that trains.
    tokens : TokensOnDemand
        The distinct texts.
    allocate : callable
        Takes a shape; returns an array of float32 of that shape, or None where there is no room.
        :func:`allocate_array` is one.
    first_trainable : int or None
        The lowest layer that will train, where that is known: what enters it is kept when the
        embeddings are computed, so that it takes no second pass.
    memory : EmbeddingCache or None
        Has the embeddings of the encoder as it was before the training, where these outlive a
        fit. It is not asked once the encoder may have changed.
    report : callable or None
        Takes a sentence for the user, where something cannot be kept.

    Attributes
    ----------
    can_resume : bool or None
        Whether running the upper layers on kept states gives what the whole encoder gives. None
        before it was tried.
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
    ):
        self.module = module
        self.tokens = tokens
        self.allocate = allocate
        self.first_trainable = first_trainable
        self.memory = memory
        self.report = report or (lambda sentence: None)
        self.can_resume: bool | None = None
        self._embeddings: CachedTensor | None = None
        self._states: CachedTensor | None = None

    def source(self) -> Source:
        """Return what the module can begin with, given what of it trains now.

        Returns
        -------
        source : Embeddings, HiddenStates or PaddedTokens
            Embeddings where the encoder is frozen and all heads read them; the states that enter
            the first layer that trains, where they can be kept; otherwise tokens.
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
        """Return what :meth:`MultiheadModule.embed` makes of the texts; computed once."""
        if self._embeddings is None or self._embeddings.is_stale():
            self._embeddings = self._compute_embeddings()
        return self._embeddings.values

    # ----------------------------------------------------------------------------------------
    # Passes

    def _compute_embeddings(self) -> CachedTensor:
        if self.memory is not None and not self.memory.is_stale():
            with _evaluating(self.module):
                embeddings = self.memory.embed(self.tokens.texts)
            return CachedTensor(torch.from_numpy(embeddings), self.module)
        width = self.module.encoder.config.hidden_size
        embeddings = np.empty((len(self.tokens), width), np.float32)
        self._states = self._new_states(self.first_trainable)
        self._run(embeddings, self._states)
        return CachedTensor(torch.from_numpy(embeddings), self.module)

    def _compute_states(self, first: int) -> CachedTensor | None:
        self._states = None  # what is there goes before there is more
        states = self._new_states(first)
        if states is not None:
            self._run(None, states)
        return states

    def _new_states(self, first: int | None) -> CachedTensor | None:
        """Return room for what enters a layer, if a replay from there is right."""
        if not first or self.can_resume is False or not len(self.tokens):
            return None
        name = type(self.module.encoder).__name__
        self.can_resume = self._can_resume_at(first)
        if not self.can_resume:
            self.report(f"All layers of {name} run in each epoch: it cannot be entered in between.")
            return None
        shape = (len(self.tokens.ids), self.module.encoder.config.hidden_size)
        values = self.allocate(shape)
        if values is None:
            self.report(
                f"All layers of {name} run in each epoch: {4 * np.prod(shape):,} bytes for what "
                "the frozen ones give are more than cache_memory and cache_disk allow."
            )
            self.can_resume = False
            return None
        return CachedTensor(torch.from_numpy(values), self.module, first)

    def _layers(self, first: int | None) -> list[torch.nn.Module]:
        return layer_stack(self.module.encoder)[first:]

    def _can_resume_at(self, first: int) -> bool:
        """Compare a replay with a full run on one batch: some architectures cannot be entered."""
        if not self.module.resume_at(first):
            return False
        inputs = self._inputs(_spread_over_lengths(self.tokens.lengths, N_COMPARED))
        try:
            with _evaluating(self.module), torch.inference_mode():
                with states_entering(self._layers(first)[0]) as seen:
                    whole = self.module.embed(**inputs, eager=True)
                replayed = self.module.embed(**inputs, states=seen[0].float())
        # What an architecture may say that does not expect this. Were it something else, the
        # whole encoder, which runs instead, would say it again.
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        # CachedTensor states are float32; an architecture may hand on bfloat16 from layer to layer.
        lowered = uses_bfloat16(self.module.precision, whole.device.type)
        return torch.allclose(whole, replayed, atol=3e-2 if lowered else 1e-5)

    def _run(self, embeddings: np.ndarray | None, states: CachedTensor | None):
        """Run the encoder once over all texts, and fill in what is asked for."""
        source = PaddedTokens(self.tokens)
        layer = None if states is None else self._layers(states.first)[0]
        with _evaluating(self.module), torch.inference_mode():
            for texts in by_length(self.tokens.lengths):
                inputs = self._inputs(texts)
                with _recording(layer, stop=embeddings is None) as seen:
                    output = self.module.embed(**inputs, eager=layer is not None)
                    if embeddings is not None:
                        embeddings[texts] = output.cpu().numpy()
                if states is not None:
                    at, mask = source.places(texts)
                    states.values.numpy()[at[mask]] = seen[0].float().cpu().numpy()[mask]

    def _inputs(self, texts: np.ndarray) -> dict[str, Any]:
        device = next(self.module.parameters()).device
        inputs = PaddedTokens(self.tokens).inputs(texts)
        return {name: tensor.to(device) for name, tensor in inputs.items()}


def _spread_over_lengths(lengths: np.ndarray, n: int) -> np.ndarray:
    """Pick `n` texts from the shortest to the longest: side by side they need padding."""
    order = np.argsort(lengths, kind="stable")
    return np.unique(order[np.linspace(0, len(order) - 1, n).astype(int)])


def _recording(
    layer: torch.nn.Module | None, *, stop: bool
) -> AbstractContextManager[list[torch.Tensor]]:
    """Keep what enters a layer, if there is one; see :func:`states_entering`."""
    return nullcontext([]) if layer is None else states_entering(layer, stop=stop)


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode for a while."""
    mode = module.training
    module.train(False)
    try:
        yield
    finally:
        module.train(mode)


def allocate_array(
    shape: tuple[int, int], *, memory: float, disk: float
) -> NDArray[np.float32] | None:
    """Make an array in memory, else in a temporary file.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    memory, disk : int or float
        The most that it may take: bytes, or as a float a share of what is free to this process
        and to all others.

    Returns
    -------
    array : ndarray of float32 or None
        None where neither has room. The file has no name in its folder where the system can do
        so, and is closed with the array elsewhere: it is gone however the process ends.
    """
    n_bytes = 4 * int(np.prod(shape))
    if n_bytes <= _budget(memory, _free_memory()):
        return np.empty(shape, np.float32)
    if n_bytes > _budget(disk, shutil.disk_usage(tempfile.gettempdir()).free):
        return None
    with tempfile.TemporaryFile(prefix="rapidfit-sk-") as file:
        try:
            # Writing to a page of a mapped file for which the disk has no room kills the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, np.float32, "r+", shape=shape)
        except OSError:
            return None


def _free_memory() -> int:
    """Return the bytes that are free on the machine or, if that is less, in the container."""
    free = psutil.virtual_memory().available
    for limit, used in _CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or no limit in it
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return max(free, 0)


# Where Linux keeps the limit and the use of memory of a container, in either of two versions.
_CGROUP = Path("/sys/fs/cgroup")
_CONTAINER = [
    (_CGROUP / "memory.max", _CGROUP / "memory.current"),
    (_CGROUP / "memory/memory.limit_in_bytes", _CGROUP / "memory/memory.usage_in_bytes"),
]


def _budget(limit, free):
    return limit if isinstance(limit, Integral) else limit * free

"""Collective calls of a fit that runs in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, and the number of this process among them.

    All processes must call the same methods in the same order. With one process, no method
    communicates.

    Attributes
    ----------
    rank : int, default=0
        The number of this process.
    size : int, default=1
        The number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Self:
        """Return the processes of torch's default group, or this process if there is no group."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and messages."""
        return self.rank == 0

    def share_of(self, items: list[_Item]) -> list[_Item]:
        """Return the items that this process computes: every `size`-th one."""
        return items[self.rank :: self.size]

    # ----------------------------------------------------------------------------------------
    # Values

    def from_first(self, compute: Callable[[], _Result]) -> _Result:
        """Call a function in the first process only, and return its result in all of them.

        Raises
        ------
        RuntimeError
            In the other processes, if the function raises an exception in the first one.
        """
        if self.size == 1:
            return compute()
        if not self.is_first:
            return self._received()
        try:
            result = compute()
        except Exception as error:
            self._broadcast((None, f"{type(error).__name__}: {error}"))
            raise
        self._broadcast((result, None))
        return result

    def _received(self) -> Any:
        result, problem = self._broadcast(None)
        if problem is not None:
            raise RuntimeError(f"The process with rank 0 raised {problem}")
        return result

    def _broadcast(self, value: Any, source: int = 0) -> Any:
        """Return the value of one process in all of them."""
        sent = [value]
        dist.broadcast_object_list(sent, src=source)
        return sent[0]

    def gather(self, value: _Item) -> list[_Item]:
        """Return the values of all processes in all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Apply a function to each item in one of the processes, and return all results in all."""
        own = list(map(function, islice(items, self.rank, None, self.size)))
        parts = self.gather(own)
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    def check_same(self, values: Mapping[str, Any]):
        """Check that all processes have the same values.

        Raises
        ------
        ValueError
            In all processes, if a value differs. The message names it.
        """
        first, *others = self.gather(dict(values))
        for rank, other in enumerate(others, start=1):
            for name in first:
                if first[name] != other.get(name):
                    raise ValueError(
                        "The processes of this fit do not have the same data and parameters: "
                        f"{_differ(name)} between rank 0 and rank {rank}. Pass the same arguments "
                        "in all processes, because each one takes its own share of every batch. "
                        "To fit another model in each process, call "
                        "torch.distributed.destroy_process_group() before."
                    )

    # ----------------------------------------------------------------------------------------
    # Tensors and arrays

    def copy_rows(self, array: np.ndarray, places: np.ndarray, number: int):
        """Copy rows of an array from the process that computed an item to all others.

        Parameters
        ----------
        array : ndarray
            An array of the same shape in all processes, which this method changes.
        places : ndarray of int
            The rows that belong to the item.
        number : int
            The position of the item in the list given to :meth:`share_of`.
        """
        owner = number % self.size
        rows = self._broadcast(array[places] if owner == self.rank else None, owner)
        if owner != self.rank:
            array[places] = rows

    def sum_gradients(
        self, parameters: list[torch.nn.Parameter], loss: float | torch.Tensor
    ) -> torch.Tensor:
        """Replace gradients by their sums over all processes, and return the sum of the losses.

        A single call sends all gradients. A parameter without a gradient in any process keeps
        none, so the optimizer leaves it alone as it does in one process.

        Parameters
        ----------
        parameters : list of Parameter
            The trainable parameters, the same in all processes.
        loss : float or Tensor
            The loss of this process.
        """
        gradients = [p.grad for p in parameters]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flags = parts[0].new_tensor([float(gradient is not None) for gradient in gradients])
        own = torch.as_tensor(loss, dtype=flags.dtype, device=flags.device)
        bucket = torch.cat([*(part.reshape(-1) for part in parts), flags, own.reshape(1)])
        dist.all_reduce(bucket)
        *sums, flags, losses = bucket.split([*(p.numel() for p in parameters), len(flags), 1])
        for parameter, total, is_known in zip(parameters, sums, flags.tolist(), strict=True):
            parameter.grad = total.view(parameter.shape) if is_known else None
        return losses[0]


def _differ(name: str) -> str:
    """Return the subject and the verb of a sentence about a difference."""
    return f"{name} differ" if name.startswith("the ") else f"{name!r} differs"


# The ranks of a fit in one process.
ALONE = Ranks()

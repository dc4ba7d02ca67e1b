"""Types of public signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias

import joblib
from numpy.typing import ArrayLike


class FrameLike(Protocol):
    """A frame of pandas, polars or any other library that narwhals supports."""

    @property
    def columns(self) -> Any:
        """The columns or their names."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Device(Protocol):
    """A torch.device. torch takes seconds to import, so its type is described here."""

    @property
    def type(self) -> str:
        """The kind of device, such as "cpu" or "cuda"."""


#: Texts or labels, as one column or as a frame.
ArrayOrFrame: TypeAlias = ArrayLike | FrameLike
#: Labeled rows in any form that ``fit`` accepts, including a dict of tasks.
RowsLike: TypeAlias = ArrayOrFrame | Mapping[str, Iterable[Mapping[str, Any]]]
#: Location of the embedding cache.
MemoryLike: TypeAlias = str | PathLike[str] | joblib.Memory
#: Minimum confidence of predictions: for all tasks, by task, or as tuned.
MinConfidence: TypeAlias = float | Mapping[str, float] | Literal["tuned"]
#: Target of thresholds: for all tasks, or by task.
TargetLike: TypeAlias = float | Mapping[str, float]

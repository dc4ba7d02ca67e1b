"""Text classification for several tasks on one shared encoder, as a scikit-learn estimator."""

from typing import TYPE_CHECKING, Any

from ._classifier import MultiheadClassifier
from ._text_classifier import TextClassifier
from ._views import TaskClassifier
from .config import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadConfig,
    TrainingConfig,
)

if TYPE_CHECKING:
    from ._model import find_encoder
    from ._show_versions import show_versions

__all__ = [
    "EncoderConfig",
    "EvalConfig",
    "HeadConfig",
    "LossConfig",
    "MultiheadClassifier",
    "MultiheadConfig",
    "TaskClassifier",
    "TextClassifier",
    "TrainingConfig",
    "find_encoder",
    "show_versions",
]

__version__ = "0.1.0.dev0"


def __dir__() -> list[str]:
    """List all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import the functions that need torch when they are first used."""
    if name == "find_encoder":
        from ._model import find_encoder

        return find_encoder
    if name == "show_versions":
        from ._show_versions import show_versions

        return show_versions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

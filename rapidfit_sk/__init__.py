"""Text classification for several tasks on one shared encoder, as a scikit-learn estimator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._classifier import MultiheadClassifier
    from ._model import find_encoder
    from ._show_versions import show_versions
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

# Names are imported when they are first used. `rapidfit_sk.serving` therefore works where
# scikit-learn, pandas and torch are not installed.
_MODULES = dict.fromkeys(__all__, ".config") | {
    "MultiheadClassifier": "._classifier",
    "TaskClassifier": "._views",
    "TextClassifier": "._text_classifier",
    "find_encoder": "._model",
    "show_versions": "._show_versions",
}


def __dir__() -> list[str]:
    """List all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value

"""Text classification for several tasks on one shared encoder, as a scikit-learn estimator."""

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

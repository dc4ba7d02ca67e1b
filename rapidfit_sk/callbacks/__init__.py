"""Callbacks of the training loop.

They are skorch callbacks for sampling, freezing, label texts, probes, learning rates, scores,
temperatures, early stopping and progress. They depend on the net and never on the classifier.
"""

from .._training import StopTraining
from .adapters import LoraAdapters
from .early_stopping import EarlyStopping
from .freezing import EncoderFreezing
from .label_texts import LabelTexts
from .probe import LinearProbe
from .progress import TrainingProgress
from .sampling import TaskSampling
from .schedule import WarmupCosine
from .scores import TaskScores
from .temperatures import Temperatures

__all__ = [
    "EarlyStopping",
    "EncoderFreezing",
    "LabelTexts",
    "LinearProbe",
    "LoraAdapters",
    "StopTraining",
    "TaskSampling",
    "TaskScores",
    "Temperatures",
    "TrainingProgress",
    "WarmupCosine",
]

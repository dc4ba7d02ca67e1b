"""Displays of trainings and of predictions, after the conventions of scikit-learn.

Each display is created with `from_estimator`, which draws it at once, or from data. They need
matplotlib, which the extra `plot` installs.
"""

from .calibration import CalibrationGridDisplay
from .common import check_matplotlib as check_matplotlib  # for the report
from .comparison import TaskComparisonDisplay
from .confusion import ConfusionGridDisplay
from .coverage import CoverageDisplay
from .embedding import EmbeddingDisplay
from .training_history import TrainingHistoryDisplay

__all__ = [
    "CalibrationGridDisplay",
    "ConfusionGridDisplay",
    "CoverageDisplay",
    "EmbeddingDisplay",
    "TaskComparisonDisplay",
    "TrainingHistoryDisplay",
]

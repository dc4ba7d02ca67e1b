"""Reports about data and fitted classifiers: what is computed from rows and predictions."""

from .data import DataReport, describe
from .explanation import Explanation, explain

__all__ = ["DataReport", "Explanation", "describe", "explain"]

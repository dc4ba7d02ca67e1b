"""Reports as values: their frames are computed from rows and predictions."""

from .data import DataReport, describe
from .errors import ErrorReport, TextLength, text_lengths
from .explanation import Explanation, explain
from .label_errors import cleanlab_version

__all__ = [
    "DataReport",
    "ErrorReport",
    "Explanation",
    "TextLength",
    "cleanlab_version",
    "describe",
    "explain",
    "text_lengths",
]

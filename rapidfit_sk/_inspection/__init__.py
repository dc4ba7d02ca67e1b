"""Reports as values: their frames are computed from rows and predictions."""

from .data import DataReport, describe, describe_table
from .errors import ErrorReport, TextLength, compute_error_report, text_lengths
from .explanation import Explanation, explain
from .label_errors import cleanlab_version

__all__ = [
    "DataReport",
    "ErrorReport",
    "Explanation",
    "TextLength",
    "cleanlab_version",
    "compute_error_report",
    "describe",
    "describe_table",
    "explain",
    "text_lengths",
]

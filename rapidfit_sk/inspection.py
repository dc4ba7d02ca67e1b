"""Reports about data and classifiers."""

from __future__ import annotations

from ._error_report import error_report
from ._inspection import DataReport, ErrorReport, Explanation, describe, explain
from ._sharing import SharingReport, sharing_report

__all__ = [
    "DataReport",
    "ErrorReport",
    "Explanation",
    "SharingReport",
    "describe",
    "error_report",
    "explain",
    "sharing_report",
]

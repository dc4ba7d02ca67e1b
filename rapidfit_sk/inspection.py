"""Reports about data and classifiers: likely trouble, and the words that decided a prediction."""

from __future__ import annotations

from ._inspection import DataReport, Explanation, describe, explain

__all__ = ["DataReport", "Explanation", "describe", "explain"]

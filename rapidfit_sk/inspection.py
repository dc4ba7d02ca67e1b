"""Reports about data and classifiers: which words decided a prediction."""

from __future__ import annotations

from ._inspection import Explanation, explain

__all__ = ["Explanation", "explain"]

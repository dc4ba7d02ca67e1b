"""Reports about data and fitted classifiers: what is computed from rows and predictions."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]

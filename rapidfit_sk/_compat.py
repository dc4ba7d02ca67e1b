"""Differences between versions of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

try:
    from sklearn.callback import CallbackSupportMixin as _Mixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # before 1.9
    _Mixin = _with_callbacks = None
try:
    from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
except ImportError:  # before 1.7
    from sklearn.utils._estimator_html_repr import _VisualBlock as VisualBlock

_Method = TypeVar("_Method", bound=Callable)


class _NoCallbacks:
    """Replacement for scikit-learn's callback mixin before version 1.9."""


CallbackSupportMixin: Any = _Mixin or _NoCallbacks


def with_callbacks(method: _Method) -> _Method:
    """Decorate a `fit` method to call scikit-learn's callbacks, if this version has them."""
    return method if _with_callbacks is None else _with_callbacks(method)


__all__ = ["CallbackSupportMixin", "VisualBlock", "with_callbacks"]

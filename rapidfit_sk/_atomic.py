"""Methods that change an estimator: one call at a time, and all or nothing."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable)

# Attributes that fitting and loading set. Others, for example of a subclass, stay as they are.
FITTED = {
    "feature_names_in_",
    "model_",
    "n_features_in_",
    "saved_with_",
    "test_indices_",
    "test_scores_",
    "train_indices_",
    "val_indices_",
}

# The lock of each estimator. It is not an attribute, because estimators are pickled and compared.
_TURNS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads that held these locks.
    os.register_at_fork(after_in_child=_TURNS.clear)


def all_or_nothing(method: _Method) -> _Method:
    """Decorate a method that replaces the fitted attributes of an estimator.

    Calls of such methods on one estimator take turns, also from several threads. If a call raises
    any exception, the estimator has the fitted attributes that it had before.
    """

    @functools.wraps(method)
    def changed(self, *args, **kwargs):
        turn = _TURNS.setdefault(self, threading.RLock())
        # A statement on a second line could be interrupted before the lock is released.
        with turn: return _restoring(method, self, args, kwargs)  # fmt: skip # noqa: E701

    return changed  # type: ignore[return-value]


def _restoring(method, estimator, args, kwargs):
    """Call a method, and restore the fitted attributes if it raises an exception."""
    before = fitted_attributes(estimator)
    try:
        return method(estimator, *args, **kwargs)
    except BaseException:
        replace_fitted(estimator, before)
        raise


def replace_fitted(estimator: Any, attributes: dict[str, Any]):
    """Replace all fitted attributes of an estimator by `attributes`, in one assignment.

    An interruption, or another thread that reads the attributes, finds either the old ones or the
    new ones, never parts of both.
    """
    others = {name: value for name, value in vars(estimator).items() if name not in FITTED}
    estimator.__dict__ = others | attributes


def fitted_attributes(estimator: Any) -> dict[str, Any]:
    """Return a snapshot of the fitted attributes of an estimator."""
    return {name: value for name, value in vars(estimator).items() if name in FITTED}

"""Opening of the checkpoints of a fit, with a fingerprint of everything that the fit depends on."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from ._fitted import FittedModel
from ._held_out import FitRows
from ._model import module_to_parts
from ._parameters import ParameterGroup
from ._report import report
from ._rows import CodedRows
from ._training import Checkpoints, Fingerprint, Ranks
from .config import FullConfig

# Parameters of the classifier that change neither the model nor its training.
_WITHOUT_EFFECT = {
    "cache_disk",
    "cache_memory",
    "checkpoint_dir",
    "checkpoint_steps",
    "config",  # compared in full
    "keep_checkpoints",
    "label_column",
    "memory",
    "split_column",  # the validation and test rows are compared
    "task_column",
    "text_column",
    "verbose",
    "warm_start",  # the earlier model is compared
}


@contextmanager
def open_checkpoints(
    classifier: Any,
    config: FullConfig,
    given: FitRows,
    start: FittedModel | None,
) -> Iterator[Checkpoints | None]:
    """Open the checkpoints of a fit.

    Parameters
    ----------
    classifier : TextEstimator
        The classifier, with its parameters.
    config : FullConfig
        The configuration of the fit.
    given : FitRows
        All rows of the fit.
    start : FittedModel or None
        The model that a warm start continues.

    Yields
    ------
    checkpoints : Checkpoints or None
        None if `checkpoint_dir` is None.
    """
    if classifier.checkpoint_dir is None:
        yield None
        return
    fingerprint = _fingerprint(classifier, config, given, start)
    fingerprint["number of processes"] = Ranks.current().size
    # A relative path would mean another folder after a change of the working directory.
    folder = Path(os.fspath(classifier.checkpoint_dir)).absolute()
    n_steps = classifier.checkpoint_steps
    shown = report if classifier.verbose else None
    with Checkpoints.opened(folder, fingerprint, n_steps, shown) as checkpoints:
        yield checkpoints


def check_same_fit(classifier: Any, config: FullConfig, given: FitRows, start: FittedModel | None):
    """Check that all processes that train together have the same data and parameters.

    The parameters are as in :func:`open_checkpoints`.

    Raises
    ------
    ValueError
        In all processes, if something differs.
    """
    ranks = Ranks.current()
    if ranks.size == 1:
        return
    values = _fingerprint(classifier, config, given, start)
    # Each process may have a device of its own. Only the first one uses the folder.
    values.pop("device")
    values["checkpoint_dir"] = classifier.checkpoint_dir is not None
    values["checkpoint_steps"] = classifier.checkpoint_steps
    ranks.check_same(values)


def _fingerprint(
    classifier: Any, config: FullConfig, given: FitRows, start: FittedModel | None
) -> Fingerprint:
    """Return everything that a fit depends on."""
    return {
        "rapidfit_sk": sys.modules[__package__].__version__,
        "torch": str(torch.__version__),
        **_parameters(classifier, config),
        **{name: _digest_of_rows(part) for name, part in given.by_name().items()},
        "the weights of the earlier fit": _digest_of_model(start),
    }


def _parameters(classifier: ParameterGroup, config: FullConfig) -> Fingerprint:
    """Return the parameters that a fit depends on, as strings."""
    own = classifier.get_params(deep=False)
    values = {name: value for name, value in own.items() if name not in _WITHOUT_EFFECT}
    groups = clone(config).get_params(deep=True)
    values |= {
        name.replace("__", "."): value
        for name, value in groups.items()
        if not isinstance(value, ParameterGroup)
    }
    values["callbacks"] = [_describe_callback(given) for given in classifier.callbacks or ()]
    if isinstance(values["random_state"], np.random.RandomState):
        values["random_state"] = "a RandomState"
    return {name: str(value) for name, value in values.items()}


def _describe_callback(given) -> str:
    """Return the name, the class and the plain parameters of a callback."""
    name, callback = given if isinstance(given, tuple) else ("", given)
    parameters = callback.get_params(deep=False)
    plain = {
        key: value if isinstance(value, str | int | float | None) else type(value).__name__
        for key, value in parameters.items()
    }
    return f"{name} {type(callback).__name__}({plain})".strip()


def _digest_of_rows(rows: CodedRows | None) -> str | None:
    """Return a hash of all texts, tasks, labels, weights and classes of some rows."""
    if rows is None:
        return None
    digest = hashlib.sha256()
    for text in rows.texts.distinct:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    for array in (rows.texts.codes, rows.tasks, rows.labels, rows.weights):
        digest.update(np.ascontiguousarray(array).data)
    for task, classes in rows.classes.items():
        digest.update(repr((task, classes.dtype.str, classes.tolist())).encode())
    return digest.hexdigest()


def _digest_of_model(model: FittedModel | None) -> str | None:
    """Return a hash of all weights of a model, and of its temperatures."""
    if model is None:
        return None
    digest = hashlib.sha256(repr((model.tasks, model.temperatures)).encode())
    for name, array in module_to_parts(model.net.module_)["weights"].items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

"""Training of an estimator: from the rows of a fit to its fitted attributes.

Estimators import this module when they are fitted, because it imports torch, transformers and
skorch.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ._atomic import replace_fitted
from ._bridge import fit_tasks
from ._checkpointing import check_same_fit, open_checkpoints
from ._coverage import warn_of_coverage
from ._fitted import FittedModel
from ._fitting import (
    Hardware,
    Recipe,
    check_device,
    copied_callbacks,
    find_device,
    fit_calibrated,
    fit_head,
    fit_model,
    for_one_epoch,
    head_from_texts,
    with_parameters,
)
from ._held_out import FitRows, hold_out_rows
from ._model import private_seeds
from ._rows import CodedRows, Split, encode_labels, warn_of_contradictions
from ._training import Ranks
from .config import FullConfig


def check_training(estimator: Any):
    """Raise InvalidParameterError for callbacks or a device that cannot be used."""
    copied_callbacks(estimator.callbacks)
    check_device(estimator.device)


def train(
    estimator: Any, config: FullConfig, given: FitRows, start: FittedModel | None
) -> Path | None:
    """Train, replace the fitted attributes, and return the folder of the checkpoints, if any.

    Parameters
    ----------
    estimator : TextEstimator
        The estimator.
    config : FullConfig
        Its checked configuration.
    given : FitRows
        The rows.
    start : FittedModel or None
        The model that a warm start continues.
    """
    check_same_fit(estimator, config, given, start)
    if not len(given.rows):
        _start_from_texts(estimator, config, given, start)
        return None
    ranks, table = Ranks.current(), given.table
    warn_of_contradictions(table, given.rows)
    seeds = _seeds(estimator, 4)
    n_epochs = config.encoder.freeze_epochs + config.training.epochs
    tasks = fit_tasks(estimator, n_epochs, table, estimator._columns) if ranks.is_first else None
    with open_checkpoints(estimator, config, given, start) as checkpoints:
        split_seed, *seeds = seeds if checkpoints is None else checkpoints.start(seeds)
        parts = hold_out_rows(config, given, split_seed, warm_start=start is not None)
        recipe = recipe_of(
            estimator,
            _for_rows(config, given),
            seeds,
            fit_tasks=tasks,
            checkpoints=checkpoints,
        )
        fit = functools.partial(fit_model, start=start, label_texts=given.label_texts)
        model = _with_tasks(fit_calibrated(fit, recipe, parts), recipe, given.without_rows)
        warn_of_coverage(model.coverage or {}, table.task_names, model.tokenizer.max_length)
        scores = ranks.from_first(lambda: model.score(parts.test))
        estimator._show(model, scores)
        fitted = estimator._fitted_by(model, scores, given, parts.split)
        if tasks is not None:
            tasks.end_fit(fitted)
        replace_fitted(estimator, fitted)
    return checkpoints.folder if checkpoints is not None and ranks.is_first else None


def _seeds(estimator: Any, n: int) -> list[int]:
    """Derive seeds; processes that train together use those of the first one."""
    seeds = private_seeds(estimator.random_state, n)
    return Ranks.current().from_first(lambda: seeds)


def _start_from_texts(
    estimator: Any, config: FullConfig, given: FitRows, start: FittedModel | None
):
    """Build a model from label texts without training, and replace the fitted attributes."""
    recipe = recipe_of(estimator, config, _seeds(estimator, 3))
    model = _with_tasks(start, recipe, given.without_rows)
    estimator._show(model, {})
    replace_fitted(estimator, estimator._fitted_by(model, {}, given, _no_rows()))


def _with_tasks(model: FittedModel | None, recipe: Recipe, tasks: list[CodedRows]) -> FittedModel:
    """Return a model with further tasks, which label texts alone predict."""
    for label_texts in tasks:
        head = head_from_texts(recipe, label_texts, model)
        model = head if model is None else model.with_task(head)
    if model is None:
        raise ValueError("There are no rows and no label texts.")
    return model


def _for_rows(config: FullConfig, given: FitRows) -> FullConfig:
    """Return a configuration without the weights of tasks that have no rows yet."""
    without = {task for rows in given.without_rows for task in rows.classes}
    weights = config.loss.task_weights or {}
    kept = {task: weight for task, weight in weights.items() if task not in without}
    return with_parameters(config, loss__task_weights=kept) if without else config


def _no_rows() -> Split:
    return Split(*(np.empty(0, dtype=int) for _ in range(3)))


def train_epoch(estimator: Any, config: FullConfig, given: FitRows, start: FittedModel | None):
    """Train for one epoch on all rows, and replace the fitted attributes; see :func:`train`."""
    check_same_fit(estimator, config, given, start)
    n_before = len(start.net.history) if start else 0
    # Use new seeds for each epoch, because batch order and dropout must differ between epochs.
    seeds = _seeds(estimator, 3 * (n_before + 1))[-3:]
    config = _for_rows(config, given)
    recipe = recipe_of(estimator, for_one_epoch(config, n_before), seeds)
    if not len(given.rows):
        model = start
    else:
        texts = _texts_of_new_classes(given.label_texts, start)
        rows = given.rows.joined(given.helpers)
        model = fit_model(recipe, rows, start=start, label_texts=texts)
    model = _with_tasks(model, recipe, given.without_rows)
    split = _no_rows()._replace(train=np.arange(len(given.rows)))
    replace_fitted(estimator, estimator._fitted_by(model, {}, given, split))


def _texts_of_new_classes(
    label_texts: CodedRows | None, start: FittedModel | None
) -> CodedRows | None:
    """Return the texts of tasks that have not trained yet, and of new classes of the others.

    The old classes have learned from their texts in an earlier training.
    """
    if label_texts is None or start is None:
        return label_texts
    kept = np.ones(len(label_texts), dtype=bool)
    for code, (task, classes) in enumerate(label_texts.classes.items()):
        if task in start.trained_tasks:
            is_old = np.isin(label_texts.labels, encode_labels(start.classes[task], classes))
            kept &= (label_texts.tasks != code) | ~is_old
    return label_texts.take(kept) if kept.any() else None


def train_head(
    estimator: Any, config: FullConfig, given: FitRows, before: FittedModel
) -> tuple[FittedModel, dict[str, dict[str, float]]]:
    """Train one new head on the frozen encoder of a fitted model.

    Without rows, the head predicts from the texts of its labels.

    Returns
    -------
    head : FittedModel
        A model with the new task only, for :meth:`FittedModel.with_task`.
    scores : dict
        The scores of the new task on its test rows.
    """
    check_same_fit(estimator, config, given, before)
    config = with_parameters(config, encoder__unfreeze_layers=0, loss__task_weights=None)
    split_seed, *seeds = _seeds(estimator, 4)
    recipe = recipe_of(estimator, config, seeds, device=before.net.device)
    if not len(given.rows):
        return head_from_texts(recipe, given.without_rows[0], before), {}
    parts = hold_out_rows(config, given, split_seed)
    fit = functools.partial(fit_head, before, label_texts=given.label_texts)
    head = fit_calibrated(fit, recipe, parts)
    warn_of_coverage(head.coverage or {}, head.tasks, head.tokenizer.max_length)
    return head, Ranks.current().from_first(lambda: head.score(parts.test))


def recipe_of(estimator: Any, config: FullConfig, seeds, *, device=None, **options: Any) -> Recipe:
    """Return the settings of a training."""
    hardware = Hardware(
        device or find_device(estimator.device),
        estimator.precision,
        estimator.compile,
        estimator.cache_memory,
        estimator.cache_disk,
    )
    return Recipe(
        config,
        tuple(seeds),
        hardware,
        callbacks=estimator.callbacks,
        memory=estimator.memory,
        # Of the processes that train together, only the first one writes messages.
        verbose=int(estimator.verbose) if Ranks.current().is_first else 0,
        **options,
    )

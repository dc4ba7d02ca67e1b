"""The steps of `fit` between coded rows and a trained net."""

from __future__ import annotations

import os

import numpy as np
import torch
from sklearn.base import clone
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
)
from skorch.helper import predefined_split

from ._encoders import load_tokenizer, longest_input
from ._labels import CodedRows
from ._losses import inverse_frequency
from ._net import MultiheadNet
from ._prediction import text_rows
from ._splits import Split, split_rows, tasks_without
from ._tables import distinct_texts
from ._tokens import TextTokenizer
from ._validation import InvalidParameterError, suggestion, warn_user
from .callbacks import (
    EarlyStopping,
    EncoderFreezing,
    TaskSampling,
    TaskScores,
    TrainingProgress,
    WarmupCosine,
)

# --------------------------------------------------------------------------------------------
# Rows


def split_for_training(rows: CodedRows, training, seed, validation) -> Split:
    """Split rows as `training` says; with `validation` rows at hand, hold none out for that."""
    return split_rows(
        distinct_texts(rows.texts)[0],
        rows.tasks,
        rows.labels,
        test_size=training.test_size,
        val_size=training.val_size if validation is None else 0,
        rng=np.random.default_rng(seed),
    )


def warn_of_split(config, split: Split, rows: CodedRows, classes: dict, validation):
    """Say in one warning what could not be held out, and what follows from it."""
    sizes = {"test": config.training.test_size}
    given = validation is not None and not len(split.val)
    if not given:
        sizes["val"] = config.training.val_size
    notes = []
    small = set()
    for part, size in sizes.items():
        held_out = getattr(split, part)
        without = tasks_without(held_out, rows.tasks, len(classes)) if size else []
        small.update(without)
        if len(without):
            names = ", ".join(repr(list(classes)[code]) for code in without)
            notes.append(f"Too few rows for {part}_size={size}: no rows of {names} are held out.")
    shared = set(rows.texts) & set(validation.texts) if given else ()
    if shared:
        notes.append(
            f"{len(shared)} validation texts stand in X too, so that validation scores are better "
            "than they should be."
        )
    if any(sizes.values()):
        notes += _notes_on_single_rows(rows, classes, small)
    if validation is None:
        epochs = config.encoder.freeze_epochs + config.training.epochs
        notes.append(
            f"There are no validation rows: all {epochs} epochs are trained and the last weights "
            "are kept."
        )
    if notes:
        warn_user(" ".join(notes))


def _notes_on_single_rows(rows: CodedRows, classes, small):
    """Name the classes that have one row only, leaving out tasks that are small altogether."""
    names = [
        f"{classes[task][label]!r} of {task!r}"
        for code, task in enumerate(classes)
        if code not in small
        for label in np.flatnonzero(np.bincount(rows.labels[rows.tasks == code]) == 1)
    ]
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [
        "A class with a single row cannot be split, and stays in the training data: "
        f"{names[0]}{more}."
    ]


def check_task_weights(task_weights, tasks):
    """Refuse a weight for a task that the data does not have."""
    for task in task_weights or {}:
        if task not in tasks:
            known = ", ".join(repr(name) for name in tasks)
            raise ValueError(
                f"The 'task_weights' parameter of LossConfig names {task!r}, which the data does "
                f"not have.{suggestion(task, tasks)} The tasks are: {known}."
            )


# --------------------------------------------------------------------------------------------
# The net


def find_device(device) -> str:
    """Return the device to compute on."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.device(device))
    except RuntimeError as error:
        raise InvalidParameterError(
            "The 'device' parameter of MultiheadClassifier must be 'auto' or a device that torch "
            f"knows. Got {device!r} instead."
        ) from error


def make_net(config, classes: dict, train: CodedRows, seeds, device, verbose) -> MultiheadNet:
    """Translate a configuration into the parameters of the net."""
    training, loss = config.training, config.loss
    tasks = list(classes)
    n_classes = [len(classes[task]) for task in tasks]
    return MultiheadNet(
        module__model_name=os.fspath(training.model_name),
        module__n_classes=n_classes,
        module__head=config.head.get_params(),
        module__pooling=config.pooling,
        criterion__class_weights=_class_weights(loss, train, n_classes),
        criterion__task_weights=[(loss.task_weights or {}).get(task, 1.0) for task in tasks],
        criterion__label_smoothing=loss.label_smoothing,
        criterion__focal_gamma=loss.focal_gamma if loss.use_focal_loss else 0.0,
        lr=training.learning_rate,
        head_lr=training.learning_rate / config.encoder.lr_multiplier,
        weight_decay=training.weight_decay,
        batch_size=training.batch_size,
        accumulate=training.gradient_accumulation_steps,
        max_epochs=config.encoder.freeze_epochs + training.epochs,
        seeds=tuple(seeds),
        device=device,
        verbose=int(verbose),
    )


def _class_weights(loss, train, n_classes):
    if not loss.use_class_weights:
        return [np.ones(n) for n in n_classes]
    labels = [train.labels[train.tasks == task] for task in range(len(n_classes))]
    return list(map(inverse_frequency, labels, n_classes))


# Callbacks of skorch that cannot work here, and what to do instead.
_ONE_OUTPUT = (
    "it scores the one output of a net, and this one has an output per task. The scores of each "
    "task are in net_.history already; for others write a skorch Callback with on_epoch_end."
)
_REFUSED = {
    EpochScoring: _ONE_OUTPUT,
    BatchScoring: _ONE_OUTPUT,
    PassthroughScoring: _ONE_OUTPUT,
    LRScheduler: "WarmupCosine sets the learning rates at each step. Tune training.warmup_ratio, "
    "training.learning_rate and encoder.lr_multiplier.",
}


def copied_callbacks(callbacks) -> list:
    """Copy callbacks and (name, callback) pairs, so that a fit leaves the parameter alone."""
    copies = []
    for given in callbacks or []:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        if not isinstance(callback, Callback):
            raise InvalidParameterError(
                "The 'callbacks' parameter of MultiheadClassifier must be a list of skorch "
                f"callbacks or (name, callback) pairs. Got {given!r} in it instead."
            )
        for kind, reason in _REFUSED.items():
            if isinstance(callback, kind):
                raise InvalidParameterError(
                    f"The 'callbacks' parameter of MultiheadClassifier cannot hold a "
                    f"{type(callback).__name__}: {reason}"
                )
        copies.append(clone(given, safe=False))
    return copies


def make_callbacks(config, tasks, validation, extra, verbose) -> list:
    """List the callbacks of a fit, in the order in which they act."""
    encoder, training = config.encoder, config.training
    callbacks = [
        ("task_sampling", TaskSampling(config.task_sampling)),
        ("encoder_freezing", EncoderFreezing(encoder.freeze_epochs, encoder.unfreeze_layers)),
        ("learning_rate", WarmupCosine(training.warmup_ratio, encoder.freeze_epochs)),
    ]
    if training.max_grad_norm is not None:
        callbacks.append(("gradient_clipping", GradientNormClipping(training.max_grad_norm)))
    if validation is not None:
        stopping = EarlyStopping(**config.eval.get_params(), first_epoch=encoder.freeze_epochs)
        callbacks += [("task_scores", TaskScores(tasks)), ("early_stopping", stopping)]
    # After the built-in ones: at the end of training they find the best weights in place.
    callbacks += extra
    if verbose:
        callbacks.append(("progress", TrainingProgress()))
    return callbacks


def train_net(net, training, train: CodedRows, validation: CodedRows | None) -> TextTokenizer:
    """Train the net on rows whose distinct texts are tokenized once.

    Returns
    -------
    tokenizer : TextTokenizer
        What turns texts into the token ids that the net reads.
    """
    net.initialize()
    tokenizer = _make_tokenizer(training, net.module_.encoder)
    n_tasks = len(net.module_.heads)
    if validation is not None:
        held_out = text_rows(
            tokenizer, validation.texts, validation.tasks, n_tasks, validation.labels
        )
        net.train_split = predefined_split(held_out)
    net.partial_fit(text_rows(tokenizer, train.texts, train.tasks, n_tasks, train.labels))
    return tokenizer


def _make_tokenizer(training, encoder):
    tokenizer = load_tokenizer(os.fspath(training.model_name))
    longest = longest_input(encoder, tokenizer)
    if training.max_length > longest:
        raise InvalidParameterError(
            f"The 'max_length' parameter of TrainingConfig must be at most {longest}, which is "
            f"what {training.model_name!r} can read. Got {training.max_length} instead."
        )
    return TextTokenizer(tokenizer, training.max_length)

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

from ._fitted import recall_from, text_rows
from ._model import TextTokenizer, build_heads, load_tokenizer, longest_input
from ._rows import (
    CodedRows,
    Split,
    distinct_texts,
    encode_labels,
    fit_temperatures,
    hold_out,
    split_rows,
    tasks_without,
)
from ._training import Kept, MultiheadNet, inverse_frequency, open_store
from ._validation import IN_FOLDS, InvalidParameterError, suggestion, warn_user
from .callbacks import (
    EarlyStopping,
    EncoderFreezing,
    LinearProbe,
    TaskSampling,
    TaskScores,
    Temperatures,
    TrainingProgress,
    WarmupCosine,
)

# --------------------------------------------------------------------------------------------
# Rows


# Rows below which none are held out for validation, unless that is asked for.
FEW_ROWS = 2000
# Share of such rows that a first training goes without, to calibrate on.
REHEARSAL_SIZE = 0.25


def settle_val_size(config, n_rows):
    """Put 0.1 in the place of a `val_size` of None, but where rows are few and all to train."""
    training = config.training
    is_small = n_rows * (1 - training.test_size) < FEW_ROWS
    if training.val_size is None and not (is_small and config.eval.patience is None):
        training.val_size = 0.1


def split_for_training(rows: CodedRows, training, seed, validation) -> Split:
    """Split rows as `training` says; with `validation` rows at hand, hold none out for that."""
    return split_rows(
        distinct_texts(rows.texts)[0],
        rows.tasks,
        rows.labels,
        test_size=training.test_size,
        val_size=(training.val_size or 0) if validation is None else 0,
        rng=np.random.default_rng(seed),
    )


def warn_of_split(config, split: Split, rows: CodedRows, classes: dict, validation):
    """Say in one warning what could not be held out, and what follows from it."""
    sizes = {"test": config.training.test_size}
    given = validation is not None and not len(split.val)
    if not given:
        sizes["val"] = config.training.val_size or 0
    notes = []
    small = set()
    for part, size in sizes.items():
        held_out = getattr(split, part)
        without = tasks_without(held_out, rows.tasks, len(classes)) if size else []
        # Tasks of an earlier training may have no rows now.
        without = np.intersect1d(without, rows.tasks).astype(int)
        small.update(without.tolist())
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
    if validation is None and (sizes["val"] or config.eval.patience is not None):
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
                f"not have.{suggestion(task, tasks)} The tasks are: {known}. {IN_FOLDS}"
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


def make_net(config, classes: dict, train: CodedRows, seeds, machine, **module):
    """Translate a configuration into the parameters of the net.

    Parameters
    ----------
    config : MultiheadConfig
        A full configuration.
    classes : dict of {str: ndarray}
        The classes of each task.
    train : CodedRows
        The training rows, for the class weights.
    seeds : list of int
        See :class:`MultiheadNet`.
    machine : dict
        The parameters of the classifier that say how to compute, but not what.
    **module : dict
        Parameters of the net that replace those of a module built from nothing.
    """
    training, loss = config.training, config.loss
    tasks = list(classes)
    n_classes = [len(classes[task]) for task in tasks]
    module = module or {
        "module__model_name": os.fspath(training.model_name),
        "module__pooling": config.pooling,
        "module__head": config.head._layout(),
        "module__precision": machine["precision"],
        "module__compile": machine["compile"],
    }
    return MultiheadNet(
        **module,
        device=machine["device"],
        cache_memory=machine["cache_memory"],
        cache_disk=machine["cache_disk"],
        verbose=machine["verbose"],
        module__n_classes=n_classes,
        criterion__class_weights=_class_weights(loss, train, n_classes),
        criterion__task_weights=[(loss.task_weights or {}).get(task, 1.0) for task in tasks],
        criterion__label_smoothing=loss.label_smoothing,
        criterion__focal_gamma=loss.focal_gamma if loss.use_focal_loss else 0.0,
        lr=training.learning_rate,
        head_lr=training.learning_rate / config.encoder.lr_multiplier,
        weight_decay=training.weight_decay,
        batch_size=training.batch_size,
        accumulate=training.gradient_accumulation_steps,
        min_steps=training.min_steps_per_epoch,
        max_epochs=config.encoder.freeze_epochs + training.epochs,
        gradient_checkpointing=training.gradient_checkpointing,
        seeds=tuple(seeds),
    )


def _class_weights(loss, train, n_classes):
    if not loss.use_class_weights:
        return [np.ones(n) for n in n_classes]
    rows = [train.take(train.tasks == task) for task in range(len(n_classes))]
    return [
        inverse_frequency(part.labels, part.weights, n)
        for part, n in zip(rows, n_classes, strict=True)
    ]


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


def make_callbacks(config, tasks, new_tasks, validation, extra, verbose) -> list:
    """List the callbacks of a fit, in the order in which they act."""
    encoder, training = config.encoder, config.training
    callbacks = []
    if config.head.init == "probe":
        # Before the freezing ends: where the encoder is frozen, embeddings are at hand.
        heads = [code for code, task in enumerate(tasks) if task in new_tasks]
        callbacks.append(("linear_probe", LinearProbe(heads)))
    callbacks += [
        # Before the sampling: batches are of a length where the encoder reads them.
        ("encoder_freezing", EncoderFreezing(encoder.freeze_epochs, encoder.unfreeze_layers)),
        ("task_sampling", TaskSampling(config.task_sampling)),
        ("learning_rate", WarmupCosine(training.warmup_ratio, encoder.freeze_epochs)),
    ]
    if training.max_grad_norm is not None:
        callbacks.append(("gradient_clipping", GradientNormClipping(training.max_grad_norm)))
    if validation is not None:
        choice = {k: v for k, v in config.eval.get_params().items() if k != "calibrate"}
        stopping = EarlyStopping(**choice, first_epoch=encoder.freeze_epochs)
        callbacks += [("task_scores", TaskScores(tasks)), ("early_stopping", stopping)]
        if config.eval.calibrate:
            callbacks.append(("temperatures", Temperatures(tasks)))
    # After the built-in ones: at the end of training they find the best weights in place.
    callbacks += extra
    if verbose:
        callbacks.append(("progress", TrainingProgress()))
    return callbacks


def train_net(net, tokenizer, train: CodedRows, validation: CodedRows | None, memory=None):
    """Train an initialized net on rows whose distinct texts are tokenized once, if at all.

    With a memory, the encoder reads only what it has not read before in the state that it is in.
    """
    n_thaws = len(net.module_.thaws)
    store = open_store(memory, net.module_, tokenizer)
    net.recall_ = recall_from(store, net, tokenizer)
    n_tasks = len(net.module_.heads)
    if validation is not None:
        net.train_split = predefined_split(text_rows(tokenizer, validation, n_tasks))
    net.partial_fit(text_rows(tokenizer, train, n_tasks))
    if len(net.module_.thaws) == n_thaws:
        net.store_, net.as_stored_ = store, Kept(None, net.module_)


def is_to_rehearse(config, validation) -> bool:
    """Say whether temperatures are wanted, and no rows are set aside for them.

    A `val_size` that is still None after :func:`settle_val_size` says that all rows train.
    """
    return config.eval.calibrate and config.training.val_size is None and validation is None


def ran_its_course(net) -> bool:
    """Say whether no callback has stopped the training of a net before its last epoch."""
    return len(net.history) == net.max_epochs


def rows_to_ask(rows: CodedRows, seed) -> np.ndarray:
    """Say which rows a rehearsal goes without, to be asked about them: a quarter, where it can."""
    texts, rng = distinct_texts(rows.texts)[0], np.random.default_rng(seed)
    return hold_out(texts, rows.tasks, rows.labels, REHEARSAL_SIZE, rng)


def temperatures_from(logits, asked: CodedRows) -> list[float]:
    """Fit the temperature of each task on its logits of rows that did not train.

    A task without such rows has what the others have in common.
    """
    of_tasks = [asked.take(asked.tasks == task) for task in range(len(logits))]
    parts = zip(logits, of_tasks, strict=True)
    return fit_temperatures([(z, part.labels, part.weights) for z, part in parts])


def temperatures_of(net, tasks) -> dict[str, float]:
    """Return the temperatures in the epoch whose weights were kept, where they were fitted."""
    stopping = dict(net.callbacks_).get("early_stopping")
    if stopping is None or stopping.best_epoch_ is None:
        return {}
    kept = net.history[stopping.best_epoch_]
    names = {task: f"temperature/{task}" for task in tasks}
    return {task: kept[name] for task, name in names.items() if name in kept}


def make_tokenizer(training, encoder, tokenizer=None) -> TextTokenizer:
    """Say how texts become the token ids that the encoder reads.

    Parameters
    ----------
    training : TrainingConfig
        Has the name of the encoder and the length.
    encoder : torch.nn.Module
        The encoder.
    tokenizer : transformers.PreTrainedTokenizerBase or None
        Its tokenizer; None to load it by name.
    """
    tokenizer = tokenizer or load_tokenizer(os.fspath(training.model_name))
    longest = longest_input(encoder, tokenizer)
    if training.max_length > longest:
        raise InvalidParameterError(
            f"The 'max_length' parameter of TrainingConfig must be at most {longest}, which is "
            f"what {training.model_name!r} can read. Got {training.max_length} instead."
        )
    return TextTokenizer(tokenizer, training.max_length, training.long_text)


# --------------------------------------------------------------------------------------------
# Going on from an earlier training


def one_epoch(config, n_epochs_before):
    """Return a configuration of one epoch on all rows.

    The epochs in which only the heads train are counted over all trainings.
    """
    heads_alone = n_epochs_before < config.encoder.freeze_epochs
    config.encoder.freeze_epochs, config.training.epochs = (1, 0) if heads_alone else (0, 1)
    config.training.test_size = config.training.val_size = 0
    # Rows that come a few at a time are each seen once.
    config.training.min_steps_per_epoch = 1
    return config


def go_on_from(net, former, former_classes, classes):
    """Have a net start from the weights of an earlier one, whose tasks and classes it keeps.

    Raises
    ------
    ValueError
        If a parameter that shapes the module is not what it was.
    """
    before, now = former.get_params_for("module"), net.get_params_for("module")
    for name in ("model_name", "pooling", "head"):
        if before[name] != now[name]:
            raise ValueError(
                f"Training cannot go on from the fitted weights: {name!r} was {before[name]!r} in "
                f"fit and is {now[name]!r} now. Set it back, or fit with warm_start=False."
            )
    places = [encode_labels(old, classes[task]) for task, old in former_classes.items()]
    net.go_on_from(former.module_, places)


def heads_on(net) -> dict:
    """Return the parameters of a net that trains new heads on the encoder of another one."""
    own = net.get_params_for("module")
    return {
        "module": build_heads,
        "module__encoder": net.module_.encoder,
        "module__pooling": own["pooling"],
        "module__head": own["head"],
        "module__precision": net.module_.precision,
    }

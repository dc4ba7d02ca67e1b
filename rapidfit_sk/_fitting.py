"""Training of a fitted model on coded rows, with the settings in a `Recipe`."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
)
from transformers import PreTrainedModel

from ._bridge import FitTasks
from ._coverage import coverage_of
from ._fitted import FittedModel, LabelTextsOfTask
from ._forks import computes
from ._held_out import Parts
from ._history import last_training, n_trainings, numbered
from ._label_heads import in_full, label_texts_of, set_heads_without_rows
from ._model import (
    TextTokenizer,
    build_heads,
    input_length,
    is_causal,
    load_tokenizer,
    longest_input,
    twin_of,
)
from ._report import report
from ._rows import CodedRows, encode_labels, hold_out, score_table
from ._training import (
    Calibration,
    Callbacks,
    Checkpoints,
    MultiheadNet,
    Ranks,
    TextRows,
    inverse_frequency,
    open_cache,
)
from ._typing import MemoryLike
from ._validation import IN_FOLDS, InvalidParameterError, listed, short, suggestion
from .callbacks import (
    EarlyStopping,
    EncoderFreezing,
    LabelTexts,
    LinearProbe,
    LoraAdapters,
    TaskSampling,
    TaskScores,
    Temperatures,
    TrainingProgress,
    WarmupCosine,
)
from .config import FullConfig, LossConfig, TrainingConfig

# Share of the training rows that a calibration fit leaves out, to calibrate on.
CALIBRATION_SIZE = 0.25


@dataclass(frozen=True)
class Hardware:
    """Device, precision and cache limits of a training.

    Attributes
    ----------
    device : str
        The device to compute on.
    precision : {"float32", "bfloat16", "auto"}
        The precision of matrix multiplications in the encoder.
    compile : bool
        Whether the encoder is compiled for passes without gradients.
    cache_memory, cache_disk : int or float
        The most that cached hidden states may take: a number of bytes as an int, or as a float a
        share of the free space.
    """

    device: str
    precision: str
    compile: bool
    cache_memory: float
    cache_disk: float


@dataclass(frozen=True, eq=False)
class Recipe:
    """Settings of one training.

    A training also depends on its rows and, in a warm start, on an earlier model. Training never
    modifies a field.

    Attributes
    ----------
    config : FullConfig
        The configuration.
    seeds : tuple of int
        Seeds for initialization, dropout and batch order.
    hardware : Hardware
        Device, precision and cache limits.
    callbacks : list or None, default=None
        The user's callbacks. Each training uses copies of them.
    fit_tasks : FitTasks or None, default=None
        Reports the fit and its epochs to scikit-learn's callbacks.
    memory : str, path-like, joblib.Memory or None, default=None
        The location of the embedding cache.
    checkpoints : Checkpoints or None, default=None
        Stores the state of the trainings.
    verbose : int, default=0
        If 1 or more, progress is shown; if 2 or more, with more details.
    title : str, default="training"
        The name of the training in messages about its progress.
    """

    config: FullConfig
    seeds: tuple[int, ...]
    hardware: Hardware
    callbacks: Callbacks | None = None
    fit_tasks: FitTasks | None = None
    memory: MemoryLike | None = None
    checkpoints: Checkpoints | None = None
    verbose: int = 0
    title: str = "training"

    def silent(self) -> Recipe:
        """Return a copy of the recipe without callbacks and without verbose output."""
        return replace(self, callbacks=None, fit_tasks=None, verbose=0)

    def for_calibration(self) -> Recipe:
        """Return a copy of the recipe for a calibration fit, whose progress is shown, too."""
        return replace(self.silent(), verbose=self.verbose, title="calibration")


def with_parameters(config: FullConfig, **parameters: Any) -> FullConfig:
    """Return a copy of a configuration with some parameters changed."""
    return clone(config).set_params(**parameters)


def for_one_epoch(config: FullConfig, n_epochs_before: int) -> FullConfig:
    """Return a copy of a configuration that trains for one epoch on all rows.

    Head-only epochs are counted over all trainings, so `n_epochs_before` decides whether this
    epoch is one of them.
    """
    heads_alone = n_epochs_before < config.encoder.freeze_epochs
    return with_parameters(
        config,
        encoder__freeze_epochs=int(heads_alone),
        training__epochs=int(not heads_alone),
        training__test_size=0,
        training__val_size=0,
        # Each call uses its rows once, even if this makes fewer steps than usual.
        training__min_steps_per_epoch=1,
    )


@contextlib.contextmanager
def own_modes() -> Iterator[None]:
    """Context in which torch has its default modes in this thread, whatever the user has set.

    Raises
    ------
    RuntimeError
        If the default dtype of torch is not float32. It belongs to the whole process, so it cannot
        be set for one thread.
    """
    if torch.get_default_dtype() != torch.float32:
        raise RuntimeError(
            f"torch's default dtype is {torch.get_default_dtype()}, but a classifier is trained in "
            "float32. Call torch.set_default_dtype(torch.float32) before."
        )
    with contextlib.ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            modes.enter_context(torch.autocast(device, enabled=False))
        yield


# --------------------------------------------------------------------------------------------
# Trainings


@computes
@own_modes()
def fit_model(
    recipe: Recipe,
    rows: CodedRows,
    validation: CodedRows | None = None,
    start: FittedModel | None = None,
    label_texts: CodedRows | None = None,
) -> FittedModel:
    """Train an encoder with one head per task.

    Parameters
    ----------
    recipe : Recipe
        The settings of the training.
    rows : CodedRows
        The training rows.
    validation : CodedRows or None, default=None
        The validation rows.
    start : FittedModel or None, default=None
        An earlier model to start from. The tasks of `rows` begin with its tasks.
    label_texts : CodedRows or None, default=None
        Label texts, which train along as far as they describe the rows.

    Returns
    -------
    model : FittedModel
        A new model; `start` does not change.

    Raises
    ------
    ValueError
        If the configuration has a weight for a task that is not in the rows, specifies another
        module than `start` has, or does not suit the encoder.
    """
    if recipe.fit_tasks is not None:
        recipe.fit_tasks.begin_fit()
    _check_task_weights(recipe.config.loss.task_weights, list(rows.classes))
    net = _new_net(recipe, rows, validation, start, label_texts)
    if start is not None:
        _start_from(net, start, rows.classes)
    model = _untrained(net, recipe, rows, start)
    if recipe.fit_tasks is not None:
        recipe.fit_tasks.follow(model)
    model = _train_net(model, recipe, rows, validation, start, label_texts)
    set_heads_without_rows(model)
    if start is not None:
        net.prepend_history(start.net)
    return model


def _untrained(
    net: MultiheadNet, recipe: Recipe, rows: CodedRows, start: FittedModel | None = None
) -> FittedModel:
    """Initialize a net and return a model of it, with a temperature of 1 for each task."""
    net.initialize()
    tokenizer = _make_tokenizer(recipe.config.training, net.module_.encoder, start)
    if start is None:
        _check_pooling(recipe.config, net.module_.encoder, tokenizer)
    return FittedModel(net, tokenizer, rows.classes, dict.fromkeys(rows.classes, 1.0))


@computes
@own_modes()
def fit_head(
    model: FittedModel,
    recipe: Recipe,
    rows: CodedRows,
    validation: CodedRows | None = None,
    label_texts: CodedRows | None = None,
) -> FittedModel:
    """Train one new head on the frozen encoder of a model.

    Parameters
    ----------
    model : FittedModel
        The model with the encoder. It does not change.
    recipe, rows, validation, label_texts
        As in :func:`fit_model`, with rows of one task.

    Returns
    -------
    model : FittedModel
        A model with the new task only. Pass it to :meth:`FittedModel.with_task`.

    Raises
    ------
    ValueError
        If a callback changed the encoder, which the new head then does not fit.
    """
    encoder = model.net.module_.encoder
    # A callback may write to the weights; without callbacks, nothing does.
    encoder = copy.deepcopy(encoder) if recipe.callbacks else twin_of(encoder)
    heads = _heads_on(model.net, encoder)
    net = _new_net(recipe, rows, validation, None, label_texts, **heads).initialize()
    head = FittedModel(net, model.tokenizer, rows.classes, dict.fromkeys(rows.classes, 1.0))
    head = _train_net(head, recipe, rows, validation, None, label_texts)
    if recipe.callbacks and not _same_weights(encoder, model.net.module_.encoder):
        raise ValueError(
            "A callback changed the encoder, but add_task trains the new head only. Remove the "
            "callback from 'callbacks', or use partial_fit, which may train the encoder."
        )
    return head


@computes
@own_modes()
def head_from_texts(
    recipe: Recipe, label_texts: CodedRows, model: FittedModel | None = None
) -> FittedModel:
    """Build a head that predicts from label texts alone, without training.

    The logits of a text are :data:`SCALE` times its cosine similarities to the texts of the labels.

    Parameters
    ----------
    recipe : Recipe
        The settings.
    label_texts : CodedRows
        The texts of the labels of one task.
    model : FittedModel or None, default=None
        A model whose encoder the head is for; None for the pretrained encoder.

    Returns
    -------
    model : FittedModel
        A model with this task only. A class without a text is never predicted.
    """
    recipe = recipe.silent()
    if model is None:
        found = _untrained(_new_net(recipe, label_texts, None, None), recipe, label_texts)
    else:
        heads = _heads_on(model.net, twin_of(model.net.module_.encoder))
        net = _new_net(recipe, label_texts, None, None, **heads).initialize()
        ones = dict.fromkeys(label_texts.classes, 1.0)
        found = FittedModel(net, model.tokenizer, label_texts.classes, ones)
    texts = LabelTextsOfTask.of_tasks(label_texts, in_full(label_texts, [0]))
    found = replace(found, label_texts=texts, n_rows=dict.fromkeys(found.tasks, 0))
    set_heads_without_rows(found)
    return found


def fit_calibrated(
    fit: Callable[[Recipe, CodedRows, CodedRows | None], FittedModel], recipe: Recipe, parts: Parts
) -> FittedModel:
    """Train on the training rows and calibrate the probabilities.

    If there are validation rows, temperatures are fitted on them during the training. Otherwise, a
    calibration fit, if it is needed, trains on three quarters of the training rows. The logits of
    the other quarter determine the temperatures of the model that trains on all rows.

    Parameters
    ----------
    fit : callable
        Takes a recipe, training rows and validation rows, and returns a model, like
        :func:`fit_model`.
    recipe : Recipe
        The settings of the training.
    parts : Parts
        The training and validation rows, and whether a calibration fit is needed.

    Returns
    -------
    model : FittedModel
        The model. If a callback stopped its training early, the temperatures of the calibration
        fit are not used.
    """
    checkpoints = recipe.checkpoints
    calibration = None if checkpoints is None else checkpoints.calibration
    if calibration is None:
        calibration = _calibration_of(fit, recipe, parts)
        if checkpoints is not None:
            checkpoints.finish_calibration(calibration)
    model = fit(recipe, parts.train.joined(parts.helpers), parts.validation)
    epochs = numbered(calibration.history, n_trainings(model.net.history))
    model = replace(model, calibration_history=[*(model.calibration_history or []), *epochs])
    completed = len(model.net.history) == model.net.max_epochs
    return model.with_temperatures(calibration.temperatures) if completed else model


def _calibration_of(
    fit: Callable[[Recipe, CodedRows, CodedRows | None], FittedModel], recipe: Recipe, parts: Parts
) -> Calibration:
    """Return the temperatures of the tasks that train, and the history of the calibration fit."""
    rows = parts.train
    if not parts.needs_calibration_fit:
        return Calibration({}, [])
    rng = np.random.default_rng(recipe.seeds[2])
    held_out = hold_out(rows.texts.groups, rows.tasks, rows.labels, CALIBRATION_SIZE, rng)
    if not held_out.any():
        return Calibration({}, [])
    if recipe.verbose:
        report("Calibrating: training once on three quarters of the rows first.")
    calibration = rows.take(held_out)
    helpers = None if parts.helpers is None else parts.helpers.without_texts_of(calibration)
    first = fit(recipe.for_calibration(), rows.take(~held_out).joined(helpers), None)
    temperatures = Ranks.current().from_first(
        lambda: first.fit_temperatures(calibration).temperatures
    )
    trained = {first.tasks[code] for code in np.unique(rows.tasks)}
    own = {task: t for task, t in temperatures.items() if task in trained}
    return Calibration(own, last_training(first.net.history))


def _train_net(
    model: FittedModel,
    recipe: Recipe,
    rows: CodedRows,
    validation: CodedRows | None,
    start: FittedModel | None,
    label_texts: CodedRows | None,
) -> FittedModel:
    """Train the net of a model on some rows, and on label texts.

    A distinct text is tokenized at most once. With an embedding cache, the frozen encoder only
    encodes texts whose embeddings are not cached yet.
    """
    net, tokenizer = model.net, model.tokenizer
    encode = functools.partial(net.embed_texts, tokenizer)
    # Of the processes that train together, only the first one uses the embedding cache.
    location = recipe.memory if Ranks.current().is_first else None
    memory = open_cache(location, net.module_, tokenizer, encode)
    held_out = None if validation is None else TextRows.of(validation, tokenizer)
    training = TextRows.of(rows, tokenizer, label_texts)
    earlier = {} if start is None else start.coverage or {}
    coverage = earlier | coverage_of(rows, training.tokens)
    net.partial_fit(
        training,
        validation=held_out,
        memory=memory,
        checkpoints=recipe.checkpoints,
    )
    temperatures = _temperatures_of_earlier_fit(start, recipe) | _temperatures_of(net, rows)
    # The cache has embeddings of the encoder before training. Drop it if they are no longer valid.
    is_known = memory is not None and not memory.is_stale()
    return replace(
        model.with_temperatures(temperatures),
        coverage=coverage,
        memory=memory if is_known else None,
        label_texts=label_texts_of(net, rows, label_texts, start),
        n_rows=_n_rows_of(rows, start),
        calibration_history=None if start is None else start.calibration_history,
    )


def _n_rows_of(rows: CodedRows, start: FittedModel | None) -> dict[str, int]:
    """Return the number of rows that each head has trained on, if it is known."""
    counts = np.bincount(rows.tasks, minlength=len(rows.classes)).tolist()
    before = {} if start is None else start.n_rows or {}
    new = set(rows.classes).difference(() if start is None else start.classes)
    return {
        task: n + before.get(task, 0)
        for task, n in zip(rows.classes, counts, strict=True)
        if task in new or task in before
    }


def _temperatures_of_earlier_fit(start: FittedModel | None, recipe: Recipe) -> dict[str, float]:
    """Return the temperatures of an earlier model.

    They are usually better than 1 for tasks without new calibration rows, because the scale of
    logits changes little in a short training.
    """
    return {} if start is None or not recipe.config.eval.calibrate else start.temperatures


def _temperatures_of(net: MultiheadNet, rows: CodedRows) -> dict[str, float]:
    """Return the temperatures from the epoch whose weights were restored, if there are any."""
    stopping = dict(net.callbacks_).get("early_stopping")
    if stopping is None or stopping.best_epoch_ is None:
        return {}
    kept = net.history[stopping.best_epoch_]
    names = {task: f"temperature/{task}" for task in rows.classes}
    return {task: kept[name] for task, name in names.items() if name in kept}


def describe_scores(model: FittedModel, test_scores: dict[str, dict[str, float]]) -> str:
    """Return a table of the scores after a training.

    Parameters
    ----------
    model : FittedModel
        The trained model.
    test_scores : dict
        The scores of each task on the test rows.

    Returns
    -------
    table : str
        The scores on the test rows. If there are none, the scores on the validation rows in the
        epoch whose weights were kept.
    """
    untrained = [task for task in model.tasks if task not in model.trained_tasks]
    notes = [f"{short(task)} has no rows: label texts predict it." for task in untrained]
    return "\n".join([*_shown_scores(model, test_scores), *notes])


def _shown_scores(model: FittedModel, test_scores: dict[str, dict[str, float]]) -> list[str]:
    if test_scores:
        return [score_table("Scores on the test rows", test_scores)]
    if not model.net.history:
        return []
    kept = _kept_epoch(model.net)
    if kept is None:
        return ["No rows were held out, so there are no scores."]
    number, scores = kept
    title = f"Scores on the validation rows after epoch {number}, whose weights were kept"
    return [score_table(title, scores)]


def _kept_epoch(net: MultiheadNet) -> tuple[int, dict[str, dict[str, float]]] | None:
    """Return the number, from 1, and the validation scores of the epoch whose weights were kept."""
    callbacks = dict(net.callbacks_)
    stopping, scoring = callbacks.get("early_stopping"), callbacks.get("task_scores")
    if stopping is None or scoring is None or stopping.best_epoch_ is None:
        return None
    # After a warm start, the history begins with the epochs of the earlier fit.
    epoch = net.history[stopping.best_epoch_ - net.epoch_ - 1]
    scores = {
        task: {
            "accuracy": epoch[f"valid_accuracy/{task}"],
            "f1": epoch[f"valid_f1/{task}"],
            "n_rows": n_rows,
        }
        for task, n_rows in scoring.n_rows_.items()
    }
    return stopping.best_epoch_ + 1, scores


# --------------------------------------------------------------------------------------------
# The net


def find_device(device: str | torch.device) -> str:
    """Return the name of the device to compute on."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.device(device))
    except RuntimeError as error:
        raise _bad_device(device, error) from error


def check_device(device: str | torch.device):
    """Raise InvalidParameterError unless this machine can train on a device."""
    name = find_device(device)
    if name.startswith("meta"):
        raise _bad_device(device, "it stores no values")
    try:
        torch.empty(0, device=name)
    # torch raises AssertionError if it was built without CUDA.
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise _bad_device(device, error) from error


def _bad_device(device, reason) -> InvalidParameterError:
    first, *_ = str(reason).splitlines() or [type(reason).__name__]
    return InvalidParameterError(
        "The 'device' parameter must be 'auto' or a torch device of this "
        f"machine. Got {short(str(device))} instead: {first.rstrip('.')}."
    )


def _new_net(
    recipe: Recipe,
    rows: CodedRows,
    validation: CodedRows | None,
    start: FittedModel | None,
    label_texts: CodedRows | None = None,
    **module: Any,
) -> MultiheadNet:
    """Build the net for a recipe.

    Parameters
    ----------
    recipe, rows, validation, start, label_texts
        As in :func:`fit_model`.
    **module : dict
        Net parameters for the module. By default, the module is built from the configuration.
    """
    config, hardware = recipe.config, recipe.hardware
    training, n_classes = config.training, [len(labels) for labels in rows.classes.values()]
    return MultiheadNet(
        **(module or _module_parameters(config, hardware)),
        **_loss_parameters(config.loss, _with_missing_classes(rows, label_texts)),
        module__n_classes=n_classes,
        device=hardware.device,
        cache_memory=hardware.cache_memory,
        cache_disk=hardware.cache_disk,
        verbose=recipe.verbose,
        callbacks=_make_callbacks(recipe, list(rows.classes), validation, start, label_texts),
        lr=training.learning_rate,
        head_lr=training.learning_rate / config.encoder.lr_multiplier,
        weight_decay=training.weight_decay,
        batch_size=training.batch_size,
        accumulate=training.gradient_accumulation_steps,
        min_steps=training.min_steps_per_epoch,
        max_epochs=config.encoder.freeze_epochs + training.epochs,
        gradient_checkpointing=training.gradient_checkpointing,
        seeds=recipe.seeds,
    )


def _module_parameters(config: FullConfig, hardware: Hardware) -> dict[str, Any]:
    return {
        "module__model_name": os.fspath(config.training.model_name),
        "module__pooling": config.pooling,
        "module__head": config.head._layout(),
        "module__precision": hardware.precision,
        "module__compile": hardware.compile,
    }


def _same_weights(encoder: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(encoder.parameters(), other.parameters(), strict=True)
    return all(torch.equal(one, another) for one, another in pairs)


def _heads_on(net: MultiheadNet, encoder: PreTrainedModel) -> dict[str, Any]:
    """Return the parameters of a module with new heads, like those of `net`, on an encoder."""
    own = net.get_params_for("module")
    return {
        "module": build_heads,
        "module__encoder": encoder,
        "module__pooling": own["pooling"],
        "module__head": own["head"],
        "module__precision": net.module_.precision,
    }


def _loss_parameters(loss: LossConfig, rows: CodedRows) -> dict[str, Any]:
    weights = loss.task_weights or {}
    return {
        "criterion__class_weights": _class_weights(loss, rows),
        "criterion__task_weights": [weights.get(task, 1.0) for task in rows.classes],
        "criterion__label_smoothing": loss.label_smoothing,
        "criterion__focal_gamma": loss.focal_gamma if loss.use_focal_loss else 0.0,
    }


def _class_weights(loss: LossConfig, rows: CodedRows) -> list[np.ndarray]:
    sizes = [len(classes) for classes in rows.classes.values()]
    if not loss.use_class_weights:
        return [np.ones(n) for n in sizes]
    of_tasks = [rows.tasks == task for task in range(len(sizes))]
    return [
        inverse_frequency(rows.labels[of_task], rows.weights[of_task], n)
        for of_task, n in zip(of_tasks, sizes, strict=True)
    ]


def _with_missing_classes(rows: CodedRows, label_texts: CodedRows | None) -> CodedRows:
    """Return rows with the texts of those labels that no row has."""
    if label_texts is None:
        return rows
    present = set(_pairs(rows))
    missing = np.array([pair not in present for pair in _pairs(label_texts)])
    return rows.joined(label_texts.take(missing)) if missing.any() else rows


def _pairs(rows: CodedRows) -> list[tuple[int, int]]:
    """Return the codes of the task and the label of each row."""
    return list(zip(rows.tasks.tolist(), rows.labels.tolist(), strict=True))


def _start_from(net: MultiheadNet, start: FittedModel, classes: dict[str, np.ndarray]):
    """Set a net to start from the weights of an earlier model, with its tasks and classes.

    Raises
    ------
    ValueError
        If a parameter of the module differs from the earlier model.
    """
    before, now = start.net.get_params_for("module"), net.get_params_for("module")
    for name in ("model_name", "pooling", "head"):
        if before[name] != now[name]:
            raise ValueError(
                f"Training cannot start from the fitted weights: {name!r} was {before[name]!r} in "
                f"the earlier fit and is {now[name]!r} now. Set it back, or fit with "
                "warm_start=False."
            )
    places = [encode_labels(old, classes[task]) for task, old in start.classes.items()]
    net.warm_start_from(start.net.module_, places)


# skorch callbacks that cannot work with this net, each with the reason and an alternative.
_ONE_OUTPUT = (
    "they score a net with a single output, but this net has one output per task. Its history "
    "(net_.history) contains scores of each task. For other scores, write a skorch Callback with "
    "an on_epoch_end method."
)
_REFUSED = {
    EpochScoring: _ONE_OUTPUT,
    BatchScoring: _ONE_OUTPUT,
    PassthroughScoring: _ONE_OUTPUT,
    LRScheduler: "WarmupCosine sets the learning rates at each step. Tune training.warmup_ratio, "
    "training.learning_rate and encoder.lr_multiplier instead.",
}


def copied_callbacks(callbacks: Callbacks | None) -> Callbacks:
    """Check and copy callbacks and (name, callback) pairs, because a fit must not change them."""
    copies = []
    for given in callbacks or []:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        named = callback is given or isinstance(given[0], str)
        if not isinstance(callback, Callback) or not named:
            raise InvalidParameterError(
                "The 'callbacks' parameter must be a list of skorch "
                f"callbacks or (name, callback) pairs. Got {short(given)} in the list instead."
            )
        if isinstance(callback, Checkpoint) and callback.load_best:
            raise InvalidParameterError(
                "The 'callbacks' parameter must not contain a Checkpoint "
                "with load_best=True. With validation rows (training.val_size or X_val), a fit "
                "keeps the weights of its best epoch without it."
            )
        for kind, reason in _REFUSED.items():
            if isinstance(callback, kind):
                raise InvalidParameterError(
                    f"The 'callbacks' parameter must not contain "
                    f"{type(callback).__name__} callbacks: {reason}"
                )
        copies.append(clone(given, safe=False))
    return copies


def _make_callbacks(
    recipe: Recipe,
    tasks: list[str],
    validation: CodedRows | None,
    start: FittedModel | None,
    label_texts: CodedRows | None,
) -> Callbacks:
    """Return the callbacks of a fit in the order in which they run."""
    config = recipe.config
    encoder, training = config.encoder, config.training
    callbacks: Callbacks = []
    # These two run before "encoder_freezing", because they need embeddings of the frozen encoder.
    if label_texts is not None:
        callbacks.append(("label_texts", LabelTexts()))
    if config.head.init == "probe":
        trained = [] if start is None else start.trained_tasks
        heads = [code for code, task in enumerate(tasks) if task not in trained]
        callbacks.append(("linear_probe", LinearProbe(heads)))
    callbacks += [
        # Runs before "task_sampling", which sorts texts by length only if encoder layers run.
        ("encoder_freezing", EncoderFreezing(encoder.freeze_epochs, encoder.unfreeze_layers)),
        ("task_sampling", TaskSampling(config.task_sampling)),
        ("learning_rate", WarmupCosine(training.warmup_ratio, encoder.freeze_epochs)),
    ]
    if training.max_grad_norm is not None:
        callbacks.append(("gradient_clipping", GradientNormClipping(training.max_grad_norm)))
    if validation is not None:
        callbacks += _validation_callbacks(config, tasks)
    # They run after the built-in ones, so the best weights are restored before their on_train_end.
    callbacks += copied_callbacks(recipe.callbacks)
    if encoder.adapter == "lora" and encoder.unfreeze_layers != 0:
        # They are merged after all callbacks that may restore the adapters of an earlier epoch.
        callbacks.append(("adapters", LoraAdapters(encoder.unfreeze_layers)))
    if recipe.fit_tasks is not None:
        callbacks.append(("scikit_learn", recipe.fit_tasks))
    if recipe.verbose:
        callbacks.append(("progress", TrainingProgress(recipe.verbose, recipe.title)))
    return callbacks


def _validation_callbacks(config: FullConfig, tasks: list[str]) -> list[tuple[str, Callback]]:
    choice = {k: v for k, v in config.eval.get_params().items() if k != "calibrate"}
    stopping = EarlyStopping(**choice, first_epoch=config.encoder.freeze_epochs)
    callbacks = [("task_scores", TaskScores(tasks)), ("early_stopping", stopping)]
    if config.eval.calibrate:
        callbacks.append(("temperatures", Temperatures(tasks)))
    return callbacks


def _make_tokenizer(
    training: TrainingConfig, encoder: PreTrainedModel, start: FittedModel | None
) -> TextTokenizer:
    """Return the tokenizer of an encoder, with the settings for long texts.

    Parameters
    ----------
    training : TrainingConfig
        The configuration with the name of the encoder and the settings for long texts.
    encoder : transformers.PreTrainedModel
        The encoder.
    start : FittedModel or None
        The earlier model whose tokenizer is used; None to load the tokenizer by name.
    """
    name = os.fspath(training.model_name)
    tokenizer = load_tokenizer(name) if start is None else start.tokenizer.tokenizer
    longest = longest_input(encoder, tokenizer)
    max_length = input_length(training.max_length, longest, "TrainingConfig", name)
    return TextTokenizer(tokenizer, max_length, training.long_text)


def _check_pooling(config: FullConfig, encoder: PreTrainedModel, tokenizer: TextTokenizer):
    """Raise InvalidParameterError for the first token of a causal encoder as the embedding."""
    if config.pooling == "cls" and is_causal(encoder, tokenizer.tokenizer):
        raise InvalidParameterError(
            "The 'pooling' parameter of MultiheadConfig must be 'attention', 'mean' or 'max' for "
            f"{type(encoder).__name__}. Got 'cls' instead. Each token of this encoder attends "
            "only to itself and to earlier tokens, so the vector of the first token contains "
            "nothing of the rest of the text."
        )


def _check_task_weights(task_weights: dict[str, float] | None, tasks: list[str]):
    """Raise ValueError for a weight of a task that is not in the data."""
    for task in task_weights or {}:
        if task not in tasks:
            raise ValueError(
                f"The 'task_weights' parameter of LossConfig names {short(task)}, which is not a "
                f"task of the data.{suggestion(task, tasks)} The tasks are: {listed(tasks)}. "
                f"{IN_FOLDS}"
            )

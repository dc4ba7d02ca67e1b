"""`MultiheadClassifier`: a text classifier for several tasks with one shared encoder."""

from __future__ import annotations

import functools
from collections.abc import Collection
from os import PathLike
from typing import Any, ClassVar, Literal, Self, overload

import joblib
import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ._bridge import fit_tasks
from ._compat import CallbackSupportMixin, with_callbacks
from ._fitted import FittedModel, Probabilities, ProbabilitiesByTask
from ._fitting import (
    Hardware,
    Recipe,
    copied_callbacks,
    find_device,
    fit_calibrated,
    fit_head,
    fit_model,
    for_one_epoch,
    with_parameters,
)
from ._held_out import hold_out_rows, indices_of
from ._model import TextTokenizer, private_seeds
from ._persistence import FITTED, library_versions, load_classifier, save_classifier
from ._rows import (
    Columns,
    Reader,
    Split,
    Texts,
    common_dtype,
    encode_tasks,
    features_read,
    is_long,
    read_texts,
    read_unlabeled,
    score_table,
    warn_of_contradictions,
)
from ._training import Callbacks, MultiheadNet
from ._typing import ArrayOrFrame, MemoryLike, RowsLike
from ._validation import (
    Constraint,
    array_like,
    boolean,
    check_parameters,
    instance_of,
    integer,
    mapping_to,
    none,
    one_of,
    real,
    suggests_names,
    text,
)
from ._views import TaskClassifier
from ._visual_block import visual_block
from .config import FullConfig, MultiheadConfig, ParameterGroup


class MultiheadClassifier(CallbackSupportMixin, ParameterGroup):
    """Multi-task text classifier with a shared pretrained encoder and one head per task.

    Parameters
    ----------
    config : MultiheadConfig or None, default=None
        The configuration of the model and its training. None means the defaults. Each of its
        parameters is also a parameter of the classifier, such as ``config__head__dropout``.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        Names of the columns of a long frame.
    task_labels : dict of {str: array-like} or None, default=None
        The classes of a task, for example ``{"sentiment": ["bad", "good"]}``. Its head then has an
        output for each of them, even for classes without rows in the data, so probabilities have
        the same columns in all folds of a cross-validation. Any other label in the data is an
        error. The classes of other tasks are learned from the data.
    callbacks : list or None, default=None
        Additional skorch callbacks, or (name, callback) pairs. Each fit uses copies of them,
        which are in ``net_.callbacks_`` afterwards. They do not run in the calibration fit of
        small data (see :class:`EvalConfig`). If one of them stops the main training early, the
        temperatures of the calibration fit are not used. If one changes the weights, set
        `val_size` or pass `X_val`: the model is then calibrated with these changes.
    warm_start : bool, default=False
        Whether :meth:`fit` starts from the weights of an earlier fit. Its tasks and classes are
        kept, and new ones are added. If a head gets new classes, the weights of its old classes
        are kept. Rows are held out anew. A warning says that the earlier fit may have trained on
        them.
    random_state : int, RandomState instance or None, default=None
        Controls the initial weights of heads, dropout, batch order, task sampling and splits.
        The global generators of Python, numpy and torch are neither used nor changed. On a CPU,
        two fits with the same int give the same predictions to the bit.
    device : str or torch.device, default="auto"
        The device to compute on. "auto" is "cuda" if torch finds a GPU, and "cpu" otherwise.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        The precision of matrix multiplications in the encoder. Weights, heads and loss are always
        float32. "bfloat16" halves the time on hardware that supports it and is slow on other
        hardware. "auto" is "bfloat16" if the hardware supports it, and "float32" otherwise.
    compile : bool, default=False
        Whether to compile the encoder with `torch.compile`. This speeds up full passes without
        gradients, mostly in prediction. The first batch waits for the compilation, about half a
        minute on a laptop, and on a CPU torch needs a C++ compiler.
    memory : str, path-like, joblib.Memory or None, default=None
        The location of the embedding cache. It keeps embeddings of the pretrained encoder for
        other folds, candidates of a search and later fits. With None, each fit computes its own.
        While the encoder has its pretrained weights, `predict` adds new texts to the cache, too.
    cache_memory, cache_disk : int or float, default=0.25
        Maximum size of the activation cache in memory and, if it does not fit there, in a
        temporary file. An int is a number of bytes, and a float is a share of the free space. If
        the cache fits in neither, frozen layers run again in each epoch. Fits in several
        processes may each use this much.
    verbose : int or bool, default=0
        If 1 or more, :meth:`fit` shows a progress bar and then the scores on the test rows.

    Attributes
    ----------
    tasks_ : list of str
        The tasks in order of first appearance.
    classes_ : dict of {str: ndarray}
        The sorted classes of each task, in the same type as the labels.
    temperatures_ : dict of {str: float}
        The number that divides the logits of each task before the softmax, chosen to maximize
        the likelihood of the calibration rows. It is 1 if there are no calibration rows, for
        example after a warm start without validation rows. A task without rows in a later
        training keeps its temperature.
    net_ : MultiheadNet
        The trained skorch net. ``net_.module_.encoder`` is the Hugging Face model,
        ``net_.callbacks_`` contains the callbacks that ran, and ``net_.history`` the losses and
        the scores of each task in each epoch.
    model_ : FittedModel
        The fitted model, to which the attributes above belong. A fit replaces it as a whole.
    train_indices_, val_indices_, test_indices_ : ndarray of int
        Positions in X of the training rows, the validation rows and the test rows. In a dict of
        tasks, positions continue from one task to the next.
    test_scores_ : dict of {str: dict}
        ``accuracy``, ``f1`` (macro-averaged) and ``n_rows`` on the test rows of each task that
        has test rows.
    n_features_in_, feature_names_in_ : int and ndarray of str
        Number and names of the columns of X that are used as features, in their order: the text
        column and the task column. They exist if X is a frame, the names only if all are strings.
    saved_with_ : dict of {str: str}
        Versions of the libraries when the classifier was saved. It exists only after loading or
        copying.
    named_estimators_ : Bunch
        A :class:`TaskClassifier` for each task. ``classifier["sentiment"]`` is a shortcut.

    See Also
    --------
    MultiheadConfig : The configuration, with all defaults.
    TaskClassifier : The view of one task.

    Notes
    -----
    Training has two phases. In the first ``encoder.freeze_epochs`` epochs, only the heads train.
    In the following ``training.epochs`` epochs, the top ``encoder.unfreeze_layers`` layers of the
    encoder train, too. If there are validation rows, the classifier gets the weights of the best
    epoch (see :class:`EvalConfig`), and otherwise the weights of the last epoch.

    Rows with the same text are in the same batch, in training and in prediction. The encoder
    therefore processes the text once for all of its tasks.

    References
    ----------
    Caruana, "Multitask Learning", Machine Learning 28, 1997.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> classifier.fit(load_support_messages()).tasks_
    ['sentiment', 'intent', 'emotion']
    >>> classifier.predict(["Do you ship to Norway?", "It broke again!"], task="intent").shape
    (2,)
    >>> classifier.predict_all(["Do you ship to Norway?"]).columns.tolist()
    ['sentiment', 'intent', 'emotion']
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "config": instance_of(MultiheadConfig) | none,
        "text_column": text(),
        "task_column": text(),
        "label_column": text(),
        "task_labels": mapping_to(array_like()) | none,
        "callbacks": instance_of(list) | none,
        "warm_start": boolean(),
        "random_state": integer(0, 2**32 - 1) | instance_of(np.random.RandomState) | none,
        "device": text() | instance_of(torch.device),
        "precision": one_of("float32", "bfloat16", "auto"),
        "compile": boolean(),
        "memory": text() | instance_of(PathLike, joblib.Memory) | none,
        "cache_memory": integer(0) | real(0, 1),
        "cache_disk": integer(0) | real(0, 1),
        "verbose": integer(0) | boolean(),
    }
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {"config": MultiheadConfig}

    @suggests_names
    def __init__(
        self,
        config: MultiheadConfig | None = None,
        *,
        text_column: str = "text",
        task_column: str = "task",
        label_column: str = "label",
        task_labels: dict[str, Collection[Any]] | None = None,
        callbacks: Callbacks | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        precision: Literal["float32", "bfloat16", "auto"] = "float32",
        compile: bool = False,
        memory: MemoryLike | None = None,
        cache_memory: float = 0.25,
        cache_disk: float = 0.25,
        verbose: int = 0,
    ):
        self.config = config
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column
        self.task_labels = task_labels
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.compile = compile
        self.memory = memory
        self.cache_memory = cache_memory
        self.cache_disk = cache_disk
        self.verbose = verbose

    # ----------------------------------------------------------------------------------------
    # Training

    @with_callbacks
    def fit(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: RowsLike | None = None,
        y_val: ArrayOrFrame | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on rows of (text, task, label).

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            One of

            - a long frame with a text, a task and a label column;
            - a frame with a text and a task column, and the labels as `y`;
            - a dict ``{task: [{"text": ..., "label": ...}, ...]}``;
            - texts (a list, an array, a Series, or a frame with a text column) with `y` either
              a DataFrame of one column per task, in which a missing value means that the text
              has no label for this task, or a one-dimensional array for one task.

            Frames can come from pandas, polars or any other library that narwhals supports.
        y : array-like, DataFrame or None, default=None
            The labels, aligned with X by position; a label column in X is then ignored. Labels
            can be strings, ints, bools or floats. Predictions have the same type.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row of X, in the loss and in scores. In a dict of tasks, weights
            continue from one task to the next. A row of weight 2 counts as two rows. A row of
            weight 0 is left out, but its label is still learned as a class.
        X_val : DataFrame, dict, array-like of str or None, default=None
            Validation data in any of the same forms. It replaces the validation rows that would
            be held out from X, see `val_size`.
        y_val : array-like, DataFrame or None, default=None
            The labels of the validation data, if `X_val` does not contain them.
        sample_weight_val : array-like of shape (n_validation_rows,) or None, default=None
            The weight of each row of the validation data.

        Returns
        -------
        self : MultiheadClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter is invalid. The message names the parameter, or the task,
            the column and the row.
        OSError
            If the encoder is not found.

        Warns
        -----
        UserWarning
            If rows contradict each other, or if a task is too small to hold rows out.
        """
        config = self._checked_config()
        start = self.model_ if self.warm_start and self.__sklearn_is_fitted__() else None
        known = None if start is None else start.classes
        table, rows = self._reader.training_rows(X, y, sample_weight, known)
        warn_of_contradictions(table, rows)
        validation = self._reader.validation_rows(X_val, y_val, sample_weight_val, rows.classes)

        split_seed, *seeds = private_seeds(self.random_state, 4)
        parts = hold_out_rows(
            config, rows, split_seed, validation=validation, warm_start=start is not None
        )

        n_epochs = config.encoder.freeze_epochs + config.training.epochs
        tasks = fit_tasks(self, n_epochs, table, self._columns)
        recipe = self._recipe(config, seeds, fit_tasks=tasks)
        model = fit_calibrated(functools.partial(fit_model, start=start), recipe, parts)
        scores = model.score(parts.test)

        self._store_fit(model, scores, X, table, parts.split)
        if tasks is not None:
            tasks.end_fit()
        return self

    def train(self, data: RowsLike) -> Self:
        """Train on a dict of tasks or a long frame; an alias of :meth:`fit`.

        RapidFit's guide to multihead classification uses this name.

        Parameters
        ----------
        data : dict or DataFrame
            ``{task: [{"text": ..., "label": ...}, ...]}`` or a long frame.

        Returns
        -------
        self : MultiheadClassifier
            The fitted classifier.
        """
        return self.fit(data)

    def partial_fit(
        self, X: RowsLike, y: ArrayOrFrame | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on these rows, starting from the fitted weights if there are any.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            As in :meth:`fit`. It may contain new tasks and new labels of known tasks. A new task
            adds a head. New labels add columns to a head, and its old columns keep their weights.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row.

        Returns
        -------
        self : MultiheadClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            As in :meth:`fit`, and if `model_name`, `pooling` or the architecture of the heads
            differs from the earlier fit.

        See Also
        --------
        add_task : Add a task without changing the others.

        Notes
        -----
        All rows are training rows: none are held out, and there is no early stopping. The first
        ``encoder.freeze_epochs`` epochs, counted over all calls, train only the heads. The
        learning rate rises and falls within each call. Tasks without rows in X keep their
        heads, but their predictions still change if the encoder trains.
        """
        start = self.model_ if self.__sklearn_is_fitted__() else None
        n_before = len(start.net.history) if start else 0
        config = for_one_epoch(self._checked_config(), n_before)
        known = None if start is None else start.classes
        table, rows = self._reader.training_rows(X, y, sample_weight, known, in_part=True)
        # Use new seeds for each epoch, because batch order and dropout must differ between epochs.
        seeds = private_seeds(self.random_state, 3 * (n_before + 1))[-3:]
        model = fit_model(self._recipe(config, seeds), rows, start=start)
        none = np.empty(0, dtype=int)
        self._store_fit(model, {}, X, table, Split(np.arange(len(rows)), none, none))
        return self

    def add_task(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        task: str | None = None,
    ) -> Self:
        """Add one task without changing the predictions of the other tasks.

        Only the new head trains, so the predictions of the other tasks stay the same to the bit.
        This takes a small part of the time of a fit, because each text is encoded only once. A
        calibration fit on small data encodes it a second time, unless `memory` is set.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Rows of one task, in any form that :meth:`fit` takes.
        y : array-like or None, default=None
            The labels, if X does not contain them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row.
        task : str or None, default=None
            The name of the task, if neither a task column nor the name of `y` gives it.

        Returns
        -------
        self : MultiheadClassifier
            The classifier with the new task. ``test_scores_`` also contains the scores of the new
            task, but ``train_indices_`` and similar attributes still describe the last fit.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the classifier already has the task, X has several tasks, or the task has no name.

        See Also
        --------
        partial_fit : Train the encoder, too, which may change all tasks.

        Notes
        -----
        The new head has the same layout as the others. It trains as in :meth:`fit` with
        ``encoder.unfreeze_layers=0``.
        """
        check_is_fitted(self)
        before = self.model_
        config = with_parameters(
            self._checked_config(), encoder__unfreeze_layers=0, loss__task_weights=None
        )
        rows = self._reader.rows_of_new_task(X, y, sample_weight, task, before.tasks)

        split_seed, *seeds = private_seeds(self.random_state, 4)
        parts = hold_out_rows(config, rows, split_seed)
        recipe = self._recipe(config, seeds, device=before.net.device)
        head = fit_calibrated(functools.partial(fit_head, before), recipe, parts)
        scores = self.test_scores_ | head.score(parts.test)
        kept = {name: vars(self)[name] for name in vars(self).keys() & FITTED - {"saved_with_"}}
        new = {"model_": before.with_task(head), "test_scores_": scores}
        self._replace_fitted(**kept | new)
        self._show_scores()
        return self

    def _checked_config(self) -> FullConfig:
        """Check all parameters and return a full copy of the configuration."""
        check_parameters(self, self._constraints)
        copied_callbacks(self.callbacks)
        find_device(self.device)
        return (self.config or MultiheadConfig())._filled()

    def _recipe(self, config: FullConfig, seeds, *, fit_tasks=None, device=None) -> Recipe:
        """Return the settings of a training."""
        hardware = Hardware(
            device or find_device(self.device),
            self.precision,
            self.compile,
            self.cache_memory,
            self.cache_disk,
        )
        return Recipe(
            config,
            tuple(seeds),
            hardware,
            callbacks=self.callbacks,
            fit_tasks=fit_tasks,
            memory=self.memory,
            verbose=int(self.verbose),
        )

    def _store_fit(self, model: FittedModel, scores, X, table, split):
        """Store a fitted model and the attributes that describe its rows."""
        self._replace_fitted(
            model_=model,
            test_scores_=scores,
            **indices_of(split, table),
            **features_read(X, self._columns),
        )
        self._show_scores()

    def _replace_fitted(self, **attributes):
        """Replace all fitted attributes by these, in one assignment.

        An interruption leaves either the old state or the new one, never parts of both.
        """
        others = {name: value for name, value in vars(self).items() if name not in FITTED}
        self.__dict__ = others | attributes

    def _show_scores(self):
        if self.verbose:
            tqdm.write(score_table(self.test_scores_))

    # ----------------------------------------------------------------------------------------
    # Fitted attributes

    @property
    def net_(self) -> MultiheadNet:
        """The trained skorch net."""
        return self._fitted("net_").net

    @property
    def tokenizer_(self) -> TextTokenizer:
        """The tokenizer of the encoder, with the settings for long texts."""
        return self._fitted("tokenizer_").tokenizer

    @property
    def classes_(self) -> dict[str, np.ndarray]:
        """The sorted classes of each task."""
        return self._fitted("classes_").classes

    @property
    def tasks_(self) -> list[str]:
        """The tasks in order of first appearance."""
        return self._fitted("tasks_").tasks

    @property
    def temperatures_(self) -> dict[str, float]:
        """The temperature that divides the logits of each task."""
        return self._fitted("temperatures_").temperatures

    @property
    def named_estimators_(self) -> Bunch:
        """The views of all tasks, by name."""
        views = Bunch()
        # Do not pass the views as keywords, because a task may be called `self`.
        tasks = self._fitted("named_estimators_").tasks
        views.update({task: TaskClassifier(self, task) for task in tasks})
        return views

    def _fitted(self, name: str) -> FittedModel:
        """Return the fitted model, or raise AttributeError for attribute `name` before `fit`."""
        if not self.__sklearn_is_fitted__():
            kind = type(self).__name__
            raise AttributeError(f"{kind!r} object has no attribute {name!r} before fit.")
        return self.model_

    def _snapshot(self) -> FittedModel:
        """Return a snapshot, because another thread may call `fit` or `add_task` meanwhile."""
        check_is_fitted(self)
        return self.model_ if self.memory is not None else self.model_.without_memory()

    # ----------------------------------------------------------------------------------------
    # Prediction

    def predict(self, X: ArrayOrFrame, task: str | None = None) -> np.ndarray:
        """Predict labels.

        Parameters
        ----------
        X : DataFrame or array-like of str
            A frame with a text and a task column, or texts in any form that :meth:`fit` takes.
            A label column is never needed.
        task : str or None, default=None
            The task to predict. None means the task of each row if X has a task column, and all
            tasks otherwise.

        Returns
        -------
        labels : ndarray of shape (n_rows,) or (n_texts, n_tasks)
            One label per row of a frame with a task column, or per text if there is one task.
            Otherwise, one column per task in the order of `tasks_`. Labels have the same type as
            in :meth:`fit`. If this type differs between tasks, the array has dtype object.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If a task was not in the training data.
        """
        model = self._snapshot()
        if task is None and is_long(X, self._columns):
            return model.labels(*self._rows_to_predict(model, X, None))
        requested = model.task_codes(task)
        columns = list(model.labels_by_task(read_texts(X, self._columns), requested).values())
        if len(columns) == 1:
            return columns[0]
        result = np.empty((len(columns[0]), len(columns)), common_dtype(columns))
        for i, labels in enumerate(columns):
            result[:, i] = labels
        return result

    def predict_all(self, X: ArrayOrFrame) -> pd.DataFrame:
        """Predict the label of each text for every task.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.

        Returns
        -------
        labels : DataFrame of shape (n_texts, n_tasks)
            One column per task, with the type of its labels. The index is the index of X, if X
            has one.
        """
        index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
        model = self._snapshot()
        texts, requested = read_texts(X, self._columns), model.task_codes(None)
        return pd.DataFrame(model.labels_by_task(texts, requested), index=index)

    @overload
    def predict_proba(self, X: ArrayOrFrame, task: str) -> NDArray[np.float64]: ...

    @overload
    def predict_proba(self, X: ArrayOrFrame, task: None = None) -> Probabilities: ...

    def predict_proba(self, X: ArrayOrFrame, task: str | None = None) -> Probabilities:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or array-like of str
            As in :meth:`predict`.
        task : str or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        probabilities : ndarray or dict of {str: ndarray}
            For one task, an array of shape (n_rows, n_classes) with columns in the order of
            ``classes_[task]`` and rows that sum to 1. For several tasks, a dict that maps
            each task to such an array, with the rows of this task in their order.
        """
        model = self._snapshot()
        texts, tasks = self._rows_to_predict(model, X, task)
        every = model.probabilities(texts, tasks)
        requested = dict.fromkeys(tasks) if len(tasks) else model.task_codes(task)
        result = ProbabilitiesByTask({model.tasks[code]: every[code] for code in sorted(requested)})
        return next(iter(result.values())) if len(result) == 1 else result

    def score(
        self, X: RowsLike, y: ArrayOrFrame | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the accuracy, averaged over tasks.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Labeled rows in any form that :meth:`fit` takes.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row of X within its task.

        Returns
        -------
        score : float
            The mean accuracy. All tasks have the same weight, whatever the number of their rows.
            A row whose label was not in the training data counts as wrong.
        """
        model = self._snapshot()
        scores = model.score(self._reader.known_rows(X, y, sample_weight, model.classes))
        return float(np.mean([score["accuracy"] for score in scores.values()]))

    # ----------------------------------------------------------------------------------------
    # Interface of scikit-learn

    def __sklearn_tags__(self):
        """Return tags without the classifier type, which would require an array `classes_`."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.dict = True
        tags.target_tags.required = False
        tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        return tags

    def _sk_visual_block_(self):
        """Show the groups of the configuration and, once fitted, the tasks and their classes."""
        config = self.config if isinstance(self.config, MultiheadConfig) else MultiheadConfig()
        return visual_block(config, self.classes_ if self.__sklearn_is_fitted__() else None)

    # ----------------------------------------------------------------------------------------
    # Views

    def __getitem__(self, task: str) -> TaskClassifier:
        """Return the view of one task."""
        self._snapshot().check_task(task)
        return TaskClassifier(self, task)

    def __contains__(self, task: object) -> bool:
        """Check whether the classifier has a task."""
        return task in self._snapshot().tasks

    def __sklearn_is_fitted__(self) -> bool:
        """Check whether the classifier is fitted."""
        return hasattr(self, "model_")

    # ----------------------------------------------------------------------------------------
    # Persistence

    def save(self, folder: str | PathLike[str]) -> Self:
        """Save the fitted classifier to a folder of plain files, without pickle.

        Parameters
        ----------
        folder : str or path-like
            The folder to write. An earlier save is replaced as a whole once the new one is
            complete. A folder with any other files is refused.

        Returns
        -------
        self : MultiheadClassifier
            This classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the folder contains other files.

        Warns
        -----
        UserWarning
            If `callbacks`, a RandomState or a joblib.Memory is set. These are not plain data, so
            they are not saved.

        See Also
        --------
        load : Load the classifier from the folder.

        Notes
        -----
        The folder contains ``model.safetensors`` (the weights), ``classifier.json`` (parameters,
        classes, scores, history, versions), the tokenizer files, and ``checksums.json`` with the
        SHA-256 of each of these files.
        """
        check_is_fitted(self)
        save_classifier(self, folder)
        return self

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Load a classifier from a folder that :meth:`save` wrote.

        Loading does not unpickle anything, run code from the folder or use the hub.

        Parameters
        ----------
        folder : str or path-like
            The folder to read.

        Returns
        -------
        classifier : MultiheadClassifier
            A classifier with the same predictions as the saved one. ``saved_with_`` contains the
            versions of the libraries that saved it.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If :meth:`save` did not write the folder, or files are missing, truncated or changed.
        """
        return load_classifier(cls, folder)

    def __getstate__(self):
        """Return the state, with the library versions if the classifier is fitted."""
        state = super().__getstate__()
        return state | {"saved_with_": library_versions()} if "model_" in state else state

    # ----------------------------------------------------------------------------------------
    # Input

    @property
    def _columns(self) -> Columns:
        return Columns(self.text_column, self.task_column, self.label_column)

    @property
    def _reader(self) -> Reader:
        return Reader(self._columns, self.task_labels)

    def _rows_to_predict(self, model: FittedModel, X, task) -> tuple[Texts, NDArray[np.int64]]:
        """Return the text and the task code of each requested prediction."""
        if task is None and is_long(X, self._columns):
            table = read_unlabeled(X, self._columns)
            return table.texts, encode_tasks(table, model.tasks)
        codes = model.task_codes(task)
        texts = read_texts(X, self._columns)
        return texts.repeat(len(codes)), np.tile(codes, len(texts))

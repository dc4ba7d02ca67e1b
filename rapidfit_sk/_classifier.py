"""`MultiheadClassifier`: rows of several tasks in, one shared encoder and a head per task out."""

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
    """Several text classification tasks on one shared, pretrained encoder.

    Parameters
    ----------
    config : MultiheadConfig or None, default=None
        What can be tuned. None stands for the defaults. Every leaf of it is a parameter of the
        classifier too: ``config__head__dropout``.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        The names of the columns of a long frame.
    task_labels : dict of {str: array-like} or None, default=None
        The labels that a task may have, for example ``{"sentiment": ["bad", "good"]}``. The
        head has a column for each, whether or not the data has rows of it: all folds of a
        cross-validation then have the same columns. Another label in the data is an error.
        Tasks that are not named learn their labels from the data.
    callbacks : list or None, default=None
        Callbacks of skorch, or pairs of a name and a callback, that run beside the built-in
        ones. Each fit works on copies; they end up in ``net_.callbacks_``. The first training
        that calibrates small data (see :class:`EvalConfig`) goes without them; where one of them
        ends the other training early, its temperatures are not used. Where one changes the model
        in another way, give rows to calibrate on: `val_size` or `X_val`.
    warm_start : bool, default=False
        Whether :meth:`fit` goes on from what an earlier fit learned. Tasks and classes of it
        stay, new ones are added: a head grows and its old columns keep their weights. Rows are
        held out anew, with a warning, since the earlier fit may have trained on them.
    random_state : int, RandomState instance or None, default=None
        Covers the initial weights of the heads, dropout, batch order, task sampling and splits.
        The global generators of Python, numpy and torch are left alone. On a CPU two fits with
        the same int give the same predictions to the bit.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is a GPU where torch sees one ("cuda"), else the CPU.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        What the encoder multiplies in. Weights, heads and loss are float32 in each case.
        "bfloat16" halves the time where the processor or the GPU knows it, and is slow elsewhere;
        "auto" is "bfloat16" where it is fast.
    compile : bool, default=False
        Whether `torch.compile` makes the encoder faster where it runs as a whole and without
        gradients, above all in prediction. The first batch waits for it, for half a minute on a
        laptop, and torch needs a C++ compiler on a CPU.
    memory : str, path-like, joblib.Memory or None, default=None
        Where embeddings of the pretrained encoder are kept, so that folds, candidates and later
        fits need not compute them again. With None each fit computes its own. While the encoder
        is as it was pretrained, texts that are predicted are kept there too.
    cache_memory, cache_disk : int or float, default=0.25
        The most that a fit may take, in memory and then in a temporary file, to keep what the
        frozen layers make of the texts: bytes, or as a float a share of what is free. Beyond that
        it is computed again in each epoch. Fits in several processes each take that much.
    verbose : int or bool, default=0
        From 1 on a progress bar is shown during `fit`, and the scores on held-out rows after it.

    Attributes
    ----------
    tasks_ : list of str
        The tasks in order of first appearance.
    classes_ : dict of {str: ndarray}
        The sorted classes of each task, in the type that the labels came in.
    temperatures_ : dict of {str: float}
        What the logits of each task are divided by, so that the probabilities of rows that a
        model has not trained on are as likely as they can be; 1 where no rows could be asked, as
        where `warm_start` goes on without validation rows. A task without rows in a further
        training keeps its temperature.
    net_ : MultiheadNet
        The trained skorch net. ``net_.module_.encoder`` is the Hugging Face model,
        ``net_.callbacks_`` the callbacks that ran, and ``net_.history`` has the losses and the
        scores of each task for each epoch.
    model_ : FittedModel
        The value that the attributes above are read from. A fit replaces it as a whole.
    train_indices_, val_indices_, test_indices_ : ndarray of int
        Positions in X of the rows that trained, chose the best epoch, and were held out. For
        the dict form they count through its tasks in order.
    test_scores_ : dict of {str: dict}
        ``accuracy``, ``f1`` (macro-averaged) and ``n_rows`` on the held-out rows of each task
        that has some.
    n_features_in_, feature_names_in_ : int and ndarray of str
        The columns of X that are read as features, in their order: the text and the task
        column. They exist where X is a frame with such names.
    saved_with_ : dict of {str: str}
        Versions of the libraries that stored the classifier. It exists after loading (or
        copying) only.
    named_estimators_ : Bunch
        A :class:`TaskClassifier` for each task; ``classifier["sentiment"]`` is a short way to
        one of them.

    See Also
    --------
    MultiheadConfig : All that can be tuned, with defaults.
    TaskClassifier : The view of one task.

    Notes
    -----
    Training has two phases. First the heads train alone, for ``encoder.freeze_epochs`` epochs;
    then the top ``encoder.unfreeze_layers`` layers of the encoder train with them, for
    ``training.epochs`` epochs. Where there are validation rows, the weights of the best epoch
    are kept, see :class:`EvalConfig`; else those of the last.

    Rows that share a text share a batch and so one pass through the encoder, in training and in
    prediction, however many tasks ask about it.

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
              a DataFrame of one column per task, where a missing value means that the text has
              no label for this task, or a one-dimensional array for one task.

            Frames may be of pandas, polars or any other library that narwhals knows.
        y : array-like, DataFrame or None, default=None
            The labels, by position; a label column in X is not read then. Labels may be
            strings, ints, bools or floats, and come back as they are.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            How much each row of X counts, in the loss and in scores; for the dict form rows
            count through its tasks in order. A row of weight 2 costs as much as two rows; one
            of weight 0 is left out, though its label is still learned as a class.
        X_val : DataFrame, dict, array-like of str or None, default=None
            Validation data in any of the same forms, in place of the `val_size` share of the
            training data.
        y_val : array-like, DataFrame or None, default=None
            The labels of the validation data, where `X_val` does not hold them.
        sample_weight_val : array-like of shape (n_validation_rows,) or None, default=None
            How much each row of the validation data counts.

        Returns
        -------
        self : MultiheadClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter is not as described; the message names task, column and
            row, or the parameter.
        OSError
            If the encoder is not found.

        Warns
        -----
        UserWarning
            If rows contradict each other, or some tasks are too small to hold rows out.
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
        """Train on the dict form; the guide's name for :meth:`fit`.

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
        """Train one more epoch, on these rows, from the weights that are there.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            As in :meth:`fit`. It may bring new tasks, and new labels of known tasks: a head is
            added, or grows while its old columns keep their weights.
        y : array-like, DataFrame or None, default=None
            The labels, where X does not hold them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            How much each row counts.

        Returns
        -------
        self : MultiheadClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            As in :meth:`fit`; and if a parameter that shapes the module (`model_name`,
            `pooling`, or one of the head) is not what it was.

        See Also
        --------
        add_task : Adds a task and changes none of the others.

        Notes
        -----
        All rows train: none are held out, and there is no early stopping. The first
        ``encoder.freeze_epochs`` epochs, counted over all calls, train the heads alone. The
        learning rate rises and falls within each call. Tasks without rows in X keep their
        heads; what they predict still drifts where the encoder trains.
        """
        start = self.model_ if self.__sklearn_is_fitted__() else None
        n_before = len(start.net.history) if start else 0
        config = for_one_epoch(self._checked_config(), n_before)
        known = None if start is None else start.classes
        table, rows = self._reader.training_rows(X, y, sample_weight, known, in_part=True)
        # Drawn further on with each epoch, so that no two have the same order and dropout.
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
        """Add one task; all that other tasks predict stays the same to the bit.

        A new head trains on the encoder as it is. Each text is encoded once (twice where small
        data is calibrated by a first training, unless `memory` is set), before the first
        epoch, so that this takes a small part of the time of :meth:`fit`.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Rows of one task, in any form that :meth:`fit` takes.
        y : array-like or None, default=None
            The labels, where X does not hold them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            How much each row counts.
        task : str or None, default=None
            The name of the task, where neither a task column nor the name of `y` gives it.

        Returns
        -------
        self : MultiheadClassifier
            The classifier, with a further task. ``test_scores_`` has the scores of the new task
            too; ``train_indices_`` and its like stay those of :meth:`fit`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the task is known already, or X has several tasks, or none is named.

        See Also
        --------
        partial_fit : Trains the encoder too, and may change all tasks.

        Notes
        -----
        The new head has the layout of the others. It trains as :meth:`fit` would train it with
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
        """Check all parameters and return a full configuration that nobody else holds."""
        check_parameters(self, self._constraints)
        copied_callbacks(self.callbacks)
        find_device(self.device)
        return (self.config or MultiheadConfig())._filled()

    def _recipe(self, config: FullConfig, seeds, *, fit_tasks=None, device=None) -> Recipe:
        """Return what a training depends on besides its rows."""
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
        """Keep a fitted model, and what is known about the rows that it was fitted on."""
        self._replace_fitted(
            model_=model,
            test_scores_=scores,
            **indices_of(split, table),
            **features_read(X, self._columns),
        )
        self._show_scores()

    def _replace_fitted(self, **attributes):
        """Put these attributes in the place of all that an earlier call fitted, at once.

        An interruption leaves the old state or the new one, and never parts of both.
        """
        others = {name: value for name, value in vars(self).items() if name not in FITTED}
        self.__dict__ = others | attributes

    def _show_scores(self):
        if self.verbose:
            tqdm.write(score_table(self.test_scores_))

    # ----------------------------------------------------------------------------------------
    # What was fitted

    @property
    def net_(self) -> MultiheadNet:
        """The trained skorch net."""
        return self._fitted("net_").net

    @property
    def tokenizer_(self) -> TextTokenizer:
        """The tokenizer of the encoder, together with the length it cuts at."""
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
        # Not as keywords: a task may be called `self`.
        tasks = self._fitted("named_estimators_").tasks
        views.update({task: TaskClassifier(self, task) for task in tasks})
        return views

    def _fitted(self, name: str) -> FittedModel:
        """Return the fitted model, on behalf of an attribute that exists after `fit` only."""
        if not self.__sklearn_is_fitted__():
            kind = type(self).__name__
            raise AttributeError(f"{kind!r} object has no attribute {name!r} before fit.")
        return self.model_

    def _snapshot(self) -> FittedModel:
        """Return the fitted model, which stays as it is while another thread fits."""
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
            The task to predict for texts. None means all tasks; with a task column, it means
            the task of each row.

        Returns
        -------
        labels : ndarray of shape (n_rows,) or (n_texts, n_tasks)
            One label for each row of a frame with a task column, and for each text where there
            is one task; otherwise one column per task in the order of `tasks_`. Labels have the
            type that they came in; where tasks differ in it, the array is of type object.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If a task was not seen in :meth:`fit`.
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
            One column per task, each in the type of its labels. It has the index of X, where X
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
            Where one task is concerned, an array of shape (n_rows, n_classes) with columns in
            the order of ``classes_[task]`` and rows that sum to 1. Where several are, a dict of
            such arrays, each for the rows of its task in their order.
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
        """Return the mean over tasks of the accuracy.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Labeled rows in any form that :meth:`fit` takes.
        y : array-like, DataFrame or None, default=None
            The labels, where X does not hold them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            How much each row of X counts within its task.

        Returns
        -------
        score : float
            Each task counts the same, however many rows it has. A label that :meth:`fit` never
            saw makes its row count as wrong.
        """
        model = self._snapshot()
        scores = model.score(self._reader.known_rows(X, y, sample_weight, model.classes))
        return float(np.mean([score["accuracy"] for score in scores.values()]))

    # ----------------------------------------------------------------------------------------
    # What scikit-learn asks

    def __sklearn_tags__(self):
        """Say what it takes. It is not tagged a classifier, and the reason is in the guide."""
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
        """Say whether there is such a task."""
        return task in self._snapshot().tasks

    def __sklearn_is_fitted__(self) -> bool:
        """Say whether `fit` has come to its end."""
        return hasattr(self, "model_")

    # ----------------------------------------------------------------------------------------
    # Persistence

    def save(self, folder: str | PathLike[str]) -> Self:
        """Write the fitted classifier to a folder of plain files, without pickle.

        Parameters
        ----------
        folder : str or path-like
            Where to. An earlier save is replaced as a whole, once the new one is complete; a
            folder that holds anything else is refused.

        Returns
        -------
        self : MultiheadClassifier
            This classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the folder holds something else.

        Warns
        -----
        UserWarning
            If `callbacks`, a RandomState or a joblib.Memory are set. They are no plain data and
            are not saved.

        See Also
        --------
        load : Read it back.

        Notes
        -----
        The folder has ``model.safetensors`` (the weights), ``classifier.json`` (parameters,
        classes, scores, history, versions), the files of the tokenizer, and ``checksums.json``
        with the SHA-256 of each of them.
        """
        check_is_fitted(self)
        save_classifier(self, folder)
        return self

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read a classifier from a folder that :meth:`save` wrote.

        Nothing is unpickled, no code is run and no name is looked up on the hub.

        Parameters
        ----------
        folder : str or path-like
            The folder.

        Returns
        -------
        classifier : MultiheadClassifier
            It predicts what the saved one predicts. ``saved_with_`` has the versions of the
            libraries that saved it.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If the folder is another kind of folder, or files are missing, truncated or changed.
        """
        return load_classifier(cls, folder)

    def __getstate__(self):
        """Add the versions of the libraries to what is pickled of a fitted classifier."""
        state = super().__getstate__()
        return state | {"saved_with_": library_versions()} if "model_" in state else state

    # ----------------------------------------------------------------------------------------
    # Reading

    @property
    def _columns(self) -> Columns:
        return Columns(self.text_column, self.task_column, self.label_column)

    @property
    def _reader(self) -> Reader:
        return Reader(self._columns, self.task_labels)

    def _rows_to_predict(self, model: FittedModel, X, task) -> tuple[Texts, NDArray[np.int64]]:
        """Return a text and a task code for each answer that is requested for."""
        if task is None and is_long(X, self._columns):
            table = read_unlabeled(X, self._columns)
            return table.texts, encode_tasks(table, model.tasks)
        codes = model.task_codes(task)
        texts = read_texts(X, self._columns)
        return texts.repeat(len(codes)), np.tile(codes, len(texts))

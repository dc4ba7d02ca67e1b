"""`MultiheadClassifier`: rows of several tasks in, one shared encoder and a head per task out."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ._labels import encode_table, encode_tasks, learn_classes, warn_of_contradictions
from ._metrics import scores_per_task
from ._persistence import library_versions, load_classifier, save_classifier
from ._prediction import predict_codes, predict_probabilities
from ._randomness import private_seeds
from ._tables import (
    Columns,
    is_long,
    read_labeled,
    read_questions,
    read_texts,
)
from ._training import (
    check_task_weights,
    copied_callbacks,
    find_device,
    make_callbacks,
    make_net,
    split_for_training,
    train_net,
    warn_of_split,
)
from ._validation import (
    Constraint,
    boolean,
    check_parameters,
    instance_of,
    integer,
    none,
    suggests_names,
    text,
    unknown_task,
)
from ._views import TaskClassifier
from .config import MultiheadConfig, ParameterGroup


class MultiheadClassifier(ParameterGroup):
    """Several text classification tasks on one shared, pretrained encoder.

    Parameters
    ----------
    config : MultiheadConfig or None, default=None
        What can be tuned. None stands for the defaults. Every leaf of it is a parameter of the
        classifier too: ``config__head__dropout``.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        The names of the columns of a long frame.
    callbacks : list or None, default=None
        Callbacks of skorch, or pairs of a name and a callback, that run beside the built-in
        ones. Each fit works on copies; they end up in ``net_.callbacks_``.
    random_state : int, RandomState instance or None, default=None
        Covers the initial weights of the heads, dropout, batch order, task sampling and splits.
        The global generators of Python, numpy and torch are left alone. On a CPU two fits with
        the same int give the same predictions to the bit.
    device : str or torch.device, default="auto"
        Where to compute; "auto" is a GPU where torch sees one ("cuda"), else the CPU.
    verbose : int or bool, default=0
        From 1 on a progress bar is shown during `fit`, and the scores on held-out rows after it.

    Attributes
    ----------
    tasks_ : list of str
        The tasks in order of first appearance.
    classes_ : dict of {str: ndarray}
        The sorted classes of each task, in the type that the labels came in.
    net_ : MultiheadNet
        The trained skorch net. ``net_.module_.encoder`` is the Hugging Face model,
        ``net_.callbacks_`` the callbacks that ran, and ``net_.history`` has the losses and the
        scores of each task for each epoch.
    train_indices_, val_indices_, test_indices_ : ndarray of int
        Positions in X of the rows that trained, chose the best epoch, and were held out. For
        the dict form they count through its tasks in order.
    test_scores_ : dict of {str: dict}
        ``accuracy``, ``f1`` (macro-averaged) and ``n_rows`` on the held-out rows of each task
        that has some.
    saved_with_ : dict of {str: str}
        Versions of the libraries that stored the classifier. It exists after loading only.
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
    ``training.epochs`` epochs or until the validation metric stops improving. The weights of
    the best epoch are kept.

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
        "callbacks": instance_of(list) | none,
        "random_state": integer(0, 2**32 - 1) | instance_of(np.random.RandomState) | none,
        "device": text() | instance_of(torch.device),
        "verbose": integer(0) | boolean(),
    }
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {"config": MultiheadConfig}

    @suggests_names
    def __init__(
        self,
        config=None,
        *,
        text_column="text",
        task_column="task",
        label_column="label",
        callbacks=None,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.config = config
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column
        self.callbacks = callbacks
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # ----------------------------------------------------------------------------------------
    # Training

    def fit(self, X, y=None, *, X_val=None, y_val=None):
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
        y : array-like, DataFrame or None, default=None
            The labels, by position; a label column in X is not read then. Labels may be
            strings, ints, bools or floats, and come back as they are.
        X_val : DataFrame, dict, array-like of str or None, default=None
            Validation data in any of the same forms, in place of the `val_size` share of the
            training data.
        y_val : array-like, DataFrame or None, default=None
            The labels of the validation data, where `X_val` does not hold them.

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
        check_parameters(self, self._constraints)
        callbacks, device = copied_callbacks(self.callbacks), find_device(self.device)
        config = (self.config or MultiheadConfig())._filled()
        table = read_labeled(X, y, self._columns)

        tasks, classes = table.task_names, learn_classes(table)
        rows = encode_table(table, tasks, classes)
        warn_of_contradictions(table, rows)
        validation = self._read_validation(X_val, y_val, tasks, classes)
        check_task_weights(config.loss.task_weights, tasks)

        split_seed, *seeds = private_seeds(self.random_state, 4)
        split = split_for_training(rows, config.training, split_seed, validation)
        if validation is None and len(split.val):
            validation = rows.take(split.val)
        warn_of_split(config, split, rows, classes, validation)

        train = rows.take(split.train)
        net = make_net(config, classes, train, seeds, device, self.verbose)
        net.callbacks = make_callbacks(config, tasks, validation, callbacks, self.verbose)
        tokenizer = train_net(net, config.training, train, validation)

        # Scored before anything is stored: an interrupted fit leaves no half of itself behind.
        test_scores = _score_rows(net, tokenizer, tasks, rows.take(split.test))
        self.net_, self.tokenizer_ = net, tokenizer
        self.tasks_, self.classes_, self.test_scores_ = tasks, classes, test_scores
        self.train_indices_, self.val_indices_, self.test_indices_ = (
            np.unique(table.positions[part]) for part in split
        )
        if self.verbose:
            tqdm.write(_score_table(self.test_scores_))
        return self

    def train(self, data):
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

    # ----------------------------------------------------------------------------------------
    # Prediction

    def predict(self, X, task=None):
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
        check_is_fitted(self)
        if task is None and is_long(X, self._columns):
            return self._predict_rows(X)
        columns = self._predict_columns(X, task)
        if len(columns) == 1:
            return next(iter(columns.values()))
        result = np.empty((len(next(iter(columns.values()))), len(columns)), self._dtype(columns))
        for i, labels in enumerate(columns.values()):
            result[:, i] = labels
        return result

    def predict_all(self, X):
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
        check_is_fitted(self)
        index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
        return pd.DataFrame(self._predict_columns(X, None), index=index)

    def predict_proba(self, X, task=None):
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
        check_is_fitted(self)
        n_classes = [len(self.classes_[name]) for name in self.tasks_]
        texts, tasks = self._questions(X, task)
        every = predict_probabilities(self.net_, self.tokenizer_, texts, tasks, n_classes)
        asked = dict.fromkeys(tasks) if len(tasks) else self._task_codes(task)
        result = {self.tasks_[code]: every[code] for code in sorted(asked)}
        return next(iter(result.values())) if len(result) == 1 else result

    def score(self, X, y=None):
        """Return the mean over tasks of the accuracy.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Labeled rows in any form that :meth:`fit` takes.
        y : array-like, DataFrame or None, default=None
            The labels, where X does not hold them.

        Returns
        -------
        score : float
            Each task counts the same, however many rows it has. A label that :meth:`fit` never
            saw makes its row count as wrong.
        """
        check_is_fitted(self)
        rows = self._read_rows(X, y, self.tasks_, self.classes_)
        scores = _score_rows(self.net_, self.tokenizer_, self.tasks_, rows)
        return float(np.mean([score["accuracy"] for score in scores.values()]))

    # ----------------------------------------------------------------------------------------
    # Views

    def __getitem__(self, task):
        """Return the view of one task."""
        check_is_fitted(self)
        self._check_task(task)
        return TaskClassifier(self, task)

    @property
    def named_estimators_(self):
        """The views of all tasks, by name."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError("named_estimators_ exists after fit only.")
        views = Bunch()
        # Not as keywords: a task may be called `self`.
        views.update({task: TaskClassifier(self, task) for task in self.tasks_})
        return views

    def __contains__(self, task):
        """Say whether there is such a task."""
        check_is_fitted(self)
        return task in self.tasks_

    def __sklearn_is_fitted__(self):
        """Say whether `fit` has come to its end."""
        return hasattr(self, "net_")

    # ----------------------------------------------------------------------------------------
    # Persistence

    def save(self, folder):
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
            If `callbacks` or a RandomState instance are set. They are no plain data and are not
            saved.

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
    def load(cls, folder):
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
        return state | {"saved_with_": library_versions()} if "net_" in state else state

    # ----------------------------------------------------------------------------------------
    # Reading and scoring rows

    @property
    def _columns(self):
        return Columns(self.text_column, self.task_column, self.label_column)

    def _read_rows(self, X, y, tasks, classes):
        """Read labeled rows of known tasks."""
        table = read_labeled(X, y, self._columns, tasks=tasks)
        return encode_table(table, tasks, classes)

    def _read_validation(self, X_val, y_val, tasks, classes):
        if X_val is not None:
            return self._read_rows(X_val, y_val, tasks, classes)
        if y_val is not None:
            raise ValueError("y_val was given without X_val. Give both, or neither.")
        return None

    # ----------------------------------------------------------------------------------------
    # Parts of predict

    def _questions(self, X, task):
        """Return a text and a task code for each answer that is asked for."""
        if task is None and is_long(X, self._columns):
            table = read_questions(X, self._columns)
            return table.texts, encode_tasks(table, self.tasks_)
        return self._questions_on_texts(X, task)

    def _questions_on_texts(self, X, task):
        """Return a text and a task code for each pair of a text and a task."""
        codes = self._task_codes(task)
        texts = read_texts(X, self._columns)
        return np.repeat(texts, len(codes)), np.tile(codes, len(texts))

    def _task_codes(self, task):
        if task is None:
            return np.arange(len(self.tasks_))
        self._check_task(task)
        return np.array([self.tasks_.index(task)])

    def _check_task(self, task):
        if not isinstance(task, str):
            raise TypeError(f"A task is named by a string, got {task!r}.")
        if task not in self.tasks_:
            raise ValueError(unknown_task(task, self.tasks_))

    def _predict_codes(self, texts, tasks):
        return predict_codes(self.net_, self.tokenizer_, texts, tasks, len(self.tasks_))

    def _predict_columns(self, X, task):
        """Return the labels of all texts for each task that is asked for."""
        texts, tasks = self._questions_on_texts(X, task)
        labels = self._predict_codes(texts, tasks)
        names = {code: self.tasks_[code] for code in self._task_codes(task)}
        return {name: self.classes_[name][labels[tasks == code]] for code, name in names.items()}

    def _predict_rows(self, X):
        """Return one label for each row of a frame with a task column."""
        texts, tasks = self._questions(X, None)
        labels = self._predict_codes(texts, tasks)
        asked = [self.tasks_[code] for code in np.unique(tasks)]
        result = np.empty(len(texts), dtype=self._dtype(asked))
        for name in asked:
            rows = tasks == self.tasks_.index(name)
            result[rows] = self.classes_[name][labels[rows]]
        return result

    def _dtype(self, tasks):
        """Return the common type of the labels of some tasks, or object."""
        dtypes = {self.classes_[task].dtype for task in tasks}
        if len({dtype.kind for dtype in dtypes}) != 1:
            return object
        return np.result_type(*dtypes)


def _score_rows(net, tokenizer, tasks, rows):
    """Score coded rows, by task name."""
    if not len(rows.texts):
        return {}
    predicted = predict_codes(net, tokenizer, rows.texts, rows.tasks, len(tasks))
    scores = scores_per_task(rows.tasks, rows.labels, predicted)
    return {tasks[code]: score for code, score in scores.items()}


def _score_table(scores):
    """Return the scores on the held-out rows as text."""
    if not scores:
        return "No rows were held out, so there are no scores."
    frame = pd.DataFrame.from_dict(scores, orient="index")
    formats = {"accuracy": "{:.3f}".format, "f1": "{:.3f}".format}
    return "Held-out scores\n" + frame.to_string(formatters=formats)

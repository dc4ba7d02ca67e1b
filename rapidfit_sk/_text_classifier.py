"""`TextClassifier`: a classifier of texts for one task, which other tasks may help to train."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._abstention import MIN_CONFIDENCE_OF_TASK
from ._atomic import all_or_nothing
from ._estimator import TextEstimator
from ._held_out import FitRows
from ._rows import (
    LABEL_TEXTS,
    LABEL_TEXTS_OF_TASK,
    TARGET_OF_TASK,
    LabeledTable,
    LabelTexts,
    OneTaskReader,
    Target,
    features_read,
    read_texts,
)
from ._typing import ArrayOrFrame, Device, MemoryLike
from ._validation import (
    Constraint,
    array_like,
    check_argument,
    none,
    one_of,
    short,
    suggests_names,
    text,
)
from ._visual_block import visual_block
from .config import FullConfig, MultiheadConfig

if TYPE_CHECKING:
    from ._coverage import Coverage
    from ._fitted import FittedModel


class TextClassifier(ClassifierMixin, TextEstimator):
    """Text classifier for one task, on a pretrained encoder.

    It has the interface of a scikit-learn classifier, so tools for classifiers can fit it:
    cross-validation, calibration, stacking, threshold tuning and others. Rows of other tasks can
    help to train the encoder.

    Parameters
    ----------
    config : MultiheadConfig, dict or None, default=None
        The configuration, as in :class:`MultiheadClassifier`. Each of its parameters is also a
        parameter of the classifier, such as ``config__head__dropout``. In this class,
        ``training.test_size=None`` means 0: all rows of X are training or validation rows.
        ``loss.task_weights`` has no effect without helpers.
    task : str, default="label"
        Name of the task in messages, in the history and in ``loss.task_weights``. Helpers must not
        have a task of this name.
    label_texts : "auto", dict or None, default="auto"
        What the labels are called, as in :class:`MultiheadClassifier`. A dict
        ``{label: text or list of texts}`` describes the labels of this task. A dict of such dicts,
        with the tasks as keys, can also describe the labels of helpers.
    text_column : str, default="text"
        Name of the text column, if X is a frame with several columns.
    task_column, label_column : str, default="task" and "label"
        Names of the other columns of a long frame of helpers.
    callbacks : list or None, default=None
        Additional skorch callbacks, as in :class:`MultiheadClassifier`.
    warm_start : bool, default=False
        Whether :meth:`fit` starts from the weights of an earlier fit. Its classes and helper tasks
        are kept, and new ones are added.
    random_state : int, RandomState instance or None, default=None
        Controls the initial weights of heads, dropout, batch order, task sampling and splits, as in
        :class:`MultiheadClassifier`.
    device : str or torch.device, default="auto"
        The device to compute on. "auto" is "cuda" if torch finds a GPU, and "cpu" otherwise.
    precision : {"float32", "bfloat16", "auto"}, default="auto"
        The precision of matrix multiplications in the encoder, as in :class:`MultiheadClassifier`.
    compile : bool, default=False
        Whether to compile the encoder with `torch.compile`.
    memory : str, path-like, joblib.Memory or None, default=None
        The location of the embedding cache. It keeps embeddings of the pretrained encoder for
        other folds, candidates of a search and later fits.
    cache_memory, cache_disk : int or float, default=0.25
        Maximum size of the activation cache in memory and in a temporary file, as a number of bytes
        or as a share of the free space.
    checkpoint_dir : str, path-like or None, default=None
        A folder for checkpoints of :meth:`fit`, as in :class:`MultiheadClassifier`.
    checkpoint_steps : int or None, default=None
        Number of optimizer steps between checkpoints within an epoch.
    keep_checkpoints : bool, default=False
        Whether to keep the checkpoint of a finished fit.
    verbose : int or bool, default=0
        How much of a training is shown on standard error, as in :class:`MultiheadClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted classes, in the same type as the labels.
    helper_tasks_ : list of str
        The tasks of the helpers. The fitted model keeps their heads for later training.
    label_texts_ : DataFrame
        The label texts and how much they counted, as in :class:`MultiheadClassifier`.
    fitted_on_ : dict of {str: str}
        The number of rows and label texts behind each head, as in :class:`MultiheadClassifier`.
    temperature_ : float
        The number that divides the logits before the softmax, chosen to maximize the likelihood of
        the calibration rows. A later training without calibration rows, such as
        :meth:`partial_fit`, keeps it. Without any calibration rows, it is 1.
    threshold_ : float
        The minimum confidence from :meth:`tune_threshold`. It does not exist after a training.
    net_ : MultiheadNet
        The trained skorch net, with ``history`` and ``callbacks_``.
    history_ : DataFrame
        Losses, scores, learning rates and times of all epochs, as in :class:`MultiheadClassifier`.
    model_ : FittedModel
        The fitted model, to which the attributes above belong. A fit replaces it as a whole.
    train_indices_, val_indices_, test_indices_ : ndarray of int
        Positions in X of the training rows, the validation rows and the test rows.
    test_scores_ : dict of {str: float}
        ``accuracy``, ``f1`` (macro-averaged) and ``n_rows`` on the test rows. It is empty if there
        are none, which is the default.
    truncated_fraction_, unknown_fraction_ : float
        Share of the training texts that are longer than ``training.max_length`` and not read to the
        end, and share of the tokens that the tokenizer does not know.
    n_features_in_, feature_names_in_ : int and ndarray of str
        Number and name of the text column. They exist if X is a frame, the name only if it is a
        string.
    saved_with_ : dict of {str: str}
        Versions of the libraries when the classifier was saved. It exists only after loading or
        copying.

    See Also
    --------
    MultiheadClassifier : Predicts several tasks with one model.
    MultiheadClassifier.classifier_for : Returns a TextClassifier with the same configuration.

    Notes
    -----
    The model, its training and its parameters are those of :class:`MultiheadClassifier` with one
    task. Without helpers, both give the same probabilities to the bit.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_predict
    >>> from rapidfit_sk import MultiheadConfig, TextClassifier, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> messages = load_support_messages()
    >>> is_intent = messages["task"] == "intent"
    >>> X, y = messages.loc[is_intent, "text"], messages.loc[is_intent, "label"]
    >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
    >>> classifier = TextClassifier(MultiheadConfig(training=training), random_state=0)
    >>> classifier.fit(X, y, helpers=messages[~is_intent]).classes_.tolist()
    ['ask', 'buy', 'complain', 'sell']
    >>> cross_val_predict(classifier, X, y, cv=2, method="predict_proba").shape
    (300, 4)
    """

    _reads_tasks = False
    _constraints: ClassVar[dict[str, Constraint]] = {
        **TextEstimator._constraints,
        "task": text(),
        "label_texts": one_of("auto") | LABEL_TEXTS_OF_TASK | LABEL_TEXTS | none,
    }

    @suggests_names
    def __init__(
        self,
        config: MultiheadConfig | dict[str, Any] | None = None,
        *,
        task: str = "label",
        label_texts: LabelTexts | dict[Any, Any] = "auto",
        text_column: str = "text",
        task_column: str = "task",
        label_column: str = "label",
        callbacks: list[Any] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | Device = "auto",
        precision: Literal["float32", "bfloat16", "auto"] = "auto",
        compile: bool = False,
        memory: MemoryLike | None = None,
        cache_memory: float = 0.25,
        cache_disk: float = 0.25,
        checkpoint_dir: str | PathLike[str] | None = None,
        checkpoint_steps: int | None = None,
        keep_checkpoints: bool = False,
        verbose: int = 0,
    ):
        self.config = config
        self.task = task
        self.label_texts = label_texts
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.compile = compile
        self.memory = memory
        self.cache_memory = cache_memory
        self.cache_disk = cache_disk
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_steps = checkpoint_steps
        self.keep_checkpoints = keep_checkpoints
        self.verbose = verbose

    # ----------------------------------------------------------------------------------------
    # Training

    @all_or_nothing
    def fit(
        self,
        X: ArrayOrFrame,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        helpers: Any = None,
        X_val: ArrayOrFrame | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on texts and their labels.

        If this raises any exception, the classifier keeps the state that it had before.

        Parameters
        ----------
        X : array-like of str, shape (n_rows,), or DataFrame
            Texts: a list, an array, a Series, a frame with one column, or a frame with a text
            column, of pandas or any library that narwhals supports. Other columns are ignored.
        y : array-like of shape (n_rows,) or None, default=None
            The labels: strings, ints of at most 64 bits, bools or floats. With None and a dict as
            `label_texts`, label texts alone predict the task, and nothing is trained.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row, in the loss and in scores. A row of weight 2 counts as two rows.
        helpers : DataFrame, dict, tuple or None, default=None
            Labeled rows of other tasks, which train the shared encoder: a long frame or a dict of
            tasks as in :meth:`MultiheadClassifier.fit`, or a tuple ``(X,)``, ``(X, y)`` or
            ``(X, y, sample_weight)`` of its arguments. They are never held out, and none of them
            trains if its text is a validation, test or calibration text. Cross-validation passes
            helpers as a whole. A frame with as many rows as X would be split; it is an error, and
            the message says how to pass it.
        X_val : array-like of str, DataFrame or None, default=None
            Validation texts. They replace the validation rows that would be held out from X.
        y_val : array-like of shape (n_validation_rows,) or None, default=None
            The labels of the validation texts.
        sample_weight_val : array-like of shape (n_validation_rows,) or None, default=None
            The weight of each validation row.

        Returns
        -------
        self : TextClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter is invalid. The message names the parameter or the row.
        OSError
            If the encoder is not found, or a checkpoint cannot be written.
        FloatingPointError
            If a loss or a weight becomes NaN or infinite.
        RuntimeError
            If torch's default dtype is not float32.
        """
        start = self._earlier(is_continued=self.warm_start)
        config, given = self._read(X, y, sample_weight, helpers, start)
        if X_val is not None and y is None:
            raise ValueError("X_val has no effect if y is None. Omit X_val, or pass labels.")
        validation = self._reader.validation_rows(
            X_val, y_val, sample_weight_val, given.rows.classes
        )
        return self._fit_rows(config, given.with_validation(validation), start)

    @all_or_nothing
    def partial_fit(
        self,
        X: ArrayOrFrame,
        y: ArrayLike,
        classes: Collection[Any] | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        helpers: Any = None,
    ) -> Self:
        """Train for one epoch on these rows, starting from the fitted weights if there are any.

        Parameters
        ----------
        X : array-like of str, shape (n_rows,), or DataFrame
            Texts, as in :meth:`fit`.
        y : array-like of shape (n_rows,)
            The labels.
        classes : array-like or None, default=None
            Classes of the task, in addition to those that it already has. Any other label in `y` is
            an error. Pass them in the first call if its rows do not have all classes. With None,
            new labels add columns to the head.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row.
        helpers : DataFrame, dict, tuple or None, default=None
            Rows of other tasks, as in :meth:`fit`.

        Returns
        -------
        self : TextClassifier
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            As in :meth:`fit`, and if `model_name`, `pooling` or the architecture of the head
            differs from the earlier fit.

        Notes
        -----
        As in :meth:`MultiheadClassifier.partial_fit`, no rows are held out.
        """
        start = self._earlier(is_continued=True)
        check_argument("classes", classes, array_like() | none)
        config, given = self._read(X, y, sample_weight, helpers, start, classes)
        return self._fit_epoch(config, given, start)

    @all_or_nothing
    def tune_threshold(
        self,
        X: ArrayOrFrame,
        y: ArrayLike,
        *,
        precision: float | None = None,
        coverage: float | None = None,
    ) -> Self:
        """Choose the minimum confidence of predictions on calibration rows.

        Parameters
        ----------
        X : array-like of str, shape (n_rows,), or DataFrame
            Calibration rows as in :meth:`fit`. They must not have trained. A label that is not a
            class, such as "out of scope", is never predicted, so its rows count as wrong.
        y : array-like of shape (n_rows,)
            The labels.
        precision : float or None, default=None
            The share of predicted labels that shall be correct on new rows, with a certainty of
            90 %.
        coverage : float or None, default=None
            The share of new rows that shall get a label. Pass either this or `precision`.

        Returns
        -------
        self : TextClassifier
            The classifier with `threshold_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            If no threshold reaches the precision; the message states the highest one. Also if the
            rows or the targets are invalid. The thresholds are then unchanged.

        See Also
        --------
        predict : Predict only labels above a minimum confidence.

        Notes
        -----
        As in :meth:`MultiheadClassifier.tune_thresholds`.
        """
        check_is_fitted(self)
        for name, value in (("precision", precision), ("coverage", coverage)):
            check_argument(name, value, TARGET_OF_TASK)
        target = Target.of(precision, coverage)
        return self._tune(self._rows_to_score(self.model_, X, y), target)

    def _read(
        self, X, y, sample_weight, helpers, start: FittedModel | None, classes=None
    ) -> tuple[FullConfig, FitRows]:
        """Return the configuration and the rows of a training."""
        config = self._checked_config()
        known = None if start is None else start.classes
        if start is not None and start.tasks[0] != self.task:
            raise ValueError(
                f"The 'task' parameter was {short(start.tasks[0])} in the earlier fit and is "
                f"{short(self.task)} now. Set it back, or call fit with warm_start=False."
            )
        read, others = self._reader.training_rows(X, y, sample_weight, helpers, known, classes)
        if len(read.rows.classes) == 1:
            config.loss.task_weights = None
        features = features_read(X, [self.text_column])
        return config, FitRows.of(read, features, others)

    def _fitted_by(self, model: FittedModel, scores, given: FitRows, split) -> dict[str, Any]:
        """Return the fitted attributes, with the scores of the only task."""
        fitted = super()._fitted_by(model, scores, given, split)
        return {**fitted, "test_scores_": scores.get(self.task, {})}

    @property
    def _default_test_size(self) -> float:
        return 0.0

    def _table_to_score(self, model: FittedModel, X, y, sample_weight=None) -> LabeledTable:
        """Read texts and labels of the task of a fitted model."""
        return self._reader.known_table(X, y, sample_weight)

    @property
    def _reader(self) -> OneTaskReader:
        return OneTaskReader(self._columns, self.task, self._label_texts)

    @property
    def _label_texts(self) -> LabelTexts:
        """The label texts by task, if they were given for this task only."""
        given = self.label_texts
        if not isinstance(given, dict) or all(isinstance(each, dict) for each in given.values()):
            return given
        return {self.task: given}

    # ----------------------------------------------------------------------------------------
    # Fitted attributes

    @property
    def classes_(self) -> np.ndarray:
        """The sorted classes."""
        return next(iter(self._fitted("classes_").classes.values()))

    @property
    def helper_tasks_(self) -> list[str]:
        """The tasks of the helpers."""
        return self._fitted("helper_tasks_").tasks[1:]

    @property
    def temperature_(self) -> float:
        """The temperature that divides the logits."""
        model = self._fitted("temperature_")
        return model.temperatures[model.tasks[0]]

    @property
    def threshold_(self) -> float:
        """The tuned minimum confidence."""
        model = self._fitted("threshold_")
        threshold = (model.thresholds or {}).get(model.tasks[0])
        if threshold is None:
            raise AttributeError("'threshold_' is not known before tune_threshold.")
        return threshold

    @property
    def truncated_fraction_(self) -> float:
        """Share of the training texts that are longer than `max_length`."""
        return self._coverage("truncated_fraction_").truncated

    @property
    def unknown_fraction_(self) -> float:
        """Share of the tokens that the tokenizer does not know."""
        return self._coverage("unknown_fraction_").unknown

    def _coverage(self, name: str) -> Coverage:
        """Return the coverage of the task, or raise AttributeError for attribute `name`."""
        model = self._fitted(name)
        if not model.coverage:
            raise AttributeError(f"{name!r} is not known for this model.")
        return model.coverage[model.tasks[0]]

    def _predicted_tasks(self, model: FittedModel) -> list[str]:
        """Return the task, without those of helpers."""
        return model.tasks[:1]

    # ----------------------------------------------------------------------------------------
    # Prediction

    def predict(
        self, X: ArrayOrFrame, *, min_confidence: float | Literal["tuned"] | None = None
    ) -> np.ndarray:
        """Predict the label of each text.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, as in :meth:`fit`.
        min_confidence : float, "tuned" or None, default=None
            The probability that the predicted label of a text must have. Texts below it get None
            instead of a label. "tuned" uses `threshold_`. None predicts a label for each text.

        Returns
        -------
        labels : ndarray of shape (n_texts,)
            Labels, in the same type as in the training data. With `min_confidence`, the array has
            dtype object.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If `min_confidence` is "tuned" before :meth:`tune_threshold`.
        """
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE_OF_TASK)
        model = self._snapshot()
        task = np.array([0])
        minimum = model.min_confidence_of(min_confidence, task)
        (labels,) = model.labels_by_task(read_texts(X, self._columns), task, minimum).values()
        return labels

    def predict_proba(self, X: ArrayOrFrame) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, as in :meth:`fit`.

        Returns
        -------
        probabilities : ndarray of shape (n_texts, n_classes)
            Probabilities, with columns in the order of `classes_`. Rows sum to 1.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        """
        model = self._snapshot()
        texts = read_texts(X, self._columns)
        return model.probabilities(texts, np.zeros(len(texts), dtype=np.int64))[0]

    def predict_log_proba(self, X: ArrayOrFrame) -> NDArray[np.float64]:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, as in :meth:`fit`.

        Returns
        -------
        log_probabilities : ndarray of shape (n_texts, n_classes)
            The natural logarithms of :meth:`predict_proba`. They are finite, also for
            probabilities that are rounded to 0.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        """
        model = self._snapshot()
        texts = read_texts(X, self._columns)
        return model.log_probabilities(texts, np.zeros(len(texts), dtype=np.int64))[0]

    # ----------------------------------------------------------------------------------------
    # Interface of scikit-learn

    def __sklearn_tags__(self):
        """Return tags for a classifier of texts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        return tags

    def _sk_visual_block_(self):
        """Show the groups of the configuration and, once fitted, the classes."""
        fitted = {self.task: self.classes_} if self.__sklearn_is_fitted__() else None
        return visual_block(self._shown_config(), fitted)

"""`MultiheadClassifier`: a text classifier for several tasks with one shared encoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from ._atomic import all_or_nothing, fitted_attributes, replace_fitted
from ._held_out import FitRows
from ._prediction import TaskPredictor
from ._rows import (
    LABEL_TEXTS,
    LABEL_TEXTS_OF_TASK,
    LabelTexts,
    Target,
    features_read,
)
from ._text_classifier import TextClassifier
from ._typing import ArrayOrFrame, Device, MemoryLike, RowsLike, TargetLike
from ._validation import (
    Constraint,
    InvalidParameterError,
    array_like,
    boolean,
    check_argument,
    mapping_to,
    none,
    one_of,
    short,
    suggests_names,
    text,
)
from ._visual_block import visual_block
from .config import FullConfig, MultiheadConfig


class MultiheadClassifier(TaskPredictor):
    """Multi-task text classifier with a shared pretrained encoder and one head per task.

    Parameters
    ----------
    config : MultiheadConfig, dict or None, default=None
        The configuration of the model and its training. None means the defaults, and a dict means
        ``MultiheadConfig.from_dict(config)``. Each of its parameters is also a parameter of the
        classifier, such as ``config__head__dropout``. If `set_params` sets one of them, `config`
        becomes a MultiheadConfig.
    text_column, task_column, label_column : str, default="text", "task" and "label"
        Names of the columns of a long frame.
    split_column : str or None, default=None
        Name of a column of X that splits the rows of a fit: rows with "train" train, rows with
        "validation", "val", "valid" or "dev" are the validation rows, as if passed as `X_val`, and
        rows with "test" are the test rows. Case and surrounding white space do not matter. If the
        column has rows of a part, no others are held out for this part, and `test_size=None` means
        0. With None, rows are held out at random.
    task_labels : dict of {str: array-like} or None, default=None
        The classes of a task, for example ``{"sentiment": ["bad", "good"]}``. Its head then has an
        output for each of them, even for classes without rows in the data, so probabilities have
        the same columns in all folds of a cross-validation. Any other label in the data is an
        error. The classes of other tasks are learned from the data. A task without rows is
        predicted from label texts, and is an error if its labels have none.
    label_texts : "auto", dict or None, default="auto"
        What the labels are called, which helps most if there are few rows. "auto" uses labels that
        are words: it splits them at "_", "-", "/", spaces and between "camelCase" words. Numbers,
        ids and codes have no text, nor have labels that differ only in such parts. A dict
        ``{task: {label: text or list of texts}}`` adds texts of the user's own, such as
        descriptions, which replace the names of these labels. It declares labels, too: a label
        without rows is predicted from its text, and so is a task without any rows. None uses no
        texts.

        A text of a label trains as one more row of this label. Its weight, from 0 to 1, grows with
        the evidence that the texts of the task describe its training rows, so texts without meaning
        count for nothing. The weight falls for labels with more than 8 rows, and is 0 for labels
        with 16 rows or more. See ``label_texts_``.
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
        two fits with the same int give the same predictions to the bit if they use the same
        library versions, the same number of threads (``torch.get_num_threads()``) and the same
        kind of CPU. With another number of threads or on another CPU, sums are rounded in another
        order, so predictions differ slightly. They differ more if only one of the CPUs supports
        bfloat16, unless `precision` is "float32".
    device : str or torch.device, default="auto"
        The device to compute on. "auto" is "cuda" if torch finds a GPU, and "cpu" otherwise.
    precision : {"float32", "bfloat16", "auto"}, default="auto"
        The precision of matrix multiplications in the encoder. Weights, heads and loss are always
        float32. "auto" trains in bfloat16 if the hardware supports it, and predicts in float32.
        "bfloat16" is used for predictions, too. It is slow on hardware without support.
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
    checkpoint_dir : str, path-like or None, default=None
        A folder for checkpoints of :meth:`fit`, one folder for each fit that runs at the same time.
        If a fit was killed, the same call continues from the last checkpoint and gives the same
        model to the bit. Data or parameters that differ from the checkpoint are an error. Without
        an int as `random_state`, the seeds come from the checkpoint. With None, there are no
        checkpoints.
    checkpoint_steps : int or None, default=None
        Number of optimizer steps between checkpoints within an epoch. With None, there is one
        checkpoint at the end of each epoch. A checkpoint contains all weights.
    keep_checkpoints : bool, default=False
        Whether to keep the checkpoint of a finished fit. The same call of :meth:`fit` then returns
        its model without training, unless `warm_start` makes it start from another model.
    verbose : int or bool, default=0
        How much of a training is shown on standard error. With 1 or True, it is a progress bar per
        phase (head-only epochs, fine-tuning epochs) in a terminal or a notebook, and one line per
        epoch elsewhere: the layers that train, the losses, the validation accuracy of each task and
        the time left. The lines go to the logger ``"rapidfit_sk"`` instead if it has a handler and
        shows messages of level INFO. After the training, a table shows the scores on the test rows
        or, without test rows, the scores on the validation rows in the epoch whose weights were
        kept. With 2 or more, the lines also have the validation F1 score of each task and the
        learning rates, and a terminal or a notebook shows them above the progress bars.

    Attributes
    ----------
    tasks_ : list of str
        The tasks in order of first appearance.
    classes_ : dict of {str: ndarray}
        The sorted classes of each task, in the same type as the labels.
    label_texts_ : DataFrame
        The label texts, with the columns ``task``, ``label``, ``text`` and ``weight``. The weight
        is how much all texts of the label together counted, in rows of average weight.
    fitted_on_ : dict of {str: str}
        The number of rows and label texts behind the head of each task, such as "300 rows and 3
        label texts". With "no rows and 3 label texts", the task is predicted from the texts alone:
        its logits are 16 times the cosine similarities of a text and the label texts. In other
        words, the temperature of these similarities is 1/16. It is the same for all data, because
        there are no rows to calibrate on.
    temperatures_ : dict of {str: float}
        The number that divides the logits of each task before the softmax, chosen to maximize
        the likelihood of the calibration rows. A later training without calibration rows, such as
        :meth:`partial_fit`, keeps the temperatures of its tasks. Without any calibration rows, it
        is 1.
    thresholds_ : dict of {str: float}
        The minimum confidence of each task, from :meth:`tune_thresholds`. Empty after a training.
    net_ : MultiheadNet
        The trained skorch net. ``net_.module_.encoder`` is the Hugging Face model,
        ``net_.callbacks_`` contains the callbacks that ran, and ``net_.history`` their records.
    history_ : DataFrame
        Losses, scores, learning rates and times of all epochs of all trainings, with the columns
        ``training``, ``phase``, ``epoch``, ``task``, ``metric`` and ``value``. Its own
        documentation describes the values.
    model_ : FittedModel
        The fitted model, to which the attributes above belong. A fit replaces it as a whole.
    train_indices_, val_indices_, test_indices_ : ndarray of int
        Positions in X of the training rows, the validation rows and the test rows. In a dict of
        tasks, positions continue from one task to the next.
    test_scores_ : dict of {str: dict}
        ``accuracy``, ``f1`` (macro-averaged) and ``n_rows`` on the test rows of each task that
        has test rows.
    truncated_fraction_, unknown_fraction_ : dict of {str: float}
        For each task, the share of its training texts that are longer than the maximum length
        (``training.max_length``) and not read to the end, and the share of its tokens that the
        tokenizer does not know. A share above 0.05 leads to a warning.
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
        **TaskPredictor._constraints,
        "split_column": text() | none,
        "task_labels": mapping_to(array_like()) | none,
        "label_texts": one_of("auto") | LABEL_TEXTS | none,
    }

    @suggests_names
    def __init__(
        self,
        config: MultiheadConfig | dict[str, Any] | None = None,
        *,
        text_column: str = "text",
        task_column: str = "task",
        label_column: str = "label",
        split_column: str | None = None,
        task_labels: dict[str, Collection[Any]] | None = None,
        label_texts: LabelTexts = "auto",
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
        self.text_column = text_column
        self.task_column = task_column
        self.label_column = label_column
        self.split_column = split_column
        self.task_labels = task_labels
        self.label_texts = label_texts
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
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: RowsLike | None = None,
        y_val: ArrayOrFrame | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on rows of (text, task, label).

        If this raises any exception, also KeyboardInterrupt, the classifier keeps the state that it
        had before. The same holds for :meth:`partial_fit` and :meth:`add_task`. Calls of these
        methods on the same classifier in several threads run one after the other.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            One of

            - a long frame with a text, a task and a label column;
            - a frame with a text and a task column, and the labels as `y`;
            - a dict ``{task: [{"text": ..., "label": ...}, ...]}``;
            - texts (a list, an array, a Series, or a frame with a text column) with `y` either
              a DataFrame of one column per task, in which a missing value means that the text
              has no label for this task, or a one-dimensional array for one task;
            - texts without `y`, if `label_texts` or `task_labels` declares all tasks. Nothing is
              trained then: label texts alone predict all tasks.

            Frames can come from pandas, polars or any other library that narwhals supports.
        y : array-like, DataFrame or None, default=None
            The labels, aligned with X by position; a label column in X is then ignored. Labels
            of a task are strings, ints of at most 64 bits, bools or floats of at most 64 bits, of
            Python or of numpy. Predictions have the same type. Any other type is an error.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row of X, in the loss and in scores. In a dict of tasks, weights
            continue from one task to the next. A row of weight 2 counts as two rows. A row of
            weight 0 is left out, but its label is still learned as a class. Other weights must be
            in the range [1e-9, 1e9].
        X_val : DataFrame, dict, array-like of str or None, default=None
            Validation data in any of the same forms. It replaces the validation rows that would
            be held out from X, see `val_size`. If the `split_column` of X has validation rows,
            this is an error.
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
            the column and the row. Also if the checkpoint in `checkpoint_dir` belongs to a fit
            with other data or parameters.
        OSError
            If the encoder is not found, or a checkpoint cannot be written.
        FloatingPointError
            If a loss or a weight becomes NaN or infinite. The message names the epoch, the batch
            and the learning rate.
        RuntimeError
            If torch's default dtype is not float32.

        Warns
        -----
        UserWarning
            If rows contradict each other, if labels of a task differ only in case, white space or
            Unicode normalization, if a frame of labels has empty cells, if a task is too small to
            hold rows out, if `split_column` is None although X has a column "split" with rows of
            several parts, or if the encoder does not read more than a twentieth of the texts or
            tokens of a task.
        """
        config = self._checked_config()
        start = self._earlier(is_continued=self.warm_start)
        known = None if start is None else start.classes
        read = self._reader.training_rows(X, y, sample_weight, known)
        if X_val is not None and "val" in read.parts:
            raise ValueError(
                f"Column {short(self.split_column)} of X has validation rows, but X_val was given, "
                "too. Omit X_val, or drop these rows from X."
            )
        if X_val is not None and not len(read.rows):
            raise ValueError("X_val has no effect if X has no labels. Omit X_val, or pass labels.")
        classes = read.rows.classes
        validation = self._reader.validation_rows(X_val, y_val, sample_weight_val, classes)
        given = FitRows.of(read, features_read(X, self._columns[:2])).with_validation(validation)
        return self._fit_rows(config, given.with_parts(read.parts), start)

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

    @all_or_nothing
    def partial_fit(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        classes: Collection[Any] | Mapping[str, Collection[Any]] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on these rows, starting from the fitted weights if there are any.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            As in :meth:`fit`. It may contain new tasks and new labels of known tasks. A new task
            adds a head. New labels add columns to a head, and its old columns keep their weights.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        classes : dict of {str: array-like}, array-like or None, default=None
            Classes of some tasks, or of the only task in X, in addition to those that the tasks
            already have. Any other label of these tasks is an error. Pass them if the rows do not
            have all classes. Tasks without rows in X are ignored.
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
        All rows are training rows: none are held out, and there is no early stopping. With a
        `split_column`, rows that are not training rows are ignored. The first
        ``encoder.freeze_epochs`` epochs, counted over all calls, train only the heads. The
        learning rate rises and falls within each call. Temperatures are kept. Tasks without rows
        in X keep their heads, but their predictions still change if the encoder trains. The first
        rows of a task that label texts have predicted so far build its head anew, from the rows
        and the texts.
        """
        config = self._checked_config()
        start = self._earlier(is_continued=True)
        known = None if start is None else start.classes
        read = self._reader.training_rows(X, y, sample_weight, known, in_part=True, classes=classes)
        given = FitRows.of(read, features_read(X, self._columns[:2]))
        return self._fit_epoch(config, given, start)

    @all_or_nothing
    def add_task(
        self,
        X: RowsLike | None = None,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        task: str | None = None,
        label_texts: dict[Any, Any] | None = None,
        replace: bool = False,
    ) -> Self:
        """Add one task without changing the predictions of the other tasks.

        Only the new head trains, so the predictions of the other tasks stay the same to the bit.
        This takes a small part of the time of a fit, because each text is encoded only once. A
        calibration fit on small data encodes it a second time, unless `memory` is set. Without
        rows, the head predicts from texts of its labels and nothing trains, which takes
        milliseconds.

        Parameters
        ----------
        X : DataFrame, dict, array-like of str or None, default=None
            Rows of one task, in any form that :meth:`fit` takes. With None, the new head predicts
            from the texts of the labels alone.
        y : array-like or None, default=None
            The labels, if X does not contain them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row.
        task : str or None, default=None
            The name of the task, if neither a task column nor the name of `y` gives it. With it, a
            frame with a text and a label column needs no task column.
        label_texts : dict of {label: str or list of str} or None, default=None
            Texts of the labels of the new task. They are added to those in the `label_texts`
            parameter of the classifier, if it has some for this task, and declare classes, too.
        replace : bool, default=False
            Whether a task of the same name is removed first. The new task is then the last one.

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
            If the classifier already has the task and `replace` is False, X has several tasks,
            the task has no name, or there are neither rows nor label texts.

        See Also
        --------
        partial_fit : Train the encoder, too, which may change all tasks.
        remove_task : Remove a task.

        Notes
        -----
        The new head has the same layout as the others. It trains as in :meth:`fit` with
        ``encoder.unfreeze_layers=0``, and `split_column` has the same meaning.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
        >>> from rapidfit_sk.datasets import load_support_messages
        >>> from rapidfit_sk.testing import tiny_encoder
        >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
        >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
        >>> texts = {"delivery": "parcels and shipping", "payment": "invoices and payment"}
        >>> classifier.fit(load_support_messages()).add_task(task="topic", label_texts=texts)
        MultiheadClassifier(...)
        >>> classifier.fitted_on_["topic"]
        'no rows and 2 label texts'
        """
        from ._engine import train_head

        check_is_fitted(self)
        check_argument("replace", replace, boolean())
        check_argument("label_texts", label_texts, LABEL_TEXTS_OF_TASK | none)
        state = fitted_attributes(self)
        before = state["model_"]
        known = [] if replace else before.tasks
        read = self._reader.rows_of_new_task(X, y, sample_weight, task, known, label_texts)
        given = FitRows.of(read, {}).with_parts(read.parts)
        (name,) = given.tasks
        if name in before.classes:
            before = before.without_task(name)
        head, scores = train_head(self, self._checked_config(), given, before)
        self._show(head, scores)
        others = {task: each for task, each in state["test_scores_"].items() if task != name}
        state |= {"model_": before.with_task(head), "test_scores_": others | scores}
        state.pop("saved_with_", None)
        replace_fitted(self, state)
        return self

    @all_or_nothing
    def remove_task(self, task: str) -> Self:
        """Remove one task without changing the predictions of the other tasks.

        Parameters
        ----------
        task : str
            The name of the task.

        Returns
        -------
        self : MultiheadClassifier
            The classifier without the task. ``train_indices_`` and similar attributes still
            describe the last fit.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the classifier does not have the task, or has no other task.

        See Also
        --------
        add_task : Add a task, or replace one.
        """
        check_is_fitted(self)
        state = fitted_attributes(self)
        model = state["model_"]
        model.check_task(task)
        if len(model.tasks) == 1:
            raise ValueError(
                f"The task {short(task)} cannot be removed, because it is the only task. To "
                "replace it, call add_task with replace=True, or fit again."
            )
        scores = {name: each for name, each in state["test_scores_"].items() if name != task}
        state |= {"model_": model.without_task(task), "test_scores_": scores}
        state.pop("saved_with_", None)
        replace_fitted(self, state)
        return self

    @all_or_nothing
    def tune_thresholds(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        *,
        precision: TargetLike | None = None,
        coverage: TargetLike | None = None,
    ) -> Self:
        """Choose the minimum confidence of each task on calibration rows.

        Parameters
        ----------
        X : DataFrame, dict, or array-like of str
            Calibration rows in any form that :meth:`fit` takes. They must not have trained. A label
            that is not a class, such as "out of scope", is never predicted, so its rows count as
            wrong.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        precision : float or dict of {str: float} or None, default=None
            The share of predicted labels that shall be correct on new rows, with a certainty of
            90 %.
        coverage : float or dict of {str: float} or None, default=None
            The share of new rows that shall get a label. Pass either this or `precision`. A
            dict has targets for some tasks; other tasks keep their thresholds.

        Returns
        -------
        self : MultiheadClassifier
            The classifier with `thresholds_`.

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
        Training drops all thresholds, because probabilities change. :meth:`add_task` and
        :meth:`remove_task` keep the thresholds of the other tasks.

        For a precision, the threshold is the lowest one at which the calibration rows above it show
        with a certainty of 90 % that the precision is reached [1]_. About nine of ten thresholds
        therefore reach it on new rows, if these come from the same distribution and confident rows
        are more often correct. A precision of 0.95 needs at least 45 calibration rows per task.

        References
        ----------
        .. [1] Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
           Case of the Binomial", Biometrika 26, 1934.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
        >>> from rapidfit_sk.datasets import load_support_messages
        >>> from rapidfit_sk.testing import tiny_encoder
        >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
        >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
        >>> messages = load_support_messages()
        >>> rows = messages.iloc[classifier.fit(messages).test_indices_]
        >>> list(classifier.tune_thresholds(rows, coverage=0.8).thresholds_)
        ['sentiment', 'intent', 'emotion']
        >>> predicted = classifier.predict(rows, min_confidence="tuned")
        >>> 0.7 < sum(label is not None for label in predicted) / len(rows) < 0.9
        True
        """
        check_is_fitted(self)
        target = Target.of(precision, coverage)
        return self._tune(self._rows_to_score(self.model_, X, y), target)

    @property
    def _default_test_size(self) -> float:
        return super()._default_test_size if self.split_column is None else 0.0

    def _checked_config(self) -> FullConfig:
        """Check all parameters and return a full copy of the configuration."""
        config = super()._checked_config()
        if self.split_column in self._columns:
            raise InvalidParameterError(
                "The 'split_column' parameter of MultiheadClassifier must differ from the "
                "'text_column', 'task_column' and 'label_column' parameters. Got "
                f"{short(self.split_column)} instead."
            )
        return config

    def classifier_for(self, task: str) -> TextClassifier:
        """Return an unfitted classifier of one task with the same configuration.

        Pass it to tools that fit their estimator, for example ``CalibratedClassifierCV(cv=3)``.

        Parameters
        ----------
        task : str
            The name of the task. The classifier need not be fitted.

        Returns
        -------
        classifier : TextClassifier
            A classifier with copies of all parameters that both classes have, so without
            `task_labels` and `split_column`. It learns the classes from its labels.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadClassifier
        >>> classifier = MultiheadClassifier(random_state=0).classifier_for("sentiment")
        >>> classifier.task, classifier.random_state
        ('sentiment', 0)
        """
        check_argument("task", task, text())
        own = clone(self).get_params(deep=False)
        given = own.get("label_texts")
        if isinstance(given, dict):
            own["label_texts"] = {task: given[task]} if task in given else "auto"
        shared = own.keys() & TextClassifier().get_params(deep=False).keys()
        return TextClassifier(task=task, **{name: own[name] for name in shared})

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
        return visual_block(
            self._shown_config(), self.classes_ if self.__sklearn_is_fitted__() else None
        )

"""`TextEstimator`: the base class of both classifiers, which trains, saves and loads."""

from __future__ import annotations

from abc import abstractmethod
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._atomic import fitted_attributes, replace_fitted
from ._compat import CallbackSupportMixin, with_callbacks
from ._evaluation import class_frame, score_frame, scored_rows
from ._held_out import FitRows, indices_of
from ._history import history_frame
from ._parameters import ParameterGroup
from ._report import report
from ._rows import CodedRows, Columns, LabeledTable, Target, encode_table, read_texts
from ._typing import ArrayOrFrame, Device, MemoryLike, RowsLike
from ._validation import (
    LARGEST_INT,
    Constraint,
    InvalidParameterError,
    boolean,
    check_argument,
    check_parameters,
    instance_of,
    integer,
    none,
    of_type,
    one_of,
    path,
    real,
    short,
    text,
)
from .config import FullConfig, MultiheadConfig

# torch, transformers and skorch take seconds to import, so the modules that need them are imported
# in the methods that use them.
if TYPE_CHECKING:
    from ._fitted import FittedModel
    from ._model import TextTokenizer
    from ._training import MultiheadNet


class TextEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, ParameterGroup
):
    """Base class of classifiers that train one encoder with a head per task.

    Subclasses read their input and call :meth:`_fit_rows` or :meth:`_fit_epoch`, which set the
    fitted attributes.
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "config": instance_of(MultiheadConfig, dict) | none,
        "text_column": text(),
        "task_column": text(),
        "label_column": text(),
        "callbacks": instance_of(list) | none,
        "warm_start": boolean(),
        "random_state": integer(0, 2**32 - 1) | instance_of(np.random.RandomState) | none,
        "device": text() | of_type("torch.device"),
        "precision": one_of("float32", "bfloat16", "auto"),
        "compile": boolean(),
        "memory": path() | instance_of(joblib.Memory) | none,
        "cache_memory": integer(0) | real(0, 1),
        "cache_disk": integer(0) | real(0, 1),
        "checkpoint_dir": path() | none,
        "checkpoint_steps": integer(1, LARGEST_INT) | none,
        "keep_checkpoints": boolean(),
        "verbose": integer(0) | boolean(),
    }
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {"config": MultiheadConfig}
    # Whether a prediction reads the task of each row of a frame.
    _reads_tasks: ClassVar[bool] = True

    config: MultiheadConfig | dict[str, Any] | None
    text_column: str
    task_column: str
    label_column: str
    label_texts: Any
    callbacks: list[Any] | None
    warm_start: bool
    random_state: int | np.random.RandomState | None
    device: str | Device
    precision: str
    compile: bool
    memory: MemoryLike | None
    cache_memory: float
    cache_disk: float
    keep_checkpoints: bool
    verbose: int
    if TYPE_CHECKING:
        model_: FittedModel

    # ----------------------------------------------------------------------------------------
    # Training

    def _fit_rows(self, config: FullConfig, given: FitRows, start: FittedModel | None) -> Self:
        """Train on some rows, from the weights of `start` if there is a model to start from."""
        from ._training import remove_checkpoint

        folder = self._train(config, given, start)
        if folder is not None and not self.keep_checkpoints:
            remove_checkpoint(folder)
        return self

    @with_callbacks
    def _train(self, config, given, start):
        """Train, replace the fitted attributes, and return the folder of the checkpoints."""
        from ._engine import train

        return train(self, config, given, start)

    def _fit_epoch(self, config: FullConfig, given: FitRows, start: FittedModel | None) -> Self:
        """Train for one epoch on all rows, and replace the fitted attributes."""
        from ._engine import train_epoch

        train_epoch(self, config, given, start)
        return self

    def _tune(self, rows: CodedRows, target: Target) -> Self:
        """Set the thresholds that reach a target on calibration rows."""
        state = fitted_attributes(self)
        model = state["model_"]
        thresholds = target.thresholds(model.confidences(rows))
        state.pop("saved_with_", None)
        replace_fitted(self, state | {"model_": model.with_thresholds(thresholds)})
        return self

    def _earlier(self, *, is_continued: bool) -> FittedModel | None:
        """Return the fitted model if the training continues it and there is one."""
        return self.model_ if is_continued and self.__sklearn_is_fitted__() else None

    @property
    def _default_test_size(self) -> float:
        """The meaning of `training.test_size=None`."""
        return 0.1

    def _checked_config(self) -> FullConfig:
        """Check all parameters and return a full copy of the configuration."""
        check_parameters(self, self._constraints)
        if len(set(self._columns)) < 3:
            raise InvalidParameterError(
                "The 'text_column', 'task_column' and 'label_column' parameters of "
                f"{type(self).__name__} must be three different names. Got "
                f"{short(self.text_column)}, {short(self.task_column)} and "
                f"{short(self.label_column)} instead."
            )
        from ._engine import check_training

        check_training(self)
        config = self._group("config")._filled()
        if config.training.test_size is None:
            config.training.test_size = self._default_test_size
        return config

    def _fitted_by(self, model: FittedModel, scores, given: FitRows, split) -> dict[str, Any]:
        """Return the fitted attributes after a fit."""
        indices = indices_of(split, given)
        return {"model_": model, "test_scores_": scores, **indices, **given.features}

    def _show(self, model: FittedModel, scores):
        from ._fitting import describe_scores
        from ._training import Ranks

        if self.verbose and Ranks.current().is_first:
            report(describe_scores(model, scores))

    def _shown_config(self) -> ParameterGroup:
        """Return the configuration for the diagram, or the defaults if it is not valid."""
        return self._group("config") if self._nested_params("config") else MultiheadConfig()

    # ----------------------------------------------------------------------------------------
    # Fitted model

    @property
    def net_(self) -> MultiheadNet:
        """The trained skorch net."""
        return self._fitted("net_").net

    @property
    def tokenizer_(self) -> TextTokenizer:
        """The tokenizer of the encoder, with the settings for long texts."""
        return self._fitted("tokenizer_").tokenizer

    @property
    def label_texts_(self) -> pd.DataFrame:
        """The label texts, and how much they counted."""
        model = self._fitted("label_texts_")
        found = [
            {"task": task, "label": label, "text": text, "weight": weight}
            for task, own in (model.label_texts or {}).items()
            for label, texts, weight in zip(
                model.classes[task], own.texts, own.weights, strict=True
            )
            for text in texts
        ]
        return pd.DataFrame(found, columns=["task", "label", "text", "weight"])

    @property
    def history_(self) -> pd.DataFrame:
        """The values that the trainings recorded, one per row.

        The columns are

        - `training`: "fit 1" for the first training, "fit 2" for the next one, such as a
          `partial_fit` or a warm start, and "calibration 1" for the calibration fit before "fit 1";
        - `phase`: "heads only" or "fine-tuning";
        - `epoch`: the epoch, counted from 1 in each training;
        - `task`: the task; missing for a value of all tasks;
        - `metric`: "train_loss"; with validation rows "valid_loss", "accuracy", "f1" (for all tasks
          together: their means, with the standard errors "accuracy_se" and "f1_se") and
          "temperature"; the last learning rates of the epoch, "lr_encoder" and "lr_heads";
          "seconds"; "kept", which is 1 for the epoch with the final weights and 0 for the others;
          and numbers that your callbacks record;
        - `value`: the value.
        """
        model = self._fitted("history_")
        return history_frame(model.net.history, model.calibration_history or [])

    @property
    def fitted_on_(self) -> dict[str, str]:
        """The number of rows and label texts behind the head of each task."""
        model = self._fitted("fitted_on_")
        return {task: model.describe_rows(task) for task in model.tasks}

    def _predicted_tasks(self, model: FittedModel) -> list[str]:
        """Return the tasks of a model that this classifier predicts."""
        return model.tasks

    def _fitted(self, name: str) -> FittedModel:
        """Return the fitted model, or raise AttributeError for attribute `name` before `fit`."""
        if not self.__sklearn_is_fitted__():
            kind = type(self).__name__
            raise AttributeError(f"{kind!r} object has no attribute {name!r} before fit.")
        return self.model_

    def _snapshot(self) -> FittedModel:
        """Return a snapshot, because another thread may train the estimator meanwhile."""
        check_is_fitted(self)
        return self.model_ if self.memory is not None else self.model_.without_memory()

    def __sklearn_is_fitted__(self) -> bool:
        """Check whether the estimator is fitted."""
        return hasattr(self, "model_")

    @property
    def _columns(self) -> Columns:
        return Columns(self.text_column, self.task_column, self.label_column)

    # ----------------------------------------------------------------------------------------
    # Evaluation and embeddings

    @abstractmethod
    def _table_to_score(
        self, model: FittedModel, X: Any, y: Any, sample_weight: Any = None
    ) -> LabeledTable:
        """Read labeled rows of the tasks of a fitted model."""

    def _rows_to_score(self, model: FittedModel, X, y, sample_weight=None) -> CodedRows:
        """Read labeled rows of the tasks of a fitted model, and return them as codes."""
        return encode_table(self._table_to_score(model, X, y, sample_weight), model.classes)

    def evaluate(
        self,
        X: RowsLike,
        y: ArrayOrFrame | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        level: Literal["task", "class"] = "task",
        n_resamples: int = 1000,
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Return scores on labeled rows: of each task with 95 % intervals, or of each class.

        Parameters
        ----------
        X : RowsLike
            Labeled rows in any form that :meth:`score` takes, which should not have trained: for
            example, the rows at `test_indices_`.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            The weight of each row of X within its task.
        level : {"task", "class"}, default="task"
            Whether a row of the result is a metric of a task, or a class.
        n_resamples : int, default=1000
            Number of bootstrap resamples for the intervals.
        random_state : int, default=0
            Seed of the resamples.

        Returns
        -------
        scores : DataFrame
            For tasks, the columns `task`, `metric`, `value`, `n` (number of rows), `low` and
            `high`. The metrics are

            - "accuracy";
            - "macro_f1", the mean F1 score of the classes that occur as a label or a prediction;
              all labels that are not classes count as one more class;
            - "log_loss", the mean negative logarithm of the probability of the label;
            - "calibration_error", the mean difference between confidence and accuracy in 15 bins
              of equal width, weighted by the weight of their rows [1]_.

            For classes, the columns `task`, `label`, `precision`, `recall`, `f1` and `support`
            (number of rows). A value is missing if it is not defined: the precision of a class
            that is never predicted, the recall of a class without rows, and the F1 score of a
            class that is neither.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the rows or a parameter are invalid.

        See Also
        --------
        score : Return the accuracy, averaged over tasks.

        Notes
        -----
        A row whose label is not a class counts as wrong, and is left out of the log loss.

        Intervals come from the bootstrap: texts are drawn with replacement, together with all their
        rows. They are percentiles, and for the calibration error, which is biased upwards in
        resamples, the basic interval [2]_. They describe the sample of rows only, not the
        randomness of training. A perfect score has an interval without width, also on three rows.

        References
        ----------
        .. [1] Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using
           Bayesian Binning", AAAI 2015.
        .. [2] Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2.
        """
        check_argument("level", level, one_of("task", "class"))
        check_argument("n_resamples", n_resamples, integer(1))
        check_argument("random_state", random_state, integer(0, 2**32 - 1))
        rows = scored_rows(self, X, y, sample_weight)
        if level == "class":
            return class_frame(rows)
        return score_frame(rows, n_resamples, random_state)

    def report(self, path: str | PathLike[str], X: RowsLike, y: ArrayOrFrame | None = None) -> Self:
        """Write a report about the fitted classifier and labeled rows as one HTML page.

        The page has scores with intervals, the history of the training, confusion matrices,
        calibration and coverage, the worst errors, likely label errors, weak slices, a summary of
        the rows with likely trouble, the configuration and the environment.

        Parameters
        ----------
        path : str or path-like
            The file to write, such as "report.html". It is replaced if it exists.
        X : RowsLike
            Labeled rows in any form that :meth:`score` takes, which should not have trained: for
            example, the rows at `test_indices_`.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.

        Returns
        -------
        self : object
            This classifier.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            If the rows are invalid.
        OSError
            If the file cannot be written.

        See Also
        --------
        evaluate : Return the scores.
        rapidfit_sk.inspection.error_report : Report the errors only.
        rapidfit_sk.inspection.describe : Describe rows before a training.

        Notes
        -----
        The page needs no other file and no network, and contains no script. It contains texts and
        labels of the rows.
        """
        check_is_fitted(self)
        from ._html_report import write_report

        write_report(self, path, X, y)
        return self

    def embed(self, X: ArrayOrFrame) -> NDArray[np.float32]:
        """Return the text embeddings of the fine-tuned encoder.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.

        Returns
        -------
        embeddings : ndarray of float32, shape (n_texts, n_dimensions)
            One embedding per row of X. They are not normalized.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.

        See Also
        --------
        save_encoder : Save the encoder for other libraries.

        Notes
        -----
        All tasks share these embeddings. With ``pooling="attention"``, the default, each head has
        a query of its own; the embedding is then the mean over the tokens, from which
        attention starts.
        """
        check_is_fitted(self)
        return self.model_.embed(read_texts(X, self._columns))

    def transform(self, X: ArrayOrFrame) -> NDArray[np.float32]:
        """Return the text embeddings, as :meth:`embed`, so that a pipeline can use them.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.

        Returns
        -------
        embeddings : ndarray of float32, shape (n_texts, n_dimensions)
            One embedding per row of X. With ``set_output(transform="pandas")``, it is a frame with
            the names of :meth:`get_feature_names_out`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        """
        return self.embed(X)

    def fit_transform(
        self, X: ArrayOrFrame, y: ArrayOrFrame | None = None, **fit_params: Any
    ) -> NDArray[np.float32]:
        """Train, and return the embeddings of the texts.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        **fit_params : dict
            Further parameters of :meth:`fit`.

        Returns
        -------
        embeddings : ndarray of float32, shape (n_texts, n_dimensions)
            One embedding per row of X, as from :meth:`transform`.

        Raises
        ------
        ValueError, TypeError
            If the rows or a parameter are invalid. A dict of tasks, which :meth:`fit` takes, has no
            order of rows, so it is refused before the training.
        """
        read_texts(X, self._columns)
        return super().fit_transform(X, y, **fit_params)

    def __sklearn_tags__(self):
        """Return tags that describe `transform`: embeddings do not have the dtype of the texts."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of columns of embeddings, for `get_feature_names_out`."""
        return self._fitted("_n_features_out").n_dimensions

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
        self : object
            This classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the folder contains other files or cannot be replaced as a whole, such as the working
            directory, or if a parameter is invalid.
        TypeError
            If a parameter is not plain data. The message names it.
        OSError
            If the folder cannot be written, for example on a full disk. An earlier save is kept.
        TimeoutError
            If other saves to folders beside this one block it for ten minutes.

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
        classes, scores, history, versions), the tokenizer files, ``README.md`` (the model card) and
        ``checksums.json`` with the SHA-256 of each of these files. You may edit or remove the model
        card; the next save to this folder replaces it.
        """
        from ._persistence import save_classifier

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
        classifier : object
            A classifier with the same predictions as the saved one. ``saved_with_`` contains the
            versions of the libraries that saved it.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If :meth:`save` did not write the folder, if a classifier of another class was saved
            there, or if files are missing, truncated or changed, or a value in them is not valid.
        OSError
            If the folder cannot be read.
        """
        from ._persistence import load_classifier

        return load_classifier(cls, folder)

    def export_onnx(
        self,
        folder: str | PathLike[str],
        tasks: list[str] | None = None,
        quantize: str | None = None,
        *,
        X: RowsLike | None = None,
        y: ArrayOrFrame | None = None,
        tolerance: float | None = None,
    ) -> pd.DataFrame:
        """Export the fitted classifier to a folder that predicts without torch.

        The folder contains one graph with the encoder and all heads, and everything else that
        :class:`rapidfit_sk.serving.OnnxMultiheadClassifier` needs. Each export is compared with the
        fitted classifier before the folder is written.

        Parameters
        ----------
        folder : str or path-like
            The folder to write. An earlier export is replaced as a whole.
        tasks : list of str or None, default=None
            The tasks to export; None for all tasks that the classifier predicts.
        quantize : {"int8"} or None, default=None
            With "int8", the weights of the encoder have 8 bits instead of 32. They take a quarter
            of the space, and a prediction takes less time, most of all on processors with
            instructions for 8-bit integers (VNNI).
        X : RowsLike or None, default=None
            Labeled rows of all exported tasks to compare on, in any form that :meth:`score` takes:
            best the held-out rows. With None, the bundled support messages and the label texts are
            used, without labels.
        y : array-like, DataFrame or None, default=None
            The labels, if X does not contain them.
        tolerance : float or None, default=None
            With ``quantize=None``, the largest accepted difference of a probability; the default is
            0.001. With "int8", the largest accepted loss of accuracy of a task; the default is
            0.02, or two rows if the task has fewer than 100. Without labeled rows, it is the
            largest share of changed labels; the default is 0.05.

        Returns
        -------
        report : DataFrame
            One row per task: `task`, `n_rows`, `largest_difference` of a probability, the share of
            `changed` labels, `accuracy` of the fitted classifier in float32, and `accuracy_onnx` of
            the exported one. Accuracies are missing without labels.

        Raises
        ------
        ImportError
            If a package of the extra ``onnx`` is missing.
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If a task does not exist or has no rows in X, if the tokenizer is not a fast one, or if
            the folder contains other files.
        RuntimeError
            If the exported classifier differs by more than the tolerance. Nothing is written.

        See Also
        --------
        rapidfit_sk.serving.OnnxMultiheadClassifier : Predicts from the folder.

        Notes
        -----
        The folder contains ``model.onnx`` (for weights of more than 1 GiB, ``model.onnx.data``
        too), ``onnx.json`` (labels, temperatures, report, versions), ``tokenizer.json`` and
        ``checksums.json``. The graph has the inputs ``input_ids`` and ``attention_mask``, both of
        shape (n_windows, length), and an output ``logits/TASK`` of shape (n_texts, n_classes) for
        each task. With ``training.long_text="windows"``, a third input ``mean`` of shape
        (n_texts, n_windows) averages the windows of a text.

        The ranges of activations of an "int8" graph depend on the batch, so the probabilities of a
        text depend on the other texts in its batch. A test with 150 messages found differences of
        up to 0.12, and no other label.
        """
        from ._onnx import export_onnx

        check_is_fitted(self)
        return export_onnx(self, folder, tasks, quantize, X, y, tolerance)

    def save_encoder(self, folder: str | PathLike[str]) -> Self:
        """Save the fine-tuned encoder as a folder that other libraries load.

        ``transformers.AutoModel``, ``sentence_transformers.SentenceTransformer``,
        text-embeddings-inference and `model_name` of :class:`rapidfit_sk.TrainingConfig` load the
        folder. It contains no heads.

        Parameters
        ----------
        folder : str or path-like
            The folder to write. An earlier encoder is replaced as a whole. A folder with any other
            files is refused.

        Returns
        -------
        self : object
            This classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError
            If the folder contains a saved classifier or other files, or cannot be replaced as a
            whole.
        OSError
            If the folder cannot be written, for example on a full disk.

        See Also
        --------
        save : Save the whole classifier.

        Notes
        -----
        Text embeddings from the folder are those that the heads use, with three differences:

        - With ``pooling="attention"``, the default, each head has a learned query. These
          queries are part of the heads, so the folder contains the mean pooling from which
          attention starts.
        - Only the first ``training.max_length`` tokens of a text are read, also if
          ``training.long_text`` is "head_tail", the default, or "windows".
        - Special tokens that occur in a text are read as such, not as ordinary text. Empty texts
          are not possible if the tokenizer adds no special tokens, as in GPT-2.

        Embeddings are not normalized, because heads use their length unless ``head.normalize`` is
        set. All weights are float32.
        """
        from ._encoder_folder import save_encoder

        check_is_fitted(self)
        save_encoder(self, folder)
        return self

    def model_card(self) -> str:
        """Return a model card: a description of the fitted classifier for others, in Markdown.

        :meth:`save` and :meth:`push_to_hub` write it as ``README.md``.

        Returns
        -------
        card : str
            Metadata for the Hugging Face hub in YAML, then Markdown: labels and rows of each task,
            configuration, test scores with 95 % intervals of the accuracy, temperatures, limits and
            versions. It asks you to add what only you know, such as the license.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.

        See Also
        --------
        save : Save the classifier with its card.

        Notes
        -----
        Names of tasks and labels, label texts and the configuration are part of the card, but no
        training text. Long names are cut. ``huggingface_hub.ModelCard(card).data`` is the metadata.
        """
        from ._persistence import card_of

        check_is_fitted(self)
        return card_of(self)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a rapidfit_sk classifier",
    ) -> str:
        """Upload the fitted classifier to a repository on the Hugging Face hub.

        Parameters
        ----------
        repo_id : str
            Name of the repository, such as "owner/name". It is created if it does not exist.
        private : bool or None, default=None
            Whether a new repository is private. None leaves this to the settings of the owner.
        token : str, bool or None, default=None
            The token to log in with; None for the one that ``hf auth login`` has stored.
        revision : str or None, default=None
            The branch to upload to, which is created if it does not exist; None for "main".
        commit_message : str, default="Upload a rapidfit_sk classifier"
            The message of the commit.

        Returns
        -------
        url : str
            The address of the commit.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        OSError
            If the upload is not possible, for example without a network or a token. The message
            says what to do.

        See Also
        --------
        from_pretrained : Load the classifier from the hub.
        model_card : The page of the repository.

        Notes
        -----
        The repository gets the files that :meth:`save` writes, in one commit. Its model card is
        replaced, also if you have edited it there; its history has the earlier card.
        """
        from ._hub import push_classifier

        check_is_fitted(self)
        return push_classifier(
            self,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
        )

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str | PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a classifier from the Hugging Face hub or from a folder.

        As with :meth:`load`, all checksums are verified, and nothing is unpickled or run.

        Parameters
        ----------
        repo_id : str or path-like
            Name of a repository that :meth:`push_to_hub` wrote, or a folder that :meth:`save`
            wrote. A folder of this name comes first; the other parameters then have no effect.
        revision : str or None, default=None
            Branch, tag or commit; None for the branch "main". Only a commit always contains the
            same classifier.
        token : str, bool or None, default=None
            The token to log in with; None for the one that ``hf auth login`` has stored.
        local_files_only : bool, default=False
            Whether to use only the local cache, not the network.

        Returns
        -------
        classifier : object
            A classifier with the same predictions as the uploaded one.

        Raises
        ------
        OSError
            If the repository cannot be downloaded and is not in the cache. The message says what to
            do.
        ValueError
            If the repository or the folder does not contain a valid classifier of this class.

        See Also
        --------
        load : Load a classifier from a folder only.
        """
        from ._hub import pull_classifier

        return pull_classifier(
            cls, repo_id, revision=revision, token=token, local_files_only=local_files_only
        )

    def __getstate__(self):
        """Return the state, with the library versions if the classifier is fitted."""
        state = super().__getstate__()
        if "model_" not in state:
            return state
        from ._persistence import library_versions

        return state | {"saved_with_": library_versions()}

"""Prediction for many frames in many processes, for example with Dask or Ray."""

from __future__ import annotations

import os
import threading
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._classifier import MultiheadClassifier
from ._folders import hash_of, read_checksums, read_folder
from ._forks import held_at_fork
from ._rows import Columns, read_texts
from ._schema import CARD, DESCRIPTION
from ._stream import check_columns, predicted_frame
from ._text_classifier import TextClassifier
from ._typing import ArrayOrFrame
from ._validation import boolean, check_argument, check_task, none, path, short, text

__all__ = ["BatchPredictor"]


class BatchPredictor:
    """Function that adds the predictions of a saved classifier to a frame.

    It contains the path of the folder, not the classifier, so it is cheap to send to other
    processes. Each process loads the classifier when it first predicts, and keeps it. The weights
    are mapped into memory, so the processes of a machine share them.

    Parameters
    ----------
    folder : str or path-like
        A folder that :meth:`MultiheadClassifier.save` or :meth:`TextClassifier.save` wrote. Each
        process must find it at the same path.
    task : str or None, default=None
        The task to predict; None for all tasks.
    proba : bool, default=False
        Whether to add columns of probabilities, as in :meth:`MultiheadClassifier.predict_all`.
    text_column : str or None, default=None
        Name of the text column; None for the `text_column` of the classifier.

    Attributes
    ----------
    model_id : str
        A hash of the files of the folder, without the model card.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the folder does not contain a saved classifier, or an argument is invalid.

    See Also
    --------
    MultiheadClassifier.predict_batches : Predicts a stream in one process.

    Notes
    -----
    Several threads can call it at the same time. If the classifier in the folder is replaced, a
    process that has not loaded it yet raises an error instead of mixing two models in one result.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.bulk import BatchPredictor
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> config = MultiheadConfig(training=TrainingConfig(model_name=tiny_encoder(), epochs=1))
    >>> classifier = MultiheadClassifier(config, random_state=0).fit(load_support_messages())
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = classifier.save(pathlib.Path(folder.name, "model"))
    >>> predictor = BatchPredictor(pathlib.Path(folder.name, "model"), task="intent")
    >>> frame = pd.DataFrame({"id": [7, 8], "text": ["Do you ship to Norway?", "It broke!"]})
    >>> predictor(frame).columns.tolist()
    ['id', 'text', 'intent']
    >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        task: str | None = None,
        *,
        proba: bool = False,
        text_column: str | None = None,
    ):
        check_argument("folder", folder, path())
        check_argument("task", task, text() | none)
        check_argument("proba", proba, boolean())
        check_argument("text_column", text_column, text() | none)
        self.folder = os.path.abspath(folder)
        self.task = task
        self.proba = proba
        self.text_column = text_column
        self.model_id = _id_of(self.folder)

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame with additional columns of labels, and of probabilities if requested.

        Parameters
        ----------
        frame : DataFrame
            A frame with a text column.

        Returns
        -------
        frame : DataFrame
            The columns and the index of the frame, and the columns of :meth:`predict`.

        Raises
        ------
        ValueError
            If a column of the frame has the name of a new column, or a text is not valid, or if
            the classifier in the folder is no longer the one of the time when the predictor was
            created.
        """
        predicted = self.predict(frame)
        for name in predicted.columns.intersection(frame.columns):
            raise ValueError(
                f"The frame already has a column {short(name)}, which is also the name of a "
                "predicted column. Rename or drop the column of the frame."
            )
        return pd.concat([frame, predicted], axis=1)

    def predict(self, X: ArrayOrFrame, *, first_row: int = 0) -> pd.DataFrame:
        """Predict without the columns of the input.

        Parameters
        ----------
        X : array-like of str, shape (n_texts,), or DataFrame
            Texts, or a frame with a text column.
        first_row : int, default=0
            Number of the first row in error messages.

        Returns
        -------
        predictions : DataFrame
            One column of labels per task and, if `proba` is true, the columns of probabilities.
            The index is the index of X, if X has one.
        """
        model = _model(self.folder, self.model_id)
        return model.predict(X, self.task, self.proba, self.text_column, first_row)

    def meta(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return an empty result, which shows Dask the names and types of the columns.

        Parameters
        ----------
        frame : DataFrame
            Any rows of the input, or none. For a Dask frame, pass its first rows or its ``_meta``.

        Returns
        -------
        meta : DataFrame of shape (0, n_columns)
            The result for no rows.
        """
        return self(frame.iloc[:0])

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"BatchPredictor({self.folder!r}, {self.task!r}, proba={self.proba})"


def text_column_of(predictor: BatchPredictor) -> str:
    """Return the name of the text column that a predictor uses, which may load the classifier."""
    model = _model(predictor.folder, predictor.model_id)
    return predictor.text_column or model.classifier.text_column


class _SavedClassifier:
    """A classifier that this process has loaded from a folder."""

    def __init__(self, folder: str, model_id: str):
        from ._persistence import load_shared

        self.model_id = model_id
        self.classifier: Any = load_shared([MultiheadClassifier, TextClassifier], Path(folder))

    def predict(self, X, task, proba, text_column, first_row) -> pd.DataFrame:
        """Return the predictions for the texts of X, with dtypes that do not depend on X."""
        model, requested = self.classifier._snapshot(), self._task_codes(task)
        if proba:
            check_columns(model, requested)
        columns = Columns(text_column or self.classifier.text_column, "", "")
        index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
        texts = read_texts(X, columns, first=first_row)
        return predicted_frame(model, texts, requested, index, proba)

    def _task_codes(self, task) -> NDArray[np.int64]:
        """Return the codes of the requested tasks; a TextClassifier predicts no helper tasks."""
        model = self.classifier._snapshot()
        known = self.classifier._predicted_tasks(model)
        if task is not None:
            check_task(task, known)
        return np.array([model.tasks.index(each) for each in (known if task is None else [task])])


# The last classifier that this process has loaded from each folder.
_LOADED: dict[str, _SavedClassifier] = {}
_LOADING = held_at_fork(threading.RLock())


def _model(folder: str, model_id: str) -> _SavedClassifier:
    """Return the classifier of a folder, which is loaded once per process."""
    with _LOADING:
        found = _LOADED.get(folder)
        if found is None or found.model_id != model_id:
            _check_id(folder, model_id)
            found = _SavedClassifier(folder, model_id)
            _check_id(folder, model_id)  # it may have been replaced meanwhile
            _LOADED[folder] = found
        return found


def _id_of(folder: str) -> str:
    """Return the hash of a folder, or raise an error if it does not contain a classifier."""
    try:
        checksums = read_folder(Path(folder), read_checksums)
        checksums.pop(CARD, None)
        if DESCRIPTION not in checksums:
            raise ValueError(f"it has no {DESCRIPTION}")
        return hash_of(checksums)
    except (OSError, ValueError) as error:
        if not os.path.exists(folder):
            raise
        raise ValueError(
            f"{folder!r} is not a folder that MultiheadClassifier.save or TextClassifier.save "
            f"wrote: {error}. Pass another folder."
        ) from error


def _check_id(folder: str, model_id: str):
    """Raise ValueError unless the folder still has the files that a predictor was created for."""
    if _id_of(folder) != model_id:
        raise ValueError(
            f"The classifier in {folder!r} was replaced after the BatchPredictor was created. "
            "Create another BatchPredictor, so that all results come from one classifier."
        )

"""A skorch callback that passes epochs on to the callbacks of scikit-learn."""

from __future__ import annotations

from typing import Any

import pandas as pd
from skorch.callbacks import Callback

from ._compat import CallbackSupportMixin
from ._rows import Columns, LabeledTable
from ._training import StopTraining


def fit_tasks(
    estimator: Any, n_epochs: int, table: LabeledTable, columns: Columns
) -> FitTasks | None:
    """Return the callback that opens a task for a fit and one for each of its epochs.

    Parameters
    ----------
    estimator : MultiheadClassifier
        What is being fitted.
    n_epochs : int
        The most epochs that there can be.
    table : LabeledTable
        The rows, which callbacks see as a frame of texts and tasks, and an array of labels.
    columns : Columns
        The names of the columns of that frame.

    Returns
    -------
    tasks : FitTasks or None
        None where scikit-learn has no callbacks.
    """
    if not hasattr(CallbackSupportMixin, "_init_callback_context"):
        return None
    data = {
        # Callables: they are called only where a callback asks for them.
        "X": lambda: pd.DataFrame({columns.text: table.texts.strings(), columns.task: table.tasks}),
        "y": lambda: table.labels,
        "metadata": None if table.weights is None else {"sample_weight": table.weights},
    }
    return FitTasks(estimator, n_epochs, data)


class FitTasks(Callback):
    """A callback of skorch that passes epochs on to the callbacks of scikit-learn.

    Parameters
    ----------
    estimator : MultiheadClassifier
        What is being fitted.
    n_epochs : int
        The most epochs that there can be.
    data : dict
        ``X``, ``y`` and ``metadata`` for the hooks.
    """

    def __init__(self, estimator: Any, n_epochs: int, data: dict[str, Any]):
        self.estimator = estimator
        self.n_epochs = n_epochs
        self.data = data
        self._model = None

    def begin_fit(self):
        """Open the task of the fit."""
        self.context_ = self.estimator._init_callback_context(max_subtasks=self.n_epochs)
        self.context_.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def follow(self, model):
        """Pass on a model while it trains: a copy of the estimator predicts with it.

        Parameters
        ----------
        model : FittedModel
            The model whose net is about to train.
        """
        self._model = model

    def on_epoch_begin(self, net, **kwargs):
        """Open the task of an epoch."""
        self.epoch_ = self.context_.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator, **self._state())

    def on_epoch_end(self, net, **kwargs):
        """Close the task of an epoch; a callback may ask to stop."""
        if self.epoch_.call_on_fit_task_end(estimator=self.estimator, **self._state()):
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        """Leave the net, which outlives the fit."""
        net.remove_callback(self)
        self._model = None

    def __reduce__(self):
        """Have a net that is pickled during the fit hold a callback that does nothing."""
        return Callback, ()

    def end_fit(self):
        """Close the task of the fit."""
        self.context_.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )

    def _state(self):
        return {**self.data, "reconstruction_attributes": self._attributes}

    def _attributes(self):
        return {"model_": self._model}

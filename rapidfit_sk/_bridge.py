"""Bridge from skorch callbacks to scikit-learn callbacks."""

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
    """Return a skorch callback that reports a fit to scikit-learn's callbacks.

    Parameters
    ----------
    estimator : TextEstimator
        The estimator that is being fitted.
    n_epochs : int
        The maximum number of epochs.
    table : LabeledTable
        The rows, passed to callbacks as a frame of texts and tasks and an array of labels.
    columns : Columns
        The column names of this frame.

    Returns
    -------
    tasks : FitTasks or None
        None if the installed scikit-learn has no callbacks.
    """
    if not hasattr(CallbackSupportMixin, "_init_callback_context"):
        return None
    data = {
        # Callables, so the frame and the labels are built only if a callback needs them.
        "X": lambda: pd.DataFrame({columns.text: table.texts.strings(), columns.task: table.tasks}),
        "y": lambda: table.labels,
        "metadata": None if table.weights is None else {"sample_weight": table.weights},
    }
    return FitTasks(estimator, n_epochs, data)


class FitTasks(Callback):
    """skorch callback that reports a fit to scikit-learn's callbacks.

    scikit-learn structures a fit as a tree of tasks: here the fit is the root, with one subtask
    for each epoch. These are not the tasks of the classifier.

    Parameters
    ----------
    estimator : TextEstimator
        The estimator that is being fitted.
    n_epochs : int
        The maximum number of epochs.
    data : dict
        The arguments ``X``, ``y`` and ``metadata`` of the hooks.
    """

    def __init__(self, estimator: Any, n_epochs: int, data: dict[str, Any]):
        self.estimator = estimator
        self.n_epochs = n_epochs
        self.data = data
        self._model = None

    def begin_fit(self):
        """Begin the task of the fit."""
        self.context_ = self.estimator._init_callback_context(max_subtasks=self.n_epochs)
        self.context_.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def follow(self, model):
        """Set the model with which scikit-learn's callbacks can predict during training.

        Parameters
        ----------
        model : FittedModel
            The model whose net is about to train.
        """
        self._model = model

    def on_train_begin(self, net, **kwargs):
        """Start without an epoch."""
        self.epoch_: Any = None

    def on_epoch_begin(self, net, **kwargs):
        """Begin the task of an epoch."""
        self.epoch_ = self.context_.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator, **self._state())

    def on_epoch_end(self, net, **kwargs):
        """End the task of an epoch, and stop training if a callback requests it."""
        if self.epoch_ is None:  # the epoch began before this process did
            self.on_epoch_begin(net)
        if self.epoch_.call_on_fit_task_end(estimator=self.estimator, **self._state()):
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        """Remove this callback from the net, which outlives the fit."""
        net.remove_callback(self)
        self._model = None

    def __getstate__(self):
        """Return no state, so checkpoints do not contain any of this callback."""
        return {}

    def __reduce__(self):
        """Pickle as a callback that does nothing, because a net may be pickled during the fit."""
        return Callback, ()

    def end_fit(self, attributes: dict[str, Any]):
        """End the task of the fit, before the estimator gets these fitted attributes."""
        self.context_.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=lambda: attributes
        )

    def _state(self):
        return {**self.data, "reconstruction_attributes": self._attributes}

    def _attributes(self):
        return {"model_": self._model}

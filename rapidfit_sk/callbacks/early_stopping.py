"""Callback for early stopping on the validation rows."""

from __future__ import annotations

from typing import Literal

from skorch.callbacks import Callback

from .._training import StopTraining


class EarlyStopping(Callback):
    """Callback that stops training early and restores the best weights.

    Parameters
    ----------
    metric : {"accuracy", "f1", "loss"}, default="accuracy"
        The metric to monitor: ``valid_accuracy``, ``valid_f1`` or ``valid_loss`` in the history.
    patience : int or None, default=None
        Number of epochs without improvement after which training stops. None disables stopping.
    min_delta : float, default=0.001
        Minimum improvement of the metric that resets the count for `patience`.
    first_epoch : int, default=0
        The first epoch that counts toward `patience`. The best weights may come from an earlier
        epoch.
    one_se_rule : bool, default=True
        Whether an epoch replaces the best earlier epoch if the score of the new epoch is lower by
        at most the standard error of the best score [1]_. The new epoch has trained longer, at a
        lower learning rate, and the validation rows are too few to distinguish the two scores. The
        loss has no standard error, so the epoch with the lowest loss is always best.

    Attributes
    ----------
    best_epoch_ : int
        The epoch, counted from 0, whose weights are restored after training.
    best_score_ : float
        The best score of all epochs.

    See Also
    --------
    rapidfit_sk.EvalConfig : Sets the parameters.

    Notes
    -----
    Only trainable weights are saved. The weights of a layer are first saved before its first
    step. A layer that is unfrozen after the best epoch did not change until then, so the saved
    weights are also its weights in the best epoch.

    References
    ----------
    .. [1] Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import EarlyStopping
    >>> EarlyStopping(metric="f1", patience=2).patience
    2
    """

    def __init__(
        self,
        metric: Literal["accuracy", "f1", "loss"] = "accuracy",
        patience: int | None = None,
        min_delta: float = 0.001,
        first_epoch: int = 0,
        one_se_rule: bool = True,
    ):
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.first_epoch = first_epoch
        self.one_se_rule = one_se_rule

    def on_train_begin(self, net, **kwargs):
        """Reset all scores and saved weights."""
        self.best_epoch_ = None
        self.best_score_ = self.score_to_beat_ = None
        self.misses_ = 0
        self.looked_at_ = None
        self.weights_ = {}

    def on_batch_begin(self, net, training=False, **kwargs):
        """Save the weights that are about to train for the first time.

        This happens at the first step of an epoch, after all callbacks have frozen or unfrozen
        their layers.
        """
        if not training or self.looked_at_ == net.epoch_:
            return
        self.looked_at_ = net.epoch_
        for name, parameter in _trainable(net):
            if name not in self.weights_:
                self.weights_[name] = parameter.detach().clone()

    def on_epoch_end(self, net, **kwargs):
        """Update the best epoch, and raise StopTraining if the patience has run out."""
        score = net.history[-1, f"valid_{self.metric}"]
        better = self._improves(score, self.best_score_, by=0)
        if better or self._is_as_good(score):
            self.best_epoch_ = net.epoch_
            for name, parameter in _trainable(net):
                self.weights_[name] = parameter.detach().clone()
        if better:
            self.best_score_ = score
            self.error_ = net.history[-1].get(f"valid_{self.metric}_se", 0.0)
        if self._improves(score, self.score_to_beat_, by=self.min_delta):
            self.score_to_beat_, self.misses_ = score, 0
        elif net.epoch_ >= self.first_epoch:
            self.misses_ += 1
        if self.patience is not None and self.misses_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        """Restore the best weights."""
        if self.best_epoch_ is not None:
            parameters = dict(net.module_.named_parameters())
            for name, weights in self.weights_.items():
                parameters[name].data.copy_(weights)
        for number, epoch in enumerate(net.history):
            epoch["kept"] = number == self.best_epoch_
        self.weights_ = {}

    def _is_as_good(self, score):
        """Check whether a score is within one standard error of the best score."""
        if not self.one_se_rule or self.metric == "loss":
            return False
        return score >= self.best_score_ - self.error_

    def _improves(self, score, other, by):
        if other is None:
            return True
        return (other - score if self.metric == "loss" else score - other) > by


def _trainable(net):
    return [(n, p) for n, p in net.module_.named_parameters() if p.requires_grad]

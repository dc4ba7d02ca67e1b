"""Stop when validation no longer improves, and keep the best weights."""

from skorch.callbacks import Callback

from .._net import StopTraining


class EarlyStopping(Callback):
    """Stop when the validation metric no longer improves; restore the best weights.

    Parameters
    ----------
    metric : {"accuracy", "f1", "loss"}, default="accuracy"
        What to watch: ``valid_accuracy``, ``valid_f1`` or ``valid_loss`` of the history.
    patience : int, default=3
        Epochs without improvement after which training stops.
    min_delta : float, default=0.001
        How much better the metric must become for `patience` to count anew. The best weights
        are those of the best epoch, by however little.
    first_epoch : int, default=0
        The first epoch that counts for `patience`. The best weights may come from an earlier
        one.

    Attributes
    ----------
    best_epoch_ : int
        The epoch, counted from 0, whose weights the module has after training.
    best_score_ : float
        Its score.

    See Also
    --------
    rapidfit_sk.EvalConfig : Sets the parameters.

    Notes
    -----
    Only weights that have been trained are kept. A layer that is unfrozen after the best epoch
    is kept as it was before its first step, which is what it was in that epoch.

    Examples
    --------
    >>> from rapidfit_sk.callbacks import EarlyStopping
    >>> EarlyStopping(metric="f1").patience
    3
    """

    def __init__(self, metric="accuracy", patience=3, min_delta=0.001, first_epoch=0):
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.first_epoch = first_epoch

    def on_train_begin(self, net, **kwargs):
        """Start with nothing seen."""
        self.best_epoch_ = None
        self.best_score_ = self.score_to_beat_ = None
        self.misses_ = 0
        self.looked_at_ = None
        self.weights_ = {}

    def on_batch_begin(self, net, training=False, **kwargs):
        """Keep what is about to train for the first time.

        At the first step of an epoch: by then, every callback has frozen or unfrozen its part.
        """
        if not training or self.looked_at_ == net.epoch_:
            return
        self.looked_at_ = net.epoch_
        for name, parameter in _trainable(net):
            if name not in self.weights_:
                self.weights_[name] = parameter.detach().clone()

    def on_epoch_end(self, net, **kwargs):
        """Compare the epoch with the best one, and with the one that patience counts from."""
        score = net.history[-1, f"valid_{self.metric}"]
        if self._improves(score, self.best_score_, by=0):
            self.best_epoch_, self.best_score_ = net.epoch_, score
            for name, parameter in _trainable(net):
                self.weights_[name] = parameter.detach().clone()
        if self._improves(score, self.score_to_beat_, by=self.min_delta):
            self.score_to_beat_, self.misses_ = score, 0
        elif net.epoch_ >= self.first_epoch:
            self.misses_ += 1
        if self.misses_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        """Put the best weights back."""
        if self.best_epoch_ is not None:
            parameters = dict(net.module_.named_parameters())
            for name, weights in self.weights_.items():
                parameters[name].data.copy_(weights)
        self.weights_ = {}

    def _improves(self, score, other, by):
        if other is None:
            return True
        return (other - score if self.metric == "loss" else score - other) > by


def _trainable(net):
    return [(n, p) for n, p in net.module_.named_parameters() if p.requires_grad]

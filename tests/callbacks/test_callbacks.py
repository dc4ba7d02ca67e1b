"""Built-in and user callbacks, tested in complete fits."""

import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EpochScoring,
    EpochTimer,
    LRScheduler,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
    Unfreezer,
)
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from skorch.history import History

from rapidfit_sk import EncoderConfig, EvalConfig
from rapidfit_sk._model.encoders import layer_stack
from rapidfit_sk.callbacks import EarlyStopping, StopTraining
from rapidfit_sk.callbacks.schedule import warmup_cosine


class Watch(Callback):
    """Callback that records changed parameters per epoch, and learning rates and rows per step."""

    def on_train_begin(self, net, **kwargs):
        self.moved_, self.rates_, self.counts_, self.n_valid_ = [], [], [], 0

    def on_epoch_begin(self, net, **kwargs):
        self.before_ = {n: p.detach().clone() for n, p in net.module_.named_parameters()}

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.rates_.append([group["lr"] for group in net.optimizer_.param_groups])
            self.counts_.append([len(t) for part in batch for t in part.targets["labels"]])
        else:
            self.n_valid_ += sum(map(len, batch.targets["labels"]))

    def on_epoch_end(self, net, **kwargs):
        now = dict(net.module_.named_parameters())
        self.moved_.append({n for n, p in self.before_.items() if not torch.equal(p, now[n])})


def watched(classifier):
    """Return the Watch callback of a fitted classifier."""
    return dict(classifier.net_.callbacks_)["watch"]


def watch():
    """Return a list of callbacks with a Watch callback."""
    return [("watch", Watch())]


def test_adapters_need_peft(make_classifier, messages, monkeypatch):
    """Without peft, a fit with adapters fails before its first epoch and names the extra."""
    monkeypatch.setitem(sys.modules, "peft", None)
    classifier = make_classifier(encoder=EncoderConfig(adapter="lora"))
    with pytest.raises(ImportError, match=r'pip install "rapidfit-sk\[peft\]"'):
        classifier.fit(messages)
    frozen = EncoderConfig(adapter="lora", unfreeze_layers=0)
    make_classifier(encoder=frozen).fit(messages)


def test_freezing_has_two_phases(make_classifier, messages):
    """Only heads train in head-only epochs.

    In later epochs, the top layer of the encoder trains too, but no other part of the encoder.
    """
    classifier = make_classifier(
        encoder=EncoderConfig(freeze_epochs=2, unfreeze_layers=1),
        epochs=1,
        callbacks=watch(),
    ).fit(messages)
    moved = watched(classifier).moved_
    assert all(name.startswith("heads") for epoch in moved[:2] for name in epoch)
    names = {id(p): n for n, p in classifier.net_.module_.named_parameters()}
    top = {names[id(p)] for p in layer_stack(classifier.net_.module_.encoder)[-1].parameters()}
    in_encoder = {name for name in moved[2] if name.startswith("encoder")}
    assert in_encoder
    assert in_encoder <= top


@pytest.mark.parametrize(("unfreeze_layers", "moves"), [(0, False), (None, True)])
def test_unfreezing_none_or_all_of_the_encoder(make_classifier, messages, unfreeze_layers, moves):
    """With `unfreeze_layers=0`, no part of the encoder trains; with None, its embeddings train."""
    classifier = make_classifier(
        encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=unfreeze_layers),
        callbacks=watch(),
    ).fit(messages)
    found = {name for name in watched(classifier).moved_[0] if name.startswith("encoder")}
    assert any("word_embeddings" in name for name in found) == moves
    assert bool(found) == moves


def test_learning_rates_rise_and_fall(make_classifier, messages):
    """Learning rates rise during the warm-up and then fall.

    The learning rate of the encoder is 0 in the head-only epochs.
    """
    classifier = make_classifier(
        encoder=EncoderConfig(freeze_epochs=1, lr_multiplier=0.1),
        epochs=3,
        warmup_ratio=0.25,
        eval=EvalConfig(patience=9),
        callbacks=watch(),
    ).fit(messages)
    rates = np.array(watched(classifier).rates_)
    encoder, heads = rates[:, 0], rates[:, 2]
    n = len(rates)
    assert heads.argmax() == pytest.approx(n / 4, abs=1)
    assert (np.diff(heads[: n // 4]) > 0).all()
    assert (np.diff(heads[n // 4 + 1 :]) < 0).all()
    assert heads.max() == pytest.approx(1e-2, rel=0.02)
    assert (encoder[: n // 4] == 0).all()
    assert encoder.max() == pytest.approx(1e-3, rel=0.02)
    assert encoder[-1] < 0.02 * encoder.max()


def test_schedule_without_warm_up(make_classifier, messages):
    """Without warm-up, the schedule starts at its peak; before the start, its factor is 0."""
    assert warmup_cosine(0.0, 0.0) == 1.0
    assert warmup_cosine(-0.5, 0.1) == warmup_cosine(-0.5, 0.0) == 0.0
    classifier = make_classifier(warmup_ratio=0.0).fit(messages)
    assert len(classifier.net_.history) == 2


@pytest.mark.parametrize(("strategy", "share"), [("proportional", 0.9), ("equal", 0.5)])
def test_sampling_affects_only_training_rows(make_classifier, messages, strategy, share):
    """The strategy sets the share of a task in the training rows of an epoch.

    Each validation row is scored once per epoch with any strategy.
    """
    large = messages[messages["task"] == "sentiment"]
    small = messages[messages["task"] == "intent"].iloc[:33]
    rows = np.array([len(large), len(small)])
    classifier = make_classifier(
        task_sampling=strategy, callbacks=watch(), val_size=0.2, test_size=0
    ).fit(messages.loc[[*large.index, *small.index]])
    drawn = np.array(watched(classifier).counts_).reshape(-1, 2).sum(0)
    assert drawn[0] / drawn.sum() == pytest.approx(share, abs=0.02)
    assert drawn.sum() / len(classifier.net_.history) == len(classifier.train_indices_)
    n_epochs = len(classifier.net_.history)
    assert watched(classifier).n_valid_ == n_epochs * len(classifier.val_indices_)
    assert len(classifier.val_indices_) == pytest.approx(0.2 * rows.sum(), abs=3)


def test_history_has_scores_of_each_task(make_classifier, messages):
    """The history contains the accuracy and F1 score of each task and their means."""
    classifier = make_classifier().fit(messages)
    epoch = classifier.net_.history[-1]
    for metric in ("accuracy", "f1"):
        values = [epoch[f"valid_{metric}/{task}"] for task in classifier.tasks_]
        assert epoch[f"valid_{metric}"] == pytest.approx(np.mean(values))
    rows = messages.iloc[classifier.val_indices_]
    kept = dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_
    assert classifier.score(rows) == pytest.approx(classifier.net_.history[kept, "valid_accuracy"])


class ScriptedNet:
    """Fake net that records given scores in its history, to test early stopping."""

    def __init__(self, scores, metric, error=None):
        self.module_ = torch.nn.Linear(1, 1)
        self.history = History()
        self.scores, self.metric = scores, metric
        self.errors = {} if error is None else {f"valid_{metric}_se": error}

    def run(self, callback):
        callback.on_train_begin(self)
        stopped_in = None
        for epoch, score in enumerate(self.scores):
            self.epoch_ = epoch
            callback.on_batch_begin(self, training=True)
            with torch.no_grad():
                self.module_.weight.fill_(self.epoch_)
            self.history.append({f"valid_{self.metric}": score} | self.errors)
            try:
                callback.on_epoch_end(self)
            except StopTraining:
                stopped_in = self.epoch_
                break
        callback.on_train_end(self)
        return stopped_in


@pytest.mark.parametrize(
    ("metric", "scores", "options", "last", "best"),
    [
        ("accuracy", [0.5, 0.6, 0.6, 0.6, 0.9], {"patience": 2}, 3, 1),
        ("accuracy", [0.5, 0.6, 0.6, 0.6, 0.9], {"patience": 4}, None, 4),
        ("f1", [0.5, 0.4, 0.3, 0.2, 0.9], {"patience": 2, "first_epoch": 2}, 3, 0),
        ("loss", [0.5, 0.4, 0.6, 0.7, 0.1], {"patience": 2}, 3, 1),
        ("accuracy", [0.5, 0.52, 0.54, 0.9], {"patience": 2, "min_delta": 0.1}, 2, 2),
        ("loss", [0.5, 0.48, 0.46, 0.44], {"patience": 4, "min_delta": 0.1}, None, 3),
    ],
)
def test_early_stopping(metric, scores, options, last, best):
    """Patience counts from `first_epoch`, and the weights of the best epoch are restored."""
    net, callback = ScriptedNet(scores, metric), EarlyStopping(metric, one_se_rule=False, **options)
    assert net.run(callback) == last
    assert callback.best_epoch_ == best
    assert net.module_.weight.item() == best


@pytest.mark.parametrize(
    ("metric", "scores", "error", "best"),
    [
        ("accuracy", [0.5, 0.9, 0.85, 0.86], 0.05, 3),
        ("accuracy", [0.5, 0.9, 0.86, 0.84], 0.05, 2),
        ("f1", [0.9, 0.7, 0.7, 0.8], 0.05, 0),
        ("accuracy", [0.5, 0.6, 0.57, 0.9], 0.05, 3),
        ("loss", [0.5, 0.1, 0.11, 0.12], None, 1),
    ],
)
def test_one_se_rule_keeps_a_later_epoch(metric, scores, error, best):
    """With the one-standard-error rule, a later epoch within one standard error is kept."""
    net, callback = ScriptedNet(scores, metric, error), EarlyStopping(metric)
    assert net.run(callback) is None
    assert callback.best_epoch_ == best
    assert callback.best_score_ == (min if metric == "loss" else max)(scores)
    assert net.module_.weight.item() == best


def test_best_epoch_may_be_a_head_only_epoch(make_classifier, messages):
    """If a head-only epoch is the best one, the pretrained weights of the encoder are restored."""
    classifier = make_classifier(
        encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=None),
        epochs=2,
        learning_rate=1e-2,
        eval=EvalConfig(metric="loss", patience=9),
        callbacks=[("worse", Worse())],
    ).fit(messages)
    assert dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_ == 0
    fresh = make_classifier(epochs=0, encoder=EncoderConfig(freeze_epochs=1)).fit(messages)
    for name, p in classifier.net_.module_.encoder.named_parameters():
        assert torch.equal(p, dict(fresh.net_.module_.encoder.named_parameters())[name]), name


class Worse(Callback):
    """Callback that damages all weights after the first epoch, so the first epoch is the best."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training and net.epoch_ > 0:
            with torch.no_grad():
                for p in net.module_.parameters():
                    p.add_(torch.linspace(-3, 3, p.numel()).view_as(p))


def test_patience_without_validation_rows_warns_once(make_classifier, messages):
    """If `patience` is set without validation rows, there is one warning and no early stopping."""
    patient = EvalConfig(patience=1)
    with pytest.warns(
        UserWarning, match="no validation rows, so training runs for all 4 epochs"
    ) as record:
        classifier = make_classifier(val_size=0, epochs=3, eval=patient).fit(messages)
    assert [warning.category for warning in record].count(UserWarning) == 1
    assert len(classifier.net_.history) == 4
    assert "early_stopping" not in dict(classifier.net_.callbacks_)


def test_user_callbacks_are_copied(make_classifier, messages):
    """A fit runs copies of the callbacks, so they do not change and can be used again."""
    mine = Watch()
    classifier = make_classifier(callbacks=[mine])
    for _ in range(2):
        classifier.fit(messages)
        assert vars(mine) == {}
        assert classifier.callbacks == [mine]
    assert isinstance(dict(classifier.net_.callbacks_)["Watch"], Watch)


def test_verbose_0_prints_nothing(make_classifier, messages, capfd):
    """With verbose=0, neither fit nor predict prints anything."""
    make_classifier().fit(messages).predict(["hi"])
    assert capfd.readouterr() == ("", "")


def test_callbacks_can_be_cloned(make_classifier, messages):
    """All callbacks of a trained net can be cloned and have the same parameters as new ones."""
    trained = make_classifier(verbose=1).fit(messages).net_.callbacks_
    assert len(trained) > 6
    for _, callback in trained:
        names = clone(callback).get_params().keys()
        assert names == type(callback)(**callback.get_params()).get_params().keys()


def test_skorch_callbacks_run_with_built_in_ones(make_classifier, messages, tmp_path, capsys):
    """skorch's log, progress bar, checkpoints and Unfreezer run with the built-in callbacks."""
    classifier = make_classifier(
        callbacks=[
            PrintLog(),
            ProgressBar(),
            Checkpoint(dirname=tmp_path, monitor="valid_loss_best"),
            Checkpoint(dirname=tmp_path / "second", monitor="valid_accuracy_best"),
            Unfreezer("encoder.embeddings.*", at=2),
            EpochTimer(),
        ],
        eval=EvalConfig(metric="loss"),
        epochs=3,
        verbose=1,
    ).fit(messages)
    assert (tmp_path / "params.pt").exists()
    assert (tmp_path / "second" / "params.pt").exists()
    assert "valid_accuracy/intent" in capsys.readouterr().out
    assert classifier.net_.module_.encoder.embeddings.word_embeddings.weight.requires_grad


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (EpochScoring("accuracy"), "EpochScoring callbacks: they score a net with a single"),
        (LRScheduler("StepLR", step_size=1), "LRScheduler callbacks: WarmupCosine sets"),
    ],
)
def test_callbacks_that_cannot_work_raise(make_classifier, messages, callback, reason):
    """A skorch callback that cannot work raises an error that gives the reason."""
    with pytest.raises(ValueError, match=f"must not contain {reason}"):
        make_classifier(callbacks=[callback]).fit(messages)


def test_best_weights_are_restored_before_user_callbacks(make_classifier, messages, tmp_path):
    """A user callback that saves the weights at the end of training saves the best ones."""
    classifier = make_classifier(
        encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=None),
        eval=EvalConfig(metric="loss", patience=9),
        callbacks=[("worse", Worse()), TrainEndCheckpoint(dirname=tmp_path)],
        epochs=2,
    ).fit(messages)
    assert dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_ == 0
    saved = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    for name, p in classifier.net_.module_.state_dict().items():
        assert torch.equal(saved[name], p), name


class Rising(Callback):
    """Callback that replaces the training loss in the history with given, rising values."""

    def __init__(self, values=(0.1, 0.2, 0.3, 0.4)):
        self.values = values

    def on_epoch_end(self, net, **kwargs):
        net.history.record("train_loss", self.values[net.epoch_])


def test_epoch_in_which_skorch_stops_counts(make_classifier, messages):
    """If skorch's early stopping ends the training, the last epoch can still be the best one."""
    stop = SkorchEarlyStopping(monitor="train_loss", patience=2, threshold=0)
    classifier = make_classifier(
        callbacks=[("rising", Rising()), ("stop", stop), ("watch", Watch())],
        eval=EvalConfig(metric="loss", patience=9),
        epochs=5,
    ).fit(messages)
    history = classifier.net_.history
    assert len(history) == 3
    assert len(watched(classifier).moved_) == 3
    best = int(np.argmin(history[:, "valid_loss"]))
    assert dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_ == best


def test_task_may_be_named_best(make_classifier, messages):
    """Scores of a task named `best` do not collide with the flag of the best epoch."""
    rows = messages[messages["task"] == "intent"].assign(task="best")
    epoch = make_classifier().fit(rows).net_.history[-1]
    assert epoch["valid_accuracy/best"] == epoch["valid_accuracy"]
    assert isinstance(epoch["valid_accuracy_best"], bool)

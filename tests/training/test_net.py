"""Gradient accumulation, optimizer groups, interrupts and cleanup of the training loop."""

import tempfile

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping

from rapidfit_sk import EncoderConfig, EvalConfig, HeadConfig, LossConfig
from rapidfit_sk._model.encoders import load_encoder, load_tokenizer
from rapidfit_sk._model.module import build_module
from rapidfit_sk._model.randomness import UseGenerator
from rapidfit_sk._model.tokens import TextTokenizer
from rapidfit_sk._rows.labels import CodedRows
from rapidfit_sk._rows.texts import Texts
from rapidfit_sk._training.batches import PaddedTokens, TextRows
from rapidfit_sk._training.losses import MultiheadLoss
from rapidfit_sk.callbacks import StopTraining

NO_DROPOUT = {
    "head": HeadConfig(dropout=0.0),
    "encoder": EncoderConfig(freeze_epochs=1, unfreeze_layers=2),
    "learning_rate": 1e-4,
}


@pytest.fixture(scope="module")
def encoder_without_dropout(encoder_name):
    """A tiny encoder without dropout."""
    encoder = load_encoder(encoder_name)
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    with tempfile.TemporaryDirectory() as folder:
        encoder.save_pretrained(folder)
        load_tokenizer(encoder_name).save_pretrained(folder)
        yield folder


def weights_of(classifier):
    return torch.cat([p.detach().flatten() for p in classifier.net_.module_.parameters()])


@pytest.mark.parametrize("max_grad_norm", [None, 0.1])
def test_accumulated_batches_equal_a_large_batch(
    make_classifier, messages, encoder_without_dropout, max_grad_norm
):
    """Eight accumulated batches of 4 give the same weights as batches of 32.

    Encoder and heads train without dropout. The last step of an epoch is smaller, and clipping
    applies to the accumulated gradient.
    """
    options = {
        "epochs": 1,
        "max_grad_norm": max_grad_norm,
        "model_name": encoder_without_dropout,
        **NO_DROPOUT,
    }
    large = make_classifier(batch_size=32, **options).fit(messages)
    small = make_classifier(batch_size=4, gradient_accumulation_steps=8, **options).fit(messages)
    steps = [c.net_.history[:, "train_batch_count"] for c in (large, small)]
    assert steps[0] == steps[1]
    n_texts = messages["text"].iloc[large.train_indices_].nunique()
    assert n_texts % 32
    assert (n_texts % 32) % 4
    torch.testing.assert_close(weights_of(small), weights_of(large), atol=1e-5, rtol=1e-4)
    one = make_classifier(batch_size=4, **options).fit(messages)
    assert (weights_of(one) - weights_of(large)).abs().max() > 1e-3


def test_recorded_loss_is_the_mean_over_rows(make_classifier, messages):
    """Without label smoothing and class weights, `valid_loss` is the mean log loss of the rows."""
    classifier = make_classifier(
        loss=LossConfig(use_class_weights=False, label_smoothing=0.0),
        eval=EvalConfig(calibrate=False),
        epochs=0,
    ).fit(messages)
    rows = messages.iloc[classifier.val_indices_]
    total = 0.0
    for task, part in rows.groupby("task"):
        p = classifier.predict_proba(part["text"], task=task)
        codes = np.searchsorted(classifier.classes_[task], part["label"])
        total -= np.log(p[np.arange(len(part)), codes]).sum()
    assert classifier.net_.history[0, "valid_loss"] == pytest.approx(total / len(rows), rel=1e-4)


def test_optimizer_groups(fitted):
    """Encoder and heads have separate learning rates.

    Biases, queries and the parameters of layer norms have no weight decay.
    """
    net = fitted.net_
    names = {id(p): name for name, p in net.module_.named_parameters()}
    groups = net.optimizer_.param_groups
    assert sum(len(group["params"]) for group in groups) == len(names)
    for group in groups:
        mine = [names[id(p)] for p in group["params"]]
        assert all(name.startswith(group["part"]) for name in mine)
        assert group["peak_lr"] == pytest.approx(1e-3 if group["part"] == "encoder" else 5e-3)
        plain = {name.endswith(("bias", "query")) or "LayerNorm" in name for name in mine}
        assert plain == {group["weight_decay"] == 0}


def head_gradients(encoder_name, rows):
    """Return the gradients of each head for one batch of (text, task) rows, without dropout."""
    head = HeadConfig(hidden_layers=1, dropout=0.0, normalize=False)._layout()
    with UseGenerator(torch.Generator().manual_seed(0)):
        module = build_module(model_name=encoder_name, n_classes=[2, 2], head=head, pooling="mean")
    tokenizer = TextTokenizer(load_tokenizer(encoder_name), 16)
    texts, tasks = zip(*rows, strict=True)
    zeros, ones = np.zeros(len(rows), int), np.ones(len(rows), np.float32)
    classes = dict.fromkeys("ab", np.arange(2))
    coded = CodedRows(Texts.of(texts), np.array(tasks), zeros, ones, classes)
    data = TextRows.of(coded, tokenizer)
    batch = data.batch(np.arange(len(rows)), PaddedTokens(data.tokens))
    loss = MultiheadLoss([[1.0, 1.0]] * 2, [1.0, 1.0])
    (loss(module(**batch.inputs), batch.targets) / batch.weight).backward()
    return [[p.grad for p in head.parameters()] for head in module.heads]


def test_head_gradient_depends_only_on_its_task(encoder_name):
    """The gradient of a head depends only on the rows of its task in the batch."""
    alone = head_gradients(encoder_name, [("why", 0)])
    assert all(grad is None for grad in alone[1])
    beside = head_gradients(encoder_name, [("why", 0), ("it broke again", 1)])
    for one, two in zip(alone[0], beside[0], strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(two, one / 2)  # the loss is the mean of both rows
    assert all(grad.abs().sum() > 0 for grad in beside[1])


def test_interrupted_fit_stays_unfitted(make_classifier, messages):
    """Ctrl-C during training raises KeyboardInterrupt, and the classifier stays unfitted."""

    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    classifier = make_classifier(callbacks=[CtrlC()])
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(messages)
    assert not hasattr(classifier, "net_")


def test_skorch_early_stopping_ends_the_training(make_classifier, messages):
    """skorch's own early stopping can end the training, and the classifier is then fitted."""
    stop = SkorchEarlyStopping(monitor="valid_loss", patience=1, threshold=1e9)
    classifier = make_classifier(callbacks=[stop], epochs=5).fit(messages)
    assert len(classifier.net_.history) < 6
    assert classifier.predict(["hi"], task="intent").shape == (1,)


def test_all_callbacks_run_at_the_end_of_the_last_epoch(make_classifier, messages):
    """If a callback stops the training, on_epoch_end of the later callbacks still runs."""

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise StopTraining

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            self.n_ = getattr(self, "n_", 0) + 1

    classifier = make_classifier(callbacks=[("stop", Stop()), ("count", Count())]).fit(messages)
    assert len(classifier.net_.history) == 1
    assert dict(classifier.net_.callbacks_)["count"].n_ == 1


def test_stop_training_in_other_hooks_raises(make_classifier, messages):
    """StopTraining outside of on_epoch_end causes an error that names the callback."""

    class Stop(Callback):
        def on_batch_end(self, net, **kwargs):
            raise StopTraining

    classifier = make_classifier(callbacks=[("stop", Stop())])
    with pytest.raises(RuntimeError, match="'stop' raised StopTraining in on_batch_end"):
        classifier.fit(messages)


def test_training_cleans_up_the_net(fitted):
    """After training, the net has no gradients, optimizer state or run, and is in eval mode."""
    net = fitted.net_
    assert all(p.grad is None for p in net.module_.parameters())
    assert not net.optimizer_.state
    assert net.run_ is None
    assert not any(part.training for part in net.module_.modules())


def test_training_mode_is_set_once_per_epoch(make_classifier, messages, monkeypatch):
    """The training mode of the modules is set once per epoch, not once per batch."""
    from rapidfit_sk._training.net import MultiheadNet

    calls = []
    original = MultiheadNet._set_training
    monkeypatch.setattr(
        MultiheadNet,
        "_set_training",
        lambda self, mode=True: (calls.append(mode), original(self, mode)),
    )
    make_classifier(epochs=0, batch_size=4, test_size=0).fit(messages)
    assert len(calls) < 6


def test_divergence_raises(make_classifier, messages):
    """If the loss is not finite, an error gives advice and the classifier stays unfitted."""
    classifier = make_classifier(learning_rate=1e30, max_grad_norm=None)
    with pytest.raises(
        FloatingPointError,
        match="Training diverged in epoch 1: the training loss is nan at batch 3",
    ):
        classifier.fit(messages)
    assert not hasattr(classifier, "net_")


def test_net_can_be_cloned(fitted):
    """A trained net can be cloned, and the clone has the parameters of the net."""
    assert clone(fitted.net_).get_params().keys() >= {"lr", "head_lr", "seeds", "accumulate"}


def test_interrupt_removes_the_run(make_classifier, messages):
    """After an interrupt, the net has no run, and its training iterator raises an error."""
    nets = []

    class Interrupts(Callback):
        def on_epoch_end(self, net, **kwargs):
            nets.append(net)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_classifier(callbacks=[Interrupts()]).fit(messages)
    assert nets[0].run_ is None
    with pytest.raises(RuntimeError, match="not training"):
        nets[0].get_iterator(None, training=True)

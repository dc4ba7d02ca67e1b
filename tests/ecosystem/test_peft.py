"""LoRA adapters of peft: they train instead of weights, and no trace of them stays."""

import pickle
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk._model.adapters import adapters_of, add_adapters, merge_adapters
from rapidfit_sk._model.encoders import layer_stack, load_encoder
from rapidfit_sk._training.checkpoints import Checkpoints
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

from .small import messages_of

pytest.importorskip("peft", reason="peft is not installed")

X, Y = (values[:120] for values in messages_of("intent"))


class Watch(Callback):
    """Callback that records the trainable parameters of the encoder and the inputs of a step."""

    def on_train_begin(self, net, **kwargs):
        self.names_, self.inputs_ = {}, set()

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            named = net.module_.encoder.named_parameters()
            self.names_ = {name: p.numel() for name, p in named if p.requires_grad}
            self.inputs_ = set(batch[0].inputs)


class Pickling(Callback):
    """Callback that pickles the net in each epoch, and damages the adapters before the last one."""

    def on_train_begin(self, net, **kwargs):
        self.pickled_ = []

    def on_epoch_begin(self, net, **kwargs):
        if net.epoch_ == net.max_epochs - 1:
            for adapter in adapters_of(net.module_.encoder):
                adapter.data.mul_(30)

    def on_epoch_end(self, net, **kwargs):
        self.pickled_.append(pickle.dumps(net))


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder()


def make(encoder, callbacks=None, precision="float32", **config):
    """Return a classifier with adapters in the top two of four layers."""
    training = TrainingConfig(
        model_name=encoder, epochs=2, learning_rate=3e-3, batch_size=8, val_size=0.2
    )
    full = MultiheadConfig(training=training)
    options = {"encoder__adapter": "lora", "encoder__unfreeze_layers": 2, **config}
    full.set_params(**options)
    return TextClassifier(full, random_state=0, precision=precision, callbacks=callbacks)


def weights(classifier):
    return {n: p.detach().clone() for n, p in classifier.net_.module_.encoder.named_parameters()}


def changed(classifier, other):
    """Return the names of the encoder weights in which two classifiers differ."""
    pairs = zip(weights(classifier).items(), weights(other).values(), strict=True)
    return {name for (name, one), another in pairs if not torch.equal(one, another)}


@pytest.fixture(scope="module")
def frozen(encoder):
    """A classifier whose encoder has its pretrained weights."""
    return make(encoder, encoder__unfreeze_layers=0).fit(X, Y)


@pytest.fixture(scope="module")
def fitted(encoder):
    """A fitted classifier; tests must not change it."""
    return make(encoder, [("watch", Watch())]).fit(X, Y)


def test_matrices_train_instead_of_weights(fitted, frozen):
    """Only small matrices in the top layers train, on cached hidden states of the layers below."""
    watch = dict(fitted.net_.callbacks_)["watch"]
    assert all(".lora_" in name and name.split(".")[2] in "23" for name in watch.names_)
    # A BERT layer has six linear layers: four of 32 by 32 and two between 32 and 64.
    rank = 8
    assert sum(watch.names_.values()) == 2 * rank * (4 * (32 + 32) + 2 * (32 + 64))
    assert "states" in watch.inputs_
    names = changed(fitted, frozen)
    assert len(names) == 12
    assert all(name.endswith(".weight") and name.split(".")[2] in "23" for name in names)


def test_update_has_a_low_rank(fitted, frozen):
    """The update of each weight matrix has the rank of its adapter."""
    pairs = zip(weights(fitted).items(), weights(frozen).values(), strict=True)
    updates = [one - another for (_, one), another in pairs if not torch.equal(one, another)]
    for update in updates:
        singular = torch.linalg.svdvals(update.double())
        assert singular[8:].max() < 1e-5 * singular[0]
        assert singular[1] > 1e-3 * singular[0]


def test_fitted_classifier_has_no_trace_of_adapters(fitted, tmp_path):
    """The modules have their usual classes, and saving, loading and pickling work as usual."""
    kinds = {type(part).__module__.partition(".")[0] for part in fitted.net_.module_.modules()}
    assert kinds == {"rapidfit_sk", "torch", "transformers"}
    encoder = fitted.net_.module_.encoder
    assert not any("peft" in name for part in encoder.modules() for name in vars(part))
    expected = fitted.predict_proba(X[:20])
    with pytest.warns(UserWarning, match="callbacks"):
        fitted.save(tmp_path / "saved")
    for copy in (TextClassifier.load(tmp_path / "saved"), pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(copy.predict_proba(X[:20]), expected)


def test_best_epoch_is_merged(encoder):
    """The fitted weights are those of the best epoch, which a net pickled in this epoch has too."""
    config = {"training__epochs": 3, "eval__metric": "loss"}
    classifier = make(encoder, [("pickling", Pickling())], **config).fit(X, Y)
    callbacks = dict(classifier.net_.callbacks_)
    best, pickled = callbacks["early_stopping"].best_epoch_, callbacks["pickling"].pickled_
    nets = [pickle.loads(each).module_.state_dict() for each in pickled]
    own = classifier.net_.module_.state_dict()

    def same(epoch):
        return all(torch.allclose(nets[epoch][name], own[name], atol=1e-6) for name in own)

    assert [epoch for epoch in range(4) if same(epoch)] == [best]
    assert best < 3


def test_callback_that_restores_an_epoch(encoder):
    """skorch's EarlyStopping restores the adapters of its best epoch before they are merged."""
    stopping = EarlyStopping(monitor="train_loss", lower_is_better=False, load_best=True)
    stopped = make(encoder, [stopping], training__epochs=3, training__val_size=0).fit(X, Y)
    shorter = make(encoder, training__epochs=3, training__val_size=0).fit(X, Y)
    assert changed(stopped, shorter)
    assert not [name for name in weights(stopped) if "lora" in name]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_weights_compute_what_the_adapters_computed(architecture):
    """New adapters change no output, and merged weights give the output of trained adapters."""
    encoder = load_encoder(tiny_encoder(architecture=architecture))
    names = list(encoder.state_dict())
    ids = torch.arange(1, 13).reshape(2, 6)

    def output():
        with torch.no_grad():
            return encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    before = output()
    add_adapters(layer_stack(encoder)[-2:], rank=3)
    assert torch.equal(output(), before)
    adapters = adapters_of(encoder)
    with torch.no_grad():
        for parameter in adapters:
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    trained = output()
    merge_adapters(encoder)
    assert len(adapters) >= 8
    assert list(encoder.state_dict()) == names
    assert (trained - before).abs().max() > 1e-2
    torch.testing.assert_close(output(), trained, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {"encoder__unfreeze_layers": None},
        {"training__gradient_checkpointing": True},
        {"encoder__freeze_epochs": 0},
        {},
    ],
    ids=str,
)
def test_options(encoder, fitted, config):
    """Other layers and schedules give another model, and gradient checkpointing does not."""
    classifier = make(encoder, **config).fit(X, Y)
    same = np.allclose(classifier.predict_proba(X), fitted.predict_proba(X), atol=1e-5)
    assert same == (not config or "training__gradient_checkpointing" in config)


def test_bfloat16(encoder, fitted):
    """Adapters train in bfloat16, and the merged weights are float32."""
    classifier = make(encoder, precision="bfloat16").fit(X, Y)
    assert {value.dtype for value in weights(classifier).values()} == {torch.float32}
    close = classifier.predict_proba(X) - fitted.predict_proba(X)
    assert 0 < np.abs(close).max() < 0.2


def test_seeds_are_private(encoder, fitted):
    """Two fits in two threads equal a single fit and leave the global generator alone."""
    before, probabilities = torch.get_rng_state(), {}

    def fit(number):
        probabilities[number] = make(encoder).fit(X, Y).predict_proba(X)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    for number in range(2):
        assert np.array_equal(probabilities[number], fitted.predict_proba(X))


def test_interrupted_fit_continues(encoder, fitted, tmp_path, monkeypatch):
    """A fit that is interrupted in a fine-tuning epoch continues to the same model."""
    write, n_written = Checkpoints._write, []

    def interrupted(self):
        write(self)
        n_written.append(1)
        if len(n_written) == 3:  # after the temperatures and two of three epochs
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(encoder).set_params(checkpoint_dir=tmp_path).fit(X, Y)
    continued = make(encoder).set_params(checkpoint_dir=tmp_path).fit(X, Y)
    assert len(n_written) == 4
    assert np.array_equal(continued.predict_proba(X), fitted.predict_proba(X))


def test_training_continues_from_merged_weights(encoder, fitted):
    """partial_fit and a warm start add new adapters to the merged weights."""
    classifier = make(encoder, training__val_size=0, eval__calibrate=False).fit(X, Y)
    before = weights(classifier)
    classifier.partial_fit(X, Y)
    after = weights(classifier)
    assert list(after) == list(before)
    assert sum(not torch.equal(before[name], after[name]) for name in before) == 12
    again = classifier.set_params(warm_start=True).fit(X, Y)
    assert list(weights(again)) == list(before)
    assert changed(again, fitted)


def test_new_tasks_keep_the_encoder(encoder):
    """add_task trains a head alone, without adapters."""
    training = make(encoder).config
    classifier = MultiheadClassifier(training, random_state=0)
    classifier.fit(pd.DataFrame({"text": X, "task": "intent", "label": Y}))
    before = classifier.predict_proba(X, task="intent")
    classifier.add_task(X, Y, task="again")
    assert np.array_equal(classifier.predict_proba(X, task="intent"), before)

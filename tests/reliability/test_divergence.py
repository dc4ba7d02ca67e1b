"""NaN and infinity are found where they arise."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skorch.callbacks import Callback

from rapidfit_sk.testing import tiny_encoder

from .small import LABELS, TEXTS, make


def one_step(**parameters):
    """Return parameters for an epoch of a single step."""
    return {"training__min_steps_per_epoch": 1, "training__batch_size": 64, **parameters}


@pytest.mark.parametrize(
    "parameters",
    [
        one_step(training__learning_rate=1e10),
        one_step(training__learning_rate=1e10, encoder__freeze_epochs=0),
        one_step(training__learning_rate=1e10, pooling="mean", training__max_grad_norm=None),
        one_step(training__weight_decay=1e30),
        one_step(training__weight_decay=1e30, encoder__unfreeze_layers=0),
        {"training__learning_rate": 1e30},
    ],
    ids=str,
)
def test_a_last_step_that_diverges(parameters):
    """A step after which the model gives no numbers is an error, also if it is the last one."""
    classifier = make(tiny_encoder(), parameters)
    with pytest.raises(FloatingPointError, match="in epoch [12]: .* The learning rate is .*Lower"):
        classifier.fit(TEXTS, LABELS)
    assert not hasattr(classifier, "model_")


def test_the_message_names_the_batch():
    """The message names the batch in which the loss becomes NaN."""

    class Poison(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and net.epoch_ == 1 and net.run_.sums.n_batches == 3:
                with torch.no_grad():
                    net.module_.heads[0][-1].weight.fill_(torch.nan)

    classifier = make(tiny_encoder(), {"training__min_steps_per_epoch": 8})
    classifier.set_params(callbacks=[Poison()])
    with pytest.raises(FloatingPointError, match="epoch 2: the training loss is nan at batch 4"):
        classifier.fit(TEXTS, LABELS)


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_end"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_callback_that_spoils_weights(hook, value):
    """Weights that a callback spoils at the end of a fit are found."""

    def spoil(self, net, **kwargs):
        with torch.no_grad():
            next(net.module_.encoder.parameters())[0, 0] = value

    classifier = make(tiny_encoder())
    classifier.set_params(callbacks=[type("Spoils", (Callback,), {hook: spoil})()])
    with pytest.raises(FloatingPointError, match="not finite|is nan"):
        classifier.fit(TEXTS, LABELS)


def test_an_encoder_with_nan_weights(tmp_path):
    """An encoder file with NaN weights is refused, and the message names the weight."""
    folder = tiny_encoder(tmp_path / "encoder")
    path = tmp_path / "encoder" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "attention" in name)
    weights[name][0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"nan or infinite, the first ones .*{re.escape(name)}"):
        make(folder).fit(TEXTS, LABELS)


def test_a_prediction_is_never_nan():
    """A fitted model whose weights have been spoiled raises instead of predicting."""
    classifier = make(tiny_encoder()).fit(TEXTS, LABELS)
    with torch.no_grad():
        classifier.net_.module_.heads[0][-1].weight.fill_(torch.nan)
    for method in (classifier.predict, classifier.predict_proba, classifier.predict_all):
        with pytest.raises(FloatingPointError, match="not finite"):
            method(TEXTS)
    assert np.isfinite(make(tiny_encoder()).fit(TEXTS, LABELS).predict_proba(TEXTS)).all()

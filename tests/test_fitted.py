"""`FittedModel`: an immutable value that predicts and that later training does not change."""

import dataclasses
import pickle

import numpy as np
import pytest

from rapidfit_sk import EncoderConfig
from rapidfit_sk._rows.texts import Texts

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


@pytest.fixture
def model(fitted):
    return fitted.model_


def test_fields_cannot_be_set(model):
    """A field of a fitted model cannot be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.temperatures = {}


def test_fitted_attributes_come_from_the_model(fitted, model):
    """Fitted attributes of the classifier are fields of its fitted model, not copies."""
    assert fitted.net_ is model.net
    assert fitted.tokenizer_ is model.tokenizer
    assert fitted.tasks_ == list(model.classes)
    assert list(fitted.classes_) == list(model.classes)
    assert all(fitted.classes_[task] is model.classes[task] for task in model.classes)
    assert fitted.temperatures_ is model.temperatures
    names = {"net_", "tokenizer_", "tasks_", "classes_", "temperatures_"}
    assert not names & vars(fitted).keys()


@pytest.mark.parametrize("change", ["add_task", "partial_fit", "warm_start"])
def test_later_training_does_not_change_a_model(make_classifier, messages, change):
    """A fitted model predicts the same after its classifier trains again and shares parts."""
    classifier = make_classifier(test_size=0, val_size=0).fit(messages[:200])
    held, texts = classifier.model_, Texts.of(TEXTS)
    tasks, n_epochs = np.zeros(len(TEXTS), int), len(held.net.history)
    before = held.logits(texts, tasks)[0]
    rows = messages[messages["task"] == "intent"].assign(task="other")
    method = "fit" if change == "warm_start" else change
    getattr(classifier.set_params(warm_start=True), method)(rows)
    assert classifier.tasks_ == [*held.tasks, "other"]
    assert np.array_equal(held.logits(texts, tasks)[0], before)
    assert len(held.net.history) == n_epochs


def test_a_head_can_be_added_twice(make_classifier, messages):
    """with_task changes neither of its two models, so the same head can be added twice."""
    intent, mood = (
        make_classifier().fit(messages[messages["task"] == "intent"].assign(task=task)).model_
        for task in ("intent", "mood")
    )
    n_epochs = len(mood.net.history)
    for _ in range(2):
        assert len(intent.with_task(mood).net.history) == len(intent.net.history) + n_epochs
    assert len(mood.net.history) == n_epochs


def test_temperatures_divide_logits(model):
    """with_temperatures returns a new model with other probabilities and the same codes."""
    texts, tasks = Texts.of(TEXTS), np.ones(len(TEXTS), int)
    warmer = model.with_temperatures({"intent": 100.0})
    assert model.temperatures["intent"] != 100.0
    assert warmer.temperatures["sentiment"] == model.temperatures["sentiment"]
    assert np.ptp(warmer.probabilities(texts, tasks)[1]) < np.ptp(
        model.probabilities(texts, tasks)[1]
    )
    assert np.array_equal(warmer.codes(texts, tasks), model.codes(texts, tasks))


def test_codes_labels_and_probabilities_agree(model):
    """The label of a row is the class of its code, which has the largest probability."""
    texts, tasks = Texts.of(TEXTS).repeat(2), np.array([0, 1] * 3)
    codes, labels = model.codes(texts, tasks), model.labels(texts, tasks)
    every = zip(model.probabilities(texts, tasks), model.classes.values(), strict=True)
    for task, (probabilities, classes) in enumerate(every):
        assert np.array_equal(probabilities.argmax(1), codes[tasks == task])
        assert np.array_equal(classes[codes[tasks == task]], labels[tasks == task])
        np.testing.assert_allclose(probabilities.sum(1), 1)


def test_memory_is_not_pickled(make_classifier, messages, tmp_path):
    """A pickle does not contain the embedding cache, so a loaded model runs the encoder."""
    frozen = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)
    classifier = make_classifier(memory=str(tmp_path / "memory"), encoder=frozen)
    classifier.fit(messages[:80])
    assert classifier.model_.memory is not None
    model = pickle.loads(pickle.dumps(classifier.model_))
    assert model.memory is None
    texts, tasks = Texts.of(TEXTS), np.zeros(len(TEXTS), int)
    np.testing.assert_allclose(
        model.logits(texts, tasks)[0], classifier.model_.logits(texts, tasks)[0], rtol=1e-5
    )

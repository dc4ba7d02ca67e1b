"""A fitted model is a value: it answers, and whoever holds it sees no later fit."""

import dataclasses
import pickle

import numpy as np
import pytest

from rapidfit_sk._rows.texts import Texts

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


@pytest.fixture
def model(fitted):
    return fitted.model_


def test_nothing_of_it_is_assigned(model):
    """A field of a fitted model cannot be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.temperatures = {}


def test_the_classifier_reads_what_it_learned_from_it(fitted, model):
    """Net, tokenizer, tasks, classes and temperatures of the classifier are those of the model."""
    assert fitted.net_ is model.net
    assert fitted.tokenizer_ is model.tokenizer
    assert fitted.tasks_ == list(model.classes)
    assert fitted.classes_ is model.classes
    assert fitted.temperatures_ is model.temperatures
    names = {"net_", "tokenizer_", "tasks_", "classes_", "temperatures_"}
    assert not names & vars(fitted).keys()


def test_a_held_model_survives_a_refit(make_classifier, messages):
    """A model that was taken before a refit answers as it did."""
    classifier = make_classifier().fit(messages)
    held, texts = classifier.model_, Texts.of(TEXTS)
    tasks = np.zeros(len(TEXTS), int)
    before = held.logits(texts, tasks)[0]
    classifier.fit(messages[messages["task"] == "intent"].assign(task="other"))
    assert np.array_equal(held.logits(texts, tasks)[0], before)
    assert classifier.model_ is not held


def test_temperatures_divide_logits(model):
    """Another temperature is another value, and changes probabilities, not codes."""
    texts, tasks = Texts.of(TEXTS), np.ones(len(TEXTS), int)
    warmer = model.with_temperatures({"intent": 100.0})
    assert model.temperatures["intent"] != 100.0
    assert warmer.temperatures["sentiment"] == model.temperatures["sentiment"]
    assert np.ptp(warmer.probabilities(texts, tasks)[1]) < np.ptp(
        model.probabilities(texts, tasks)[1]
    )
    assert np.array_equal(warmer.codes(texts, tasks), model.codes(texts, tasks))


def test_codes_labels_and_probabilities_agree(model):
    """The label of a row is the class of its code, which has the largest logit."""
    texts, tasks = Texts.of(TEXTS).repeat(2), np.array([0, 1] * 3)
    codes, labels = model.codes(texts, tasks), model.labels(texts, tasks)
    for task, (logits, classes) in enumerate(
        zip(model.logits(texts, tasks), model.classes.values(), strict=False)
    ):
        if task < 2:
            assert np.array_equal(logits.argmax(1), codes[tasks == task])
            assert np.array_equal(classes[codes[tasks == task]], labels[tasks == task])


def test_memory_is_not_pickled(make_classifier, messages, tmp_path):
    """A pickle has no path of this machine; what is loaded runs the encoder instead."""
    classifier = make_classifier(memory=str(tmp_path / "memory")).fit(messages[:80])
    assert classifier.model_.memory is not None
    model = pickle.loads(pickle.dumps(classifier.model_))
    assert model.memory is None
    texts, tasks = Texts.of(TEXTS), np.zeros(len(TEXTS), int)
    np.testing.assert_allclose(
        model.logits(texts, tasks)[0], classifier.model_.logits(texts, tasks)[0], rtol=1e-5
    )

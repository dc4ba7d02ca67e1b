"""A view is a classifier of one task, over a fitted parent."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from rapidfit_sk import MultiheadClassifier, TaskClassifier


@pytest.fixture
def intent(messages):
    """The rows of one task."""
    return messages[messages["task"] == "intent"]


def test_view_answers_as_its_parent(fitted, intent):
    """predict, predict_proba and score are those of the parent for the task."""
    view = fitted["intent"]
    texts = intent["text"].tolist()
    assert view.classes_.tolist() == ["ask", "buy", "complain", "sell"]
    assert (view.predict(texts) == fitted.predict(texts, task="intent")).all()
    assert (view.predict_proba(texts) == fitted.predict_proba(texts, task="intent")).all()
    expected = accuracy_score(intent["label"], view.predict(texts))
    assert view.score(texts, intent["label"]) == pytest.approx(expected)
    assert fitted.score(intent) == pytest.approx(expected)


def test_view_reads_frames(fitted, messages):
    """The text column of a frame is read; a task column does not matter."""
    view = fitted["intent"]
    assert (view.predict(messages.head(9)) == view.predict(messages["text"].head(9))).all()


def test_views_by_name(fitted):
    """named_estimators_ holds a view for each task."""
    assert list(fitted.named_estimators_) == fitted.tasks_
    view = fitted.named_estimators_["sentiment"]
    assert isinstance(view, TaskClassifier)
    assert fitted.named_estimators_.sentiment.task == "sentiment"


def test_view_shares_the_parent(fitted):
    """A view holds the parent itself, so that no weights are copied."""
    assert fitted["intent"].estimator is fitted
    size = len(pickle.dumps([fitted["intent"], fitted["sentiment"], fitted]))
    assert size < 1.1 * len(pickle.dumps(fitted))


def test_view_cannot_be_fitted(fitted, intent):
    """fit refuses, and says what to do instead."""
    with pytest.raises(TypeError, match=r"task 'intent' .* sklearn.frozen.FrozenEstimator"):
        fitted["intent"].fit(intent["text"], intent["label"])


def test_view_follows_the_conventions(fitted):
    """It is a classifier, fitted as its parent is, and its clone is not."""
    view = fitted["intent"]
    assert is_classifier(view)
    check_is_fitted(view)
    with pytest.raises(NotFittedError):
        clone(view).predict(["a"])
    with pytest.raises(NotFittedError):
        TaskClassifier(fitted, "nothing").predict(["a"])
    with pytest.raises(NotFittedError):
        _ = TaskClassifier(MultiheadClassifier(), "intent").classes_


def test_view_follows_its_parent(make_classifier, messages, intent):
    """After the parent is fitted again, a view shows what it has learned since."""
    parent = make_classifier().fit(messages)
    view = parent["intent"]
    before = view.predict_proba(["a"])
    parent.set_params(random_state=5).fit(messages)
    assert not np.array_equal(view.predict_proba(["a"]), before)

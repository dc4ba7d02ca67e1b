"""Polars frames are accepted in the same places as pandas frames."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import GridSearchCV

from rapidfit_sk._rows.tables import as_pandas
from rapidfit_sk.model_selection import TaskStratifiedKFold, task_scorer

TEXTS = ["Do you ship to Norway?", "It broke again!"]


@pytest.fixture
def frame(messages):
    """The messages as a polars frame."""
    return pl.DataFrame({name: messages[name].tolist() for name in messages})


def same(first, second):
    """Check whether two fits predict the same to the bit."""
    first, second = first.predict_proba(TEXTS), second.predict_proba(TEXTS)
    return all(np.array_equal(first[task], second[task]) for task in first)


def test_long_frames(make_classifier, messages, frame):
    """Polars and pandas frames give the same results in fit, predict and score."""
    expected = make_classifier().fit(messages)
    classifier = make_classifier().fit(frame)
    assert same(classifier, expected)
    assert classifier.feature_names_in_.tolist() == ["text", "task"]
    weights = pl.Series(np.arange(len(frame)) % 2 + 1.0)
    weighted = make_classifier().fit(frame.drop("label"), frame["label"], weights)
    assert same(
        weighted,
        make_classifier().fit(messages, sample_weight=weights.to_numpy()),
    )
    assert (classifier.predict(frame) == expected.predict(messages)).all()
    assert classifier.score(frame) == expected.score(messages)
    assert classifier.predict_all(frame["text"]).equals(
        expected.predict_all(messages["text"].tolist())
    )
    intent = frame.filter(pl.col("task") == "intent")
    assert 0 <= classifier["intent"].score(intent, intent["label"].to_numpy()) <= 1


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_wide_labels_keep_their_types(make_classifier, messages, frame):
    """Ints in a column with gaps stay ints, although pandas would convert them to floats."""
    codes = {"negative": 0, "neutral": 1, "positive": 2}
    wide = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    labels = pl.DataFrame(
        {
            "mood": [codes[each] if i % 3 else None for i, each in enumerate(wide["sentiment"])],
            "emotion": [None if each != each else each for each in wide["emotion"]],
        }
    )
    classifier = make_classifier().fit(pl.Series(wide.index.tolist()), labels)
    assert classifier.tasks_ == ["mood", "emotion"]
    assert classifier.classes_["mood"].dtype == np.int64
    assert len(classifier.classes_["emotion"]) == 4


def test_search(make_classifier, frame):
    """Folds, scorers and searches accept polars frames."""
    search = GridSearchCV(
        make_classifier(test_size=0),
        {"config__head__dropout": [0.0, 0.5]},
        cv=TaskStratifiedKFold(2),
        scoring=task_scorer("intent", "f1_macro"),
        error_score="raise",
    ).fit(frame)
    assert search.best_estimator_.predict(frame.head(3)).shape == (3,)


def test_only_polars_objects_are_converted():
    """as_pandas converts a polars Series and returns objects of other libraries unchanged."""
    for thing in (["a"], ("a", "b"), {"a": []}, np.array(["a"]), "a", None, pd.Series(["a"]), 3):
        assert as_pandas(thing) is thing
    assert as_pandas(pl.Series("a", [1, None])).tolist() == [1, None]

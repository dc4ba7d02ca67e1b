"""Abstention: `min_confidence` in predictions, `tune_thresholds` and `thresholds_`."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from rapidfit_sk import MultiheadClassifier, TextClassifier

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please.", "Hm."]
TASKS = ["sentiment", "intent", "emotion"]


@pytest.fixture
def tuned(fitted, messages):
    """A copy of the fitted classifier with thresholds, which a test may change."""
    return copy.copy(fitted).tune_thresholds(messages, coverage=0.5)


@pytest.fixture
def small(make_classifier):
    """Function that fits a classifier on a few texts with some labels."""

    def fit(labels, kind=make_classifier, **parameters):
        texts = ["good word", "bad thing", "a good day", "a bad day"] * 3
        return kind(test_size=0, val_size=0, **parameters).fit(texts, labels * 6)

    return fit


def is_below(classifier, X, task, least):
    """Return which rows have a largest probability below a minimum."""
    return classifier.predict_proba(X, task=task).max(axis=1) < least


# --------------------------------------------------------------------------------------------
# Predictions


def test_rows_below_the_minimum_are_missing(fitted, messages):
    """A row is missing if and only if its largest probability is below the minimum."""
    texts = messages["text"].head(50)
    least = float(np.median(fitted.predict_proba(texts, task="intent").max(axis=1)))
    labels = fitted.predict(texts, task="intent")
    found = fitted.predict(texts, task="intent", min_confidence=least)
    below = is_below(fitted, texts, "intent", least)
    assert 0 < below.sum() < len(below)
    assert (pd.isna(found) == below).all()
    assert (found[~below] == labels[~below]).all()
    assert found.dtype == object
    assert {type(label) for label in found} == {str, type(None)}
    view = fitted["intent"].predict(texts, min_confidence=least)
    assert view.tolist() == found.tolist()


def test_none_and_zero_predict_all_rows(fitted, messages):
    """Without `min_confidence`, the dtype stays that of the classes; with 0, no row is missing."""
    labels = fitted.predict(TEXTS)
    assert fitted.predict(TEXTS, min_confidence=None).dtype == labels.dtype
    zero = fitted.predict(TEXTS, min_confidence=0)
    assert zero.dtype == object
    assert zero.tolist() == labels.tolist()
    assert pd.isna(fitted.predict(TEXTS, min_confidence=1)).all()


def test_several_tasks(fitted):
    """With several tasks, the array and the frames have the missing values of each task."""
    least = {"intent": 0.4, "emotion": 0.35}
    below = np.column_stack([is_below(fitted, TEXTS, task, least.get(task, 0)) for task in TASKS])
    assert 0 < below.sum() < below.size
    found = fitted.predict(TEXTS, min_confidence=least)
    assert (pd.isna(found) == below).all()
    (batch,) = fitted.predict_batches(TEXTS, min_confidence=least)
    (with_proba,) = fitted.predict_batches(TEXTS, min_confidence=least, proba=True)
    for frame in (fitted.predict_all(TEXTS, min_confidence=least), batch, with_proba[TASKS]):
        assert (frame.isna().to_numpy() == below).all()
        assert (frame.to_numpy()[~below] == found[~below]).all()
    (without,) = fitted.predict_batches(TEXTS, proba=True)
    pd.testing.assert_frame_equal(with_proba.drop(columns=TASKS), without.drop(columns=TASKS))


def test_long_frames(fitted, messages):
    """Each row of a long frame has the minimum of its task."""
    rows = messages.sample(60, random_state=0)
    found = fitted.predict(rows, min_confidence={"intent": 1.0})
    assert (pd.isna(found) == (rows["task"] == "intent").to_numpy()).all()
    # A task that is not in the frame needs no threshold.
    one = copy.copy(fitted).tune_thresholds(messages, precision={"sentiment": 0.1})
    rows = rows[rows["task"] == "sentiment"]
    assert one.predict(rows, min_confidence="tuned").shape == (len(rows),)


@pytest.mark.parametrize("labels", [[1, 0], [True, False], [0.5, 1.5]])
def test_labels_keep_their_type(small, labels):
    """Numbers and bools beside missing values stay Python objects of their type."""
    classifier = small(labels)
    p = classifier.predict_proba(TEXTS).max(axis=1)
    found = classifier.predict(TEXTS, min_confidence=np.sort(p)[1])
    assert {type(label) for label in found} == {type(labels[0]), type(None)}
    frame = classifier.predict_all(TEXTS, min_confidence=np.sort(p)[1])
    assert frame.isna().sum().item() == 1


def test_dtypes_do_not_depend_on_the_rows(fitted, messages):
    """Batches of a stream have the same dtypes, whether some or all of their rows abstain."""
    texts = messages["text"].unique()
    p = fitted.predict_proba(texts, "intent").max(axis=1)
    ordered = texts[np.argsort(p)].tolist()
    options = {"task": "intent", "min_confidence": float(np.median(p)), "batch_rows": 20}
    batches = list(fitted.predict_batches(ordered, **options))
    assert batches[0]["intent"].isna().all()
    assert batches[-1]["intent"].notna().all()
    assert len({batch["intent"].dtype for batch in batches}) == 1
    whole = fitted.predict_all(ordered[:20], min_confidence=1.0)
    assert set(whole.dtypes) == {batches[0]["intent"].dtype}


@pytest.mark.parametrize("value", [1.5, -0.1, True, "tuning", {"intent": 2}, [0.5]])
def test_invalid_minimum(fitted, value):
    """Any value but a probability, a dict of them, "tuned" and None is an error."""
    message = "'min_confidence' parameter must be a float in the range"
    with pytest.raises(ValueError, match=message):
        fitted.predict(TEXTS, min_confidence=value)
    with pytest.raises(ValueError, match=message):
        fitted.predict_all(TEXTS, min_confidence=value)
    with pytest.raises(ValueError, match=message):
        fitted.predict_batches(TEXTS, min_confidence=value)
    with pytest.raises(ValueError, match="Did you mean 'intent'"):
        fitted.predict(TEXTS, min_confidence={"intend": 0.5})


def test_score_ignores_thresholds(fitted, tuned, messages):
    """The score is over all rows, with and without thresholds."""
    assert tuned.score(messages) == fitted.score(messages)


def test_pipeline(tuned):
    """A pipeline passes the minimum on, with and without metadata routing."""
    expected = tuned.predict(TEXTS, min_confidence="tuned").tolist()
    pipe = make_pipeline(FunctionTransformer(), tuned)
    assert pipe.predict(TEXTS, min_confidence="tuned").tolist() == expected
    with sklearn.config_context(enable_metadata_routing=True):
        tuned.set_predict_request(min_confidence=True)
        assert pipe.predict(TEXTS, min_confidence="tuned").tolist() == expected


# --------------------------------------------------------------------------------------------
# Tuning


def test_tuned_thresholds_are_used(tuned, messages):
    """`min_confidence="tuned"` is `thresholds_`, and half of the rows reach them."""
    assert list(tuned.thresholds_) == TASKS
    found = tuned.predict(messages, min_confidence="tuned")
    assert found.tolist() == tuned.predict(messages, min_confidence=tuned.thresholds_).tolist()
    for task in TASKS:
        share = pd.notna(found[(messages["task"] == task).to_numpy()]).mean()
        assert share == pytest.approx(0.5, abs=0.01)


def test_precision_is_reached(fitted, messages):
    """The predicted calibration rows reach the precision; a higher one predicts fewer rows."""
    classifier, shares = copy.copy(fitted), []
    low = {task: fitted[task].score(*xy(messages, task)) for task in TASKS}
    for more in (0.05, 0.1):
        targets = {task: accuracy + more for task, accuracy in low.items()}
        classifier.tune_thresholds(messages, precision=targets)
        found = classifier.predict(messages, min_confidence="tuned")
        for task in TASKS:
            rows = (messages["task"] == task).to_numpy() & pd.notna(found)
            assert (found[rows] == messages["label"][rows]).mean() > targets[task]
        shares.append(pd.notna(found).mean())
    assert 0 < shares[1] < shares[0] < 1


def xy(messages, task):
    rows = messages[messages["task"] == task]
    return rows["text"].tolist(), rows["label"].tolist()


def test_forms_of_calibration_rows(fitted, messages):
    """All forms of rows give the same thresholds."""
    expected = copy.copy(fitted).tune_thresholds(messages, precision=0.4).thresholds_
    as_dict = {
        task: rows[["text", "label"]].to_dict("records")
        for task, rows in messages.groupby("task", sort=False)
    }
    wide = messages.pivot(index="text", columns="task", values="label")
    for X, y in (
        (messages[["text", "task"]], messages["label"]),
        (as_dict, None),
        (wide.index.tolist(), wide[TASKS].reset_index(drop=True)),
        (wide.index.tolist(), wide[TASKS].to_numpy(dtype=object)),
    ):
        other = copy.copy(fitted).tune_thresholds(X, y, precision=0.4)
        assert other.thresholds_ == pytest.approx(expected)


def test_rows_out_of_scope_raise_the_threshold(fitted, messages):
    """Rows with a label that is not a class count as wrong."""
    rows = messages[messages["task"] == "intent"]
    noise = pd.DataFrame({"text": TEXTS * 10, "task": "intent", "label": "out of scope"})
    target = 0.8 * fitted.score(rows)
    before = copy.copy(fitted).tune_thresholds(rows, precision=target)
    after = copy.copy(fitted).tune_thresholds(pd.concat([rows, noise]), precision=target)
    assert before.thresholds_["intent"] <= after.thresholds_["intent"]
    both = copy.copy(fitted).tune_thresholds(pd.concat([rows, *[noise] * 9]), precision=target)
    assert after.thresholds_["intent"] < both.thresholds_["intent"]


def test_other_tasks_keep_their_thresholds(tuned, messages):
    """Tasks without rows or without a target keep their thresholds."""
    before = tuned.thresholds_
    tuned.tune_thresholds(messages[messages["task"] == "intent"], coverage=0.9)
    assert tuned.thresholds_["intent"] < before["intent"]
    tuned.tune_thresholds(messages, coverage={"emotion": 0.9})
    assert tuned.thresholds_["sentiment"] == before["sentiment"]
    assert tuned.thresholds_["emotion"] < before["emotion"]


def test_failed_tuning_changes_nothing(tuned, messages):
    """If a precision is not reached, or rows are invalid, the old thresholds stay."""
    before, model = tuned.thresholds_, tuned.model_
    with pytest.raises(ValueError, match=r"No threshold reaches a precision of 0\.999"):
        tuned.tune_thresholds(messages, precision=0.999)
    with pytest.raises(ValueError, match="Pass either precision or coverage"):
        tuned.tune_thresholds(messages)
    with pytest.raises(ValueError, match="was not seen in fit"):
        tuned.tune_thresholds(messages.assign(task="other"), coverage=0.5)
    assert tuned.thresholds_ == before
    assert tuned.model_ is model


def test_before_fit_and_before_tuning(make_classifier, fitted):
    """Tuning needs a fitted classifier, and "tuned" needs a threshold of each task."""
    with pytest.raises(NotFittedError):
        make_classifier().tune_thresholds(TEXTS, [0] * 4, coverage=0.5)
    assert not hasattr(make_classifier(), "thresholds_")
    assert fitted.thresholds_ == {}
    with pytest.raises(ValueError, match="there is none for: 'intent'"):
        fitted.predict(TEXTS, task="intent", min_confidence="tuned")


# --------------------------------------------------------------------------------------------
# Life of thresholds


def test_thresholds_survive_saving(tuned, tmp_path):
    """A folder and a pickle keep the thresholds to the bit."""
    folder = MultiheadClassifier.load(tuned.save(tmp_path / "model") and tmp_path / "model")
    for other in (folder, pickle.loads(pickle.dumps(tuned))):
        assert other.thresholds_ == tuned.thresholds_
        found = other.predict(TEXTS, min_confidence="tuned").tolist()
        assert found == tuned.predict(TEXTS, min_confidence="tuned").tolist()
    assert not hasattr(clone(tuned), "thresholds_")
    assert hasattr(folder, "saved_with_")
    folder.tune_thresholds(TEXTS, pd.Series(["ask"] * 4, name="intent"), coverage=0.5)
    assert not hasattr(folder, "saved_with_")


def test_other_tasks_do_not_change_thresholds(tuned, messages):
    """`add_task` and `remove_task` keep the thresholds of the other tasks."""
    before = tuned.thresholds_
    tuned.add_task(task="topic", label_texts={"a": "delivery", "b": "payment"})
    assert tuned.thresholds_ == before
    tuned.remove_task("intent")
    assert list(tuned.thresholds_) == ["sentiment", "emotion"]
    rows = messages[messages["task"] == "emotion"]
    tuned.add_task(rows, replace=True)
    assert list(tuned.thresholds_) == ["sentiment"]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.filterwarnings("ignore:An earlier fit may have trained on rows")
def test_training_drops_thresholds(tuned, messages, method):
    """A training changes probabilities, so it drops all thresholds, also with a warm start."""
    tuned.set_params(warm_start=True)
    getattr(tuned, method)(messages)
    assert tuned.thresholds_ == {}


def test_text_classifier(small, make_config):
    """`TextClassifier` has one threshold, also with a tuned classifier in a folder."""

    def make(**training):
        return TextClassifier(make_config(**training), random_state=0)

    classifier = small(["good", "bad"], make)
    assert not hasattr(classifier, "threshold_")
    with pytest.raises(ValueError, match="there is none for: 'label'"):
        classifier.predict(TEXTS, min_confidence="tuned")
    with pytest.raises(ValueError, match="'min_confidence' .* in the range"):
        classifier.predict(TEXTS, min_confidence={"label": 0.5})
    labels = ["good", "bad", "good", "out of scope"]
    with pytest.raises(ValueError, match="'coverage' .* in the range"):
        classifier.tune_threshold(TEXTS, labels, coverage={"label": 0.5})
    classifier.tune_threshold(TEXTS, labels, coverage=0.5)
    p = classifier.predict_proba(TEXTS).max(axis=1)
    assert classifier.threshold_ == np.sort(p)[1]
    found = classifier.predict(TEXTS, min_confidence="tuned")
    assert (pd.isna(found) == (p < classifier.threshold_)).all()
    assert pd.isna(classifier.predict(TEXTS, min_confidence=1.0)).all()
    classifier.partial_fit(TEXTS[:2], ["good", "bad"])
    assert not hasattr(classifier, "threshold_")

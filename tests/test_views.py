"""`TaskClassifier`: a classifier of one task over a fitted parent."""

import pickle

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
from packaging.version import parse
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    accuracy_score,
    balanced_accuracy_score,
    classification_report,
    log_loss,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TaskClassifier,
    TrainingConfig,
)


@pytest.fixture
def intent(messages):
    """The rows of one task."""
    return messages[messages["task"] == "intent"]


def test_view_agrees_with_its_parent(fitted, intent):
    """predict, predict_proba and score agree with the parent's results for the task."""
    view = fitted["intent"]
    texts = intent["text"].tolist()
    assert view.classes_.tolist() == ["ask", "buy", "complain", "sell"]
    assert (view.predict(texts) == fitted.predict(texts, task="intent")).all()
    assert (view.predict_proba(texts) == fitted.predict_proba(texts, task="intent")).all()
    expected = accuracy_score(intent["label"], view.predict(texts))
    assert view.score(texts, intent["label"]) == pytest.approx(expected)
    assert fitted.score(intent) == pytest.approx(expected)


def test_view_reads_frames(fitted, messages):
    """A view uses the text column of a frame and ignores the task column."""
    view = fitted["intent"]
    assert (view.predict(messages.head(9)) == view.predict(messages["text"].head(9))).all()


def test_views_by_name(fitted):
    """named_estimators_ contains a view of each task."""
    assert list(fitted.named_estimators_) == fitted.tasks_
    view = fitted.named_estimators_["sentiment"]
    assert isinstance(view, TaskClassifier)
    assert fitted.named_estimators_.sentiment.task == "sentiment"


def test_view_shares_the_parent(fitted):
    """A view refers to its parent, so no weights are copied."""
    assert fitted["intent"].estimator is fitted
    size = len(pickle.dumps([fitted["intent"], fitted["sentiment"], fitted]))
    assert size < 1.1 * len(pickle.dumps(fitted))


def test_view_cannot_be_fitted(fitted, intent):
    """fit raises an error that recommends FrozenEstimator."""
    with pytest.raises(TypeError, match=r"task 'intent' .* sklearn.frozen.FrozenEstimator"):
        fitted["intent"].fit(intent["text"], intent["label"])


def test_view_follows_the_conventions(fitted):
    """A view is a classifier that is fitted if its parent is; its clone is not fitted."""
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
    """After the parent is fitted again, a view predicts with the new weights."""
    parent = make_classifier().fit(messages)
    view = parent["intent"]
    before = view.predict_proba(["a"])
    parent.set_params(random_state=5).fit(messages)
    assert not np.array_equal(view.predict_proba(["a"]), before)


# --------------------------------------------------------------------------------------------
# Tools of scikit-learn that need a classifier


@pytest.fixture(scope="module")
def binary(encoder_name, messages):
    """A trained view of a task with two classes, and its rows."""
    rows = messages[messages["task"] == "intent"]
    rows = rows.assign(
        task="asks", label=rows["text"].str.contains(r"\?").map({True: "yes", False: "no"})
    )
    training = TrainingConfig(
        model_name=encoder_name, epochs=15, learning_rate=3e-3, batch_size=32, test_size=0
    )
    encoder = EncoderConfig(freeze_epochs=0, unfreeze_layers=2)
    config = MultiheadConfig(training=training, encoder=encoder, eval=EvalConfig(patience=15))
    return MultiheadClassifier(config, random_state=0).fit(rows)["asks"], rows


METHODS = ["sigmoid", "isotonic"] + ["temperature"] * (parse(sklearn.__version__) >= parse("1.8"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["sentiment", "intent", "emotion"])
def test_calibration(fitted, messages, task, method):
    """A frozen view can be calibrated, and its classes do not change."""
    rows = messages[messages["task"] == task]
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted[task]), method=method)
    # To fit temperatures, scikit-learn 1.9 looks up index 0 of a Series, so pass an array.
    calibrated.fit(rows["text"], rows["label"].to_numpy())
    p = calibrated.predict_proba(rows["text"])
    assert np.array_equal(calibrated.classes_, fitted[task].classes_)
    np.testing.assert_allclose(p.sum(1), 1)
    before = log_loss(rows["label"], fitted[task].predict_proba(rows["text"]))
    assert log_loss(rows["label"], p) <= before + 0.01


def test_thresholds(binary):
    """Thresholds can be set and tuned on a frozen view."""
    view, rows = binary
    frozen = FrozenEstimator(view)
    all_yes = FixedThresholdClassifier(frozen, threshold=0.0, pos_label="yes")
    all_yes.fit(rows["text"], rows["label"])
    assert set(all_yes.predict(rows["text"])) == {"yes"}
    tuned = TunedThresholdClassifierCV(
        frozen, scoring="balanced_accuracy", cv="prefit", refit=False
    ).fit(rows["text"], rows["label"])
    found = balanced_accuracy_score(rows["label"], tuned.predict(rows["text"]))
    plain = balanced_accuracy_score(rows["label"], view.predict(rows["text"]))
    assert found >= plain
    assert found > 0.6


@pytest.fixture(scope="module")
def words(messages):
    """A fitted bag-of-words classifier of one task."""
    rows = messages[messages["task"] == "intent"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(rows["text"], rows["label"])


def test_ensembles(fitted, intent, words):
    """A view can vote and be stacked together with a bag-of-words classifier."""
    members = [("heads", FrozenEstimator(fitted["intent"])), ("words", clone(words))]
    voting = VotingClassifier(members, voting="soft").fit(intent["text"], intent["label"])
    p = voting.predict_proba(intent["text"])
    expected = fitted["intent"].predict_proba(intent["text"]), words.predict_proba(intent["text"])
    np.testing.assert_allclose(p, np.mean(expected, axis=0), rtol=1e-6)
    stacked = StackingClassifier([("heads", fitted["intent"]), ("words", words)], cv="prefit")
    stacked.fit(intent["text"], intent["label"])
    assert stacked.transform(intent["text"]).shape == (300, 8)
    assert stacked.score(intent["text"], intent["label"]) > 0.9


def test_displays_of_several_classes(fitted, intent):
    """ConfusionMatrixDisplay accepts a view."""
    display = ConfusionMatrixDisplay.from_estimator(
        fitted["intent"], intent["text"], intent["label"]
    )
    assert display.confusion_matrix.sum() == 300
    assert list(display.display_labels) == ["ask", "buy", "complain", "sell"]
    plt.close("all")


@pytest.mark.parametrize(
    "display", [RocCurveDisplay, PrecisionRecallDisplay, DetCurveDisplay, CalibrationDisplay]
)
def test_displays_of_two_classes(binary, display):
    """Displays of curves accept a view with string labels and a named positive class."""
    view, rows = binary
    shown = display.from_estimator(view, rows["text"], rows["label"], pos_label="yes")
    assert shown.ax_.lines
    assert "yes" in shown.ax_.get_xlabel() + shown.ax_.get_ylabel()
    plt.close("all")


def test_classification_report(fitted, intent):
    """A report has an entry for each class."""
    report = classification_report(
        intent["label"], fitted["intent"].predict(intent["text"]), output_dict=True, zero_division=0
    )
    assert {"ask", "buy", "complain", "sell"} < set(report)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_cross_val_predict_of_a_frozen_view(fitted, intent, method):
    """Cross-validated predictions of a frozen view equal its direct predictions."""
    found = cross_val_predict(
        FrozenEstimator(fitted["intent"]), intent["text"], intent["label"], method=method
    )
    expected = getattr(fitted["intent"], method)(intent["text"])
    if method == "predict":
        assert (found == expected).all()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_permutation_importance(binary, fitted, messages):
    """On a frame with two columns, only the text column matters to a view."""
    view, rows = binary
    found = permutation_importance(
        view, rows[["text", "task"]], rows["label"], n_repeats=3, random_state=0
    )
    assert found.importances_mean[0] > 0.02
    assert found.importances_mean[1] == 0
    whole = permutation_importance(
        fitted, messages[["text", "task"]], messages["label"], n_repeats=1, random_state=0
    )
    assert whole.importances.shape == (2, 1)


@pytest.mark.parametrize(
    "use",
    [
        lambda view, X, y: cross_val_score(view, X, y, error_score="raise"),
        lambda view, X, y: GridSearchCV(view, {}, error_score="raise").fit(X, y),
        lambda view, X, y: CalibratedClassifierCV(view).fit(X, y),
        lambda view, X, y: VotingClassifier([("view", view)]).fit(X, y),
        lambda view, X, y: make_pipeline(FunctionTransformer(), view).fit(X, y),
    ],
)
def test_refitting_a_bare_view(fitted, intent, use):
    """Tools that would fit a view again raise the error that recommends FrozenEstimator."""
    with pytest.raises(TypeError, match=r"view of task 'intent' and cannot be fitted.*Frozen"):
        use(fitted["intent"], intent["text"], intent["label"])


def test_view_after_a_pipeline(make_classifier, messages, intent):
    """The first steps of a fitted pipeline and a view form a fitted pipeline of one task."""
    lower = FunctionTransformer(lambda X: X.assign(text=X["text"].str.lower()))
    pipe = make_pipeline(lower, make_classifier()).fit(messages)
    view = make_pipeline(*pipe[:-1], pipe[-1]["intent"])
    assert (view.predict(intent) == pipe.predict(intent)).all()
    assert view.score(intent, intent["label"]) == pytest.approx(pipe.score(intent))
    assert is_classifier(view)

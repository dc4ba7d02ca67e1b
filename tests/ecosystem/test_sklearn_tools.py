"""The tools of scikit-learn for classifiers."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, get_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import SelfTrainingClassifier

from .small import LABELS, TEXTS

mpl.use("agg")

ARRAY = np.array(TEXTS, dtype=object)
GRID = {"config__training__learning_rate": [1e-4, 3e-3]}


def lexical():
    """Return a classifier of words, to be combined with one of an encoder."""
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


# --------------------------------------------------------------------------------------------
# Cross-validation and scores


@pytest.mark.parametrize("form", [list, np.array, pd.Series, lambda X: pd.DataFrame({"text": X})])
def test_cross_val_predict(classifier, form):
    """Each text gets a probability for each class, with each form of input."""
    shares = cross_val_predict(classifier, form(TEXTS), LABELS, cv=3, method="predict_proba")
    assert shares.shape == (48, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(shares)) > 48


def test_folds_are_stratified(classifier):
    """An integer cv keeps the share of each class in each fold, as for any classifier."""
    assert is_classifier(classifier)
    order = np.argsort(LABELS, kind="stable")  # unshuffled folds would have one class each
    scores = cross_val_score(classifier, ARRAY[order], np.array(LABELS)[order], cv=2)
    assert (scores > 0.5).all()


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "neg_log_loss", "f1_macro"])
def test_scoring(fitted_texts, scoring):
    """Scorers by name agree with the metric of the probabilities or labels."""
    # average_precision cannot guess which string is the positive class.
    y = np.array([label == "p" for label in LABELS])
    labels = y if scoring == "average_precision" else LABELS
    model = clone(fitted_texts).fit(TEXTS, labels) if labels is y else fitted_texts
    scorer = get_scorer(scoring)
    shares = model.predict_proba(TEXTS)
    given = {"f1_macro": model.predict(TEXTS), "neg_log_loss": shares}
    expected = scorer._sign * scorer._score_func(
        labels, given.get(scoring, shares[:, 1]), **scorer._kwargs
    )
    assert scorer(model, TEXTS, labels) == pytest.approx(expected)
    assert scorer(model, TEXTS, labels) > scorer(model, TEXTS, np.roll(labels, 1))


def test_groups(classifier):
    """Folds of groups reach the classifier as arrays of rows."""
    groups = np.arange(48) // 4
    scores = cross_val_score(classifier, ARRAY, LABELS, groups=groups, cv=StratifiedGroupKFold(3))
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_permutation_importance(fitted_texts):
    """The importance of the only column is the loss of accuracy without it."""
    frame = pd.DataFrame({"text": TEXTS})
    found = permutation_importance(
        clone(fitted_texts).fit(frame, LABELS), frame, LABELS, n_repeats=2, random_state=0
    )
    assert found.importances.shape == (1, 2)
    assert found.importances_mean[0] > 0.2


# --------------------------------------------------------------------------------------------
# Estimators around the classifier


def wrapped(classifier):
    """Return each wrapper with classifiers that it fits."""
    both = [("encoder", classifier), ("words", lexical())]
    return {
        "calibrated": CalibratedClassifierCV(classifier, cv=3),
        "stacked": StackingClassifier(both, cv=3),
        "soft vote": VotingClassifier(both, voting="soft"),
        "hard vote": VotingClassifier(both),
        "tuned threshold": TunedThresholdClassifierCV(classifier, cv=3),
        "fixed threshold": FixedThresholdClassifier(classifier, threshold=0.4),
        "one vs rest": OneVsRestClassifier(classifier),
        "frozen": CalibratedClassifierCV(FrozenEstimator(classifier)),
    }


@pytest.mark.parametrize("name", wrapped(None))
def test_wrappers(classifier, fitted_texts, name):
    """A wrapper fits clones of the classifier on texts, and predicts better than chance."""
    wrapper = wrapped(fitted_texts if name == "frozen" else classifier)[name]
    wrapper.fit(ARRAY, LABELS)
    assert wrapper.classes_.tolist() == ["n", "p"]
    assert wrapper.predict(ARRAY[:5]).shape == (5,)
    assert wrapper.score(ARRAY, LABELS) > 0.7
    if hasattr(wrapper, "predict_proba"):
        shares = wrapper.predict_proba(ARRAY)
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert not hasattr(classifier, "classes_")


def test_threshold_decides(fitted_texts):
    """The labels of a threshold follow the probability of the second class."""
    share = fitted_texts.predict_proba(TEXTS)[:, 1]
    threshold = float(np.median(share))
    wrapper = FixedThresholdClassifier(
        FrozenEstimator(fitted_texts), threshold=threshold, pos_label="p"
    ).fit(ARRAY, LABELS)
    assert (wrapper.predict(ARRAY) == np.where(share >= threshold, "p", "n")).all()


@pytest.mark.parametrize("form", [lambda X: np.array(X, dtype=object)[:, None], pd.DataFrame])
@pytest.mark.parametrize("ensemble", [BaggingClassifier, AdaBoostClassifier])
def test_ensembles_of_one_column(classifier, ensemble, form):
    """Bagging and boosting fit on one column of texts, and refuse a list of texts."""
    X = form(TEXTS)
    wrapper = ensemble(classifier, n_estimators=2, random_state=0)
    with pytest.raises(ValueError, match="Expected 2D array"):
        clone(wrapper).fit(TEXTS, LABELS)
    wrapper.fit(X, LABELS)
    assert wrapper.predict_proba(X).shape == (48, 2)
    assert wrapper.score(X, LABELS) > 0.7


@pytest.mark.parametrize("wrapper", [SelfTrainingClassifier, OneVsOneClassifier, ClassifierChain])
def test_wrappers_that_need_numbers(classifier, wrapper):
    """The wrappers that the documentation warns of convert texts to numbers themselves."""
    y = np.arange(48) % 2
    if wrapper is ClassifierChain:
        y = np.column_stack([y, 1 - y])
    with pytest.raises(ValueError, match="could not convert string to float: 'bad thing 0'"):
        wrapper(classifier).fit(ARRAY[:, None], y)


def test_three_classes(classifier):
    """Wrappers for two classes each also work with three classes."""
    y = np.where(np.arange(48) % 3 == 0, "other", LABELS)
    for wrapper in (
        OneVsRestClassifier(classifier),
        OutputCodeClassifier(classifier, random_state=0),
    ):
        assert wrapper.fit(ARRAY, y).predict(ARRAY).shape == (48,)
        assert len(wrapper.classes_) == 3


# --------------------------------------------------------------------------------------------
# Searches and pipelines


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_grid_search(classifier, n_jobs):
    """A search over parameters of the configuration chooses one, also in other processes."""
    # All candidates have an accuracy of 1, but their probabilities differ.
    search = GridSearchCV(
        classifier, GRID, scoring="neg_log_loss", cv=2, n_jobs=n_jobs, error_score="raise"
    )
    search.fit(ARRAY, LABELS)
    assert search.best_estimator_.config.training.learning_rate in GRID[next(iter(GRID))]
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    assert classifier.config.training.learning_rate == 1e-3


def test_halving_search(classifier):
    """A search by halving fits on more rows in each round."""
    search = HalvingGridSearchCV(
        classifier,
        GRID,
        resource="n_samples",
        min_resources=24,
        factor=2,
        cv=2,
        error_score="raise",
        random_state=0,
    ).fit(ARRAY, np.array(LABELS))
    assert search.n_resources_ == [24, 48]
    assert search.best_estimator_.predict(ARRAY[:2]).shape == (2,)


def test_pipeline_with_cleaning(classifier):
    """A step that cleans texts comes before the classifier, in a search too."""
    clean = FunctionTransformer(lambda X: np.array([x.lower() for x in X], dtype=object))
    pipe = make_pipeline(clean, classifier)
    search = GridSearchCV(
        pipe, {f"textclassifier__{name}": values for name, values in GRID.items()}, cv=2
    ).fit(ARRAY, LABELS)
    best = search.best_estimator_
    shouted = np.array([text.upper() for text in TEXTS], dtype=object)
    assert np.array_equal(best.predict_proba(shouted), best.predict_proba(ARRAY))


def test_clone(fitted_texts):
    """A clone has the same parameters and no fitted attribute, and fits to the same model."""
    copy = clone(fitted_texts)
    assert repr(copy) == repr(clone(copy))
    assert not hasattr(copy, "classes_")
    copy.fit(TEXTS, LABELS)
    assert np.array_equal(copy.predict_proba(TEXTS), fitted_texts.predict_proba(TEXTS))


# --------------------------------------------------------------------------------------------
# Displays


def test_displays_of_a_fitted_classifier(fitted_texts):
    """Displays draw the predictions of a fitted classifier."""
    matrix = ConfusionMatrixDisplay.from_estimator(fitted_texts, TEXTS, LABELS)
    assert matrix.confusion_matrix.sum() == 48
    assert matrix.display_labels.tolist() == ["n", "p"]
    assert 0.5 < RocCurveDisplay.from_estimator(fitted_texts, TEXTS, LABELS).roc_auc <= 1
    curve = CalibrationDisplay.from_estimator(fitted_texts, TEXTS, LABELS, pos_label="p")
    np.testing.assert_array_equal(curve.y_prob, fitted_texts.predict_proba(TEXTS)[:, 1])


def test_learning_curve(classifier):
    """A learning curve fits on parts of the rows."""
    display = LearningCurveDisplay.from_estimator(
        classifier,
        ARRAY,
        LABELS,
        train_sizes=[12, 24],
        cv=2,
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert display.train_sizes.tolist() == [12, 24]
    assert np.isfinite(display.test_scores).all()


def test_validation_curve(classifier):
    """A validation curve varies a parameter of the configuration."""
    display = ValidationCurveDisplay.from_estimator(
        classifier,
        ARRAY,
        LABELS,
        param_name="config__training__learning_rate",
        param_range=[1e-5, 3e-3],
        scoring="neg_log_loss",
        cv=2,
        error_score="raise",
    )
    assert display.test_scores.shape == (2, 2)
    assert display.test_scores[1].mean() != display.test_scores[0].mean()

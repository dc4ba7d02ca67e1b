"""cleanlab: finding wrong labels."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("cleanlab", reason="cleanlab is not installed")

from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from sklearn.model_selection import cross_val_predict

from rapidfit_sk import MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk._evaluation import ScoredRows
from rapidfit_sk._inspection import TextLength, compute_error_report
from rapidfit_sk.inspection import error_report

from .small import TEXTS, messages_of

# cleanlab accepts integer labels only.
CODES = np.array([i % 2 for i in range(48)])
WRONG = [3, 10, 21, 34]
# cleanlab selects rows with a list of numbers, which a list of texts does not allow.
FORMS = [lambda X: np.array(X, dtype=object), pd.Series, lambda X: pd.DataFrame({"text": X})]
NOISY = CODES.copy()
NOISY[WRONG] = 1 - NOISY[WRONG]


@pytest.mark.parametrize("form", FORMS)
def test_clean_learning(classifier, form):
    """CleanLearning finds planted label errors, and trains the classifier without the rows."""
    learning = CleanLearning(classifier, cv_n_folds=3, seed=0)
    X = form(TEXTS)
    issues = learning.find_label_issues(X, NOISY)
    assert len(issues) == 48
    found = np.flatnonzero(issues["is_label_issue"])
    assert set(WRONG) & set(found)
    learning.fit(X, NOISY, label_issues=issues)
    assert learning.predict(X).shape == (48,)
    assert learning.score(X, CODES) > 0.7


def test_probabilities_of_folds(classifier):
    """Cross-validated probabilities rank the planted label errors first."""
    shares = cross_val_predict(
        classifier, np.array(TEXTS, dtype=object), NOISY, cv=4, method="predict_proba"
    )
    ranked = find_label_issues(NOISY, shares, return_indices_ranked_by="self_confidence")
    assert len(set(WRONG) & set(ranked[:8])) >= 2


@pytest.mark.slow
def test_planted_errors_in_real_messages():
    """Among shipped messages, a wrong label is found far more often than by chance."""
    texts, labels = messages_of("sentiment")
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(codes), len(codes) // 10, replace=False)
    noisy = codes.copy()
    noisy[wrong] = (codes[wrong] + rng.integers(1, len(names), len(wrong))) % len(names)
    training = TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=1, val_size=0, test_size=0
    )
    model = TextClassifier(MultiheadConfig(training=training), random_state=0)
    shares = cross_val_predict(model, texts, noisy, cv=3, method="predict_proba")
    ranked = find_label_issues(noisy, shares, return_indices_ranked_by="self_confidence")
    first = set(ranked[: len(wrong)])
    assert len(first) > len(wrong) // 3
    # A tenth of the rows is wrong, so a random choice has this precision.
    assert len(first & set(wrong)) / len(first) > 0.3


def test_label_errors_of_a_report(classifier):
    """A report with folds uses cleanlab, finds planted label errors, and says so."""
    report = error_report(classifier, TEXTS, NOISY, cv=4)
    assert len(set(report.label_issues["position"]) & set(WRONG)) >= 3
    assert len(report.label_issues) <= 10
    assert "cleanlab" in report.notes[-1]


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [-1, -1, 0, 0], [0, 1, 1, 2]])
def test_label_errors_of_a_few_rows(labels):
    """Rows of one class, unknown labels and absent classes are no errors of cleanlab."""
    true = np.array(labels)
    rows = ScoredRows(
        texts=np.array(list("abcd"), dtype=object),
        groups=np.arange(4),
        positions=np.arange(4),
        labels=true.astype(object),
        true=true,
        proba=np.array([[0.7, 0.2, 0.1, 0.0]] * 4),
        classes=np.arange(4),
        weights=np.ones(4, np.float32),
    )
    report = compute_error_report(
        {"task": rows}, dict.fromkeys("abcd", TextLength(1, False)), [], 5
    )
    assert len(report.label_issues) <= len(report.errors)

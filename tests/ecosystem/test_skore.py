"""skore: reports about a classifier."""

import numpy as np
import pytest

pytest.importorskip("skore", reason="skore is not installed")

import skore

from .small import LABELS, TEXTS

ARRAY = np.array(TEXTS, dtype=object)


def test_report_of_a_fitted_classifier(fitted_texts):
    """The metrics of a report are those of the classifier."""
    report = skore.EstimatorReport(fitted_texts, X_test=TEXTS, y_test=LABELS, pos_label="p")
    assert report.metrics.accuracy() == fitted_texts.score(TEXTS, LABELS)
    assert 0.5 < report.metrics.roc_auc() <= 1


def test_evaluate(classifier):
    """evaluate fits the classifier on texts in folds."""
    report = skore.evaluate(classifier, ARRAY, LABELS, splitter=2)
    assert len(report.reports_) == 2
    scores = [each.metrics.accuracy() for each in report.reports_]
    assert np.mean(scores) > 0.7

"""MAPIE: sets of labels that contain the right one with a chosen probability."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mapie", reason="mapie is not installed")

from mapie.classification import CrossConformalClassifier, SplitConformalClassifier

from .small import LABELS, TEXTS

ARRAY, Y = np.array(TEXTS, dtype=object), np.array(LABELS)
# MAPIE counts the columns of X, and cannot count those of a list of texts.
FORMS = [np.array, pd.Series, lambda X: pd.DataFrame({"text": X})]


@pytest.mark.parametrize("form", FORMS)
def test_sets_of_a_fitted_classifier(fitted_texts, form):
    """Sets of labels of a fitted classifier contain the right label at the chosen rate."""
    conformal = SplitConformalClassifier(fitted_texts, confidence_level=0.9, prefit=True)
    conformal.conformalize(form(TEXTS), Y)
    labels, sets = conformal.predict_set(form(TEXTS))
    assert (labels == fitted_texts.predict(TEXTS)).all()
    assert sets.shape == (48, 2, 1)
    covered = sets[np.arange(48), np.searchsorted(fitted_texts.classes_, Y), 0]
    assert covered.mean() >= 0.9


def test_a_classifier_that_mapie_fits(classifier):
    """MAPIE fits a classifier of its own on texts."""
    conformal = SplitConformalClassifier(classifier, confidence_level=0.8, prefit=False)
    conformal.fit(ARRAY[:24], Y[:24]).conformalize(ARRAY[24:], Y[24:])
    assert conformal.predict_set(ARRAY)[1].any(axis=1).mean() > 0.5


def test_cross_conformal(classifier):
    """Cross-validated sets need no rows that are held out for the calibration."""
    conformal = CrossConformalClassifier(classifier, confidence_level=0.8, cv=3)
    sets = conformal.fit_conformalize(ARRAY, Y).predict_set(ARRAY)[1]
    assert sets.shape == (48, 2, 1)

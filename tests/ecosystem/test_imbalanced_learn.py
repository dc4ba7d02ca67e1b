"""imbalanced-learn: resampling before the classifier."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")

from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from .small import LABELS, TEXTS

# 24 texts of one class and 6 of the other.
ROWS = [i for i in range(48) if i % 2 or i < 12]
FRAME = pd.DataFrame({"text": TEXTS}).iloc[ROWS]
Y = pd.Series(LABELS).iloc[ROWS]


@pytest.mark.parametrize("sampler", [RandomOverSampler, RandomUnderSampler])
def test_a_sampler_before_the_classifier(classifier, sampler):
    """The pipeline trains on exactly the rows that the sampler returns."""
    step = sampler(random_state=0)
    pipe = make_pipeline(step, classifier).fit(FRAME, Y)
    X, y = clone(step).fit_resample(FRAME, Y)
    assert y.value_counts().nunique() == 1
    expected = clone(classifier).fit(X, y)
    assert np.array_equal(pipe.predict_proba(FRAME), expected.predict_proba(FRAME))
    assert pipe.score(FRAME, Y) > 0.5


def test_an_array_of_one_column(classifier):
    """Texts as an array of one column can be resampled too."""
    pipe = make_pipeline(RandomOverSampler(random_state=0), classifier)
    X = FRAME.to_numpy(dtype=object)
    assert pipe.fit(X, Y.to_numpy()).predict(X).shape == (len(X),)


def test_cross_validation(classifier):
    """Each fold resamples its own training rows."""
    pipe = make_pipeline(RandomOverSampler(random_state=0), classifier)
    scores = cross_val_score(pipe, FRAME, Y, cv=2, scoring="balanced_accuracy", error_score="raise")
    assert np.isfinite(scores).all()

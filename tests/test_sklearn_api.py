"""scikit-learn's own checks that need no data, and what its tools do with the classifier."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)

ESTIMATORS = [
    TrainingConfig,
    HeadConfig,
    EncoderConfig,
    LossConfig,
    EvalConfig,
    MultiheadConfig,
    MultiheadClassifier,
]
DATA_FREE = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", DATA_FREE)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_data_free_checks(estimator, check):
    """Each check of scikit-learn that needs no data passes on each class."""
    getattr(estimator_checks, check)(estimator.__name__, estimator())


def test_grid_search(make_classifier, messages):
    """A search over config leaves works with (X, y), and with config at None."""
    base = make_classifier(test_size=0, val_size=0.1)
    search = GridSearchCV(base, {"config__head__dropout": [0.0, 0.5]}, cv=2, error_score="raise")
    X = messages.drop(columns="label").sample(frac=1, random_state=0)
    search.fit(X, messages["label"].loc[X.index])
    assert search.best_params_["config__head__dropout"] in (0.0, 0.5)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(["hi"], task="intent").shape == (1,)
    assert base.config.head is None
    assert "config__encoder__lr_multiplier" in MultiheadClassifier().get_params()


def test_pipeline(make_classifier, messages):
    """The classifier is a last step, and its parameters have their names there."""
    cleaner = FunctionTransformer(lambda X: X.assign(text=X["text"].str.lower()))
    pipe = make_pipeline(cleaner, make_classifier())
    pipe.set_params(multiheadclassifier__config__head__dropout=0.4).fit(messages)
    assert pipe.predict(messages.head(4)).shape == (4,)
    assert 0 <= pipe.score(messages) <= 1
    assert pipe["multiheadclassifier"]["intent"].classes_.shape == (4,)
    assert clone(pipe)["multiheadclassifier"].config.head.dropout == 0.4

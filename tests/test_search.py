"""Searches over parameters, groups and whole configurations, in pipelines and in parallel."""

import copy
import os

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from rapidfit_sk import EncoderConfig, HeadConfig, MultiheadClassifier
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer

TEXTS = ["Do you ship to Norway?", "It broke again!"]
CV = TaskStratifiedKFold(2)


@pytest.fixture
def base(make_classifier):
    """A classifier for searches, which holds out no test rows of a fold."""
    return make_classifier(test_size=0)


@pytest.fixture(scope="module")
def forms(messages):
    """The messages as X alone, as (X, y), and with wide labels."""
    wide = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    wide = wide.reset_index()
    return {
        "long": (messages, None),
        "X and y": (messages[["text", "task"]], messages["label"]),
        "wide": (wide["text"], wide.drop(columns="text")),
    }


def lower(X):
    """Convert texts, or the texts of a frame, to lowercase."""
    return X.assign(text=X["text"].str.lower()) if isinstance(X, pd.DataFrame) else X.str.lower()


GRIDS = {
    "a leaf": {"config__training__learning_rate": [1e-4, 1e-3]},
    "leaves": {
        "config__head__dropout": [0.0, 0.5],
        "config__pooling": ["cls"],
        "config__task_sampling": ["equal"],
    },
    "a group": {"config__head": [None, HeadConfig(hidden_layers=0)]},
}


@pytest.mark.filterwarnings("ignore:y has missing labels")
@pytest.mark.parametrize("form", ["long", "X and y", "wide"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_grid_search(base, forms, grid, form):
    """Parameters and groups can be searched with each input form, and the best one predicts."""
    X, y = forms[form]
    search = GridSearchCV(base, grid, cv=CV, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(TEXTS, task="intent").shape == (2,)
    for name, value in search.best_params_.items():
        assert str(search.best_estimator_.get_params()[name]) == str(value)
    assert base.config.head is None


@pytest.mark.filterwarnings("ignore:y has missing labels")
@pytest.mark.parametrize(
    ("form", "resource"),
    [
        ("long", "n_samples"),
        ("X and y", "n_samples"),
        ("wide", "n_samples"),
        ("long", "config__training__epochs"),
    ],
)
def test_halving_and_random_search(base, forms, form, resource):
    """Successive halving, over rows or epochs, and random search work with each input form."""
    X, y = forms[form]
    grid = {"config__head__dropout": [0.0, 0.2, 0.4]}
    sizes = {"min_resources": 1, "max_resources": 2} if "epochs" in resource else {}
    halving = HalvingGridSearchCV(
        base, grid, cv=CV, resource=resource, error_score="raise", factor=2, random_state=0,
        scoring=multitask_scoring(["sentiment", "intent"])["mean_accuracy"], **sizes,
        **({"min_resources": len(X) // 3} if not sizes else {}),
    ).fit(X, y)  # fmt: skip
    assert halving.best_estimator_.predict(TEXTS).shape == (2, 3)
    random = RandomizedSearchCV(base, grid, n_iter=2, cv=CV, random_state=0, error_score="raise")
    assert random.fit(X, y).best_params_["config__head__dropout"] in (0.0, 0.2, 0.4)


def test_search_over_whole_configurations(base, make_config, messages):
    """Whole configurations can be candidates, and a search does not change them."""
    configs = [make_config(test_size=0), make_config(test_size=0, head=HeadConfig(dropout=0.4))]
    before = [copy.deepcopy(config.get_params()) for config in configs]
    grid = {"config": configs, "config__pooling": ["mean", "max"]}
    search = GridSearchCV(base, grid, cv=CV, error_score="raise").fit(messages)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.config is not search.best_params_["config"]
    for config, params in zip(configs, before, strict=True):
        assert str(config.get_params()) == str(params)


def test_search_from_no_configuration(cached_encoders, messages):
    """With config=None, each parameter can be searched, and config stays None."""
    base = MultiheadClassifier(random_state=0)
    grid = {
        "config__head__dropout": [0.0, 0.5],
        "config__training__epochs": [0],
        "config__training__test_size": [0],
    }
    search = GridSearchCV(base, grid, cv=CV, error_score="raise").fit(messages)
    assert base.config is None
    assert (
        search.best_estimator_.config.head.dropout == search.best_params_["config__head__dropout"]
    )


def test_search_through_a_pipeline(base, messages):
    """Parameters can be searched by name in a pipeline, and scorers find the classifier in it."""
    pipe = make_pipeline(FunctionTransformer(lower), base)
    search = GridSearchCV(
        pipe,
        {"multiheadclassifier__config__head__dropout": [0.0, 0.5]},
        scoring=task_scorer("intent", "f1_macro"),
        cv=CV,
        error_score="raise",
    ).fit(messages)
    view = search.best_estimator_["multiheadclassifier"]["intent"]
    assert view.predict(TEXTS).shape == (2,)


def test_candidates_get_different_scores(base, messages):
    """Candidates that differ in one parameter get different scores."""
    grid = ParameterGrid({"config__training__learning_rate": [1e-12, 3e-3]})
    search = GridSearchCV(base, grid.param_grid, cv=CV, error_score="raise").fit(messages)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0


@pytest.mark.filterwarnings("ignore:Texts are cut")
def test_clone_and_set_params_after_fit(base, messages):
    """A clone is unfitted and equal, and set_params changes no prediction until the next fit."""
    fitted = base.fit(messages)
    other = clone(fitted)
    assert str(other.get_params()) == str(fitted.get_params())
    with pytest.raises(NotFittedError):
        other.predict(TEXTS)
    before = fitted.predict_proba(TEXTS)
    fitted.set_params(
        config__pooling="max",
        config__training__max_length=2,
        config__head=HeadConfig(hidden_layers=3),
        device="meta",
        task_labels={"intent": ["x", "y"]},
        random_state=5,
    )
    after = fitted.predict_proba(TEXTS)
    assert all(np.array_equal(before[task], after[task]) for task in before)
    fitted.set_params(device="cpu", task_labels=None).fit(messages)
    assert not np.array_equal(fitted.predict_proba(TEXTS)["intent"], before["intent"])


# --------------------------------------------------------------------------------------------
# Parallel


def scores_with(base, X, y, **parallel):
    import joblib

    with joblib.parallel_config(**parallel):
        return cross_val_score(
            base, X, y, cv=TaskStratifiedKFold(3), error_score="raise",
            scoring=multitask_scoring(["sentiment", "intent", "emotion"], "neg_log_loss")[
                "mean_neg_log_loss"
            ],
        )  # fmt: skip


def test_parallel_scores_equal_serial_scores(make_classifier, messages):
    """n_jobs=1, loky and threads give the same scores, even with dropout in the encoder."""
    # The default precision depends on the process, see tests/conftest.py.
    base = make_classifier(
        precision="float32",
        test_size=0,
        encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=None),
    )
    X, y = messages[["text", "task"]], messages["label"]
    serial = scores_with(base, X, y, backend="loky", n_jobs=1)
    for backend in ("loky", "threading"):
        scores = scores_with(base, X, y, backend=backend, n_jobs=2)
        np.testing.assert_allclose(scores, serial, rtol=1e-6)


def threads_and_files(estimator, X, y=None):
    """Return the numbers of torch threads and of files in the working directory as scores."""
    import torch

    return {"threads": torch.get_num_threads(), "files": len(os.listdir())}


def test_parallel_processes(base, messages, tmp_path, monkeypatch):
    """Parallel processes share the cores as loky sets it up, and no fit leaves a file behind."""
    monkeypatch.chdir(tmp_path)
    get_reusable_executor().shutdown()  # its processes have another working directory
    result = cross_validate(base, messages, cv=CV, n_jobs=2, scoring=threads_and_files)
    assert result["test_threads"].max() <= max(1, os.cpu_count() // 2)
    assert result["test_files"].max() == 0
    assert list(tmp_path.iterdir()) == []

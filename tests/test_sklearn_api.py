"""The interface of scikit-learn: its estimator checks, similar checks on texts, and its tools."""

import html
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TaskClassifier,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk._compat import CallbackSupportMixin
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer

from .numeric_adapter import NumericAdapter

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]
TASKS = ["sentiment", "intent", "emotion"]

# --------------------------------------------------------------------------------------------
# scikit-learn's own checks

GROUPS = [
    TrainingConfig,
    HeadConfig,
    EncoderConfig,
    LossConfig,
    EvalConfig,
    MultiheadConfig,
    MultiheadClassifier,
    TextClassifier,
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
    "check_estimator_tags_renamed",
    "check_mixin_order",
]


@pytest.mark.parametrize("check", DATA_FREE)
@pytest.mark.parametrize("estimator", GROUPS)
def test_data_free_checks(estimator, check):
    """Each scikit-learn check that needs no data passes on each class."""
    getattr(estimator_checks, check)(estimator.__name__, estimator())


# The excluded check is about default values, and a view has two parameters without any.
VIEW_CHECKS = [check for check in DATA_FREE if check != "check_parameters_default_constructible"]


@pytest.mark.parametrize("check", VIEW_CHECKS)
def test_data_free_checks_of_a_view(check):
    """Each scikit-learn check that needs no data and applies to a view passes on it."""
    view = TaskClassifier(MultiheadClassifier(), "intent")
    getattr(estimator_checks, check)("TaskClassifier", view)


def expected_failures(estimator):
    """Return the checks that a text classifier does not pass, with the reason."""
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "a row of weight 2 has the loss of two rows, but it is a single row in the "
            "batch order, in splits and for dropout"
        ),
    }


# The adapter rounds numbers, so texts repeat, and some checks have too few rows to hold out.
@pytest.mark.filterwarnings("ignore:.*rows have the same text", "ignore:.*no validation rows")
@parametrize_with_checks([NumericAdapter()], expected_failed_checks=expected_failures)
def test_checks_of_scikit_learn(estimator, check):
    """All other checks of a classifier pass on an adapter that converts numeric rows to texts."""
    assert is_classifier(estimator)
    check(estimator)


# --------------------------------------------------------------------------------------------
# Similar checks on texts


def same(first, second):
    """Check whether two results of predict_proba agree to the bit."""
    return list(first) == list(second) and all(
        np.array_equal(first[task], second[task]) for task in first
    )


def test_pickle_changes_nothing(fitted):
    """A classifier that is pickled and loaded twice predicts the same."""
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(fitted))))
    assert same(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_fit_is_idempotent(make_classifier, messages):
    """A second fit on the same data gives the same predictions, and so does a clone."""
    classifier = make_classifier().fit(messages)
    first = classifier.predict_proba(TEXTS)
    assert same(classifier.fit(messages).predict_proba(TEXTS), first)
    assert same(clone(classifier).fit(messages).predict_proba(TEXTS), first)


def test_fit_twice_on_other_tasks(make_classifier, messages):
    """A fit on another task with other labels does not depend on the fit before."""
    other = messages[messages["task"] == "intent"].assign(task="topic")
    other["label"] = other["label"].map({"ask": 1, "buy": 2, "complain": 3, "sell": 4})
    twice = make_classifier().fit(messages).fit(other["text"].tolist(), other["label"].to_numpy())
    once = make_classifier().fit(other["text"].tolist(), other["label"].to_numpy())
    assert vars(twice).keys() == vars(once).keys()
    assert twice.tasks_ == ["label"]
    assert twice.predict(TEXTS).dtype.kind == "i"
    assert np.array_equal(twice.predict_proba(TEXTS), once.predict_proba(TEXTS))


def test_predictions_do_not_depend_on_other_texts(fitted, messages):
    """The prediction for a text does not depend on the other texts."""
    texts = messages["text"].unique()[:150]
    whole = fitted.predict_proba(texts)
    for size in (1, 7, 64):
        parts = [fitted.predict_proba(texts[i : i + size]) for i in range(0, len(texts), size)]
        for task in TASKS:
            together = np.concatenate([part[task] for part in parts])
            np.testing.assert_allclose(together, whole[task], rtol=1e-4, atol=1e-6)


def test_predictions_do_not_depend_on_the_order(fitted, messages):
    """Rows in another order get the same predictions, in that order."""
    rows = messages[["text", "task"]]
    order = np.random.default_rng(0).permutation(len(rows))
    assert (fitted.predict(rows.iloc[order]) == fitted.predict(rows)[order]).all()
    texts = rows["text"].to_numpy()
    whole = fitted.predict_proba(texts)
    for task, p in fitted.predict_proba(texts[order]).items():
        np.testing.assert_allclose(p, whole[task][order], rtol=1e-4, atol=1e-6)


def test_read_only_and_mapped_input(make_classifier, messages, tmp_path):
    """Read-only and memory-mapped arrays give the same results as other arrays."""
    rows = messages[messages["task"] == "intent"]
    X, y = rows["text"].to_numpy(dtype=object), rows["label"].to_numpy(dtype=object)
    weights = np.ones(len(rows))
    expected = make_classifier().fit(X, y, weights).predict_proba(TEXTS)
    for array in (X, y, weights):
        array.flags.writeable = False
    assert np.array_equal(make_classifier().fit(X, y, weights).predict_proba(TEXTS), expected)
    joblib.dump((X.astype(str), y.astype(str), weights), tmp_path / "data.joblib")
    mapped = joblib.load(tmp_path / "data.joblib", mmap_mode="r")
    assert isinstance(mapped[0], np.memmap)
    assert np.array_equal(make_classifier().fit(*mapped).predict_proba(TEXTS), expected)


def test_fit_does_not_change_its_data(make_classifier, messages):
    """fit does not change its frame or its weights."""
    frame, weights = messages.copy(), np.ones(len(messages))
    make_classifier().fit(frame, sample_weight=weights)
    pd.testing.assert_frame_equal(frame, messages)
    assert (weights == 1).all()


# --------------------------------------------------------------------------------------------
# Tags, features, metadata routing and representations


def test_tags(fitted):
    """The tags allow texts and a missing y, and only the view is tagged as a classifier."""
    tags = get_tags(fitted)
    assert tags.estimator_type is None
    assert not is_classifier(fitted)
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.dict) == (
        True,
    ) * 3
    assert not tags.target_tags.required
    assert tags.target_tags.multi_output
    assert is_classifier(fitted["intent"])
    assert get_tags(fitted["intent"]).input_tags.string


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_why_not_tagged_a_classifier(make_classifier, messages):
    """An integer cv works on wide labels with gaps, and would fail with the tag of a classifier."""

    class Tagged(MultiheadClassifier):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.estimator_type = "classifier"
            return tags

    wide = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    texts, labels = wide.index.to_series().tolist(), wide.reset_index(drop=True)
    plain = make_classifier(test_size=0, epochs=0)
    tagged = Tagged(**plain.get_params(deep=False))
    GridSearchCV(plain, {}, cv=2, error_score="raise").fit(texts, labels)
    with pytest.raises(TypeError, match="not supported between instances"):
        GridSearchCV(tagged, {}, cv=2, error_score="raise").fit(texts, labels)


def test_features(make_classifier, messages):
    """If X is a frame, its text and task columns are the features."""
    classifier = make_classifier(epochs=0).fit(messages.assign(more=1))
    assert classifier.feature_names_in_.tolist() == ["text", "task"]
    assert classifier.n_features_in_ == 2
    texts, y = (
        messages["text"][messages["task"] == "intent"],
        messages["label"][messages["task"] == "intent"],
    )
    classifier.fit(texts.to_frame("body"), y)
    assert classifier.feature_names_in_.tolist() == ["body"]
    classifier.fit(texts.to_frame(0), y)
    assert classifier.n_features_in_ == 1
    assert not hasattr(classifier, "feature_names_in_")
    classifier.fit(texts.tolist(), y)
    assert not hasattr(classifier, "n_features_in_")


@pytest.fixture
def routing():
    """Enable metadata routing."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_weights_are_routed(routing, make_classifier, messages):
    """In a pipeline and a search, weights reach fit and score if these request them."""
    X, y = messages[["text", "task"]], messages["label"]
    weights = np.where(messages["task"] == "intent", 5.0, np.arange(len(messages)) % 2)
    base = make_classifier(test_size=0).set_fit_request(sample_weight=True)
    expected = clone(base).fit(X, y, sample_weight=weights)
    pipe = make_pipeline(FunctionTransformer(), base.set_score_request(sample_weight=True))
    pipe.fit(X, y, sample_weight=weights)
    assert same(pipe[-1].predict_proba(TEXTS), expected.predict_proba(TEXTS))
    scores = []
    for wanted in (True, False):
        scoring = multitask_scoring(TASKS).set_score_request(sample_weight=wanted)
        scorer = task_scorer("sentiment").set_score_request(sample_weight=wanted)
        for each, refit in ((scoring, "mean_accuracy"), (clone(scorer), True)):
            search = GridSearchCV(
                pipe, {}, cv=TaskStratifiedKFold(2), scoring=each, refit=refit, error_score="raise"
            ).fit(X, y, sample_weight=weights)
            best = search.best_estimator_[-1]
            assert same(best.predict_proba(TEXTS), expected.predict_proba(TEXTS))
            scores.append(search.best_score_)
    search = GridSearchCV(base, {}, cv=TaskStratifiedKFold(2), error_score="raise")
    assert search.fit(X, y, sample_weight=weights).best_score_ == pytest.approx(scores[0])
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
        GridSearchCV(pipe, {}, scoring=task_scorer("intent")).fit(X, y, sample_weight=weights)
    assert scores[0] != scores[2]
    assert scores[1] != scores[3]


def test_plain_repr(make_config):
    """repr shows only parameters that differ from their defaults."""
    assert repr(MultiheadClassifier()) == "MultiheadClassifier()"
    config = MultiheadConfig(head=HeadConfig(dropout=0.5))
    shown = repr(MultiheadClassifier(config, verbose=1))
    assert re.sub(r"\s+", " ", shown) == (
        "MultiheadClassifier(config=MultiheadConfig(head=HeadConfig(dropout=0.5)), verbose=1)"
    )


def html_of(estimator):
    """Return the HTML that a notebook shows."""
    return estimator._repr_mimebundle_()["text/html"]


def test_html_repr(make_classifier, messages):
    """A notebook shows the configuration and, after fit, tasks and classes, in a pipeline too."""
    classifier = make_classifier(head=HeadConfig(dropout=0.45))
    pipe = make_pipeline(FunctionTransformer(), classifier)
    for shown in (html_of(classifier), html_of(pipe)):
        assert "HeadConfig" in shown
        assert "0.45" in shown
        assert "complain" not in shown
    odd = messages.assign(task=messages["task"].replace("emotion", "<b>mood</b>"))
    pipe.fit(odd)
    for shown in (html_of(pipe[-1]), html_of(pipe)):
        assert "ask, buy, complain, sell" in shown
        assert html.escape("<b>mood</b>") in shown
        assert "<b>mood</b>" not in shown
    assert "TrainingConfig" in html_of(MultiheadClassifier())
    assert "MultiheadClassifier" in html_of(MultiheadClassifier(config="nonsense"))


# --------------------------------------------------------------------------------------------
# scikit-learn's callbacks

HAS_CALLBACKS = hasattr(CallbackSupportMixin, "set_callbacks")


def test_set_callbacks_needs_callbacks_of_scikit_learn():
    """set_callbacks exists if scikit-learn has callbacks, and only then."""
    assert hasattr(MultiheadClassifier, "set_callbacks") == HAS_CALLBACKS
    assert (tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)) == HAS_CALLBACKS


if HAS_CALLBACKS:
    from sklearn.callback import ProgressBar, ScoringMonitor

    @pytest.mark.parametrize("form", ["long", "X and y", "texts"])
    def test_scoring_monitor(make_classifier, messages, form):
        """A ScoringMonitor logs a score for each epoch and for the fit, with each input form."""
        X, y, tasks = {
            "long": (messages, None, TASKS),
            "X and y": (messages[["text", "task"]], messages["label"], TASKS),
            "texts": (messages["text"][::3].tolist(), messages["label"][::3].tolist(), ["label"]),
        }[form]
        monitor = ScoringMonitor(scoring=multitask_scoring(tasks))
        options = {"epochs": 2, "val_size": 0.2, "test_size": 0}
        classifier = make_classifier(**options).set_callbacks(monitor).fit(X, y)
        log = monitor.get_logs().data_as_pandas
        epochs = log[log["task_name"] == "epoch"]
        assert len(epochs) == len(classifier.net_.history) == 3
        (end,) = log.loc[log["task_name"] == "fit", "mean_accuracy"]
        assert end == pytest.approx(classifier.score(X, y))
        assert len(set(epochs["mean_accuracy"])) > 1
        plain = make_classifier(**options).fit(X, y)
        assert np.array_equal(plain.predict(TEXTS), classifier.predict(TEXTS))
        names = [[name for name, _ in c.net_.callbacks_] for c in (classifier, plain)]
        assert names[0] == names[1]
        pickle.dumps(classifier.net_)

    def test_monitor_in_a_search(make_classifier, messages):
        """A monitor of the classifier logs each fit of a search."""
        monitor = ScoringMonitor(scoring=["accuracy"])
        classifier = make_classifier(test_size=0).set_callbacks(monitor)
        GridSearchCV(classifier, {}, cv=TaskStratifiedKFold(2), error_score="raise").fit(messages)
        (log,) = monitor.get_logs(select="all")
        assert len(log.data_as_pandas) == 3 * (2 + 1)

    def test_a_callback_may_stop_training(make_classifier, messages):
        """If a hook returns True at the end of an epoch, training stops there."""

        class Stop:
            def setup(self, estimator, context): ...
            def teardown(self, estimator, context): ...
            def on_fit_task_begin(self, estimator, context): ...
            def on_fit_task_end(self, estimator, context):
                return context.task_name == "epoch" and context.task_id == 1

        classifier = make_classifier(epochs=6).set_callbacks(Stop()).fit(messages)
        assert len(classifier.net_.history) == 2
        assert classifier.predict(TEXTS).shape == (3, 3)

    def test_progress_bar(make_classifier, messages, capsys):
        """scikit-learn's progress bar shows the fit, alone and in a search."""
        make_classifier().set_callbacks(ProgressBar()).fit(messages)
        assert "MultiheadClassifier - fit" in capsys.readouterr().out
        search = GridSearchCV(make_classifier(test_size=0), {}, cv=TaskStratifiedKFold(2))
        search.set_callbacks(ProgressBar()).fit(messages)
        out = capsys.readouterr().out
        assert "GridSearchCV" in out
        assert "MultiheadClassifier" in out


# --------------------------------------------------------------------------------------------
# Pipelines


def lower(X):
    """Convert texts, or the texts of a frame, to lowercase."""
    return X.assign(text=X["text"].str.lower()) if isinstance(X, pd.DataFrame) else X.str.lower()


def lower_column(X):
    """Convert each column of a frame to lowercase."""
    return X.apply(lambda column: column.str.lower())


CLEANERS = {
    "on the frame": FunctionTransformer(lower),
    "on the text column": ColumnTransformer(
        [("clean", FunctionTransformer(lower_column), ["text"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas"),
}


@pytest.mark.parametrize("cleaner", CLEANERS.values(), ids=CLEANERS)
def test_pipeline(make_classifier, messages, cleaner, tmp_path):
    """After a cleaning step, with and without a cache, the classifier learns from clean texts."""
    X, y = messages[["text", "task"]], messages["label"]
    expected = make_classifier().fit(X.assign(text=X["text"].str.lower()), y)
    for memory in (None, str(tmp_path)):
        pipe = make_pipeline(clone(cleaner), make_classifier(), memory=memory)
        pipe.set_params(multiheadclassifier__config__head__dropout=0.2).fit(X, y)
        assert same(pipe.predict_proba(X.head(9)), expected.predict_proba(lower(X.head(9))))
        assert 0 <= pipe.score(X, y) <= 1
        assert pipe["multiheadclassifier"]["sentiment"].predict(["Fine!"]).shape == (1,)
        assert clone(pipe)["multiheadclassifier"].config.head.dropout == 0.2
    assert list(pipe.feature_names_in_) == ["text", "task"] or "clean" not in str(cleaner)


def test_pipeline_on_a_long_frame(make_classifier, messages):
    """A cleaning step on a long frame passes its labels on."""
    pipe = make_pipeline(FunctionTransformer(lower), make_classifier()).fit(messages)
    assert pipe.predict(messages.head(4)).shape == (4,)
    assert 0 <= pipe.score(messages) <= 1

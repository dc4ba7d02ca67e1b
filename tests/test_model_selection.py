"""A splitter for several tasks, and scorers of one task and of several."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    get_scorer,
    log_loss,
    make_scorer,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer

TASKS = ["sentiment", "intent", "emotion"]


@pytest.fixture
def intent(messages):
    """The rows of one task."""
    return messages[messages["task"] == "intent"]


@pytest.fixture
def by_task(messages):
    """The messages sorted by task."""
    return messages.sort_values("task", kind="stable")


@pytest.fixture(scope="module")
def wide(messages):
    """Texts, and labels with one column per task."""
    frame = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    return frame.reset_index()


# --------------------------------------------------------------------------------------------
# TaskStratifiedKFold


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 3, 5])
def test_folds(by_task, n_splits, shuffle):
    """Each row is in one test fold, no text is on both sides, and classes are split evenly."""
    cv = TaskStratifiedKFold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    folds = list(cv.split(by_task))
    assert len(folds) == cv.get_n_splits() == n_splits
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(815))
    whole = by_task.groupby(["task", "label"]).size()
    for train, test in folds:
        assert len(train) + len(test) == len(by_task)
        assert not set(by_task["text"].iloc[train]) & set(by_task["text"].iloc[test])
        part = by_task.iloc[test].groupby(["task", "label"]).size()
        assert ((part - whole / n_splits).abs() <= 3).all()
        sizes = by_task["task"].iloc[test].value_counts()
        assert (sizes - by_task["task"].value_counts() / n_splits).abs().max() <= 1.5


def test_folds_of_each_form(messages, wide):
    """A long frame and (X, y) give the same folds, and texts with labels give even ones."""
    X, y = messages[["text", "task"]], messages["label"]
    cv = TaskStratifiedKFold(3)
    long = [test.tolist() for _, test in cv.split(messages)]
    assert [test.tolist() for _, test in cv.split(X, y)] == long
    names = {"text": "body", "task": "what", "label": "is"}
    other = TaskStratifiedKFold(3, text_column="body", task_column="what", label_column="is")
    assert [test.tolist() for _, test in other.split(messages.rename(columns=names))] == long
    labels = wide.drop(columns="text")
    labels.iloc[:7] = None  # texts without any label are split, too
    for y_wide in (labels, labels[["emotion"]], labels["intent"].iloc[7:]):
        texts = wide["text"].iloc[-len(y_wide) :]
        folds = [test for _, test in cv.split(texts.tolist(), y_wide)]
        assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(len(texts)))
        sizes = [y_wide.iloc[test].notna().sum() for test in folds]
        assert np.ptp(np.array(sizes), axis=0).max() <= 2


def test_shuffle_and_seed(messages):
    """Without shuffle, folds are always the same; with shuffle, they depend on random_state."""

    def folds(**kwargs):
        return [test.tolist() for _, test in TaskStratifiedKFold(3, **kwargs).split(messages)]

    assert folds() == folds()
    assert folds(shuffle=True, random_state=1) == folds(shuffle=True, random_state=1)
    assert folds(shuffle=True, random_state=1) != folds(shuffle=True, random_state=2)
    assert folds(shuffle=True, random_state=1) != folds()
    assert repr(TaskStratifiedKFold(3)).startswith("TaskStratifiedKFold(")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X: TaskStratifiedKFold(1), ValueError, "'n_splits' .* must be an int of 2 or more"),
        (lambda X: TaskStratifiedKFold("3"), ValueError, "'n_splits' .* must be an int"),
        (
            lambda X: TaskStratifiedKFold(random_state=0),
            ValueError,
            "no effect, because 'shuffle' is False",
        ),
        (lambda X: list(TaskStratifiedKFold().split(X.head(9))), ValueError, "too few for 5 folds"),
        (lambda X: list(TaskStratifiedKFold().split({"a": []})), TypeError, "X is a dict of tasks"),
        (lambda X: list(TaskStratifiedKFold().split(X["text"])), ValueError, "y is missing"),
    ],
)
def test_invalid_splits(messages, call, error, message):
    """Invalid parameters, and data that cannot be split, are refused with the reason."""
    with pytest.raises(error, match=message):
        call(messages)


def test_rare_class(messages):
    """A class with fewer texts than folds is still split, with one warning."""
    rows = messages.copy()
    rows.loc[rows.index[rows["task"] == "intent"][:2], "label"] = "rare"
    with pytest.warns(UserWarning, match="Class 'rare' of task 'intent' has 2 texts, fewer than"):
        folds = list(TaskStratifiedKFold(3).split(rows))
    assert [(rows["label"].iloc[test] == "rare").sum() for _, test in folds] == [1, 1, 0]


def test_plain_folds_of_sorted_rows(make_classifier, by_task):
    """If a fold lacks a task or a class, the message names TaskStratifiedKFold."""
    classifier = make_classifier(test_size=0, epochs=0)
    with pytest.warns(UserWarning, match=r"(?s)Scoring failed.*Task .*TaskStratifiedKFold"):
        scores = cross_val_score(classifier, by_task, cv=3)
    assert np.isnan(scores).any()
    two = by_task[by_task["label"].isin(["ask", "buy"])].sort_values("label")
    with pytest.warns(FitFailedWarning, match=r"(?s)only one class.*TaskStratifiedKFold"):
        cross_val_score(classifier, pd.concat([two, by_task[by_task["task"] == "emotion"]]), cv=4)
    with pytest.raises(ValueError, match="TaskStratifiedKFold"):
        cross_val_score(classifier, two, cv=KFold(2), error_score="raise")
    scores = cross_val_score(classifier, by_task, cv=TaskStratifiedKFold(3), error_score="raise")
    assert np.isfinite(scores).all()


# --------------------------------------------------------------------------------------------
# task_scorer

METRICS = [
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_weighted",
    "precision_micro",
    "recall_macro",
    "jaccard_macro",
    "matthews_corrcoef",
    "neg_log_loss",
    "roc_auc_ovr",
    "roc_auc_ovo_weighted",
    "top_k_accuracy",
]


@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_a_task_equal_scores_of_its_view(fitted, messages, intent, metric):
    """The score of a task equals the score of its view by scikit-learn's own scorer."""
    expected = get_scorer(metric)(fitted["intent"], intent["text"], intent["label"])
    scorer = task_scorer("intent", metric)
    assert scorer(fitted, messages) == pytest.approx(expected)
    X, y = messages.drop(columns="label"), messages["label"]
    assert scorer(fitted, X, y) == pytest.approx(expected)
    assert scorer(fitted, X, y.to_numpy()) == pytest.approx(expected)


BINARY = [
    "f1", "precision", "recall", "jaccard", "average_precision", "roc_auc", "neg_brier_score",
    "neg_log_loss", "f1_macro", "accuracy", "matthews_corrcoef",
]  # fmt: skip


@pytest.mark.parametrize("metric", BINARY)
def test_binary_metrics_of_strings(make_classifier, intent, metric):
    """Binary metrics accept string labels; the second of the sorted classes is positive."""
    positive = intent["label"].isin(["ask", "buy"])
    strings, codes = (
        intent.assign(label=each)
        for each in (positive.map({True: "yes", False: "no"}), positive.astype(int))
    )
    first, second = (
        task_scorer("intent", metric)(make_classifier().fit(rows), rows)
        for rows in (strings, codes)
    )
    assert first == pytest.approx(second)
    assert np.isfinite(first)


def test_custom_metrics(fitted, make_classifier, intent, messages):
    """Scorers of make_scorer with their own options, and plain callables, are accepted."""
    some = make_scorer(f1_score, labels=["ask", "buy"], average="macro")
    expected = f1_score(
        intent["label"], fitted["intent"].predict(intent["text"]), labels=["ask", "buy"],
        average="macro",
    )  # fmt: skip
    assert task_scorer("intent", some)(fitted, messages) == pytest.approx(expected)
    rows = intent.assign(label=np.where(intent["label"] == "ask", "yes", "no"))
    classifier = make_classifier().fit(rows)
    negative = make_scorer(average_precision_score, response_method="predict_proba", pos_label="no")
    p = classifier["intent"].predict_proba(rows["text"])
    expected = average_precision_score(rows["label"], p[:, 0], pos_label="no")
    assert task_scorer("intent", negative)(classifier, rows) == pytest.approx(expected)
    own = task_scorer("intent", lambda view, X, y: len(view.predict(X[:5])) + len(X) / len(y))
    assert own(fitted, messages) == 6
    with pytest.raises(TypeError, match="'intent' has labels of several types: 'ask' in fit, 1 in"):
        task_scorer("intent", labels=[1, 2])(fitted, messages)


@pytest.mark.parametrize("kind", [int, np.int16, bool, float])
def test_labels_of_other_types(make_classifier, intent, kind):
    """Labels that are ints, floats or bools can be scored."""
    rows = intent.assign(label=(intent["label"] == "ask").astype(kind))
    classifier = make_classifier().fit(rows)
    p = classifier["intent"].predict_proba(rows["text"])
    expected = roc_auc_score(rows["label"].astype(int), p[:, 1])
    assert task_scorer("intent", "roc_auc")(classifier, rows) == pytest.approx(expected)
    assert 0 <= task_scorer("intent", "f1")(classifier, rows) <= 1


def test_fractions_as_labels(make_classifier, intent):
    """Labels such as 0.5 are scored as classes, although scikit-learn expects a regression."""
    rows = intent.assign(label=np.where(intent["label"] == "ask", 1.5, 0.5))
    classifier = make_classifier().fit(rows)
    assert task_scorer("intent")(classifier, rows) == pytest.approx(classifier.score(rows))
    expected = roc_auc_score(rows["label"] > 1, classifier["intent"].predict_proba(rows)[:, 1])
    assert task_scorer("intent", "roc_auc")(classifier, rows) == pytest.approx(expected)


def test_fold_of_weight_0(fitted, messages):
    """A task whose rows all have weight 0 scores nan with a warning; other tasks have scores."""
    weights = (messages["task"] != "intent").astype(float)
    scoring = multitask_scoring(TASKS)
    with pytest.warns(UserWarning, match="'intent_accuracy' could not .* no rows of task 'intent'"):
        scores = scoring(fitted, messages, sample_weight=weights)
    assert np.isnan([scores["intent_accuracy"], scores["mean_accuracy"]]).all()
    assert scores["sentiment_accuracy"] > 0
    rest = messages[messages["task"] != "intent"]
    assert fitted.score(messages, sample_weight=weights) == pytest.approx(fitted.score(rest))
    with pytest.raises(ValueError, match="zero for all rows, so there is nothing to score"):
        fitted.score(messages, sample_weight=np.zeros(815))


def test_label_that_is_not_in_the_training_data(make_classifier, intent):
    """A label that is not in the training data counts as wrong and has probability 0."""
    train = intent[intent["label"] != "sell"]
    classifier = make_classifier().fit(train)
    found = classifier.predict(intent)
    assert task_scorer("intent")(classifier, intent) == accuracy_score(intent["label"], found)
    p = np.column_stack([classifier["intent"].predict_proba(intent["text"]), np.zeros(300)])
    labels = ["ask", "buy", "complain", "sell"]
    expected = -log_loss(intent["label"], p, labels=labels)
    assert task_scorer("intent", "neg_log_loss")(classifier, intent) == pytest.approx(expected)
    expected = roc_auc_score(intent["label"], p, labels=labels, multi_class="ovr")
    assert task_scorer("intent", "roc_auc_ovr")(classifier, intent) == pytest.approx(expected)


def test_labels_fixed_at_construction(make_classifier, intent):
    """A scorer can list labels that head and rows lack, and its scores do not change."""
    classifier = make_classifier().fit(intent)
    part = intent[intent["label"] != "sell"]
    fixed = task_scorer("intent", "neg_log_loss", labels=["ask", "buy", "complain", "sell", "zzz"])
    p = classifier["intent"].predict_proba(part["text"])
    expected = -log_loss(part["label"], p, labels=["ask", "buy", "complain", "sell"])
    assert fixed(classifier, part) == pytest.approx(expected)
    assert task_scorer("intent", "neg_log_loss")(classifier, part) == pytest.approx(expected)


def test_scorer_finds_the_classifier(make_classifier, messages, fitted):
    """A scorer finds the classifier in a pipeline, a search or a frozen estimator."""
    lower = FunctionTransformer(lambda X: X.assign(text=X["text"].str.lower()))
    scorer = task_scorer("emotion", "f1_macro")
    pipe = make_pipeline(lower, make_classifier()).fit(messages)
    expected = scorer(pipe[-1], messages.assign(text=messages["text"].str.lower()))
    assert scorer(pipe, messages) == expected
    X, y = messages.drop(columns="label"), messages["label"]
    search = GridSearchCV(pipe, {}, scoring=scorer, cv=TaskStratifiedKFold(2)).fit(X, y)
    assert scorer(search, X, y) == pytest.approx(expected)
    from sklearn.frozen import FrozenEstimator

    assert scorer(FrozenEstimator(fitted), messages) == scorer(fitted, messages)
    with pytest.raises(TypeError, match="takes a MultiheadClassifier.* got TaskClassifier"):
        scorer(fitted["emotion"], messages)


def test_scorer_of_a_task_without_rows(fitted, intent):
    """An unknown task, a task without rows and an invalid metric raise an error with the reason."""
    with pytest.raises(ValueError, match="no rows of task 'emotion'.*TaskStratifiedKFold"):
        task_scorer("emotion")(fitted, intent)
    with pytest.raises(ValueError, match="Task 'mood' was not seen"):
        task_scorer("mood")(fitted, intent)
    with pytest.raises(ValueError, match="'sentimnt' was not seen.* mean 'sentiment'"):
        multitask_scoring(["sentimnt"])(fitted, intent)
    with pytest.raises(ValueError, match="Task 'mood' was not seen.*TaskStratifiedKFold"):
        task_scorer("mood")(fitted, intent.assign(task="mood"))
    for metric in (None, accuracy_score):
        with pytest.raises(ValueError, match="'metric' parameter must be the name of a scorer, or"):
            task_scorer("intent", metric)
    with pytest.raises(ValueError, match="'acuracy' is not a valid scoring"):
        task_scorer("intent", "acuracy")


def test_scorer_uses_sample_weight(fitted, intent):
    """A scorer passes sample_weight on to the metric."""
    weights = np.random.default_rng(0).uniform(0.1, 2, len(intent))
    expected = fitted["intent"].score(intent["text"], intent["label"], weights)
    scorer = task_scorer("intent")
    assert scorer(fitted, intent, sample_weight=weights) == pytest.approx(expected)


# --------------------------------------------------------------------------------------------
# multitask_scoring


def test_multitask_scoring(fitted, messages):
    """multitask_scoring returns the score of each scorer, and its means are means over tasks."""
    scoring = multitask_scoring(TASKS, ["accuracy", "neg_log_loss"])
    scores = scoring(fitted, messages)
    assert list(scores) == list(scoring)
    assert set(scoring) == {
        f"{name}_{metric}" for name in [*TASKS, "mean"] for metric in ("accuracy", "neg_log_loss")
    }
    for name, scorer in scoring.items():
        assert scores[name] == pytest.approx(scorer(fitted, messages))
    means = np.mean([scores[f"{task}_accuracy"] for task in TASKS])
    assert scores["mean_accuracy"] == pytest.approx(means)
    assert scores["mean_accuracy"] == pytest.approx(fitted.score(messages))


def test_weighted_average(fitted, messages):
    """With average="weighted", a task counts in proportion to its rows, or to their weight."""
    scores = multitask_scoring(TASKS, average="weighted")(fitted, messages)
    assert scores["mean_accuracy"] == pytest.approx(
        np.mean(fitted.predict(messages) == messages["label"])
    )
    weights = np.random.default_rng(0).uniform(0, 2, len(messages))
    scores = multitask_scoring(TASKS, average="weighted")(fitted, messages, sample_weight=weights)
    right = fitted.predict(messages) == messages["label"]
    assert scores["mean_accuracy"] == pytest.approx(np.average(right, weights=weights))


def test_one_pass_for_all_scores(fitted, messages):
    """Whatever the number of scores, the encoder processes each text once."""
    seen = []
    hook = fitted.net_.module_.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        multitask_scoring(TASKS, ["accuracy", "f1_macro", "neg_log_loss"])(fitted, messages)
    finally:
        hook.remove()
    assert sum(seen) == messages["text"].nunique()


def test_names_of_metrics():
    """Metrics can be one name, a list, or a dict of names; keys must differ."""
    own = make_scorer(f1_score, average="micro")
    assert list(multitask_scoring("a")) == ["a_accuracy", "mean_accuracy"]
    assert list(multitask_scoring(["a"], {"f": own})) == ["a_f", "mean_f"]
    with pytest.raises(ValueError, match="would have the key 'a_accuracy'"):
        multitask_scoring(["a", "a"])
    with pytest.raises(ValueError, match="would have the key 'mean_accuracy'"):
        multitask_scoring(["mean"])
    with pytest.raises(ValueError, match="'average' .* be 'macro' or 'weighted'. Got 'micro'"):
        multitask_scoring(["a"], average="micro")
    with pytest.raises(ValueError, match="not a valid scoring"):
        multitask_scoring(["a"], ["acuracy"])
    with pytest.raises(ValueError, match="'tasks' parameter is empty"):
        multitask_scoring([])


def test_fixed_keys_in_every_fold(make_classifier, by_task):
    """A task without rows in a fold scores nan with a warning, and other tasks have scores."""
    classifier = make_classifier(test_size=0, epochs=0)
    with pytest.warns(UserWarning, match="is nan: .*TaskStratifiedKFold"):
        result = cross_validate(
            classifier, by_task, scoring=multitask_scoring(TASKS), cv=KFold(3), error_score="raise"
        )
    table = pd.DataFrame({key: result[f"test_{key}"] for key in multitask_scoring(TASKS)})
    assert table.isna().any().any()
    assert table[TASKS[0] + "_accuracy"].notna().any()
    assert table["mean_accuracy"].isna().all()


def test_search_with_multitask_scoring(make_classifier, messages):
    """A search reports each score and refits by a mean, also with y=None."""
    search = GridSearchCV(
        make_classifier(test_size=0),
        {"config__head__dropout": [0.0, 0.5]},
        scoring=multitask_scoring(TASKS, ["accuracy", "f1_macro"]),
        refit="mean_f1_macro",
        cv=TaskStratifiedKFold(2),
        error_score="raise",
    ).fit(messages)
    for name in multitask_scoring(TASKS, ["accuracy", "f1_macro"]):
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    best = search.cv_results_["mean_test_mean_f1_macro"].max()
    assert search.best_score_ == pytest.approx(best)
    assert set(search.score(messages)) if isinstance(search.score(messages), dict) else True
    single = multitask_scoring(TASKS)["mean_accuracy"]
    scores = cross_val_score(
        make_classifier(test_size=0), messages, scoring=single, cv=TaskStratifiedKFold(2)
    )
    assert np.isfinite(scores).all()


def test_scorers_pickle(fitted, messages):
    """Scorers and splitters can be pickled and cloned without change."""
    for scorer in (task_scorer("intent", "f1_macro"), multitask_scoring(TASKS)):
        again = pickle.loads(pickle.dumps(scorer))
        assert type(again) is type(scorer)
        assert again(fitted, messages) == scorer(fitted, messages)
    assert clone(task_scorer("intent")).task == "intent"
    cv = pickle.loads(pickle.dumps(TaskStratifiedKFold(4, shuffle=True, random_state=1)))
    assert (cv.n_splits, cv.shuffle, cv.random_state) == (4, True, 1)


def test_pooled_metrics(make_classifier, messages):
    """Accuracy pooled over tasks is correct; pooled probabilities raise a one-line error."""
    X, y = messages.drop(columns="label"), messages["label"]
    classifier = make_classifier(test_size=0)
    cv = TaskStratifiedKFold(2)
    pooled = cross_val_score(classifier, X, y, scoring="accuracy", cv=cv, error_score="raise")
    found = cross_val_predict(classifier, X, y, cv=cv)
    assert pooled.mean() == pytest.approx(np.mean(found == y), abs=0.01)
    with pytest.raises(
        (TypeError, ValueError), match=r"task_scorer|should either be a classifier"
    ) as error:
        cross_val_score(classifier, X, y, scoring="neg_log_loss", cv=cv, error_score="raise")
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match=r"cannot be combined into one array.*task_scorer"):
        np.asarray(classifier.fit(messages).predict_proba(X))


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_integer_cv_of_wide_labels_with_gaps(make_classifier, wide):
    """An integer cv accepts wide labels with gaps, which stratified folds cannot split."""
    classifier = make_classifier(test_size=0, epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # scikit-learn 1.6 passes an option to scipy that a newer scipy deprecates.
        warnings.filterwarnings("ignore", "scipy.optimize: The `disp`", DeprecationWarning)
        warnings.filterwarnings("ignore", "y has missing labels")
        scores = cross_val_score(classifier, wide["text"], wide.drop(columns="text"), cv=2)
    assert np.isfinite(scores).all()
    with pytest.raises((TypeError, ValueError)):
        (
            StratifiedKFold(2).get_n_splits(),
            list(StratifiedKFold(2).split(wide["text"], wide.drop(columns="text"))),
        )

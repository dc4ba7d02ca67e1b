"""`sample_weight` in the loss, in fit and in scores, and labels set by `task_labels`."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from rapidfit_sk import LossConfig
from rapidfit_sk._training.losses import MultiheadLoss, inverse_frequency

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


@pytest.fixture
def intent(messages):
    """The rows of one task."""
    return messages[messages["task"] == "intent"]


# --------------------------------------------------------------------------------------------
# The loss


@pytest.fixture(params=[0.0, 2.0], ids=["cross-entropy", "focal"])
def loss(request):
    """A loss with class weights, task weights and label smoothing."""
    return MultiheadLoss([[0.5, 2.0, 1.0], [1.0, 3.0]], [1.0, 0.7], 0.1, request.param)


def batch(weights):
    """Return logits and targets of two tasks, with the given row weights."""
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(4, 3, generator=generator), torch.randn(2, 2, generator=generator)]
    labels = [torch.tensor([0, 1, 2, 1]), torch.tensor([1, 0])]
    return logits, {"labels": labels, "weights": [torch.tensor(each) for each in weights]}


def take(logits, targets, rows):
    """Select rows of the first task by position, possibly repeated, and give all rows weight 1."""
    logits = [logits[0][rows], logits[1]]
    weights = [torch.ones(len(rows)), torch.ones(2)]
    return logits, {
        "labels": [targets["labels"][0][rows], targets["labels"][1]],
        "weights": weights,
    }


def test_weight_0_is_a_removed_row(loss):
    """The loss with a row of weight 0 equals the loss without this row."""
    logits, targets = batch([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(loss(logits, targets), loss(*take(logits, targets, [0, 2, 3])))


def test_weight_2_is_a_doubled_row(loss):
    """The loss with a row of weight 2 equals the loss with this row twice."""
    logits, targets = batch([[1.0, 2.0, 1.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(loss(logits, targets), loss(*take(logits, targets, [0, 1, 1, 2, 3])))


def test_class_weights_count_weights():
    """Class weights count a row of weight 0 as no row and a row of weight 2 as two rows."""
    weighted = inverse_frequency(np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 0.0, 1.0]), 2)
    plain = inverse_frequency(np.array([0, 0, 0, 1]), np.ones(4), 2)
    assert np.array_equal(weighted, plain)


# --------------------------------------------------------------------------------------------
# fit and score


def test_fit_without_rows_of_weight_0(make_classifier, messages):
    """A fit with weights of 0 equals the fit without these rows, to the bit."""
    weights = (np.arange(len(messages)) % 3 < 2).astype(float)
    weighted = make_classifier().fit(messages, sample_weight=weights)
    removed = make_classifier().fit(messages[weights > 0])
    first, second = weighted.predict_proba(TEXTS), removed.predict_proba(TEXTS)
    assert all(np.array_equal(first[task], second[task]) for task in first)
    assert weighted.test_scores_ == removed.test_scores_
    assert np.array_equal(weighted.train_indices_, np.flatnonzero(weights)[removed.train_indices_])


def test_weights_change_predictions(make_classifier, intent):
    """A class whose rows have larger weights is predicted more often."""
    options = {"epochs": 6, "learning_rate": 3e-3, "test_size": 0, "val_size": 0.1}
    shares = []
    for weight in (1.0, 20.0):
        weights = np.where(intent["label"] == "buy", weight, 1.0)
        classifier = make_classifier(**options, loss=None)
        classifier.set_params(config__loss__use_class_weights=False)
        classifier.fit(intent, sample_weight=weights)
        shares.append(np.mean(classifier.predict(intent) == "buy"))
    assert shares[1] > shares[0] + 0.2


def test_weights_matter_in_batches_of_one(make_classifier, intent):
    """Weights change the model even if each batch has one row."""
    options = {"batch_size": 1, "test_size": 0, "loss": LossConfig(use_class_weights=False)}
    rows = intent.head(60)
    weights = np.random.default_rng(0).uniform(0.05, 2, len(rows))
    weighted, plain = (
        make_classifier(**options).fit(rows, sample_weight=each).predict_proba(TEXTS)
        for each in (weights, None)
    )
    assert np.abs(weighted - plain).max() > 1e-3


def test_only_the_ratio_of_weights_matters(make_classifier, messages):
    """Only the ratio of weights matters."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 2, len(messages))
    first = make_classifier().fit(messages, sample_weight=weights).predict_proba(TEXTS)
    second = make_classifier().fit(messages, sample_weight=8 * weights).predict_proba(TEXTS)
    for task in first:
        np.testing.assert_allclose(first[task], second[task], rtol=1e-4)


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_weights_of_each_form(make_classifier, messages):
    """Weights belong to the rows of X in each input form: long frame, wide labels and dict."""
    wide = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    wide = wide[["sentiment", "intent", "emotion"]].reset_index()
    weights = np.random.default_rng(0).uniform(0.1, 2, len(wide))
    texts, labels = wide["text"], wide.drop(columns="text")
    of_text = dict(zip(texts, weights, strict=True))
    long = wide.melt("text", var_name="task", value_name="label").dropna()
    by_task = {task: rows.to_dict("records") for task, rows in long.groupby("task", sort=False)}
    long_weights = long["text"].map(of_text)
    fits = [
        make_classifier().fit(texts, labels, weights),
        make_classifier().fit(long, sample_weight=long_weights),
        make_classifier().fit(long.drop(columns="label"), long["label"], long_weights.tolist()),
        make_classifier().fit(by_task, sample_weight=long_weights.to_numpy()),
    ]
    expected = fits[0].predict_proba(TEXTS)
    for classifier in fits[1:]:
        for task, p in classifier.predict_proba(TEXTS).items():
            assert np.array_equal(p, expected[task])
    assert not np.array_equal(
        make_classifier().fit(texts, labels).predict_proba(TEXTS)["intent"], expected["intent"]
    )


def test_weighted_score(fitted, messages, intent):
    """score weights rows within each task, and all tasks equally."""
    weights = np.random.default_rng(0).uniform(0, 2, len(messages))
    expected = [
        accuracy_score(
            rows["label"], fitted.predict(rows), sample_weight=weights[rows.index.to_numpy()]
        )
        for _, rows in messages.groupby("task")
    ]
    assert fitted.score(messages, sample_weight=weights) == pytest.approx(np.mean(expected))
    own = weights[intent.index]
    assert fitted["intent"].score(intent["text"], intent["label"], own) == pytest.approx(
        fitted.score(intent, sample_weight=own)
    )


def test_validation_is_weighted(make_classifier, messages):
    """Validation rows of weight 0 do not affect the validation scores."""
    train, val = messages.iloc[:600], messages.iloc[600:]
    wrong = val.assign(label=val.groupby("task")["label"].transform("first"))
    both = pd.concat([val, wrong])
    weights = np.repeat([1.0, 0.0], len(val))
    weighted = make_classifier().fit(train, X_val=both, sample_weight_val=weights)
    plain = make_classifier().fit(train, X_val=val)
    for key in ("valid_loss", "valid_accuracy", "valid_f1"):
        first, second = (c.net_.history[-1, key] for c in (weighted, plain))
        assert first == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0], ValueError, r"one weight for each of the 815 rows of X.*shape \(1,\)"),
        (np.ones((815, 1)), ValueError, r"shape \(815, 1\)"),
        (np.r_[np.ones(814), -1], ValueError, "row 814: a weight must be finite .* got -1.0"),
        (np.r_[np.nan, np.ones(814)], ValueError, "row 0: .* got nan"),
        (["much"] * 815, TypeError, "sample_weight must be numeric"),
        (np.zeros(815), ValueError, "zero for all rows of task 'sentiment'"),
    ],
)
def test_invalid_weights(make_classifier, messages, weights, error, message):
    """Invalid weights are refused with a message that gives the shape, the row or the task."""
    with pytest.raises(error, match=message):
        make_classifier().fit(messages, sample_weight=weights)


def test_validation_weights_need_validation_rows(make_classifier, messages):
    """Validation weights without validation rows are refused."""
    with pytest.raises(ValueError, match="sample_weight_val was given without X_val"):
        make_classifier().fit(messages, sample_weight_val=np.ones(815))


# --------------------------------------------------------------------------------------------
# task_labels


def test_task_labels_fix_the_columns(make_classifier, messages):
    """A head has a column for each listed label, with or without rows in the data."""
    labels = {"intent": ["sell", "buy", "refund", "ask", "complain"]}
    classifier = make_classifier(task_labels=labels)
    for rows in (messages, messages[messages["label"] != "complain"]):
        classifier.fit(rows)
        assert classifier.classes_["intent"].tolist() == sorted(labels["intent"])
        assert classifier.classes_["sentiment"].tolist() == ["negative", "neutral", "positive"]
        assert classifier.predict_proba(TEXTS, task="intent").shape == (3, 5)


def test_task_labels_are_array_like(make_classifier, intent):
    """Arrays, an Index and a Series can list labels; a task may come in a later call."""
    for labels in (intent["label"].unique(), pd.Index(intent["label"]), intent["label"]):
        classifier = make_classifier(task_labels={"intent": labels}, epochs=0).fit(intent)
        assert len(classifier.classes_["intent"]) == 4
    classifier.set_params(task_labels={"intent": labels, "later": [0, 1]})
    classifier.partial_fit(intent).partial_fit(intent.assign(task="later", label=1))
    assert classifier.classes_["later"].tolist() == [0, 1]


def test_task_labels_may_include_labels_without_rows(make_classifier, intent):
    """If its labels are listed, a task may have rows of a single class."""
    classifier = make_classifier(task_labels={"intent": np.array(["ask", "buy"])})
    classifier.fit(intent[intent["label"] == "ask"])
    assert classifier.classes_["intent"].tolist() == ["ask", "buy"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ({"intent": ["ask", "buy"]}, ValueError, "row .*task 'intent'.*label .sell. is not"),
        ({"intend": ["ask", "buy"]}, ValueError, "names 'intend'.*mean 'intent'.*TaskStratifiedK"),
        ({"intent": ["ask"]}, ValueError, "only one class"),
        ({"intent": []}, ValueError, "has no classes"),
        ({"intent": ["ask", 1]}, TypeError, "mixes strings and numbers"),
        ({"intent": "ask"}, ValueError, "'task_labels' parameter of MultiheadClassifier must be"),
        (["ask"], ValueError, "'task_labels' parameter of MultiheadClassifier must be"),
    ],
)
def test_invalid_task_labels(make_classifier, messages, labels, error, message):
    """Labels that do not fit the data or are invalid are refused with the reason."""
    with pytest.raises(error, match=message):
        make_classifier(task_labels=labels).fit(messages)

"""`evaluate`: scores with intervals of tasks, and scores of classes."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, classification_report, f1_score, log_loss

from rapidfit_sk import TextClassifier
from rapidfit_sk._evaluation import ScoredRows, class_frame, score_frame


def rows_of(true, proba, classes=None, groups=None, weights=None):
    """Return rows of one task."""
    n = len(true)
    classes = np.array(["a", "b", "c"][: proba.shape[1]]) if classes is None else classes
    texts = np.array([f"text {i}" for i in range(n)], dtype=object)
    return ScoredRows(
        texts,
        np.arange(n) if groups is None else groups,
        np.arange(n),
        np.array([classes[i] for i in true], dtype=object),
        true,
        proba,
        classes,
        np.ones(n, np.float32) if weights is None else weights,
    )


def random_rows(n, seed=0, **options):
    """Return rows whose labels are drawn from their probabilities."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet([0.6, 0.6, 0.6], size=n)
    true = np.array([rng.choice(3, p=p) for p in proba])
    return rows_of(true, proba, **options)


def scores_of(rows, n_resamples=200, seed=0):
    return score_frame({"task": rows}, n_resamples, seed).set_index("metric")


def test_values_are_those_of_scikit_learn():
    """Accuracy, F1 and log loss are those of scikit-learn, with weights."""
    weights = np.random.default_rng(1).integers(1, 4, 100).astype(np.float32)
    rows = random_rows(100, weights=weights)
    values = scores_of(rows)["value"]
    given = {"sample_weight": weights}
    assert values["accuracy"] == pytest.approx(accuracy_score(rows.true, rows.predicted, **given))
    f1 = f1_score(rows.true, rows.predicted, average="macro", **given)
    assert values["macro_f1"] == pytest.approx(f1)
    assert values["log_loss"] == pytest.approx(log_loss(rows.true, rows.proba, **given))


def test_calibration_error_by_hand():
    """The calibration error is the mean gap of the bins, weighted by their rows."""
    proba = np.array([[0.95, 0.05]] * 4 + [[0.6, 0.4]] * 6)
    true = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])  # 0.75 and 0.5 are correct
    value = scores_of(rows_of(true, proba))["value"]["calibration_error"]
    assert value == pytest.approx(0.4 * 0.2 + 0.6 * 0.1)


def test_width_of_intervals():
    """The interval of an accuracy is that of the normal approximation, within a tenth."""
    rows = random_rows(400)
    scores = scores_of(rows, n_resamples=2000)
    value, low, high = scores.loc["accuracy", ["value", "low", "high"]]
    expected = 2 * norm.ppf(0.975) * np.sqrt(value * (1 - value) / 400)
    assert high - low == pytest.approx(expected, rel=0.1)
    assert (scores["low"] < scores["value"]).all()
    assert (scores["value"] < scores["high"]).all()


def test_repeated_texts_are_drawn_together():
    """Ten copies of each row leave the interval as wide as that of the rows alone."""
    rows = random_rows(60)
    copies = random_rows(60).take(np.tile(np.arange(60), 10))
    alone, repeated = scores_of(rows).loc["accuracy"], scores_of(copies).loc["accuracy"]
    assert repeated["n"] == 600
    assert repeated["high"] - repeated["low"] == pytest.approx(
        alone["high"] - alone["low"], rel=0.1
    )


def test_intervals_cover_the_truth():
    """About 95 of 100 intervals of the accuracy and the log loss contain the true value."""
    truth = scores_of(random_rows(100_000), n_resamples=1)["value"]
    found = [scores_of(random_rows(150, seed), n_resamples=200) for seed in range(1, 101)]
    for metric in ("accuracy", "log_loss"):
        covered = sum(s["low"][metric] <= truth[metric] <= s["high"][metric] for s in found)
        assert 88 <= covered <= 100


def test_interval_of_the_calibration_error():
    """Calibrated rows have a small calibration error, whose interval goes down to about 0."""
    scores = scores_of(random_rows(300))
    low, value = scores.loc["calibration_error", ["low", "value"]]
    assert low < 0.02 < value
    for seed in range(20):
        scores = scores_of(random_rows(100, seed), n_resamples=100)
        assert (scores["low"] <= scores["value"]).all()
        assert (scores["value"] <= scores["high"]).all()


def test_unknown_labels():
    """A label that is not a class is wrong, and has no log loss."""
    proba = np.array([[0.9, 0.1]] * 4)
    rows = rows_of(np.array([0, 0, 0, -1]), proba)
    scores = scores_of(rows)
    assert scores["value"]["accuracy"] == 0.75
    assert scores["value"]["log_loss"] == pytest.approx(-np.log(0.9))
    assert scores["n"].to_dict() == {
        "accuracy": 4,
        "macro_f1": 4,
        "log_loss": 3,
        "calibration_error": 4,
    }
    assert scores["value"]["macro_f1"] == f1_score([0, 0, 0, -1], [0] * 4, average="macro")
    assert class_frame({"t": rows})["support"].tolist() == [3, 0]


def test_rows_without_a_known_label():
    """Without any known label, the log loss is not a number, and nothing warns."""
    scores = scores_of(rows_of(np.array([-1, -1]), np.full((2, 2), 0.5)))
    assert scores["value"]["accuracy"] == 0
    assert np.isnan(scores.loc["log_loss", ["value", "low", "high"]].astype(float)).all()


def test_probability_of_zero():
    """A label with probability 0 has a large and finite log loss."""
    scores = scores_of(rows_of(np.array([1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]])))
    assert np.isfinite(scores["value"]["log_loss"])
    assert scores["value"]["log_loss"] > 100


def test_seed(fitted, messages):
    """The same seed gives the same intervals, another seed others, and values do not change."""
    first, same, other = (fitted.evaluate(messages, random_state=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, same)
    assert not first["low"].equals(other["low"])
    assert first["value"].equals(other["value"])


def test_evaluate_equals_score(fitted, messages):
    """The mean accuracy is that of score, for each form of rows, and weights count."""
    scores = fitted.evaluate(messages, n_resamples=10)
    assert scores["task"].unique().tolist() == fitted.tasks_
    accuracies = scores[scores["metric"] == "accuracy"]
    assert accuracies["value"].mean() == pytest.approx(fitted.score(messages))
    parts = messages.groupby("task")
    rows = {task: part[["text", "label"]].to_dict("records") for task, part in parts}
    again = fitted.evaluate(rows, n_resamples=10).set_index(["task", "metric"])["value"]
    pd.testing.assert_series_equal(
        again.sort_index(), scores.set_index(["task", "metric"])["value"].sort_index()
    )
    weights = np.arange(len(messages)) % 3
    weighted = fitted.evaluate(messages, sample_weight=weights, n_resamples=10)
    accuracies = weighted[weighted["metric"] == "accuracy"]
    assert accuracies["value"].mean() == pytest.approx(
        fitted.score(messages, sample_weight=weights)
    )
    assert weighted["n"].max() < scores["n"].max()  # rows of weight 0 do not count


def test_scores_of_classes(fitted, messages):
    """The scores of classes are those of scikit-learn's report."""
    classes = fitted.evaluate(messages, level="class")
    rows = messages[messages["task"] == "intent"]
    predicted = fitted["intent"].predict(rows["text"])
    report = classification_report(rows["label"], predicted, output_dict=True, zero_division=0)
    for _, row in classes[classes["task"] == "intent"].iterrows():
        expected = report[row["label"]]
        assert row["support"] == expected["support"]
        for metric, name in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert row[metric] == pytest.approx(expected[name])


def test_undefined_scores_of_classes():
    """The precision of a class that is never predicted is missing, and so on."""
    true, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 3])
    rows = ScoredRows(
        texts=np.array(list("abcde"), dtype=object),
        groups=np.arange(5),
        positions=np.arange(5),
        labels=true.astype(object),
        true=true,
        proba=np.eye(4)[predicted],
        classes=np.array(["both", "never predicted", "absent", "without rows"]),
        weights=np.ones(5, np.float32),
    )
    found = class_frame({"t": rows}).set_index("label")
    missing = found.isna()[["precision", "recall", "f1"]]
    assert missing.loc["both"].tolist() == [False, False, False]
    assert missing.loc["never predicted"].tolist() == [True, False, False]
    assert missing.loc["absent"].tolist() == [True, True, True]
    assert missing.loc["without rows"].tolist() == [False, True, False]
    assert found.loc["never predicted", ["recall", "f1"]].tolist() == [0, 0]


def test_text_classifier(make_config, messages):
    """A TextClassifier is evaluated on texts and labels, and labels keep their type."""
    rows = messages[messages["task"] == "intent"]
    numbers = rows["label"].factorize()[0]
    classifier = TextClassifier(make_config(), random_state=0).fit(rows["text"], numbers)
    scores = classifier.evaluate(rows["text"], numbers, n_resamples=10)
    accuracy = scores.loc[scores["metric"] == "accuracy", "value"].item()
    assert accuracy == pytest.approx(classifier.score(rows["text"], numbers))
    assert classifier.evaluate(rows["text"], numbers, level="class")["label"].tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    "invalid", [{"level": "row"}, {"n_resamples": 0}, {"random_state": None}], ids=str
)
def test_invalid_arguments(fitted, messages, invalid):
    """An invalid argument is an error that names it."""
    (name,) = invalid
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        fitted.evaluate(messages, **invalid)

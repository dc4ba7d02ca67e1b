"""`sharing_report`: training on all tasks together compared with each task alone."""

import re

import joblib
import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from rapidfit_sk import (
    EncoderConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk._evaluation import ScoredRows
from rapidfit_sk._out_of_fold import FoldData, read_table
from rapidfit_sk._sharing import _n_different, _scores, _verdict
from rapidfit_sk.inspection import SharingReport, sharing_report
from rapidfit_sk.testing import tiny_encoder


@pytest.fixture(scope="module")
def encoder():
    """Folder of a tiny BERT with one layer."""
    return tiny_encoder(n_layers=1)


def make(encoder, *, loss=None, epochs=1, learning_rate=1e-3, **options):
    """Return a classifier that trains all layers, without validation rows."""
    training = TrainingConfig(
        model_name=encoder,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=32,
        val_size=0,
        min_steps_per_epoch=1,
    )
    config = MultiheadConfig(
        training=training,
        encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=1),
        loss=loss or LossConfig(),
    )
    return MultiheadClassifier(config, random_state=0, label_texts=None, **options)


@pytest.fixture(scope="module")
def small():
    """A long frame with forty texts, each with a label of two tasks."""
    texts = [f"good word {i}" if i % 2 else f"bad thing {i}" for i in range(40)]
    tone = pd.DataFrame({"text": texts, "task": "tone", "label": ["bad", "good"] * 20})
    size = pd.DataFrame({"text": texts, "task": "size", "label": ["s", "s", "m", "m"] * 10})
    return pd.concat([tone, size], ignore_index=True)


@pytest.fixture(scope="module")
def report(encoder, small):
    """The report of small data."""
    return sharing_report(make(encoder), small, cv=2)


def rows_of(correct, groups=None):
    """Return rows of one task whose predictions are correct or not."""
    correct = np.asarray(correct)
    n, true = len(correct), np.arange(len(correct)) % 2
    predicted = np.where(correct, true, 1 - true)
    return ScoredRows(
        texts=np.array([f"text {i}" for i in range(n)], dtype=object),
        groups=np.arange(n) if groups is None else groups,
        positions=np.arange(n),
        labels=true.astype(object),
        true=true,
        proba=np.eye(2)[predicted],
        classes=np.array([0, 1]),
        weights=np.ones(n, np.float32),
    )


def accuracies(joint, alone, n_folds=5, groups=None):
    """Return the comparison of the accuracies of two ways as a dict."""
    rows = _scores("task", rows_of(joint, groups), rows_of(alone, groups), n_folds)
    names = ["task", "metric", "n", "joint", "alone", "difference", "low", "high"]
    return dict(zip(names, next(rows), strict=True))


# ----------------------------------------------------------------------------------------------
# Verdicts


def related_tasks(encoder):
    """Return rows of a large task, and of a small one whose labels follow from those of the large.

    The label of a text depends on one of forty words, and few rows of the small task have each.
    """
    rng = np.random.default_rng(0)
    known = AutoTokenizer.from_pretrained(encoder).get_vocab()
    words = sorted(word for word in known if re.fullmatch("[a-z]{5,9}", word))
    words = rng.permutation(words).tolist()
    keys, others = words[:40], words[40:100]
    topics = dict(zip(keys, rng.permutation(list("abcd" * 10)), strict=True))

    def rows(task, keys, label_of):
        for key in keys:
            text = " ".join([key, *rng.choice(others, 2)])
            yield text, task, label_of[topics[key]]

    large = rows("topic", keys * 9, {topic: topic for topic in "abcd"})
    urgent = {"a": "yes", "b": "yes", "c": "no", "d": "no"}
    small = rows("urgent", rng.choice(keys, 80), urgent)
    return pd.DataFrame([*large, *small], columns=["text", "task", "label"])


def test_sharing_helps_a_related_small_task(encoder):
    """A small task whose labels follow from those of a large task is better with it."""
    classifier = make(encoder, epochs=8, learning_rate=2e-2)
    classifier.set_params(config__pooling="mean")
    report = sharing_report(classifier, related_tasks(encoder), cv=3)
    assert report.verdicts["urgent"] == "helps"
    assert report.verdicts["topic"] != "hurts"
    assert re.search("'urgent': helps. Accuracy 0.* together, 0.* alone: \\+0", repr(report))


@pytest.mark.parametrize(
    ("interval", "n_different", "verdict"),
    [
        ((0.01, 0.2), 6, "helps"),
        ((-0.2, -0.01), 6, "hurts"),
        ((0.01, 0.2), 5, "no difference seen"),
        ((-0.2, -0.01), 5, "no difference seen"),
        ((-0.1, 0.3), 40, "no difference seen"),
        ((0.0, 0.0), 40, "no difference seen"),
    ],
)
def test_verdicts(interval, n_different, verdict):
    """A verdict other than "no difference seen" needs an interval without zero, and six texts."""
    assert _verdict(*interval, n_different) == verdict


def test_a_verdict_that_few_texts_decide_is_explained():
    """If the interval leaves out zero, but only few texts differ, the text of a report says so."""
    columns = ["task", "metric", "n", "joint", "alone", "difference", "low", "high"]
    scores = pd.DataFrame([("t", "accuracy", 9, 0.9, 0.8, 0.1, 0.02, 0.18)], columns=columns)
    frames = {"folds": pd.DataFrame({"fold": [0, 1]}), "costs": pd.DataFrame({"model": []})}
    few = SharingReport({"t": "no difference seen"}, scores, **frames)
    assert "'t': no difference seen (fewer than 6 texts differ). Accuracy 0.900" in repr(few)
    assert "no difference seen (fewer than 6 texts differ)" in few._repr_html_()
    usual = SharingReport({"t": "no difference seen"}, scores.assign(low=-0.1), **frames)
    assert "'t': no difference seen. Accuracy 0.900" in repr(usual)


def test_differences_are_counted_in_texts():
    """Rows of the same text are one difference, however many there are."""
    groups = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5])
    joint = rows_of([True] * 8 + [False], groups)
    alone = rows_of([False] * 6 + [True] * 3, groups)
    assert _n_different(joint, alone) == 4


def test_difference_and_its_interval():
    """The interval is that of paired rows, with the variance multiplied by 1 + k / (k - 1)."""
    rng = np.random.default_rng(0)
    joint, alone = rng.random(400) < 0.8, rng.random(400) < 0.7
    found = accuracies(joint, alone)
    difference = joint.astype(float) - alone
    assert found["difference"] == pytest.approx(difference.mean())
    error = difference.std() / np.sqrt(400)
    expected = 2 * 1.96 * error * np.sqrt(1 + 5 / 4)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.1)
    assert found["high"] + found["low"] == pytest.approx(2 * difference.mean())
    two_folds = accuracies(joint, alone, n_folds=2)
    ratio = (two_folds["high"] - two_folds["low"]) / (found["high"] - found["low"])
    assert ratio == pytest.approx(np.sqrt(3 / 2.25))


def test_interval_is_paired():
    """Rows on which both ways are wrong do not widen the interval."""
    both_wrong = np.arange(400) < 120
    joint, alone = ~both_wrong, ~both_wrong & (np.arange(400) % 50 > 0)
    found = accuracies(joint, alone)
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.7 * 0.3 / 400)
    assert found["high"] - found["low"] < unpaired / 3


def test_repeated_texts_are_drawn_together():
    """Ten rows of each text leave the interval about as wide as one row of each."""
    rng = np.random.default_rng(0)
    joint, alone = rng.random(60) < 0.8, rng.random(60) < 0.6
    once = accuracies(joint, alone)
    groups = np.tile(np.arange(60), 10)
    repeated = accuracies(np.tile(joint, 10), np.tile(alone, 10), groups=groups)
    assert repeated["n"] == 600
    width = repeated["high"] - repeated["low"]
    assert width == pytest.approx(once["high"] - once["low"], rel=0.1)


def test_equal_predictions_make_no_difference():
    """If both ways predict the same, the interval is zero and the verdict is not a difference."""
    found = accuracies([True, True, False, True], [True, True, False, True])
    assert (found["low"], found["difference"], found["high"]) == (0, 0, 0)


# ----------------------------------------------------------------------------------------------
# Folds


def test_frames(report):
    """The frames have the metrics of each task, the folds, and the costs of both ways."""
    assert report.scores[["task", "metric", "n"]].to_numpy().tolist() == [
        ["tone", "accuracy", 40],
        ["tone", "macro_f1", 40],
        ["size", "accuracy", 40],
        ["size", "macro_f1", 40],
    ]
    assert report.folds[["task", "fold", "n"]].to_numpy().tolist() == [
        ["tone", 0, 20],
        ["tone", 1, 20],
        ["size", 0, 20],
        ["size", 1, 20],
    ]
    means = report.folds.groupby("task")[["joint", "alone"]].mean()
    of_accuracy = report.scores[report.scores["metric"] == "accuracy"].set_index("task")
    pd.testing.assert_frame_equal(means, of_accuracy.loc[means.index, ["joint", "alone"]])


def test_size_of_the_models(encoder, report, small):
    """The joint model has one encoder, and the models of single tasks have one each."""
    fitted = make(encoder).fit(small)
    weights = list(fitted.net_.module_.parameters())
    of_encoder = sum(weight.numel() for weight in fitted.net_.module_.encoder.parameters())
    costs = report.costs.set_index("model")
    assert costs.loc["joint", "parameters"] == sum(weight.numel() for weight in weights)
    assert costs.loc["joint", "megabytes"] == pytest.approx(
        sum(weight.nbytes for weight in weights) / 1e6
    )
    difference = costs.loc["alone", "parameters"] - costs.loc["joint", "parameters"]
    assert difference == of_encoder
    assert (costs["seconds"] > 0).all()


def test_folds_share_no_text(encoder, small):
    """Training rows and held-out rows have no text in common, over all tasks."""
    classifier = make(encoder)
    data = FoldData.of(classifier, read_table(classifier, small, None), 4)
    assert len(data.folds) == 4
    for train, test in data.folds:
        texts = small["text"].iloc[train], small["text"].iloc[test]
        assert not set(texts[0]) & set(texts[1])
    assert sorted(np.concatenate([test for _, test in data.folds])) == list(range(80))


def test_alone_is_a_classifier_of_one_task(encoder, small, report):
    """A task alone has the predictions of a classifier that has never seen another task."""
    classifier = make(encoder)
    train, test = FoldData.of(classifier, read_table(classifier, small, None), 2).folds[0]
    for task in ("tone", "size"):
        own = small.iloc[train][small.iloc[train]["task"] == task]
        held_out = small.iloc[test][small.iloc[test]["task"] == task]
        alone = make(encoder).set_params(config__training__test_size=0).fit(own)
        found = report.folds.query("task == @task and fold == 0")["alone"].item()
        assert found == pytest.approx(alone.score(held_out))


def test_results_are_reproducible(encoder, small, report):
    """The same seed gives the same scores, also with several fits at the same time."""
    with joblib.parallel_config("threading"):
        other = sharing_report(make(encoder), small, cv=2, n_jobs=2)
    pd.testing.assert_frame_equal(other.scores, report.scores)


def test_forms_of_rows(encoder, small, report):
    """Wide labels and a configuration instead of a classifier are accepted."""
    wide = small.pivot(index="text", columns="task", values="label").loc[small["text"][:40]]
    wide = wide[["tone", "size"]]
    other = sharing_report(make(encoder), wide.index.tolist(), wide, cv=2)
    assert other.scores["n"].tolist() == report.scores["n"].tolist()
    given = {task: rows.to_dict("records") for task, rows in small.groupby("task")}
    config = make(encoder).config
    for each in (config, config.to_dict()):
        assert list(sharing_report(each, given, cv=2).verdicts) == ["size", "tone"]


def test_parameters_of_single_tasks(encoder, small):
    """Parameters that name tasks apply to the classifiers that have these tasks."""
    classifier = make(encoder, loss=LossConfig(task_weights={"tone": 2.0, "size": 0.5}))
    classifier.set_params(
        task_labels={"tone": ["good", "bad", "so-so"]},
        label_texts={"size": {"s": "small", "m": "medium"}},
    )
    report = sharing_report(classifier, small, cv=2)
    assert list(report.verdicts) == ["tone", "size"]


# ----------------------------------------------------------------------------------------------
# Representations and arguments


def test_hostile_names_are_escaped(encoder, small, tmp_path):
    """Names of tasks appear only escaped, in a notebook, in a page and in a terminal."""
    name = "<script>alert('x')</script></td>\u202e"
    report = sharing_report(make(encoder), small.replace({"task": {"tone": name}}), cv=2)
    report.to_html(tmp_path / "page.html")
    for html in (report._repr_html_(), (tmp_path / "page.html").read_text("utf-8")):
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html
        assert "no difference seen" in html
    assert "\u202e" not in repr(report)


def test_text_of_a_report(report):
    """The text has a line per task with its difference, and a line per way with its costs."""
    lines = repr(report).splitlines()
    assert lines[0] == "SharingReport of 2 tasks on 2 folds"
    assert [line.split(":")[0] for line in lines[1:]] == ["'tone'", "'size'", "joint", "alone"]


def test_a_single_task_is_an_error(encoder, small):
    """Rows of one task cannot be compared, and the message names the task."""
    with pytest.raises(ValueError, match="at least two tasks, got only 'tone'"):
        sharing_report(make(encoder), small[small["task"] == "tone"], cv=2)


@pytest.mark.parametrize("given", [{"cv": 1}, {"cv": None}])
def test_invalid_number_of_folds(encoder, small, given):
    """The number of folds must be an int of 2 or more."""
    with pytest.raises(ValueError, match="'cv' parameter must be an int in the range \\[2"):
        sharing_report(make(encoder), small, **given)


def test_classifier_of_one_task_is_an_error(small):
    """A classifier of one task has nothing to share."""
    with pytest.raises(TypeError, match="an instance of MultiheadClassifier or MultiheadConfig"):
        sharing_report(TextClassifier(), small)

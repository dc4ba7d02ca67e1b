"""The abstention benchmark: its data splits and the figures of a score."""

import numpy as np
import pandas as pd
import pytest

from benchmarks._abstention_data import OUT_OF_SCOPE, read_parts
from benchmarks._abstention_scores import (
    SCORES,
    Outputs,
    coverage_at,
    detection,
    outputs_of,
    risk_curve,
)


@pytest.fixture
def files(tmp_path):
    """A file with two tasks and an official split, and a file with texts out of scope."""
    splits = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    texts = [f"text {i}" for i in range(100)]
    rows = pd.DataFrame({"text": texts, "label": ["red", "blue"] * 50, "split": splits})
    tasks = [rows.assign(task=task) for task in ("color", "shade")]
    pd.concat(tasks).to_csv(tmp_path / "a.csv", index=False)
    others = pd.DataFrame({"text": [f"other {i}" for i in range(15)], "task": "color"})
    others = others.assign(label="none", split=["val"] * 5 + ["test"] * 10)
    others.to_csv(tmp_path / "others.csv", index=False)
    return tmp_path


def test_parts_share_no_text(files):
    """Parts have no text in common, and both unseen parts have the same share out of scope."""
    parts = read_parts(str(files / "a.csv"), str(files / "others.csv"), 10, 0)
    texts = [set(part["text"]) for part in (parts.train, parts.calibration, parts.test)]
    assert not texts[0] & texts[1]
    assert not texts[2] & (texts[0] | texts[1])
    assert (parts.train.groupby(["task", "label"]).size() == 10).all()
    for part in (parts.calibration, parts.test):
        for _, rows in part.groupby("task"):
            assert (rows["label"] == OUT_OF_SCOPE).mean() == pytest.approx(1 / 3)


def test_parts_without_official_splits():
    """Without official splits, calibration and test rows are drawn."""
    parts = read_parts("messages", None, None, 0)
    sizes = [part["text"].nunique() for part in (parts.train, parts.calibration, parts.test)]
    assert sizes == [147, 63, 90]


def test_outputs_are_those_of_the_classifier(fitted, messages):
    """Logits predict what the classifier predicts, and the heads map embeddings to them."""
    rows = messages.sample(80, random_state=0)
    for code, (task, found) in enumerate(outputs_of(fitted, rows).items()):
        own = rows[rows["task"] == task]
        expected = fitted.predict(own) == own["label"].to_numpy()
        assert (found.is_correct == expected).all()
        classes = fitted.classes_[task]
        assert (classes[found.codes] == found.labels).all()
        weights = fitted.net_.module_.heads[code][-1].weight.detach().numpy()
        assert found.embeddings.shape == (len(own), weights.shape[1])
        p = fitted.predict_proba(own).max(axis=1)
        assert SCORES["probability"](found, found) == pytest.approx(p)


def test_scores_are_higher_near_the_training_rows():
    """Each score is higher for rows like the training rows than for noise."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 8)) * 4
    codes = np.repeat([0, 1, 2], 40)

    def outputs(embeddings):
        logits = (embeddings @ means.T - (means**2).sum(axis=1) / 2).astype(np.float32)
        return Outputs(codes.astype(str), codes, logits, embeddings, 1.0)

    train = outputs(means[codes] + rng.normal(size=(120, 8)))
    near, far = (
        outputs(means[codes] + rng.normal(size=(120, 8))),
        outputs(rng.normal(size=(120, 8))),
    )
    for name, score in SCORES.items():
        assert np.median(score(near, train)) > np.median(score(far, train)), name


def test_figures_of_a_score():
    """Detection, curve and coverage agree with a case that can be counted by hand."""
    score = np.array([0.9, 0.8, 0.7, 0.6])
    is_correct = np.array([True, True, False, True])
    assert detection(score, is_correct) == (pytest.approx(2 / 3), 1.0)
    coverage, accuracy = risk_curve(score, is_correct)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert accuracy == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert coverage_at(coverage, accuracy, 0.75) == 1
    assert coverage_at(coverage, accuracy, 0.9) == 0.5
    assert coverage_at(coverage, np.zeros(4), 0.9) == 0

"""The quality benchmark: its data splits, its figures, and how it resumes from a file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks._quality_data import read_set, train_and_test
from benchmarks.quality import calibration_error, summary

ROOT = Path(__file__).parents[1]


@pytest.fixture
def long_csv(tmp_path):
    """Two files with an official split and a text on both of its sides, and one without a split."""
    a = pd.DataFrame(
        {
            "text": [f"text {i}" for i in range(40)] + ["text 0"],
            "task": "color",
            "label": ["red", "blue"] * 20 + ["blue"],
            "split": ["train"] * 30 + ["test"] * 11,
        }
    )
    a.to_csv(tmp_path / "a.csv", index=False)
    a.assign(text="b " + a["text"]).to_csv(tmp_path / "b.csv", index=False)
    a.drop(columns="split").to_csv(tmp_path / "whole.csv", index=False)
    return tmp_path


def test_official_rows_never_train(long_csv):
    """Official test rows never train, and a validation split does not contain them."""
    rows = read_set(str(long_csv / "a.csv"))
    train, test = train_and_test(rows, None, 0, "test")
    assert set(test["text"]) == {"text 0"} | {f"text {i}" for i in range(30, 40)}
    assert not set(train["text"]) & set(test["text"])
    # The official training rows have this text with another label.
    assert test.set_index("text").loc["text 0", "label"] == "blue"
    part, held_out = train_and_test(rows, None, 0, "validation")
    assert set(part["text"]) | set(held_out["text"]) == set(train["text"])
    assert not set(part["text"]) & set(held_out["text"])
    assert not part["text"].equals(train_and_test(rows, None, 1, "validation")[0]["text"])


def test_rows_per_class(long_csv):
    """Each class has the requested number of rows, and tasks of several files stay separate."""
    rows = read_set(f"{long_csv / 'a.csv'},{long_csv / 'b.csv'}")
    train, test = train_and_test(rows, 5, 0, "test")
    assert set(test["task"]) == {"a color", "b color"}
    counts = train.groupby(["task", "label"]).size()
    assert counts.to_dict() == {
        (task, label): 5 for task in ("a color", "b color") for label in ("red", "blue")
    }


def test_files_with_and_without_a_split(long_csv):
    """All files have an official split or none does; without one, some texts are held out."""
    with pytest.raises(ValueError, match="Only some of .* have a column 'split'"):
        read_set(f"{long_csv / 'a.csv'},{long_csv / 'whole.csv'}")
    train, test = train_and_test(read_set(str(long_csv / "whole.csv")), None, 0, "test")
    assert (len(train), len(test)) == (28, 12)


def test_calibration_error():
    """The error is the mean gap between confidence and accuracy."""
    right = np.array([True] * 3 + [False])
    assert calibration_error(np.full(4, 0.75), right) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.array([True, False] * 2)) == pytest.approx(0.5)


def test_summary_averages_over_tasks_then_seeds():
    """Scores are averaged over tasks for each seed, then over seeds; seconds add up over tasks."""
    table = pd.DataFrame(
        [
            {"data": "d", "rows": "8", "method": "m", "seed": seed, "task": task}
            | {"accuracy": f1, "f1": f1, "ece": 0.1, "seconds": 2.0}
            for seed, task, f1 in [(0, "a", 0.2), (0, "b", 0.4), (1, "a", 0.6), (1, "b", 0.8)]
        ]
    )
    mean = summary(table).loc[("d", "8", "m", "mean")]
    assert (mean["f1"], mean["seconds"], mean["seeds"]) == (pytest.approx(0.5), 4, 2)
    assert mean["f1 sd"] == pytest.approx(np.std([0.3, 0.7], ddof=1))


def test_second_run_resumes_from_the_file(long_csv):
    """A second run with the same file computes only missing results and keeps the first ones."""
    command = [sys.executable, "-m", "benchmarks", "quality", "--rows-per-class", "8"]
    command += ["--data", str(long_csv / "a.csv"), "--json", str(long_csv / "results.json")]

    def run(methods, seeds):
        more = ["--methods", methods, "--seeds", seeds]
        done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return done.stdout

    shown = run("tfidf", "1")
    assert "nan" not in shown
    first = json.loads((long_csv / "results.json").read_text())["results"]
    assert [(row["seed"], row["method"]) for row in first] == [(0, "tfidf")]
    run("tfidf", "2")
    both = json.loads((long_csv / "results.json").read_text())["results"]
    assert both[0] == first[0]
    assert [row["seed"] for row in both] == [0, 1]

"""The examples and the README run as documented, and the bundled encoder beats a bag of words."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from rapidfit_sk import EvalConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig

ROOT = Path(__file__).parent.parent


def run(*arguments, cwd):
    """Run Python and return what a terminal would show, with the output of `verbose`."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(("split", "suffix"), [(True, "csv"), (False, "csv.gz")])
def test_train_csv(tmp_path, messages, encoder_name, split, suffix):
    """The example trains on a long CSV, uses its split column if it has one, and writes nothing."""
    if split:
        parts = pd.Series({0: "train", 1: "train", 2: "val", 3: "test"})
        texts = messages["text"].factorize()[0]
        messages = messages.assign(split=parts[texts % 4].to_numpy())
    messages.to_csv(tmp_path / f"data.{suffix}", index=False)
    out = run(
        ROOT / "examples" / "train_csv.py", f"data.{suffix}", "--model", encoder_name,
        "--rows-per-label", 20, "--epochs", 1, cwd=tmp_path,
    )  # fmt: skip
    assert len(re.findall(r"^ *(sentiment|intent|emotion) .*0\.\d{3}", out, re.M)) == 3
    assert ("Test rows of the file (75 texts)" in out) == split
    assert [path.name for path in tmp_path.iterdir()] == [f"data.{suffix}"]


# Runs an example on the first rows of the messages and with fewer steps, to save time.
ON_LESS = """
import functools, runpy, sys
import rapidfit_sk
from rapidfit_sk import datasets

messages = datasets.load_support_messages()
datasets.load_support_messages = lambda: messages[: int(sys.argv[2])]
rapidfit_sk.TrainingConfig = functools.partial(rapidfit_sk.TrainingConfig, min_steps_per_epoch=1)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
def test_train_distributed(tmp_path, encoder_name):
    """The example runs in one process and in two, and only the first one prints and saves."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for n_processes, start in enumerate(([], torchrun), start=1):
        out = run(
            *start, ROOT / "examples" / "train_distributed.py", "--model", encoder_name,
            "--epochs", 1, "--save", f"model{n_processes}", cwd=tmp_path,
        )  # fmt: skip
        assert re.findall(r"^Processes: (\d)\.", out, re.M) == [str(n_processes)]
        assert len(re.findall(r"^epoch 1 of 2 ", out, re.M)) == 1
        MultiheadClassifier.load(tmp_path / f"model{n_processes}")


def test_grid_search(tmp_path):
    """The example prints its candidates, and a second process predicts with the best one."""
    out = run("-c", ON_LESS, ROOT / "examples" / "grid_search.py", 210, cwd=tmp_path)
    scores = re.findall(r"^\d +\S+ +(?:mean|max) +(\S+) +(\S+) +(\S+) +(\S+)$", out, re.M)
    assert len(scores) == 4
    means = [float(row[3]) for row in scores]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.55
    assert re.search(r"A second process loads it \(9\d MB\)", out)
    assert (
        len(re.findall(r"^ *(?:negative|neutral|positive) +(?:ask|buy|complain|sell) ", out, re.M))
        == 2
    )
    assert list(tmp_path.iterdir()) == []


def test_no_labels(tmp_path):
    """The example starts above chance without labels, and its last model is clearly better."""
    out = run("-c", ON_LESS, ROOT / "examples" / "no_labels.py", 815, cwd=tmp_path)
    found = re.findall(r"^ *(\d+) labeled texts: macro-F1 (0\.\d{3}) ", out, re.M)
    assert [int(n) for n, _ in found] == [0, 12, 24, 36, 48]
    scores = [float(score) for _, score in found]
    assert scores[0] > 0.4
    assert scores[-1] > scores[0] + 0.15
    assert "'no rows and 4 label texts'" in out
    assert list(tmp_path.iterdir()) == []


def test_one_task(tmp_path):
    """The example prints a report, scores with and without helpers, label errors and losses."""
    pytest.importorskip("cleanlab", reason="cleanlab is not installed")
    out = run("-c", ON_LESS, ROOT / "examples" / "one_task.py", 450, cwd=tmp_path)
    assert re.search(r"^ +accuracy +0\.\d{3} +\d+$", out, re.M)
    assert len(re.findall(r"^  (?:alone|with helpers) +0\.\d{3} \(folds: ", out, re.M)) == 2
    assert re.search(r"cleanlab reports \d+ labels; \d+ of the 10 changed ones\.", out)
    losses = re.findall(r"^  (?:as trained|calibrated)  (\d\.\d{3})$", out, re.M)
    assert len(losses) == 2
    assert list(tmp_path.iterdir()) == []


def test_bundled_encoder_beats_tfidf(messages):
    """With the bundled encoder and defaults, test accuracy is above TF-IDF + regression.

    Calibration is off, because it does not change labels.
    """
    training = TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", test_size=0.3)
    config = MultiheadConfig(training=training, eval=EvalConfig(calibrate=False))
    classifier = MultiheadClassifier(config, random_state=0).fit(messages)
    train = messages.iloc[[*classifier.train_indices_, *classifier.val_indices_]]
    test = messages.iloc[classifier.test_indices_]
    gains = []
    for task, scores in classifier.test_scores_.items():
        mine, theirs = train[train["task"] == task], test[test["task"] == task]
        words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
        words.fit(mine["text"], mine["label"])
        gains.append(scores["accuracy"] - words.score(theirs["text"], theirs["label"]))
    assert min(gains) > 0
    assert sum(gains) / 3 > 0.1


def test_ci_runs_the_commands_of_the_readme():
    """The CI script contains both installation commands of the README, character for character."""
    readme = (ROOT / "README.md").read_text()
    install = readme.split("## Install\n")[1].split("\n## ")[0]
    commands = re.findall(r"^python -m pip .* && python .*$", install, re.M)
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert all(command in script for command in commands)


def test_readme_code_runs(capsys, messages, monkeypatch):
    """The Python code of the README runs unchanged and prints nothing, here on fewer rows."""
    less = functools.partial(TrainingConfig, epochs=1, min_steps_per_epoch=1)
    monkeypatch.setattr("rapidfit_sk.TrainingConfig", less)
    monkeypatch.setattr("rapidfit_sk.datasets.load_support_messages", lambda: messages[:200])
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == ""

"""`error_report`: errors, confused labels, likely label errors and weak slices."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk._evaluation import ScoredRows
from rapidfit_sk._inspection import TextLength, compute_error_report
from rapidfit_sk.inspection import error_report
from rapidfit_sk.model_selection import TaskStratifiedKFold
from rapidfit_sk.testing import tiny_encoder

HOSTILE = "<script>alert('x')</script></td>[/INST]\x00\u202e"


@pytest.fixture(autouse=True)
def without_cleanlab(monkeypatch):
    """Label errors are found in the same way, whether cleanlab is installed or not."""
    monkeypatch.setitem(sys.modules, "cleanlab", None)


def rows_of(true, predicted, classes="abc", *, confidence=0.8, labels=None, texts=None):
    """Return rows of one task with given predictions, all with the same confidence."""
    classes = np.array(list(classes), dtype=object)
    proba = np.full((len(true), len(classes)), (1 - confidence) / (len(classes) - 1))
    proba[np.arange(len(true)), predicted] = confidence
    true = np.asarray(true)
    texts = [f"text {i}" for i in range(len(true))] if texts is None else texts
    return ScoredRows(
        texts=np.array(texts, dtype=object),
        groups=np.unique(texts, return_inverse=True)[1],
        positions=np.arange(len(true)),
        labels=classes[true] if labels is None else np.array(labels, dtype=object),
        true=true,
        proba=proba,
        classes=classes,
        weights=np.ones(len(true), np.float32),
    )


def report_of(rows, lengths=None, n_rows=10, task="topic"):
    """Return the report of the rows of one task; all texts have five tokens by default."""
    same = {text: TextLength(5, False) for text in rows.texts}
    return compute_error_report({task: rows}, {**same, **(lengths or {})}, ["A note."], n_rows)


# ----------------------------------------------------------------------------------------------
# Frames


def test_errors_are_sorted_by_confidence(fitted, messages):
    """The frame has the wrong rows of X, the most certain ones first, with their probabilities."""
    X = messages.sample(frac=1, random_state=0)
    report = error_report(fitted, X)
    errors = report.errors
    rows = X.iloc[errors["position"]]
    assert (
        rows[["text", "task", "label"]].to_numpy().tolist()
        == errors[["text", "task", "label"]].to_numpy().tolist()
    )
    assert errors["predicted"].tolist() == fitted.predict(rows).tolist()
    assert (errors["predicted"] != errors["label"]).all()
    assert len(errors) == (fitted.predict(X) != X["label"]).sum() == report.tasks["n_errors"].sum()
    assert errors["confidence"].is_monotonic_decreasing
    first = errors.iloc[0]
    (proba,) = fitted.predict_proba([first["text"]], task=first["task"])
    classes = fitted.classes_[first["task"]].tolist()
    assert first["confidence"] == pytest.approx(proba.max(), rel=1e-4)
    assert first["label_probability"] == pytest.approx(
        proba[classes.index(first["label"])], rel=1e-4
    )


def test_planted_confusion_is_first():
    """The most frequent pair of label and prediction comes first, with its share of the label."""
    true = [0] * 20 + [1] * 20 + [2] * 20
    predicted = [0] * 18 + [1] * 2 + [1] * 13 + [2] * 7 + [2] * 20
    confusions = report_of(rows_of(true, predicted)).confusions
    assert confusions.to_numpy().tolist() == [
        ["topic", "b", "c", 7, 7 / 20],
        ["topic", "a", "b", 2, 2 / 20],
    ]


def test_forms_of_rows(fitted, messages):
    """A long frame, a dict of tasks and wide labels give the same errors."""
    long = messages.head(60)
    wide = long.pivot(index="text", columns="task", values="label")
    by_task = {
        task: rows[["text", "label"]].to_dict("records") for task, rows in long.groupby("task")
    }
    found = [
        error_report(fitted, *given).errors.sort_values(["task", "text"])
        for given in ((long,), (by_task,), (wide.index.tolist(), wide))
    ]
    names = ["task", "text", "label", "predicted"]
    for other in found[1:]:
        assert other[names].to_numpy().tolist() == found[0][names].to_numpy().tolist()


def test_unknown_labels():
    """A label that is not a class is an error without a probability, and no label error."""
    rows = rows_of([0, 1, -1, -1], [0, 1, 2, 2], labels=["a", "b", "new", True])
    report = report_of(rows)
    assert report.errors["label"].tolist() == ["new", True]
    assert report.errors["label_probability"].isna().all()
    assert report.confusions["n"].tolist() == [1, 1]
    assert report.label_issues.empty
    unknown = report.slices.set_index("slice").loc["labels that are not classes"]
    assert (unknown["n"], unknown["accuracy"]) == (2, 0)


def test_labels_keep_their_types():
    """Ints of one task and bools of another are not mixed up."""
    ints = rows_of([0, 1], [1, 1], classes=[0, 1])
    bools = rows_of([0, 1], [1, 1], classes=[False, True])
    lengths = {text: TextLength(5, False) for text in ints.texts}
    report = compute_error_report({"ints": ints, "bools": bools}, lengths, [], 5)
    for frame in (report.errors, report.confusions):
        assert [type(label) for label in frame["label"]] == [int, bool]


def test_report_without_errors():
    """If all predictions are right, the frames are empty and the representations still work."""
    report = report_of(rows_of([0, 1, 2], [0, 1, 2]))
    assert report.errors.empty
    assert report.confusions.empty
    assert "0 of 3 rows are wrong (accuracy 1.00)" in repr(report)
    assert "Wrong predictions" in report._repr_html_()


# ----------------------------------------------------------------------------------------------
# Label errors


def test_planted_label_errors_are_found():
    """Wrong labels are found, the least likely first, and uncertain rows are not reported."""
    rng = np.random.default_rng(0)
    true = np.arange(200) % 2
    proba = np.where(np.eye(2)[true] > 0, 0.9, 0.1) + rng.uniform(-0.05, 0.05, (200, 1)) * [1, -1]
    planted, uncertain = [3, 50, 111], [20, 21]
    true[planted] = 1 - true[planted]
    proba[3] = proba[3].round()
    proba[uncertain] = np.where(np.eye(2)[true[uncertain]] > 0, 0.45, 0.55)
    rows = rows_of(true, [0] * 200, "ab")
    rows = ScoredRows(**{**vars(rows), "proba": proba})
    report = report_of(rows)
    assert sorted(report.label_issues["position"]) == planted
    assert report.label_issues["position"][0] == 3
    assert set(report.errors["position"]) == {*planted, *uncertain}
    assert "likely label errors: 3 rows" in repr(report)


@pytest.fixture(scope="module")
def texts_with_errors():
    """Texts of two classes, of which four have a wrong label, and a classifier for them."""
    texts = [f"good word {i}" if i % 2 else f"bad thing {i}" for i in range(48)]
    labels = np.array(["p" if i % 2 else "n" for i in range(48)], dtype=object)
    wrong = [3, 10, 21, 34]
    labels[wrong] = np.where(labels[wrong] == "p", "n", "p")
    training = TrainingConfig(
        model_name=tiny_encoder(n_layers=1), epochs=1, learning_rate=1e-3, batch_size=16
    )
    return texts, labels, wrong, TextClassifier(MultiheadConfig(training=training), random_state=0)


def test_label_errors_with_folds(texts_with_errors):
    """A classifier of one task that is not fitted finds planted label errors with folds."""
    texts, labels, wrong, classifier = texts_with_errors
    report = error_report(classifier, texts, labels, cv=4)
    assert report.tasks["task"].tolist() == ["label"]
    assert len(set(report.label_issues["position"]) & set(wrong)) >= 3
    assert len(report.label_issues) <= 8
    assert not classifier.__sklearn_is_fitted__()


# ----------------------------------------------------------------------------------------------
# Slices


def test_planted_slice():
    """Long texts that are predicted worse are the first weak slice, and the text names them."""
    wrong = np.arange(80) >= 60
    lengths = {f"text {i}": TextLength(10 + i, i >= 76) for i in range(80)}
    report = report_of(rows_of([0] * 80, np.where(wrong, 1, 0)), lengths)
    slices = report.slices.set_index("slice")
    assert slices.index.tolist() == [
        "10 to 29 tokens",
        "30 to 49 tokens",
        "50 to 69 tokens",
        "70 to 89 tokens",
        "cut texts",
    ]
    assert slices["n"].tolist() == [20, 20, 20, 20, 4]
    last = slices.loc["70 to 89 tokens"]
    assert (last["accuracy"], last["difference"]) == (0, -1)
    assert last["high"] < -0.7
    assert "weaker than the rest: 70 to 89 tokens (20 rows, accuracy 0.00, 1.00 lower)" in repr(
        report
    )


def test_order_of_weak_slices():
    """First comes the slice with the most errors above the rest, and slices of few rows are out."""
    codes = np.repeat([0, 1, 2, 3], [100, 36, 6, 4])
    wrong = np.concatenate([np.zeros(100, bool), np.arange(36) % 3 > 0, np.ones(10, bool)])
    lengths = {f"text {i}": TextLength(10, is_cut=False) for i in range(len(codes))}
    rows = rows_of(codes, np.where(wrong, (codes + 1) % 4, codes), "abcd")
    report = report_of(rows, lengths)
    slices = report.slices.set_index("slice")
    assert (slices.loc[["label 'b'", "label 'c'", "label 'd'"], "high"] < 0).all()
    assert slices.loc["label 'c'", "difference"] < slices.loc["label 'b'", "difference"]
    found = re.findall("weaker than the rest: label '(.)'", repr(report))
    assert found == ["b", "c"]


def test_slice_of_repeated_texts():
    """Rows of texts that occur several times are a slice; its interval counts each text once."""
    texts = ["same"] * 30 + [f"text {i}" for i in range(30)]
    report = report_of(rows_of([0] * 60, [1] * 30 + [0] * 30, texts=texts))
    repeated = report.slices.set_index("slice").loc["repeated texts"]
    assert (repeated["n"], repeated["accuracy"], repeated["difference"]) == (30, 0, -1)
    # A single wrong text says little about other texts.
    assert repeated["high"] > -0.3


def test_interval_of_a_difference():
    """The interval is that of an example in Newcombe's paper: 56 of 70 and 48 of 80."""
    predicted = [0] * 56 + [1] * 14 + [1] * 48 + [0] * 32
    report = report_of(rows_of([0] * 70 + [1] * 80, predicted, "ab"))
    row = report.slices.set_index("slice").loc["label 'a'"]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx(
        [0.2, 0.0524, 0.3339], abs=1e-4
    )


def test_lengths_come_from_the_tokenizer(make_classifier):
    """Texts longer than `max_length` are the slice of cut texts."""
    texts = ["I want to buy it"] * 4 + ["why " * 30] * 4 + ["sell it"] * 4 + ["so " * 40] * 4
    labels = ["buy", "ask"] * 8
    classifier = make_classifier(max_length=16, val_size=0, test_size=0, label_texts=None)
    with pytest.warns(UserWarning, match="cut after 16 tokens"):
        classifier.fit([f"{text}{i}" for i, text in enumerate(texts)], labels)
    report = error_report(classifier, [f"{text}{i}" for i, text in enumerate(texts)], labels)
    slices = report.slices.set_index("slice")
    assert slices.loc["cut texts", "n"] == 8
    assert "14 tokens" in slices.index


# ----------------------------------------------------------------------------------------------
# Out-of-fold predictions


def test_folds_predict_rows_that_have_not_trained(messages, make_classifier):
    """With `cv`, each row is predicted by a clone that has trained on the other folds only."""
    X = messages.head(120)
    classifier = make_classifier(val_size=0)
    report = error_report(classifier, X, cv=2)
    assert report.tasks["n"].sum() == len(X)
    train, test = next(TaskStratifiedKFold(2, shuffle=True, random_state=0).split(X))
    own = clone(classifier).set_params(config__training__test_size=0).fit(X.iloc[train])
    rows = X.iloc[test]
    wrong = test[own.predict(rows) != rows["label"]]
    found = report.errors["position"]
    assert sorted(found[found.isin(test)]) == wrong.tolist()
    assert "each of the 2 folds" in report.notes[0]


def test_parameters_of_a_fit_are_ignored_in_folds(messages, make_classifier, tmp_path):
    """The split column, checkpoints and a warm start do not change the folds."""
    X = messages.head(90)
    plain = error_report(make_classifier(val_size=0), X, cv=2)
    marked = X.assign(part="test")
    marked.loc[:30, "part"] = "train"
    options = {"split_column": "part", "warm_start": True, "checkpoint_dir": str(tmp_path / "c")}
    other = error_report(make_classifier(val_size=0, **options), marked, cv=2)
    pd.testing.assert_frame_equal(other.errors, plain.errors)
    assert list(tmp_path.iterdir()) == []


def test_class_that_is_missing_from_a_fold(make_classifier, messages):
    """A class with one text has a column in all folds, and its row is an error."""
    X = messages[messages["task"] == "intent"].head(40)
    X = pd.concat([X, pd.DataFrame({"text": ["Hello!"], "task": "intent", "label": "greet"})])
    with pytest.warns(UserWarning, match="fewer than the 2 folds"):
        report = error_report(make_classifier(val_size=0), X, cv=2)
    row = report.errors.set_index("label").loc["greet"]
    assert row["position"] == 40
    assert row["label_probability"] >= 0


def test_notes_about_training_rows(fitted, messages):
    """A note names the rows that have trained if X may be the data of the fit."""
    n_trained = len(fitted.train_indices_)
    (note, _) = error_report(fitted, messages).notes
    assert f"{n_trained} of its 815 rows have trained" in note
    (note, _) = error_report(fitted, messages.iloc[fitted.test_indices_]).notes
    assert "cannot check" in note


# ----------------------------------------------------------------------------------------------
# Representations and arguments


def test_hostile_names_are_escaped(tmp_path):
    """Tasks, labels and texts appear only escaped, in a notebook, in a page and in a terminal."""
    rows = rows_of([0, 1, -1], [1, 1, 0], [HOSTILE, "b" * 5000], labels=[HOSTILE, "b", HOSTILE])
    rows.texts[0] = HOSTILE
    report = report_of(rows, {HOSTILE: TextLength(3, False)}, task=HOSTILE)
    report.to_html(tmp_path / "page.html")
    written = (tmp_path / "page.html").read_text("utf-8")
    for html in (report._repr_html_(), written):
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html
        assert html.count("<td") == html.count("</td>")
    assert "\x00" not in repr(report)
    assert "\u202e" not in repr(report)
    assert len(repr(report)) < 1000


def test_number_of_rows_in_a_page():
    """`n_rows` limits the rows of each table of the page, but not of the frames."""
    report = report_of(rows_of([0] * 30, [1] * 30), n_rows=4)
    assert len(report.errors) == 30
    texts = set(re.findall(r"text \d+", report._repr_html_()))
    assert texts == {f"text {i}" for i in range(4)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cv": 1}, "'cv' parameter must be an int in the range \\[2, inf\\) or None. Got 1"),
        ({"cv": "5"}, "'cv' parameter must be"),
        ({"n_rows": 0}, "'n_rows' parameter must be"),
    ],
)
def test_invalid_arguments(fitted, messages, given, message):
    """The error names the parameter, the value and the allowed values."""
    with pytest.raises(ValueError, match=message):
        error_report(fitted, messages.head(9), **given)


def test_invalid_classifiers(fitted, messages):
    """Views and classifiers that are not fitted raise errors that say what to pass."""
    with pytest.raises(TypeError, match="an instance of MultiheadClassifier or TextClassifier"):
        error_report(fitted["intent"], messages)
    with pytest.raises(NotFittedError):
        error_report(MultiheadClassifier(), messages)

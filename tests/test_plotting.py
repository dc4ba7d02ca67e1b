"""Displays: what they draw, for both classifiers, and for names that are hard to draw."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy.stats import binomtest
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix

from rapidfit_sk import MultiheadClassifier, TextClassifier, plotting
from rapidfit_sk._evaluation import N_BINS, ScoredRows, scored_rows
from rapidfit_sk.plotting import (
    CalibrationGridDisplay,
    ConfusionGridDisplay,
    CoverageDisplay,
    EmbeddingDisplay,
    TaskComparisonDisplay,
    TrainingHistoryDisplay,
)
from rapidfit_sk.plotting.coverage import coverage_curve

HISTORY = ["training", "phase", "epoch", "task", "metric", "value"]
SCORES = ["task", "metric", "value", "n", "low", "high"]
HOSTILE = ["$x$ and $y$", "_hidden", "<script>", "two\nlines", "\x1b[31m", "long " * 50, " ", "\\$"]


@pytest.fixture(autouse=True)
def closed_figures():
    """Close all figures after a test."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def one_task(messages, encoder_name):
    """A classifier of one task, and its rows."""
    rows = messages[messages["task"] == "intent"]
    training = {"model_name": encoder_name, "epochs": 1, "learning_rate": 1e-3}
    classifier = TextClassifier({"training": training}, random_state=0)
    return classifier.fit(rows["text"], rows["label"]), rows


@pytest.fixture(scope="module")
def rows(fitted, messages):
    """The test rows of the fitted classifier."""
    return messages.iloc[fitted.test_indices_]


def visible(figure):
    """Draw a figure, and return the strings in it as matplotlib draws them, without formulas."""
    figure.draw_without_rendering()
    found = []
    for text in figure.findobj(plt.Text):
        string, is_formula = text._preprocess_math(text.get_text())
        assert not is_formula, string
        found.append(string)
    return found


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def texts_overlap(texts):
    """Return whether the boxes of some upright texts overlap."""
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# --------------------------------------------------------------------------------------------
# Conventions


def from_estimator(display, classifier, X, y=None, **options):
    if display is TrainingHistoryDisplay:
        return display.from_estimator(classifier, **options)
    return display.from_estimator(classifier, X, y, **options)


DISPLAYS = [getattr(plotting, name) for name in plotting.__all__]


@pytest.mark.parametrize("display", DISPLAYS)
def test_conventions(display, fitted, rows):
    """`plot` returns the display and draws again, into axes that are given, and the figure fits."""
    shown = from_estimator(display, fitted, rows)
    axes = getattr(shown, "axes_", None)
    axes = np.array([shown.ax_]) if axes is None else axes
    assert all(ax.figure is shown.figure_ for ax in axes)
    figure, given = plt.subplots(1, len(axes), squeeze=False)
    assert shown.plot(ax=given if len(axes) > 1 else given[0, 0]) is shown
    assert shown.figure_ is figure
    assert all(ax.has_data() for ax in given.ravel())
    assert len(plt.get_fignums()) == 2


@pytest.mark.parametrize("display", DISPLAYS)
def test_nothing_is_outside_the_figure(display, fitted, rows):
    """No name or legend of a new figure is cut at its edge."""
    figure = from_estimator(display, fitted, rows).figure_
    figure.draw_without_rendering()
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert box.x0 > -1
    assert box.y0 > -1
    assert box.x1 < figure.bbox.width + 1
    assert box.y1 < figure.bbox.height + 1


@pytest.mark.parametrize("display", DISPLAYS)
def test_one_task(display, one_task):
    """Each display takes a TextClassifier, with labels beside the texts."""
    classifier, labeled = one_task
    shown = from_estimator(display, classifier, labeled["text"], labeled["label"])
    assert len(getattr(shown, "images_", [1])) == 1
    assert visible(shown.figure_)


@pytest.mark.parametrize("display", DISPLAYS)
def test_constructor_draws_nothing(display):
    """A display only stores its arguments, as estimators do."""
    data = object()
    arguments = [data, data] if display is EmbeddingDisplay else [data]
    shown = display(*arguments)
    assert data in vars(shown).values()
    assert not [name for name in vars(shown) if name.endswith("_")]
    assert not plt.get_fignums()


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_matplotlib(display, fitted, rows, monkeypatch):
    """Without matplotlib, the error names the extra, before anything is predicted."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(MultiheadClassifier, "_snapshot", None)
    with pytest.raises(ImportError, match=r"from_estimator needs matplotlib.*\[plot\]"):
        from_estimator(display, fitted, rows)


def test_number_of_axes(fitted, rows):
    """An array with too few axes is an error that states the number."""
    with pytest.raises(ValueError, match=r"must contain 3 Axes .*, got 1\. .*subplots\(1, 3\)"):
        CalibrationGridDisplay.from_estimator(fitted, rows, ax=plt.subplots()[1])


@pytest.mark.parametrize("display", DISPLAYS)
def test_views_are_refused(display, fitted, rows):
    """A view of one task is an error that states what to pass instead."""
    with pytest.raises(TypeError, match="takes a MultiheadClassifier or a TextClassifier, got"):
        from_estimator(display, fitted["intent"], rows)


@pytest.mark.parametrize("display", DISPLAYS)
def test_before_fit(display, rows):
    """Before fit, all displays raise the error of scikit-learn."""
    with pytest.raises(NotFittedError):
        from_estimator(display, MultiheadClassifier(), rows)


# --------------------------------------------------------------------------------------------
# History


def history_of(trainings):
    """Return the history of trainings with (name, epochs, first epoch of fine-tuning, kept)."""
    rows = []
    for name, n, unfrozen, kept in trainings:
        for epoch in range(1, n + 1):
            place = name, "fine-tuning" if epoch >= unfrozen else "heads only", epoch
            rows.append((*place, None, "train_loss", 1 / epoch))
            rows.append((*place, None, "kept", float(epoch == kept)))
            if name.startswith("fit"):
                for task, value in (("a", 0.5), ("b", 0.7), (None, 0.6)):
                    rows.append((*place, task, "accuracy", value + epoch / 100))
    return pd.DataFrame(rows, columns=HISTORY)


def test_marks_of_the_history():
    """The kept epoch and the first epoch of fine-tuning are marked in each training."""
    history = history_of([("calibration 1", 3, 2, 3), ("fit 1", 4, 3, 2)])
    shown = TrainingHistoryDisplay(history).plot()
    assert [line.get_xdata()[0] for line in shown.kept_lines_] == [3, 5, 3, 5]
    starts = [span.get_x() for span in shown.fine_tuning_spans_]
    assert starts == [1.5, 5.5, 1.5, 5.5]
    assert legend_of(shown.axes_[0])[-2:] == ["encoder layers train", "kept epoch"]
    assert {"calibration 1", "fit 1"} <= set(visible(shown.figure_))


def test_lines_of_the_history():
    """Lines have the recorded values, and are interrupted between trainings."""
    history = history_of([("calibration 1", 2, 2, 2), ("fit 1", 3, 3, 3)])
    shown = TrainingHistoryDisplay(history).plot()
    x, y = shown.loss_lines_["train_loss"].get_data()
    np.testing.assert_allclose(y, [1, 1 / 2, np.nan, 1, 1 / 2, 1 / 3, np.nan])
    assert x[~np.isnan(y)].tolist() == [1, 2, 3, 4, 5]
    y = shown.score_lines_["b"].get_ydata()
    np.testing.assert_allclose(y, [np.nan] * 3 + [0.71, 0.72, 0.73, np.nan])
    assert list(shown.score_lines_) == ["a", "b", None]
    labels = [label.get_text() for label in shown.axes_[-1].get_xticklabels()]
    assert labels == ["1", "2", "1", "2", "3"]


def test_history_of_an_estimator(fitted):
    """The scores of a classifier are those of its history, with its mean and its kept epoch."""
    shown = TrainingHistoryDisplay.from_estimator(fitted, "fit 1", metric="f1")
    history = fitted.history_
    for task in fitted.tasks_:
        is_score = (history["metric"] == "f1") & (history["task"] == task)
        y = shown.score_lines_[task].get_ydata()
        assert y[~np.isnan(y)].tolist() == history.loc[is_score, "value"].tolist()
    kept = history.loc[(history["metric"] == "kept") & (history["value"] == 1), "epoch"]
    assert shown.kept_lines_[0].get_xdata()[0] == kept.item()
    assert set(shown.loss_lines_) == {"train_loss", "valid_loss"}
    assert len(shown.axes_) == 2


def test_history_without_validation_rows(one_task):
    """Without validation rows, there are only the losses, of the calibration fit too."""
    shown = TrainingHistoryDisplay.from_estimator(one_task[0])
    assert len(shown.axes_) == 1
    assert shown.score_lines_ == {}
    assert {"calibration 1", "fit 1"} <= set(visible(shown.figure_))


def test_history_of_many_trainings():
    """Names of twenty trainings of one epoch do not overlap."""
    shown = TrainingHistoryDisplay(history_of([(f"fit {i}", 1, 1, 1) for i in range(20)])).plot()
    visible(shown.figure_)
    assert len(shown.axes_[0].texts) == 20
    assert not texts_overlap(shown.axes_[0].texts)
    assert not texts_overlap(shown.axes_[-1].get_xticklabels())


def test_errors_of_the_history(fitted):
    """Another training or metric is an error that lists the known ones."""
    with pytest.raises(ValueError, match="no training 'fit 2'. Did you mean 'fit 1'.*: 'fit 1'"):
        TrainingHistoryDisplay.from_estimator(fitted, "fit 2")
    with pytest.raises(ValueError, match="'metric' parameter must be a str among"):
        TrainingHistoryDisplay.from_estimator(fitted, metric="loss")


# --------------------------------------------------------------------------------------------
# Confusion


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_values_of_the_confusion(fitted, rows, normalize):
    """The cells are those of scikit-learn, with each way to normalize them."""
    shown = ConfusionGridDisplay.from_estimator(fitted, rows, normalize=normalize)
    for task, part in rows.groupby("task"):
        predicted = fitted.predict(part["text"], task=task)
        labels = list(shown.display_labels[task])
        expected = confusion_matrix(part["label"], predicted, labels=labels, normalize=normalize)
        np.testing.assert_allclose(shown.confusion_matrices[task], expected)
        np.testing.assert_allclose(shown.images_[task].get_array(), expected)
        texts = shown.texts_[task]
        written = [float(text.get_text()) for text in texts[expected > 0]]
        assert written == [round(value, 2) for value in expected[expected > 0]]
        assert not any(texts[expected == 0])


def many_classes(n=64, n_rows=2000):
    """Return labels and predictions of many classes, with most errors between three of them."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, n, n_rows)
    predicted = np.where(rng.random(n_rows) < 0.05, rng.integers(0, n, n_rows), true)
    predicted[true == 7] = 40
    predicted[(true == 40) & (rng.random(n_rows) < 0.7)] = 50
    return true, predicted


def test_most_confused_classes():
    """Of many classes, those with the most errors are drawn, and the title says what is left."""
    true, predicted = many_classes()
    shown = ConfusionGridDisplay.from_predictions({"t": true}, {"t": predicted}, max_classes=3)
    assert shown.shown_["t"].tolist() == [7, 40, 50]
    whole = confusion_matrix(true, predicted)
    np.testing.assert_array_equal(
        shown.images_["t"].get_array(), whole[np.ix_([7, 40, 50], [7, 40, 50])]
    )
    is_drawn = np.isin(true, [7, 40, 50]) & np.isin(predicted, [7, 40, 50])
    share = (is_drawn & (true != predicted)).sum() / (true != predicted).sum()
    assert shown.axes_[0].get_title() == f"t\n3 of 64 classes, {100 * share:.0f} % of the errors"
    ticks = [label.get_text() for label in shown.axes_[0].get_yticklabels()]
    assert ticks == ["7", "40", "50"]


def test_all_of_many_classes():
    """All of 150 classes can be drawn, with a color bar instead of numbers and names apart."""
    true, predicted = many_classes(150)
    shown = ConfusionGridDisplay.from_predictions({"t": true}, {"t": predicted}, max_classes=150)
    assert shown.images_["t"].get_array().shape == (150, 150)
    assert not any(shown.texts_["t"].flat)
    assert len(shown.figure_.axes) == 2
    visible(shown.figure_)
    assert not texts_overlap(shown.axes_[0].get_yticklabels())
    assert not texts_overlap(shown.axes_[0].get_xticklabels())
    assert max(shown.figure_.get_size_inches()) < 20


def test_number_of_classes_that_are_drawn():
    """Twelve classes are drawn by default, also without any error."""
    true = np.repeat(np.arange(20), 2)
    shown = ConfusionGridDisplay.from_predictions({"t": true}, {"t": true})
    assert shown.images_["t"].get_array().tolist() == (2 * np.eye(12)).tolist()
    assert shown.axes_[0].get_title().startswith("t\n12 of 20 classes")


def test_text_has_contrast():
    """Numbers are dark on light cells and light on dark ones."""
    shown = ConfusionGridDisplay.from_predictions({"t": [0] * 99 + [0]}, {"t": [0] * 99 + [1]})
    dark, light = shown.texts_["t"][0]
    assert (dark.get_text(), light.get_text()) == ("99", "1")
    assert to_rgb(dark.get_color()) == (1, 1, 1)
    assert to_rgb(light.get_color()) == (0, 0, 0)


def test_kinds_of_labels():
    """Labels of any type are sorted and drawn, and missing predictions have a column."""
    true = {"b": [True, False], "i": [10, 9], "m": [1, "x"], "n": np.array(["a", "b"])}
    predicted = {"b": [True, True], "i": [9, 9], "m": ["x", None], "n": np.array(["b", "b"])}
    shown = ConfusionGridDisplay.from_predictions(true, predicted)
    names = {task: list(labels) for task, labels in shown.display_labels.items()}
    assert names == {"b": [False, True], "i": [9, 10], "m": [1, "x", None], "n": ["a", "b"]}
    assert shown.confusion_matrices["m"].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    ticks = [label.get_text() for label in shown.axes_[0].get_xticklabels()]
    assert ticks == ["False", "True"]


def test_labels_that_are_not_classes(fitted, rows):
    """A label that is not a class has a row, and no column with rows."""
    others = rows.assign(label=rows["label"].where(rows["task"] != "intent", "out of scope"))
    shown = ConfusionGridDisplay.from_estimator(fitted, others)
    at = list(shown.display_labels["intent"]).index("out of scope")
    matrix = shown.confusion_matrices["intent"]
    assert matrix[at].sum() == matrix.sum() == (rows["task"] == "intent").sum()
    assert matrix[:, at].sum() == 0


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ({"a": [1]}, {"b": [1]}, "same tasks, and at least one. Got 'a' and 'b'"),
        ({}, {}, "Got none and none"),
        ({"a": [1]}, {"a": [1, 2]}, "Task 'a' must have the same number .* Got 1 and 2"),
        ({"a": []}, {"a": []}, "at least one. Got 0 and 0"),
        ([1], [1], "'y_true' parameter must be a dict"),
    ],
)
def test_errors_of_predictions(true, predicted, message):
    """Predictions that do not match the labels are an error that states the difference."""
    with pytest.raises(ValueError, match=message):
        ConfusionGridDisplay.from_predictions(true, predicted)


# --------------------------------------------------------------------------------------------
# Calibration and coverage


def test_calibration(fitted, rows):
    """Bins have the mean confidence and accuracy of their rows, and the title has the error."""
    shown = CalibrationGridDisplay.from_estimator(fitted, rows)
    scores = fitted.evaluate(rows, n_resamples=1).set_index(["task", "metric"])["value"]
    for ax, (task, of_task) in zip(shown.axes_, scored_rows(fitted, rows).items(), strict=True):
        edges = np.linspace(0, 1, N_BINS + 1)
        number = np.digitize(of_task.confidence, edges[1:-1])
        x, y = shown.lines_[task].get_data()
        used = np.unique(number)
        np.testing.assert_allclose(x, [of_task.confidence[number == i].mean() for i in used])
        np.testing.assert_allclose(y, [of_task.is_correct[number == i].mean() for i in used])
        heights = [bar.get_height() for bar in shown.bars_[task]]
        assert heights == np.bincount(number)[used].tolist()
        error = scores[task, "calibration_error"]
        assert ax.get_title() == f"{task}\ncalibration error {error:.3f}"


def test_intervals_of_bins(fitted, rows):
    """The interval of a bin contains its accuracy, and is that of Clopper and Pearson."""
    bins = CalibrationGridDisplay.from_estimator(fitted, rows).bins
    for row in bins.itertuples():
        expected = binomtest(round(row.n * row.accuracy), row.n).proportion_ci(0.95, "exact")
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    shown = CalibrationGridDisplay(bins).plot()
    drawn = np.concatenate(shown.intervals_["intent"].get_segments())[:, 1]
    ends = bins.loc[bins["task"] == "intent", ["low", "high"]].to_numpy().ravel()
    np.testing.assert_allclose(drawn, ends)


def test_coverage(fitted, rows):
    """At each coverage, the line has the accuracy of the most confident rows."""
    shown = CoverageDisplay.from_estimator(fitted, rows)
    for task, of_task in scored_rows(fitted, rows).items():
        x, y = shown.lines_[task].get_data()
        assert x[-1] == 1
        assert y[-1] == of_task.is_correct.mean()
        for coverage, accuracy in zip(x[::5], y[::5], strict=True):
            n = round(coverage * len(of_task))
            chosen = np.argsort(-of_task.confidence, kind="stable")[:n]
            assert accuracy == pytest.approx(of_task.is_correct[chosen].mean())
    assert shown.threshold_points_ == {}
    assert legend_of(shown.ax_) == fitted.tasks_


def test_thresholds(fitted, rows):
    """A point marks coverage and accuracy with the tuned threshold of a task."""
    of_task = scored_rows(fitted, rows)["intent"]
    threshold = float(np.median(of_task.confidence))
    curves = CoverageDisplay.from_estimator(fitted, rows).curves
    thresholds = {"intent": threshold, "emotion": 1.1, "unknown": 0.5}
    shown = CoverageDisplay(curves, thresholds=thresholds).plot()
    assert list(shown.threshold_points_) == ["intent"]
    (x,), (y,) = shown.threshold_points_["intent"].get_data()
    chosen = of_task.confidence >= threshold
    assert (x, y) == pytest.approx((chosen.mean(), of_task.is_correct[chosen].mean()))
    assert legend_of(shown.ax_)[-1] == "tuned threshold"


def test_tuned_thresholds_of_an_estimator(one_task):
    """The threshold that a classifier tuned is marked at the coverage that it reaches."""
    classifier, labeled = one_task
    texts, labels = labeled["text"], labeled["label"]
    model = classifier.model_
    try:
        classifier.tune_threshold(texts, labels, coverage=0.6)
        shown = CoverageDisplay.from_estimator(classifier, texts, labels)
        (x,), _ = shown.threshold_points_[classifier.task].get_data()
        predicted = classifier.predict(texts, min_confidence="tuned")
        assert x == pytest.approx(pd.notna(predicted).mean())
    finally:
        classifier.model_ = model


def test_equal_confidences():
    """Rows of equal confidence get a label together."""
    proba = np.array([[0.6, 0.4], [0.1, 0.9], [0.4, 0.6], [0.9, 0.1]])
    true = np.array([1, 1, 1, 0])
    columns = (np.array(list("abcd")), np.arange(4), np.arange(4), true, true, proba)
    curve = coverage_curve("t", ScoredRows(*columns, np.arange(2), np.ones(4)))
    assert curve["coverage"].tolist() == [0.5, 1]
    assert curve["accuracy"].tolist() == [1, 0.75]


# --------------------------------------------------------------------------------------------
# Scores and embeddings


def scores_of(*rows):
    return pd.DataFrame(rows, columns=SCORES)


def test_intervals_of_scores():
    """Points and ends of intervals are those of the frames, beside each other for each task."""
    joint = scores_of(("a", "accuracy", 0.9, 9, 0.8, 1.0), ("b", "accuracy", 0.7, 9, 0.6, 0.8))
    # An interval that does not contain its value, as that of a calibration error can be.
    alone = scores_of(("b", "accuracy", 0.5, 9, 0.55, 0.6))
    shown = TaskComparisonDisplay.from_scores({"joint": joint, "_$y$": alone}, metrics=["accuracy"])
    points = shown.points_["accuracy"]
    assert points["joint"].get_xdata().tolist() == [0.9, 0.7]
    assert points["_$y$"].get_xdata().tolist() == [0.5]
    segments = shown.intervals_["accuracy"]["joint"].get_segments()
    assert [segment[:, 0].tolist() for segment in segments] == [[0.8, 1.0], [0.6, 0.8]]
    assert [round(y) for y in points["joint"].get_ydata()] == [0, 1]
    assert points["_$y$"].get_ydata()[0] > points["joint"].get_ydata()[1]
    assert [label.get_text() for label in shown.axes_[0].get_yticklabels()] == ["a", "b"]
    assert " _$y$" in visible(shown.figure_)


def test_scores_of_an_estimator(fitted, rows):
    """The scores of a classifier are those of `evaluate`."""
    shown = TaskComparisonDisplay.from_estimator(fitted, rows, metrics=["log_loss"])
    scores = fitted.evaluate(rows)
    expected = scores[scores["metric"] == "log_loss"]
    drawn = shown.points_["log_loss"]["MultiheadClassifier"].get_xdata()
    assert drawn.tolist() == expected["value"].tolist()
    ends = [s[:, 0] for s in shown.intervals_["log_loss"]["MultiheadClassifier"].get_segments()]
    np.testing.assert_array_equal(ends, expected[["low", "high"]])
    assert shown.axes_[0].get_legend() is None


@pytest.mark.parametrize(
    ("scores", "metrics", "message"),
    [
        ({}, ["accuracy"], "must be a dict with a frame"),
        (pd.DataFrame(), ["accuracy"], "must be a dict with a frame"),
        ({"x": pd.DataFrame(columns=SCORES[:4])}, ["accuracy"], "no column 'low', 'high'"),
        ({"x": pd.DataFrame(columns=SCORES)}, ["accuracy"], "scores of 'x' have no rows"),
        (
            {"x": scores_of(("a", "accuracy", 0.5, 9, 0.4, 0.6))},
            ["acc"],
            "'metrics' parameter must be a list",
        ),
        (
            {"x": scores_of(("a", "accuracy", 0.5, 9, 0.4, 0.6))},
            "accuracy",
            "'metrics' parameter must be a list",
        ),
    ],
)
def test_errors_of_scores(scores, metrics, message):
    """Other frames and metrics are errors that state what to pass."""
    with pytest.raises((ValueError, TypeError), match=message):
        TaskComparisonDisplay.from_scores(scores, metrics=metrics)


def test_embedding(fitted, rows):
    """Each label has the points of its texts, on the components of a PCA of the embeddings."""
    shown = EmbeddingDisplay.from_estimator(fitted, rows, task="emotion")
    of_task = rows[rows["task"] == "emotion"]
    embedding = fitted.embed(of_task["text"])
    centered = embedding - embedding.mean(axis=0)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2
    np.testing.assert_allclose((shown.embedding**2).sum(axis=0), variances[:2], rtol=1e-3)
    for label, points in shown.points_.items():
        is_label = (of_task["label"] == label).to_numpy()
        np.testing.assert_array_equal(points.get_offsets(), shown.embedding[is_label])
    share = 100 * variances[0] / variances.sum()
    assert shown.ax_.get_xlabel() == f"component 1 ({share:.0f} % of the variance)"
    assert shown.ax_.get_title() == "emotion"


def test_reducer(fitted, rows):
    """Another transformer of scikit-learn reduces the embeddings, and is not fitted itself."""
    reducer = TruncatedSVD(2, random_state=0)
    shown = EmbeddingDisplay.from_estimator(fitted, rows, reducer=reducer)
    assert shown.task == "sentiment"
    assert not hasattr(reducer, "components_")
    texts = rows.loc[rows["task"] == "sentiment", "text"]
    np.testing.assert_allclose(shown.embedding, reducer.fit_transform(fitted.embed(texts)))


def test_embeddings_of_many_classes():
    """The most frequent classes have a look of their own, and the others are gray."""
    labels = [label for label in range(30) for _ in range(30 - label)]
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    shown = EmbeddingDisplay(points, labels).plot(max_classes=12)
    assert list(shown.points_) == [*range(12), None]
    looks = {
        (tuple(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes())
        for each in shown.points_.values()
    }
    assert len(looks) == 13
    assert legend_of(shown.ax_)[-1] == "18 other classes"
    n_points = [len(each.get_offsets()) for each in shown.points_.values()]
    assert sum(n_points) == len(labels)


def test_embeddings_without_labels():
    """Rows without a label are gray."""
    points = np.arange(10).reshape(5, 2)
    shown = EmbeddingDisplay(points, ["a", None, "b", "a", None]).plot()
    assert list(shown.points_) == ["a", "b", None]
    np.testing.assert_array_equal(shown.points_[None].get_offsets(), points[[1, 4]])
    assert legend_of(shown.ax_) == ["a", "b", "no label"]


def test_embedding_of_one_row(fitted, rows):
    """One row is an error that states how many there must be."""
    with pytest.raises(ValueError, match="one row of task 'intent'. Pass at least two"):
        EmbeddingDisplay.from_estimator(fitted, rows[rows["task"] == "intent"].iloc[:1])


def test_unknown_task(fitted, rows):
    """A task without rows is an error that lists the tasks."""
    with pytest.raises(ValueError, match="The tasks are: 'sentiment'"):
        EmbeddingDisplay.from_estimator(fitted, rows, task="topic")


# --------------------------------------------------------------------------------------------
# Names


def test_hostile_names():
    """Names are drawn as they are, on one line and cut if they are long, also in legends."""
    labels = {task: HOSTILE if task == "$x$ and $y$" else [0, 1] for task in HOSTILE}
    shown = ConfusionGridDisplay.from_predictions(labels, labels)
    found = visible(shown.figure_)
    expected = {"$x$ and $y$", "<script>", "two lines", "\ufffd[31m", "' '", "\\$"}
    assert expected <= set(found)
    assert not [text for text in found if len(text) > 25 and text.startswith("long")]
    assert [text for text in found if text.startswith("long") and "…" in text]
    legend = legend_of(EmbeddingDisplay(np.zeros((8, 2)), HOSTILE).plot().ax_)
    assert len(legend) == 8
    visible(plt.gcf())


def test_long_names_do_not_overlap():
    """Names of eight tasks and of twelve classes do not overlap, however long they are."""
    labels = [f"{i} {'name ' * 30}{i}" for i in range(12)]
    by_task = {f"{i} {'task ' * 30}{i}": labels[: 2 if i else 12] for i in range(8)}
    shown = ConfusionGridDisplay.from_predictions(by_task, by_task)
    figure = shown.figure_
    visible(figure)
    assert not texts_overlap(ax.title for ax in shown.axes_)
    boxes = [ax.get_tightbbox() for ax in shown.axes_]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for ax in shown.axes_:
        assert not texts_overlap(ax.get_yticklabels())


def test_names_that_are_equal_once_cut():
    """Long labels that differ only in the middle get numbers, the same in rows and columns."""
    labels = [f"{'begin' * 9} {i} {'end' * 9}" for i in range(3)]
    scores = scores_of(*((label, "accuracy", 0.5, 9, 0.4, 0.6) for label in labels))
    compared = TaskComparisonDisplay.from_scores(dict.fromkeys(labels, scores))
    assert len({label.get_text() for label in compared.axes_[0].get_yticklabels()}) == 3
    assert len(set(legend_of(compared.axes_[-1]))) == 3
    ax = ConfusionGridDisplay.from_predictions({"t": labels}, {"t": labels}).axes_[0]
    rows, columns = (
        [label.get_text() for label in labels]
        for labels in (ax.get_yticklabels(), ax.get_xticklabels())
    )
    assert rows == columns
    assert len(set(rows)) == 3
    assert all("…" in row and row.endswith(f"({i})") for i, row in enumerate(rows, start=1))

"""The report of a fitted classifier: one page with its scores, pictures, errors and settings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from os import PathLike
from typing import Any

import pandas as pd

from ._evaluation import METRICS, ScoredRows, class_frame, score_frame, scored_table
from ._fitted import FittedModel
from ._history import history_frame
from ._html import bullets, code, details, page, paragraph, picture, section, table, write_page
from ._inspection import compute_error_report, describe_table, text_lengths
from ._parameters import ParameterGroup
from ._rows import LabeledTable
from ._show_versions import environment
from ._typing import ArrayOrFrame, RowsLike
from ._validation import check_argument
from ._validation import path as path_constraint
from .plotting import (
    CalibrationGridDisplay,
    ConfusionGridDisplay,
    CoverageDisplay,
    TaskComparisonDisplay,
    TrainingHistoryDisplay,
    check_matplotlib,
)

# Maximum number of rows per task in the tables of errors.
_N_ERRORS = 10


def write_report(
    classifier: Any, path: str | PathLike[str], X: RowsLike, y: ArrayOrFrame | None
) -> None:
    """Write the report of a fitted classifier; see :meth:`MultiheadClassifier.report`."""
    check_argument("path", path, path_constraint())
    check_matplotlib(f"{type(classifier).__name__}.report")
    model = classifier._snapshot()
    read = classifier._table_to_score(model, X, y)
    rows = scored_table(model, read)
    sections = [
        section("Scores", *_scores(rows)),
        section("Training", *_training(model)),
        section("Confusion", _confusion(rows)),
        section("Calibration and coverage", *_confidence(model, rows)),
        *_errors(model, read, rows),
        section("These rows", *_data(model, read)),
        section("Configuration", *_configuration(classifier)),
        section("Environment", *_environment()),
    ]
    title = "Text classifier: " + ", ".join(rows)
    write_page(path, page(title, paragraph(_summary(rows)), *sections))


def _summary(rows: dict[str, ScoredRows]) -> str:
    n_rows = sum(map(len, rows.values()))
    return (
        f"Scores, pictures and errors come from {n_rows:,} labeled rows. They say what to expect "
        "on new texts only if these rows have not trained."
    )


def _drawn(draw: Callable[..., Any], description: str) -> str:
    """Return the picture of a display, given its `plot` or another function with `ax`.

    pyplot would keep the figure, and it is not made for several threads.
    """
    from matplotlib.figure import Figure

    figure = Figure()
    draw(ax=figure)
    content = io.BytesIO()
    figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    return picture(content.getvalue(), description)


# --------------------------------------------------------------------------------------------
# Sections


def _scores(rows: dict[str, ScoredRows]) -> Iterator[str]:
    scores = score_frame(rows, n_resamples=1000, seed=0)
    yield _drawn(TaskComparisonDisplay({"": scores}).plot, "Scores of the tasks")
    columns: dict[str, list[Any]] = {"task": list(rows), "rows": list(map(len, rows.values()))}
    for metric in METRICS:
        own = scores[scores["metric"] == metric]
        bounds = zip(own["value"], own["low"], own["high"], strict=True)
        columns[metric] = [
            "unknown" if pd.isna(v) else f"{v:.3f} ({low:.3f} to {high:.3f})"
            for v, low, high in bounds
        ]
    yield table(pd.DataFrame(columns))
    yield paragraph("In parentheses: 95 % bootstrap intervals over texts.")
    undefined = paragraph("A cell is empty if a class has no rows or is never predicted.")
    yield details("Scores of the classes", undefined, table(class_frame(rows)))


def _training(model: FittedModel) -> Iterator[str]:
    history = history_frame(model.net.history, model.calibration_history or [])
    if not len(history):
        yield paragraph("The classifier predicts from label texts alone, without training.")
        return
    yield _drawn(TrainingHistoryDisplay(history).plot, "Losses and scores in each epoch")
    rows = [(task, model.describe_rows(task)) for task in model.tasks]
    yield table(pd.DataFrame(rows, columns=["task", "trained on"]))


def _confusion(rows: dict[str, ScoredRows]) -> str:
    true = {task: own.classes_or_labels for task, own in rows.items()}
    predicted = {task: own.classes[own.predicted] for task, own in rows.items()}
    draw = partial(ConfusionGridDisplay.from_predictions, true, predicted)
    return _drawn(draw, "Confusion matrices")


def _confidence(model: FittedModel, rows: dict[str, ScoredRows]) -> Iterator[str]:
    yield _drawn(CalibrationGridDisplay._of_rows(rows).plot, "Confidence and accuracy")
    display = CoverageDisplay._of_rows(rows, model.thresholds or {})
    yield _drawn(display.plot, "Accuracy of the rows above a minimum confidence")


def _errors(model: FittedModel, read: LabeledTable, rows: dict[str, ScoredRows]) -> Iterator[str]:
    lengths = text_lengths(model, read.texts.distinct)
    return compute_error_report(rows, lengths, [], _N_ERRORS)._sections()


def _data(model: FittedModel, read: LabeledTable) -> Iterator[str]:
    report = describe_table(read, model.tokenizer, task_labels={}, missing={})
    yield table(report.tasks.drop(columns="missing"))
    if report.tokens is not None:
        yield table(report.tokens)
    if report.messages:
        yield bullets(report.messages)


def _configuration(classifier: Any) -> Iterator[str]:
    yield code(repr(classifier))
    parameters = classifier._group("config")._filled().get_params()
    plain = {k: v for k, v in parameters.items() if not isinstance(v, ParameterGroup)}
    shown = pd.DataFrame([(k, repr(v)) for k, v in plain.items()], columns=["parameter", "value"])
    yield details("All parameters of the configuration", table(shown))


def _environment() -> Iterator[str]:
    for title, entries in environment().items():
        yield table(pd.DataFrame(entries.items(), columns=[title, ""]))

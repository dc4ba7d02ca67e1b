"""`ErrorReport`: wrong predictions, confused classes, likely label errors and weak slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._evaluation import ScoredRows
from .._html import bullets, details, fragment, page, section, table, write_page
from .._rows import plain_label, wilson_interval
from .._validation import short
from .label_errors import find_label_errors, label_probability

# Columns of the frames, with their types. Labels of several tasks need not have the same type.
_TASKS = {"task": object, "n": int, "n_errors": int, "accuracy": float}
_ERRORS = {
    "task": object,
    "position": int,
    "text": object,
    "label": object,
    "predicted": object,
    "confidence": float,
    "label_probability": float,
}
_CONFUSIONS = {"task": object, "label": object, "predicted": object, "n": int, "share": float}
_SLICES = {
    "task": object,
    "slice": object,
    "n": int,
    "accuracy": float,
    "difference": float,
    "low": float,
    "high": float,
}
_FORMATS = {
    "share": "{:.0%}".format,
    "difference": "{:+.3f}".format,
    "low": "{:+.3f}".format,
    "high": "{:+.3f}".format,
}
# Number of weak slices of a task in the text of a report, and the fewest rows of one.
_MOST_SLICES, _FEWEST_ROWS = 3, 5


class TextLength(NamedTuple):
    """The length of a text.

    Attributes
    ----------
    n_tokens : int
        Number of tokens that the encoder reads, without special tokens.
    is_cut : bool
        Whether the text is longer than what the encoder reads of it.
    """

    n_tokens: int
    is_cut: bool


# The length of each distinct text.
Lengths: TypeAlias = Mapping[str, TextLength]


def text_lengths(model: Any, texts: list[str]) -> dict[str, TextLength]:
    """Return the lengths of distinct texts, for the tokenizer of a fitted model."""
    tokens = model.tokenizer(texts)
    pairs = zip(tokens.n_ordinary.tolist(), tokens.is_cut.tolist(), strict=True)
    return {text: TextLength(*pair) for text, pair in zip(texts, pairs, strict=True)}


@dataclass(frozen=True, eq=False, repr=False)
class ErrorReport:
    """Errors of a classifier on labeled rows.

    :func:`error_report` returns it. It has a representation for notebooks, and :meth:`to_html`
    writes it as a page.

    Parameters
    ----------
    tasks, errors, confusions, label_issues, slices : DataFrame
        See below.
    notes : list of str
        See below.
    n_rows : int
        See below.

    Attributes
    ----------
    tasks : DataFrame
        A row per task: `task`, `n` (number of rows), `n_errors` and `accuracy`.
    errors : DataFrame
        The wrong predictions, by decreasing confidence: `task`, `position` (of the row in X),
        `text`, `label`, `predicted`, `confidence` and `label_probability`. This is the probability
        of the label, and it is missing if the label is not a class.
    confusions : DataFrame
        Pairs of a label and a wrong prediction, the most frequent first: `task`, `label`,
        `predicted`, `n` (number of rows) and `share` (of the rows with this label).
    label_issues : DataFrame
        Rows whose label is probably wrong, by increasing `label_probability`, with the columns of
        `errors`.
    slices : DataFrame
        Accuracy of parts of the rows: `task`, `slice`, `n`, `accuracy`, its `difference` from the
        accuracy of the rest of the task, and the 95 % interval from `low` to `high` of this
        difference.
    notes : list of str
        Where the probabilities come from, and how label errors were found.
    n_rows : int
        Maximum number of rows per task in each table of the page.

    See Also
    --------
    error_report : Make a report.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import error_report
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> messages = load_support_messages()
    >>> test = messages.iloc[classifier.fit(messages).test_indices_]
    >>> report = error_report(classifier, test)
    >>> report.confusions.columns.tolist()
    ['task', 'label', 'predicted', 'n', 'share']
    """

    tasks: pd.DataFrame
    errors: pd.DataFrame
    confusions: pd.DataFrame
    label_issues: pd.DataFrame
    slices: pd.DataFrame
    notes: list[str]
    n_rows: int

    # ----------------------------------------------------------------------------------------
    # Representations

    def __repr__(self) -> str:
        """Return the main findings in words."""
        title = f"ErrorReport of {self.tasks['n'].sum()} rows"
        findings = (line for task in self.tasks["task"] for line in self._findings(task))
        return "\n".join([title, *findings, *(f"Note: {note}" for note in self.notes)])

    def _findings(self, task: str) -> Iterator[str]:
        """Yield the findings about a task, a line each."""
        own = self.tasks[self.tasks["task"] == task].iloc[0]
        yield (
            f"{short(task)}: {own['n_errors']} of {own['n']} rows are wrong "
            f"(accuracy {own['accuracy']:.2f})"
        )
        confusions = self.confusions[self.confusions["task"] == task]
        if len(confusions):
            top = confusions.iloc[0]
            yield (
                f"  most confused: {short(top['label'])} is predicted as "
                f"{short(top['predicted'])} in {top['n']} rows, {top['share']:.0%} of its rows"
            )
        n_issues = (self.label_issues["task"] == task).sum()
        if n_issues:
            yield f"  likely label errors: {n_issues} rows"
        for _, weak in self._weak_slices(task).iterrows():
            yield (
                f"  weaker than the rest: {weak['slice']} ({weak['n']} rows, accuracy "
                f"{weak['accuracy']:.2f}, {-weak['difference']:.2f} lower)"
            )

    def _weak_slices(self, task: str) -> pd.DataFrame:
        """Return the slices whose interval is below zero, first those with the most excess errors.

        A label of one row that is wrong is below the rest, too, but says nothing about the label.
        """
        own = self.slices[(self.slices["task"] == task) & (self.slices["high"] < 0)]
        own = own[own["n"] >= _FEWEST_ROWS]
        order = (own["n"] * own["difference"]).sort_values(kind="stable").index
        return own.loc[order[:_MOST_SLICES]]

    def _repr_html_(self) -> str:
        return fragment(self._title, *self._sections())

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as a page that needs no other file.

        Parameters
        ----------
        path : str or path-like
            The file to write. It is replaced if it exists.
        """
        write_page(path, page(self._title, *self._sections()))

    @property
    def _title(self) -> str:
        return f"Errors in {self.tasks['n'].sum()} rows"

    def _sections(self) -> Iterator[str]:
        findings = ("; ".join(map(str.strip, self._findings(task))) for task in self.tasks["task"])
        yield section("Errors by task", table(self.tasks), bullets(findings))
        titles = {
            "Wrong predictions with the highest confidence": self.errors,
            "Most confused labels": self.confusions,
            "Likely label errors": self.label_issues,
        }
        for title, frame in titles.items():
            top = frame.groupby("task", sort=False).head(self.n_rows)
            yield section(title, table(top, _FORMATS))
        weak = pd.concat([self._weak_slices(task) for task in self.tasks["task"]])
        every = details("All slices", table(self.slices, _FORMATS))
        yield section("Weak slices", table(weak, _FORMATS), every)
        if self.notes:
            yield section("Notes", bullets(self.notes))


def compute_error_report(
    rows: Mapping[str, ScoredRows], lengths: Lengths, notes: list[str], n_rows: int
) -> ErrorReport:
    """Compute the report of the rows of some tasks.

    Parameters
    ----------
    rows : dict of {str: ScoredRows}
        The rows of each task.
    lengths : dict of {str: TextLength}
        The length of each text.
    notes : list of str
        Sentences about the probabilities.
    n_rows : int
        Maximum number of rows per task in each table of the page.

    Returns
    -------
    report : ErrorReport
        The report.
    """
    parts = list(rows.items())
    errors = _frame((row for part in parts for row in _errors(*part)), _ERRORS)
    confusions = _frame((row for part in parts for row in _confusions(*part)), _CONFUSIONS)
    issues = _frame((row for part in parts for row in _label_issues(*part)), _ERRORS)
    slices = (row for part in parts for row in _slices(*part, lengths))
    return ErrorReport(
        tasks=_frame((_summary(*part) for part in parts), _TASKS),
        errors=_sorted(errors, confidence=False),
        confusions=_sorted(confusions, n=False, share=False),
        label_issues=_sorted(issues, label_probability=True),
        slices=_frame(slices, _SLICES),
        notes=notes,
        n_rows=n_rows,
    )


def _frame(rows: Iterable[tuple[Any, ...]], columns: dict[str, type]) -> pd.DataFrame:
    """Return rows as a frame; values keep their types in columns of dtype object."""
    return pd.DataFrame(list(rows), columns=list(columns), dtype=object).astype(columns)


def _sorted(frame: pd.DataFrame, **ascending: bool) -> pd.DataFrame:
    """Return a frame sorted by some columns; ties keep their order."""
    order, ways = list(ascending), list(ascending.values())
    return frame.sort_values(order, ascending=ways, kind="stable", ignore_index=True)


# --------------------------------------------------------------------------------------------
# Rows of the frames


def _summary(task: str, rows: ScoredRows) -> tuple[Any, ...]:
    n_errors = int((~rows.is_correct).sum())
    return task, len(rows), n_errors, 1 - n_errors / len(rows)


def _errors(task: str, rows: ScoredRows) -> Iterator[tuple[Any, ...]]:
    return _described(task, rows, np.flatnonzero(~rows.is_correct))


def _label_issues(task: str, rows: ScoredRows) -> Iterator[tuple[Any, ...]]:
    return _described(task, rows, find_label_errors(rows))


def _described(task: str, rows: ScoredRows, at: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
    """Yield some rows with their text, label and prediction."""
    some, classes = rows.take(at), rows.classes.tolist()
    columns = [
        some.positions,
        some.texts,
        map(plain_label, some.labels),
        (classes[code] for code in some.predicted),
        some.confidence,
        label_probability(some),
    ]
    yield from zip([task] * len(at), *columns, strict=True)


def _confusions(task: str, rows: ScoredRows) -> Iterator[tuple[Any, ...]]:
    """Yield each pair of a label and a wrong prediction, with its number of rows."""
    classes, labels = rows.classes.tolist(), _labels(rows)
    n_rows = Counter(labels)
    pairs = zip(labels, rows.predicted.tolist(), rows.is_correct.tolist(), strict=True)
    found = Counter((label, code) for label, code, is_correct in pairs if not is_correct)
    for (label, code), n in found.items():
        yield task, label[1], classes[code], n, n / n_rows[label]


def _labels(rows: ScoredRows) -> list[tuple[str, Any]]:
    """Return the label of each row together with its type, because True and 1 are equal."""
    classes, codes = rows.classes.tolist(), rows.true.tolist()
    values = [
        plain_label(label) if code < 0 else classes[code]
        for code, label in zip(codes, rows.labels, strict=True)
    ]
    return [(type(value).__name__, value) for value in values]


# --------------------------------------------------------------------------------------------
# Slices


def _slices(task: str, rows: ScoredRows, lengths: Lengths) -> Iterator[tuple[Any, ...]]:
    """Yield the accuracy of each slice, and its difference from the rest of the rows."""
    for name, inside in _slices_of(rows, lengths):
        if inside.any() and not inside.all():
            yield task, name, *_compared(rows.take(inside), rows.take(~inside))


def _slices_of(rows: ScoredRows, lengths: Lengths) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name of each slice, and which rows are in it."""
    n_tokens = np.array([lengths[text].n_tokens for text in rows.texts])
    edges = np.unique(np.quantile(n_tokens, [0.25, 0.5, 0.75], method="lower"))
    part = np.searchsorted(edges, n_tokens)
    for number in np.unique(part):
        yield _span(n_tokens[part == number]), part == number
    yield "cut texts", np.array([lengths[text].is_cut for text in rows.texts])
    _, own, counts = np.unique(rows.groups, return_inverse=True, return_counts=True)
    yield "repeated texts", counts[own] > 1
    for code, label in enumerate(rows.classes.tolist()):
        yield f"label {short(label)}", rows.true == code
    yield "labels that are not classes", rows.true < 0


def _span(n_tokens: np.ndarray) -> str:
    """Return the range of some numbers of tokens in words."""
    low, high = n_tokens.min(), n_tokens.max()
    return f"{low} tokens" if low == high else f"{low} to {high} tokens"


def _compared(inside: ScoredRows, rest: ScoredRows) -> tuple[int, float, float, float, float]:
    """Return the number of rows and the accuracy of a slice, and its difference from the rest.

    The interval of the difference is Newcombe's score interval [1]_. Rows of a text have the same
    prediction, so the numbers of rows in it are the numbers of distinct texts.

    References
    ----------
    .. [1] Newcombe, "Interval Estimation for the Difference Between Independent Proportions",
       Statistics in Medicine 17, 1998, method 10.
    """
    (p, low, high), (q, q_low, q_high) = _accuracy(inside), _accuracy(rest)
    below, above = np.hypot(p - low, q_high - q), np.hypot(high - p, q - q_low)
    return len(inside), p, p - q, float(p - q - below), float(p - q + above)


def _accuracy(rows: ScoredRows) -> tuple[float, float, float]:
    accuracy = float(rows.is_correct.mean())
    return accuracy, *wilson_interval(accuracy, len(np.unique(rows.groups)))

"""Split of the rows of a fit into training, validation and test rows, and related warnings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._rows import (
    CodedRows,
    GivenPart,
    LabeledTable,
    Split,
    Texts,
    TrainingRows,
    split_rows,
    tasks_without,
)
from ._validation import listed, short, warn_user
from .config import EvalConfig, FullConfig

# With fewer rows than this, no validation rows are held out by default.
FEW_ROWS = 2000


@dataclass(frozen=True, eq=False)
class FitRows:
    """Rows of a fit, with the names and positions that the estimator keeps of its input.

    Attributes
    ----------
    table : LabeledTable
        The rows as they were given, without validation and test rows of a split column.
    rows : CodedRows
        The same rows as codes.
    features : dict
        ``n_features_in_`` and ``feature_names_in_``, if X is a frame.
    validation : CodedRows or None, default=None
        Validation rows that the user passed or a split column names.
    helpers : CodedRows or None, default=None
        Rows of helper tasks, which train along but are never held out.
    test : CodedRows or None, default=None
        Test rows that a split column names.
    positions : dict of {str: ndarray}
        Positions in X of the validation rows ("val") and the test rows ("test") that a split column
        names.
    label_texts : CodedRows or None, default=None
        Label texts, which are never held out.
    without_rows : list of CodedRows
        Texts of the labels of each task that has no rows.
    """

    table: LabeledTable
    rows: CodedRows
    features: dict[str, Any]
    validation: CodedRows | None = None
    helpers: CodedRows | None = None
    test: CodedRows | None = None
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    label_texts: CodedRows | None = None
    without_rows: list[CodedRows] = field(default_factory=list)

    @classmethod
    def of(
        cls, read: TrainingRows, features: dict[str, Any], helpers: CodedRows | None = None
    ) -> FitRows:
        """Return the rows that a reader has read, without validation and test rows."""
        return cls(
            read.table,
            read.rows,
            features,
            helpers=helpers,
            label_texts=read.label_texts,
            without_rows=read.without_rows,
        )

    @property
    def tasks(self) -> list[str]:
        """The tasks with rows, and then the tasks without rows."""
        return [task for rows in [self.rows, *self.without_rows] for task in rows.classes]

    def with_validation(self, validation: CodedRows | None) -> FitRows:
        """Return the same rows with validation rows."""
        return replace(self, validation=validation)

    def with_parts(self, parts: dict[str, GivenPart]) -> FitRows:
        """Return the same rows with the validation and test rows that a split column names."""
        rows = {name: part.rows for name, part in parts.items()}
        return replace(
            self,
            validation=rows.get("val", self.validation),
            test=rows.get("test"),
            positions={name: part.positions for name, part in parts.items()},
        )

    def by_name(self) -> dict[str, CodedRows | None]:
        """Return all coded rows; the keys name them in messages."""
        return {
            "the rows": self.rows,
            "the validation rows": self.validation,
            "the helpers": self.helpers,
            "the test rows": self.test,
            "the label texts": self.label_texts,
        }


@dataclass(frozen=True, eq=False)
class Parts:
    """Training, validation and test rows of a fit.

    Attributes
    ----------
    train, test : CodedRows
        Training rows, and test rows that the fitted model is scored on.
    validation : CodedRows or None
        Validation rows, held out or given by the user.
    helpers : CodedRows or None
        Training rows of helper tasks, which are never held out. None of them has the text of a
        validation or test row.
    split : Split
        Indices of the training, validation and test rows.
    needs_calibration_fit : bool
        Whether a calibration fit must run, because there are no validation rows to calibrate on.
    """

    train: CodedRows
    validation: CodedRows | None
    helpers: CodedRows | None
    test: CodedRows
    split: Split
    needs_calibration_fit: bool


def hold_out_rows(
    config: FullConfig,
    given: FitRows,
    seed: int,
    *,
    warm_start: bool = False,
) -> Parts:
    """Hold out test and validation rows, and warn about tasks and classes that are too small.

    Parameters
    ----------
    config : FullConfig
        The configuration.
    given : FitRows
        The rows of the fit. If it has validation or test rows, no others are held out for this
        part. Helpers with the text of a validation or test row are left out.
    seed : int
        Seed for the random choice of rows.
    warm_start : bool, default=False
        Whether the training starts from a model that may have trained on these rows. If so, there
        is no calibration fit.

    Returns
    -------
    parts : Parts
        Training, validation and test rows.

    Warns
    -----
    UserWarning
        If a task or a class has too few rows to hold some out, if scores on held-out rows are
        optimistic, or if there are no validation rows although they are expected.
    """
    rows, validation = given.rows, given.validation
    test_size = config.training.test_size or 0 if given.test is None else 0
    val_size = _validation_size(config, len(rows), test_size) if validation is None else 0
    split = split_rows(
        rows.texts.groups,
        rows.tasks,
        rows.labels,
        test_size=test_size,
        val_size=val_size,
        rng=np.random.default_rng(seed),
    )
    if given.validation is None and len(split.val):
        validation = rows.take(split.val)
    sizes = {"test": test_size, "val": val_size}
    _warn_of_split(config, split, given, sizes, validation)
    if warm_start and (len(split.test) or len(split.val)):
        warn_user(
            "An earlier fit may have trained on rows that are held out now, so scores on them are "
            "optimistic. Set test_size=0, and pass validation rows that the classifier has not "
            "trained on as X_val."
        )
    all_train = config.training.val_size is None and validation is None
    test = rows.take(split.test) if given.test is None else given.test
    return Parts(
        rows.take(split.train),
        validation,
        _helpers_to_train(given, validation, test),
        test,
        split,
        needs_calibration_fit=config.eval.calibrate and all_train and not warm_start,
    )


def indices_of(split: Split, given: FitRows) -> dict[str, np.ndarray]:
    """Return the positions in X of the training, validation and test rows."""
    held_out = {part: given.table.positions[rows] for part, rows in split._asdict().items()}
    positions = held_out | given.positions
    return {f"{part}_indices_": np.unique(each) for part, each in positions.items()}


def _validation_size(config: FullConfig, n_rows: int, test_size: float) -> float:
    """Return the share of validation rows. `val_size=None` means 0.1, or 0 for small data."""
    training = config.training
    if training.val_size is not None:
        return training.val_size
    is_small = n_rows * (1 - test_size) < FEW_ROWS
    return 0 if is_small and not _chooses_epochs(config) else 0.1


def _chooses_epochs(config: FullConfig) -> bool:
    """Return whether a parameter asks for validation rows, without which it has no effect."""
    return config.eval.patience is not None or config.eval.metric != EvalConfig().metric


def _warn_of_split(
    config: FullConfig,
    split: Split,
    given: FitRows,
    sizes: dict[str, float],
    validation: CodedRows | None,
):
    """Issue a single warning for all notes on the split."""
    rows = given.rows
    notes, small = _notes_on_small_tasks(split, rows, sizes)
    where = "the training rows" if given.positions else "X"
    for kind, others in (("validation", given.validation), ("test", given.test)):
        if others is not None:
            notes += _notes_on_shared_texts(rows, others, kind, where)
    if any(sizes.values()):
        notes += _notes_on_single_rows(rows, small)
    if validation is None and (sizes["val"] or _chooses_epochs(config)):
        epochs = config.encoder.freeze_epochs + config.training.epochs
        notes.append(
            f"There are no validation rows, so training runs for all {epochs} epochs and keeps "
            "the last weights."
        )
    if notes:
        warn_user(" ".join(notes))


def _helpers_to_train(
    given: FitRows, validation: CodedRows | None, test: CodedRows
) -> CodedRows | None:
    """Return the helpers without held-out texts, and warn about tasks that lose all of them."""
    if given.helpers is None:
        return None
    kept = given.helpers.without_texts_of(validation, test)
    lost = np.setdiff1d(given.helpers.tasks, kept.tasks)
    if len(lost):
        names = listed(list(given.helpers.classes)[code] for code in lost)
        warn_user(
            f"All helpers of {names} have texts of validation or test rows, so they do not train. "
            "Pass helpers with other texts."
        )
    return kept


def _notes_on_small_tasks(
    split: Split, rows: CodedRows, sizes: dict[str, float]
) -> tuple[list[str], set[int]]:
    """Return sentences about tasks without held-out rows, and the codes of these tasks."""
    notes: list[str] = []
    small: set[int] = set()
    for part, size in sizes.items():
        if not size:
            continue
        without = tasks_without(getattr(split, part), rows.tasks, len(rows.classes))
        # With a warm start, a task of the earlier fit may have no rows now.
        without = np.intersect1d(without, rows.tasks)
        small.update(without.tolist())
        if len(without):
            names = listed(list(rows.classes)[code] for code in without)
            notes.append(f"Too few rows for {part}_size={size}: no rows of {names} are held out.")
    return notes, small


def _notes_on_shared_texts(rows: CodedRows, others: CodedRows, kind: str, where: str):
    # Groups treat texts that differ only in Unicode normalization as the same text.
    both = Texts.of([*others.texts.distinct, *rows.texts.distinct]).groups
    n_given = len(others.texts.distinct)
    shared = np.isin(both[:n_given], both[n_given:])
    if not shared.any():
        return []
    return [f"{shared.sum()} {kind} texts also occur in {where}, so {kind} scores are optimistic."]


def _notes_on_single_rows(rows: CodedRows, small):
    """Return a sentence about classes with a single row, except in the tasks `small`."""
    names = [
        f"{short(classes[label])} of {short(task)}"
        for code, (task, classes) in enumerate(rows.classes.items())
        if code not in small
        for label in np.flatnonzero(np.bincount(rows.labels[rows.tasks == code]) == 1)
    ]
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [
        "Classes with a single row stay in the training rows, because one row cannot be split: "
        f"{names[0]}{more}."
    ]

"""`error_report`: the errors of a classifier on labeled rows."""

from __future__ import annotations

import numpy as np

from ._classifier import MultiheadClassifier
from ._evaluation import ScoredRows, scored_table
from ._inspection import (
    ErrorReport,
    TextLength,
    cleanlab_version,
    compute_error_report,
    text_lengths,
)
from ._out_of_fold import FoldData, read_table, run
from ._rows import LabeledTable
from ._text_classifier import TextClassifier
from ._typing import ArrayOrFrame, RowsLike
from ._validation import check_argument, instance_of, integer, none


def error_report(
    classifier: MultiheadClassifier | TextClassifier,
    X: RowsLike,
    y: ArrayOrFrame | None = None,
    *,
    cv: int | None = None,
    n_rows: int = 10,
    n_jobs: int | None = None,
) -> ErrorReport:
    """Report the errors of a classifier on labeled rows.

    Parameters
    ----------
    classifier : MultiheadClassifier or TextClassifier
        The classifier. With `cv`, it need not be fitted.
    X : DataFrame, dict, or array-like of str
        Labeled rows in any form that the `score` of the classifier takes. Without `cv`, they should
        not have trained: for example, the rows at `test_indices_`.
    y : array-like, DataFrame or None, default=None
        The labels, if X does not contain them.
    cv : int or None, default=None
        Number of folds, at least 2. Each fold is predicted by a clone of the classifier that has
        trained on the other folds. Use it for rows that have trained, above all to find label
        errors: a model that has seen a wrong label tends to predict it. With None, the fitted
        classifier predicts all rows.
    n_rows : int, default=10
        Maximum number of rows per task in each table of the page. The frames have all rows.
    n_jobs : int or None, default=None
        Number of fits that run at the same time, as in scikit-learn.

    Returns
    -------
    report : ErrorReport
        The wrong predictions, confused labels, likely label errors and weak slices, as frames.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the classifier is not fitted and `cv` is None.
    ValueError, TypeError
        If the rows or a parameter are invalid, or a task has fewer texts than folds.

    See Also
    --------
    sharing_report : Compare the classifier with one classifier per task.

    Notes
    -----
    A row whose label is not a class counts as wrong. It is not checked for a label error.

    The label of a row is probably wrong if ``cleanlab.filter.find_label_issues`` finds it with
    ``filter_by="low_self_confidence"``. If cleanlab is not installed, a simpler rule with the
    thresholds of confident learning decides [1]_: another label is predicted, and its probability
    is at least the mean probability of this label over the rows that have it. Both find candidates
    for a second look, and a weak classifier finds many that are right.

    Slices are quarters of the rows by number of tokens, texts that are cut, texts that occur
    several times, and the rows of each label. The interval of the difference from the rest is
    Newcombe's score interval [2]_, computed from the numbers of distinct texts. Among twenty
    slices without any real difference, expect one interval without zero.

    With `cv`, the folds come from :class:`~rapidfit_sk.model_selection.TaskStratifiedKFold`,
    shuffled with a fixed seed, so all rows of a text are in the same fold. The clones train on all
    rows of the other folds: `split_column` and `test_size` have no effect. The helpers of a
    TextClassifier do not train.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset
       Labels", Journal of Artificial Intelligence Research 70, 2021.
    .. [2] Newcombe, "Interval Estimation for the Difference Between Independent Proportions:
       Comparison of Eleven Methods", Statistics in Medicine 17, 1998.

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
    >>> report.errors.columns.tolist()
    ['task', 'position', 'text', 'label', 'predicted', 'confidence', 'label_probability']
    >>> worst = test.iloc[report.errors["position"]]  # the rows of X, the most certain errors first
    >>> bool((worst["label"] != classifier.predict(worst)).all())
    True
    """
    check_argument("classifier", classifier, instance_of(MultiheadClassifier, TextClassifier))
    check_argument("cv", cv, integer(2) | none)
    check_argument("n_rows", n_rows, integer(1))
    if cv is None:
        model = classifier._snapshot()
        table = classifier._table_to_score(model, X, y)
        rows, lengths = scored_table(model, table), text_lengths(model, table.texts.distinct)
        note = _note_of_training(classifier, table)
    else:
        rows, lengths = _out_of_fold(classifier, read_table(classifier, X, y), cv, n_jobs)
        note = (
            f"The rows of each of the {cv} folds were predicted by a classifier that has trained "
            "on the other folds."
        )
    return compute_error_report(rows, lengths, [note, _note_of_label_errors()], n_rows)


def _out_of_fold(
    classifier, table: LabeledTable, cv: int, n_jobs: int | None
) -> tuple[dict[str, ScoredRows], dict[str, TextLength]]:
    """Return the rows with out-of-fold predictions, and the lengths of their texts."""
    data = FoldData.of(classifier, table, cv)
    folds = run(data.fits(data.classes), n_jobs)
    return data.rows(folds), {text: each for fold in folds for text, each in fold.lengths.items()}


def _note_of_training(classifier, table: LabeledTable) -> str:
    """Return a note about rows that may have trained.

    A classifier knows the positions of its training rows in the X of its last fit, but not their
    texts.
    """
    names = ("train_indices_", "val_indices_", "test_indices_")
    positions = [getattr(classifier, name, np.empty(0, dtype=int)) for name in names]
    if np.concatenate(positions).max(initial=-1) != table.positions.max(initial=-1):
        return (
            "A classifier does not store its training texts, so the report cannot check that these "
            "rows have not trained."
        )
    n_trained = int(np.isin(table.positions, positions[0]).sum())
    return (
        f"X has as many rows as the data of the last fit. If it is the same data, {n_trained} of "
        f"its {len(table)} rows have trained, so there are fewer errors than on new rows. Pass the "
        "rows at 'test_indices_', or set cv=5."
    )


def _note_of_label_errors() -> str:
    version = cleanlab_version()
    if version is not None:
        return f"Label errors were found by cleanlab {version}."
    return (
        "Label errors were found by a threshold per class. For the filter of cleanlab, run pip "
        "install 'rapidfit-sk[ecosystem]'."
    )

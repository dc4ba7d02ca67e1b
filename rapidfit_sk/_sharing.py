"""`sharing_report`: a classifier of several tasks compared with one classifier per task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.base import clone

from ._classifier import MultiheadClassifier
from ._evaluation import METRICS, ScoredRows, bootstrapped
from ._html import fragment, page, section, table, write_page
from ._out_of_fold import Fold, FoldData, read_table, run
from ._typing import ArrayOrFrame, RowsLike
from ._validation import check_argument, instance_of, integer, listed, short
from .config import MultiheadConfig

HELPS, NO_DIFFERENCE, HURTS = "helps", "no difference seen", "hurts"

_SCORES = ["task", "metric", "n", "joint", "alone", "difference", "low", "high"]
_FOLDS = ["task", "fold", "n", "joint", "alone"]
_COSTS = ["model", "seconds", "parameters", "megabytes"]
_FORMATS = {
    **dict.fromkeys(["difference", "low", "high"], "{:+.3f}".format),
    "seconds": "{:.1f}".format,
    "parameters": "{:,}".format,
    "megabytes": "{:.1f}".format,
}
# The metrics of the report, and the number and the seed of the resamples for their intervals.
_METRICS = ("accuracy", "macro_f1")
_N_RESAMPLES, _SEED = 1000, 0
# Fewest texts that can show a difference at a level of 95 %: a sign test of six equal signs has a
# p-value of 2 / 2**6 = 0.03.
_FEWEST_TEXTS = 6


@dataclass(frozen=True, eq=False, repr=False)
class SharingReport:
    """Comparison of a classifier of several tasks with one classifier per task.

    :func:`sharing_report` returns it. It has a representation for notebooks, and :meth:`to_html`
    writes it as a page.

    Parameters
    ----------
    verdicts : dict of {str: str}
        See below.
    scores, folds, costs : DataFrame
        See below.

    Attributes
    ----------
    verdicts : dict of {str: str}
        For each task, whether the accuracy is better with the other tasks ("helps"), worse
        ("hurts"), or neither at a level of 95 % ("no difference seen"). Fewer than six texts with
        different accuracies are never a difference.
    scores : DataFrame
        Two rows per task: `task`, `metric` ("accuracy" or "macro_f1"), `n` (number of rows), the
        score of the `joint` classifier and of the one that trained `alone`, the `difference`
        joint - alone, and its 95 % interval from `low` to `high`.
    folds : DataFrame
        The accuracy in each fold: `task`, `fold`, `n`, `joint` and `alone`.
    costs : DataFrame
        Two rows: the `model`, the `seconds` of a fit (mean over folds), the number of `parameters`
        and their size in memory in `megabytes`. For "alone", they are sums over the tasks.

    See Also
    --------
    sharing_report : Make a report.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import sharing_report
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(
    ...     model_name=tiny_encoder(n_layers=1), epochs=1, min_steps_per_epoch=1, val_size=0
    ... )
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> report = sharing_report(classifier, load_support_messages(), cv=2)
    >>> list(report.verdicts)
    ['sentiment', 'intent', 'emotion']
    >>> report.costs["model"].tolist()
    ['joint', 'alone']
    """

    verdicts: dict[str, str]
    scores: pd.DataFrame
    folds: pd.DataFrame
    costs: pd.DataFrame

    def __repr__(self) -> str:
        """Return the verdicts, differences and costs in words."""
        n_folds = self.folds["fold"].nunique()
        lines = [f"SharingReport of {len(self.verdicts)} tasks on {n_folds} folds"]
        for row, verdict in self._explained_verdicts():
            lines.append(
                f"{short(row.task)}: {verdict}. Accuracy {row.joint:.3f} together, "
                f"{row.alone:.3f} alone: {row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
            )
        for row in self.costs.itertuples():
            lines.append(
                f"{row.model}: {row.seconds:.1f} s per fit, {row.parameters / 1e6:.1f} million "
                f"parameters, {row.megabytes:.0f} MB"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return fragment(_TITLE, *self._sections())

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as a page that needs no other file.

        Parameters
        ----------
        path : str or path-like
            The file to write. It is replaced if it exists.
        """
        write_page(path, page(_TITLE, *self._sections()))

    def _explained_verdicts(self) -> Iterator[tuple[Any, str]]:
        """Yield the accuracies of each task, and its verdict with the reason if they hide it."""
        of_accuracy = self.scores[self.scores["metric"] == "accuracy"]
        for row in of_accuracy.itertuples():
            verdict = self.verdicts[row.task]
            if verdict == NO_DIFFERENCE and not row.low <= 0 <= row.high:
                verdict += f" (fewer than {_FEWEST_TEXTS} texts differ)"
            yield row, verdict

    def _sections(self) -> Iterator[str]:
        pairs = [(row.task, verdict) for row, verdict in self._explained_verdicts()]
        verdicts = pd.DataFrame(pairs, columns=["task", "sharing"])
        yield section("Verdicts", table(verdicts))
        yield section("Scores on held-out rows", table(self.scores, _FORMATS))
        yield section("Time and size", table(self.costs, _FORMATS))
        yield section("Accuracy by fold", table(self.folds))


_TITLE = "Training together and alone"


def sharing_report(
    classifier: MultiheadClassifier | MultiheadConfig | dict[str, Any],
    X: RowsLike,
    y: ArrayOrFrame | None = None,
    *,
    cv: int = 5,
    n_jobs: int | None = None,
) -> SharingReport:
    """Compare training on all tasks together with training on each task alone.

    Parameters
    ----------
    classifier : MultiheadClassifier, MultiheadConfig or dict
        The classifier, or its configuration. Only clones of it are fitted. A fixed int as
        `random_state` makes the scores reproducible.
    X : DataFrame, dict, or array-like of str
        Labeled rows of at least two tasks, in any form that `fit` takes.
    y : array-like, DataFrame or None, default=None
        The labels, if X does not contain them.
    cv : int, default=5
        Number of folds, at least 2.
    n_jobs : int or None, default=None
        Number of fits that run at the same time, as in scikit-learn. There are `cv` fits of all
        tasks and `cv` fits of each task. Durations are comparable only with one at a time.

    Returns
    -------
    report : SharingReport
        Scores, differences with intervals, verdicts, times and sizes.

    Raises
    ------
    ValueError, TypeError
        If the rows or a parameter are invalid, there is only one task, or a task has fewer texts
        than folds.

    See Also
    --------
    error_report : Report the errors of a classifier.

    Notes
    -----
    Both ways use the same folds of :class:`~rapidfit_sk.model_selection.TaskStratifiedKFold`,
    shuffled with a fixed seed, which keep all rows of a text together, over all tasks. The clones
    train on all rows of the other folds: `split_column` and `test_size` have no effect. A task
    alone has its own part of parameters with values by task, such as `task_labels`.

    A score is computed from the held-out rows of all folds. The standard error of the difference
    comes from a paired bootstrap: distinct texts are drawn with replacement, together with
    all their rows and both predictions of each row. It describes the choice of held-out texts.
    The models of the folds vary too, and any two of them have trained on nearly the same rows.
    The variance is therefore multiplied by 1 + k / (k - 1) for k folds, the correction of Nadeau
    and Bengio [1]_ for overlapping training sets. The interval is the difference ± 1.96 of these
    standard errors. In simulations without a difference, 0 to 3 of 100 intervals left out zero,
    compared with 7 to 18 without the correction (``benchmarks/README.md``).

    If only one of the two classifiers is right on fewer than six texts, the verdict is "no
    difference seen" in any case: even if the same one is always right, chance does that in more
    than 5 of 100 cases [2]_. The bootstrap does not see this, because all its resamples agree.

    A verdict of "no difference seen" is not evidence that there is none: look at the interval.
    With ten tasks, expect a wrong verdict now and then.

    References
    ----------
    .. [1] Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.
    .. [2] Dietterich, "Approximate Statistical Tests for Comparing Supervised Classification
       Learning Algorithms", Neural Computation 10, 1998 (McNemar's test).

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import sharing_report
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(
    ...     model_name=tiny_encoder(n_layers=1), epochs=1, min_steps_per_epoch=1, val_size=0
    ... )
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> report = sharing_report(classifier, load_support_messages(), cv=2)
    >>> report.scores.columns.tolist()
    ['task', 'metric', 'n', 'joint', 'alone', 'difference', 'low', 'high']
    """
    check_argument(
        "classifier", classifier, instance_of(MultiheadClassifier, MultiheadConfig, dict)
    )
    check_argument("cv", cv, integer(2))
    is_config = isinstance(classifier, MultiheadConfig | dict)
    own = MultiheadClassifier(classifier) if is_config else clone(classifier)
    data = FoldData.of(own, read_table(own, X, y), cv)
    tasks = list(data.classes)
    if len(tasks) < 2:
        raise ValueError(
            f"X must have rows of at least two tasks, got only {listed(tasks)}. With one task, "
            "there is nothing to share."
        )
    ways = [tasks, *([task] for task in tasks)]
    folds = run((fit for way in ways for fit in data.fits(way)), n_jobs)
    return _report(data, folds[:cv], folds[cv:], cv)


def _report(data: FoldData, joint: list[Fold], alone: list[Fold], n_folds: int) -> SharingReport:
    """Return the report of the folds of all tasks together, and of the folds of each task."""
    together, separate = data.rows(joint), data.rows(alone)
    pairs = {task: (together[task], separate[task]) for task in data.classes}
    scores = [row for task, pair in pairs.items() for row in _scores(task, *pair, n_folds)]
    sizes = [_cost("joint", joint, n_folds), _cost("alone", alone, n_folds)]
    folds = [
        row for task, pair in pairs.items() for row in _by_fold(task, *pair, data.fold_of(task))
    ]
    frame = pd.DataFrame(scores, columns=_SCORES)
    of_accuracy = frame[frame["metric"] == "accuracy"].itertuples()
    verdicts = {
        row.task: _verdict(row.low, row.high, _n_different(*pairs[row.task])) for row in of_accuracy
    }
    return SharingReport(
        verdicts=verdicts,
        scores=frame,
        folds=pd.DataFrame(folds, columns=_FOLDS),
        costs=pd.DataFrame(sizes, columns=_COSTS),
    )


def _n_different(joint: ScoredRows, alone: ScoredRows) -> int:
    """Return the number of texts on which only one of both ways is right."""
    return len(np.unique(joint.groups[joint.is_correct != alone.is_correct]))


def _verdict(low: float, high: float, n_different: int) -> str:
    """Return what an interval of the difference joint - alone says about sharing.

    Parameters
    ----------
    low, high : float
        The interval.
    n_different : int
        The number of texts behind the difference.
    """
    if n_different < _FEWEST_TEXTS:
        return NO_DIFFERENCE
    if low > 0:
        return HELPS
    return HURTS if high < 0 else NO_DIFFERENCE


def _scores(
    task: str, joint: ScoredRows, alone: ScoredRows, n_folds: int
) -> Iterator[tuple[Any, ...]]:
    """Yield the scores of both ways, and the difference with its corrected interval."""
    # The same seed draws the same texts for both.
    (a, a_drawn), (b, b_drawn) = (
        bootstrapped(rows, _N_RESAMPLES, np.random.default_rng(_SEED)) for rows in (joint, alone)
    )
    error = (a_drawn - b_drawn).std(axis=0, ddof=1) * np.sqrt(1 + n_folds / (n_folds - 1))
    radius = norm.ppf(0.975) * error
    for metric in _METRICS:
        i = METRICS.index(metric)
        difference = float(a[i] - b[i])
        low, high = difference - radius[i], difference + radius[i]
        yield task, metric, len(joint), a[i], b[i], difference, float(low), float(high)


def _by_fold(
    task: str, joint: ScoredRows, alone: ScoredRows, folds: np.ndarray
) -> Iterator[tuple[Any, ...]]:
    """Yield the accuracy of both ways in each fold."""
    for fold in np.unique(folds):
        own = folds == fold
        accuracies = (float(rows.is_correct[own].mean()) for rows in (joint, alone))
        yield task, int(fold), int(own.sum()), *accuracies


def _cost(model: str, folds: list[Fold], n_folds: int) -> tuple[Any, ...]:
    """Return the mean duration of a fit, and the size of the models, summed over tasks."""
    seconds, parameters, n_bytes = (
        sum(getattr(fold, name) for fold in folds) / n_folds
        for name in ("seconds", "n_parameters", "n_bytes")
    )
    return model, seconds, int(parameters), n_bytes / 1e6

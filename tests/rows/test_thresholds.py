"""Confidences, missing labels, and thresholds that reach a precision or a coverage."""

import numpy as np
import pytest
from scipy.stats import binom

from rapidfit_sk._abstention import with_missing
from rapidfit_sk._rows.calibration import probabilities
from rapidfit_sk._rows.thresholds import (
    BestPrecision,
    Target,
    confidences,
    confident_codes,
    precision_bound,
    threshold_for_coverage,
    threshold_for_precision,
)

LOGITS = np.array([[4.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]], np.float32)


def draw(n, rng, accuracy=1.5):
    """Return confidences, and which rows are correct: the more confident, the more of them."""
    confidence = rng.beta(4, 1, n)
    return confidence, rng.random(n) < confidence**accuracy


# --------------------------------------------------------------------------------------------
# Confidences and missing labels


def test_confidence_is_the_largest_probability():
    """The confidence of a row is its largest probability at the temperature, to the bit."""
    for temperature in (0.5, 1.0, 3.0):
        expected = probabilities(LOGITS, temperature).max(axis=1)
        assert np.array_equal(confidences(LOGITS, temperature), expected)


def test_rows_below_the_minimum_have_no_code():
    """Rows below the minimum confidence get -1, rows at it keep their code, and 0 keeps all."""
    found = confidences(LOGITS)
    assert confident_codes(LOGITS, 1.0, 0.0).tolist() == [0, 1, 2]
    assert confident_codes(LOGITS, 1.0, found[2]).tolist() == [0, -1, 2]
    assert confident_codes(LOGITS, 1.0, np.nextafter(found[2], 1)).tolist() == [0, -1, -1]
    assert confident_codes(LOGITS, 1.0, 1.0).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    "classes", [np.array(["a", "b"]), np.array([1, 2], np.int8), np.array([False, True])]
)
def test_missing_labels_are_none(classes):
    """The code -1 means None, and other codes mean labels of their type in Python."""
    labels = with_missing(classes)[np.array([1, -1, 0])].tolist()
    assert labels == [classes.tolist()[1], None, classes.tolist()[0]]
    assert [type(label) for label in labels[::2]] == [type(classes.tolist()[0])] * 2


# --------------------------------------------------------------------------------------------
# Thresholds


@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_precision_holds_on_new_rows(n, target):
    """About nine of ten thresholds reach the precision on new rows, and none misses it by much."""
    rng = np.random.default_rng(0)
    new, is_correct = draw(50_000, rng)
    gaps = []
    for _ in range(300):
        threshold = threshold_for_precision(*draw(n, rng), target)
        if isinstance(threshold, float):
            gaps.append(is_correct[new >= threshold].mean() - target)
    n_missed = np.sum(np.array(gaps) < 0)
    # Up to three standard deviations of a binomial variable with p=0.1 are chance.
    assert n_missed <= 0.1 * 300 + 3 * np.sqrt(300 * 0.1 * 0.9)
    if n == 1000:
        assert len(gaps) > 200
        assert np.min(gaps) > -0.06
        # The rule is not needlessly strict.
        assert n_missed >= 0.02 * 300


def test_best_threshold_by_chance_is_not_chosen():
    """Confidences without meaning seldom pass for a precision that the rows do not have."""
    rng = np.random.default_rng(0)
    found = [
        threshold_for_precision(rng.random(300), rng.random(300) < 0.9, 0.95) for _ in range(300)
    ]
    assert sum(isinstance(each, float) for each in found) < 0.05 * 300


def test_rows_that_a_precision_needs():
    """44 correct rows are too few for a precision of 0.95, and 45 are enough."""
    confidence = np.linspace(0.5, 0.9, 45)
    assert threshold_for_precision(confidence, np.ones(45, bool), 0.95) == 0.0
    few = threshold_for_precision(confidence[:44], np.ones(44, bool), 0.95)
    assert few == BestPrecision(pytest.approx(0.1 ** (1 / 44)), 44)


def test_bound_is_exact():
    """With a precision at the bound, so many correct rows have a probability of one tenth."""
    n_correct, n_rows = np.array([1, 7, 50, 95]), np.array([10, 10, 60, 100])
    bounds = precision_bound(n_correct, n_rows)
    assert binom.sf(n_correct - 1, n_rows, bounds) == pytest.approx(0.1)
    assert precision_bound(np.array([0]), np.array([5])).tolist() == [0]


def test_lowest_threshold_is_chosen():
    """A precision that is missed for a while and reached again counts, up to its last row."""
    is_correct = np.ones(120, bool)
    is_correct[[40, *range(100, 120)]] = False
    confidence = np.linspace(0.99, 0.4, 120)
    bounds = precision_bound(np.cumsum(is_correct), np.arange(1, 121))
    assert bounds[39] > 0.94 > bounds[40]
    found = threshold_for_precision(confidence, is_correct, 0.94)
    assert found == confidence[np.flatnonzero(bounds >= 0.94)[-1]] < confidence[90]
    order = np.random.default_rng(0).permutation(120)
    assert threshold_for_precision(confidence[order], is_correct[order], 0.94) == found


def test_rows_of_equal_confidence_stay_together():
    """A threshold never separates rows of equal confidence, in whatever order they come."""
    confidence = np.array([0.9] * 40 + [0.5] * 40)
    is_correct = np.array([True] * 60 + [False] * 20)
    for order in (np.arange(80), np.arange(80)[::-1]):
        found = threshold_for_precision(confidence[order], is_correct[order], 0.9)
        assert found == 0.9


@pytest.mark.parametrize("n", [20, 300])
@pytest.mark.parametrize("target", [0.5, 0.9])
def test_coverage_holds_on_new_rows(n, target):
    """New rows reach the threshold with the probability of the target, on average over draws."""
    rng = np.random.default_rng(0)
    new, _ = draw(20_000, rng)
    shares = []
    for _ in range(1000):
        threshold = threshold_for_coverage(draw(n, rng)[0], target)
        shares.append((new >= threshold).mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert target - 4 * error <= np.mean(shares) <= target + 1 / n + 4 * error


def test_too_few_rows_for_a_coverage():
    """If no confidence is low enough for the coverage, all rows are predicted."""
    assert threshold_for_coverage(np.array([0.9, 0.8]), 0.9) == 0.0
    assert threshold_for_coverage(np.array([0.9, 0.8]), 0.5) == 0.8


# --------------------------------------------------------------------------------------------
# Targets


@pytest.mark.parametrize(
    ("precision", "coverage", "message"),
    [
        (None, None, "Pass either precision or coverage"),
        (0.9, 0.9, "Pass either precision or coverage"),
        (1.0, None, r"'precision' parameter must be a float in the range \(0.0, 1.0\)"),
        (None, 0, "'coverage' parameter must be"),
        (95, None, "'precision' parameter must be"),
        ({"a": "high"}, None, "'precision' parameter must be"),
    ],
)
def test_invalid_targets(precision, coverage, message):
    """Exactly one target is given, as a number between 0 and 1 or a dict of such numbers."""
    with pytest.raises(ValueError, match=message):
        Target.of(precision, coverage)


def test_targets_by_task():
    """A dict sets the target of each task in it, and a number that of all tasks."""
    rng = np.random.default_rng(0)
    rows = {"a": draw(500, rng), "b": draw(500, rng)}
    both = Target.of(0.9, None).thresholds(rows)
    assert both == Target.of({"a": 0.9, "b": 0.9}, None).thresholds(rows)
    assert Target.of({"b": 0.9}, None).thresholds(rows) == {"b": both["b"]}
    assert Target.of({"b": 0.8}, None).thresholds(rows)["b"] < both["b"]
    with pytest.raises(ValueError, match="names task 'c', but X has no rows of it"):
        Target.of({"c": 0.8}, None).thresholds(rows)


def test_unreachable_precision():
    """The error for a precision that no threshold reaches states the highest precision."""
    rows = {"a": (np.array([0.9, 0.8, 0.7]), np.array([True, True, False]))}
    message = "0.95 for task 'a' .* The highest is 0.316, for the 2 most confident of 3 rows"
    with pytest.raises(ValueError, match=message):
        Target.of(0.95, None).thresholds(rows)

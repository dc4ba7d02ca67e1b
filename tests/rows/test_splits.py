"""Splits hold out the given share of each class and keep all rows of a text together."""

import numpy as np
import pytest

from rapidfit_sk._rows.splits import hold_out, quotas, split_rows


def shares(held, strata):
    """Return the share of held-out rows in each stratum."""
    return np.array([held[strata == s].mean() for s in np.unique(strata)])


@pytest.fixture
def three_tasks():
    """600 texts with up to three independent labels each."""
    rng = np.random.default_rng(0)
    texts, tasks = np.repeat(np.arange(600), 3), np.tile(np.arange(3), 600)
    labels = rng.choice(4, size=1800, p=[0.4, 0.3, 0.2, 0.1])
    kept = rng.random(1800) < 0.8
    return texts[kept], tasks[kept], labels[kept]


def test_default_shares():
    """Sizes of 0.1 split the rows into 81, 9 and 10 %, and each row is in exactly one part."""
    n = 1000
    texts, tasks, labels = np.arange(n), np.zeros(n, int), np.arange(n) % 5
    split = split_rows(
        texts, tasks, labels, test_size=0.1, val_size=0.1, rng=np.random.default_rng(0)
    )
    assert [len(part) for part in split] == [810, 90, 100]
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(n))


def test_texts_with_one_row_are_stratified_exactly():
    """If each text has one row, exactly the given share of each class is held out."""
    texts, tasks = np.arange(900), np.repeat([0, 1], [600, 300])
    labels = np.concatenate([np.arange(600) % 3, np.arange(300) % 2])
    held = hold_out(texts, tasks, labels, 0.2, np.random.default_rng(0))
    strata = tasks * 10 + labels
    assert np.allclose(shares(held, strata), 0.2)


def test_texts_with_several_tasks_are_stratified(three_tasks):
    """If texts have rows of several tasks, the held-out share of each class is close to `size`."""
    texts, tasks, labels = three_tasks
    held = hold_out(texts, tasks, labels, 0.2, np.random.default_rng(0))
    assert abs(held.mean() - 0.2) < 0.02
    assert np.abs(shares(held, tasks * 10 + labels) - 0.2).max() < 0.06


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_a_text_stay_together(three_tasks, seed):
    """All rows of a text are in the same part of a split."""
    texts, tasks, labels = three_tasks
    split = split_rows(
        texts, tasks, labels, test_size=0.2, val_size=0.2, rng=np.random.default_rng(seed)
    )
    sides = [set(texts[part]) for part in split]
    assert len(set.union(*sides)) == sum(map(len, sides))


def test_every_class_keeps_a_training_row():
    """Every class keeps a training row, even if it is small and half of all rows are held out."""
    rng = np.random.default_rng(0)
    texts, tasks, labels = rng.integers(0, 30, 60), rng.integers(0, 2, 60), rng.integers(0, 9, 60)
    for seed in range(20):
        held = hold_out(texts, tasks, labels, 0.5, np.random.default_rng(seed))
        strata = tasks * 10 + labels
        assert (shares(held, strata) < 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_repeated_texts_do_not_exceed_the_size(seed):
    """If some texts have many rows, the share of held-out rows stays close to the given size."""
    rng = np.random.default_rng(seed)
    texts = np.minimum(rng.zipf(1.5, 3000), 500)
    labels = texts % 3
    held = hold_out(texts, np.zeros(3000, int), labels, 0.1, rng)
    assert 0.07 < held.mean() < 0.12


def test_text_with_half_of_the_rows_stays_in_training():
    """A text that has more rows than should be held out stays in training."""
    texts = np.concatenate([np.zeros(500, int), np.arange(1, 501)])
    labels = np.concatenate([np.zeros(500, int), np.arange(500) % 2])
    held = hold_out(texts, np.zeros(1000, int), labels, 0.1, np.random.default_rng(0))
    assert not held[:500].any()
    assert 80 <= held.sum() <= 105


@pytest.mark.parametrize(
    ("n_classes", "n_texts", "n_repeats"), [(150, 5, 2), (50, 4, 5), (2, 4, 10)]
)
def test_repeated_texts_reach_the_size(n_classes, n_texts, n_repeats):
    """A task reaches its held-out share even if each text exceeds the quota of its class."""
    labels = np.repeat(np.arange(n_classes), n_texts * n_repeats)
    texts = np.repeat(np.arange(n_classes * n_texts), n_repeats)
    held = hold_out(texts, np.zeros_like(texts), labels, 0.1, np.random.default_rng(0))
    assert held.mean() == pytest.approx(0.1, abs=0.03)
    assert (shares(held, labels) < 1).all()


def test_size_zero_and_tiny_tasks():
    """No rows are held out with size 0 or from a task with two rows."""
    rows = np.arange(2)
    for size in (0, 0.1):
        assert not hold_out(rows, np.zeros(2, int), rows, size, np.random.default_rng(0)).any()


def test_seed_determines_the_split():
    """The same seed gives the same split, and a different seed gives a different split."""
    rows = np.arange(100)
    draws = [
        hold_out(rows, rows * 0, rows % 2, 0.2, np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_quotas_add_up_to_the_share_of_the_task():
    """The quotas of many small classes add up to the share of their task."""
    counts = np.full(50, 4)
    given = quotas(np.zeros(50, int), counts, 0.1, np.random.default_rng(0))
    assert given.sum() == 20
    assert given.max() == 1

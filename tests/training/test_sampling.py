"""Rows and batches of an epoch."""

import functools

import numpy as np
import pytest

from rapidfit_sk._training.sampling import TaskSampler, rows_per_task


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("proportional", [900, 100]), ("sqrt", [750, 250]), ("equal", [500, 500])],
)
def test_rows_per_task(strategy, expected):
    """The strategies divide an epoch as documented."""
    assert rows_per_task([900, 100], strategy).tolist() == expected


@pytest.mark.parametrize("strategy", ["proportional", "sqrt", "equal"])
def test_rows_add_up(strategy):
    """The number of rows in an epoch is the number of training rows for any counts."""
    for counts in ([7, 11, 13], [1, 1000], [5], [3, 0, 4]):
        rows = rows_per_task(counts, strategy)
        assert rows.sum() == sum(counts)
        assert all(n == 0 for n, count in zip(rows, counts, strict=True) if count == 0)


def sampler(strategy, sizes=(90, 10), **kwargs):
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    options = {
        "batch_size": 8,
        "n_accumulated": 1,
        "rng": np.random.default_rng(0),
        "lengths": lambda: None,
        **kwargs,
    }
    options = {"min_steps": 1, **options}
    draws = TaskSampler(options.pop("texts", np.arange(len(tasks))), tasks, **options)
    draws.draw_epoch = functools.partial(draws.draw_epoch, strategy)
    return draws


def epoch(sampler):
    sampler.draw_epoch()
    return [batch for step in sampler for batch in step]


def test_proportional_is_every_row_once():
    """Each epoch contains each row exactly once, in a new order."""
    draws = sampler("proportional")
    orders = [np.concatenate(epoch(draws)) for _ in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(100))
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("n_accumulated", [1, 2])
def test_an_epoch_has_its_steps(n_accumulated):
    """A small epoch has the minimum number of steps, without an unnecessary pass over the rows."""
    for n in range(1, 60):
        few = sampler("proportional", (n,), min_steps=10, n_accumulated=n_accumulated)
        few.draw_epoch()
        assert len(few) >= 10
        drawn = np.concatenate([batch for step in few for batch in step])
        counts = np.bincount(drawn, minlength=n)
        assert counts.min() == counts.max() == few.rounds
        shorter = (few.rounds - 1) * n
        assert few.rounds == 1 or -(-shorter // (8 * n_accumulated)) < 10


def test_equal_balances_each_epoch():
    """With "equal", each of two tasks has half of each epoch."""
    draws = sampler("equal")
    for _ in range(3):
        assert (np.concatenate(epoch(draws)) < 90).sum() == 50


@pytest.mark.parametrize("strategy", ["sqrt", "equal"])
def test_every_row_has_its_turn(strategy):
    """Over epochs, all rows of a large task are drawn equally often."""
    draws = sampler(strategy)
    drawn = np.concatenate([np.concatenate(epoch(draws)) for _ in range(9)])
    counts = np.bincount(drawn, minlength=100)
    assert counts.min() >= 1
    for task in (counts[:90], counts[90:]):
        assert task.max() - task.min() <= 1


def test_rows_of_a_text_share_a_batch():
    """batch_size counts texts, and all rows of a text are in one batch."""
    texts = np.tile(np.arange(50), 2)
    batches = epoch(sampler("proportional", sizes=(50, 50), texts=texts))
    assert all(len(set(texts[batch])) == 8 for batch in batches[:-1])
    assert all(len(batch) == 2 * len(set(texts[batch])) for batch in batches)


@pytest.mark.parametrize("lengths", [None, np.arange(100)])
def test_repeats_are_spread(lengths):
    """A row that is drawn five times in an epoch is in five batches."""
    batches = epoch(sampler("equal", lengths=lambda: lengths))
    most = max(np.bincount(batch).max() for batch in batches)
    assert most <= 2


def sampler_of_long_and_short_texts(seed, **kwargs):
    """A sampler over 2,000 texts of 3 to 40 tokens with one row each."""
    lengths = np.random.default_rng(0).integers(3, 40, 2000)
    rng = np.random.default_rng(seed)
    options = {"lengths": lambda: lengths, "rng": rng, "batch_size": 16, **kwargs}
    return sampler("proportional", sizes=(2000,), **options), lengths


def test_batches_have_texts_of_similar_length():
    """Padding adds at most a tenth of the tokens, instead of half without sorting."""
    draws, lengths = sampler_of_long_and_short_texts(0)
    batches = epoch(draws)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(2000))
    assert sum(len(b) * lengths[b].max() for b in batches) < 1.1 * lengths.sum()
    plain, _ = sampler_of_long_and_short_texts(0, lengths=lambda: None)
    assert sum(len(b) * lengths[b].max() for b in epoch(plain)) > 1.5 * lengths.sum()


def test_no_part_of_an_epoch_has_the_longer_texts():
    """The mean length at each position of an epoch is the mean of all texts."""
    draws, lengths = sampler_of_long_and_short_texts(0)
    means = np.array([[lengths[b].mean() for b in epoch(draws)] for _ in range(200)])
    standard_error = means.std(axis=0) / np.sqrt(len(means))
    assert (abs(means.mean(axis=0) - lengths.mean()) < 4.5 * standard_error).all()


def test_batches_differ_between_epochs():
    """Each epoch has other batches, and the same seed gives the same batches."""
    draws, _ = sampler_of_long_and_short_texts(0)
    first, second = epoch(draws), epoch(draws)
    partners = [{frozenset(batch.tolist()) for batch in each} for each in (first, second)]
    assert not partners[0] & partners[1]
    again, _ = sampler_of_long_and_short_texts(0)
    assert all(np.array_equal(a, b) for a, b in zip(epoch(again), first, strict=True))


def test_accumulated_batches_have_the_texts_of_the_large_batch():
    """Four accumulated batches of 4 contain the texts of one batch of 16."""
    large, _ = sampler_of_long_and_short_texts(0)
    small, _ = sampler_of_long_and_short_texts(0, batch_size=4, n_accumulated=4)
    small.draw_epoch()
    steps = [np.sort(np.concatenate(step)) for step in small]
    assert all(np.array_equal(a, np.sort(b)) for a, b in zip(steps, epoch(large), strict=True))


def test_accumulation_keeps_the_batches():
    """Steps of several batches contain the same batches as steps of one."""
    single, grouped = sampler("proportional"), sampler("proportional", n_accumulated=3)
    assert all(np.array_equal(a, b) for a, b in zip(epoch(single), epoch(grouped), strict=True))
    assert [len(step) for step in grouped] == [3, 3, 3, 3, 1]
    assert len(grouped) == 5

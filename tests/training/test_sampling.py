"""Sampling of the rows and batches of an epoch."""

import functools

import numpy as np
import pytest

from rapidfit_sk._training.sampling import TaskSampler, rows_per_task


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("proportional", [900, 100]), ("sqrt", [750, 250]), ("equal", [500, 500])],
)
def test_rows_per_task(strategy, expected):
    """Each strategy divides an epoch between the tasks as documented."""
    assert rows_per_task([900, 100], strategy).tolist() == expected


@pytest.mark.parametrize("strategy", ["proportional", "sqrt", "equal"])
def test_rows_add_up(strategy):
    """The number of rows in an epoch equals the number of training rows, for any counts."""
    for counts in ([7, 11, 13], [1, 1000], [5], [3, 0, 4]):
        rows = rows_per_task(counts, strategy)
        assert rows.sum() == sum(counts)
        assert all(n == 0 for n, count in zip(rows, counts, strict=True) if count == 0)


def make_sampler(strategy, sizes=(90, 10), **kwargs):
    """Return a sampler of tasks with the given numbers of rows, by default one row per text."""
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


def draw_batches(sampler):
    """Draw an epoch and return its batches."""
    sampler.draw_epoch()
    return [batch for step in sampler for batch in step]


def test_proportional_draws_every_row_once():
    """Each epoch contains each row exactly once, in a new order."""
    draws = make_sampler("proportional")
    orders = [np.concatenate(draw_batches(draws)) for _ in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(100))
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("n_accumulated", [1, 2])
def test_small_epoch_has_the_minimum_number_of_steps(n_accumulated):
    """A small epoch repeats its rows until it has `min_steps` steps, and not more often."""
    for n in range(1, 60):
        few = make_sampler("proportional", (n,), min_steps=10, n_accumulated=n_accumulated)
        few.draw_epoch()
        assert len(few) >= 10
        drawn = np.concatenate([batch for step in few for batch in step])
        counts = np.bincount(drawn, minlength=n)
        assert counts.min() == counts.max() == few.rounds
        shorter = (few.rounds - 1) * n
        assert few.rounds == 1 or -(-shorter // (8 * n_accumulated)) < 10


def test_equal_balances_each_epoch():
    """With "equal", each of two tasks has half of the rows of each epoch."""
    draws = make_sampler("equal")
    for _ in range(3):
        assert (np.concatenate(draw_batches(draws)) < 90).sum() == 50


@pytest.mark.parametrize("strategy", ["sqrt", "equal"])
def test_rows_of_a_task_are_drawn_equally_often(strategy):
    """Over several epochs, the numbers of draws of the rows of a task differ by at most one."""
    draws = make_sampler(strategy)
    drawn = np.concatenate([np.concatenate(draw_batches(draws)) for _ in range(9)])
    counts = np.bincount(drawn, minlength=100)
    assert counts.min() >= 1
    for task in (counts[:90], counts[90:]):
        assert task.max() - task.min() <= 1


def test_rows_of_a_text_share_a_batch():
    """`batch_size` counts texts, and all rows of a text are in the same batch."""
    texts = np.tile(np.arange(50), 2)
    batches = draw_batches(make_sampler("proportional", sizes=(50, 50), texts=texts))
    assert all(len(set(texts[batch])) == 8 for batch in batches[:-1])
    assert all(len(batch) == 2 * len(set(texts[batch])) for batch in batches)


@pytest.mark.parametrize("lengths", [None, np.arange(100)])
def test_repetitions_of_a_row_are_spread_over_batches(lengths):
    """A row that is drawn five times in an epoch is at most twice in the same batch."""
    batches = draw_batches(make_sampler("equal", lengths=lambda: lengths))
    most = max(np.bincount(batch).max() for batch in batches)
    assert most <= 2


def make_sampler_of_long_and_short_texts(seed, **kwargs):
    """Return a sampler of 2,000 texts of 3 to 39 tokens with one row each, and the lengths."""
    lengths = np.random.default_rng(0).integers(3, 40, 2000)
    rng = np.random.default_rng(seed)
    options = {"lengths": lambda: lengths, "rng": rng, "batch_size": 16, **kwargs}
    return make_sampler("proportional", sizes=(2000,), **options), lengths


def test_batches_have_texts_of_similar_length():
    """Padding adds less than 10 % of the tokens, but more than 50 % if lengths are unknown."""
    draws, lengths = make_sampler_of_long_and_short_texts(0)
    batches = draw_batches(draws)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(2000))
    assert sum(len(b) * lengths[b].max() for b in batches) < 1.1 * lengths.sum()
    plain, _ = make_sampler_of_long_and_short_texts(0, lengths=lambda: None)
    assert sum(len(b) * lengths[b].max() for b in draw_batches(plain)) > 1.5 * lengths.sum()


def test_lengths_do_not_depend_on_the_position_in_an_epoch():
    """The expected length of texts is the same at each position of an epoch."""
    draws, lengths = make_sampler_of_long_and_short_texts(0)
    means = np.array([[lengths[b].mean() for b in draw_batches(draws)] for _ in range(200)])
    standard_error = means.std(axis=0) / np.sqrt(len(means))
    assert (abs(means.mean(axis=0) - lengths.mean()) < 4.5 * standard_error).all()


def test_batches_differ_between_epochs():
    """Batches differ between epochs, and the same seed gives the same batches."""
    draws, _ = make_sampler_of_long_and_short_texts(0)
    first, second = draw_batches(draws), draw_batches(draws)
    partners = [{frozenset(batch.tolist()) for batch in each} for each in (first, second)]
    assert not partners[0] & partners[1]
    again, _ = make_sampler_of_long_and_short_texts(0)
    assert all(np.array_equal(a, b) for a, b in zip(draw_batches(again), first, strict=True))


def test_accumulated_batches_have_the_texts_of_a_large_batch():
    """Four accumulated batches of 4 contain the same texts as one batch of 16."""
    large, _ = make_sampler_of_long_and_short_texts(0)
    small, _ = make_sampler_of_long_and_short_texts(0, batch_size=4, n_accumulated=4)
    small.draw_epoch()
    steps = [np.sort(np.concatenate(step)) for step in small]
    assert all(
        np.array_equal(a, np.sort(b)) for a, b in zip(steps, draw_batches(large), strict=True)
    )


def test_accumulation_does_not_change_the_batches():
    """Steps with several batches contain the same batches as steps with one batch."""
    single, grouped = make_sampler("proportional"), make_sampler("proportional", n_accumulated=3)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(draw_batches(single), draw_batches(grouped), strict=True)
    )
    assert [len(step) for step in grouped] == [3, 3, 3, 3, 1]
    assert len(grouped) == 5

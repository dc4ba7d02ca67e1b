"""The probability of label texts, and the training rows that they become."""

import numpy as np
import pytest

from rapidfit_sk._training.label_texts import label_directions, probability_of_texts
from rapidfit_sk._training.sampling import TaskSampler


@pytest.fixture
def data():
    """Noisy embeddings of four labels, 20 each, around directions that resemble label texts."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    directions = label_directions(np.eye(4, 64), np.arange(4), 4)
    return directions[labels] + rng.normal(scale=0.2, size=(80, 64)), labels, directions


def test_directions():
    """The direction of a label is the mean of the directions of its texts, whatever their norms."""
    found = label_directions(np.array([[2.0, 0], [0, 9.0], [3.0, 0]]), np.array([2, 2, 0]), 4)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[1, 0], [0, 0], [half, half], [0, 0]], rtol=1e-6)


def test_texts_that_describe_rows_count(data):
    """The probability approaches 1 with rows that resemble their texts, and starts at 0.5."""
    rows, labels, directions = data
    assert probability_of_texts(rows[:0], labels[:0], np.ones(0), directions) == 0.5
    few = probability_of_texts(rows[::20], labels[::20], np.ones(4), directions)
    assert 0.5 < few < probability_of_texts(rows, labels, np.ones(80), directions)
    assert probability_of_texts(rows, labels, np.ones(80), directions) > 0.999


def test_shuffled_texts_count_for_nothing(data):
    """The probability of texts that belong to other labels approaches 0."""
    rows, labels, directions = data
    assert probability_of_texts(rows, labels, np.ones(80), np.roll(directions, 1, axis=0)) < 0.001


def test_a_text_close_to_all_rows_says_nothing(data):
    """A text that is close to every row does not count, even if most rows have its label."""
    rng = np.random.default_rng(1)
    rows = np.eye(1, 64) + rng.normal(scale=0.05, size=(100, 64))
    labels = np.repeat([0, 1], [90, 10])
    assert probability_of_texts(rows, labels, np.ones(100), np.eye(2, 64)) < 0.1


def test_rows_of_labels_without_texts_say_nothing(data):
    """Rows of a label without a text do not change the probability."""
    rows, labels, directions = data
    without = directions.copy()
    without[3] = 0
    known = labels < 3
    expected = probability_of_texts(rows[known], labels[known], np.ones(60), directions[:3])
    assert probability_of_texts(rows, labels, np.ones(80), without) == pytest.approx(expected)


def test_only_ratios_of_weights_matter(data):
    """Rows of weight 0.1 say as much as rows of weight 1."""
    rows, labels, directions = (part[::20] if len(part) > 4 else part for part in data)
    expected = probability_of_texts(rows, labels, np.ones(4), directions)
    assert probability_of_texts(rows, labels, np.full(4, 0.1), directions) == pytest.approx(
        expected
    )


def sampler(**options):
    """Return a sampler of 40 rows of data in two tasks, and 6 label texts of the first task."""
    tasks = np.repeat([0, 1, 0], [30, 10, 6])
    options = {"batch_size": 8, "n_accumulated": 1, "min_steps": 1, "n_data": 40, **options}
    rng = np.random.default_rng(0)
    return TaskSampler(np.arange(46), tasks, rng=rng, lengths=lambda: None, **options)


def drawn(draws, n_epochs):
    """Return the number of draws of each row over several epochs, and the sizes of the epochs."""
    counts, sizes = np.zeros(46, int), []
    for _ in range(n_epochs):
        draws.draw_epoch()
        rows = np.concatenate([batch for step in draws for batch in step])
        counts += np.bincount(rows, minlength=46)
        sizes.append(len(rows))
    return counts, sizes


def test_label_texts_are_drawn_once_included():
    """Label texts are drawn like rows of their task, and an epoch does not grow by them."""
    draws = sampler()
    counts, sizes = drawn(draws, 3)
    assert counts[:40].tolist() == [3] * 40
    assert not counts[40:].any()
    draws.include(np.arange(40, 46))
    counts, sizes = drawn(draws, 12)
    assert sizes == [40] * 12
    assert set(counts[30:40]) == {12}
    of_task = np.delete(counts, np.s_[30:40])
    assert of_task.min() == of_task.max() == 10  # 12 epochs of 30 draws from 36 rows


@pytest.mark.parametrize(("n_texts", "size", "passes"), [(9, 40, 2), (10, 50, 1), (40, 80, 1)])
def test_many_label_texts_lengthen_an_epoch(n_texts, size, passes):
    """If there is one label text for every four rows, an epoch has all of them as well.

    The passes that the minimum of 6 steps of 8 texts needs are then counted anew.
    """
    tasks = np.repeat([0, 1, 0], [30, 10, n_texts])
    draws = TaskSampler(
        np.arange(len(tasks)),
        tasks,
        batch_size=8,
        n_accumulated=1,
        min_steps=6,
        rng=np.random.default_rng(0),
        lengths=lambda: None,
        n_data=40,
    )
    assert draws.rounds == 2
    draws.include(np.arange(40, len(tasks)))
    draws.draw_epoch()
    assert draws.rounds == passes
    assert sum(len(batch) for step in draws for batch in step) == size * passes

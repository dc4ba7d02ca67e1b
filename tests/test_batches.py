"""Batches hold distinct texts, the rows that ask about them, and as little padding as it takes."""

import numpy as np
import pytest
import torch

from rapidfit_sk._batches import TEXTS_PER_PASS, TextRows, by_length, known_weights
from rapidfit_sk._tokens import TokenIds


def tokens_of(lengths, padding=99):
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenIds(np.arange(starts[-1], dtype=np.int32), starts, padding)


@pytest.fixture
def rows():
    """Three texts of 2, 4 and 3 tokens; two tasks; the first text has both."""
    return TextRows(
        tokens_of([2, 4, 3]),
        texts=np.array([0, 1, 0, 2]),
        tasks=np.array([0, 0, 1, 1]),
        n_tasks=2,
        labels=np.array([5, 6, 7, -1]),
    )


def test_a_text_stands_in_a_batch_once(rows):
    """Two rows of one text point to the same line of the batch."""
    batch = rows.batch(np.array([0, 2]))
    assert batch.inputs["input_ids"].tolist() == [[0, 1]]
    assert [at.tolist() for at in batch.inputs["rows"]] == [[0], [0]]
    assert [labels.tolist() for labels in batch.targets["labels"]] == [[5], [7]]


def test_padding_goes_to_the_longest_of_the_batch(rows):
    """Shorter texts are filled up and masked; the longest of another batch plays no part."""
    batch = rows.batch(np.array([3, 0]))
    assert batch.inputs["input_ids"].tolist() == [[0, 1, 99], [6, 7, 8]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.inputs["input_ids"].dtype == torch.int64


def test_unknown_labels_weigh_nothing(rows):
    """A row whose label no head knows has no weight in the loss, though it counts in scores."""
    batch = rows.batch(np.arange(4))
    assert [weights.tolist() for weights in batch.targets["weights"]] == [[1, 1], [1, 1]]
    assert [weights.tolist() for weights in known_weights(batch.targets)] == [[1, 1], [1, 0]]
    assert batch.weight == 3


def test_list_of_batches(rows):
    """A list of row arrays gives a list of batches, for gradient accumulation."""
    first, second = rows[[np.array([0]), np.array([1])]]
    assert first.inputs["input_ids"].tolist() == [[0, 1]]
    assert second.inputs["input_ids"].tolist() == [[2, 3, 4, 5]]


def test_task_without_rows(rows):
    """A task that a batch does not have gets an empty entry, not none."""
    batch = rows.batch(np.array([1]))
    assert [len(at) for at in batch.inputs["rows"]] == [1, 0]


def test_by_length_covers_all_rows_with_little_padding():
    """Each row is in one batch, rows of a text together, texts of like length together."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 60, 1000)
    rows = TextRows(tokens_of(lengths), rng.permutation(np.repeat(np.arange(1000), 2)), None, 1)
    batches = by_length(rows)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(2000))
    texts = [set(rows.texts[batch]) for batch in batches]
    assert sum(map(len, texts)) == 1000
    assert max(map(len, texts)) == TEXTS_PER_PASS
    padded = sum(len(batch) * lengths[list(batch)].max() for batch in texts)
    assert padded < 1.1 * lengths.sum()

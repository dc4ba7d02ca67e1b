"""Batches contain distinct texts with their rows and little padding."""

import numpy as np
import pytest
import torch

from rapidfit_sk._tokens import TOKENS_PER_PASS, TokenIds
from rapidfit_sk._training.batches import (
    Batches,
    Embeddings,
    HiddenStates,
    PaddedTokens,
    TextRows,
)


def tokens_of(lengths, padding=99):
    """Return the token ids 0, 1, 2, ... divided into texts of the given lengths."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    firsts = np.arange(len(starts))
    none = np.zeros(len(lengths), dtype=int)
    ids = np.arange(starts[-1], dtype=np.int32)
    return TokenIds(ids, starts, firsts, padding, none > 0, none, np.asarray(lengths))


@pytest.fixture
def rows():
    """Three texts of 2, 4 and 3 tokens and two tasks; the first text has both tasks."""
    return TextRows(
        tokens_of([2, 4, 3]),
        texts=np.array([0, 1, 0, 2]),
        tasks=np.array([0, 0, 1, 1]),
        n_tasks=2,
        labels=np.array([5, 6, 7, -1]),
    )


def batch_of(rows, numbers):
    """Return a batch of padded tokens of the rows with these numbers."""
    return rows.batch(np.asarray(numbers), PaddedTokens(rows.tokens))


def test_texts_of_a_batch_are_distinct(rows):
    """Two rows of the same text refer to the same position in the batch."""
    batch = batch_of(rows, [0, 2])
    assert batch.inputs["input_ids"].tolist() == [[0, 1]]
    assert [at.tolist() for at in batch.inputs["rows"]] == [[0], [0]]
    assert [labels.tolist() for labels in batch.targets["labels"]] == [[5], [7]]


def test_texts_are_padded_to_the_longest_of_the_batch(rows):
    """Texts are padded to the longest text of their batch, and the padding is masked."""
    batch = batch_of(rows, [3, 0])
    assert batch.inputs["input_ids"].tolist() == [[0, 1, 99], [6, 7, 8]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.inputs["input_ids"].dtype == torch.int64


def test_unknown_labels_have_no_weight(rows):
    """A row with an unknown label adds no weight to the batch, but it counts as a row."""
    batch = batch_of(rows, np.arange(4))
    assert [weights.tolist() for weights in batch.targets["weights"]] == [[1, 1], [1, 1]]
    assert batch.weight == 3
    assert batch.n_rows == 4


def test_accumulated_step_is_a_list_of_batches(rows):
    """A step of several row arrays gives a list of batches, for gradient accumulation."""
    steps = [[np.array([0]), np.array([1])]]
    ((first, second),) = Batches(rows, lambda: PaddedTokens(rows.tokens), steps)
    assert first.inputs["input_ids"].tolist() == [[0, 1]]
    assert second.inputs["input_ids"].tolist() == [[2, 3, 4, 5]]


def test_task_without_rows_has_no_positions(rows):
    """A task without rows in a batch has an empty list of positions."""
    batch = batch_of(rows, [1])
    assert [len(at) for at in batch.inputs["rows"]] == [1, 0]


def test_passes_cover_all_rows_with_little_padding():
    """Each row is in one batch with all rows of its text, and padding adds less than 10 %."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 60, 1000)
    rows = TextRows(tokens_of(lengths), rng.permutation(np.repeat(np.arange(1000), 2)), None, 1)
    batches = PaddedTokens(rows.tokens).passes(rows)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(2000))
    texts = [set(rows.texts[batch]) for batch in batches]
    assert sum(map(len, texts)) == 1000
    padded = [len(batch) * lengths[list(batch)].max() for batch in texts]
    assert max(padded) <= TOKENS_PER_PASS
    assert sum(padded) < 1.1 * lengths.sum()


def test_very_long_text_gets_its_own_batch():
    """A text with more tokens than the limit of a batch gets its own batch."""
    rows = TextRows(tokens_of([5, TOKENS_PER_PASS + 1]), np.arange(2), None, 1)
    assert [batch.tolist() for batch in PaddedTokens(rows.tokens).passes(rows)] == [[1], [0]]


def test_states_match_their_tokens(rows):
    """A batch contains the hidden state of each of its tokens, and padding is masked."""
    states = torch.arange(9.0).unsqueeze(1) * torch.tensor([1.0, -1.0])  # (n_tokens, width)
    batch = rows.batch(np.array([0, 1]), HiddenStates(rows.tokens, states))
    kept = batch.inputs["states"][batch.inputs["attention_mask"].bool()]
    assert kept[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert kept[:, 1].tolist() == [0, -1, -2, -3, -4, -5]


def test_embeddings_need_no_tokens(rows):
    """If the embeddings are known, a batch contains one per text and no tokens."""
    batch = rows.batch(np.array([3, 0, 2]), Embeddings(torch.eye(3)))
    assert batch.inputs["embeddings"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert set(batch.inputs) == {"embeddings", "rows"}
    (all_rows,) = Embeddings(torch.eye(3)).passes(rows)
    assert all_rows.tolist() == [0, 1, 2, 3]

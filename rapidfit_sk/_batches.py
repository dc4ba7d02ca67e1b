"""Distinct texts and the rows that ask about them, padded and cut into batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ._tokens import TokenIds

# Texts in a batch without gradients. Activations are not kept, so that more fit than in training.
TEXTS_PER_PASS = 64


class Batch(NamedTuple):
    """What goes into the module, and what its output is compared with.

    skorch unpacks a batch as a pair.

    Attributes
    ----------
    inputs : dict
        ``input_ids`` and ``attention_mask``, int64 tensors of shape (n_texts, length), and
        ``rows``: for each task an int64 tensor, the texts that the task is asked about.
    targets : dict
        ``labels`` and ``weights``: for each task an int64 and a float32 tensor with one value
        for each entry of ``rows``.
    """

    inputs: dict
    targets: dict

    @property
    def weight(self) -> float:
        """The weight of all rows together that have a say in the loss."""
        return float(sum(weights.sum() for weights in known_weights(self.targets)))

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return sum(map(len, self.targets["labels"]))


def known_weights(targets) -> list[torch.Tensor]:
    """Return the row weights of each task, 0 where no head knows the label."""
    return [
        weights * (labels >= 0)
        for labels, weights in zip(targets["labels"], targets["weights"], strict=True)
    ]


class TextRows(torch.utils.data.Dataset):
    """Rows of (text, task, label), where a text is tokenized once and rows point to it.

    Parameters
    ----------
    tokens : TokenIds
        The distinct texts.
    texts : ndarray of int, shape (n_rows,)
        The text of each row.
    tasks : ndarray of int, shape (n_rows,)
        The task of each row.
    n_tasks : int
        Number of tasks, of which some may have no row.
    labels : ndarray of int64 or None, shape (n_rows,)
        Label codes; -1 for a label that no head knows: such a row has no say in the loss.
    weights : ndarray of float32 or None, shape (n_rows,)
        How much each row counts; None for 1.
    """

    def __init__(self, tokens: TokenIds, texts, tasks, n_tasks, labels=None, weights=None):
        self.tokens = tokens
        self.texts = texts
        self.tasks = tasks
        self.n_tasks = n_tasks
        self.labels = np.full(len(texts), -1) if labels is None else labels
        self.weights = np.ones(len(texts), np.float32) if weights is None else weights

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, item):
        """Return the batch of an array of row numbers, or the batches of a list of them."""
        return [self.batch(rows) for rows in item] if isinstance(item, list) else self.batch(item)

    def rows_by_task(self, rows) -> list[np.ndarray]:
        """Sort row numbers into one array per task, in the order of a batch."""
        tasks = self.tasks[rows]
        return [rows[tasks == task] for task in range(self.n_tasks)]

    def batch(self, rows) -> Batch:
        """Build the batch of some rows; each of their texts stands in it once."""
        distinct, place = np.unique(self.texts[rows], return_inverse=True)
        tasks = self.tasks[rows]
        groups = [tasks == task for task in range(self.n_tasks)]
        input_ids, attention_mask = self._pad(distinct)
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "rows": [torch.from_numpy(place[group]) for group in groups],
        }
        targets = {
            "labels": [torch.from_numpy(self.labels[rows[group]]) for group in groups],
            "weights": [torch.from_numpy(self.weights[rows[group]]) for group in groups],
        }
        return Batch(inputs, targets)

    def _pad(self, texts):
        """Lay the ids of some texts side by side, filled up to the longest of them."""
        starts, lengths = self.tokens.starts[texts], self.tokens.lengths[texts]
        column = np.arange(lengths.max())
        mask = column < lengths[:, None]  # (n_texts, length)
        # Beyond the end of a text any valid index will do: the value is replaced.
        at = np.where(mask, starts[:, None] + column, 0)
        ids = np.where(mask, self.tokens.ids[at], self.tokens.padding).astype(np.int64)
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


class Batches:
    """Draws its batches from a dataset in the order that a sampler gives.

    A plain loop: tokens are at hand, so there is nothing for the worker processes, the item
    queue and the collation of a `DataLoader` to do.
    """

    def __init__(self, dataset: TextRows, sampler):
        self.dataset = dataset
        self.sampler = sampler

    def __iter__(self):
        return (self.dataset[rows] for rows in self.sampler)

    def __len__(self):
        return len(self.sampler)


def by_length(dataset: TextRows) -> list[np.ndarray]:
    """Cut all rows of a dataset into batches of texts of like length, for less padding.

    Returns
    -------
    batches : list of ndarray of int
        Row numbers; each row is in one of them, and rows of one text are in the same.
    """
    order = np.argsort(dataset.tokens.lengths, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    batch = rank[dataset.texts] // TEXTS_PER_PASS
    rows = np.argsort(batch, kind="stable")
    return np.split(rows, np.flatnonzero(np.diff(batch[rows])) + 1)

"""Distinct texts and the rows that ask about them, cut into batches and padded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .._model import TextTokenizer, TokensOnDemand
from .._rows import CodedRows

# Tokens, padding included, in a batch without gradients: enough to keep the cores busy, and few
# enough for what a layer makes of them to stay near.
TOKENS_PER_PASS = 2048

# Rows in a batch that does not need the encoder.
ROWS_PER_PASS = 4096


@dataclass
class Batch:
    """What goes into the module, and what its output is compared with.

    To skorch a batch is a pair, which this one unpacks to.

    Attributes
    ----------
    inputs : dict
        What the module is called with: ``rows``, for each task an int64 tensor of the texts that
        the task is asked about, and what a source says of these texts.
    targets : dict
        ``labels`` and ``weights``: for each task an int64 and a float32 tensor with one value
        for each entry of ``rows``.
    n_rows : int
        The number of rows.
    weight : float
        The weight of all rows together that have a say in the loss.
    """

    inputs: dict[str, Any]
    targets: dict[str, list[torch.Tensor]]
    n_rows: int
    weight: float

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the inputs and the targets."""
        return iter((self.inputs, self.targets))


class TextRows(torch.utils.data.Dataset):
    """Rows of (text, task, label), where a text is tokenized once and rows point to it.

    Parameters
    ----------
    tokens : TokensOnDemand
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

    def __init__(
        self,
        tokens: TokensOnDemand,
        texts: NDArray[np.int64],
        tasks: NDArray[np.int64],
        n_tasks: int,
        labels: NDArray[np.int64] | None = None,
        weights: NDArray[np.float32] | None = None,
    ):
        self.tokens = tokens
        self.texts = texts
        self.tasks = tasks
        self.n_tasks = n_tasks
        self.labels = np.full(len(texts), -1) if labels is None else labels
        self.weights = np.ones(len(texts), np.float32) if weights is None else weights

    @classmethod
    def of(cls, rows: CodedRows, tokenizer: TextTokenizer) -> TextRows:
        """Point coded rows to their distinct texts, each of which is tokenized once at most."""
        tokens = TokensOnDemand(rows.texts.distinct, tokenizer)
        n_tasks = len(rows.classes)
        return cls(tokens, rows.texts.codes, rows.tasks, n_tasks, rows.labels, rows.weights)

    def __len__(self) -> int:
        return len(self.texts)

    def rows_by_task(self, rows: np.ndarray) -> list[np.ndarray]:
        """Sort row numbers into one array per task, in the order of a batch."""
        tasks = self.tasks[rows]
        return [rows[tasks == task] for task in range(self.n_tasks)]

    def batch(self, rows: np.ndarray, source: Source) -> Batch:
        """Build the batch of some rows; each of their texts stands in it once.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.
        source : PaddedTokens, Embeddings or HiddenStates
            What is known of the texts.
        """
        distinct, place = np.unique(self.texts[rows], return_inverse=True)
        tasks = self.tasks[rows]
        groups = [tasks == task for task in range(self.n_tasks)]
        inputs = source.inputs(distinct)
        inputs["rows"] = [torch.from_numpy(place[group]) for group in groups]
        labels, weights = self.labels[rows], self.weights[rows]
        targets = {
            "labels": [torch.from_numpy(labels[group]) for group in groups],
            "weights": [torch.from_numpy(weights[group]) for group in groups],
        }
        return Batch(inputs, targets, len(rows), float(weights @ (labels >= 0)))


# --------------------------------------------------------------------------------------------
# Sources: what goes into the module for some texts


class PaddedTokens:
    """Texts as token ids, for the whole encoder.

    Parameters
    ----------
    tokens : TokensOnDemand
        The distinct texts.
    """

    def __init__(self, tokens: TokensOnDemand):
        self.tokens = tokens

    def inputs(self, texts: np.ndarray) -> dict[str, Any]:
        """Lay some texts side by side, filled up to the longest of them."""
        inputs = self._inputs_at(*self.places(texts))
        counts = self.tokens.firsts[texts + 1] - self.tokens.firsts[texts]
        if len(inputs["input_ids"]) > len(texts):
            inputs["firsts"] = torch.from_numpy(np.cumsum(counts) - counts)
        return inputs

    def _inputs_at(self, at: np.ndarray, mask: np.ndarray) -> dict[str, torch.Tensor]:
        ids = np.where(mask, self.tokens.ids[at], self.tokens.padding)
        return {
            "input_ids": torch.from_numpy(ids.astype(np.int64)),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }

    def places(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the tokens of texts stand, and a mask, both of shape (n_windows, length)."""
        windows = _ranges(self.tokens.firsts[texts], self.tokens.firsts[texts + 1])
        starts = self.tokens.starts[windows]
        lengths = self.tokens.starts[windows + 1] - starts
        column = np.arange(lengths.max())
        mask = column < lengths[:, None]
        # Beyond the end of a window any valid place will do.
        return np.where(mask, starts[:, None] + column, 0), mask

    def passes(self, dataset: TextRows) -> list[np.ndarray]:
        """Cut all rows of a dataset into batches of texts of like length, for less padding.

        Returns
        -------
        batches : list of ndarray of int
            Row numbers; each row is in one of them, and rows of one text are in the same.
        """
        batch_of_text = np.empty(len(dataset.tokens), dtype=np.int64)
        for number, texts in enumerate(by_length(dataset.tokens.lengths)):
            batch_of_text[texts] = number
        batch = batch_of_text[dataset.texts]
        rows = np.argsort(batch, kind="stable")
        return np.split(rows, np.flatnonzero(np.diff(batch[rows])) + 1)


class HiddenStates(PaddedTokens):
    """Texts as hidden states of the encoder, for its layers from one on.

    Parameters
    ----------
    tokens : TokensOnDemand
        The distinct texts.
    states : Tensor of float32, shape (n_tokens, width)
        What enters that layer, for the tokens of all texts.
    """

    def __init__(self, tokens: TokensOnDemand, states: torch.Tensor):
        super().__init__(tokens)
        self.states = states

    def _inputs_at(self, at: np.ndarray, mask: np.ndarray) -> dict[str, torch.Tensor]:
        inputs = super()._inputs_at(at, mask)
        rows = self.states.index_select(0, torch.from_numpy(at.ravel()))
        inputs["states"] = rows.view(*mask.shape, -1)  # (n_texts, length, width)
        return inputs


class Embeddings:
    """Texts as embeddings, for the heads alone.

    Parameters
    ----------
    embeddings : Tensor of float32, shape (n_texts, width)
        One for each text.
    """

    def __init__(self, embeddings: torch.Tensor):
        self.embeddings = embeddings

    def inputs(self, texts: np.ndarray) -> dict[str, Any]:
        """Look up some texts."""
        return {"embeddings": self.embeddings.index_select(0, torch.from_numpy(texts))}

    def passes(self, dataset: TextRows) -> list[np.ndarray]:
        """Cut all rows of a dataset into large batches."""
        return np.array_split(
            np.arange(len(dataset)), range(ROWS_PER_PASS, len(dataset), ROWS_PER_PASS)
        )


# What is known of texts: token ids, or hidden states of the encoder, or embeddings.
Source: TypeAlias = PaddedTokens | Embeddings


class Batches:
    """Draws its batches from a dataset, anew for each epoch.

    A plain loop: tokens are at hand, so there is nothing for the worker processes, the item
    queue and the collation of a `DataLoader` to do.

    Parameters
    ----------
    dataset : TextRows
        The rows.
    source : callable
        Returns the source of an epoch; it is asked at its start.
    sampler : iterable or None, default=None
        Gives lists of arrays of row numbers, for lists of batches; None for all rows in the
        batches that suit the source.
    """

    def __init__(
        self,
        dataset: TextRows,
        source: Callable[[], Source],
        sampler: Iterable[list[np.ndarray]] | None = None,
    ):
        self.dataset = dataset
        self.source = source
        self.sampler = sampler

    def __iter__(self) -> Iterator[Batch] | Iterator[list[Batch]]:
        source = self.source()
        if self.sampler is None:
            return (self.dataset.batch(rows, source) for rows in source.passes(self.dataset))
        return ([self.dataset.batch(rows, source) for rows in step] for step in self.sampler)


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the numbers of several ranges, one after the other.

    Examples
    --------
    >>> _ranges(np.array([5, 2]), np.array([7, 3]))
    array([5, 6, 2])
    """
    counts = ends - starts
    offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return np.arange(counts.sum()) + offsets


def by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Cut texts into batches of like length, the longest first.

    Parameters
    ----------
    lengths : ndarray of int, shape (n_texts,)
        Tokens of each text.

    Returns
    -------
    batches : list of ndarray of int
        Text numbers. With padding, none has more than `TOKENS_PER_PASS` tokens, unless it is a
        single text.

    Examples
    --------
    >>> [batch.tolist() for batch in by_length(np.array([3, 1000, 5, 1500]))]
    [[3], [1, 2], [0]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        n = max(1, TOKENS_PER_PASS // int(lengths[order[start]]))
        batches.append(order[start : start + n])
        start += n
    return batches

"""Datasets, batches and padding: rows that share distinct texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .._model import TextTokenizer, TokensOnDemand
from .._rows import CodedRows
from .._tokens import by_length, places
from .distributed import ALONE, Ranks

# Number of rows in a batch that does not need the encoder.
ROWS_PER_PASS = 4096


@dataclass
class Batch:
    """Inputs of the module with the targets of its output.

    A batch unpacks to the pair of inputs and targets that skorch expects.

    Attributes
    ----------
    inputs : dict
        Arguments of the module: the tensors that a source returns for the texts of the batch,
        and ``rows``, a list with one int64 tensor per task: the position in the batch of the text
        of each row.
    targets : dict
        ``labels`` (int64) and ``weights`` (float32): lists with one tensor per task, each with
        one value for each entry of ``rows``.
    n_rows : int
        Number of rows; in training, of all processes together.
    weight : float
        Total weight of the rows that contribute to the loss.
    """

    inputs: dict[str, Any]
    targets: dict[str, list[torch.Tensor]]
    n_rows: int
    weight: float

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the inputs and the targets."""
        return iter((self.inputs, self.targets))

    @property
    def is_empty(self) -> bool:
        """Whether all rows belong to other processes."""
        return not any(map(len, self.inputs["rows"]))


class TextRows(torch.utils.data.Dataset):
    """Rows of (text, task, label) that refer to distinct texts, each tokenized once.

    Parameters
    ----------
    tokens : TokensOnDemand
        The distinct texts.
    texts : ndarray of int, shape (n_rows,)
        The text of each row.
    tasks : ndarray of int, shape (n_rows,)
        The task of each row.
    n_tasks : int
        Number of tasks; some may have no rows.
    labels : ndarray of int64 or None, shape (n_rows,)
        Label codes. A row whose label is not a class of its head has the code -1 and does not
        contribute to the loss. None for -1 in each row.
    weights : ndarray of float32 or None, shape (n_rows,)
        Weight of each row; None for 1.
    n_label_texts : int, default=0
        Number of rows at the end that are label texts instead of data. Their weights are set
        to 0, and `shares` keeps the given ones.

    Attributes
    ----------
    n_data : int
        Number of rows that are data.
    shares : ndarray of float32, shape (n_label_texts,)
        The share of each text of a label; those of a label add up to 1.
    """

    def __init__(
        self,
        tokens: TokensOnDemand,
        texts: NDArray[np.int64],
        tasks: NDArray[np.int64],
        n_tasks: int,
        labels: NDArray[np.int64] | None = None,
        weights: NDArray[np.float32] | None = None,
        n_label_texts: int = 0,
    ):
        self.tokens = tokens
        self.texts = texts
        self.tasks = tasks
        self.n_tasks = n_tasks
        self.labels = np.full(len(texts), -1) if labels is None else labels
        self.weights = np.ones(len(texts), np.float32) if weights is None else weights
        self.n_data = len(texts) - n_label_texts
        # Label texts have no weight before the training decides how much they count.
        self.shares = self.weights[self.n_data :].copy()
        self.weights[self.n_data :] = 0

    @classmethod
    def of(
        cls, rows: CodedRows, tokenizer: TextTokenizer, label_texts: CodedRows | None = None
    ) -> TextRows:
        """Build the dataset of coded rows; each distinct text is tokenized at most once.

        Label texts, if there are any, follow the rows.
        """
        n_label_texts = 0 if label_texts is None else len(label_texts)
        rows = rows.joined(label_texts)
        tokens = TokensOnDemand(rows.texts.distinct, tokenizer)
        return cls(
            tokens,
            rows.texts.codes,
            rows.tasks,
            len(rows.classes),
            rows.labels,
            rows.weights,
            n_label_texts,
        )

    def __len__(self) -> int:
        return len(self.texts)

    def rows_by_task(self, rows: np.ndarray) -> list[np.ndarray]:
        """Split row numbers into one array per task, in the same order as in a batch."""
        tasks = self.tasks[rows]
        return [rows[tasks == task] for task in range(self.n_tasks)]

    def batch(self, rows: np.ndarray, source: Source) -> Batch:
        """Build a batch from some rows; it contains each of their texts once.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.
        source : PaddedTokens, Embeddings or HiddenStates
            Provides the inputs for the texts.

        Returns
        -------
        batch : Batch
            The inputs and targets of these rows.
        """
        distinct, place = np.unique(self.texts[rows], return_inverse=True)
        tasks = self.tasks[rows]
        groups = [tasks == task for task in range(self.n_tasks)]
        inputs = source.inputs(distinct) if len(rows) else {}
        inputs["rows"] = [torch.from_numpy(place[group]) for group in groups]
        labels, weights = self.labels[rows], self.weights[rows]
        targets = {
            "labels": [torch.from_numpy(labels[group]) for group in groups],
            "weights": [torch.from_numpy(weights[group]) for group in groups],
        }
        return Batch(inputs, targets, len(rows), float(weights @ (labels >= 0)))

    def share_of(self, rows: np.ndarray, ranks: Ranks) -> np.ndarray:
        """Return the rows of a batch whose texts this process encodes."""
        if ranks.size == 1:
            return rows
        _, place = np.unique(self.texts[rows], return_inverse=True)
        return rows[place % ranks.size == ranks.rank]


# --------------------------------------------------------------------------------------------
# Sources: inputs of the module for some texts


class PaddedTokens:
    """Token ids of texts, as input for the whole encoder.

    Parameters
    ----------
    tokens : TokensOnDemand
        The distinct texts.
    """

    def __init__(self, tokens: TokensOnDemand):
        self.tokens = tokens

    def inputs(self, texts: np.ndarray) -> dict[str, Any]:
        """Return the inputs for some texts, padded to the longest window among them."""
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
        """Return the token positions of texts and their mask, both of shape (n_windows, length)."""
        return places(self.tokens, texts)

    def passes(self, dataset: TextRows) -> list[np.ndarray]:
        """Split all rows of a dataset into batches of texts of similar length.

        Returns
        -------
        batches : list of ndarray of int
            Row numbers. Each row is in exactly one batch, and all rows of a text share a batch.
        """
        batch_of_text = np.empty(len(dataset.tokens), dtype=np.int64)
        for number, texts in enumerate(by_length(dataset.tokens.lengths)):
            batch_of_text[texts] = number
        batch = batch_of_text[dataset.texts]
        rows = np.argsort(batch, kind="stable")
        return np.split(rows, np.flatnonzero(np.diff(batch[rows])) + 1)


class HiddenStates(PaddedTokens):
    """Hidden states of texts, as input for the upper layers of the encoder.

    Parameters
    ----------
    tokens : TokensOnDemand
        The distinct texts.
    states : Tensor of float32, shape (n_tokens, width)
        The states of the tokens of all texts that enter the lowest of these layers.
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
    """Embeddings of texts, as input for the heads alone.

    Parameters
    ----------
    embeddings : Tensor of float32, shape (n_texts, width)
        The embedding of each text.
    """

    def __init__(self, embeddings: torch.Tensor):
        self.embeddings = embeddings

    def inputs(self, texts: np.ndarray) -> dict[str, Any]:
        """Return the embeddings of some texts."""
        return {"embeddings": self.embeddings.index_select(0, torch.from_numpy(texts))}

    def passes(self, dataset: TextRows) -> list[np.ndarray]:
        """Split all rows of a dataset into large batches."""
        return np.array_split(
            np.arange(len(dataset)), range(ROWS_PER_PASS, len(dataset), ROWS_PER_PASS)
        )


# Provides the inputs for texts: token ids, hidden states of the encoder, or embeddings.
Source: TypeAlias = PaddedTokens | Embeddings


class Batches:
    """Batches of a dataset, built again in each epoch.

    A plain loop is enough. The tokens are already in memory, so the worker processes, the item
    queue and the collation of a `DataLoader` would bring no benefit.

    Parameters
    ----------
    dataset : TextRows
        The rows.
    source : callable
        Returns the source of an epoch; called at the start of the epoch.
    sampler : iterable or None, default=None
        Yields one list of arrays of row numbers per step; each array becomes a batch. None for
        all rows, split into batches by the source.
    ranks : Ranks, default=ALONE
        The processes that share each batch of the sampler.
    """

    def __init__(
        self,
        dataset: TextRows,
        source: Callable[[], Source],
        sampler: Iterable[list[np.ndarray]] | None = None,
        ranks: Ranks = ALONE,
    ):
        self.dataset = dataset
        self.source = source
        self.sampler = sampler
        self.ranks = ranks

    def __iter__(self) -> Iterator[Batch] | Iterator[list[Batch]]:
        source = self.source()
        if self.sampler is None:
            return (self.dataset.batch(rows, source) for rows in source.passes(self.dataset))
        return ([self._share(rows, source) for rows in step] for step in self.sampler)

    def _share(self, rows: np.ndarray, source: Source) -> Batch:
        batch = self.dataset.batch(self.dataset.share_of(rows, self.ranks), source)
        return replace(batch, n_rows=len(rows))

"""Rows of (text, task) -> label codes or probabilities, a chunk of texts at a time."""

from __future__ import annotations

import functools

import numpy as np
import torch

from ._model import TokensOnDemand
from ._rows import CodedRows, distinct_texts, probabilities
from ._training import Embeddings, PaddedTokens, TextRows

# Distinct texts that are tokenized at once. What is held beyond the outputs does not grow with
# the number of texts.
CHUNK = 4096


class ProbabilitiesByTask(dict):
    """The probabilities of several tasks: a dict from the task to its array.

    The tables of different tasks have different rows and columns. Where something asks for one
    array, as a scorer does, it is told so.
    """

    def __array__(self, dtype=None, copy=None):
        """Refuse to be one array."""
        raise TypeError(
            f"There are probabilities of {len(self)} tasks here, and pooled over tasks they mean "
            "nothing. Score one task: rapidfit_sk.model_selection.task_scorer(task, metric), or "
            "the view classifier[task]."
        )


def text_rows(tokenizer, rows: CodedRows, n_tasks) -> TextRows:
    """Point some rows to their distinct texts, each of which is tokenized once at most."""
    codes, distinct = distinct_texts(rows.texts)
    tokens = TokensOnDemand(distinct, tokenizer)
    return TextRows(tokens, codes, rows.tasks, n_tasks, rows.labels, rows.weights)


def recall_from(store, net, tokenizer):
    """Return a function that gives the embeddings of texts, each encoded once by whoever asks.

    Parameters
    ----------
    store : EmbeddingStore or None
        Where they are kept.
    net, tokenizer
        As in :func:`predict_codes`.

    Returns
    -------
    recall : callable or None
        Takes texts; None where there is no store.
    """
    if store is None:
        return None
    encode = functools.partial(_embed_texts, net, tokenizer)
    return lambda texts: store.embed(texts, encode)


def _embed_texts(net, tokenizer, texts) -> np.ndarray:
    tokens = tokenizer(texts)
    n = len(tokens)
    dataset = TextRows(tokens, np.arange(n), np.zeros(n, dtype=int), 1)
    embeddings = np.empty((n, net.module_.encoder.config.hidden_size), np.float32)
    for rows, part in net.iter_embeddings(dataset):
        embeddings[rows] = part
    return embeddings


def predict_codes(net, tokenizer, texts, tasks, n_tasks, recall=None) -> np.ndarray:
    """Predict the label code of each row.

    Parameters
    ----------
    net : MultiheadNet
        A trained net.
    tokenizer : TextTokenizer
        The tokenizer of its encoder.
    texts : ndarray of object, shape (n_rows,)
        Strings. Each distinct one is encoded once.
    tasks : ndarray of int, shape (n_rows,)
        The task of each row.
    n_tasks : int
        Number of tasks of the net.
    recall : callable or None, default=None
        Takes texts and returns their embeddings; None to run the encoder.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        Label codes.
    """
    codes = np.empty(len(texts), dtype=np.int64)
    for rows, logits in _iter_logits(net, tokenizer, texts, tasks, n_tasks, recall):
        for at, part in zip(rows, logits, strict=True):
            codes[at] = part.argmax(axis=1)
    return codes


def predict_logits(net, tokenizer, texts, tasks, n_classes, recall=None) -> list[np.ndarray]:
    """Compute the logits of each row.

    Parameters
    ----------
    net, tokenizer, texts, tasks
        As in :func:`predict_codes`.
    n_classes : list of int
        Classes of each task of the net.
    recall : callable or None, default=None
        As in :func:`predict_codes`.

    Returns
    -------
    logits : list of ndarray of float32, each of shape (n_rows_of_task, n_classes_of_task)
        For each task the logits of its rows, in their order.
    """
    n_tasks = len(n_classes)
    counts = np.bincount(tasks, minlength=n_tasks)
    result = [np.empty(shape, np.float32) for shape in zip(counts, n_classes, strict=True)]
    place = np.empty(len(texts), dtype=np.int64)  # of a row among the rows of its task
    for task in range(n_tasks):
        place[tasks == task] = np.arange(counts[task])
    for rows, logits in _iter_logits(net, tokenizer, texts, tasks, n_tasks, recall):
        for of_task, at, part in zip(result, rows, logits, strict=True):
            of_task[place[at]] = part
    return result


def predict_probabilities(
    net, tokenizer, texts, tasks, n_classes, temperatures, recall=None
) -> list[np.ndarray]:
    """Predict the class probabilities of each row.

    Parameters
    ----------
    net, tokenizer, texts, tasks, n_classes, recall
        As in :func:`predict_logits`.
    temperatures : list of float
        What the logits of each task are divided by.

    Returns
    -------
    probabilities : list of ndarray of float64, each of shape (n_rows_of_task, n_classes_of_task)
        For each task the probabilities of its rows, in their order.
    """
    every = predict_logits(net, tokenizer, texts, tasks, n_classes, recall)
    return [probabilities(part, t) for part, t in zip(every, temperatures, strict=True)]


def _iter_logits(net, tokenizer, texts, tasks, n_tasks, recall):
    """Yield row numbers and logits by task, encoding each distinct text once."""
    codes, distinct = distinct_texts(texts)
    order = np.argsort(codes, kind="stable")
    starts = range(0, len(distinct), CHUNK)
    bounds = np.searchsorted(codes[order], [*starts, len(distinct)])
    for start, first, last in zip(starts, bounds, bounds[1:], strict=False):
        rows, chunk = order[first:last], distinct[start : start + CHUNK]
        tokens = TokensOnDemand(chunk, tokenizer)
        dataset = TextRows(tokens, codes[rows] - start, tasks[rows], n_tasks)
        source = (
            PaddedTokens(tokens) if recall is None else Embeddings(torch.from_numpy(recall(chunk)))
        )
        for at, logits in net.iter_logits(dataset, source):
            yield [rows[part] for part in at], logits

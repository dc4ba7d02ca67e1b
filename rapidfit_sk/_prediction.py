"""Rows of (text, task) -> label codes or probabilities, a chunk of texts at a time."""

from __future__ import annotations

import numpy as np

from ._batches import TextRows
from ._labels import CodedRows
from ._tables import distinct_texts

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
    """Tokenize the distinct texts of some rows and point the rows to them."""
    codes, distinct = distinct_texts(rows.texts)
    return TextRows(tokenizer(distinct), codes, rows.tasks, n_tasks, rows.labels, rows.weights)


def embed_texts(net, tokenizer, texts) -> np.ndarray:
    """Encode texts, each once.

    Returns
    -------
    embeddings : ndarray of float32, shape (n_texts, width)
        What the heads read.
    """
    parts = []
    for start in range(0, len(texts), CHUNK):
        tokens = tokenizer(texts[start : start + CHUNK])
        n = len(tokens)
        dataset = TextRows(tokens, np.arange(n), np.zeros(n, dtype=int), 1)
        part = None
        for rows, embeddings in net.iter_embeddings(dataset):
            part = np.empty((n, embeddings.shape[1]), np.float32) if part is None else part
            part[rows] = embeddings
        parts.append(part)
    return np.concatenate(parts)


def predict_codes(net, tokenizer, texts, tasks, n_tasks) -> np.ndarray:
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

    Returns
    -------
    codes : ndarray of int64, shape (n_rows,)
        Label codes.
    """
    codes = np.empty(len(texts), dtype=np.int64)
    for rows, logits in _iter_logits(net, tokenizer, texts, tasks, n_tasks):
        for at, part in zip(rows, logits, strict=True):
            codes[at] = part.argmax(axis=1)
    return codes


def predict_probabilities(net, tokenizer, texts, tasks, n_classes) -> list[np.ndarray]:
    """Predict the class probabilities of each row.

    Parameters
    ----------
    net, tokenizer, texts, tasks
        As in :func:`predict_codes`.
    n_classes : list of int
        Classes of each task of the net.

    Returns
    -------
    probabilities : list of ndarray of float64, each of shape (n_rows_of_task, n_classes_of_task)
        For each task the probabilities of its rows, in their order.
    """
    n_tasks = len(n_classes)
    counts = np.bincount(tasks, minlength=n_tasks)
    result = [np.empty(shape) for shape in zip(counts, n_classes, strict=True)]
    place = np.empty(len(texts), dtype=np.int64)  # of a row among the rows of its task
    for task in range(n_tasks):
        place[tasks == task] = np.arange(counts[task])
    for rows, logits in _iter_logits(net, tokenizer, texts, tasks, n_tasks):
        for probabilities, at, part in zip(result, rows, logits, strict=True):
            probabilities[place[at]] = _softmax(part)
    return result


def _iter_logits(net, tokenizer, texts, tasks, n_tasks):
    """Yield row numbers and logits by task, encoding each distinct text once."""
    codes, distinct = distinct_texts(texts)
    order = np.argsort(codes, kind="stable")
    for start in range(0, len(distinct), CHUNK):
        first, last = np.searchsorted(codes[order], [start, start + CHUNK])
        rows = order[first:last]
        tokens = tokenizer(distinct[start : start + CHUNK])
        dataset = TextRows(tokens, codes[rows] - start, tasks[rows], n_tasks)
        for at, logits in net.iter_logits(dataset):
            yield [rows[part] for part in at], logits


def _softmax(logits) -> np.ndarray:
    """Return probabilities in float64, whose rows sum to 1 more closely than in float32."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)

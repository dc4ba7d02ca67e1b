"""Pooling of token embeddings to a text embedding; padding is ignored."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mean_pooling(states, mask):
    """Return the mean of the token embeddings of each text.

    Parameters
    ----------
    states : Tensor of shape (n_texts, length, width)
        Token embeddings.
    mask : Tensor of shape (n_texts, length)
        1 for a token, 0 for padding.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings.
    """
    mask = mask.unsqueeze(-1).to(states.dtype)  # (n_texts, length, 1)
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)


def cls_pooling(states, mask):
    """Return the embedding of the first token; see :func:`mean_pooling`."""
    return states[:, 0]


def max_pooling(states, mask):
    """Return the maximum of each dimension over the tokens; see :func:`mean_pooling`."""
    lowest = torch.finfo(states.dtype).min
    return states.masked_fill(mask.unsqueeze(-1) == 0, lowest).amax(1)


# Scale of attention scores relative to logits. With 1, small data gains only a third as much from
# attention as with 5. With 10, small data gains slightly more, and large data the same or less (see
# benchmarks/README.md).
_SHARPNESS = 5.0


def attention_pooling(states, mask, query):
    """Return the mean of the token embeddings, weighted by attention to a query.

    Parameters
    ----------
    states, mask
        As in :func:`mean_pooling`.
    query : Tensor of shape (width,)
        The query of a task; zeros give the plain mean.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings for this task.
    """
    return (states * attention_weights(states, mask, query).unsqueeze(-1)).sum(1)


def attention_weights(states, mask, query):
    """Return the weight of each token of a text in :func:`attention_pooling`.

    Parameters
    ----------
    states, mask, query
        As in :func:`attention_pooling`.

    Returns
    -------
    weights : Tensor of shape (n_texts, length)
        Weights that sum to 1 for each text and are 0 for padding.
    """
    keys = F.rms_norm(states, states.shape[-1:])
    # The last bit of a matrix-vector product may depend on memory alignment; a sum avoids this.
    scores = _SHARPNESS * (keys * query).sum(-1)
    return scores.masked_fill(mask == 0, torch.finfo(states.dtype).min).softmax(1)


def mean_of_windows(windows, firsts):
    """Return the mean over the windows of each text.

    Parameters
    ----------
    windows : Tensor of shape (n_windows, width)
        Embeddings of windows; the windows of a text are consecutive.
    firsts : Tensor of int64, shape (n_texts,)
        Index of the first window of each text.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings.
    """
    numbers = torch.arange(len(windows), device=windows.device)
    return F.embedding_bag(numbers, windows, firsts, mode="mean")


# A head without a learned query uses the mean, from which attention starts.
POOLING = {"attention": mean_pooling, "mean": mean_pooling, "cls": cls_pooling, "max": max_pooling}

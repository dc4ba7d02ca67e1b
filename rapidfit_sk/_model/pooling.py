"""Token embeddings -> one text embedding; padding never has a say."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mean_pooling(states, mask):
    """Average over the tokens of each text.

    Parameters
    ----------
    states : Tensor of shape (n_texts, length, width)
        Token embeddings.
    mask : Tensor of shape (n_texts, length)
        1 where there is a token, 0 where there is padding.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings.
    """
    mask = mask.unsqueeze(-1).to(states.dtype)  # (n_texts, length, 1)
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)


def cls_pooling(states, mask):
    """Take the first token, as :func:`mean_pooling` takes the mean."""
    return states[:, 0]


def max_pooling(states, mask):
    """Take the largest value of each dimension, as :func:`mean_pooling` takes the mean."""
    lowest = torch.finfo(states.dtype).min
    return states.masked_fill(mask.unsqueeze(-1) == 0, lowest).amax(1)


# How much more a step moves a score than a logit. At 1, by the rate of the heads alone, small data
# gains a third as much; at 10 it gains a little more, and large data less or the same, see
# docs/accuracy.md.
_SHARPNESS = 5.0


def attention_pooling(states, mask, query):
    """Average over the tokens of each text, more of those that a task looks for.

    Parameters
    ----------
    states, mask
        As in :func:`mean_pooling`.
    query : Tensor of shape (width,)
        What it looks for; with zeros this is the mean.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings for this task.
    """
    keys = F.rms_norm(states, states.shape[-1:])
    # Sums, as products with a vector may differ in the last bit by where it lies in memory.
    scores = _SHARPNESS * (keys * query).sum(-1)  # (n_texts, length)
    scores = scores.masked_fill(mask == 0, torch.finfo(states.dtype).min)
    return (states * scores.softmax(1).unsqueeze(-1)).sum(1)


def mean_of_windows(windows, firsts):
    """Average over the windows of each text.

    Parameters
    ----------
    windows : Tensor of shape (n_windows, width)
        Embeddings of windows, those of a text one after the other.
    firsts : Tensor of int64, shape (n_texts,)
        Where the windows of each text begin.

    Returns
    -------
    embeddings : Tensor of shape (n_texts, width)
        Text embeddings.
    """
    numbers = torch.arange(len(windows), device=windows.device)
    return F.embedding_bag(numbers, windows, firsts, mode="mean")


# Whoever has no query yet sees the mean, where attention starts from.
POOLING = {"attention": mean_pooling, "mean": mean_pooling, "cls": cls_pooling, "max": max_pooling}

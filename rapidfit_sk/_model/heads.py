"""The head of a task, which maps text embeddings to logits."""

from __future__ import annotations

import torch
from torch import nn

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Head(nn.Sequential):
    """The layers of one head.

    Attributes
    ----------
    query : Parameter of shape (width,) or None
        The query for attention over the tokens of a text, see
        :func:`~rapidfit_sk._model.pooling.attention_pooling`; None with other poolings.
    """

    query: nn.Parameter | None

    def __init__(self, *layers: nn.Module, query: nn.Parameter | None = None):
        super().__init__(*layers)
        self.register_parameter("query", query)


def build_head(
    width: int,
    n_classes: int,
    pooling: str,
    *,
    hidden_layers: int,
    hidden_multiplier: float,
    activation: str,
    dropout: float,
    normalize: bool,
) -> Head:
    """Build the layers of one head.

    Parameters
    ----------
    width : int
        Width of the text embedding.
    n_classes : int
        Number of logits.
    pooling : {"attention", "mean", "cls", "max"}
        With "attention", the head has a query.
    hidden_layers, hidden_multiplier, activation, dropout, normalize
        See :class:`rapidfit_sk.HeadConfig`.

    Returns
    -------
    head : Head
        Maps (n_rows, width) to (n_rows, n_classes). There is dropout before the output layer and
        between hidden layers.
    """
    query = nn.Parameter(torch.zeros(width)) if pooling == "attention" else None
    hidden_width = max(1, round(width * hidden_multiplier))
    layers: list[nn.Module] = [nn.RMSNorm(width, elementwise_affine=False)] if normalize else []
    for _ in range(hidden_layers):
        layers += [nn.Linear(width, hidden_width), _ACTIVATIONS[activation](), nn.Dropout(dropout)]
        width = hidden_width
    if not hidden_layers:
        layers.append(nn.Dropout(dropout))
    return Head(*layers, nn.Linear(width, n_classes), query=query)

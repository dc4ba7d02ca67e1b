"""One head: text embedding -> the logits of one task."""

from __future__ import annotations

from torch import nn

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build_head(
    width, n_classes, *, hidden_layers, hidden_multiplier, activation, dropout, normalize=False
):
    """Build the layers of one head.

    Parameters
    ----------
    width : int
        Width of the text embedding.
    n_classes : int
        Number of logits.
    hidden_layers, hidden_multiplier, activation, dropout, normalize
        See :class:`rapidfit_sk.HeadConfig`.

    Returns
    -------
    head : torch.nn.Sequential
        Maps (n_rows, width) to (n_rows, n_classes). Each layer but the first hidden one reads
        its input through dropout.
    """
    hidden_width = max(1, round(width * hidden_multiplier))
    layers = [nn.RMSNorm(width, elementwise_affine=False)] if normalize else []
    for _ in range(hidden_layers):
        layers += [nn.Linear(width, hidden_width), _ACTIVATIONS[activation](), nn.Dropout(dropout)]
        width = hidden_width
    if not hidden_layers:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width, n_classes))

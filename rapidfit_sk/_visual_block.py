"""The diagram of a classifier in a notebook."""

from __future__ import annotations

import numpy as np

from ._compat import VisualBlock
from .config import MultiheadConfig


def visual_block(
    config: MultiheadConfig, classes: dict[str, np.ndarray] | None = None
) -> VisualBlock:
    """Build the diagram of a configuration and, after a fit, of the tasks and their classes.

    Parameters
    ----------
    config : MultiheadConfig
        The configuration.
    classes : dict of {str: ndarray} or None, default=None
        The classes of each task of a fitted classifier.

    Returns
    -------
    block : VisualBlock
        The blocks for scikit-learn's HTML representation.
    """
    groups = {name: getattr(config, name) or kind() for name, kind in config._groups.items()}
    blocks = [
        VisualBlock(
            "parallel",
            list(groups.values()),
            names=list(groups),
            name_details=[str(group) for group in groups.values()],
        )
    ]
    if classes is not None:
        labels = [list(map(str, of_task)) for of_task in classes.values()]
        blocks.append(
            VisualBlock(
                "parallel",
                [", ".join(each[:6] + ["..."] * (len(each) > 6)) for each in labels],
                names=list(classes),
                name_details=[", ".join(each) for each in labels],
            )
        )
    return VisualBlock("serial", blocks, dash_wrapped=False)

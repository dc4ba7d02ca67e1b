"""Picture of macro-F1 against rows per class, with and without the names of labels."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

# Methods in the picture, with their names, colors (safe for the color-blind) and line styles.
LINES = {
    "default": ("with names", "#0072B2", "o-"),
    "no-names": ("without names", "#D55E00", "s--"),
}


def draw(means, path):
    """Draw a panel for each data set, and write the picture to a file.

    Parameters
    ----------
    means : Series
        Mean macro-F1 by data set, rows per class and method.
    path : str
        The file to write; its ending sets the format.
    """
    means = means.unstack("method")
    names = list(dict.fromkeys(means.index.get_level_values("data")))
    sizes = sorted(set(means.index.get_level_values("rows")), key=_order)
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 6.5), sharex=True, sharey=True, layout="constrained"
    )
    for ax, name in zip(axes.flat, names, strict=False):
        for method, (label, color, style) in LINES.items():
            if method in means:
                scores = means.loc[name, method].reindex(sizes)
                ax.plot(range(len(sizes)), 100 * scores, style, color=color, label=label)
        ax.set_title(name)
        ax.set_xticks(range(len(sizes)), sizes)
        ax.grid(alpha=0.3)
    for ax in axes[-1]:
        ax.set_xlabel("rows per class")
    for ax in axes[:, 0]:
        ax.set_ylabel("macro-F1 (%)")
    axes.flat[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _order(size: str) -> float:
    return float("inf") if size == "all" else int(size)

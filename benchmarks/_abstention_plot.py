"""Picture of accuracy against coverage, with the thresholds that tuning chooses."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from ._abstention_scores import GRID

# Colors that are safe for the color-blind, each with a line style of its own.
STYLES = [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":")]


def draw(table, path):
    """Draw a line for the intents of each data set, with a point at the tuned threshold.

    Parameters
    ----------
    table : DataFrame
        Figures of one score: one row per data set, seed and task.
    path : str
        The file to write; its ending sets the format.
    """
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    groups = table[table["task"] == "intent"].groupby("data", sort=False)
    for (name, rows), (color, style) in zip(groups, STYLES, strict=False):
        accuracy = np.mean(np.array(rows["curve"].tolist()), axis=0)
        at, reached = rows["tuned coverage"].mean(), rows["tuned precision"].mean()
        has_others = rows["OOS AUROC"].notna().all() if "OOS AUROC" in rows else False
        label = f"{name} and texts out of scope" if has_others else name
        ax.plot(100 * GRID, 100 * accuracy, style, color=color, label=label)
        ax.plot(100 * at, 100 * reached, "o", color=color)
    ax.axhline(95, color="0.6", linewidth=0.8)
    ax.plot([], [], "o", color="0.3", label="tuned for a precision of 95 %")
    ax.set_xlabel("predicted rows (%)")
    ax.set_ylabel("accuracy of predicted rows (%)")
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)

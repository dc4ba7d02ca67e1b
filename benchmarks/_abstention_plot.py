"""Picture of accuracy against coverage, with the thresholds that tuning chooses."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

# Colors that are safe for the color-blind, each with a line style of its own.
STYLES = [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":")]
GRID = np.linspace(0.3, 1, 141)


def draw(curves, path):
    """Draw a line for each task, with a point at the tuned threshold, and write the picture.

    Parameters
    ----------
    curves : list of (str, ndarray, ndarray, tuple)
        Name, coverage, accuracy, and coverage and accuracy at the tuned threshold. Curves of the
        same name, from several seeds, are averaged.
    path : str
        The file to write; its ending sets the format.
    """
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    names = list(dict.fromkeys(name for name, *_ in curves if "intent" in name))
    for name, (color, style) in zip(names, STYLES, strict=False):
        own = [curve for curve in curves if curve[0] == name]
        accuracy = np.mean([np.interp(GRID, c, a) for _, c, a, _ in own], axis=0)
        at, reached = np.nanmean([point for *_, point in own], axis=0)
        ax.plot(100 * GRID, 100 * accuracy, style, color=color, label=name)
        ax.plot(100 * at, 100 * reached, "o", color=color)
    ax.axhline(95, color="0.6", linewidth=0.8)
    ax.plot([], [], "o", color="0.3", label="tuned for a precision of 95 %")
    ax.set_xlabel("predicted rows (%)")
    ax.set_ylabel("accuracy of predicted rows (%)")
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)

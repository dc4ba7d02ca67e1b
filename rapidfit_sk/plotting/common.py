"""Helpers that all displays share: labeled rows, axes, colors, and names as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._evaluation import ScoredRows, check_classifier, scored_table
from .._typing import ArrayOrFrame, RowsLike
from .._validation import short

# The palette of Okabe and Ito, which people with any color vision can tell apart. Its black is left
# to lines that are not of a task, and its yellow comes last because it is faint on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#6E6E6E", "#F0E442")
MARKERS = "os^DvPX*"
GRAY = "0.6"

# Largest width of a figure in inches, and number of characters of a name.
MAX_WIDTH = 13.0
MAX_LENGTH = 24
# Width of a character of a tick label in inches.
CHARACTER = 0.075


def check_matplotlib(caller: str) -> None:
    """Raise ImportError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib. Install it with: pip install "rapidfit-sk[plot]"'
        ) from error


def check_estimator(display: type, classifier: Any) -> None:
    """Raise an error if matplotlib is not installed or a display cannot show an object.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If the object is not a classifier of this package.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    caller = f"{display.__name__}.from_estimator"
    check_matplotlib(caller)
    check_classifier(caller, classifier)
    check_is_fitted(classifier)


def rows_of(
    display: type, classifier: Any, X: RowsLike, y: ArrayOrFrame | None
) -> tuple[Any, dict[str, ScoredRows]]:
    """Return the fitted model of a classifier, and its predictions for labeled rows by task."""
    check_estimator(display, classifier)
    model = classifier._snapshot()
    return model, scored_table(model, classifier._table_to_score(model, X, y))


# --------------------------------------------------------------------------------------------
# Names


def shown(value: Any, length: int = MAX_LENGTH) -> str:
    r"""Return a name or label as one line of text for matplotlib.

    Long names are cut in the middle, because names of similar classes often start alike. Dollar
    signs do not start a formula, and a legend does not skip a name with a leading underscore.

    Examples
    --------
    >>> shown("costs $5 or $6"), shown("_private"), shown("two\nlines"), shown(True)
    ('costs \\$5 or \\$6', ' _private', 'two lines', 'True')
    >>> shown("recommendation_locations_nearby")
    'recommendation_…s_nearby'
    """
    text = str.__str__(value) if isinstance(value, str) else short(value)
    if len(text) > 2 * length:
        text = f"{text[:length]}…{text[-length:]}"
    spaced = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
    line = " ".join(spaced.split()) or repr(spaced)
    if len(line) > length:
        tail = length // 3
        line = f"{line[: length - 1 - tail]}…{line[-tail:]}"
    line = f" {line}" if line.startswith("_") else line
    return line.replace("$", r"\$")


def shown_all(values: Iterable[Any]) -> list[str]:
    """Return names as in :func:`shown`, with a number for names that are equal once they are cut.

    Examples
    --------
    >>> shown_all(["ask", "recommendation_of_a_place_nearby", "recommendation_of_a_movie_nearby"])
    ['ask', 'recommend…earby (1)', 'recommend…earby (2)']
    """
    values = list(values)
    names = [shown(value) for value in values]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    numbers: Counter[str] = Counter()
    for i, name in enumerate(names):
        if name in repeated:
            cut = shown(values[i], 15)
            numbers[cut] += 1
            names[i] = f"{cut} ({numbers[cut]})"
    return names


def width_of(names: Iterable[Any]) -> float:
    """Return the width of the longest name in inches."""
    return CHARACTER * max(map(len, shown_all(names)), default=0)


# --------------------------------------------------------------------------------------------
# Axes and styles


def axes_for(
    display: object, n: int, ax: Any, panel: tuple[float, float], layout: str = "constrained"
) -> tuple[Any, np.ndarray]:
    """Return a figure and n axes in it, which are new if the user gave none.

    Parameters
    ----------
    display : object
        The display that will be drawn.
    n : int
        The number of axes.
    ax : Axes, array-like of Axes, Figure or None
        The axes that the user gave, or an empty figure that is not one of pyplot.
    panel : tuple of float
        The width and height of one panel of a new figure in inches.
    layout : str, default="constrained"
        The layout of a new figure.
    """
    check_matplotlib(f"{type(display).__name__}.plot")
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    if ax is not None and not isinstance(ax, Figure):
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n:
            raise ValueError(
                f"The 'ax' parameter must contain {n} Axes for this display, got {len(axes)}. "
                f"Create them with plt.subplots(1, {n}), or pass None for a new figure."
            )
        return axes[0].figure, axes
    # Many wide panels are in several columns, too: a figure is not much higher than wide.
    n_rows = math.ceil(n / max(int(MAX_WIDTH // panel[0]), math.ceil(math.sqrt(n / 2))))
    n_columns = math.ceil(n / n_rows)
    figure = plt.figure() if ax is None else ax
    figure.set(size_inches=(panel[0] * n_columns, panel[1] * n_rows), layout_engine=layout)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for unused in axes[n:]:
        unused.remove()
    return figure, axes[:n]


def style(number: int) -> dict[str, Any]:
    """Return the color, marker and line style of a task or class, which no other one has."""
    again = number // len(COLORS)
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[(number + again) % len(MARKERS)],
        "linestyle": ("-", "--", ":", "-.")[again % 4],
        "markeredgecolor": "0.2",
        "markeredgewidth": 0.4,
    }


def legend_beside(ax: Any) -> None:
    """Put the legend of some axes to their right, in columns of at most 16 entries."""
    n = len(ax.get_legend_handles_labels()[1])
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
    ax.legend(**place, fontsize="small", frameon=False, ncols=math.ceil(n / 16))


def plain(ax: Any) -> None:
    """Remove the frame at the top and right of axes, and draw a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)

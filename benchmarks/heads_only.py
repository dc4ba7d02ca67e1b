"""Ten epochs on a frozen encoder against one pass through it."""

from __future__ import annotations

import warnings

from ._bare import one_pass
from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio


def run(options):
    """Time a fit of ten head-only epochs."""
    rows = read(options.data, options.texts or 2000, n_tokens=options.tokens)
    results = []
    for batch_size in (16, 64):
        config = recipe(heads_only=10, fine_tuning=0, unfreeze_layers=0, batch_size=batch_size)

        def fit(config=config):
            with warnings.catch_warnings(action="ignore"):
                classifier(config).fit(rows)

        seconds = in_turns({"fit": fit, "pass": lambda: one_pass(rows)}, options.repeats)
        case = f"10 heads-only epochs / one pass, batches of {batch_size}"
        results.append(
            Result("heads-only", case, ratio(seconds, "fit", "pass"), "<= 1.15", seconds)
        )
    return results

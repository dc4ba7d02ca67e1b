"""A grid search over head, loss and learning rate on a frozen encoder against one pass."""

from __future__ import annotations

import tempfile
import warnings

from sklearn.model_selection import GridSearchCV

from rapidfit_sk.model_selection import TaskStratifiedKFold

from ._bare import one_pass
from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio
from .frozen_prefix import deep_encoder

GRID = {
    "config__head__hidden_layers": [0, 1],
    "config__loss__label_smoothing": [0.0, 0.1],
    "config__training__learning_rate": [5e-4, 1e-3, 2e-3, 3e-3, 5e-3],
}


def run(options):
    """Time 20 candidates in 5 folds with an embedding cache that starts empty."""
    rows = read(options.data, options.texts or 6000, n_tokens=options.tokens, repeat=True)
    with tempfile.TemporaryDirectory() as encoder:
        deep_encoder(encoder)
        config = recipe(encoder, heads_only=0, fine_tuning=2, unfreeze_layers=0, batch_size=256)

        def search():
            with tempfile.TemporaryDirectory() as memory, warnings.catch_warnings(action="ignore"):
                folds = TaskStratifiedKFold(5, shuffle=True, random_state=0)
                GridSearchCV(classifier(config, memory=memory), GRID, cv=folds).fit(rows)

        sides = {"search": search, "pass": lambda: one_pass(rows, encoder)}
        seconds = in_turns(sides, options.repeats, warm_up=False)
    value = ratio(seconds, "search", "pass")
    return [Result("search", "20 candidates x 5 folds / one pass", value, "<= 1.5", seconds)]

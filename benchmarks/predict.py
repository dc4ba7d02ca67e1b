"""Prediction of all tasks against the bare encoder, and against sentence-transformers."""

from __future__ import annotations

import warnings

from sentence_transformers import SentenceTransformer

from rapidfit_sk import find_encoder

from ._bare import run_encoder, tokenized
from ._data import BUNDLED, classifier, read, recipe
from ._measure import Result, in_turns, ratio


def run(options):
    """Compare texts per second."""
    rows = read(options.data, options.texts or 2000, n_tokens=options.tokens)
    texts = rows["text"].drop_duplicates().tolist()
    with warnings.catch_warnings(action="ignore"):
        config = recipe(heads_only=1, fine_tuning=0, unfreeze_layers=0)
        fitted = classifier(config).fit(rows)
        peer = SentenceTransformer(find_encoder(BUNDLED), device="cpu")
    encoder, batches = tokenized(texts)
    sides = {
        "predict": lambda: fitted.predict_all(texts),
        "bare": lambda: run_encoder(encoder, batches),
        "sentence-transformers": lambda: peer.encode(texts, show_progress_bar=False),
    }
    seconds = in_turns(sides, options.repeats)
    return [
        Result(
            "predict",
            f"speed / speed of {'the bare encoder' if side == 'bare' else side}",
            ratio(seconds, side, "predict"),
            bar,
            seconds,
        )
        for side, bar in (("bare", ">= 0.95"), ("sentence-transformers", ">= 1.0"))
    ]

"""bfloat16 against float32, in training and in prediction."""

from __future__ import annotations

import warnings

from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio
from .train_naive import macro_f1, train_and_test


def run(options):
    """Time both precisions and compare their average macro-F1 on other texts."""
    n = options.texts or 1000
    train, test = train_and_test(read(options.data, 2 * n, n_tokens=options.tokens), n)
    fitted = {}

    def fit(precision):
        with warnings.catch_warnings(action="ignore"):
            fitted[precision] = classifier(recipe(), precision=precision).fit(train)

    kinds = "float32", "bfloat16"
    training = in_turns({p: lambda p=p: fit(p) for p in kinds}, options.repeats, warm_up=False)
    prediction = in_turns(
        {p: lambda p=p: fitted[p].predict_all(test["text"].tolist()) for p in kinds},
        options.repeats,
    )
    scores = {p: macro_f1(fitted[p], test) for p in kinds}
    points = 100 * abs(scores["bfloat16"] - scores["float32"])
    return [
        Result("bf16", "fit, float32 / bfloat16", ratio(training, *kinds), ">= 1.5", training),
        Result(
            "bf16", "predict, float32 / bfloat16", ratio(prediction, *kinds), ">= 1.5", prediction
        ),
        Result("bf16", "difference of macro-F1 (points)", points, "<= 0.3", scores),
    ]

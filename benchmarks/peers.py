"""`fit` against the published package `rapidfit`, which runs in a separate environment."""

from __future__ import annotations

import warnings

from rapidfit_sk import EvalConfig, find_encoder

from ._data import BUNDLED, classifier, read, recipe
from ._measure import Result, in_turns, ratio
from ._peer import ask_peer
from .train_naive import macro_f1, train_and_test

HOW = (
    "Pass the Python of an environment that has it: python -m venv peer && peer/bin/pip install "
    "torch==2.13.0 rapidfit==0.1.8 'transformers<5' 'datasets<4.5', then --peer peer/bin/python."
)


def run(options):
    """Time training and prediction of both packages with the same rows and settings."""
    if options.peer is None:
        raise SystemExit(f"The benchmark 'peers' compares with the package 'rapidfit'. {HOW}")
    n = options.texts or 500
    train, test = train_and_test(read(options.data, 2 * n, n_tokens=options.tokens), n)
    # rapidfit needs validation and test rows, so both hold out a tenth twice; neither stops early.
    config = recipe(test_size=0.1, val_size=0.1)
    n_epochs = config.encoder.freeze_epochs + config.training.epochs
    config.eval = EvalConfig(patience=n_epochs, one_se_rule=False, calibrate=False)
    peer = _Peer(options.peer, config._filled(), train, test)
    fitted, sides = {}, {"rapidfit": peer.run}
    for precision in ("float32", "bfloat16"):

        def ours(precision=precision):
            with warnings.catch_warnings(action="ignore"):
                fitted[precision] = classifier(config, precision=precision).fit(train)

        sides[precision] = ours
    seconds = in_turns(sides, options.repeats, warm_up=False)
    # The time to start a process and to read the rows does not count.
    seconds["rapidfit"] = peer.training
    texts = test["text"].unique().tolist()
    predictions = in_turns(
        {kind: lambda kind=kind: fitted[kind].predict_all(texts) for kind in fitted},
        len(peer.prediction),
    )
    predictions["rapidfit"] = peer.prediction
    results = []
    for kind, model in fitted.items():
        speed = ratio(seconds, "rapidfit", kind)
        results.append(Result("peers", f"training, rapidfit / {kind}", speed, ">= 8", seconds))
        speed = ratio(predictions, "rapidfit", kind)
        results.append(Result("peers", f"prediction, rapidfit / {kind}", speed, "", predictions))
        points = 100 * (macro_f1(model, test) - macro_f1(peer, test))
        case = f"macro-F1 of {kind} - rapidfit (points)"
        results.append(Result("peers", case, points, ">= 0"))
    return results


class _Peer:
    """Runs rapidfit in its environment and stores the times that the script measures."""

    def __init__(self, python, config, train, test):
        self.python = python
        groups = {
            name: getattr(config, name).get_params()
            for name in ("training", "head", "encoder", "loss", "eval")
        }
        groups["training"]["model_name"] = find_encoder(BUNDLED)
        groups["loss"]["task_weights"] = {}
        self.task = {
            "config": groups,
            "data": {
                task: part[["text", "label"]].to_dict("records")
                for task, part in train.groupby("task", sort=False)
            },
            "texts": test["text"].unique().tolist(),
        }
        self.training, self.prediction, self.predicted = [], [], None

    def run(self):
        """Train and predict once, and store the times."""
        answer = ask_peer(self.python, "_peer_rapidfit.py", self.task)
        self.training.append(answer["training"])
        self.prediction.append(answer["prediction"])
        self.predicted = answer["predicted"]

    def predict(self, texts, task):
        """Return the labels of the last run."""
        of_text = dict(zip(self.task["texts"], self.predicted[task], strict=True))
        return [of_text[text] for text in texts]

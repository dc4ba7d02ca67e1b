"""Search the configuration of a classifier in a pipeline, and load the best one elsewhere.

Run ``python examples/grid_search.py``. It needs the extra [bundled] and no network, and takes
a minute on two CPU cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import joblib
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring

TASKS = ["sentiment", "intent", "emotion"]
CONFIG = "multiheadclassifier__config__"
GRID = {
    CONFIG + "training__learning_rate": [2e-4, 5e-4],
    CONFIG + "pooling": ["mean", "max"],
}
NEW_TEXTS = [
    "Two  tickets for the evening show, please!",
    "Third time this month the line is dead.   Unbelievable.",
]


def squeeze(X):
    """Replace runs of whitespace in the texts of a frame by one space."""
    return X.assign(text=X["text"].str.split().str.join(" "))


def make_search():
    """Build the search: pipeline, grid, folds and scorers."""
    # The folds hold rows out already, so test rows within a fold would be wasted.
    training = TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=2, test_size=0
    )
    encoder = EncoderConfig(freeze_epochs=1, unfreeze_layers=2)
    # F1 needs labels only, and calibrated probabilities would need a second training.
    config = MultiheadConfig(training=training, encoder=encoder, eval=EvalConfig(calibrate=False))
    pipe = make_pipeline(FunctionTransformer(squeeze), MultiheadClassifier(config, random_state=0))
    return GridSearchCV(
        pipe,
        GRID,
        scoring=multitask_scoring(TASKS, "f1_macro"),
        refit="mean_f1_macro",
        # All rows of a text are in the same fold, and folds are stratified by task and class.
        cv=TaskStratifiedKFold(2),
        error_score="raise",
    )


def results(search):
    """Return a table of the candidates, best first."""
    table = pd.DataFrame(search.cv_results_)
    leaves = {f"param_{name}": name.removeprefix(CONFIG) for name in search.param_grid}
    scores = {f"mean_test_{name}_f1_macro": name for name in [*TASKS, "mean"]}
    return (
        table.sort_values("rank_test_mean_f1_macro")
        .rename(columns=leaves | scores)[[*leaves.values(), *scores.values()]]
        .reset_index(drop=True)
    )


def main():
    """Search, print the results, and use the best pipeline in a second process."""
    messages = load_support_messages()
    search = make_search()
    start = time.perf_counter()
    search.fit(messages)
    n_fits = len(search.cv_results_["params"]) * search.n_splits_ + 1
    print(
        f"{n_fits} fits in {time.perf_counter() - start:.0f} s. Macro-averaged F1, mean of 2 folds:"
    )
    print(results(search).to_string(float_format=lambda value: f"{value:.3g}"))

    print("\nBest parameters:")
    for name, value in search.best_params_.items():
        print(f"  {name.removeprefix(CONFIG)} = {value}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "best.joblib")
        joblib.dump(search.best_estimator_, path)
        size = path.stat().st_size / 1e6
        print(f"\nA second process loads it ({size:.0f} MB) and predicts new texts:", flush=True)
        subprocess.run([sys.executable, __file__, "--predict", path], check=True)


def predict(path):
    """Load a pipeline and print its predictions for new texts."""
    pipe = joblib.load(path)
    texts = pd.DataFrame({"text": NEW_TEXTS})
    table = pd.DataFrame(
        {task: make_pipeline(*pipe[:-1], pipe[-1][task]).predict(texts) for task in TASKS}
    )
    print(table.assign(text=NEW_TEXTS).to_string(index=False))


if __name__ == "__main__":
    if "--predict" in sys.argv:
        predict(sys.argv[-1])
    else:
        main()

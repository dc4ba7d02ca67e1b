"""A search and a prediction on a local cluster, for `test_search_engines.py`.

Usage: ``python -m tests.ecosystem.engines dask|ray FOLDER``. FOLDER contains the saved classifier
"model", and "in" with Parquet files. The results are written to it. A process of its own keeps
the threads, signals and warnings of the engines away from the tests.
"""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.bulk import BatchPredictor
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring

from .small import LABELS, TEXTS, make

RATES = {"config__training__learning_rate": [1e-4, 3e-3]}


def search_scores(folder, cache):
    """Return the scores of a search with one task, and of one with several tasks and a cache."""
    encoder = str(folder / "encoder")
    one = GridSearchCV(
        make(encoder, precision="float32"),
        RATES,
        scoring="neg_log_loss",
        cv=2,
        error_score="raise",
    ).fit(np.array(TEXTS, dtype=object), LABELS)
    training = TrainingConfig(model_name=encoder, epochs=1, test_size=0, val_size=0)
    config = MultiheadConfig(training=training, encoder=EncoderConfig(unfreeze_layers=0))
    several = GridSearchCV(
        MultiheadClassifier(config, random_state=0, memory=folder / cache, precision="float32"),
        RATES,
        scoring=multitask_scoring(["sentiment", "intent"], "neg_log_loss"),
        refit="mean_neg_log_loss",
        cv=TaskStratifiedKFold(2),
        error_score="raise",
    ).fit(load_support_messages().head(240))
    return {
        f"{name} of {search.estimator.__class__.__name__}": scores.tolist()
        for search in (one, several)
        for name, scores in search.cv_results_.items()
        if name.startswith(("split", "mean_test"))
    }


def on_dask(folder):
    """Search and predict on a Dask cluster with two processes of two threads."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster):
        with joblib.parallel_config("dask"):
            scores = search_scores(folder, "cache")
        predictor = BatchPredictor(folder / "model", proba=True)
        rows = dd.read_parquet(folder / "in")
        predicted = rows.map_partitions(predictor, meta=predictor.meta(rows._meta))
        predicted.to_parquet(folder / "out", write_index=False)
    return scores


def on_ray(folder):
    """Search and predict with two actors of Ray."""
    import ray
    from ray.util.joblib import register_ray

    # Two actors need CPUs, and so do the tasks that list and write files.
    ray.init(num_cpus=4, include_dashboard=False)
    ray.data.read_parquet(str(folder / "in")).map_batches(
        BatchPredictor,
        fn_constructor_args=(str(folder / "model"),),
        fn_constructor_kwargs={"proba": True},
        batch_format="pandas",
        compute=ray.data.ActorPoolStrategy(size=2),
    ).write_parquet(str(folder / "out"))
    register_ray()
    with joblib.parallel_config("ray", n_jobs=2):
        scores = search_scores(folder, "cache")
    ray.shutdown()
    return scores


if __name__ == "__main__":
    engine, path = {"dask": on_dask, "ray": on_ray}[sys.argv[1]], Path(sys.argv[2])
    (path / "scores.json").write_text(json.dumps(engine(path)))

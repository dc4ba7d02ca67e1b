"""The methods that the benchmark `quality` compares.

A method takes the training and the test rows, a seed and the options, and returns an
:class:`Answer` for each task.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, normalize

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
    find_encoder,
)
from rapidfit_sk._model.encoders import load_encoder, load_tokenizer
from rapidfit_sk._model.module import MultiheadModule
from rapidfit_sk._model.tokens import TextTokenizer
from rapidfit_sk._rows.label_texts import texts_of_names
from rapidfit_sk._training.batches import PaddedTokens, by_length

from ._data import BUNDLED
from ._peer import ask_peer

# Maximum number of rows for choosing C; the model is then fitted on all rows.
ROWS_FOR_C = 3000


@dataclass
class Answer:
    """The predictions of one task.

    Attributes
    ----------
    predicted : ndarray of str, shape (n_rows,)
        Predicted labels, in the order of the test rows of the task.
    confidence : ndarray of float or None, shape (n_rows,)
        Probabilities of the predicted labels; None if the method has none.
    seconds : float
        Training time. If a method trains all tasks together, the total divided by their number.
    """

    predicted: np.ndarray
    confidence: np.ndarray | None
    seconds: float


# --------------------------------------------------------------------------------------------
# This package


def default_config():
    """Return the default configuration."""
    return MultiheadConfig()


def production():
    """Return the guide's starting point for production."""
    return MultiheadConfig(
        training=TrainingConfig(epochs=10, batch_size=16),
        loss=LossConfig(use_class_weights=True),
        eval=EvalConfig(patience=3),
    )


def experimentation():
    """Return the guide's starting point for experimentation."""
    return MultiheadConfig(
        head=HeadConfig(hidden_layers=2, dropout=0.3),
        encoder=EncoderConfig(unfreeze_layers=6, lr_multiplier=0.05),
        loss=LossConfig(use_focal_loss=True, use_class_weights=True),
        task_sampling="sqrt",
    )


def together(make_config, **parameters):
    """Return a method that trains one model for all tasks."""

    def method(train, test, seed, options):
        return _fit(make_config(), train, test, seed, options, **parameters)

    return method


def shuffled_names(train, test, seed, options):
    """Train with the default configuration and label texts that belong to other labels."""
    rng = np.random.default_rng(seed)
    texts = {}
    for task, rows in train.groupby("task", sort=False):
        own = texts_of_names(rows["label"].unique())
        places = rng.permutation(len(own))
        texts[task] = dict(zip(own, np.array([*own.values()])[places, 0].tolist(), strict=True))
    return _fit(default_config(), train, test, seed, options, label_texts=texts)


def one_by_one(train, test, seed, options):
    """Train one model per task with the default configuration."""
    answers = {}
    for task, rows in train.groupby("task", sort=False):
        mine = test[test["task"] == task]
        answers |= _fit(default_config(), rows, mine, seed, options)
    return answers


def _fit(config, train, test, seed, options, **parameters):
    # The benchmark has its own test rows.
    config.set_params(training__model_name=BUNDLED, training__test_size=0.0, **options.set)
    parameters |= {"random_state": seed, "precision": options.precision}
    if not len(train):
        groups = test.groupby("task", sort=False)
        parameters["task_labels"] = {task: rows["label"].unique() for task, rows in groups}
    classifier = MultiheadClassifier(config, **parameters)
    start = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        classifier.fit(train)
    seconds = (time.perf_counter() - start) / len(classifier.tasks_)
    return {
        task: _most_likely(classifier[task], rows["text"].tolist(), seconds)
        for task, rows in test.groupby("task", sort=False)
    }


def _most_likely(classifier, texts, seconds) -> Answer:
    p = classifier.predict_proba(texts)
    return Answer(classifier.classes_[p.argmax(axis=1)], p.max(axis=1), seconds)


# --------------------------------------------------------------------------------------------
# Linear models


def tfidf(train, test, seed, options):
    """Fit a logistic regression on n-grams of words and characters."""
    grams = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True),
    )
    return _linear(grams, train, test, seed, class_weight="balanced")


def frozen(train, test, seed, options):
    """Fit a logistic regression on the embeddings of the frozen encoder."""
    embeddings = FunctionTransformer(lambda texts: _embeddings(texts, options.precision))
    return _linear(embeddings, train, test, seed)


def _linear(features, train, test, seed, **parameters):
    answers = {}
    for task, rows in train.groupby("task", sort=False):
        texts, labels = rows["text"].to_numpy(dtype=object), rows["label"].to_numpy(dtype=object)
        start = time.perf_counter()
        x = features.fit_transform(texts)
        model = LogisticRegression(max_iter=200, tol=1e-3, **parameters)
        model.set_params(C=_best_c(model, x, labels, seed)).fit(x, labels)
        seconds = time.perf_counter() - start
        fitted = make_pipeline(features, model)
        mine = test.loc[test["task"] == task, "text"].to_numpy(dtype=object)
        answers[task] = _most_likely(fitted, mine, seconds)
    return answers


def _best_c(model, x, labels, seed):
    """Choose C by cross-validation on at most :data:`ROWS_FOR_C` rows."""
    chosen = np.random.default_rng(seed).permutation(len(labels))[:ROWS_FOR_C]
    n_folds = max(2, min(3, np.unique(labels[chosen], return_counts=True)[1].min()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"C": [1.0, 10.0, 100.0]}, cv=folds)
    with warnings.catch_warnings(action="ignore"):  # about classes with fewer rows than folds
        return search.fit(x[chosen], labels[chosen]).best_params_["C"]


def _embeddings(texts, precision):
    """Encode texts as sentence-transformers does: mean pooling, scaled to norm 1."""
    module = MultiheadModule(load_encoder(BUNDLED), [], "mean", precision)
    tokens = TextTokenizer(load_tokenizer(BUNDLED), 128, "head_tail")(list(texts))
    embeddings = np.empty((len(tokens), module.encoder.config.hidden_size), np.float32)
    with torch.inference_mode():
        for at in by_length(tokens.lengths):
            embeddings[at] = module.embed(**PaddedTokens(tokens).inputs(at)).numpy()
    return normalize(embeddings)


# --------------------------------------------------------------------------------------------
# Published packages


def setfit(train, test, seed, options):
    """Train one model per task with the package `setfit`."""
    answers = {}
    for task, rows in train.groupby("task", sort=False):
        mine = test.loc[test["task"] == task, "text"]
        answer = ask_peer(
            options.setfit,
            "_peer_setfit.py",
            {
                "model_name": str(find_encoder(BUNDLED)),
                "texts": rows["text"].tolist(),
                "labels": rows["label"].tolist(),
                "questions": mine.tolist(),
                "num_iterations": options.setfit_iterations,
                "max_length": 128,
                "seed": seed,
            },
        )
        answers[task] = Answer(np.array(answer["predicted"]), None, answer["training"])
    return answers


def rapidfit(train, test, seed, options):
    """Train the package `rapidfit` with its defaults and the bundled encoder."""
    tasks = test["task"].unique()
    answer = ask_peer(
        options.peer,
        "_peer_rapidfit.py",
        {
            "config": {"training": {"model_name": str(find_encoder(BUNDLED))}},
            "seed": seed,
            "data": {
                task: rows[["text", "label"]].to_dict("records")
                for task, rows in train.groupby("task", sort=False)
            },
            "texts": test["text"].unique().tolist(),
        },
    )
    place = {text: i for i, text in enumerate(test["text"].unique())}
    return {
        task: Answer(
            np.array(answer["predicted"][task])[test.loc[test["task"] == task, "text"].map(place)],
            None,
            answer["training"] / len(tasks),
        )
        for task in tasks
    }


METHODS = {
    "default": together(default_config),
    "no-names": together(default_config, label_texts=None),
    "shuffled-names": shuffled_names,
    "guide": together(MultiheadConfig.guide),
    "production": together(production),
    "experimentation": together(experimentation),
    "single": one_by_one,
    "tfidf": tfidf,
    "frozen": frozen,
    "setfit": setfit,
    "rapidfit": rapidfit,
}

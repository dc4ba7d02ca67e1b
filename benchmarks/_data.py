"""Rows for the benchmarks, and the configuration that most of them share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk._model.encoders import load_tokenizer
from rapidfit_sk.datasets import load_support_messages

BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"


def read(paths, n_texts, *, n_tokens=None, repeat=False, seed=0) -> pd.DataFrame:
    """Read rows of (text, task, label).

    Parameters
    ----------
    paths : list of str
        Long CSV files with the columns text, task and label. If there are several, the names
        of the files become part of the names of the tasks. None reads the bundled messages,
        which are repeated with a number at the end.
    n_texts : int or None
        Number of distinct texts to draw; None for all.
    n_tokens : int or None, default=None
        Keep texts whose number of tokens differs by at most a quarter from this number.
    repeat : bool, default=False
        Whether to repeat texts, with a number at the end, if there are fewer than `n_texts`.
    seed : int, default=0
        Seed for drawing texts.
    """
    files = paths or [None]
    rows = pd.concat([_read_one(path, len(files) > 1) for path in files])
    texts = rows["text"].drop_duplicates()
    if n_tokens is not None:
        lengths = np.array([len(ids) for ids in _tokenizer()(texts.tolist())["input_ids"]])
        texts = texts[(lengths >= 0.75 * n_tokens) & (lengths <= 1.25 * n_tokens)]
    texts = texts.sample(frac=1, random_state=seed)
    if n_texts is not None and (repeat or not paths):
        rows, texts = _repeated(rows[rows["text"].isin(texts)], texts, n_texts)
    rows = rows[rows["text"].isin(texts[:n_texts])]
    return rows.sample(frac=1, random_state=seed).reset_index(drop=True)


def _read_one(path, named):
    if path is None:
        return load_support_messages()
    rows = pd.read_csv(path, keep_default_na=False, dtype=str)[["text", "task", "label"]]
    rows = rows.drop_duplicates(["text", "task"])
    if named:
        rows["task"] = Path(path).name.split(".")[0] + " " + rows["task"]
    return rows


def _repeated(rows, texts, n_texts):
    rounds = range(-(-n_texts // len(texts)))
    mark = [f" {number}" if number else "" for number in rounds]
    rows = pd.concat([rows.assign(text=rows["text"] + end) for end in mark])
    return rows, pd.concat([texts + end for end in mark])


@cache
def _tokenizer():
    return load_tokenizer(BUNDLED)


def recipe(model_name=BUNDLED, *, heads_only=3, fine_tuning=5, **training) -> MultiheadConfig:
    """Return a configuration in which all rows train and all epochs run.

    It does not depend on the defaults of the package, so times can be compared between versions.
    """
    fixed = {"learning_rate": 2e-5, "test_size": 0.0, "val_size": 0.0, "long_text": "truncate"}
    options = fixed | training
    unfreeze = options.pop("unfreeze_layers", 4)
    return MultiheadConfig(
        training=TrainingConfig(
            model_name=model_name, epochs=fine_tuning, min_steps_per_epoch=1, **options
        ),
        head=HeadConfig(hidden_layers=1, normalize=False, init="random"),
        encoder=EncoderConfig(
            freeze_epochs=heads_only, unfreeze_layers=unfreeze, lr_multiplier=0.1
        ),
        loss=LossConfig(label_smoothing=0.1),
    )


def classifier(config, **params) -> MultiheadClassifier:
    """Return a classifier for timing."""
    return MultiheadClassifier(config, **{"random_state": 0, "precision": "float32", **params})

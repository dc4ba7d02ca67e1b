"""The guide: its setup, its ten use cases, its tables, and the effect of each parameter.

The encoders of the guide are tiny ones in the local Hugging Face cache. The code that finds and
loads them is the real one.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)

pytestmark = pytest.mark.usefixtures("cached_encoders")

USE_CASES = {
    "1 limited GPU memory": MultiheadConfig(
        training=TrainingConfig(batch_size=4, gradient_accumulation_steps=4),
    ),
    "2 heavily imbalanced": MultiheadConfig(
        loss=LossConfig(use_class_weights=True, use_focal_loss=True, focal_gamma=2.0),
    ),
    "3 one important task": MultiheadConfig(
        loss=LossConfig(task_weights={"sentiment": 2.0, "intent": 1.0, "emotion": 0.5}),
    ),
    "4a equal": MultiheadConfig(task_sampling="equal"),
    "4b sqrt": MultiheadConfig(task_sampling="sqrt"),
    "4c proportional": MultiheadConfig(task_sampling="proportional"),
    "5 overfitting": MultiheadConfig(
        head=HeadConfig(dropout=0.3),
        training=TrainingConfig(weight_decay=0.05),
        eval=EvalConfig(patience=2, min_delta=0.005, metric="accuracy"),
    ),
    "6 complex tasks": MultiheadConfig(
        head=HeadConfig(hidden_layers=2, hidden_multiplier=1.5, activation="silu"),
    ),
    "7 maximum accuracy": MultiheadConfig(
        encoder=EncoderConfig(freeze_epochs=5, unfreeze_layers=6, lr_multiplier=0.05),
        training=TrainingConfig(epochs=20, learning_rate=1e-5),
    ),
    "8a cls": MultiheadConfig(pooling="cls"),
    "8b mean": MultiheadConfig(pooling="mean"),
    "8c max": MultiheadConfig(pooling="max"),
    "9 splits": MultiheadConfig(training=TrainingConfig(test_size=0.15, val_size=0.15)),
    "10 F1": MultiheadConfig(eval=EvalConfig(metric="f1", patience=3)),
}

STARTING_POINTS = {
    "beginners": None,
    "xlm-roberta": MultiheadConfig(
        training=TrainingConfig(model_name="FacebookAI/xlm-roberta-base")
    ),
    "deberta": MultiheadConfig(training=TrainingConfig(model_name="microsoft/deberta-v3-base")),
    "production": MultiheadConfig(
        training=TrainingConfig(epochs=10, batch_size=16),
        loss=LossConfig(use_class_weights=True),
        eval=EvalConfig(patience=3),
    ),
    "experimentation": MultiheadConfig(
        head=HeadConfig(hidden_layers=2, dropout=0.3),
        encoder=EncoderConfig(unfreeze_layers=6, lr_multiplier=0.05),
        loss=LossConfig(use_focal_loss=True, use_class_weights=True),
        pooling="mean",
        task_sampling="sqrt",
    ),
}

QUICK_REFERENCE = {
    "training__gradient_accumulation_steps": 4,
    "loss__use_focal_loss": True,
    "loss__task_weights": {"sentiment": 2.0},
    "task_sampling": "equal",
    "head__dropout": 0.3,
    "eval__patience": 2,
    "head__hidden_layers": 2,
    "encoder__unfreeze_layers": 6,
    "training__epochs": 20,
    "pooling": "cls",
    "training__test_size": 0.15,
    "training__val_size": 0.15,
    "eval__metric": "f1",
}


@pytest.fixture(scope="module")
def some(messages):
    """A fifth of the messages, as the dict of the guide."""
    kept = messages[messages["text"].isin(messages["text"].unique()[:60])]
    return {task: rows[["text", "label"]].to_dict("records") for task, rows in kept.groupby("task")}


def test_minimal_setup(minimal_setup):
    """The first snippet of the guide runs, with no change except the import."""
    classifier = MultiheadClassifier()
    with pytest.warns(UserWarning, match="Too few rows"):
        classifier.train(minimal_setup)
    result = classifier.predict(["Great product!"], task="sentiment")
    assert result[0] in ("positive", "negative")


@pytest.mark.parametrize("name", [*USE_CASES, *STARTING_POINTS])
def test_configurations_train(some, name):
    """Each configuration of the guide trains unchanged, to its last epoch or an early stop.

    Calibration is off so that each one trains once, because probabilities have their own tests.
    """
    config = {**USE_CASES, **STARTING_POINTS}[name]
    classifier = clone(MultiheadClassifier(config, random_state=0))
    classifier.set_params(config__eval__calibrate=False).train(some)
    planned = classifier.get_params()
    most = planned["config__encoder__freeze_epochs"] + planned["config__training__epochs"]
    assert planned["config__encoder__freeze_epochs"] < len(classifier.net_.history) <= most
    assert set(classifier.test_scores_) == {"sentiment", "intent", "emotion"}
    assert classifier.predict_all(["Great product!"]).shape == (1, 3)


@pytest.mark.parametrize("name", QUICK_REFERENCE)
def test_quick_reference(some, name):
    """Each entry of the table trains, with default values of all but calibration and steps."""
    classifier = MultiheadClassifier(random_state=0)
    classifier.set_params(config__eval__calibrate=False, config__training__min_steps_per_epoch=1)
    classifier.set_params(**{f"config__{name}": QUICK_REFERENCE[name]}).train(some)
    assert classifier.config.get_params()[name] == QUICK_REFERENCE[name]
    assert set(classifier.test_scores_) == {"sentiment", "intent", "emotion"}


def test_use_case_7_rates():
    """The encoder trains at 1e-5 and the heads at 2e-4; lr_multiplier is the ratio."""
    from rapidfit_sk._engine import recipe_of
    from rapidfit_sk._fitting import _new_net
    from rapidfit_sk._rows.labels import CodedRows
    from rapidfit_sk._rows.texts import Texts

    config = USE_CASES["7 maximum accuracy"]._filled()
    texts, classes = Texts.of(["a", "b"]), {"t": np.array(["x", "y"])}
    rows = CodedRows(texts, np.zeros(2, int), np.arange(2), np.ones(2, np.float32), classes)
    recipe = recipe_of(MultiheadClassifier(), config, [0, 0, 0])
    net = _new_net(recipe, rows, None, None)
    assert (net.lr, net.head_lr) == (1e-5, pytest.approx(2e-4))


# --------------------------------------------------------------------------------------------
# Each parameter changes an outcome


@pytest.fixture(scope="module")
def uneven(messages):
    """Two tasks of different sizes, for which task sampling and task weights matter."""
    sentiment = messages[messages["task"] == "sentiment"].iloc[:150]
    intent = messages[messages["task"] == "intent"].iloc[150:200]
    return pd.concat([sentiment, intent])


BASE = {
    "config__training__epochs": 3,
    "config__training__learning_rate": 1e-3,
    "config__training__batch_size": 8,
    "config__training__val_size": 0.2,
    "config__training__min_steps_per_epoch": 1,
    "config__head__hidden_layers": 1,
    "config__encoder__freeze_epochs": 1,
    "config__encoder__unfreeze_layers": 2,
    "config__eval__patience": 5,
}

# Values that differ from BASE or the default, and parameters that must be set with them.
CHANGES = {
    "training__model_name": ("FacebookAI/xlm-roberta-base", {}),
    "training__max_length": (5, {}),
    "training__long_text": ("truncate", {"config__training__max_length": 6}),
    "training__batch_size": (4, {}),
    "training__epochs": (2, {}),
    "training__min_steps_per_epoch": (40, {}),
    "training__learning_rate": (5e-4, {}),
    "training__weight_decay": (0.5, {}),
    "training__warmup_ratio": (0.5, {}),
    "training__gradient_accumulation_steps": (2, {}),
    "training__max_grad_norm": (0.01, {}),
    "training__test_size": (0.3, {}),
    "training__val_size": (0.4, {}),
    "head__hidden_layers": (2, {}),
    "head__hidden_multiplier": (0.5, {}),
    "head__activation": ("tanh", {}),
    "head__dropout": (0.6, {}),
    "head__normalize": (False, {}),
    "head__init": ("random", {}),
    "encoder__freeze_epochs": (2, {}),
    "encoder__unfreeze_layers": (None, {}),
    "encoder__lr_multiplier": (0.5, {}),
    "loss__use_class_weights": (False, {}),
    "loss__use_focal_loss": (True, {}),
    "loss__focal_gamma": (0.5, {"config__loss__use_focal_loss": True}),
    "loss__label_smoothing": (0.1, {}),
    "loss__task_weights": ({"intent": 5.0}, {}),
    "eval__metric": ("loss", {}),
    "eval__patience": (1, {"config__training__epochs": 8}),
    "eval__one_se_rule": (False, {"config__training__epochs": 8}),
    "eval__calibrate": (False, {}),
    "eval__min_delta": (
        0.9,
        {
            "config__eval__patience": 1,
            "config__eval__metric": "loss",
            # Unless the loss falls more than once, both values stop in the same epoch.
            "config__training__learning_rate": 3e-3,
            "config__training__epochs": 8,
        },
    ),
    "pooling": ("max", {}),
    "task_sampling": ("equal", {}),
}


def outcome(data, encoder_name, params):
    """Fit and return the probabilities, the losses, the best epoch and the number of test rows."""
    classifier = MultiheadClassifier(random_state=0, label_texts=None)
    classifier.set_params(config__training__model_name=encoder_name).set_params(**BASE)
    classifier.set_params(**params).fit(data)
    stopping = dict(classifier.net_.callbacks_)["early_stopping"]
    p = classifier.predict_proba(data["text"].head(20), task="sentiment")
    losses = classifier.net_.history[:, "train_loss"]
    return p, losses, stopping.best_epoch_, len(classifier.test_indices_)


def same(first, second):
    return np.array_equal(first[0], second[0]) and first[1:] == second[1:]


@pytest.fixture(scope="module")
def base_outcome(uneven, encoder_name):
    """The outcome of BASE, which is the same for each fit."""
    first, second = (outcome(uneven, encoder_name, {}) for _ in range(2))
    assert same(first, second)
    return first


def test_all_parameters_are_listed():
    """CHANGES contains each parameter of each group."""
    leaves = {
        name
        for name, value in MultiheadConfig().get_params().items()
        if name not in MultiheadConfig._groups
    }
    # Gradient checkpointing saves memory without a change of results; test_activations.py tests it.
    # Adapters need another package; ecosystem/test_peft.py tests them.
    elsewhere = {"training__gradient_checkpointing", "encoder__adapter"}
    assert set(CHANGES) == leaves - elsewhere


@pytest.mark.filterwarnings("ignore:Texts are cut")
@pytest.mark.parametrize("name", CHANGES)
def test_each_parameter_changes_an_outcome(uneven, encoder_name, base_outcome, name):
    """With the same data and seed, another value of the parameter gives another result."""
    value, others = CHANGES[name]
    before = outcome(uneven, encoder_name, others) if others else base_outcome
    after = outcome(uneven, encoder_name, {**others, f"config__{name}": value})
    assert not same(before, after)


@pytest.mark.filterwarnings("ignore:Texts are cut")
def test_parameters_have_their_documented_effects(uneven, encoder_name):
    """Patience, head sizes, max_length and the split sizes have their documented effects."""

    def fit(**params):
        classifier = MultiheadClassifier(random_state=0)
        classifier.set_params(config__training__model_name=encoder_name).set_params(**BASE)
        return classifier.set_params(**params).fit(uneven)

    assert len(fit(config__eval__patience=1, config__eval__min_delta=0.9).net_.history) == 2
    wide = fit(config__head__hidden_layers=2, config__head__hidden_multiplier=1.5).net_.module_
    shapes = [p.shape for p in wide.heads[0].parameters() if p.ndim == 2]
    assert shapes == [torch.Size([48, 32]), torch.Size([48, 48]), torch.Size([3, 48])]
    short = fit(config__training__max_length=5)
    assert short.tokenizer_(["one two three four five six"]).lengths.tolist() == [5]
    parts = fit(config__training__test_size=0.15, config__training__val_size=0.15)
    sizes = [len(p) for p in (parts.train_indices_, parts.val_indices_, parts.test_indices_)]
    assert np.allclose(np.array(sizes) / 200, [0.7225, 0.1275, 0.15], atol=0.02)

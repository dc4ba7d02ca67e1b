"""Accuracy gained by the defaults and by options for rare classes and long texts."""

import itertools

import numpy as np
import pandas as pd
import pytest

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
)
from rapidfit_sk import TrainingConfig as Training

BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"


def make(**groups):
    """Build a classifier that trains only its heads and does not calibrate, to be fast."""
    training = {"model_name": BUNDLED, "test_size": 0, **groups.pop("training", {})}
    return MultiheadClassifier(
        MultiheadConfig(
            training=Training(**training),
            encoder=EncoderConfig(freeze_epochs=3, unfreeze_layers=0),
            eval=EvalConfig(calibrate=False),
            **groups,
        ),
        random_state=0,
    )


@pytest.fixture(scope="module")
def rare(messages):
    """Training rows (15 negative and 150 other messages) and test rows (the remaining ones)."""
    rows = messages[messages["task"] == "sentiment"].sample(frac=1, random_state=0)
    is_negative = rows["label"] == "negative"
    rows = rows.assign(label=np.where(is_negative, "negative", "other"))
    negative, other = rows[is_negative], rows[~is_negative]
    train = pd.concat([negative.head(15), other.head(150)])
    return train, pd.concat([negative.iloc[15:], other.iloc[150:]])


def recall(rare, **loss):
    train, test = rare
    classifier = make(loss=LossConfig(**loss)).fit(train)
    negative = test[test["label"] == "negative"]
    found = classifier.predict(negative["text"], task="sentiment") == "negative"
    return found.mean()


def test_rare_classes_are_found(rare):
    """Class weights and focal loss increase the recall of a rare class, alone and together."""
    plain = recall(rare, use_class_weights=False)
    focal = recall(rare, use_class_weights=False, use_focal_loss=True)
    weighted = recall(rare)
    both = recall(rare, use_focal_loss=True)
    assert focal > plain + 0.04
    assert weighted > plain + 0.2
    assert both > plain + 0.25


def test_heads_that_start_from_a_probe_learn_faster(messages):
    """After the same few epochs, heads that start from a probe score higher than random heads."""
    texts = messages["text"].unique()
    train = messages[messages["text"].isin(texts[:200])]
    test = messages[~messages["text"].isin(texts[:200])]
    scores = {}
    for init in ("probe", "random"):
        classifier = make().set_params(config__head__init=init).fit(train)
        scores[init] = classifier.score(test)
    assert scores["probe"] > scores["random"] + 0.03


def texts_with_key_words(seed):
    """Return texts of 24 words that contain a key word of each task and have a label for one."""
    words = ["".join(pair) for pair in itertools.product("bdgkm", "aeiou")]
    keys = {"pet": ["cat", "dog"], "color": ["red", "blue"]}
    rng, rows = np.random.default_rng(seed), []
    for i in range(300):
        chosen = {task: rng.choice(labels) for task, labels in keys.items()}
        text = rng.permutation([*rng.choice(words, 22), *chosen.values()])
        task = list(keys)[i % 2]
        rows.append((" ".join(text), task, chosen[task]))
    return pd.DataFrame(rows, columns=["text", "task", "label"])


def test_attention_finds_the_words_of_each_task(encoder_name):
    """If each task depends on other words of a text, attention scores higher than mean pooling."""
    scores = {}
    for pooling in ("mean", "attention"):
        config = MultiheadConfig(
            training=Training(model_name=encoder_name, test_size=0, epochs=8, learning_rate=1e-3),
            eval=EvalConfig(calibrate=False),
            pooling=pooling,
        )
        classifier = MultiheadClassifier(config, random_state=0).fit(texts_with_key_words(0))
        scores[pooling] = classifier.score(texts_with_key_words(1))
    assert scores["attention"] > scores["mean"] + 0.1


# --------------------------------------------------------------------------------------------
# Long texts


@pytest.fixture(scope="module")
def hidden(messages):
    """Texts of several hundred words in which one message, repeated four times, has the label.

    The message is at the beginning, in the middle or at the end of unrelated text.
    """
    rows = messages[messages["task"] == "intent"].reset_index(drop=True)
    filler = "The minutes of the meeting are kept by the secretary and stored in the archive. " * 9
    places = np.arange(len(rows)) % 3
    long = [
        " ".join([filler] * place + [text] * 4 + [filler] * (2 - place))
        for text, place in zip(rows["text"], places, strict=True)
    ]
    return rows.assign(text=long, place=places)


def scores_by_place(hidden, long_text):
    train, test = hidden.iloc[:90], hidden.iloc[90:150]
    classifier = make(training={"long_text": long_text}).set_params(precision="auto")
    classifier.fit(train[["text", "task", "label"]])
    right = classifier.predict(test["text"], task="intent") == test["label"]
    return right.groupby(test["place"]).mean()


@pytest.mark.filterwarnings("ignore:Texts are cut")
def test_long_texts(hidden):
    """Compared with truncate, head_tail improves on endings, and windows on middles and overall."""
    truncated, ends, windows = (
        scores_by_place(hidden, each) for each in ("truncate", "head_tail", "windows")
    )
    assert ends[2] > truncated[2] + 0.15
    assert windows[1] > truncated[1] + 0.15
    assert windows.mean() > truncated.mean() + 0.1

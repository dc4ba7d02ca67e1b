"""Small data and a small classifier of texts for the tests of this folder."""

from rapidfit_sk import MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.testing import tiny_encoder

# 48 texts of two classes. Each text occurs once.
TEXTS = [f"good word {i}" if i % 2 else f"bad thing {i}" for i in range(48)]
LABELS = ["p" if i % 2 else "n" for i in range(48)]


def make(encoder=None, **parameters):
    """Return a classifier that trains for an epoch; None writes a new encoder."""
    training = TrainingConfig(
        model_name=encoder or tiny_encoder(n_layers=1),
        epochs=1,
        learning_rate=1e-3,
        batch_size=16,
        val_size=0.2,
        test_size=0,
    )
    return TextClassifier(MultiheadConfig(training=training), **{"random_state": 0, **parameters})


def messages_of(task):
    """Return the texts and labels of one task of the bundled messages."""
    messages = load_support_messages()
    rows = messages[messages["task"] == task]
    return rows["text"].to_numpy(dtype=object), rows["label"].to_numpy(dtype=object)

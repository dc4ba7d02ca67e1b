"""Small data and a small classifier for the tests of this folder."""

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig

TEXTS = [f"good word {i}" if i % 2 else f"bad thing {i}" for i in range(16)]
LABELS = ["p" if i % 2 else "n" for i in range(16)]


def make(encoder, config=(), **parameters):
    """Return a classifier that trains for an epoch, with other parameters of both kinds."""
    training = TrainingConfig(model_name=encoder, epochs=1, learning_rate=1e-3, test_size=0)
    full = MultiheadConfig(training=training).set_params(**dict(config))
    # The default precision depends on the process, see tests/conftest.py.
    return MultiheadClassifier(full, **{"random_state": 0, "precision": "float32", **parameters})

"""Adapter that runs scikit-learn's checks for numeric data on `TextClassifier`."""

from string import ascii_lowercase

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from rapidfit_sk import (
    EncoderConfig,
    LossConfig,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk.testing import tiny_encoder

# As a parameter of the adapter, this temporary folder would be part of the test names.
MODEL_NAME = tiny_encoder(n_layers=1)


class NumericAdapter(ClassifierMixin, BaseEstimator):
    """Classifier for numeric data that converts each row to a text.

    It validates numeric input as scikit-learn requires and passes labels and weights to the
    classifier, so the checks test its fitting, labels, weights, pickling and invariances.
    """

    def __init__(self, epochs=6, random_state=0):
        self.epochs = epochs
        self.random_state = random_state

    def _classifier(self):
        training = TrainingConfig(
            model_name=MODEL_NAME,
            epochs=self.epochs,
            learning_rate=3e-3,
            test_size=0,
            val_size=0.2,
        )
        encoder = EncoderConfig(freeze_epochs=0, unfreeze_layers=2)
        config = MultiheadConfig(training=training, encoder=encoder, loss=LossConfig())
        return TextClassifier(config, random_state=self.random_state)

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        self.classifier_ = self._classifier().fit(_texts(X), y, sample_weight)
        self.classes_ = self.classifier_.classes_
        return self

    def predict(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return self.classifier_.predict(_texts(X))

    def predict_proba(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return self.classifier_.predict_proba(_texts(X))


def _texts(X):
    """Return a text for each row, with one word per number.

    The letter of a word depends on the column and the sign, and its length on the absolute value.
    """
    return [" ".join(_word(i, value) for i, value in enumerate(row)) for row in X]


def _word(column, value):
    return ascii_lowercase[2 * (column % 13) + (value > 0)] * min(9, int(3 * abs(value)) + 1)

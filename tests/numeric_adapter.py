"""An adapter that runs scikit-learn's checks for numeric data on `MultiheadClassifier`."""

from string import ascii_lowercase

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from rapidfit_sk import (
    EncoderConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.testing import tiny_encoder

# It is not a parameter, because names of tests would then contain a temporary folder.
MODEL_NAME = tiny_encoder(n_layers=1)


class NumericAdapter(ClassifierMixin, BaseEstimator):
    """Classifier of numeric rows, which converts each row to a text.

    It validates numeric input as scikit-learn requires and passes labels and weights on, so the
    checks test fitting, labels, weights, pickling and invariances of the classifier.
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
        return MultiheadClassifier(config, random_state=self.random_state)

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classifier_ = self._classifier().fit(_texts(X), y, sample_weight)
        (self.classes_,) = self.classifier_.classes_.values()
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
    """Convert numbers to words: the letter is the column and sign, its repetition the size."""
    return [" ".join(_word(i, value) for i, value in enumerate(row)) for row in X]


def _word(column, value):
    return ascii_lowercase[2 * (column % 13) + (value > 0)] * min(9, int(3 * abs(value)) + 1)

"""
Overfitting and early stopping
==============================

The training loss approaches 0, but the validation loss rises. More dropout and weight decay slow
this down, and early stopping ends the training. This example shows both in the history of two
fits.
"""

import matplotlib.pyplot as plt
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.plotting import TrainingHistoryDisplay

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
messages = load_support_messages()
part = messages["text"].factorize()[0] % 6
train, validation, test = messages[part == 0], messages[part == 1], messages[part >= 2]

# %%
# 50 texts train, and 50 others are validation rows. The second configuration has more dropout and
# weight decay, and stops if the validation loss has not improved for two epochs.

CONFIGS = {
    "defaults": MultiheadConfig(
        training=TrainingConfig(model_name=MODEL, test_size=0, epochs=12),
        encoder=EncoderConfig(unfreeze_layers=1),
    ),
    "regularized, with early stopping": MultiheadConfig(
        training=TrainingConfig(model_name=MODEL, test_size=0, epochs=12, weight_decay=0.05),
        encoder=EncoderConfig(unfreeze_layers=1),
        head=HeadConfig(dropout=0.3),
        eval=EvalConfig(metric="loss", patience=2, min_delta=0.005),
    ),
}
fitted = {
    name: MultiheadClassifier(config, random_state=0).fit(train, X_val=validation)
    for name, config in CONFIGS.items()
}

# %%
# The vertical lines mark the epochs whose weights were kept. The gray area starts where encoder
# layers begin to train.

for name, classifier in fitted.items():
    display = TrainingHistoryDisplay.from_estimator(classifier)
    display.figure_.suptitle(name)
plt.show()

# %%
# The second fit stops when the validation loss no longer falls. The scores on the test rows
# hardly differ:

pd.DataFrame(
    {
        name: classifier.evaluate(test).groupby("metric")["value"].mean()
        for name, classifier in fitted.items()
    }
).round(3)

# %%
# A rising validation loss means that the model is too certain, not that it predicts other labels.
# By default, calibration repairs the certainty, and the learning rate of the last epochs is so low
# that they do no harm. Early stopping mainly saves time.
